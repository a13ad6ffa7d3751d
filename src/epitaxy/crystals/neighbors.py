"""Neighbor lists over all periodic images: the one file that knows neighbor-list libraries."""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Bool, Float

from epitaxy.crystals.crystals import Crystals
from epitaxy.crystals.graph import Graph, Ties
from epitaxy.errors import InputError

FARTHEST = 1e4  # Å; neighbor lists on cells of grids cannot go on forever
CLOSEST = 1e-2  # Å; atoms nearer than this sit on top of each other


def build_graph(crystals: Crystals, cutoff: float) -> Graph:
    """Return the graph of all pairs up to ``cutoff`` (Å), every periodic image included.

    An atom's own images are neighbors like any other. Edges are sorted by center. Atoms may lie
    outside the cell; cells may be left-handed, skewed, or smaller than the cutoff.

    Raises InputError for positions that are not finite, for a periodic direction without volume,
    and for atoms that coincide; it names the crystal.
    """
    from vesin import NeighborList  # here, because it imports ASE

    if not cutoff > 0:
        raise InputError(f"a cutoff is a positive length in Å, not {cutoff}.")
    label = crystals.ids.__getitem__
    positions = crystals.positions.detach().cpu().numpy().astype(np.float64)
    cell = crystals.cell.detach().cpu().numpy().astype(np.float64)
    pbc = crystals.pbc.cpu().numpy()
    offsets = crystals.offsets.cpu().numpy().astype(np.int64)
    _check(positions, cell, pbc, offsets, label)
    box = filled_box(cell, pbc)
    search = NeighborList(cutoff=cutoff, full_list=True, sorted=True, n_threads=1)
    pairs = [
        search.compute(positions[offsets[c] : offsets[c + 1]], box[c], pbc[c], "ijSd")
        for c in range(len(crystals))
    ]
    edge_counts = np.array([len(distance) for _, _, _, distance in pairs], dtype=np.int64)
    first_atoms = np.repeat(offsets[:-1], edge_counts)
    if not pairs:
        pairs = [(np.zeros(0), np.zeros(0), np.zeros((0, 3)), np.zeros(0))]
    center, neighbor, shift, distance = map(np.concatenate, zip(*pairs, strict=True))
    _check_distances(center, neighbor, distance, edge_counts, label)
    return Graph(
        crystals=crystals,
        center=torch.from_numpy(center.astype(np.int64) + first_atoms).to(crystals.device),
        neighbor=torch.from_numpy(neighbor.astype(np.int64) + first_atoms).to(crystals.device),
        shift=torch.from_numpy(shift.astype(np.int64)).to(crystals.device),
        cutoff=float(cutoff),
    )


class GraphBuilder:
    """Builds the graphs that a backbone asks for, and longer ones for labels, from one list.

    ``builder(crystals)`` is the backbone's graph: every edge up to ``cutoff``, or the nearest
    ``neighbors`` of them. ``builder(crystals, cutoff=r)`` has every edge up to r. The two calls for
    the same crystals share one neighbor list if ``reach`` covers both.
    """

    def __init__(
        self,
        cutoff: float,
        neighbors: int | None = None,
        ties: Ties = "shells",
        reach: float = 0.0,
    ) -> None:
        self.cutoff, self.neighbors, self.ties = cutoff, neighbors, ties
        self.reach = max(reach, cutoff)
        self._longest: Graph | None = None
        self._own: Graph | None = None

    def __call__(self, crystals: Crystals, cutoff: float | None = None) -> Graph:
        """Return the backbone's graph, or, with ``cutoff``, every edge up to there."""
        if cutoff is None and self._own is not None and self._own.crystals is crystals:
            return self._own
        wanted = self.cutoff if cutoff is None else cutoff
        longest = self._longest
        if longest is None or longest.crystals is not crystals or longest.cutoff < wanted:
            longest = build_graph(crystals, max(self.reach, wanted))
            self._longest = longest
        graph = longest.within(wanted)
        if cutoff is not None:
            return graph
        if self.neighbors is not None:
            graph = graph.nearest(self.neighbors, self.ties)
        self._own = graph
        return graph


