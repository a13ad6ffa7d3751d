"""Edges that cannot be told apart, taken together."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


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
    order = torch.argsort(envelope, stable=True)
    rows, factors = features.detach().index_select(0, order), envelope.index_select(0, order)
    starts = torch.ones_like(order)
    starts[1:] = (rows[1:] != rows[:-1]).any(-1) | (factors[1:] != factors[:-1])
    shell = torch.empty_like(order).scatter_(0, order, torch.cumsum(starts, 0) - 1)
    representative = order[starts.bool()]

    atoms = 1 + int(torch.cat([center, neighbor]).max()) if len(center) else 1
    shells = max(len(representative), 1)
    code = (center * atoms + neighbor) * shells + shell
    code, contact, count = code.unique(return_inverse=True, return_counts=True)
    pair, shell_of_contact = code // shells, code % shells
    return Contacts(
        center=pair // atoms,
        neighbor=pair % atoms,
        shell=shell_of_contact,
        features=features.index_select(0, representative),
        count=count.unsqueeze(-1).to(envelope.dtype),
        envelope=envelope[representative][shell_of_contact].unsqueeze(-1),
        direction=directions.new_zeros(len(code), 3).index_add(0, contact, directions),
    )


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
