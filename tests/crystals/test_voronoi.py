"""Polyhedra close, and are those of textbooks."""

import math

import numpy as np
import pytest
import torch

from epitaxy.crystals.crystals import Crystals
from epitaxy.crystals.voronoi import voronoi_faces
from epitaxy.errors import InputError


def lattice(cell, number=26) -> Crystals:
    return Crystals(
        numbers=torch.tensor([number]),
        positions=torch.zeros(1, 3, dtype=torch.float64),
        cell=torch.tensor(cell, dtype=torch.float64)[None],
        pbc=torch.ones(1, 3, dtype=torch.bool),
        offsets=torch.tensor([0, 1]),
    )


def test_every_polyhedron_closes(crystals):
    some = crystals[[int(row) for row in (crystals.atom_counts <= 8).nonzero()[:12]]]
    for faces in voronoi_faces(some):
        assert faces.angles.sum() == pytest.approx(4 * math.pi, rel=1e-4)
        assert (faces.angles >= 0).all()


@pytest.mark.parametrize(
    ("cell", "faces", "nearest"),
    [
        (np.eye(3) * 3.0, 6, 6),
        ((np.ones((3, 3)) - np.eye(3)) * 1.8, 12, 12),  # face-centered: a rhombic dodecahedron
        ((np.ones((3, 3)) - 2 * np.eye(3)) * 1.4, 14, 8),  # body-centered: a cut octahedron
    ],
    ids=["simple", "face-centered", "body-centered"],
)
def test_cubic_lattices_have_the_faces_of_textbooks(cell, faces, nearest):
    (found,) = voronoi_faces(lattice(cell))
    wide = found.angles > 1e-6
    assert wide.sum() == faces
    shortest = np.isclose(found.distances, found.distances[wide].min())
    assert (shortest & wide).sum() == nearest
    assert np.ptp(found.angles[shortest & wide]) < 1e-6


def test_a_long_cell_is_given_more_neighbors():
    (found,) = voronoi_faces(lattice(np.diag([5.0, 5.0, 44.0])))
    wide = found.angles > 1e-6
    assert sorted(found.distances[wide].round(6)) == [5.0] * 4 + [44.0] * 2


def test_an_atom_alone_in_a_huge_cell_has_none():
    with pytest.raises(InputError, match="all around within 45 Å"):
        list(voronoi_faces(lattice(np.eye(3) * 60.0)))
