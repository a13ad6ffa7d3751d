"""One data type for one crystal, a batch and a whole data set: a ragged struct of arrays."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from epitaxy.crystals.targets import Target
from epitaxy.errors import InputError

Index = int | np.integer | slice | Sequence[int] | Tensor | np.ndarray


@dataclass(frozen=True, eq=False)
class Crystals:
    """Crystals, molecules, slabs and chains; ``crystals[indices]`` is a batch of the same type.

    Attributes:
        numbers: atomic numbers.
        positions: Cartesian, Å; atoms may lie outside the cell.
        cell: Å; rows are lattice vectors, zero rows only where ``pbc`` is False.
        pbc: which lattice vectors repeat.
        offsets: atoms ``offsets[c]:offsets[c + 1]`` belong to crystal c.
        targets: name → Target; NaN = missing.
        inputs: name → extra atom-level inputs, shape (atoms, …).
        ids: one text per crystal.
    """

    numbers: Int[Tensor, " atoms"]
    positions: Float[Tensor, "atoms 3"]
    cell: Float[Tensor, "crystals 3 3"]
    pbc: Bool[Tensor, "crystals 3"]
    offsets: Int[Tensor, " crystals+1"]
    targets: Mapping[str, Target] = field(default_factory=dict)
    inputs: Mapping[str, Tensor] = field(default_factory=dict)
    ids: Sequence[str] = ()

    def __post_init__(self) -> None:
        count = len(self)
        if len(self.ids) == 0 and count:
            object.__setattr__(self, "ids", tuple(str(index) for index in range(count)))
        rows = {"crystal": count, "atom": self.atom_total}
        for name, target in self.targets.items():
            if target.values.shape[0] != rows[target.level]:
                raise InputError(
                    f"target '{name}' has {target.values.shape[0]} values for "
                    f"{rows[target.level]} {target.level}s."
                )
        for name, values in self.inputs.items():
            if values.shape[0] != self.atom_total:
                raise InputError(
                    f"input '{name}' has {values.shape[0]} rows for {self.atom_total} atoms."
                )
        if len(self.ids) != count:
            raise InputError(f"{len(self.ids)} ids for {count} crystals.")

    def __len__(self) -> int:
        return int(self.offsets.shape[0]) - 1

    def __repr__(self) -> str:
        targets = ", ".join(
            f"{name}[{target.unit}]" if target.unit else name
            for name, target in self.targets.items()
        )
        return f"Crystals({len(self)} crystals, {self.atom_total} atoms; targets: {targets or '–'})"

    @property
    def atom_total(self) -> int:
        """Number of atoms in all crystals together."""
        return int(self.numbers.shape[0])

    @property
    def device(self) -> torch.device:
        """Device of the arrays."""
        return self.positions.device

    @cached_property
    def atom_counts(self) -> Int[Tensor, " crystals"]:
        """Atoms in each crystal."""
        return self.offsets[1:] - self.offsets[:-1]

    @cached_property
    def crystal_of_atom(self) -> Int[Tensor, " atoms"]:
        """Index of the crystal that each atom belongs to."""
        return segment_of_rows(self.offsets, self.atom_total)

    @cached_property
    def volumes(self) -> Float[Tensor, " crystals"]:
        """Cell volumes in Å³; zero where a lattice vector is."""
        return torch.linalg.det(self.cell).abs()

    def __getitem__(self, index: Index) -> "Crystals":
        chosen = as_indices(index, len(self)).to(self.offsets.device)
        atoms, offsets = ragged_rows(self.offsets, chosen)
        return Crystals(
            numbers=self.numbers.index_select(0, atoms).to(torch.int64),
            positions=self.positions.index_select(0, atoms),
            cell=self.cell[chosen],
            pbc=self.pbc[chosen],
            offsets=offsets,
            targets={
                name: target.with_values(
                    target.values.index_select(0, chosen if target.level == "crystal" else atoms)
                )
                for name, target in self.targets.items()
            },
            inputs={name: values.index_select(0, atoms) for name, values in self.inputs.items()},
            ids=[self.ids[int(position)] for position in chosen],
        )

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> "Crystals":
        """Return the crystals on a device and, if given, with floating-point arrays of a dtype."""

        def moved(values: Tensor) -> Tensor:
            return values.to(device, dtype if values.is_floating_point() else None)

        return Crystals(
            numbers=moved(self.numbers),
            positions=moved(self.positions),
            cell=moved(self.cell),
            pbc=moved(self.pbc),
            offsets=moved(self.offsets),
            targets={
                name: target.with_values(moved(target.values))
                for name, target in self.targets.items()
            },
            inputs={name: moved(values) for name, values in self.inputs.items()},
            ids=self.ids,
        )

    def with_targets(self, targets: Mapping[str, Target]) -> "Crystals":
        """Return the same crystals with these targets in place of their own."""
        return replace(self, targets=dict(targets))

    def chunks(self, atoms: int) -> list[Int[Tensor, " chunk"]]:
        """Return the crystals' indices in consecutive chunks of about so many atoms."""
        chunk = torch.div(self.offsets[1:] - 1, atoms, rounding_mode="floor")
        _, sizes = torch.unique_consecutive(chunk, return_counts=True)
        return list(torch.split(torch.arange(len(self)), sizes.tolist()))

    def target(self, name: str) -> Target:
        """Return a target; raises InputError that lists the known ones."""
        if name not in self.targets:
            known = ", ".join(self.targets) or "none"
            raise InputError(f"no target '{name}' in these crystals. Targets they have: {known}.")
        return self.targets[name]


