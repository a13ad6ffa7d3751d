"""MEGNet, the graph network with a global state of Chen et al. (Chem. Mater. 31, 3564, 2019)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, ClassVar

import torch
from annotated_types import Gt
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import linear, softplus

from epitaxy.backbones.base import Backbone, Embedding, Encoding
from epitaxy.crystals.crystals import Crystals
from epitaxy.crystals.graph import Graph, Ties
from epitaxy.crystals.segments import gather, mean_over_atoms, sum_over_atoms, sum_over_neighbors
from epitaxy.nn.atom_inputs import GivenInputs, InputsMode, atom_rows, atom_table
from epitaxy.nn.bonds import Bonds, merged_bonds, single_bonds
from epitaxy.nn.contacts import once_per_length
from epitaxy.nn.envelope import cosine_envelope

Positive = Annotated[int, Gt(0)]
FARTHEST = 46.0  # exponent beyond which a Gaussian is zero: denormal numbers slow products 50 times
PUBLISHED = {
    "width": 32,
    "hidden": 64,
    "layers": 3,
    "element_width": 16,
    "radial": 100,
    "last_center": 5.0,
    "gaussian_width": 0.5,
    "cutoff": 4.0,
    "envelope": False,
}


class MEGNet(Backbone):
    """Atoms v, edges e and one state u of every crystal, updated in this order.

    Every image within the cutoff is an edge of its own. With ζ(x) = ln((eˣ + 1)/2), ‖ for
    concatenation and σ for ``gaussian_width``, v = D(Emb(Z)), e = D(exp(−(r − μ_k)²/σ²)), u = D(0)
    at the start, and in each block

        v, e, u ← D(v), D(e), D(u)                not in the first block
        e'_ij = φ_e[v_i ‖ v_j ‖ e_ij ‖ u]
        v'_i = φ_v[v_i ‖ ē'_i ‖ u]                ē'_i: mean over the edges of i
        u' = φ_u[u ‖ ē' ‖ v̄']                     means over the edges and atoms of the crystal

    are added to what came into the block. D is ζ(W ζ(W x)), of widths ``hidden``, ``width``; φ has
    widths ``hidden``, ``hidden``, ``width`` and no activation at its end. The state starts from
    ``state`` zeros.

    Difference from the paper, switched back by ``envelope=False``: plain means jump as an edge
    leaves the graph, for its weight does. Here edges weigh f = ½[cos(πr/R_c) + 1] and every atom
    counts as one more edge of value zero,

        ē'_i = Σ_j f e'_ij / (1 + Σ_j f),   ē' = Σ_ij f e'_ij / Σ_i (1 + Σ_j f),

    so that means go to zero, smoothly, with the last neighbor; Gaussians are multiplied by f too.

    Presets: ``paper`` is the paper's model as its authors' first package (``megnet``, Keras) has
    it. ``matgl``, their second, differs twice: φ ends with ζ (``activate_last``), and a width of
    0.5 there means exp(−0.5 (r − μ)²), that is σ = √2 Å.
    """

    has_edges: ClassVar[bool] = True
    has_state: ClassVar[bool] = True
    centers: Tensor

    presets: ClassVar[dict] = {
        "paper": PUBLISHED,
        "matgl": {**PUBLISHED, "gaussian_width": math.sqrt(2.0), "activate_last": True},
        "small": {"width": 32, "hidden": 64, "layers": 3, "element_width": 32, "radial": 32},
        "best": {},  # the defaults: what we would start from where time allows
    }

    def __init__(
        self,
        width: Positive = 64,
        hidden: Positive = 128,
        layers: Positive = 3,
        element_width: Positive = 64,
        state: Positive = 2,
        radial: Annotated[int, Gt(1)] = 50,
        last_center: Annotated[float, Gt(0)] | None = None,
        gaussian_width: Annotated[float, Gt(0)] = 0.25,
        cutoff: Annotated[float, Gt(0)] = 5.0,
        neighbors: Positive | None = None,
        ties: Ties = "shells",
        elements: Positive = 119,
        envelope: bool = True,
        activate_last: bool = False,
        inputs: GivenInputs | None = None,
        inputs_mode: InputsMode = "replace",
    ) -> None:
        super().__init__()
        self.width, self.hidden, self.layers = width, hidden, layers
        self.element_width, self.state, self.radial = element_width, state, radial
        self.last_center, self.gaussian_width = last_center, gaussian_width
        self.cutoff, self.neighbors, self.ties, self.elements = cutoff, neighbors, ties, elements
        self.envelope, self.activate_last = envelope, activate_last
        self.edge_width = self.state_width = width
        self.smooth = envelope and neighbors is None

        self.inputs, self.inputs_mode = inputs, inputs_mode
        table = nn.Embedding(elements, element_width)
        self.element_table = atom_table(table, element_width, inputs, inputs_mode)
        centers = torch.linspace(0.0, cutoff if last_center is None else last_center, radial)
        self.register_buffer("centers", centers, persistent=False)
        self.node_start = Dense((element_width, hidden, width))
        self.edge_start = Dense((radial, hidden, width))
        self.state_start = Dense((state, hidden, width))
        self.blocks = nn.ModuleList(
            Block(width, hidden, dense=number > 0, activate_last=activate_last)
            for number in range(layers)
        )

    def embed(self, graph: Graph) -> Embedding:
        """Return dense element embeddings, Gaussians of distances, a state of zeros, envelope."""
        self.check_elements(graph)
        distances = graph.distances()
        edges, envelope = once_per_length(distances, self._expanded)
        nodes = self.node_start(atom_rows(self.element_table, graph.crystals))
        return Embedding(
            nodes=nodes,
            edges=edges,
            envelope=envelope if self.envelope else None,
            crystals=edges.new_zeros(len(graph), self.state),
        )

    def propagate(self, graph: Graph, embedding: Embedding) -> Encoding:
        """Return the representations after every block; NE0 is the dense element embedding.

        Edges that cannot be told apart are taken together unless positions, cell or the edge
        features themselves need a derivative; the result is the same.
        """
        assert embedding.crystals is not None
        bonds = _bonds(graph, embedding)
        means = Means.of(bonds, graph.crystals, smooth=embedding.envelope is not None)
        nodes, state = embedding.nodes, self.state_start(embedding.crystals)
        edges = gather(self.edge_start(bonds.features), bonds.shell)
        layers = [nodes]
        for block in self.blocks:
            nodes, edges, state = block(nodes, edges, state, bonds, means)
            layers.append(nodes)
        return Encoding(
            nodes=nodes, edges=gather(edges, bonds.of_edge), crystals=state, layers=tuple(layers)
        )

    def _expanded(
        self, distances: Float[Tensor, " edges"]
    ) -> tuple[Float[Tensor, "edges radial"], Float[Tensor, " edges"]]:
        """Return the Gaussians, times the envelope if there is one, and the envelope."""
        envelope = cosine_envelope(distances, self.cutoff)
        exponent = ((distances.unsqueeze(-1) - self.centers) / self.gaussian_width) ** 2
        features = torch.exp(-exponent.clamp(max=FARTHEST)) * (exponent < FARTHEST)
        return (features * envelope.unsqueeze(-1) if self.envelope else features), envelope


def softplus2(values: Tensor) -> Tensor:
    """Return ζ(x) = ln((eˣ + 1)/2), which is zero at zero."""
    return softplus(values).sub_(math.log(2.0))


class Dense(nn.Module):
    """ζ(W … ζ(W x + b) + b), with or without the last ζ."""

    def __init__(self, widths: Sequence[int], activate_last: bool = True) -> None:
        super().__init__()
        steps = [nn.Linear(*ends) for ends in pairwise(widths)]
        for step in steps:
            nn.init.xavier_uniform_(step.weight)
            nn.init.zeros_(step.bias)
        self.first, self.rest = steps[0], nn.ModuleList(steps[1:])
        self.activate_last = activate_last

    def forward(self, inputs: Float[Tensor, "rows inputs"]) -> Float[Tensor, "rows outputs"]:
        """Return the outputs for whole inputs."""
        return self.after_first(self.first(inputs))

    def columns(self, parts: int) -> tuple[Tensor, ...]:
        """Return the first matrix cut into what meets each of ``parts`` concatenated inputs."""
        return self.first.weight.chunk(parts, dim=1)

    def after_first(self, values: Float[Tensor, "rows hidden"]) -> Float[Tensor, "rows outputs"]:
        """Return the outputs from what the first matrix gave."""
        for step in self.rest:
            values = step(softplus2(values))
        return softplus2(values) if self.activate_last else values


class Block(nn.Module):
    """Dense layers, the three updates, and what came in added to what comes out."""

    def __init__(self, width: int, hidden: int, dense: bool, activate_last: bool) -> None:
        super().__init__()
        self.node_dense, self.edge_dense, self.state_dense = (
            Dense((width, hidden, width)) if dense else nn.Identity() for _ in range(3)
        )
        self.edge_update, self.node_update, self.state_update = (
            Dense((parts * width, hidden, hidden, width), activate_last) for parts in (4, 3, 3)
        )

    def forward(
        self,
        nodes: Float[Tensor, "atoms width"],
        edges: Float[Tensor, "bonds width"],
        state: Float[Tensor, "crystals width"],
        bonds: Bonds,
        means: "Means",
    ) -> tuple[
        Float[Tensor, "atoms width"],
        Float[Tensor, "bonds width"],
        Float[Tensor, "crystals width"],
    ]:
        """Return nodes, edges and state after the block."""
        v, e, u = self.node_dense(nodes), self.edge_dense(edges), self.state_dense(state)
        crystal = means.crystal_of_atom
        by_center, by_neighbor, by_edge, by_state = self.edge_update.columns(4)
        centers = linear(v, by_center) + gather(linear(u, by_state), crystal)
        hidden = linear(e, by_edge, self.edge_update.first.bias)
        hidden = hidden.add_(gather(centers, bonds.center))
        hidden = hidden.add_(gather(linear(v, by_neighbor), bonds.neighbor))
        new_edges = self.edge_update.after_first(hidden)
        around, throughout = means.of_edges(new_edges)
        new_nodes = self.node_update(torch.cat([v, around, gather(u, crystal)], dim=-1))
        average = mean_over_atoms(new_nodes, crystal, means.atom_counts)
        new_state = self.state_update(torch.cat([u, throughout, average], dim=-1))
        return nodes + new_nodes, edges + new_edges, state + new_state


@dataclass(frozen=True, eq=False)
class Means:
    """Weighted means over the edges of every atom and of every crystal.

    Attributes:
        center: the atom that a bond belongs to.
        weight: of the bond in every sum.
        of_atom, of_crystal: what sums are divided by.
        crystal_of_atom, atom_counts: as in Crystals.
    """

    center: Int[Tensor, " bonds"]
    weight: Float[Tensor, "bonds 1"]
    of_atom: Float[Tensor, "atoms 1"]
    of_crystal: Float[Tensor, "crystals 1"]
    crystal_of_atom: Int[Tensor, " atoms"]
    atom_counts: Int[Tensor, " crystals"]

    @classmethod
    def of(cls, bonds: Bonds, crystals: Crystals, smooth: bool) -> "Means":
        """Return plain means, or ``smooth`` ones with one more edge of value zero per atom."""
        of_atom = sum_over_neighbors(bonds.weight, bonds.center, crystals.atom_total)
        if smooth:
            of_atom = of_atom + 1.0
        of_crystal = sum_over_atoms(of_atom, crystals.crystal_of_atom, len(crystals))
        return cls(
            center=bonds.center,
            weight=bonds.weight,
            of_atom=of_atom.clamp(min=1.0),
            of_crystal=of_crystal.clamp(min=1.0),
            crystal_of_atom=crystals.crystal_of_atom,
            atom_counts=crystals.atom_counts,
        )

    def of_edges(
        self, edges: Float[Tensor, "bonds width"]
    ) -> tuple[Float[Tensor, "atoms width"], Float[Tensor, "crystals width"]]:
        """Return the means over the edges of every atom and of every crystal; zero for no edge."""
        sums = sum_over_neighbors(edges * self.weight, self.center, len(self.of_atom))
        totals = sum_over_atoms(sums, self.crystal_of_atom, len(self.of_crystal))
        return sums / self.of_atom, totals / self.of_crystal


def _bonds(graph: Graph, embedding: Embedding) -> Bonds:
    """Return the edges, alike ones merged where no derivative by single edges is wanted."""
    edges, envelope = embedding.edges, embedding.envelope
    if envelope is None:
        envelope = edges.new_ones(len(edges))
    single = envelope.requires_grad or edges.requires_grad
    together = single_bonds if single else merged_bonds
    return together(graph.center, graph.neighbor, edges, envelope)
