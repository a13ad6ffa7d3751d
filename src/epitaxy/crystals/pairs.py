"""Edges grouped by the pair of atoms that they join."""

import torch
from jaxtyping import Int
from torch import Tensor

from epitaxy.crystals.graph import SHELL_GAP, Graph
from epitaxy.crystals.segments import gather


def pair_of_edge(graph: Graph) -> Int[Tensor, " edges"]:
    """Return the number of each edge's pair, the same for an edge and its reverse.

    The reverse of (i, j, n) is (j, i, −n). Pairs are numbered from 0, crystal by crystal.
    """
    center, neighbor, atoms = graph.center, graph.neighbor, graph.crystals.atom_total
    base = 2 * int(graph.shift.abs().max()) + 1 if graph.edge_total else 1
    # one number per shift, whose sign is that of the first component that is not zero
    step = (graph.shift * graph.shift.new_tensor([base**2, base, 1])).sum(1)
    forward = (center < neighbor) | ((center == neighbor) & (step > 0))
    step = torch.where(forward, step, -step) + base**3 // 2
    ends = torch.minimum(center, neighbor) * atoms + torch.maximum(center, neighbor)
    return torch.unique(ends * base**3 + step, return_inverse=True)[1]


def shell_of_edge(graph: Graph) -> Int[Tensor, " edges"]:
    """Return the number of each edge's shell: two atoms and one distance, all images together.

    An edge and its reverse are in the same shell. Distances of two shells differ by more than
    1e-3 Å. Shells are numbered from 0, crystal by crystal.
    """
    pair = pair_of_edge(graph)
    edges = torch.arange(graph.edge_total, device=pair.device)
    pairs = int(pair.max()) + 1 if graph.edge_total else 0
    first = edges.new_full((pairs,), graph.edge_total).scatter_reduce(0, pair, edges, "amin")
    distances = gather(graph.distances().detach(), first)
    center, neighbor = gather(graph.center, first), gather(graph.neighbor, first)
    ends = torch.minimum(center, neighbor) * graph.crystals.atom_total
    ends = ends + torch.maximum(center, neighbor)
    order = torch.argsort(distances, stable=True)
    order = order[torch.argsort(ends[order], stable=True)]
    starts = torch.zeros_like(order)
    starts[1:] = (ends[order][1:] != ends[order][:-1]) | (
        distances[order][1:] - distances[order][:-1] > SHELL_GAP
    )
    shell_of_pair = torch.empty_like(order).scatter_(0, order, torch.cumsum(starts, 0))
    return gather(shell_of_pair, pair)
