"""Edges by pair and by shell, against plain loops."""

import torch

from epitaxy.crystals.masking import drawn, split_edges
from epitaxy.crystals.neighbors import build_graph
from epitaxy.crystals.pairs import pair_of_edge, shell_of_edge
from epitaxy.testing.examples import low_symmetry_crystals, symmetric_crystals


def keys(graph):
    rows = zip(graph.center.tolist(), graph.neighbor.tolist(), graph.shift.tolist(), strict=True)
    return [(center, neighbor, tuple(shift)) for center, neighbor, shift in rows]


def reverse(key):
    center, neighbor, shift = key
    return neighbor, center, tuple(-step for step in shift)


def test_an_edge_shares_its_pair_with_its_reverse_and_nothing_else():
    for crystals in (low_symmetry_crystals(), symmetric_crystals()):
        graph = build_graph(crystals, 5.0)
        members = {}
        for key, pair in zip(keys(graph), pair_of_edge(graph).tolist(), strict=True):
            members.setdefault(pair, set()).add(key)
        assert sorted(members) == list(range(graph.edge_total // 2))
        for pair in members.values():
            assert len(pair) == 2
            one, other = pair
            assert other == reverse(one)


def test_a_shell_is_two_atoms_and_one_distance():
    graph = build_graph(symmetric_crystals(), 6.0)
    shells = shell_of_edge(graph).tolist()
    found, expected = {}, {}
    rows = zip(keys(graph), graph.distances().tolist(), strict=True)
    for shell, ((center, neighbor, shift), distance) in zip(shells, rows, strict=True):
        key = (center, neighbor, shift)
        found.setdefault(shell, set()).add(key)
        ends = (*sorted((center, neighbor)), round(distance, 2))
        expected.setdefault(ends, set()).add(key)
    assert sorted(map(sorted, found.values())) == sorted(map(sorted, expected.values()))


def test_without_symmetry_every_pair_is_a_shell():
    graph = build_graph(low_symmetry_crystals(), 5.0)
    pair, shell = pair_of_edge(graph), shell_of_edge(graph)
    both = torch.stack([pair, shell], dim=1).unique(dim=0)
    assert len(both) == int(pair.max()) + 1 == int(shell.max()) + 1


def test_pairs_and_shells_are_numbered_crystal_by_crystal():
    graph = build_graph(low_symmetry_crystals(), 5.0)
    crystal = graph.crystals.crystal_of_atom[graph.center]
    for group in (pair_of_edge(graph), shell_of_edge(graph)):
        in_order = crystal[torch.argsort(group, stable=True)]
        assert bool((in_order[1:] >= in_order[:-1]).all())


def test_a_graph_without_edges_has_no_pairs():
    graph = build_graph(low_symmetry_crystals(), 0.5)
    assert graph.edge_total == 0
    assert len(pair_of_edge(graph)) == len(shell_of_edge(graph)) == 0
    visible, hidden = split_edges(graph, 0.5, "shell", torch.Generator())
    assert visible.edge_total == hidden.edge_total == 0


def test_as_many_rows_are_drawn_of_each_owner_as_were_asked_for():
    owner = torch.tensor([0] * 5 + [2] * 4 + [3] * 2)
    counts = torch.tensor([2, 3, 0, 7])
    chosen = drawn(owner, counts, torch.Generator().manual_seed(1))
    assert torch.bincount(owner[chosen], minlength=4).tolist() == [2, 0, 0, 2]


def test_every_row_is_drawn_equally_often():
    owner, counts = torch.tensor([0, 1, 1, 1, 1]), torch.tensor([0, 1])
    generator = torch.Generator().manual_seed(0)
    often = sum(drawn(owner, counts, generator).double() for _ in range(2000)) / 2000
    assert often[0] == 0
    assert (often[1:] - 0.25).abs().max() < 0.04


def test_the_two_parts_of_a_graph_are_the_graph_and_part_along_pairs():
    graph = build_graph(symmetric_crystals(), 5.0)
    for together in ("pair", "shell"):
        generator = torch.Generator().manual_seed(2)
        visible, hidden = (set(keys(g)) for g in split_edges(graph, 0.3, together, generator))
        assert visible | hidden == set(keys(graph))
        assert not visible & (hidden | {reverse(key) for key in hidden})
        assert {reverse(key) for key in hidden} == hidden
        assert hidden


def test_the_fraction_of_pairs_that_is_hidden_is_that_of_every_crystal():
    graph = build_graph(low_symmetry_crystals(), 5.0)
    _, hidden = split_edges(graph, 0.3, "pair", torch.Generator().manual_seed(2))
    for index in range(len(graph)):
        pairs = graph[index].edge_total // 2
        assert hidden[index].edge_total // 2 == int(0.3 * pairs + 0.5)
