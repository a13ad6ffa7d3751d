"""CGCNN, the crystal graph convolutional network of Xie and Grossman (PRL 120, 145301), 2018."""

from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Gt
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import batch_norm, linear, softplus

from epitaxy.backbones.base import Backbone, Embedding, Encoding
from epitaxy.crystals.element_properties import property_vectors
from epitaxy.crystals.graph import Graph, Ties
from epitaxy.crystals.segments import gather, sum_over_neighbors
from epitaxy.nn.atom_inputs import GivenInputs, InputsMode, atom_rows, atom_table
from epitaxy.nn.bonds import Bonds, merged_bonds, single_bonds
from epitaxy.nn.contacts import once_per_length
from epitaxy.nn.envelope import cosine_envelope

Positive = Annotated[int, Gt(0)]
Activation = Literal["none", "relu", "silu", "softplus"]
BatchNormed = Literal["none", "messages", "nodes"]
ElementInput = Literal["table", "one_hot", "properties"]
ACTIVATIONS = {"none": nn.Identity, "relu": nn.ReLU, "silu": nn.SiLU, "softplus": nn.Softplus}
NEGLIGIBLE = 1e-20  # features below are zero: denormal numbers make matrix products 50 times slower


class CGCNN(Backbone):
    """Scalars of every atom, to which gated messages of its neighbors are added.

    With z_ij = N(x_i) ‖ N(x_j) ‖ φ(r_ij), N LayerNorm (the identity without ``layer_norm``),
    Gaussians φ_k(r) = exp(−(r − μ_k)² / 2s²) whose μ_k are spread evenly over [0, R_c], and the
    envelope f (1 without ``envelope``), in each layer:

        m_ij = σ(W_f z_ij + b_f) ⊙ softplus(W_s z_ij + b_s)
        x_i ← g(x_i + Σ_j f m_ij)                          aggregation "sum"
        x_i ← g(x_i + Σ_j f m_ij / (1 + Σ_j f))            aggregation "mean" with the envelope
        x_i ← g(x_i + Σ_j m_ij / n_i)                      aggregation "mean" without

    and N once more behind the last. Neither the mean over n neighbors nor Σ f m / Σ f is continuous
    where an atom's last neighbor leaves; the 1, the atom's own place in the mean, makes it so. The
    features φ carry f too.

    The published networks have batch norm or nothing in the place of N. Ours has N, which sees one
    atom only, and starts the columns of W that meet φ ``edge_gain`` times larger than a linear
    layer's: few of the φ differ from zero, so that distances are hardly seen at the start.

    ``batch_norm`` couples the crystals of a batch in training, so that a crystal's representation
    depends on its company; in evaluation it does not. ``"messages"`` normalizes W z over edges and
    Σ_j m over atoms, as Xie and Grossman's code does; ``"nodes"`` normalizes x + Σ_j m over atoms,
    ahead of g. Where there are fewer than two rows it uses the running statistics.

    x⁰ is ``element_input`` of the atomic number, under ``element_activation``: a learned table; the
    same started as a linear layer of a one-hot vector; or a linear layer of the 92 columns of
    ``epitaxy.crystals.element_properties``.

    Args:
        gaussian_width: s in Å.
        edge_channels: φ is first mapped to so many channels, the same in all layers; None: it is
            not.
        activation: g.
        last_activation: whether g follows the last layer too.
    """

    presets: ClassVar[dict] = {
        # Jia et al., Digital Discovery 3, 586 (2024), and its code. Only the layers up to the
        # pooling belong to a backbone: the one before the convolutions, not the three behind.
        "paper": {
            "width": 100,
            "layers": 4,
            "radial": 50,
            "gaussian_width": 1.6,
            "cutoff": 8.0,
            "neighbors": 250,
            "ties": "strict",
            "elements": 101,
            "element_input": "one_hot",
            "element_activation": "silu",
            "aggregation": "mean",
            "envelope": False,
            "layer_norm": False,
            "edge_gain": 1.0,
        },
        # Xie and Grossman, Phys. Rev. Lett. 120, 145301 (2018), and their code.
        "xie2018": {
            "width": 64,
            "layers": 3,
            "radial": 41,
            "gaussian_width": 0.2 / 2**0.5,
            "cutoff": 8.0,
            "neighbors": 12,
            "ties": "strict",
            "elements": 101,
            "element_input": "properties",
            "batch_norm": "messages",
            "activation": "softplus",
            "envelope": False,
            "layer_norm": False,
            "edge_gain": 1.0,
        },
        # Kong et al., arXiv:2211.03563, and its code.
        "paper_d": {
            "width": 64,
            "layers": 5,
            "radial": 41,
            "gaussian_width": 0.2 / 2**0.5,
            "edge_channels": 64,
            "cutoff": 8.0,
            "neighbors": 12,
            "ties": "strict",
            "elements": 101,
            "element_input": "properties",
            "batch_norm": "nodes",
            "activation": "relu",
            "last_activation": False,
            "envelope": False,
            "layer_norm": False,
            "edge_gain": 1.0,
        },
        "small": {"width": 64, "layers": 3, "radial": 32, "cutoff": 5.0},
        "best": {},  # the defaults: what we would start from where time allows
    }

    def __init__(
        self,
        width: Positive = 128,
        layers: Positive = 4,
        radial: Positive = 50,
        gaussian_width: Annotated[float, Gt(0)] = 0.2,
        edge_channels: Positive | None = None,
        cutoff: Annotated[float, Gt(0)] = 6.0,
        neighbors: Positive | None = None,
        ties: Ties = "shells",
        elements: Annotated[int, Gt(1)] = 119,
        element_input: ElementInput = "table",
        element_activation: Activation = "none",
        aggregation: Literal["mean", "sum"] = "sum",
        batch_norm: BatchNormed = "none",
        activation: Activation = "none",
        last_activation: bool = True,
        envelope: bool = True,
        layer_norm: bool = True,
        edge_gain: Annotated[float, Gt(0)] = 30.0,
        inputs: GivenInputs | None = None,
        inputs_mode: InputsMode = "replace",
    ) -> None:
        super().__init__()
        self.width, self.layers, self.radial = width, layers, radial
        self.gaussian_width, self.edge_channels = gaussian_width, edge_channels
        self.cutoff, self.neighbors, self.ties, self.elements = cutoff, neighbors, ties, elements
        self.element_input, self.element_activation = element_input, element_activation
        self.aggregation, self.batch_norm = aggregation, batch_norm
        self.activation, self.last_activation = activation, last_activation
        self.envelope, self.layer_norm, self.edge_gain = envelope, layer_norm, edge_gain
        self.edge_width = radial
        self.smooth = envelope and neighbors is None

        self.inputs, self.inputs_mode = inputs, inputs_mode
        table = _element_table(element_input, elements, width, element_activation)
        self.element_table = atom_table(table, width, inputs, inputs_mode)
        self.edge_map = nn.Identity() if edge_channels is None else nn.Linear(radial, edge_channels)
        self.convolutions = nn.ModuleList(
            Convolution(
                width,
                edge_channels or radial,
                batch_norm,
                activation if last_activation or layer < layers - 1 else "none",
                layer_norm,
                edge_gain,
            )
            for layer in range(layers)
        )
        self.norm = nn.LayerNorm(width) if layer_norm else nn.Identity()

    def embed(self, graph: Graph) -> Embedding:
        """Return element embeddings, expanded distances and, where there is one, the envelope."""
        self.check_elements(graph)
        distances = graph.distances()
        edges, envelope = once_per_length(distances, self._expanded)
        return Embedding(
            nodes=atom_rows(self.element_table, graph.crystals),
            edges=edges,
            envelope=envelope if self.envelope else None,
        )

    def propagate(self, graph: Graph, embedding: Embedding) -> Encoding:
        """Return the representations after every layer; NE0 is the element embedding.

        Edges that cannot be told apart are taken together unless positions, cell or the edge
        features themselves need a derivative, or edges are normalized over the batch; the result
        is the same.
        """
        bonds = self._bonds(graph, embedding)
        nodes = embedding.nodes
        weight = self._weight(bonds, len(nodes))
        features = self.edge_map(bonds.features)
        layers = [nodes]
        for convolution in self.convolutions:
            nodes = convolution(nodes, features, weight, bonds)
            layers.append(nodes)
        return Encoding(nodes=self.norm(nodes), edges=embedding.edges, layers=tuple(layers))

    def _expanded(
        self, distances: Float[Tensor, " edges"]
    ) -> tuple[Float[Tensor, "edges radial"], Float[Tensor, " edges"]]:
        """Return φ(r) f(r), without the digits that slow a processor down, and f(r)."""
        means = torch.linspace(
            0.0, self.cutoff, self.radial, dtype=distances.dtype, device=distances.device
        )
        apart = (distances.unsqueeze(-1) - means) / self.gaussian_width
        features = torch.exp(-0.5 * apart**2)
        envelope = cosine_envelope(distances, self.cutoff)
        if self.envelope:
            features = features * envelope.unsqueeze(-1)
        return torch.where(features < NEGLIGIBLE, torch.zeros_like(features), features), envelope

    def _bonds(self, graph: Graph, embedding: Embedding) -> Bonds:
        """Return the edges, alike ones merged where no single edge is asked for."""
        edges, envelope = embedding.edges, embedding.envelope
        if envelope is None:
            envelope = edges.new_ones(len(edges))
        single = edges.requires_grad or envelope.requires_grad
        single = single or (self.training and self.batch_norm == "messages")
        together = single_bonds if single else merged_bonds
        return together(graph.center, graph.neighbor, edges, envelope)

    def _weight(self, bonds: Bonds, atoms: int) -> Float[Tensor, "bonds 1"]:
        """Return the share of a message in its center's sum or mean."""
        if self.aggregation == "sum":
            return bonds.weight
        total = sum_over_neighbors(bonds.weight, bonds.center, atoms)
        total = 1.0 + total if self.envelope else total.clamp(min=1.0)
        return bonds.weight / gather(total, bonds.center)


