"""Atoms with their edges laid side by side, so that sums over neighbors are matrix products."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from epitaxy.crystals.graph import Graph
from epitaxy.crystals.segments import gather

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
    cell = cells.index_select(1, gather(crystals.crystal_of_atom, graph.center))
    shift = graph.shift.T.to(cell.dtype).contiguous()
    images = (shift.unsqueeze(1) * cell.reshape(3, 3, -1)).sum(0)
    positions = crystals.positions.T.contiguous()
    apart = positions.index_select(1, graph.neighbor) - positions.index_select(1, graph.center)
    return apart + images


def edges_side_by_side(
    values: Float[Tensor, "rows edges"], hood: Neighborhoods
) -> Float[Tensor, "rows atoms slots"]:
    """Return the values of each slot's edge."""
    return values.index_select(1, hood.edges.flatten()).reshape(len(values), *hood.edges.shape)
