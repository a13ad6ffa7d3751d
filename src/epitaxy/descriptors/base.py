"""What every descriptor is: one vector per atom, a function of its surroundings."""

import math
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from epitaxy.crystals.crystals import Crystals
from epitaxy.crystals.graph import Graph
from epitaxy.crystals.neighbors import build_graph
from epitaxy.errors import InputError
from epitaxy.nn.scaling import Transform
from epitaxy.registry import Component


class Descriptor(Component):
    """A frozen dataclass of constants that maps a graph to (atoms, size) numbers.

    Plain torch: any device, any floating-point type, differentiable in positions and strain.

    Class attributes:
        label_transform: what is applied to its values before they are standardized as labels.
    """

    label_transform: ClassVar[Transform] = "none"
    cutoff: float

    @property
    @abstractmethod
    def feature_names(self) -> tuple[str, ...]:
        """One name per column."""

    @abstractmethod
    def __call__(self, graph: Graph) -> Float[Tensor, "atoms size"]:
        """Return the descriptor of every atom."""

    @property
    def size(self) -> int:
        """Number of columns."""
        return len(self.feature_names)

    def cutoff_for(self, numbers: Iterable[int]) -> float:
        """Return how far it looks in Å where these are all of the elements."""
        return self.cutoff

    def neighborhood(self, graph: Graph) -> Graph:
        """Return the graph within this descriptor's cutoff.

        Raises InputError where the graph is too short for it, lies on several devices, or holds
        positions or cells that are not finite.
        """
        require_sound(graph)
        if graph.cutoff < self.cutoff:
            raise InputError(
                f"{type(self).__name__} sees {self.cutoff:g} Å far, but the graph's edges end at "
                f"{graph.cutoff:g} Å: build the graph with cutoff={self.cutoff:g}."
            )
        return graph.within(self.cutoff)


def described(
    descriptor: Descriptor, crystals: Crystals, atoms: int = 512
) -> Iterator[tuple[Graph, Float[Tensor, "atoms size"]]]:
    """Yield graphs of some crystals at a time, about ``atoms`` atoms, and the descriptor of each.

    Memory is bounded by ``atoms`` (or the largest crystal), however many crystals there are.
    """
    first, last = 0, len(crystals)
    bounds = crystals.offsets.tolist()
    while first < last:
        after = first + 1
        while after < last and bounds[after + 1] - bounds[first] <= atoms:
            after += 1
        some = crystals[first:after]
        cutoff = descriptor.cutoff_for(torch.unique(some.numbers).tolist())
        graph = build_graph(some, cutoff)
        with torch.no_grad():
            yield graph, descriptor(graph)
        first = after


def require_sound(graph: Graph) -> None:
    """Raise InputError where a graph lies on several devices or its geometry is not finite."""
    crystals = graph.crystals
    parts = (crystals.numbers, crystals.cell, graph.center, graph.neighbor, graph.shift)
    for part in parts:
        if part.device != crystals.device:
            raise InputError(
                f"the graph lies on {crystals.device} and on {part.device}: move all of it with "
                "graph.to(device)."
            )
    finite = torch.isfinite(crystals.positions).all(-1)
    cells = torch.isfinite(crystals.cell).flatten(1).all(-1)
    if bool(finite.all()) and bool(cells.all()):
        return
    wrong = torch.cat([crystals.crystal_of_atom[~finite], torch.nonzero(~cells).flatten()])
    raise InputError(
        f"crystal '{crystals.ids[int(wrong.min())]}' has positions or a cell that are not finite."
    )


def bell(exponents: Tensor) -> Tensor:
    """Return exp of exponents ≤ 0, level where it is nothing: e^−61, or e^−496 in double precision.

    Below that, a product with another small number is denormal, and processors take a hundred times
    as long over a denormal number as over any other.
    """
    return torch.exp(exponents.clamp(min=0.7 * math.log(torch.finfo(exponents.dtype).tiny)))
