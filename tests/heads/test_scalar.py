"""The scalar head reads atoms, and pools what it read."""

import pytest
import torch
from jaxtyping import TypeCheckError

from epitaxy.backbones.base import Encoding
from epitaxy.crystals.neighbors import build_graph
from epitaxy.errors import InputError
from epitaxy.heads.scalar import ScalarHead
from epitaxy.testing import examples

WIDTH = 6


def encoded(crystals, nodes=None):
    graph = build_graph(crystals, 3.0)
    if nodes is None:
        nodes = torch.randn(crystals.atom_total, WIDTH, dtype=torch.float64)
    return Encoding(nodes=nodes, edges=nodes.new_zeros(graph.edge_total, 1)), graph


@pytest.mark.parametrize(("level", "rows"), [("crystal", 3), ("atom", 10)])
def test_there_is_a_row_for_each_crystal_or_atom(level, rows):
    encoding, graph = encoded(examples.low_symmetry_crystals())
    head = ScalarHead(WIDTH, outputs=2, level=level).double()
    assert head(encoding, graph).shape == (rows, 2)


@pytest.mark.parametrize(("pooling", "factor"), [("mean", 1.0), ("sum", 2.0)])
def test_a_supercell_has_the_same_mean_and_twice_the_sum(pooling, factor):
    crystals = examples.low_symmetry_crystals()
    larger, sources = examples.supercell(crystals)
    encoding, graph = encoded(crystals)
    head = ScalarHead(WIDTH, pooling=pooling).double()
    repeated = head(*encoded(larger, encoding.nodes[sources]))
    torch.testing.assert_close(repeated, factor * head(encoding, graph))


def test_a_crystal_is_the_mean_of_its_atoms():
    crystals = examples.low_symmetry_crystals()
    encoding, graph = encoded(crystals)
    of_crystals = ScalarHead(WIDTH).double()
    of_atoms = ScalarHead(WIDTH, level="atom").double()
    of_atoms.load_state_dict(of_crystals.state_dict())
    mean = of_atoms(encoding, graph)[: int(crystals.offsets[1])].mean(0)
    torch.testing.assert_close(of_crystals(encoding, graph)[0], mean)


@pytest.mark.parametrize("pooling", ["mean", "sum"])
def test_a_pooled_readout_is_the_perceptron_of_what_was_pooled(pooling):
    crystals = examples.low_symmetry_crystals()
    encoding, graph = encoded(crystals)
    head = ScalarHead(WIDTH, pooling=pooling, readout="pooled").double()
    for place, found in enumerate(head(encoding, graph)):
        own = encoding.nodes[crystals.crystal_of_atom == place]
        pooled = own.mean(0) if pooling == "mean" else own.sum(0)
        torch.testing.assert_close(found, head.perceptron(pooled))


def test_a_pooled_mean_stays_in_a_supercell_and_a_pooled_sum_obeys_no_size_law():
    crystals = examples.low_symmetry_crystals()
    larger, sources = examples.supercell(crystals)
    encoding, graph = encoded(crystals)
    for pooling, extensive, factor in (("mean", False, 1.0), ("mean", True, 2.0)):
        head = ScalarHead(WIDTH, pooling=pooling, extensive=extensive, readout="pooled").double()
        repeated = head(*encoded(larger, encoding.nodes[sources]))
        torch.testing.assert_close(repeated, factor * head(encoding, graph))
    head = ScalarHead(WIDTH, pooling="sum", extensive=True, readout="pooled").double()
    ratio = head(*encoded(larger, encoding.nodes[sources])) / head(encoding, graph)
    assert ((ratio - 1.0).abs() > 1e-3).all()
    assert ((ratio - 2.0).abs() > 1e-3).all()


def test_hidden_layers_are_two_of_the_width_unless_told():
    assert ScalarHead(WIDTH).hidden == (WIDTH, WIDTH)
    assert len(ScalarHead(WIDTH, hidden=[]).perceptron) == 1
    assert ScalarHead(WIDTH, hidden=[3]).perceptron[0].out_features == 3


