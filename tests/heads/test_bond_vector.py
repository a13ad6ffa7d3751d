"""The bond-vector head turns with the crystal, on backbones that know no direction."""

import pytest
import torch

from epitaxy.crystals.neighbors import build_graph
from epitaxy.heads.bond_vector import BondVectorHead
from epitaxy.registry import build
from epitaxy.testing import examples
from epitaxy.testing.backbones import shaken_copy
from epitaxy.testing.potentials import stretched

BACKBONES = ("torchmd_et", "cgcnn", "megnet")


def model(name):
    torch.manual_seed(0)
    backbone = shaken_copy(build("backbones", {"name": name, "preset": "small"}))
    head = BondVectorHead(backbone.width, backbone.edge_width, backbone.cutoff).double()

    def found(crystals):
        graph = backbone.graph_builder()(crystals)
        with torch.no_grad():
            return head(backbone(graph), graph)

    return backbone, found


@pytest.mark.parametrize("name", BACKBONES)
def test_vectors_turn_with_the_crystal_and_not_with_its_description(name):
    _, found = model(name)
    crystals = examples.low_symmetry_crystals()
    before = found(crystals)
    assert float(before.abs().max()) > 1e-3
    for matrix in (examples.rotation(), -examples.rotation(1)):
        after = found(examples.turned(crystals, matrix))
        torch.testing.assert_close(after, before @ matrix.T, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(found(examples.translated(crystals)), before)
    torch.testing.assert_close(found(examples.other_images(crystals)), before)
    other, order = examples.reordered(crystals)
    torch.testing.assert_close(found(other), before[order])
    larger, sources = examples.supercell(crystals)
    torch.testing.assert_close(found(larger), before[sources])


@pytest.mark.parametrize("name", BACKBONES)
def test_vectors_do_not_jump_as_an_atom_crosses_the_cutoff(name):
    backbone, found = model(name)
    inside, outside = (found(stretched(backbone.cutoff + by)) for by in (-1e-7, 1e-7))
    assert backbone.smooth
    torch.testing.assert_close(inside, outside, rtol=0, atol=1e-5 * float(inside.abs().max()))


def test_a_site_of_high_symmetry_has_no_vector():
    _, found = model("torchmd_et")
    torch.testing.assert_close(found(examples.symmetric_crystals()), torch.zeros(7, 3).double())


def test_an_isolated_atom_has_none_either():
    head = BondVectorHead(2, 3, 2.0).double()
    graph = build_graph(examples.one_atom_crystals()[1], 2.0)
    assert graph.edge_total == 0

    class Nothing:
        nodes, edges = torch.ones(1, 2).double(), torch.zeros(0, 3).double()

    assert not head(Nothing(), graph).detach().any()
