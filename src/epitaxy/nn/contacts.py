"""Edges that cannot be told apart, taken together."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Contacts:
    """Edges from one center to images of one neighbor at one distance, counted as one.

    All messages of such edges are equal but for their direction, and they are summed: n times the
    message does for the scalars, Σ r̂ for the directions. In a cubic perovskite three of four edges
    go away. Distances recur between other pairs too, so filters are made once per shell.

    Attributes:
        center, neighbor: indices of atoms; sorted by center.
        shell: row of ``features``.
        features: distance features.
        count: number of edges.
        envelope: the factor that takes messages to zero at the cutoff.
        direction: sum of the unit vectors of the edges.
    """

    center: Int[Tensor, " contacts"]
    neighbor: Int[Tensor, " contacts"]
    shell: Int[Tensor, " contacts"]
    features: Float[Tensor, "shells radial"]
    count: Float[Tensor, "contacts 1"]
    envelope: Float[Tensor, "contacts 1"]
    direction: Float[Tensor, "contacts 3"]


def on_grid(distances: Float[Tensor, " edges"]) -> Float[Tensor, " edges"]:
    """Return distances rounded to 16 ε Å (2e-6 in single precision), so that equal ones compare so.

    The step is what rounding leaves of a distance between coordinates of 10 Å anyway.
    """
    step = 16 * torch.finfo(distances.dtype).eps
    return torch.round(distances / step) * step


def each_edge(
    center: Int[Tensor, " edges"],
    neighbor: Int[Tensor, " edges"],
    features: Float[Tensor, "edges radial"],
    envelope: Float[Tensor, " edges"],
    directions: Float[Tensor, "edges 3"],
) -> Contacts:
    """Return every edge as a contact of its own, differentiable as often as one likes."""
    return Contacts(
        center=center,
        neighbor=neighbor,
        shell=torch.arange(len(center), device=center.device),
        features=features,
        count=torch.ones_like(envelope).unsqueeze(-1),
        envelope=envelope.unsqueeze(-1),
        direction=directions,
    )


def merged(
    center: Int[Tensor, " edges"],
    neighbor: Int[Tensor, " edges"],
    features: Float[Tensor, "edges radial"],
    envelope: Float[Tensor, " edges"],
    directions: Float[Tensor, "edges 3"],
) -> Contacts:
    """Return the contacts of edges whose features and envelope are equal to the last bit.

    Exact for values and for first derivatives; second derivatives by the features, envelope and
    directions of single edges are not, as edges are no longer free to move apart.
    """
    shell, shells = _shells(features.detach(), envelope.detach())
    atoms = int(torch.stack([center.max(), neighbor.max()]).max()) + 1 if len(center) else 0
    code = (center * atoms + neighbor) * shells + shell
    code, contact, count = code.unique(return_inverse=True, return_counts=True)
    pair, shell_of_contact = code // max(shells, 1), code % max(shells, 1)
    return Contacts(
        center=pair // max(atoms, 1),
        neighbor=pair % max(atoms, 1),
        shell=shell_of_contact,
        features=_mean(features, shell, shells),
        count=count.unsqueeze(-1).to(envelope.dtype),
        envelope=_mean(envelope.unsqueeze(-1), contact, len(code)),
        direction=directions.new_zeros(len(code), 3).index_add(0, contact, directions),
    )


def _shells(
    features: Float[Tensor, "edges radial"], envelope: Float[Tensor, " edges"]
) -> tuple[Int[Tensor, " edges"], int]:
    """Return which edges have equal features and envelope, as a number, and how many there are."""
    order = torch.argsort(envelope, stable=True)
    rows, factors = features.index_select(0, order), envelope.index_select(0, order)
    starts = torch.ones_like(order)
    starts[1:] = (rows[1:] != rows[:-1]).any(-1) | (factors[1:] != factors[:-1])
    ranks = torch.cumsum(starts, 0)
    return torch.empty_like(ranks).scatter_(0, order, ranks - 1), int(starts.sum())


def _mean(
    values: Float[Tensor, "edges width"], group: Int[Tensor, " edges"], groups: int
) -> Float[Tensor, "groups width"]:
    """Return the mean of equal rows, so that each of them has its share of a derivative."""
    counts = torch.bincount(group, minlength=groups).unsqueeze(-1).to(values.dtype)
    return values.new_zeros(groups, values.shape[1]).index_add(0, group, values) / counts
