"""Edges that cannot be told apart, taken together."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from epitaxy.crystals.segments import gather


@dataclass(frozen=True, eq=False)
class Contacts:
    """Edges from one center to images of one neighbor at one distance, counted as one.

    All messages of such edges are equal but for their direction, and they are summed: n times the
    message does for the scalars, Σ r̂ for the directions. In a cubic perovskite two of three edges
    go away. Distances recur between other pairs too, so filters are made once per shell.

    Attributes:
        center, neighbor: indices of atoms; sorted by center, but for loops, which come last.
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


def once_per_length(
    distances: Float[Tensor, " edges"],
    expand: Callable[[Tensor], tuple[Tensor, Tensor]],
) -> tuple[Float[Tensor, "edges radial"], Float[Tensor, " edges"]]:
    """Return features and envelope of edges, made once for all edges of one length.

    Where distances need a derivative each edge has its own.
    """
    if distances.requires_grad:
        return expand(distances)
    lengths, shell = on_grid(distances).unique(return_inverse=True)
    features, envelope = expand(lengths)
    return gather(features, shell), gather(envelope, shell)


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

    Exact for values and for derivatives by what all edges share, such as parameters. A derivative
    by the features of single edges is found at one of the alike edges.
    """
    found = alike(center, neighbor, features.detach(), envelope, envelope)
    return Contacts(
        center=found.center,
        neighbor=found.neighbor,
        shell=found.shell,
        features=features.index_select(0, found.representative),
        count=found.size.unsqueeze(-1).to(envelope.dtype),
        envelope=envelope[found.representative][found.shell].unsqueeze(-1),
        direction=directions.new_zeros(len(found.center), 3).index_add(0, found.group, directions),
    )


class Alike(NamedTuple):
    """Groups of edges between the same two atoms in the same shell, sorted by center.

    Attributes:
        center, neighbor, shell, size: of every group.
        representative: an edge of every shell.
        group: of every edge.
    """

    center: Tensor
    neighbor: Tensor
    shell: Tensor
    size: Tensor
    representative: Tensor
    group: Tensor


def alike(
    center: Int[Tensor, " edges"],
    neighbor: Int[Tensor, " edges"],
    features: Float[Tensor, "edges radial"],
    envelope: Float[Tensor, " edges"],
    mark: Float[Tensor, " edges"],
) -> Alike:
    """Return the groups of edges whose features and envelope are equal to the last bit.

    ``mark`` is equal where these are, and brings them next to each other when it is sorted.
    """
    order = torch.argsort(mark, stable=True)
    rows, factors = features.index_select(0, order), envelope.index_select(0, order)
    starts = torch.ones_like(order)
    starts[1:] = (rows[1:] != rows[:-1]).any(-1) | (factors[1:] != factors[:-1])
    shell = torch.empty_like(order).scatter_(0, order, torch.cumsum(starts, 0) - 1)
    representative = order[starts.bool()]

    atoms = 1 + int(torch.cat([center, neighbor]).max()) if len(center) else 1
    shells = max(len(representative), 1)
    code = (center * atoms + neighbor) * shells + shell
    code, group, count = code.unique(return_inverse=True, return_counts=True)
    pair = code // shells
    return Alike(pair // atoms, pair % atoms, code % shells, count, representative, group)


def with_self_loops(
    contacts: Contacts,
    features: Float[Tensor, "1 radial"],
    envelope: Float[Tensor, " 1"],
    atoms: int,
) -> Contacts:
    """Return the contacts and, last, one of each atom with itself, without direction.

    ``features`` and ``envelope`` are those of zero distance.
    """
    atom = torch.arange(atoms, device=contacts.center.device)
    return Contacts(
        center=torch.cat([contacts.center, atom]),
        neighbor=torch.cat([contacts.neighbor, atom]),
        shell=torch.cat([contacts.shell, torch.full_like(atom, len(contacts.features))]),
        features=torch.cat([contacts.features, features]),
        count=torch.cat([contacts.count, contacts.count.new_ones(atoms, 1)]),
        envelope=torch.cat([contacts.envelope, envelope.expand(atoms).unsqueeze(-1)]),
        direction=torch.cat([contacts.direction, contacts.direction.new_zeros(atoms, 3)]),
    )
