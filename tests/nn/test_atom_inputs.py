"""Backbones that start from atom-level inputs of the crystals instead of, or beside, elements."""

import inspect
from dataclasses import replace

import pytest
import torch

from epitaxy.errors import InputError
from epitaxy.registry import build, find, names
from epitaxy.testing import examples

NARROW = {"width": 16, "layers": 2, "heads": 2, "radial": 8, "cutoff": 4.0}


def backbone(name, mode):
    known = inspect.signature(find("backbones", name)).parameters
    narrow = {key: value for key, value in NARROW.items() if key in known}
    torch.manual_seed(0)
    settings = {"name": name, "preset": "small", "inputs": ["rows", 5], "inputs_mode": mode}
    return build("backbones", {**settings, **narrow}).double().eval()


def with_rows(crystals, seed=0):
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(crystals.atom_total, 5, generator=generator, dtype=torch.float64)
    return replace(crystals, inputs={"rows": rows})


def with_other_elements(crystals):
    return replace(crystals, numbers=crystals.numbers % 7 + 1)


@pytest.mark.parametrize("name", names("backbones"))
@pytest.mark.parametrize("mode", ["replace", "concatenate"])
def test_what_a_backbone_sees_of_atoms(name, mode):
    made = backbone(name, mode)
    crystals = with_rows(examples.low_symmetry_crystals())
    build_graph = made.graph_builder()
    with torch.no_grad():
        nodes = made(build_graph(crystals)).nodes
        others = made(build_graph(with_other_elements(crystals))).nodes
        rows = made(build_graph(with_rows(crystals, seed=1))).nodes
        one = made(build_graph(crystals[1])).nodes
    assert torch.equal(nodes, others) == (mode == "replace")
    assert not torch.allclose(nodes, rows)
    first, last = crystals.offsets[1:3].tolist()
    torch.testing.assert_close(nodes[first:last], one)


@pytest.mark.parametrize("name", names("backbones"))
def test_every_weight_learns_and_constants_build_it_again(name):
    made = backbone(name, "replace")
    encoding = made(made.graph_builder()(with_rows(examples.low_symmetry_crystals())))
    (encoding.nodes**2).sum().backward()
    table = [p for key, p in made.named_parameters() if "element_table" in key]
    assert table
    assert all(p.grad is not None and bool((p.grad != 0).any()) for p in table)
    again = type(made)(**made.constants())
    again.load_state_dict(made.state_dict())


@pytest.mark.parametrize("name", names("backbones"))
def test_crystals_without_the_input_are_an_error(name):
    made = backbone(name, "replace")
    crystals = examples.low_symmetry_crystals()
    with pytest.raises(InputError, match=r"input 'rows' of 5 columns, and the crystals have no in"):
        made(made.graph_builder()(crystals))
    short = replace(crystals, inputs={"rows": torch.zeros(crystals.atom_total, 4)})
    with pytest.raises(InputError, match=r"the crystals have 'rows' \(4,\)"):
        made(made.graph_builder()(short))
