"""The orbital-field matrix by hand in rocksalt and caesium chloride, and of the crystal alone."""

import numpy as np
import pytest
import torch

from epitaxy.crystals.crystals import Crystals
from epitaxy.crystals.supercells import supercells
from epitaxy.errors import InputError
from epitaxy.evaluation.orbital_field_matrix import WIDTH, configuration, orbital_fields

S1, S2, P5, D10, F14 = 0, 1, 6, 17, 31


def crystal(numbers, fractional, cell, pbc=True) -> Crystals:
    cell = torch.tensor(cell, dtype=torch.float64)
    return Crystals(
        numbers=torch.tensor(numbers),
        positions=torch.tensor(fractional, dtype=torch.float64) @ cell,
        cell=cell[None],
        pbc=torch.full((1, 3), pbc),
        offsets=torch.tensor([0, len(numbers)]),
    )


def rocksalt(a=5.6):
    half = a / 2
    return crystal(
        [11, 17], [[0, 0, 0], [0.5] * 3], [[0, half, half], [half, 0, half], [half] * 2 + [0]]
    )


def test_six_equal_neighbors_of_rocksalt():
    sodium, chlorine = orbital_fields(rocksalt()).reshape(2, WIDTH, WIDTH).numpy()
    expected = np.zeros((WIDTH, WIDTH))
    expected[S1, S2] = expected[S1, P5] = 6 / 2.8
    np.testing.assert_allclose(sodium, expected, atol=1e-5)
    np.testing.assert_allclose(chlorine, expected.T, atol=1e-5)


def test_the_smaller_faces_of_caesium_chloride_weigh_less():
    """Eight hexagons to the other element and six small squares to the same, on the axes."""
    a = 4.1
    found = orbital_fields(crystal([55, 17], [[0, 0, 0], [0.5] * 3], np.eye(3) * a))
    caesium = found.reshape(2, WIDTH, WIDTH)[0].numpy()
    np.testing.assert_allclose(caesium[S1, P5], 8 / (a * 3**0.5 / 2), rtol=1e-5)
    side = 2**0.5 / 4  # of the squares of a truncated octahedron, in cells
    square = 4 * np.arcsin(side**2 / (side**2 + 4 * 0.5**2))
    hexagon = (4 * np.pi - 6 * square) / 8
    np.testing.assert_allclose(caesium[S1, S1], 6 * square / hexagon / a, rtol=1e-5)


@pytest.mark.parametrize(
    ("element", "places"),
    [("H", [S1]), ("Cl", [S2, P5]), ("Zn", [S2, D10]), ("Yb", [S2, F14])],
)
def test_electrons_beyond_the_noble_gas(element, places):
    assert configuration(element).nonzero()[0].tolist() == places


def test_neither_rotation_nor_supercell_nor_image_matters(crystals):
    some = crystals[[int(row) for row in (crystals.atom_counts <= 5).nonzero()[:4]]]
    before = orbital_fields(some)
    rotation = torch.linalg.qr(
        torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    )[0].to(some.positions)
    turned = Crystals(
        numbers=some.numbers,
        positions=some.positions @ rotation + 0.1,
        cell=some.cell @ rotation,
        pbc=some.pbc,
        offsets=some.offsets,
        ids=some.ids,
    )
    torch.testing.assert_close(orbital_fields(turned), before, rtol=1e-3, atol=1e-3)
    doubled = supercells(some, torch.tensor([[2, 1, 1]] * len(some)))
    large = orbital_fields(doubled)
    for row in range(len(some)):
        own = before[some.offsets[row] : some.offsets[row + 1]]
        there = large[doubled.offsets[row] : doubled.offsets[row + 1]]
        torch.testing.assert_close(there.mean(dim=0), own.mean(dim=0), rtol=1e-3, atol=1e-3)


def test_a_molecule_has_none():
    with pytest.raises(InputError, match="not periodic in three directions"):
        orbital_fields(crystal([1, 1], [[0, 0, 0], [0.1, 0, 0]], np.eye(3) * 9.0, pbc=False))


def test_an_element_whose_electrons_nobody_knows_is_named():
    with pytest.raises(InputError, match="does not know the electrons of Db"):
        configuration("Db")
