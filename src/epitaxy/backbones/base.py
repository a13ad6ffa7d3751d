"""What every backbone is: crystals' graphs in, representations of atoms, edges and crystals out."""

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from epitaxy.crystals.graph import Graph, Ties
from epitaxy.crystals.neighbors import GraphBuilder
from epitaxy.errors import InputError
from epitaxy.registry import Component


@dataclass(frozen=True, eq=False)
class Embedding:
    """All that a backbone may know of elements and geometry.

    Attributes:
        nodes: the element embedding, NE0.
        edges: distance features; they vanish at the cutoff where the backbone is smooth.
        neighbor_nodes: a second element embedding, seen by neighbors only, or None.
        directions: unit vectors from center to neighbor, or None for an invariant backbone.
        envelope: the factor that takes messages to zero at the cutoff, or None.
        crystals: the state features at the start, or None.
    """

    nodes: Float[Tensor, "atoms width"]
    edges: Float[Tensor, "edges radial"]
    neighbor_nodes: Float[Tensor, "atoms width"] | None = None
    directions: Float[Tensor, "edges 3"] | None = None
    envelope: Float[Tensor, " edges"] | None = None
    crystals: Float[Tensor, "crystals state"] | None = None


@dataclass(frozen=True, eq=False)
class Encoding:
    """What a backbone makes of a graph.

    Attributes:
        nodes: the representation of every atom.
        edges: the representation of every edge, or the distance features it started from.
        vectors: equivariant channels of every atom, or None.
        crystals: state features, or None.
        layers: node features after every layer, NE0 … NEn.
    """

    nodes: Float[Tensor, "atoms width"]
    edges: Float[Tensor, "edges edge_width"]
    vectors: Float[Tensor, "atoms 3 width"] | None = None
    crystals: Float[Tensor, "crystals state"] | None = None
    layers: tuple[Float[Tensor, "atoms width"], ...] = field(default=())


class Backbone(Component, nn.Module):
    """A graph network cut in two: ``embed`` reads the atoms, ``propagate`` only indices.

    A subclass takes constants, keeps each under its name, and declares what it has. After
    ``embed`` nothing may be read from the graph's numbers, positions or cell: what is masked in
    the Embedding cannot leak.

    Ours take ``inputs``, the name and columns of an atom-level input of the crystals (the frozen
    representations of another encoder, say), and ``inputs_mode``: whether it replaces the element
    or is joined to it. NE0 is then what the network makes of it.
    """

    has_vectors: ClassVar[bool] = False
    has_edges: ClassVar[bool] = False
    has_state: ClassVar[bool] = False
    compiles: ClassVar[bool] = False

    width: int
    edge_width: int
    state_width: int = 0
    cutoff: float
    neighbors: int | None
    ties: Ties
    elements: int
    smooth: bool

    @abstractmethod
    def embed(self, graph: Graph) -> Embedding:
        """Return everything that depends on elements and geometry."""

    @abstractmethod
    def propagate(self, graph: Graph, embedding: Embedding) -> Encoding:
        """Return the representations, reading nothing but indices from the graph."""

    def forward(self, graph: Graph) -> Encoding:
        """Return ``propagate(graph, embed(graph))``."""
        return self.propagate(graph, self.embed(graph))

    def graph_builder(self, reach: float = 0.0) -> GraphBuilder:
        """Return what builds this backbone's graphs; one neighbor list serves up to ``reach`` Å."""
        return GraphBuilder(self.cutoff, self.neighbors, self.ties, reach)

    def check_elements(self, graph: Graph) -> None:
        """Raise InputError that names the crystal if an atomic number has no embedding."""
        numbers = graph.crystals.numbers
        if not numbers.numel() or (int(numbers.min()) >= 1 and int(numbers.max()) < self.elements):
            return
        atom = int(torch.nonzero((numbers < 1) | (numbers >= self.elements))[0])
        crystal = graph.crystals.ids[int(graph.crystals.crystal_of_atom[atom])]
        raise InputError(
            f"crystal '{crystal}' has an atom of atomic number {int(numbers[atom])}: this "
            f"backbone knows 1 to {self.elements - 1}. Raise its argument 'elements'."
        )
