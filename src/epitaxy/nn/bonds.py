"""Edges of a network that sees distances but no directions, alike ones taken together."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from epitaxy.nn.contacts import alike


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
    found = alike(center, neighbor, features.detach(), envelope, mark)
    factor = envelope.index_select(0, found.representative).index_select(0, found.shell)
    return Bonds(
        center=found.center,
        neighbor=found.neighbor,
        shell=found.shell,
        features=features.index_select(0, found.representative),
        weight=(found.size.to(factor.dtype) * factor).unsqueeze(-1),
        of_edge=found.group,
    )
