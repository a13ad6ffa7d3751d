"""What every objective is: what a network shall learn, from view to loss, in one place."""

import copy
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from epitaxy.backbones.base import Backbone, Embedding, Encoding
from epitaxy.crystals.crystals import Crystals, Index
from epitaxy.crystals.graph import Graph
from epitaxy.crystals.neighbors import GraphBuilder
from epitaxy.crystals.targets import Target
from epitaxy.registry import Component


@runtime_checkable
class Encode(Protocol):
    """Encodes a graph; the same graph is encoded once within a training step."""

    def __call__(
        self, graph: Graph, alter: Callable[[Embedding], Embedding] | None = None
    ) -> Encoding:
        """Return the encoding, with the embedding changed by ``alter`` before it is propagated."""


@dataclass(frozen=True, eq=False)
class View:
    """What an objective reads of some crystals: graphs and labels, no weights.

    Attributes:
        graphs: one or more graphs of the same crystals, in the same order.
        labels: name → target of those crystals or their atoms.
        skipped: ids of crystals that the objective cannot use.
    """

    graphs: tuple[Graph, ...]
    labels: Mapping[str, Target] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.graphs[0])

    def __getitem__(self, index: Index) -> "View":
        carrier = self.graphs[0].crystals.with_targets(self.labels)
        return View(
            graphs=tuple(graph[index] for graph in self.graphs),
            labels=carrier[index].targets,
            skipped=self.skipped,
        )

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> "View":
        """Return the view on a device and, if given, in a floating-point type."""
        carrier = self.graphs[0].crystals.with_targets(self.labels).to(device, dtype)
        return View(
            graphs=tuple(graph.to(device, dtype) for graph in self.graphs),
            labels=carrier.targets,
            skipped=self.skipped,
        )


@runtime_checkable
class Predicts(Protocol):
    """An objective that predicts its targets."""

    def outputs(self, encode: Encode, head: nn.Module, graph: Graph) -> dict[str, Tensor]:
        """Return target → values of crystals, or of atoms, or probabilities of their classes."""


class Objective(Component):
    """A frozen dataclass of constants; ``prepare`` returns a copy that carries fitted numbers.

    Class attributes:
        chance: whether two views of the same crystals differ (noise, masks).
        derivatives: whether positions and strain must be leaves.
        fewest: crystals that a batch must have at least.
    """

    chance: ClassVar[bool] = True
    derivatives: ClassVar[bool] = False
    fewest: ClassVar[int] = 1
    fitted: Mapping[str, Any] | None = None

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the targets that it reads."""
        return ()

    @property
    def reach(self) -> float:
        """How far its labels look, in Å; 0 where they need no neighbor."""
        return 0.0

    def prepare(
        self, crystals: Crystals, build_graph: GraphBuilder, generator: torch.Generator
    ) -> "Objective":
        """Return a copy with what it fits on a sample of the training crystals."""
        return self

    def usable(self, crystals: Crystals) -> Tensor:
        """Return a mask of the crystals that it can learn from; the others are left out."""
        return torch.ones(len(crystals), dtype=torch.bool)

    def with_fitted(self, fitted: Mapping[str, Any] | None) -> "Objective":
        """Return a copy that carries these fitted numbers, as a checkpoint's JSON keeps them."""
        copied = copy.copy(self)
        object.__setattr__(copied, "fitted", fitted)
        return copied

    @abstractmethod
    def view(
        self, crystals: Crystals, build_graph: GraphBuilder, generator: torch.Generator
    ) -> View:
        """Return graphs and labels of the crystals."""

    @abstractmethod
    def head(self, backbone: Backbone) -> nn.Module:
        """Return the layers between the encoding and the labels."""

    @abstractmethod
    def loss(self, encode: Encode, head: nn.Module, view: View) -> dict[str, Tensor]:
        """Return ``{"loss": what is minimized, name: what is logged besides}``, all scalars.

        A loss is a mean over the view's labels, and zero where there is none; another figure is
        NaN then.
        """
