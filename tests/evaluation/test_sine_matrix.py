"""The sine matrix is that of another package, and of the crystal alone."""

import numpy as np
import pytest
import torch

from epitaxy.crystals.crystals import Crystals
from epitaxy.errors import InputError
from epitaxy.evaluation.sine_matrix import sine_matrix, sine_spectra

NUMBERS = [55, 17, 17, 8]
POSITIONS = [[0.1, 0.2, 0.3], [2.0, 2.1, 1.9], [0.4, 2.5, 1.0], [3.0, 0.3, 2.2]]
CELL = [[4.1, 0.1, 0.0], [0.3, 4.3, 0.2], [-0.2, 0.5, 3.9]]
# SineMatrix(n_atoms_max=4, permutation="none") of DScribe 2.1.2 with ASE 3.23.0.
GOLDEN = [
    [7513.468312, 134.116619, 206.419857, 98.716741],
    [134.116619, 448.794386, 67.41734, 26.859567],
    [206.419857, 67.41734, 448.794386, 21.712673],
    [98.716741, 26.859567, 21.712673, 73.516695],
]


def crystal(positions, cell, pbc=True) -> Crystals:
    return Crystals(
        numbers=torch.tensor(NUMBERS),
        positions=torch.as_tensor(positions, dtype=torch.float64),
        cell=torch.as_tensor(cell, dtype=torch.float64)[None],
        pbc=torch.full((1, 3), pbc),
        offsets=torch.tensor([0, 4]),
    )


def test_it_is_that_of_dscribe():
    found = sine_matrix(np.array(NUMBERS), np.array(POSITIONS), np.array(CELL))
    np.testing.assert_allclose(found, GOLDEN, atol=1e-6)


def test_images_and_rotations_make_no_difference():
    before = sine_spectra(crystal(POSITIONS, CELL))
    rotation, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))
    moved = np.array(POSITIONS) + np.array([[1, 0, 0], [0, -2, 0], [0, 0, 0], [1, 1, 1]]) @ CELL
    after = sine_spectra(crystal((moved + 0.7) @ rotation, np.array(CELL) @ rotation))
    np.testing.assert_allclose(after, before, rtol=1e-9)
    np.testing.assert_allclose(before.sum(), np.trace(GOLDEN), rtol=1e-6)


def test_a_molecule_has_none():
    with pytest.raises(InputError, match="not periodic in three directions"):
        sine_spectra(crystal(POSITIONS, CELL, pbc=False))
