"""Voronoi polyhedra of atoms in periodic crystals: their faces, and how wide each is seen."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from epitaxy.crystals.crystals import Crystals
from epitaxy.crystals.neighbors import build_graph
from epitaxy.errors import InputError

FIRST_CUTOFF, GROWTH, LAST_CUTOFF = 8.0, 1.5, 45.0  # Å


@dataclass(frozen=True, eq=False)
class Faces:
    """The faces of one atom's polyhedron.

    Attributes:
        numbers: atomic numbers of the atoms behind them.
        distances: to these atoms, Å.
        angles: solid angles under which the atom sees its faces, sr; 4π together.
    """

    numbers: Int[ndarray, " faces"]
    distances: Float[ndarray, " faces"]
    angles: Float[ndarray, " faces"]


def voronoi_faces(crystals: Crystals) -> Iterator[Faces]:
    """Yield the polyhedron of every atom, one after the other.

    Each takes some milliseconds in a dense crystal, up to a second where there is much vacuum.

    Raises InputError where a crystal is not periodic in three directions, or where an atom has no
    neighbors all around within 45 Å.
    """
    for row in range(len(crystals)):
        crystal = crystals[[row]].with_targets({})
        if not bool(crystal.pbc.all()):
            raise InputError(
                f"crystal '{crystals.ids[row]}' is not periodic in three directions: its atoms "
                "have no Voronoi polyhedra."
            )
        yield from _faces_of(crystal)


def _faces_of(crystal: Crystals) -> list[Faces]:
    """Return the polyhedra of one crystal, with as many neighbors as they take to be exact."""
    cutoff = FIRST_CUTOFF
    while True:
        found = _faces_within(crystal, cutoff)
        if found is not None:
            return found
        if cutoff == LAST_CUTOFF:
            raise InputError(
                f"crystal '{crystal.ids[0]}' has an atom without neighbors all around within "
                f"{LAST_CUTOFF:g} Å: it has no Voronoi polyhedron."
            )
        cutoff = min(cutoff * GROWTH, LAST_CUTOFF)


def _faces_within(crystal: Crystals, cutoff: float) -> list[Faces] | None:
    """Return the polyhedra of one crystal; None if one takes more neighbors to be exact."""
    graph = build_graph(crystal, cutoff)
    vectors, center = graph.vectors().double().numpy(), graph.center.numpy()
    numbers = crystal.numbers.numpy()[graph.neighbor.numpy()]
    found = []
    for atom in range(crystal.atom_total):
        own = center == atom
        faces = _polyhedron(vectors[own], numbers[own], cutoff)
        if faces is None:
            return None
        found.append(faces)
    return found


def _polyhedron(
    vectors: Float[ndarray, "neighbors 3"], numbers: Int[ndarray, " neighbors"], cutoff: float
) -> Faces | None:
    """Return the faces of the polyhedron about the origin; None if it takes more neighbors."""
    from scipy.spatial import QhullError, Voronoi

    try:
        diagram = Voronoi(np.concatenate([np.zeros((1, 3)), vectors]))
    except (QhullError, ValueError):  # too few points, or all of them in a plane
        return None
    region = diagram.regions[diagram.point_region[0]]
    corners = diagram.vertices[region]
    if -1 in region or not region or 2.0 * np.linalg.norm(corners, axis=1).max() > cutoff:
        return None
    kept, angles = [], []
    for (first, second), outline in zip(diagram.ridge_points, diagram.ridge_vertices, strict=True):
        if 0 in (first, second):
            kept.append(max(first, second) - 1)
            angles.append(solid_angle(diagram.vertices[outline]))
    return Faces(numbers[kept], np.linalg.norm(vectors[kept], axis=1), np.array(angles))


def solid_angle(outline: Float[ndarray, "corners 3"]) -> float:
    """Return the solid angle of a convex polygon seen from the origin, sr.

    Triangle by triangle: tan(Ω/2) = a·(b × c) / (abc + (a·b)c + (a·c)b + (b·c)a) (van Oosterom and
    Strackee, IEEE Trans. Biomed. Eng. 30, 125).

    >>> corners = np.array([[1.0, 1, 1], [1, -1, 1], [-1, -1, 1], [-1, 1, 1]])
    >>> round(6 * solid_angle(corners) / np.pi, 6)  # six faces of a cube
    4.0
    """
    a, b, c = outline[0], outline[1:-1], outline[2:]
    lengths = [np.linalg.norm(one, axis=-1) for one in (a, b, c)]
    above = np.abs(np.cross(b, c) @ a)
    below = (
        lengths[0] * lengths[1] * lengths[2]
        + (b @ a) * lengths[2]
        + (c @ a) * lengths[1]
        + (b * c).sum(axis=-1) * lengths[0]
    )
    return float(2.0 * np.arctan2(above, below).sum())
