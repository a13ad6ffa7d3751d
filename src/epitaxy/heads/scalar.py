"""Scalars of crystals or of atoms, read from the representation of every atom."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor, nn

from epitaxy.crystals.graph import Graph
from epitaxy.crystals.targets import Level
from epitaxy.errors import InputError
from epitaxy.nn.perceptron import Perceptron
from epitaxy.nn.pooling import Pooling, pool


@runtime_checkable
class AtomRepresentations(Protocol):
    """What the head reads of an encoding."""

    @property
    def nodes(self) -> Tensor:
        """The representation of every atom, shape (atoms, width)."""


class ScalarHead(nn.Module):
    """y_i = MLP(x_i) of every atom; of a crystal, the mean or the sum of y_i over its atoms.

    The perceptron comes before the pooling, so that a sum doubles when the cell does, and a mean
    stays. ``hidden`` are the widths of its hidden layers; two of ``width`` unless told, none for a
    linear head. At the start all biases are zero, however few inputs a layer has.
    """

    def __init__(
        self,
        width: int,
        outputs: int = 1,
        hidden: Sequence[int] | None = None,
        level: Level = "crystal",
        pooling: Pooling = "mean",
    ) -> None:
        super().__init__()
        if level not in ("crystal", "atom"):
            raise InputError(f"a head's level is 'crystal' or 'atom', not '{level}'.")
        if pooling not in ("mean", "sum"):
            raise InputError(f"a head's pooling is 'mean' or 'sum', not '{pooling}'.")
        self.width, self.outputs, self.level, self.pooling = width, outputs, level, pooling
        self.hidden = (width, width) if hidden is None else tuple(hidden)
        self.perceptron = Perceptron(width, self.hidden, outputs)
        for layer in self.perceptron:
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)

    def forward(self, encoding: AtomRepresentations, graph: Graph) -> Float[Tensor, "rows outputs"]:
        """Return one row per crystal, or per atom, by ``level``."""
        of_atoms = self.perceptron(encoding.nodes)
        if self.level == "atom":
            return of_atoms
        return pool(of_atoms, graph.crystals, self.pooling)
