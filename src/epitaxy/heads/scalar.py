"""Scalars of crystals, atoms or edges, read from their representations."""

from collections.abc import Sequence
from typing import Literal, Protocol, get_args, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from epitaxy.crystals.crystals import Crystals
from epitaxy.crystals.graph import Graph
from epitaxy.errors import InputError
from epitaxy.nn.perceptron import Perceptron
from epitaxy.nn.pooling import READERS, Additive, Pooling, pool

HeadLevel = Literal["crystal", "atom", "edge"]
Readout = Literal["atoms", "pooled"]


@runtime_checkable
class Representations(Protocol):
    """What the head reads of an encoding."""

    @property
    def nodes(self) -> Tensor:
        """The representation of every atom, shape (atoms, width)."""

    @property
    def edges(self) -> Tensor:
        """The representation of every edge, shape (edges, edge_width)."""


class ScalarHead(nn.Module):
    """y_i = MLP(x_i) of every atom or edge; of a crystal, what a pooling makes of its atoms.

    With the poolings ``"mean"`` and ``"sum"`` the perceptron comes first, y = pool_i MLP(x_i), so
    that a sum doubles when the cell does, and a mean stays. With ``"attention"``, ``"set2set"`` and
    ``"cumulants"`` representations are pooled, y = MLP(pool_i x_i), which stays too.
    ``extensive`` multiplies what stays by the number of atoms: it doubles then. It is one for all
    outputs, or one for each.

    With ``readout="pooled"`` means and sums are pooled ahead of the perceptron too. A mean stays
    then, as above; y = MLP(Σ_i x_i), as published in doi 10.1039/d3dd00214d and arXiv:2503.01227,
    neither stays nor doubles when the cell does, and ``extensive`` has no say in it.

    ``width`` is the backbone's, or its ``edge_width`` at level ``"edge"``. ``hidden`` are the
    widths of the perceptron's hidden layers; two of ``width`` unless told, none for a linear head.
    At the start all its biases are zero, however few inputs a layer has.
    """

    def __init__(
        self,
        width: int,
        outputs: int = 1,
        hidden: Sequence[int] | None = None,
        level: HeadLevel = "crystal",
        pooling: Pooling = "mean",
        extensive: bool | Sequence[bool] = False,
        readout: Readout = "atoms",
    ) -> None:
        super().__init__()
        asked = ("level", level, HeadLevel), ("pooling", pooling, Pooling)
        for what, given, known in (*asked, ("readout", readout, Readout)):
            if given not in get_args(known):
                choices = "', '".join(get_args(known))
                raise InputError(f"a head's {what} is one of '{choices}', not '{given}'.")
        self.width, self.outputs, self.level, self.pooling = width, outputs, level, pooling
        self.readout = readout
        self.extensive = extensive if isinstance(extensive, bool) else tuple(extensive)
        self.hidden = (width, width) if hidden is None else tuple(hidden)
        read_first = level == "crystal" and pooling in READERS
        self.reader = READERS[pooling](width) if read_first else None
        inputs = width if self.reader is None else self.reader.outputs
        self.perceptron = started_at_zero(Perceptron(inputs, self.hidden, outputs))

    def forward(self, encoding: Representations, graph: Graph) -> Float[Tensor, "rows outputs"]:
        """Return one row per crystal, atom or edge, by ``level``."""
        if self.level == "edge":
            return self.perceptron(encoding.edges)
        if self.level == "atom":
            return self.perceptron(encoding.nodes)
        crystals = graph.crystals
        additive: Additive = "sum" if self.pooling == "sum" else "mean"
        if self.reader is not None:
            of_crystals = self.perceptron(
                self.reader(encoding.nodes, crystals.crystal_of_atom, crystals.atom_counts)
            )
        elif self.readout == "pooled":
            of_crystals = self.perceptron(pool(encoding.nodes, crystals, additive))
        else:
            of_crystals = pool(self.perceptron(encoding.nodes), crystals, additive)
        return (
            of_crystals if self.pooling == "sum" else grown(of_crystals, crystals, self.extensive)
        )


def grown(
    values: Float[Tensor, "crystals outputs"],
    crystals: Crystals,
    extensive: bool | Sequence[bool],
) -> Float[Tensor, "crystals outputs"]:
    """Return the outputs, those that are extensive times the number of atoms."""
    if extensive is False:
        return values
    counts = crystals.atom_counts.unsqueeze(-1)
    if extensive is True:
        return values * counts
    chosen = torch.tensor(extensive, device=values.device)
    return values * torch.where(chosen, counts, 1)


def started_at_zero(perceptron: Perceptron) -> Perceptron:
    """Return the perceptron with the weights of Glorot and Bengio (2010) and zero biases."""
    for layer in perceptron:
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
    return perceptron
