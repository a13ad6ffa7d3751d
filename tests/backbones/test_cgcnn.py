"""CGCNN keeps the contract, and equals its equations written edge by edge."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from epitaxy.backbones.cgcnn import CGCNN, BatchNorm
from epitaxy.crystals.crystals import Crystals, cat
from epitaxy.errors import InputError, RecipeError
from epitaxy.testing import check_backbone, examples
from epitaxy.testing.backbones import shaken_copy

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SMALL = {"width": 8, "layers": 3, "radial": 6, "cutoff": 4.0, "gaussian_width": 0.7, "elements": 40}
BARE = {"layer_norm": False, "edge_gain": 1.0, "envelope": False}
XIE = {
    **BARE,
    "element_input": "properties",
    "aggregation": "sum",
    "batch_norm": "messages",
    "activation": "softplus",
}
KONG = {
    **XIE,
    "batch_norm": "nodes",
    "activation": "relu",
    "last_activation": False,
    "edge_channels": 5,
}
JIA = {
    **BARE,
    "element_input": "one_hot",
    "element_activation": "silu",
    "aggregation": "mean",
}
VARIANTS = [{}, {"aggregation": "mean"}, XIE, KONG, JIA]


@pytest.fixture(scope="module")
def plain_class() -> type[CGCNN]:
    path = BENCHMARKS / "plain_cgcnn.py"
    spec = importlib.util.spec_from_file_location("plain_cgcnn", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.PlainCGCNN


def shaken(**changes) -> CGCNN:
    torch.manual_seed(0)
    backbone = shaken_copy(CGCNN(**{**SMALL, **changes}))
    for module in backbone.modules():
        if isinstance(module, BatchNorm):
            module.running_mean.normal_()
            module.running_var.uniform_(5.0, 20.0)
    return backbone


def pair(plain_class, **changes) -> tuple[CGCNN, CGCNN]:
    ours = shaken(**changes)
    plain = plain_class(**ours.constants()).double().eval()
    plain.load_state_dict(ours.state_dict())
    return ours, plain


def mixed_crystals() -> Crystals:
    """Symmetric crystals, whose edges merge, low ones, whose do not, and an isolated atom."""
    isolated = replace(examples.one_atom_crystals()[0], pbc=torch.zeros(1, 3, dtype=torch.bool))
    parts = [examples.symmetric_crystals(), isolated, examples.one_atom_crystals()]
    return cat([*parts, examples.low_symmetry_crystals()])


def mixture(values: torch.Tensor) -> torch.Tensor:
    """One number in which every value takes part, not linearly."""
    weights = torch.arange(values.numel(), dtype=values.dtype).cos().reshape(values.shape)
    return (weights * values * (1 + values)).sum()


def two_atoms(distance: float) -> Crystals:
    return Crystals(
        numbers=torch.tensor([8, 22]),
        positions=torch.tensor([[0.0, 0.0, 0.0], [distance, 0.0, 0.0]], dtype=torch.float64),
        cell=50.0 * torch.eye(3, dtype=torch.float64).unsqueeze(0),
        pbc=torch.zeros(1, 3, dtype=torch.bool),
        offsets=torch.tensor([0, 2]),
    )


@pytest.mark.parametrize("changes", [*VARIANTS, {"neighbors": 8}, {"batch_norm": "messages"}])
def test_it_keeps_the_contract(changes):
    check_backbone(shaken(**changes))


@pytest.mark.parametrize("preset", ["small", "paper"])
def test_presets_without_a_strict_cap_that_bites_keep_the_contract(preset):
    check_backbone(CGCNN.preset(preset))


@pytest.mark.parametrize("preset", ["xie2018", "paper_d"])
def test_a_strict_cap_breaks_the_symmetry_of_symmetric_crystals_and_nothing_else(preset):
    backbone = CGCNN.preset(preset)
    check_backbone(backbone, skip=["symmetric_crystals"])
    with pytest.raises(AssertionError, match="orientation of a symmetric crystal"):
        check_backbone(backbone)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("changes", VARIANTS)
def test_values_and_parameter_gradients_equal_the_plain_equations(plain_class, changes, training):
    ours, plain = (backbone.train(training) for backbone in pair(plain_class, **changes))
    graph = ours.graph_builder()(mixed_crystals())
    found, expected = ours(graph), plain(graph)
    for one, other in zip(found.layers, expected.layers, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-10)
    mixture(found.nodes).backward()
    mixture(expected.nodes).backward()
    for (name, one), other in zip(ours.named_parameters(), plain.parameters(), strict=True):
        scale = float(other.grad.abs().max())
        assert float((one.grad - other.grad).abs().max()) <= 1e-9 * max(scale, 1.0), name
    for one, other in zip(ours.buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("changes", VARIANTS)
def test_forces_equal_the_plain_equations(plain_class, changes):
    forces = []
    for backbone in pair(plain_class, **changes):
        crystals = mixed_crystals()
        positions = crystals.positions.clone().requires_grad_()
        graph = backbone.graph_builder()(replace(crystals, positions=positions))
        forces.append(torch.autograd.grad(mixture(backbone(graph).nodes), positions)[0])
    torch.testing.assert_close(*forces, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("changes", [{}, {**XIE, "neighbors": 9}])
def test_first_and_second_derivatives_by_positions_are_those_of_finite_differences(changes):
    backbone = shaken(width=3, layers=2, radial=3, **changes)
    crystals = examples.low_symmetry_crystals()[0]
    graph = backbone.graph_builder()(crystals)

    def energy(moves: torch.Tensor) -> torch.Tensor:
        return mixture(backbone(graph.displaced(moves)).nodes)

    still = torch.zeros_like(crystals.positions).requires_grad_()
    assert torch.autograd.gradcheck(energy, still)
    assert torch.autograd.gradgradcheck(energy, still)


def test_training_on_forces_has_the_gradient_of_finite_differences():
    backbone = shaken(layers=2)
    graph = backbone.graph_builder()(examples.low_symmetry_crystals())
    weight = backbone.convolutions[1].gates.weight

    def force_norm() -> torch.Tensor:
        moves = torch.zeros_like(graph.crystals.positions).requires_grad_()
        energy = mixture(backbone(graph.displaced(moves)).nodes)
        weights = torch.arange(moves.numel()).to(moves).cos().reshape(moves.shape)
        force = torch.autograd.grad(energy, moves, create_graph=True)[0]
        return ((force - weights) ** 2).sum()

    (gradient,) = torch.autograd.grad(force_norm(), weight)
    ends, step = [], 1e-5
    for change in (step, -2 * step):
        with torch.no_grad():
            weight[3, 5] += change
        ends.append(float(force_norm().detach()))
    slope = (ends[0] - ends[1]) / (2 * step)
    assert slope == pytest.approx(float(gradient[3, 5]), rel=1e-6)


@pytest.mark.parametrize("aggregation", ["mean", "sum"])
def test_an_atom_leaves_its_only_neighbor_smoothly(aggregation):
    backbone = shaken(aggregation=aggregation)
    graphs = [backbone.graph_builder()(two_atoms(4.0 + move)) for move in (-1e-6, 1e-6)]
    assert [graph.edge_total for graph in graphs] == [2, 0]
    torch.testing.assert_close(*(backbone(graph).nodes for graph in graphs), rtol=0, atol=1e-9)


def test_without_the_envelope_nodes_jump_at_the_cutoff():
    liar = shaken(envelope=False)
    assert not liar.smooth
    liar.smooth = True
    with pytest.raises(AssertionError, match="jump"):
        check_backbone(liar)


def test_an_atom_without_neighbors_keeps_its_element_embedding():
    graph = shaken().graph_builder()(two_atoms(30.0))
    encoding = shaken()(graph)
    for layer in encoding.layers:
        assert torch.equal(layer, encoding.layers[0])


@pytest.mark.parametrize("batch_norm", ["messages", "nodes"])
def test_batch_norm_couples_crystals_in_training_only(batch_norm):
    backbone = shaken(batch_norm=batch_norm)
    crystals = examples.low_symmetry_crystals()
    build = backbone.graph_builder()
    atoms = crystals[0].atom_total

    def change_by_company() -> float:
        alone, together = backbone(build(crystals[0])), backbone(build(crystals))
        return float((alone.nodes - together.nodes[:atoms]).detach().abs().max())

    assert change_by_company() < 1e-10
    backbone.train()
    assert change_by_company() > 1e-3


@pytest.mark.parametrize("batch_norm", ["messages", "nodes"])
def test_one_atom_alone_can_be_trained_on_with_batch_norm(batch_norm):
    backbone = shaken(batch_norm=batch_norm).train()
    for crystals in (examples.one_atom_crystals()[0], two_atoms(30.0)):
        nodes = backbone(backbone.graph_builder()(crystals)).nodes
        nodes.sum().backward()
        assert torch.isfinite(nodes).all()


def test_edges_masked_one_by_one_are_not_taken_for_alike(plain_class):
    nodes = []
    for backbone in pair(plain_class):
        graph = backbone.graph_builder()(examples.symmetric_crystals())
        embedding = backbone.embed(graph)
        masked = embedding.edges * (torch.arange(graph.edge_total) % 3 > 0).unsqueeze(-1)
        nodes.append(backbone.propagate(graph, replace(embedding, edges=masked)).nodes)
    torch.testing.assert_close(*nodes, rtol=1e-9, atol=1e-10)


def test_edge_features_that_are_leaves_have_the_derivatives_of_the_plain_equations(plain_class):
    shares = []
    for backbone in pair(plain_class):
        graph = backbone.graph_builder()(examples.symmetric_crystals())
        embedding = backbone.embed(graph)
        edges = embedding.edges.detach().requires_grad_()
        nodes = backbone.propagate(graph, replace(embedding, edges=edges)).nodes
        shares.append(torch.autograd.grad(mixture(nodes), edges)[0])
    torch.testing.assert_close(*shares, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("changes", [{}, XIE, KONG])
def test_a_whole_batch_may_lack_edges(changes):
    crystals = replace(examples.one_atom_crystals(), pbc=torch.zeros(2, 3, dtype=torch.bool))
    backbone = shaken(**changes)
    for training in (False, True):
        encoding = backbone.train(training)(backbone.graph_builder()(crystals))
        encoding.nodes.sum().backward()
        assert torch.isfinite(encoding.nodes).all()


def test_single_precision_stays_within_rounding_of_double(plain_class):
    ours, plain = pair(plain_class)
    exact = plain(ours.graph_builder()(mixed_crystals())).nodes.detach()
    graph = ours.graph_builder()(mixed_crystals()).to(dtype=torch.float32)
    found = ours.float()(graph).nodes.detach()
    assert float((found.double() - exact).abs().max() / exact.abs().max()) < 1e-5


def test_mixed_precision_stays_near_single_precision():
    backbone = shaken().float()
    graph = backbone.graph_builder()(mixed_crystals()).to(dtype=torch.float32)
    exact = backbone(graph).nodes.detach()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = backbone(graph).nodes
        mixed.float().sum().backward()
    assert float((mixed.detach() - exact).abs().max()) < 0.1 * float(exact.abs().max())


def test_another_module_can_take_the_place_of_the_element_table():
    class Heavier(nn.Module):
        def forward(self, numbers):
            return numbers.to(torch.float64).unsqueeze(-1).expand(-1, 8)

    backbone = shaken()
    graph = backbone.graph_builder()(examples.low_symmetry_crystals())
    before = backbone(graph).nodes
    backbone.element_table = Heavier()
    encoding = backbone(graph)
    assert torch.equal(encoding.layers[0][:, 3], graph.crystals.numbers.double())
    assert not torch.allclose(encoding.nodes, before)


@pytest.mark.parametrize(
    ("preset", "expected"),
    [
        ("small", (64, 3, 5.0, None, "sum", "none", True)),
        ("paper", (100, 4, 8.0, 250, "mean", "none", False)),
        ("xie2018", (64, 3, 8.0, 12, "sum", "messages", False)),
        ("paper_d", (64, 5, 8.0, 12, "sum", "nodes", False)),
    ],
)
def test_presets_are_as_documented(preset, expected):
    backbone = CGCNN.preset(preset)
    keys = ("width", "layers", "cutoff", "neighbors", "aggregation", "batch_norm", "layer_norm")
    assert tuple(backbone.constants()[key] for key in keys) == expected
    assert backbone.smooth == (preset == "small")
    assert CGCNN().smooth


def test_published_gaussians_are_exp_of_the_squared_distance_over_the_squared_step():
    backbone = CGCNN.preset("xie2018")
    assert backbone.convolutions[0].gates.weight.abs().max() <= (2 * 64 + 41) ** -0.5
    edges = backbone.embed(backbone.graph_builder()(two_atoms(2.1).to(dtype=torch.float32))).edges
    expected = torch.exp(-((2.1 - torch.arange(0, 8.1, 0.2)) ** 2) / 0.2**2)
    torch.testing.assert_close(edges, expected.expand(2, -1), rtol=1e-4, atol=1e-6)


def test_an_unknown_element_is_named_with_its_crystal():
    backbone = CGCNN(**{**SMALL, "elements": 20})
    graph = backbone.graph_builder()(examples.low_symmetry_crystals().to(dtype=torch.float32))
    with pytest.raises(InputError, match=r"crystal '.*' has an atom of atomic number 2[26]"):
        backbone(graph)


def test_an_element_outside_of_the_table_of_properties_is_named():
    with pytest.raises(InputError, match=r"Rf \(104\) is not in the table .* ends with Lr \(103\)"):
        CGCNN.preset("xie2018", elements=110)


def test_an_aggregation_that_there_is_not_is_refused():
    with pytest.raises(RecipeError, match="aggregation = 'max'"):
        CGCNN.preset("small", aggregation="max")
