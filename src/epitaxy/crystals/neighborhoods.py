"""Atoms with their edges laid side by side, so that sums over neighbors are matrix products."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from epitaxy.crystals.graph import Graph
from epitaxy.crystals.segments import gather

_EDGES_AT_ONCE = 16384  # what is made of them fits into a processor's cache
_TIMES_ON_GPU = 64  # a GPU is slow at many small steps, and has the memory for larger ones


@dataclass(frozen=True, eq=False)
class Neighborhoods:
    """Some atoms, each with as many slots for edges as the one that has most.

    Attributes:
        atoms: which atoms.
        edges: the edge in each slot; any edge where a slot is empty.
        filled: whether a slot holds an edge of its atom.
    """

    atoms: Int[Tensor, " atoms"]
    edges: Int[Tensor, "atoms slots"]
    filled: Bool[Tensor, "atoms slots"]


def neighborhoods(atom_offsets: Int[Tensor, " boundaries"], slots: int) -> Iterator[Neighborhoods]:
    """Yield the atoms that have edges, in groups of about ``slots`` slots or one atom.

    Edges ``atom_offsets[i]:atom_offsets[i + 1]`` belong to atom i. Atoms with as many edges stand
    together, so few slots are empty. On a GPU the groups are 64 times as large.
    """
    if atom_offsets.is_cuda:
        slots *= _TIMES_ON_GPU
    counts = atom_offsets[1:] - atom_offsets[:-1]
    order = torch.argsort(counts, descending=True, stable=True)
    sizes = counts[order].tolist()
    first = 0
    while first < len(sizes) and sizes[first]:
        widest = sizes[first]
        last = min(first + max(slots // widest, 1), len(sizes))
        while sizes[last - 1] == 0:
            last -= 1
        atoms = order[first:last]
        steps = torch.arange(widest, device=atoms.device)
        filled = steps < counts[atoms].unsqueeze(-1)
        edges = atom_offsets[atoms].unsqueeze(-1) + steps * filled
        yield Neighborhoods(atoms=atoms, edges=edges, filled=filled)
        first = last


def vectors_by_axis(graph: Graph) -> Float[Tensor, "3 edges"]:
    """Return the transpose of ``graph.vectors()``, laid out so that each axis is contiguous.

    Elementwise work runs several times faster along edges than along three components.
    """
    crystals = graph.crystals
    cells = crystals.cell.reshape(-1, 9).T.contiguous()
    positions = crystals.positions.T.contiguous()
    parts = []
    at_once = _EDGES_AT_ONCE * (_TIMES_ON_GPU if graph.center.is_cuda else 1)
    for first in range(0, max(graph.edge_total, 1), at_once):
        edges = slice(first, first + at_once)
        center, neighbor = graph.center[edges], graph.neighbor[edges]
        cell = cells.index_select(1, gather(crystals.crystal_of_atom, center)).unflatten(0, (3, 3))
        a, b, c = graph.shift[edges].to(cell.dtype).T.contiguous()
        images = a * cell[0] + b * cell[1] + c * cell[2]
        apart = positions.index_select(1, neighbor) - positions.index_select(1, center)
        parts.append(apart + images)
    return torch.cat(parts, dim=1)


def edges_side_by_side(
    values: Float[Tensor, "rows edges"], hood: Neighborhoods
) -> Float[Tensor, "rows atoms slots"]:
    """Return the values of each slot's edge."""
    return values.index_select(1, hood.edges.flatten()).reshape(len(values), *hood.edges.shape)
