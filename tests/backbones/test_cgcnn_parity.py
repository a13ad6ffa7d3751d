"""CGCNN's convolution is the one that PyTorch Geometric calls CGConv."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from epitaxy.backbones.base import Embedding
from epitaxy.backbones.cgcnn import CGCNN
from epitaxy.crystals.graph import Graph
from epitaxy.crystals.neighbors import build_graph
from epitaxy.testing import examples

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "cgconv.json").read_text())


def with_weights(backbone: CGCNN, weights: list[dict[str, torch.Tensor]]) -> CGCNN:
    """The same backbone with the weights of CGConv layers: their two gates, one above the other."""
    with torch.no_grad():
        for layer, given in zip(backbone.convolutions, weights, strict=True):
            for part in ("weight", "bias"):
                both = torch.cat([given[f"lin_f.{part}"], given[f"lin_s.{part}"]])
                getattr(layer.gates, part).copy_(both)
    return backbone


@pytest.mark.parametrize("aggregation", ["sum", "mean"])
def test_one_layer_equals_frozen_numbers(aggregation):
    nodes, edges = (torch.tensor(GOLDEN[k], dtype=torch.float64) for k in ("nodes", "edges"))
    width, channels = nodes.shape[1], edges.shape[1]
    settings = {"width": width, "layers": 1, "radial": channels, "cutoff": 4.0}
    backbone = CGCNN(**settings, aggregation=aggregation, envelope=False, layer_norm=False)
    weights = {k: torch.tensor(v, dtype=torch.float64) for k, v in GOLDEN["weights"].items()}
    backbone = with_weights(backbone.double(), [weights])
    graph = Graph(
        crystals=examples.low_symmetry_crystals()[1],
        center=torch.tensor(GOLDEN["center"]),
        neighbor=torch.tensor(GOLDEN["neighbor"]),
        shift=torch.zeros(len(edges), 3, dtype=torch.int64),
        cutoff=4.0,
    )
    found = backbone.propagate(graph, Embedding(nodes=nodes, edges=edges)).nodes
    expected = torch.tensor(GOLDEN[aggregation], dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("aggregation", ["sum", "mean"])
@pytest.mark.parametrize(
    ("depth", "dtype", "tolerance"), [(1, torch.float32, 1e-6), (4, torch.float64, 1e-12)]
)
def test_nodes_and_gradients_equal_the_package(aggregation, depth, dtype, tolerance):
    cgconv = pytest.importorskip("torch_geometric.nn").CGConv
    torch.manual_seed(0)
    settings = {"width": 12, "layers": depth, "radial": 9, "cutoff": 5.0, "envelope": False}
    ours = CGCNN(**settings, aggregation=aggregation, layer_norm=False).to(dtype)
    name = {"sum": "add", "mean": "mean"}[aggregation]
    theirs = [cgconv(12, 9, aggr=name).to(dtype) for _ in range(depth)]
    with_weights(ours, [layer.state_dict() for layer in theirs])
    crystals = examples.symmetric_crystals()
    graph = build_graph(crystals, 5.0).to(dtype=dtype)
    embedding = ours.embed(graph)
    embedding = replace(embedding, nodes=embedding.nodes.detach() / 4)

    layers = ours.propagate(graph, embedding).layers
    nodes = embedding.nodes
    direction = torch.stack([graph.neighbor, graph.center])
    for index, layer in enumerate(theirs):
        nodes = layer(nodes, direction, embedding.edges)
        error = (layers[index + 1] - nodes).detach().abs().max() / nodes.detach().abs().max()
        assert float(error) < tolerance
    layers[-1].sum().backward()
    nodes.sum().backward()
    for mine, layer in zip(ours.convolutions, theirs, strict=True):
        expected = torch.cat([layer.lin_f.weight.grad, layer.lin_s.weight.grad])
        error = (mine.gates.weight.grad - expected).abs().max() / expected.abs().max()
        assert float(error) < 10 * tolerance
