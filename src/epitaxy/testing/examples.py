"""Small crystals to test on, and the same crystals described differently."""

import itertools
from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from epitaxy.crystals.crystals import Crystals, cat

ELEMENTS = (8, 14, 22, 26)
PERIODIC = (True, True, True)


def low_symmetry_crystals(seed: int = 0, elements: Sequence[int] = ELEMENTS) -> Crystals:
    """Return three triclinic crystals of 2, 3 and 5 atoms in double precision, without symmetry.

    No two atoms, images included, are nearer than 1.5 Å, and none lies at a special position.
    """
    generator = torch.Generator().manual_seed(seed)
    return cat([_low_symmetry(atoms, elements, generator) for atoms in (2, 3, 5)])


def one_atom_crystals() -> Crystals:
    """Return an oblique and a simple cubic cell of one atom each, in double precision."""
    oblique = [[2.6, 0.1, 0.2], [0.7, 2.9, -0.1], [-0.3, 0.5, 3.1]]
    cubic = [[3.0, 0.0, 0.0], [0.0, 3.0, 0.0], [0.0, 0.0, 3.0]]
    return cat([_crystal([26], [[0.0, 0.0, 0.0]], cell) for cell in (oblique, cubic)])


def symmetric_crystals() -> Crystals:
    """Return rock salt and a cubic perovskite in double precision: many equal distances."""
    half = 2.1
    salt = [[0.0, half, half], [half, 0.0, half], [half, half, 0.0]]
    cubic = [[3.9, 0.0, 0.0], [0.0, 3.9, 0.0], [0.0, 0.0, 3.9]]
    sites = [[0.0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    perovskite = (torch.tensor(sites, dtype=torch.float64) * 3.9).tolist()
    return cat(
        [
            _crystal([14, 8], [[0.0, 0.0, 0.0], [half, half, half]], salt),
            _crystal([26, 22, 8, 8, 8], perovskite, cubic),
        ]
    )


def rotation(seed: int = 0) -> Float[Tensor, "3 3"]:
    """Return a random rotation matrix."""
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))[0]
    return matrix * torch.linalg.det(matrix)


def turned(crystals: Crystals, matrix: Float[Tensor, "3 3"]) -> Crystals:
    """Return the crystals turned, or mirrored, by an orthogonal matrix."""
    return replace(crystals, positions=crystals.positions @ matrix.T, cell=crystals.cell @ matrix.T)


def translated(crystals: Crystals, by: Sequence[float] = (0.37, -1.91, 5.03)) -> Crystals:
    """Return the crystals with all atoms moved by one vector (Å)."""
    return replace(crystals, positions=crystals.positions + crystals.positions.new_tensor(by))


def reordered(crystals: Crystals) -> tuple[Crystals, Int[Tensor, " atoms"]]:
    """Return the crystals with their atoms in reverse order, and where each atom came from."""
    bounds = itertools.pairwise(crystals.offsets.tolist())
    order = torch.cat([torch.arange(last - 1, first - 1, -1) for first, last in bounds])
    numbers, positions = crystals.numbers[order], crystals.positions[order]
    return replace(crystals, numbers=numbers, positions=positions), order


def other_images(crystals: Crystals) -> Crystals:
    """Return the crystals with every atom moved by whole lattice vectors of its own."""
    atoms = torch.arange(crystals.atom_total)
    shifts = torch.stack([atoms % 3 - 1, (atoms * 2 + 1) % 5 - 2, atoms % 2], dim=-1)
    shifts = shifts.to(crystals.cell.dtype)
    moves = torch.einsum("ai,aij->aj", shifts, crystals.cell[crystals.crystal_of_atom])
    return replace(crystals, positions=crystals.positions + moves)


def other_cell(crystals: Crystals) -> Crystals:
    """Return the crystals in more oblique cells that span the same lattices."""
    matrix = crystals.cell.new_tensor([[1, 1, 0], [0, 1, 0], [-1, 0, 1]])
    return replace(crystals, cell=matrix @ crystals.cell)


def supercell(crystals: Crystals) -> tuple[Crystals, Int[Tensor, " atoms"]]:
    """Return 2 × 1 × 1 supercells, and which atom each of their atoms repeats."""
    copies, sources = [], []
    for index, first in enumerate(crystals.offsets[:-1].tolist()):
        crystal = crystals[index]
        cell = crystal.cell.clone()
        cell[:, 0] *= 2
        positions = torch.cat([crystal.positions, crystal.positions + crystal.cell[0, 0]])
        copies.append(
            Crystals(
                numbers=crystal.numbers.repeat(2),
                positions=positions,
                cell=cell,
                pbc=crystal.pbc,
                offsets=crystal.offsets * 2,
            )
        )
        sources.append(torch.arange(crystal.atom_total).repeat(2) + first)
    return cat(copies), torch.cat(sources)


def _low_symmetry(atoms: int, elements: Sequence[int], generator: torch.Generator) -> Crystals:
    skew = torch.rand(3, 3, generator=generator, dtype=torch.float64) - 0.5
    cell = (20.0 * atoms) ** (1 / 3) * (torch.eye(3, dtype=torch.float64) + 0.5 * skew)
    images = torch.tensor(list(itertools.product((-1.0, 0.0, 1.0), repeat=3)), dtype=torch.float64)
    while True:
        fractions = torch.rand(atoms, 3, generator=generator, dtype=torch.float64)
        apart = fractions[:, None, None] - fractions[None, :, None] + images
        lengths = torch.linalg.vector_norm(apart @ cell, dim=-1)
        if float(lengths[lengths > 1e-9].min()) > 1.5:
            break
    picks = torch.randint(len(elements), (atoms,), generator=generator)
    numbers = [elements[int(pick)] for pick in picks]
    return _crystal(numbers, (fractions @ cell).tolist(), cell.tolist())


def _crystal(numbers: list[int], positions: list[list[float]], cell: list[list[float]]) -> Crystals:
    return Crystals(
        numbers=torch.tensor(numbers),
        positions=torch.tensor(positions, dtype=torch.float64),
        cell=torch.tensor([cell], dtype=torch.float64),
        pbc=torch.tensor([PERIODIC]),
        offsets=torch.tensor([0, len(numbers)]),
    )
