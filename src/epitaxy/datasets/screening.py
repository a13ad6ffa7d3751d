"""Finds crystals that cannot be meant: coinciding atoms, collapsed cells, broken numbers."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.spatial import KDTree

from epitaxy.crystals.crystals import Crystals
from epitaxy.crystals.elements import SYMBOLS
from epitaxy.crystals.graph import Graph
from epitaxy.crystals.neighbors import build_graph, collapsed, filled_box
from epitaxy.errors import InputError

OVERLAP = 0.5  # Å; no two nuclei come closer in matter that anybody computes
LONELY = 6.0  # Å; an atom without a neighbor up to here is called isolated
_PAIRS_AT_ONCE = 1 << 17  # fits into a processor's cache
_FAR = 1e4  # Å; beyond, single precision is too coarse for 0.5 Å
_BINS = 50_000  # vesin divides by zero where a thin box is cut into more than twice as many
_LARGE = 300  # atoms; beyond, a neighbor list beats all pairs


@dataclass(frozen=True)
class Screening:
    """``faults``: crystal → reason it is unusable; ``isolated``: crystal → its isolated atoms."""

    faults: dict[int, str]
    isolated: dict[int, int]


def screen(crystals: Crystals) -> Screening:
    """Return the unusable crystals with reasons, and the good ones that have isolated atoms.

    Left-handed cells, molecules, slabs, chains and isolated atoms are no faults.
    """
    crystals = crystals.to("cpu")
    faults = _faults_of_arrays(crystals)
    sound = np.ones(len(crystals), dtype=bool)
    sound[list(faults)] = False
    overlaps, nearest = _all_pairs(crystals, np.flatnonzero(sound))
    faults |= overlaps
    isolated: dict[int, int] = {}
    sound[list(faults)] = False
    for c in np.flatnonzero(sound & ~(nearest <= LONELY)).tolist():
        one = crystals[c]
        try:
            reason, lonely = (_of_crystal if one.pbc.any() else _of_molecule)(one)
        except InputError as error:
            reason, lonely = str(error), 0
        if reason is not None:
            faults[c] = reason
        elif lonely:
            isolated[c] = lonely
    return Screening(faults, isolated)


def _faults_of_arrays(crystals: Crystals) -> dict[int, str]:
    of_atom = crystals.crystal_of_atom.numpy()
    numbers, cell, pbc = crystals.numbers.numpy(), crystals.cell.numpy(), crystals.pbc.numpy()
    finite, known = np.isfinite(cell).all((1, 2)), np.ones(len(crystals), dtype=bool)
    finite[of_atom[~np.isfinite(crystals.positions.numpy()).all(1)]] = False
    known[of_atom[(numbers < 1) | (numbers > len(SYMBOLS))]] = False
    reasons = {
        "it has no atoms.": crystals.atom_counts.numpy() == 0,
        "a position or the cell is not a finite number: correct the file.": ~finite,
        f"an atomic number lies outside 1–{len(SYMBOLS)}: correct the element.": ~known,
        "it repeats along a lattice vector that is zero or lies in the span of the others: "
        "correct the cell or switch off pbc along it.": finite
        & collapsed(np.where(finite[:, None, None], cell, 0.0), pbc),
    }
    faults: dict[int, str] = {}
    for reason, where in reasons.items():
        for c in np.flatnonzero(where).tolist():
            faults.setdefault(c, reason)
    return faults


def _all_pairs(
    crystals: Crystals, sound: Int[np.ndarray, " sound"]
) -> tuple[dict[int, str], Float[np.ndarray, " crystals"]]:
    """Return overlaps, and a bound on how far the loneliest atom is from its nearest neighbor.

    The image next in fractional coordinates is the nearest one for pairs closer than half the
    distance between lattice planes, and no nearer than the nearest for the others: so overlaps are
    exact where planes lie more than 2 × 0.5 Å apart, and distances are upper bounds. The bound is
    NaN where a crystal needs a neighbor list.
    """
    bound = np.full(len(crystals), np.nan)
    overlaps: dict[int, str] = {}
    pbc = crystals.pbc.numpy()
    box = crystals.cell.numpy().astype(np.float64)
    box[sound] = filled_box(box[sound], pbc[sound])
    inverse = np.zeros_like(box)
    inverse[sound] = np.linalg.inv(box[sound])
    planes = np.where(pbc, 1.0 / np.maximum(np.linalg.norm(inverse, axis=1), 1e-300), np.inf)
    own_image = np.where(pbc, np.linalg.norm(box, axis=2), np.inf).min(1)
    counts = crystals.atom_counts.numpy()
    looked_at = np.zeros(len(crystals), dtype=bool)
    looked_at[sound] = (planes[sound].min(1) > 2 * OVERLAP) & (counts[sound] <= _LARGE)
    positions, offsets = crystals.positions.numpy(), crystals.offsets.numpy()
    for chosen, size in _groups(counts, looked_at):
        here = positions[offsets[chosen][:, None] + np.arange(size)]
        squares = _squared_distances(here, box[chosen], inverse[chosen], pbc[chosen])
        squares[:, np.arange(size), np.arange(size)] = np.inf
        bound[chosen] = np.minimum(np.sqrt(squares.min(2).max(1)), own_image[chosen])
        for local in np.flatnonzero(squares.min((1, 2)) < OVERLAP**2).tolist():
            pair = divmod(int(squares[local].argmin()), size)
            overlaps[int(chosen[local])] = _too_close(*pair, float(squares[local][pair]) ** 0.5)
    return overlaps, bound


def _squared_distances(
    positions: Float[np.ndarray, "crystals atoms 3"],
    box: Float[np.ndarray, "crystals 3 3"],
    inverse: Float[np.ndarray, "crystals 3 3"],
    pbc: Bool[np.ndarray, "crystals 3"],
) -> Float[np.ndarray, "crystals atoms atoms"]:
    """Return |r_ij|² of the images next in fractional coordinates, through the metric tensor."""
    far = max(np.abs(box).max(), np.abs(positions).max()) > _FAR
    precision = np.float64 if far else np.float32
    fractional = positions @ inverse
    fractional -= np.where(pbc[:, None, :], np.rint(fractional), 0.0)
    metric = (box @ box.swapaxes(1, 2)).astype(precision)[:, :, :, None, None]
    steps = []
    for axis in range(3):
        along = fractional[:, :, axis].astype(precision)
        step = along[:, :, None] - along[:, None, :]
        steps.append(step - np.where(pbc[:, axis, None, None], np.rint(step), precision(0)))
    squares = np.zeros_like(steps[0])
    for i in range(3):
        squares += metric[:, i, i] * steps[i] ** 2
        for j in range(i):
            squares += 2 * metric[:, i, j] * steps[i] * steps[j]
    return np.maximum(squares, 0)


def _groups(
    counts: Int[np.ndarray, " crystals"], looked_at: Bool[np.ndarray, " crystals"]
) -> Iterator[tuple[Int[np.ndarray, " chosen"], int]]:
    """Yield crystals of equal size, as many at once as the processor's cache takes."""
    for size in np.unique(counts[looked_at]).tolist():
        alike = np.flatnonzero(looked_at & (counts == size))
        at_once = max(1, _PAIRS_AT_ONCE // size**2)
        for start in range(0, len(alike), at_once):
            yield alike[start : start + at_once], size


def _pairs_within(one: Crystals, cutoff: float) -> Graph:
    """Return the pairs up to a cutoff, searched farther where the box is large beside it."""
    pbc = one.pbc.numpy()
    inverse = np.linalg.inv(filled_box(one.cell.numpy().astype(np.float64), pbc))[0]
    spread = np.ptp(one.positions.numpy() @ inverse, axis=0)
    extent = np.where(pbc[0], 1.0, spread) / np.linalg.norm(inverse, axis=0)
    reach = cutoff
    while np.maximum(extent / reach, 1.0).prod() > _BINS:
        reach *= 2
    return build_graph(one, reach).within(cutoff)


def _of_crystal(one: Crystals) -> tuple[str | None, int]:
    """Return why a crystal is unusable, or how many of its atoms are isolated."""
    graph = _pairs_within(one, OVERLAP)
    if not graph.edge_total:
        return None, len(_pairs_within(one, LONELY).isolated)
    distances = graph.distances()
    worst = int(distances.argmin())
    pair = int(graph.center[worst]), int(graph.neighbor[worst])
    return _too_close(*pair, float(distances[worst])), 0


def _of_molecule(one: Crystals) -> tuple[str | None, int]:
    """Return the same without a neighbor list, which atoms millions of Å apart overtax."""
    positions = one.positions.numpy()
    if len(positions) == 1:
        return None, 1
    distances, nearest = (np.asarray(of)[:, 1] for of in KDTree(positions).query(positions, k=2))
    worst = int(distances.argmin())
    if distances[worst] < OVERLAP:
        return _too_close(worst, int(nearest[worst]), float(distances[worst])), 0
    return None, int((distances > LONELY).sum())


def _too_close(center: int, neighbor: int, distance: float) -> str:
    pair = f"atoms {center} and {neighbor}"
    pair = f"atom {center} and its own image" if center == neighbor else pair
    return (
        f"{pair} are {distance:.2f} Å apart, closer than {OVERLAP} Å: they overlap; remove the "
        "duplicate or correct the cell."
    )
