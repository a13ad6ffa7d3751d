"""Crystals repeated along their lattice vectors."""

from dataclasses import replace

import torch
from jaxtyping import Int

from epitaxy.crystals.crystals import Crystals, segment_of_rows
from epitaxy.errors import InputError


def supercells(crystals: Crystals, repeats: Int[torch.Tensor, "crystals 3"]) -> Crystals:
    """Return every crystal repeated so many times along each lattice vector, without targets.

    The images of a crystal follow each other, each with all of its atoms; the last lattice vector
    runs fastest. Raises InputError where a direction that is not periodic is to be repeated.
    """
    if bool(((repeats > 1) & ~crystals.pbc).any()):
        wrong = int(torch.nonzero(((repeats > 1) & ~crystals.pbc).any(1))[0])
        raise InputError(
            f"crystal '{crystals.ids[wrong]}' does not repeat along all of the lattice vectors "
            f"that are to be multiplied by {tuple(repeats[wrong].tolist())}."
        )
    images = repeats.prod(1)
    offsets = torch.nn.functional.pad(torch.cumsum(crystals.atom_counts * images, 0), (1, 0))
    total = int(offsets[-1])
    owner = segment_of_rows(offsets, total)
    place = torch.arange(total, device=owner.device) - offsets[owner]
    image = torch.div(place, crystals.atom_counts[owner], rounding_mode="floor")
    source = crystals.offsets[owner] + place - image * crystals.atom_counts[owner]
    _, second, third = repeats[owner].unbind(1)
    steps = torch.stack(
        [
            torch.div(image, second * third, rounding_mode="floor"),
            torch.div(image, third, rounding_mode="floor") % second,
            image % third,
        ],
        dim=1,
    ).to(crystals.cell.dtype)
    moved = torch.einsum("ai,aij->aj", steps, crystals.cell[owner])
    return replace(
        crystals,
        numbers=crystals.numbers[source],
        positions=crystals.positions[source] + moved,
        cell=crystals.cell * repeats.unsqueeze(-1).to(crystals.cell.dtype),
        offsets=offsets,
        targets={},
        inputs={name: values[source] for name, values in crystals.inputs.items()},
    )


def enlarged(crystals: Crystals, smallest: int, generator: torch.Generator) -> Crystals:
    """Return the crystals with cells of fewer than ``smallest`` atoms doubled until they hold them.

    The directions are drawn at random among the periodic ones; a molecule stays as it is.
    """
    repeats = torch.ones((len(crystals), 3), dtype=torch.int64)
    few = torch.nonzero((crystals.atom_counts < smallest) & crystals.pbc.any(1)).flatten()
    for index in few.tolist():
        axes = torch.nonzero(crystals.pbc[index]).flatten()
        while int(crystals.atom_counts[index] * repeats[index].prod()) < smallest:
            drawn = int(torch.randint(len(axes), (1,), generator=generator))
            repeats[index, axes[drawn]] *= 2
    return supercells(crystals, repeats) if len(few) else crystals.with_targets({})
