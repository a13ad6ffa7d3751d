"""The joined head reads atoms, edges and state, and none of them twice."""

from dataclasses import replace

import pytest
import torch

from epitaxy.backbones.base import Encoding
from epitaxy.crystals.neighbors import build_graph
from epitaxy.heads.joined import JoinedHead
from epitaxy.testing import examples

WIDTH, EDGE_WIDTH, STATE = 5, 4, 3


def encoded(crystals, state=True):
    """Representations that any cell of a crystal has: of elements, distances and composition."""
    graph = build_graph(crystals, 3.5)
    numbers = crystals.numbers.double()
    nodes = torch.sin(numbers[:, None] * torch.arange(1, WIDTH + 1))
    edges = torch.cos(graph.distances()[:, None] * torch.arange(1, EDGE_WIDTH + 1))
    means = torch.stack([numbers[crystals.crystal_of_atom == c].mean() for c in range(len(graph))])
    crystal = torch.sin(means[:, None] * torch.arange(1, STATE + 1)) if state else None
    return Encoding(nodes=nodes, edges=edges, crystals=crystal), graph


def head(state=True, extensive=False):
    torch.manual_seed(0)
    return JoinedHead(WIDTH, EDGE_WIDTH, STATE if state else 0, extensive=extensive).double()


@pytest.mark.parametrize("state", [True, False])
@pytest.mark.parametrize(("extensive", "factor"), [(False, 1.0), (True, 2.0)])
def test_a_supercell_has_the_same_value_or_twice_an_extensive_one(state, extensive, factor):
    crystals = examples.low_symmetry_crystals()
    one, joined = encoded(crystals, state), head(state, extensive)
    two = encoded(examples.supercell(crystals)[0], state)
    torch.testing.assert_close(joined(*two), factor * joined(*one))


def test_the_order_of_atoms_and_the_rest_of_the_batch_do_not_matter():
    crystals = examples.low_symmetry_crystals()
    expected = head()(*encoded(crystals))
    torch.testing.assert_close(head()(*encoded(examples.reordered(crystals)[0])), expected)
    alone = [head()(*encoded(crystals[index])) for index in range(3)]
    torch.testing.assert_close(torch.cat(alone), expected)


@pytest.mark.parametrize("part", ["nodes", "edges", "crystals"])
def test_it_reads_every_part(part):
    encoding, graph = encoded(examples.low_symmetry_crystals())
    changed = replace(encoding, **{part: getattr(encoding, part) + 0.5})
    assert not torch.allclose(head()(changed, graph), head()(encoding, graph))


def test_without_a_state_it_takes_none():
    encoding, graph = encoded(examples.low_symmetry_crystals())
    found = head(state=False)(encoding, graph)
    torch.testing.assert_close(found, head(state=False)(replace(encoding, crystals=None), graph))


def test_an_isolated_atom_is_finite():
    crystals = examples.one_atom_crystals()
    far = replace(crystals, cell=crystals.cell * 10)
    found = head()(*encoded(far))
    assert torch.isfinite(found).all()
