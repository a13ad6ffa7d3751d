from dataclasses import replace

import torch

from epitaxy.backbones.torchmd_et import TorchMDET
from epitaxy.crystals.neighbors import build_graph
from epitaxy.crystals.pairs import pair_of_edge
from epitaxy.heads.edge import EdgeHead
from epitaxy.testing.examples import low_symmetry_crystals

BACKBONE = {"width": 8, "layers": 1, "heads": 2, "radial": 6, "cutoff": 4.0}


def encoded():
    torch.manual_seed(0)
    backbone = TorchMDET(**BACKBONE).double()
    graph = build_graph(low_symmetry_crystals(), 4.0)
    return backbone(graph), graph


def test_an_edge_and_its_reverse_are_told_the_same():
    encoding, graph = encoded()
    values = EdgeHead(8, 3, edge_width=6).double()(encoding, graph)
    assert values.shape == (graph.edge_total, 3)
    by_pair = values[torch.argsort(pair_of_edge(graph), stable=True)].unflatten(0, (-1, 2))
    torch.testing.assert_close(by_pair[:, 0], by_pair[:, 1])
    assert values.std(0).min() > 1e-4


def test_without_an_edge_width_only_the_ends_are_read():
    encoding, graph = encoded()
    head = EdgeHead(8, 2).double()
    blank = replace(encoding, edges=encoding.edges * torch.nan)
    torch.testing.assert_close(head(blank, graph), head(encoding, graph))


def test_the_edge_is_read_where_there_is_one():
    encoding, graph = encoded()
    head = EdgeHead(8, 2, edge_width=6).double()
    other = replace(encoding, edges=encoding.edges + 1.0)
    assert (head(other, graph) - head(encoding, graph)).abs().min() > 1e-6