@pytest.mark.parametrize("width", [1, 128])
def test_at_the_start_outputs_are_moderate_however_few_inputs_there_are(width):
    torch.manual_seed(0)
    crystals = examples.low_symmetry_crystals()
    encoding, graph = encoded(crystals, torch.ones(crystals.atom_total, width).double())
    head = ScalarHead(width).double()
    assert float(head(encoding, graph).detach().abs().max()) < 2.0
    assert not torch.cat([p for n, p in head.named_parameters() if "bias" in n]).any()


READ_FIRST = ("attention", "set2set", "cumulants")


@pytest.mark.parametrize("pooling", READ_FIRST)
@pytest.mark.parametrize(("extensive", "factor"), [(False, 1.0), (True, 2.0)])
def test_what_reads_before_the_perceptron_stays_in_a_supercell_unless_extensive(
    pooling, extensive, factor
):
    crystals = examples.low_symmetry_crystals()
    larger, sources = examples.supercell(crystals)
    encoding, graph = encoded(crystals)
    head = ScalarHead(WIDTH, pooling=pooling, extensive=extensive).double()
    repeated = head(*encoded(larger, encoding.nodes[sources]))
    torch.testing.assert_close(repeated, factor * head(encoding, graph))


def test_an_extensive_mean_is_the_sum():
    encoding, graph = encoded(examples.low_symmetry_crystals())
    by_mean = ScalarHead(WIDTH, pooling="mean", extensive=True).double()
    by_sum = ScalarHead(WIDTH, pooling="sum", extensive=True).double()
    by_sum.load_state_dict(by_mean.state_dict())
    torch.testing.assert_close(by_mean(encoding, graph), by_sum(encoding, graph))


@pytest.mark.parametrize("pooling", READ_FIRST)
def test_the_order_of_the_atoms_does_not_matter(pooling):
    crystals = examples.low_symmetry_crystals()
    other, order = examples.reordered(crystals)
    encoding, graph = encoded(crystals)
    head = ScalarHead(WIDTH, pooling=pooling).double()
    torch.testing.assert_close(head(*encoded(other, encoding.nodes[order])), head(encoding, graph))


def test_at_the_level_of_edges_every_edge_has_its_row():
    _, graph = encoded(examples.low_symmetry_crystals())
    edges = torch.randn(graph.edge_total, 3, dtype=torch.float64)
    head = ScalarHead(3, outputs=2, level="edge").double()
    nodes = torch.zeros(graph.crystals.atom_total, WIDTH, dtype=torch.float64)
    found = head(Encoding(nodes=nodes, edges=edges), graph)
    torch.testing.assert_close(found, head.perceptron(edges))


def test_a_level_other_than_the_crystal_has_nothing_to_pool():
    head = ScalarHead(WIDTH, level="atom", pooling="set2set")
    assert {name.split(".")[0] for name in head.state_dict()} == {"perceptron"}


@pytest.mark.parametrize("wrong", [{"level": "bond"}, {"pooling": "max"}, {"readout": "late"}])
def test_a_wrong_choice_is_named(wrong):
    with pytest.raises((InputError, TypeCheckError), match=next(iter(wrong.values()))):
        ScalarHead(WIDTH, **wrong)


@pytest.mark.parametrize("pooling", ["mean", "attention"])
def test_each_output_grows_with_the_cell_or_stays(pooling):
    crystals = examples.low_symmetry_crystals()
    larger, sources = examples.supercell(crystals)
    encoding, graph = encoded(crystals)
    head = ScalarHead(WIDTH, outputs=3, pooling=pooling, extensive=[True, False, True]).double()
    repeated = head(*encoded(larger, encoding.nodes[sources]))
    factors = torch.tensor([2.0, 1.0, 2.0], dtype=torch.float64)
    torch.testing.assert_close(repeated, factors * head(encoding, graph))