class Convolution(nn.Module):
    """One gated convolution with its residual update; see CGCNN for the equations.

    W is one matrix for both gates, W_f above W_s. Its products with x_i and x_j are taken atom by
    atom and those with φ once per distance: z is never put together.
    """

    def __init__(
        self,
        width: int,
        channels: int,
        batch_norm: BatchNormed,
        activation: Activation,
        layer_norm: bool,
        edge_gain: float,
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width) if layer_norm else nn.Identity()
        self.gates = nn.Linear(2 * width + channels, 2 * width)
        self.gates.weight.data[:, 2 * width :] *= edge_gain
        self.edge_norm = BatchNorm(2 * width) if batch_norm == "messages" else nn.Identity()
        self.sum_norm = BatchNorm(width) if batch_norm == "messages" else nn.Identity()
        self.node_norm = BatchNorm(width) if batch_norm == "nodes" else nn.Identity()
        self.activation = ACTIVATIONS[activation]()

    def forward(
        self,
        nodes: Float[Tensor, "atoms width"],
        features: Float[Tensor, "shells channels"],
        weight: Float[Tensor, "bonds 1"],
        bonds: Bonds,
    ) -> Float[Tensor, "atoms width"]:
        """Return the nodes after the layer."""
        (atoms, width), channels = nodes.shape, features.shape[1]
        by_center, by_neighbor, by_edge = self.gates.weight.split([width, width, channels], 1)
        normed = self.norm(nodes)
        gates = gather(linear(normed, by_center, self.gates.bias), bonds.center)
        gates = gates + gather(linear(normed, by_neighbor), bonds.neighbor)
        gates = self.edge_norm(gates + gather(linear(features, by_edge), bonds.shell))
        opening, content = gates.chunk(2, dim=-1)
        messages = torch.sigmoid(opening) * softplus(content) * weight
        summed = sum_over_neighbors(messages, bonds.center, atoms)
        return self.activation(self.node_norm(nodes + self.sum_norm(summed)))


