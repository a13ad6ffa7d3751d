"""Atoms and pairs of atoms drawn at random, to be hidden from a network."""

from dataclasses import replace
from typing import Literal

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from epitaxy.crystals.crystals import Crystals
from epitaxy.crystals.graph import Graph
from epitaxy.crystals.pairs import pair_of_edge, shell_of_edge
from epitaxy.crystals.segments import gather

Together = Literal["pair", "shell"]
STAND_IN = 1  # hydrogen


def drawn(
    owner: Int[Tensor, " rows"], counts: Int[Tensor, " owners"], generator: torch.Generator
) -> Bool[Tensor, " rows"]:
    """Return True for ``counts[o]`` of the rows of each owner o, drawn without replacement.

    ``owner`` does not decrease. Where there are fewer rows, all of them are drawn.
    """
    chance = torch.rand(len(owner), generator=generator, dtype=torch.float64).to(owner.device)
    order = torch.argsort(owner + chance)  # the rows of one owner stay together
    rows = torch.bincount(owner, minlength=len(counts))
    first = torch.cumsum(rows, 0) - rows
    rank = torch.empty_like(owner)
    rank[order] = torch.arange(len(owner), device=owner.device) - gather(first, owner)
    return rank < gather(counts, owner)


def without_elements(crystals: Crystals, masked: Bool[Tensor, " atoms"]) -> Crystals:
    """Return the crystals with the masked atoms' elements replaced by a stand-in, hydrogen.

    No network can leak what its input does not hold. A learned token takes the stand-in's place
    (``epitaxy.nn.masking``). Targets are dropped; they might tell.
    """
    stand_in = torch.full_like(crystals.numbers, STAND_IN)
    return replace(crystals, numbers=torch.where(masked, stand_in, crystals.numbers), targets={})


def split_edges(
    graph: Graph, ratio: float, together: Together, generator: torch.Generator
) -> tuple[Graph, Graph]:
    """Return the graph without a fraction of its edges, and those edges, as two graphs.

    An edge goes with its reverse (``together="pair"``), or with all images of the same two atoms
    at the same distance (``"shell"``). Of P pairs or shells in a crystal, ratio · P are drawn,
    rounded to the nearest number.
    """
    group = pair_of_edge(graph) if together == "pair" else shell_of_edge(graph)
    groups = int(group.max()) + 1 if graph.edge_total else 0
    crystal_of_edge = gather(graph.crystals.crystal_of_atom, graph.center)
    owner = group.new_zeros(groups).scatter_(0, group, crystal_of_edge)
    sizes = torch.bincount(owner, minlength=len(graph))
    counts = torch.floor(ratio * sizes.double() + 0.5).long()
    hidden = gather(drawn(owner, counts, generator), group)
    return with_edges(graph, ~hidden), with_edges(graph, hidden)


def with_edges(graph: Graph, keep: Bool[Tensor, " edges"]) -> Graph:
    """Return the graph with some of its edges only."""
    return replace(
        graph, center=graph.center[keep], neighbor=graph.neighbor[keep], shift=graph.shift[keep]
    )