def cat(parts: Sequence[Crystals]) -> Crystals:
    """Join crystals; a target or an input that some parts lack is NaN there.

    Raises InputError where the parts declare one target differently.
    """
    if not parts:
        raise InputError("nothing to join: no crystals were given.")
    if len(parts) == 1:
        return parts[0]
    atoms, offsets = 0, [parts[0].offsets[:1]]
    for part in parts:
        offsets.append(part.offsets[1:] + atoms)
        atoms += part.atom_total
    return Crystals(
        numbers=torch.cat([part.numbers for part in parts]),
        positions=torch.cat([part.positions for part in parts]),
        cell=torch.cat([part.cell for part in parts]),
        pbc=torch.cat([part.pbc for part in parts]),
        offsets=torch.cat(offsets),
        targets={
            name: _joined_target(name, parts) for name in _names(part.targets for part in parts)
        },
        inputs={name: _joined_input(name, parts) for name in _names(part.inputs for part in parts)},
        ids=[text for part in parts for text in part.ids],
    )


def as_indices(index: Index, length: int) -> Int[Tensor, " chosen"]:
    """Return an int, a slice, a mask or indices as non-negative indices below ``length``."""
    if isinstance(index, slice):
        return torch.arange(*index.indices(length))
    if isinstance(index, int | np.integer):
        index = [int(index)]
    elif isinstance(index, np.ndarray):
        index = index.copy()  # torch does not take what may not be written
    chosen = torch.as_tensor(index)
    if chosen.numel() and chosen.is_floating_point():
        raise IndexError("crystals are numbered by integers, not by fractions")
    if chosen.dtype == torch.bool:
        if chosen.shape != (length,):
            raise IndexError(f"a mask of shape {tuple(chosen.shape)} for {length} crystals")
        return torch.nonzero(chosen).flatten()
    chosen = chosen.to(torch.int64).reshape(-1)
    if chosen.numel() and (int(chosen.max()) >= length or int(chosen.min()) < -length):
        raise IndexError(f"crystal index out of range for {length} crystals")
    return torch.where(chosen < 0, chosen + length, chosen)


def ragged_rows(
    offsets: Int[Tensor, " boundaries"], chosen: Int[Tensor, " chosen"]
) -> tuple[Int[Tensor, " rows"], Int[Tensor, " chosen+1"]]:
    """Return the rows that belong to the chosen segments, in their order, and their new offsets."""
    starts = offsets[chosen].to(torch.int64)
    counts = offsets[chosen + 1].to(torch.int64) - starts
    new = torch.zeros(len(chosen) + 1, dtype=torch.int64, device=offsets.device)
    torch.cumsum(counts, 0, out=new[1:])
    total = int(new[-1])
    shift = (starts - new[:-1]).index_select(0, segment_of_rows(new, total))
    return torch.arange(total, device=offsets.device) + shift, new


def segment_of_rows(offsets: Int[Tensor, " boundaries"], total: int) -> Int[Tensor, " rows"]:
    """Return the segment that each row belongs to.

    Counts the boundaries passed: unlike ``repeat_interleave``, which starts a thread pool for a
    handful of rows and then waits for its turn on a busy processor.
    """
    boundaries = offsets[1:-1].to(torch.int64)
    steps = torch.zeros(total + 1, dtype=torch.int64, device=offsets.device)
    steps.index_add_(0, boundaries, torch.ones_like(boundaries))
    return torch.cumsum(steps, 0)[:total]


def _names(mappings) -> list[str]:
    return list(dict.fromkeys(name for mapping in mappings for name in mapping))


def _joined_target(name: str, parts: Sequence[Crystals]) -> Target:
    first = next(part.targets[name] for part in parts if name in part.targets)
    pieces = []
    for part in parts:
        target = part.targets.get(name)
        if target is None:
            rows = len(part) if first.level == "crystal" else part.atom_total
            pieces.append(first.values.new_full((rows, *first.values.shape[1:]), torch.nan))
            continue
        declared = (target.level, target.unit, target.extensive)
        if declared != (first.level, first.unit, first.extensive):
            raise InputError(
                f"target '{name}' is declared differently in the crystals to be joined: "
                f"{first.level}, '{first.unit}', extensive={first.extensive} against "
                f"{target.level}, '{target.unit}', extensive={target.extensive}."
            )
        pieces.append(target.values)
    return first.with_values(torch.cat(pieces))


def _joined_input(name: str, parts: Sequence[Crystals]) -> Tensor:
    if not all(name in part.inputs for part in parts):
        raise InputError(f"input '{name}' is not there in all of the crystals to be joined.")
    return torch.cat([part.inputs[name] for part in parts])