class ElementLinear(nn.Module):
    """g(W v(Z) + b) for a fixed vector v of every element; called with atomic numbers."""

    def __init__(
        self, vectors: Float[Tensor, "elements inputs"], width: int, activation: Activation
    ) -> None:
        super().__init__()
        self.register_buffer("vectors", vectors)
        self.linear = nn.Linear(vectors.shape[1], width)
        self.activation = ACTIVATIONS[activation]()

    def forward(self, numbers: Int[Tensor, " atoms"]) -> Float[Tensor, "atoms width"]:
        """Return the embedding of every atom."""
        return gather(self.activation(self.linear(self.vectors)), numbers)


class BatchNorm(nn.BatchNorm1d):
    """Batch normalization that uses its running statistics where there are fewer than two rows."""

    def forward(self, input: Float[Tensor, "rows width"]) -> Float[Tensor, "rows width"]:
        """Return γ (x − mean) / √(variance + ε) + β."""
        if self.training and len(input) < 2:
            moments = self.running_mean, self.running_var
            return batch_norm(input, *moments, self.weight, self.bias, eps=self.eps)
        return super().forward(input)


def _element_table(
    element_input: ElementInput, elements: int, width: int, activation: Activation
) -> nn.Module:
    """Return the module that turns atomic numbers, from 1 to ``elements`` − 1, into x⁰."""
    if element_input == "table":
        table = nn.Embedding(elements, width)
        return table if activation == "none" else nn.Sequential(table, ACTIVATIONS[activation]())
    if element_input == "one_hot":
        vectors = torch.eye(elements)[:, 1:]
    else:
        vectors = property_vectors(range(1, elements))
        vectors = torch.cat([torch.zeros_like(vectors[:1]), vectors])
    return ElementLinear(vectors, width, activation)
