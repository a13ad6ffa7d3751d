"""Representations are the encoder's own, whatever they are read as."""

import numpy as np
import pytest
import torch
from torch import nn

import epitaxy as ep
from epitaxy.backbones import MEGNet, TorchMDET
from epitaxy.crystals.segments import mean_over_atoms
from epitaxy.errors import CheckpointError, InputError
from epitaxy.training.checkpoint import Model
from epitaxy.training.coverage import Coverage
from epitaxy.training.embed import Reading, embed, encoded, layer_ranges

WIDTH = 8


def model_of(backbone, crystals) -> Model:
    return Model(backbone.eval(), (), nn.ModuleList(), Coverage.of(crystals))


@pytest.fixture(scope="module")
def some(crystals):
    return crystals[:5]


@pytest.fixture(scope="module")
def attention(some):
    torch.manual_seed(0)
    return model_of(TorchMDET(width=WIDTH, layers=2, heads=2, radial=6, cutoff=3.5), some)


@pytest.fixture(scope="module")
def with_state(some):
    torch.manual_seed(0)
    return model_of(MEGNet(width=WIDTH, hidden=8, layers=1, radial=6, cutoff=3.5), some)


def whole(model, crystals):
    crystals = crystals.with_targets({}).to(dtype=torch.float32)
    graph = model.backbone.graph_builder()(crystals)
    with torch.no_grad():
        return graph, model.backbone(graph)


def features(table):
    shown = [name for name in table.columns if "[" in name]
    return torch.tensor(table[shown].to_numpy())


def test_layers_of_atoms_are_those_of_the_encoder(attention, some):
    _, encoding = whole(attention, some)
    for layer in range(3):
        found = features(embed(attention, some, level="atom", layer=str(layer)))
        torch.testing.assert_close(found, encoding.layers[layer])
    torch.testing.assert_close(features(embed(attention, some, level="atom")), encoding.nodes)


def test_layers_from_the_first_on_stand_side_by_side(attention, some):
    _, encoding = whole(attention, some)
    table = embed(attention, some, level="atom", layer="012")
    torch.testing.assert_close(features(table), torch.cat(encoding.layers, dim=1))
    assert list(table.columns[:4]) == ["id", "atom", "number", "flag"]
    assert table.columns[4] == "NE0[0]"
    assert table.columns[-1] == f"NE2[{WIDTH - 1}]"
    assert table["number"].tolist() == some.numbers.tolist()
    assert features(embed(attention, some, layer="01", pooling="cumulants")).shape == (5, 6 * WIDTH)


def test_crystals_are_their_atoms_pooled(attention, some):
    _, encoding = whole(attention, some)
    mean = mean_over_atoms(encoding.layers[1], some.crystal_of_atom, some.atom_counts)
    torch.testing.assert_close(features(ep.embed(attention, some, layer="1")), mean)
    first = encoding.nodes[: int(some.atom_counts[0])]
    for pooling, expected in (
        ("min", first.amin(0)),
        ("max", first.amax(0)),
        ("sum", first.sum(0)),
    ):
        found = features(embed(attention, some, pooling=pooling))[0]
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_edges_and_state_are_those_of_the_encoder(with_state, some):
    graph, encoding = whole(with_state, some)
    edges = embed(with_state, some, level="edge")
    torch.testing.assert_close(features(edges), encoding.edges)
    place = graph.center - some.offsets[some.crystal_of_atom[graph.center]]
    assert edges["center"].tolist() == place.tolist()
    assert edges["shift_b"].tolist() == graph.shift[:, 1].tolist()
    torch.testing.assert_close(features(embed(with_state, some, level="state")), encoding.crystals)


def test_joined_is_nodes_edges_and_state(with_state, some):
    graph, encoding = whole(with_state, some)
    found = features(embed(with_state, some, joined=True))
    of_first = graph.center < int(some.atom_counts[0])
    expected = torch.cat(
        [
            encoding.nodes[: int(some.atom_counts[0])].mean(0),
            encoding.edges[of_first].mean(0),
            encoding.crystals[0],
        ]
    )
    torch.testing.assert_close(found[0], expected, rtol=1e-4, atol=1e-5)
    names = Reading(joined=True).columns(with_state.backbone)
    assert len(names) == len(set(names)) == found.shape[1]


def test_chunks_make_no_difference(attention, some):
    small = torch.cat([one.nodes for _, one in encoded(attention.backbone, some, atoms=1)])
    torch.testing.assert_close(small, whole(attention, some)[1].nodes, rtol=1e-4, atol=1e-5)


def test_unseen_elements_are_flagged(attention, some):
    other = some[1]
    other.numbers[0] = 98
    flags = embed(attention, other)["flag"]
    assert "element Cf was not in the training data" in flags[0]
    assert embed(attention, some)["flag"].tolist() == [""] * 5


def test_what_a_backbone_lacks_is_named(attention, with_state, some):
    for wrong, complaint in (
        ({"layer": "3"}, "TorchMDET has no layer '3'.*Known: 0, 01, 012, 1, 2, last"),
        ({"layer": "12"}, "no layer '12'"),
        ({"level": "edge"}, "no representations of edges"),
        ({"level": "state"}, "no state"),
        ({"joined": True}, "no representations of edges"),
        ({"level": "bond"}, "not 'bond'"),
        ({"pooling": "median"}, "no pooling 'median'"),
        ({"level": "atom", "joined": True}, "of crystals, not of level 'atom'"),
    ):
        with pytest.raises(InputError, match=complaint):
            embed(attention, some, **wrong)
    with pytest.raises(InputError, match="only atoms have layers"):
        embed(with_state, some, level="state", layer="1")
    with pytest.raises(InputError, match="needs a model"):
        embed(None, some)


def test_a_foreign_checkpoint_is_refused(tmp_path, some):
    (tmp_path / "model.json").write_text('{"format": "other"}')
    with pytest.raises(CheckpointError, match="not written by Epitaxy"):
        embed(tmp_path, some)


def test_names_of_ranges_do_not_collide_beyond_ten_layers():
    ranges = layer_ranges(12)
    assert ranges["12"] == (12,)
    assert ranges["012"] == (0, 1, 2)
    assert len(ranges) == 13 + 12
    assert np.all([len(set(chosen)) == len(chosen) for chosen in ranges.values()])
