"""TorchMD-ET written edge by edge, as its equations read: rival in speed, oracle in the tests."""

import math
from dataclasses import replace

import torch
from torch import nn
from torch.nn.functional import silu

from epitaxy.backbones.base import Embedding, Encoding
from epitaxy.backbones.torchmd_et import TorchMDET
from epitaxy.crystals.graph import Graph


class PlainTorchMDET(TorchMDET):
    """The same constants, parameters and outputs as TorchMDET; nothing is shared between edges."""

    def embed(self, graph: Graph) -> Embedding:
        """Return element embeddings, expanded distances, directions and the envelope."""
        crystals = graph.crystals
        cell = crystals.cell[crystals.crystal_of_atom[graph.center]]
        images = (graph.shift.to(cell.dtype).unsqueeze(-1) * cell).sum(1)
        vectors = crystals.positions[graph.neighbor] + images - crystals.positions[graph.center]
        distances = vectors.norm(dim=-1)
        envelope = 0.5 * (torch.cos(distances * math.pi / self.cutoff) + 1.0)
        envelope = envelope * (distances < self.cutoff).to(envelope.dtype)
        return Embedding(
            nodes=self.element_table(crystals.numbers),
            neighbor_nodes=self.neighbor_table(crystals.numbers),
            edges=self.expansion(distances) * envelope.unsqueeze(-1),
            directions=vectors / distances.unsqueeze(-1),
            envelope=envelope,
        )

    def propagate(self, graph: Graph, embedding: Embedding) -> Encoding:
        """Return the representations after every layer."""
        center, neighbor = graph.center, graph.neighbor
        weight = embedding.envelope
        if not self.own_images:
            weight = weight * (center != neighbor).to(weight.dtype)
        filters = self.neighbor_filter(embedding.edges) * weight.unsqueeze(-1)
        seen = torch.zeros_like(embedding.nodes)
        seen = seen.index_add(0, center, embedding.neighbor_nodes[neighbor] * filters)
        nodes = self.neighbor_mix(torch.cat([embedding.nodes, seen], dim=-1))
        vectors = nodes.new_zeros(nodes.shape[0], 3, self.width)
        layers, edges = [embedding.nodes], embedding.edges
        if self.self_attention:
            graph, embedding = self._with_self_loops(graph, embedding)
        for attention in self.attention:
            more, pushed = _attend(attention, nodes, vectors, graph, embedding)
            nodes, vectors = nodes + more, vectors + pushed
            layers.append(nodes)
        return Encoding(nodes=self.norm(nodes), edges=edges, vectors=vectors, layers=tuple(layers))

    def _with_self_loops(self, graph: Graph, embedding: Embedding) -> tuple[Graph, Embedding]:
        """Return graph and embedding with an edge of zero length from each atom to itself."""
        atoms = graph.crystals.atom_total
        zeros = embedding.envelope.new_zeros(atoms)
        loops = torch.arange(atoms, device=graph.center.device)
        looped = replace(
            graph,
            center=torch.cat([graph.center, loops]),
            neighbor=torch.cat([graph.neighbor, loops]),
            shift=torch.cat([graph.shift, graph.shift.new_zeros(atoms, 3)]),
        )
        more = replace(
            embedding,
            edges=torch.cat([embedding.edges, self.expansion(zeros)]),
            directions=torch.cat([embedding.directions, zeros.unsqueeze(-1).expand(-1, 3)]),
            envelope=torch.cat([embedding.envelope, torch.ones_like(zeros)]),
        )
        return looped, more


def _attend(layer: nn.Module, nodes, vectors, graph: Graph, embedding: Embedding):
    """Return what one attention layer adds to scalars and vectors."""
    center, neighbor = graph.center, graph.neighbor
    atoms, width = nodes.shape
    normed = layer.norm(nodes)
    query = layer.query(normed).reshape(atoms, layer.heads, -1)
    key, value = layer.key_and_value(normed).split([width, 3 * width], dim=-1)
    key = key.reshape(atoms, layer.heads, -1)
    filters = silu(layer.filters(embedding.edges))
    key_filter, value_filter = filters.split([width, 3 * width], dim=-1)
    key_filter = key_filter.reshape(-1, layer.heads, width // layer.heads)

    score = (query[center] * key[neighbor] * key_filter).sum(-1)
    attention = silu(score) * embedding.envelope.unsqueeze(-1)
    sent, along_vector, along_edge = (value[neighbor] * value_filter).split(width, dim=-1)
    sent = sent.reshape(-1, layer.heads, width // layer.heads) * attention.unsqueeze(-1)
    if layer.vector_envelope:
        along_vector = along_vector * embedding.envelope.unsqueeze(-1)
        along_edge = along_edge * embedding.envelope.unsqueeze(-1)
    pushed = vectors[neighbor] * along_vector.unsqueeze(1)
    pushed = pushed + embedding.directions.unsqueeze(-1) * along_edge.unsqueeze(1)

    summed = torch.zeros_like(nodes).index_add(0, center, sent.flatten(1))
    pushed = torch.zeros_like(vectors).index_add(0, center, pushed)
    gate, scale, bias = layer.output(summed).split(width, dim=-1)
    first, second, third = layer.vector_mix(vectors).split(width, dim=-1)
    more = (first * second).sum(1) * scale + bias
    return more, third * gate.unsqueeze(1) + pushed
