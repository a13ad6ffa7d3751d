"""Edges of a network that sees distances but no directions, alike ones taken together."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Bonds:
    """Edges from one center to images of one neighbor at one distance, counted as one.

    Without directions such edges are equal in every layer, so one of them is computed. In a cubic
    perovskite two of three edges go away. Distances recur between other pairs too, so what depends
    on the distance alone is made once per shell.

    Attributes:
        center, neighbor: indices of atoms; sorted by center.
        shell: row of ``features``.
        features: distance features.
        weight: number of edges times their envelope.
        of_edge: the bond of every edge of the graph.
    """

    center: Int[Tensor, " bonds"]
    neighbor: Int[Tensor, " bonds"]
    shell: Int[Tensor, " bonds"]
    features: Float[Tensor, "shells radial"]
    weight: Float[Tensor, "bonds 1"]
    of_edge: Int[Tensor, " edges"]


def single_bonds(
    center: Int[Tensor, " edges"],
    neighbor: Int[Tensor, " edges"],
    features: Float[Tensor, "edges radial"],
    envelope: Float[Tensor, " edges"],
) -> Bonds:
    """Return every edge as a bond of its own, differentiable as often as one likes."""
    every = torch.arange(len(center), device=center.device)
    return Bonds(center, neighbor, every, features, envelope.unsqueeze(-1), every)


def merged_bonds(
    center: Int[Tensor, " edges"],
    neighbor: Int[Tensor, " edges"],
    features: Float[Tensor, "edges radial"],
    envelope: Float[Tensor, " edges"],
) -> Bonds:
    """Return the bonds of edges whose features and envelope are equal to the last bit.

    Exact for values and for derivatives by what all edges share, such as parameters. A derivative
    by the features of single edges is found at one of the alike edges.
    """
    ramp = torch.arange(1, 1 + features.shape[1], dtype=features.dtype, device=features.device)
    mark = envelope + (features.detach() * ramp).sum(-1)  # brings equal rows next to each other
    order = torch.argsort(mark, stable=True)
    rows, factors = features.detach().index_select(0, order), envelope.index_select(0, order)
    starts = torch.ones_like(order)
    starts[1:] = (rows[1:] != rows[:-1]).any(-1) | (factors[1:] != factors[:-1])
    shell = torch.empty_like(order).scatter_(0, order, torch.cumsum(starts, 0) - 1)
    representative = order[starts.bool()]

    atoms = 1 + int(torch.cat([center, neighbor]).max()) if len(center) else 1
    shells = max(len(representative), 1)
    code = (center * atoms + neighbor) * shells + shell
    code, of_edge, count = code.unique(return_inverse=True, return_counts=True)
    pair, shell_of_bond = code // shells, code % shells
    factor = envelope.index_select(0, representative).index_select(0, shell_of_bond)
    return Bonds(
        center=pair // atoms,
        neighbor=pair % atoms,
        shell=shell_of_bond,
        features=features.index_select(0, representative),
        weight=(count.to(factor.dtype) * factor).unsqueeze(-1),
        of_edge=of_edge,
    )
