"""Merged bonds are the edges, each kind once."""

import pytest
import torch

from epitaxy.crystals.neighbors import build_graph
from epitaxy.nn.bonds import merged_bonds, single_bonds
from epitaxy.nn.contacts import on_grid
from epitaxy.testing import examples


@pytest.fixture
def edges():
    graph = build_graph(examples.symmetric_crystals(), 4.0)
    distances = on_grid(graph.distances())
    features = torch.stack([distances, distances**2], dim=-1)
    return graph.center, graph.neighbor, features, 1 / distances


def test_every_edge_finds_its_own_kind(edges):
    center, neighbor, features, _ = edges
    bonds = merged_bonds(*edges)
    assert torch.equal(bonds.center[bonds.of_edge], center)
    assert torch.equal(bonds.neighbor[bonds.of_edge], neighbor)
    assert torch.equal(bonds.features[bonds.shell][bonds.of_edge], features)


def test_alike_edges_are_one_and_keep_their_weight(edges):
    center, _, _, envelope = edges
    bonds = merged_bonds(*edges)
    assert len(bonds.center) < 0.5 * len(center)
    assert bool((bonds.center[1:] >= bonds.center[:-1]).all())
    expected = torch.zeros(int(center.max()) + 1).double().index_add(0, center, envelope)
    found = torch.zeros_like(expected).index_add(0, bonds.center, bonds.weight[:, 0])
    torch.testing.assert_close(found, expected)


def test_edges_of_other_features_stay_apart(edges):
    center, neighbor, features, envelope = edges
    own = torch.arange(len(center), dtype=features.dtype)
    moved = torch.stack([features[:, 0] + 2 * own, features[:, 1] - own], dim=-1)
    bonds = merged_bonds(center, neighbor, moved, envelope)
    assert len(bonds.center) == len(center)
    assert torch.equal(bonds.features[bonds.shell][bonds.of_edge], moved)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rows_of_almost_equal_sums_are_merged_all_the_same(dtype):
    """A comb of wide Gaussians sums to nearly the same number at every distance."""
    graph = build_graph(examples.symmetric_crystals(), 4.0)
    distances = on_grid(graph.distances().to(dtype))
    features = torch.exp(-(((distances.unsqueeze(-1) - torch.linspace(0, 5, 100)) / 0.5) ** 2))
    features, no_envelope = features.to(dtype), torch.ones_like(distances)
    by_features = merged_bonds(graph.center, graph.neighbor, features, no_envelope)
    by_distance = merged_bonds(graph.center, graph.neighbor, distances[:, None], no_envelope)
    assert len(by_features.center) == len(by_distance.center)


def test_single_bonds_are_the_edges(edges):
    center, neighbor, features, envelope = edges
    bonds = single_bonds(*edges)
    assert torch.equal(bonds.center, center)
    assert torch.equal(bonds.neighbor, neighbor)
    assert torch.equal(bonds.features[bonds.shell], features)
    assert torch.equal(bonds.weight[:, 0], envelope)


def test_there_may_be_no_edge():
    none = torch.zeros(0, dtype=torch.int64)
    bonds = merged_bonds(none, none, torch.zeros(0, 3), torch.zeros(0))
    assert len(bonds.center) == len(bonds.of_edge) == len(bonds.features) == 0