def collapsed(
    cell: Float[np.ndarray, "crystals 3 3"], pbc: Bool[np.ndarray, "crystals 3"]
) -> Bool[np.ndarray, " crystals"]:
    """Return where a periodic lattice vector is zero or lies in the span of the others."""
    lattice = np.where(pbc[:, :, None], cell, 0.0)
    lengths = np.linalg.norm(lattice, axis=2)
    singular = np.linalg.svd(lattice / np.maximum(lengths, 1e-12)[:, :, None], compute_uv=False)
    singular = np.concatenate([np.ones((len(cell), 1)), singular], axis=1)
    smallest = np.take_along_axis(singular, pbc.sum(1, keepdims=True), axis=1)[:, 0]
    return (pbc & (lengths < 1e-3)).any(1) | (smallest < 1e-4)


def filled_box(
    cell: Float[np.ndarray, "crystals 3 3"], pbc: Bool[np.ndarray, "crystals 3"]
) -> Float[np.ndarray, "crystals 3 3"]:
    """Return the cells with every non-periodic row replaced by a unit normal to the periodic ones.

    What stands in a non-periodic row cannot matter, so it must not be able to spoil the list.
    """
    box = cell.copy()
    partly = np.flatnonzero(~pbc.all(1))
    if len(partly):
        periodic = pbc[partly]
        lattice = np.where(periodic[:, :, None], cell[partly], 0.0)
        directions = np.linalg.svd(lattice)[2]
        rank = np.minimum(periodic.sum(1, keepdims=True) + np.cumsum(~periodic, axis=1) - 1, 2)
        normals = np.take_along_axis(directions, rank[:, :, None], axis=1)
        box[partly] = np.where(periodic[:, :, None], lattice, normals)
    return box


def _check(
    positions: np.ndarray,
    cell: np.ndarray,
    pbc: np.ndarray,
    offsets: np.ndarray,
    label: Callable[[int], str],
) -> None:
    finite = np.isfinite(cell).all((1, 2))
    bad_atoms = np.flatnonzero(~np.isfinite(positions).all(1))
    finite[np.searchsorted(offsets, bad_atoms, side="right") - 1] = False
    if not finite.all():
        name = label(int(np.argmin(finite)))
        raise InputError(f"crystal '{name}' has positions or a cell that are not finite.")
    far = np.zeros(len(cell), dtype=bool)
    far[
        np.searchsorted(offsets, np.flatnonzero((abs(positions) > FARTHEST).any(1)), "right") - 1
    ] = 1
    far |= ((abs(cell) > FARTHEST).any(2) & pbc).any(1)
    if far.any():
        raise InputError(
            f"crystal '{label(int(np.argmax(far)))}' reaches beyond {FARTHEST:g} Å: is it in "
            "another unit of length?"
        )
    flat = collapsed(cell, pbc)
    if flat.any():
        raise InputError(
            f"crystal '{label(int(np.argmax(flat)))}' repeats along a lattice vector that is zero "
            "or lies in the span of the others: correct the cell or switch off pbc along it."
        )


def _check_distances(
    center: np.ndarray,
    neighbor: np.ndarray,
    distance: np.ndarray,
    edge_counts: np.ndarray,
    label: Callable[[int], str],
) -> None:
    if len(distance) and distance.min() < CLOSEST:
        worst = int(distance.argmin())
        name = label(int(np.searchsorted(np.cumsum(edge_counts), worst, side="right")))
        raise InputError(
            f"in crystal '{name}' atoms {center[worst]} and {neighbor[worst]} are "
            f"{distance[worst]:.2g} Å apart: they sit on top of each other."
        )
