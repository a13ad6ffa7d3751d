"""SchNet as PyTorch Geometric writes it, as a backbone for crystals."""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch_geometric.nn as pyg
from torch import Tensor

from epitaxy.backbones.base import Backbone, Embedding, Encoding
from epitaxy.crystals.graph import Graph, Ties
from epitaxy.nn.envelope import cosine_envelope


@dataclass(frozen=True, eq=False)
class SchNetEmbedding(Embedding):
    """An Embedding with what SchNet's layers ask for besides: the distances, shape (edges,)."""

    distances: Tensor | None = None


class SchNet(Backbone):
    """xᵢ ← xᵢ + W₃ ssp(W₂ Σⱼ (W₁ xⱼ) ⊙ F(φ(r) f(r)) f(r)), f the cosine envelope.

    Schütt et al., NeurIPS 2017. Neighbors are Epitaxy's, every periodic image of them; layers are
    PyTorch Geometric's. φ carries f here, so that distance features vanish at the cutoff.
    """

    presets: ClassVar[dict] = {"small": {"width": 64, "layers": 3, "radial": 32, "cutoff": 5.0}}

    def __init__(
        self,
        width: int = 128,
        layers: int = 6,
        radial: int = 50,
        cutoff: float = 6.0,
        neighbors: int | None = None,
        ties: Ties = "shells",
    ) -> None:
        super().__init__()
        self.width, self.layers, self.radial, self.cutoff = width, layers, radial, cutoff
        self.neighbors, self.ties = neighbors, ties
        self.edge_width = radial
        self.smooth = neighbors is None
        schnet = pyg.SchNet(width, width, layers, radial, cutoff)
        self.elements = schnet.embedding.num_embeddings
        self.element_table = schnet.embedding
        self.expansion = schnet.distance_expansion
        self.interactions = schnet.interactions

    def embed(self, graph: Graph) -> SchNetEmbedding:
        """Return all that depends on elements and geometry."""
        self.check_elements(graph)
        distances = graph.distances()
        envelope = cosine_envelope(distances, self.cutoff)
        return SchNetEmbedding(
            nodes=self.element_table(graph.crystals.numbers),
            edges=self.expansion(distances) * envelope.unsqueeze(-1),
            envelope=envelope,
            distances=distances,
        )

    def propagate(self, graph: Graph, embedding: SchNetEmbedding) -> Encoding:
        """Return the node features after every layer; only indices are read from the graph."""
        sender_and_receiver = torch.stack([graph.neighbor, graph.center])
        nodes = embedding.nodes
        layers = [nodes]
        for interaction in self.interactions:
            nodes = nodes + interaction(
                nodes, sender_and_receiver, embedding.distances, embedding.edges
            )
            layers.append(nodes)
        return Encoding(nodes=nodes, edges=embedding.edges, layers=tuple(layers))
