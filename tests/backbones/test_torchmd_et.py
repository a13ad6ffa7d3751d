"""TorchMD-ET keeps the contract, and equals its equations written edge by edge."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from epitaxy.backbones.torchmd_et import TorchMDET
from epitaxy.crystals.crystals import Crystals, cat
from epitaxy.errors import InputError, RecipeError
from epitaxy.testing import check_backbone, examples
from epitaxy.testing.backbones import shaken_copy

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SMALL = {"width": 8, "layers": 3, "heads": 2, "radial": 6, "cutoff": 4.0}
PUBLISHED = {"vector_envelope": False, "own_images": False, "neighbors": 9, "ties": "strict"}


@pytest.fixture(scope="module")
def plain_class() -> type[TorchMDET]:
    path = BENCHMARKS / "plain_torchmd_et.py"
    spec = importlib.util.spec_from_file_location("plain_torchmd_et", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.PlainTorchMDET


def shaken(**changes) -> TorchMDET:
    torch.manual_seed(0)
    return shaken_copy(TorchMDET(**{**SMALL, **changes}))


def mixed_crystals() -> Crystals:
    """Symmetric crystals, whose edges merge, low ones, whose do not, and an isolated atom."""
    isolated = replace(examples.one_atom_crystals()[0], pbc=torch.zeros(1, 3, dtype=torch.bool))
    parts = [examples.symmetric_crystals(), isolated, examples.one_atom_crystals()]
    return cat([*parts, examples.low_symmetry_crystals()])


def mixture(values: torch.Tensor) -> torch.Tensor:
    """One number in which every value takes part, not linearly."""
    weights = torch.arange(values.numel(), dtype=values.dtype).cos().reshape(values.shape)
    return (weights * values * (1 + values)).sum()


def total(encoding) -> torch.Tensor:
    return mixture(encoding.nodes) + mixture(encoding.vectors)


def pair(plain_class, **changes):
    ours = shaken(**changes)
    plain = plain_class(**ours.constants()).double().eval()
    plain.load_state_dict(ours.state_dict())
    return ours, plain


@pytest.mark.parametrize(
    "changes", [{}, {"neighbors": 8}, {"vector_envelope": False}, {"self_attention": True}]
)
def test_it_keeps_the_contract(changes):
    check_backbone(TorchMDET(**{**SMALL, **changes}))


def test_as_published_it_breaks_only_what_its_cap_and_its_missing_images_break():
    broken_by_cap = ("rotation", "reflection", "translation", "symmetric_crystals", "images")
    check_backbone(TorchMDET(**{**SMALL, **PUBLISHED}), skip=(*broken_by_cap, "supercell"))


@pytest.mark.parametrize("changes", [{}, PUBLISHED, {"self_attention": True}])
def test_values_and_parameter_gradients_equal_the_plain_equations(plain_class, changes):
    ours, plain = pair(plain_class, **changes)
    graph = ours.graph_builder()(mixed_crystals())
    found, expected = ours(graph), plain(graph)
    torch.testing.assert_close(found.nodes, expected.nodes, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(found.vectors, expected.vectors, rtol=1e-9, atol=1e-10)
    total(found).backward()
    total(expected).backward()
    for (name, one), other in zip(ours.named_parameters(), plain.parameters(), strict=True):
        missing = torch.zeros_like(one)
        gradient = missing if one.grad is None else one.grad
        scale = float(other.grad.abs().max())
        error = float((gradient - other.grad).detach().abs().max())
        assert error <= 1e-9 * max(scale, 1.0), name


def test_single_precision_stays_within_rounding_of_double(plain_class):
    ours, plain = pair(plain_class)
    crystals = mixed_crystals()
    exact = plain(ours.graph_builder()(crystals)).nodes.detach()
    graph = ours.graph_builder()(crystals).to(dtype=torch.float32)
    found = ours.float()(graph).nodes.detach()
    assert float((found.double() - exact).abs().max() / exact.abs().max()) < 1e-5


@pytest.mark.parametrize("changes", [{}, PUBLISHED, {"self_attention": True}])
def test_forces_equal_the_plain_equations(plain_class, changes):
    ours, plain = pair(plain_class, **changes)
    forces = []
    for backbone in (ours, plain):
        crystals = mixed_crystals()
        positions = crystals.positions.clone().requires_grad_()
        graph = ours.graph_builder()(replace(crystals, positions=positions))
        forces.append(torch.autograd.grad(total(backbone(graph)), positions)[0])
    torch.testing.assert_close(*forces, rtol=1e-8, atol=1e-9)


def test_forces_and_their_training_have_the_derivatives_of_finite_differences():
    ours = shaken(layers=2)
    crystals = cat([examples.low_symmetry_crystals()[0], examples.symmetric_crystals()[0]])
    graph = ours.graph_builder()(crystals)
    weight = ours.attention[1].key_and_value.weight

    def force_norm(moves: torch.Tensor, create_graph: bool = True) -> torch.Tensor:
        energy = mixture(ours(graph.displaced(moves)).nodes)
        return (torch.autograd.grad(energy, moves, create_graph=create_graph)[0] ** 2).sum()

    zero = torch.zeros_like(crystals.positions)
    by_moves, by_weight = torch.autograd.grad(
        force_norm(leaf := zero.clone().requires_grad_()), [leaf, weight]
    )
    step, direction = 1e-5, torch.arange(zero.numel()).to(zero).sin().reshape(zero.shape)
    ends = [force_norm((s * step * direction).requires_grad_(), False) for s in (1, -1)]
    slope = float(ends[0] - ends[1]) / (2 * step)
    assert slope == pytest.approx(float((by_moves * direction).sum()), rel=1e-6)
    ends = []
    for change in (step, -2 * step, step):
        with torch.no_grad():
            weight[3, 5] += change
        ends.append(force_norm(zero.clone().requires_grad_(), False))
    assert float(ends[0] - ends[1]) / (2 * step) == pytest.approx(float(by_weight[3, 5]), rel=1e-6)


def test_a_second_derivative_by_parameters_equals_the_plain_equations(plain_class):
    found = []
    for backbone in pair(plain_class, layers=2):
        graph = backbone.graph_builder()(examples.symmetric_crystals())
        table = backbone.element_table.weight
        (first,) = torch.autograd.grad(total(backbone(graph)), table, create_graph=True)
        filters = backbone.attention[1].filters.weight
        found.append(torch.autograd.grad(mixture(first), filters)[0])
    torch.testing.assert_close(*found, rtol=1e-8, atol=1e-9)


def test_edge_features_that_are_leaves_have_the_derivatives_of_the_plain_equations(plain_class):
    shares = []
    for backbone in pair(plain_class):
        graph = backbone.graph_builder()(examples.symmetric_crystals())
        embedding = backbone.embed(graph)
        edges = embedding.edges.detach().requires_grad_()
        nodes = backbone.propagate(graph, replace(embedding, edges=edges)).nodes
        shares.append(torch.autograd.grad(mixture(nodes), edges)[0])
    torch.testing.assert_close(*shares, rtol=1e-8, atol=1e-9)


def test_edges_masked_one_by_one_are_not_taken_for_alike(plain_class):
    nodes = []
    for backbone in pair(plain_class):
        graph = backbone.graph_builder()(examples.symmetric_crystals())
        embedding = backbone.embed(graph)
        masked = embedding.edges * (torch.arange(graph.edge_total) % 3 > 0).unsqueeze(-1)
        nodes.append(backbone.propagate(graph, replace(embedding, edges=masked)).nodes)
    torch.testing.assert_close(*nodes, rtol=1e-9, atol=1e-10)


def test_without_the_envelope_vectors_jump_at_the_cutoff():
    liar = shaken(vector_envelope=False)
    liar.smooth = True
    with pytest.raises(AssertionError, match="jump"):
        check_backbone(liar)


def test_own_images_are_seen_where_there_is_nothing_else():
    graph = shaken().graph_builder()(examples.one_atom_crystals())
    with_images, without = shaken()(graph).nodes, shaken(own_images=False)(graph).nodes
    assert not torch.allclose(with_images, without)


def test_a_whole_batch_may_lack_edges():
    crystals = replace(examples.one_atom_crystals(), pbc=torch.zeros(2, 3, dtype=torch.bool))
    backbone = shaken()
    graph = backbone.graph_builder()(crystals)
    assert graph.edge_total == 0
    encoding = backbone(graph)
    total(encoding).backward()
    assert torch.isfinite(encoding.nodes).all()


def test_mixed_precision_computes_messages_in_the_precision_of_the_geometry():
    backbone = shaken().float()
    graph = backbone.graph_builder()(mixed_crystals()).to(dtype=torch.float32)
    exact = backbone(graph).nodes.detach()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = backbone(graph).nodes
        mixed.float().sum().backward()
    assert float((mixed.detach() - exact).abs().max()) < 0.1 * float(exact.abs().max())


@pytest.mark.parametrize(
    ("preset", "expected"),
    [("small", (64, 4, 5.0, None)), ("paper", (128, 8, 8.0, 32))],
)
def test_presets_are_as_documented(preset, expected):
    backbone = TorchMDET.preset(preset, elements=20)
    found = (backbone.width, backbone.layers, backbone.cutoff, backbone.neighbors)
    assert found == expected
    assert backbone.smooth == (preset == "small")


def test_an_unknown_element_is_named_with_its_crystal():
    backbone = TorchMDET(**SMALL, elements=20)
    graph = backbone.graph_builder()(examples.low_symmetry_crystals().to(dtype=torch.float32))
    with pytest.raises(InputError, match=r"crystal '.*' has an atom of atomic number 2[26]"):
        backbone(graph)


def test_a_width_that_the_heads_do_not_divide_is_refused():
    with pytest.raises(RecipeError, match="width = 10 is not a multiple of heads = 4"):
        TorchMDET(width=10, heads=4)
