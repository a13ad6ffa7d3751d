"""CGCNN written edge by edge, as its equations read: rival in speed, oracle in the tests."""

import math

import torch
from torch import nn

from epitaxy.backbones.base import Embedding, Encoding
from epitaxy.backbones.cgcnn import CGCNN
from epitaxy.crystals.graph import Graph


class PlainCGCNN(CGCNN):
    """The same constants, parameters and outputs as CGCNN; z is put together for every edge."""

    def embed(self, graph: Graph) -> Embedding:
        """Return element embeddings, Gaussians of distances, and the envelope if there is one."""
        crystals = graph.crystals
        cell = crystals.cell[crystals.crystal_of_atom[graph.center]]
        images = (graph.shift.to(cell.dtype).unsqueeze(-1) * cell).sum(1)
        vectors = crystals.positions[graph.neighbor] + images - crystals.positions[graph.center]
        distances = vectors.norm(dim=-1)
        means = torch.arange(self.radial, dtype=distances.dtype) * self.cutoff / (self.radial - 1)
        spread = 2 * self.gaussian_width**2
        edges = torch.exp(-((distances.unsqueeze(-1) - means) ** 2) / spread)
        envelope = None
        if self.envelope:
            envelope = 0.5 * (torch.cos(distances * math.pi / self.cutoff) + 1.0)
            envelope = envelope * (distances < self.cutoff).to(envelope.dtype)
            edges = edges * envelope.unsqueeze(-1)
        nodes = self.element_table(crystals.numbers)
        return Embedding(nodes=nodes, edges=edges, envelope=envelope)

    def propagate(self, graph: Graph, embedding: Embedding) -> Encoding:
        """Return the representations after every layer."""
        nodes, layers = embedding.nodes, [embedding.nodes]
        for layer in self.convolutions:
            nodes = self._convolve(layer, nodes, graph, embedding)
            layers.append(nodes)
        return Encoding(nodes=self.norm(nodes), edges=embedding.edges, layers=tuple(layers))

    def _convolve(self, layer: nn.Module, nodes, graph: Graph, embedding: Embedding):
        center, neighbor = graph.center, graph.neighbor
        normed = layer.norm(nodes)
        z = torch.cat([normed[center], normed[neighbor], self.edge_map(embedding.edges)], dim=-1)
        gates = layer.edge_norm(layer.gates(z))
        opening, content = gates[:, : self.width], gates[:, self.width :]
        softplus = torch.logaddexp(content, torch.zeros_like(content))
        messages = softplus / (1 + torch.exp(-opening))
        factor = nodes.new_ones(len(center))
        if embedding.envelope is not None:
            factor = embedding.envelope
            messages = messages * factor.unsqueeze(-1)
        summed = torch.zeros_like(nodes).index_add(0, center, messages)
        if self.aggregation == "mean":
            total = nodes.new_zeros(len(nodes)).index_add(0, center, factor)
            total = total + 1 if embedding.envelope is not None else total.clamp(min=1)
            summed = summed / total.unsqueeze(-1)
        return layer.activation(layer.node_norm(nodes + layer.sum_norm(summed)))
