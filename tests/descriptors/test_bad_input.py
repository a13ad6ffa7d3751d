"""Wrong arguments and crystals are refused in words that name them and say what to do."""

from dataclasses import replace

import pytest
import torch

from epitaxy.crystals.crystals import Crystals
from epitaxy.crystals.densities import read_gpsp
from epitaxy.crystals.neighbors import build_graph
from epitaxy.descriptors import EAD, GMP, WACSF
from epitaxy.errors import InputError, RecipeError

EVERY = pytest.mark.parametrize("kind", [WACSF, EAD, GMP])


def salt(numbers=(11, 17)):
    return Crystals(
        numbers=torch.tensor(numbers),
        positions=torch.tensor([[0.0, 0.0, 0.0], [2.82, 0.0, 0.0]], dtype=torch.float64),
        cell=2.82 * torch.tensor([[[0, 1, 1], [1, 0, 1], [1, 1, 0]]], dtype=torch.float64),
        pbc=torch.ones(1, 3, dtype=torch.bool),
        offsets=torch.tensor([0, 2]),
    )


@EVERY
def test_unknown_preset(kind):
    with pytest.raises(RecipeError, match=r"no preset 'set4'.*Known: set1, set2, set3"):
        kind.preset("set4")


@EVERY
def test_unknown_argument(kind):
    with pytest.raises(RecipeError, match=r"no argument 'chunks'.*Did you mean 'chunk'"):
        kind.preset("set1", chunks=3)


def test_argument_out_of_range():
    with pytest.raises(RecipeError, match="EAD: mode = 'paper' does not fit"):
        EAD.preset("set1", mode="paper")
    with pytest.raises(RecipeError, match=r"GMP: accuracy = 2\.0 does not fit"):
        GMP.preset("set1", accuracy=2.0)


def test_element_without_a_density():
    descriptor = GMP(densities={11: [(0.06, 0.35)]})
    with pytest.raises(InputError, match=r"no electron density for Cl \(Z = 17\).*has them for Na"):
        descriptor(build_graph(salt(), 5.0))


def test_element_beyond_the_default_densities():
    with pytest.raises(InputError, match=r"no electron density for Es \(Z = 99\)"):
        GMP()(build_graph(salt((11, 99)), 5.0))


@EVERY
def test_graph_that_ends_too_early(kind):
    with pytest.raises(InputError, match=r"edges end at 3 Å: build the graph with cutoff="):
        kind()(build_graph(salt(), 3.0))


@EVERY
def test_positions_that_are_not_finite(kind):
    crystals = salt()
    crystals.positions[1, 0] = torch.nan
    with pytest.raises(InputError, match="crystal '0' has positions or a cell that are not finite"):
        kind()(build_graph(crystals, 8.0))


@EVERY
def test_positions_that_became_not_finite(kind):
    descriptor = kind()
    graph = build_graph(salt(), descriptor.cutoff)
    moved = graph.displaced(torch.tensor([[0.0, 0.0, 0.0], [torch.nan, 0.0, 0.0]]))
    with pytest.raises(InputError, match="not finite"):
        descriptor(moved)


@EVERY
def test_arrays_on_two_devices(kind):
    descriptor = kind()
    graph = build_graph(salt(), descriptor.cutoff)
    split = replace(graph, neighbor=graph.neighbor.to("meta"))
    with pytest.raises(InputError, match="on cpu and on meta: move all of it"):
        descriptor(split)


@pytest.mark.parametrize(
    ("densities", "complaint"),
    [
        ({0: [(1.0, 1.0)]}, "Z = 0, which is no element"),
        ({11: [(1.0, -1.0)]}, "density of Na.*β > 0"),
        ({11: []}, "density of Na"),
        ({11: [(1.0,)]}, "density of Na.*rows"),
        ("nowhere.gpsp", "nowhere.gpsp cannot be read"),
    ],
)
def test_densities_that_cannot_be(densities, complaint):
    with pytest.raises(InputError, match=complaint):
        GMP(densities=densities)


def test_damaged_file_of_densities(tmp_path):
    path = tmp_path / "broken.gpsp"
    path.write_text("# comment\n****\nNa 11 2\n0.06 0.35\nfive 6.5\n")
    with pytest.raises(InputError, match=r"line 5: 'five 6.5'"):
        read_gpsp(path)
    path.write_text("Na 11 2\n0.06 0.35\n")
    with pytest.raises(InputError, match="ends before"):
        read_gpsp(path)
