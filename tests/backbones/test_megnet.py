"""MEGNet keeps the contract, and equals its equations and another package's numbers."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from epitaxy.backbones.megnet import MEGNet
from epitaxy.crystals.crystals import Crystals, cat
from epitaxy.errors import InputError
from epitaxy.testing import check_backbone, examples
from epitaxy.testing.backbones import BACKBONE_CHECKS, shaken_copy

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "megnet.json").read_text())
SMALL = {"width": 6, "hidden": 7, "layers": 3, "element_width": 5, "radial": 8, "cutoff": 4.0}
VARIANTS = [
    {},
    {"envelope": False, "last_center": 5.0, "gaussian_width": 0.5},
    {"activate_last": True, "state": 3},
    {"neighbors": 8, "envelope": False},
]


def shaken(**changes) -> MEGNet:
    torch.manual_seed(0)
    return shaken_copy(MEGNet(**{**SMALL, **changes}))


def mixed_crystals() -> Crystals:
    """Symmetric crystals, whose edges merge, low ones, whose do not, and an isolated atom."""
    parts = [examples.symmetric_crystals(), isolated_atoms()[0], examples.one_atom_crystals()]
    return cat([*parts, examples.low_symmetry_crystals()])


def isolated_atoms() -> Crystals:
    return replace(examples.one_atom_crystals(), pbc=torch.zeros(2, 3, dtype=torch.bool))


def dimer(distance: float) -> Crystals:
    molecule = isolated_atoms()
    positions = torch.tensor([[0.0, 0.0, 0.0], [distance, 0.0, 0.0]], dtype=torch.float64)
    return replace(
        molecule,
        numbers=torch.tensor([8, 14]),
        positions=positions,
        cell=molecule.cell[:1],
        pbc=molecule.pbc[:1],
        offsets=torch.tensor([0, 2]),
        ids=molecule.ids[:1],
    )


def mixture(values: torch.Tensor) -> torch.Tensor:
    """One number in which every value takes part, not linearly."""
    weights = torch.arange(values.numel(), dtype=values.dtype).cos().reshape(values.shape)
    return (weights * values * (1 + values)).sum()


def total(nodes, edges, state) -> torch.Tensor:
    return mixture(nodes) + mixture(edges) + mixture(state)


def parts(encoding) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return encoding.nodes, encoding.edges, encoding.crystals


def plainly(backbone: MEGNet, graph, features=None):
    """The equations, one edge, one atom and one crystal at a time."""
    named = dict(backbone.named_parameters())

    def zeta(x):
        return torch.log((torch.exp(x) + 1) / 2)

    def dense(name, x, last=True):
        steps = [key for key in named if key.startswith(f"{name}.") and key.endswith(".weight")]
        for step in steps:
            x = named[step] @ x + named[step.replace("weight", "bias")]
            x = zeta(x) if last or step != steps[-1] else x
        return x

    smooth = backbone.envelope
    last = backbone.last_center or backbone.cutoff
    # centers in single precision, as they are kept
    centers = torch.linspace(0.0, last, backbone.radial).double()
    distances = graph.distances()
    f = 0.5 * (torch.cos(math.pi * distances / backbone.cutoff) + 1)
    f = list(f if smooth else torch.ones_like(f))
    if features is None:
        gaussians = [
            torch.exp(-((r - centers) ** 2) / backbone.gaussian_width**2) for r in distances
        ]
        features = [g * weight for g, weight in zip(gaussians, f, strict=True)]
    z, home = graph.crystals.numbers.tolist(), graph.crystals.crystal_of_atom.tolist()
    pairs = list(zip(graph.center.tolist(), graph.neighbor.tolist(), strict=True))
    table = named["element_table.weight"]
    v = [dense("node_start", table[number]) for number in z]
    e = [dense("edge_start", feature) for feature in features]
    start = torch.zeros(backbone.state, dtype=torch.float64)
    u = [dense("state_start", start) for _ in range(len(graph))]
    ghost = 1.0 if smooth else 0.0

    def mean(chosen, values, ghosts):
        if not chosen:
            return torch.zeros(backbone.width, dtype=torch.float64)
        above = sum(f[k] * values[k] for k in chosen)
        return above / (ghosts + sum(f[k] for k in chosen))

    for block in range(backbone.layers):
        name = f"blocks.{block}"
        before = v, e, u
        if block:
            v = [dense(f"{name}.node_dense", x) for x in v]
            e = [dense(f"{name}.edge_dense", x) for x in e]
            u = [dense(f"{name}.state_dense", x) for x in u]
        end = backbone.activate_last
        e = [
            dense(f"{name}.edge_update", torch.cat([v[i], v[j], e[k], u[home[i]]]), end)
            for k, (i, j) in enumerate(pairs)
        ]
        around = [
            mean([k for k, p in enumerate(pairs) if p[0] == i], e, ghost) for i in range(len(z))
        ]
        v = [
            dense(f"{name}.node_update", torch.cat([v[i], around[i], u[home[i]]]), end)
            for i in range(len(z))
        ]
        new = []
        for c in range(len(graph)):
            atoms = [i for i in range(len(z)) if home[i] == c]
            inside = [k for k, p in enumerate(pairs) if home[p[0]] == c]
            throughout = mean(inside, e, ghost * len(atoms))
            average = torch.stack([v[i] for i in atoms]).mean(0)
            new.append(dense(f"{name}.state_update", torch.cat([u[c], throughout, average]), end))
        u = new
        v, e, u = (
            [a + b for a, b in zip(*two, strict=True)]
            for two in zip((v, e, u), before, strict=True)
        )
    return torch.stack(v), torch.stack(e), torch.stack(u)


@pytest.mark.parametrize("preset", ["paper", "matgl", "small"])
def test_every_preset_keeps_the_contract(preset):
    check_backbone(MEGNet.preset(preset))


@pytest.mark.parametrize("changes", VARIANTS[2:])
def test_it_keeps_the_contract(changes):
    check_backbone(MEGNet(**{**SMALL, **changes}))


@pytest.mark.parametrize("changes", VARIANTS)
def test_values_and_parameter_gradients_equal_the_plain_equations(changes):
    backbone = shaken(**changes)
    graph = backbone.graph_builder()(mixed_crystals())
    found, expected = parts(backbone(graph)), plainly(backbone, graph)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-10)
    parameters = list(backbone.parameters())
    gradients = torch.autograd.grad(total(*found), parameters)
    others = torch.autograd.grad(total(*expected), parameters)
    for (name, _), one, other in zip(backbone.named_parameters(), gradients, others, strict=True):
        error = float((one - other).abs().max())
        assert error <= 1e-9 * max(float(other.abs().max()), 1.0), name


@pytest.mark.parametrize("changes", [{}, {"envelope": False}])
def test_first_and_second_derivatives_by_positions_are_those_of_finite_differences(changes):
    backbone = shaken(**changes, layers=2, width=3, hidden=3, cutoff=3.0)
    crystals = examples.low_symmetry_crystals()[:1]
    graph = backbone.graph_builder()(crystals)
    assert 0 < graph.edge_total < 40

    def energy(moves):
        return total(*parts(backbone(graph.displaced(moves))))

    moves = torch.zeros_like(crystals.positions).requires_grad_()
    assert gradcheck(energy, moves)
    assert gradgradcheck(energy, moves)


def test_second_derivatives_by_parameters_are_those_of_finite_differences():
    backbone = shaken(layers=2, width=3, hidden=3, cutoff=3.0)
    graph = backbone.graph_builder()(examples.symmetric_crystals()[:1])
    chosen = ("element_table.weight", "blocks.1.edge_update.first.weight")
    table, weight = (dict(backbone.named_parameters())[name].detach().clone() for name in chosen)

    def energy(rows, matrix):
        full = table.index_copy(0, torch.tensor([8, 14]), rows)
        replaced = dict(zip(chosen, (full, matrix), strict=True))
        return total(*parts(torch.func.functional_call(backbone, replaced, (graph,))))

    leaves = table[[8, 14]].clone().requires_grad_(), weight.clone().requires_grad_()
    assert gradgradcheck(energy, leaves)


def test_forces_in_symmetric_crystals_equal_the_plain_equations():
    backbone = shaken()
    crystals = examples.symmetric_crystals()[:1]
    graph = backbone.graph_builder()(crystals)
    forces = []
    for encode in (lambda moved: parts(backbone(moved)), lambda moved: plainly(backbone, moved)):
        moves = torch.zeros_like(crystals.positions).requires_grad_()
        forces.append(torch.autograd.grad(total(*encode(graph.displaced(moves))), moves)[0])
    torch.testing.assert_close(*forces, rtol=1e-8, atol=1e-9)


def test_edges_masked_one_by_one_are_not_taken_for_alike():
    backbone = shaken()
    graph = backbone.graph_builder()(examples.symmetric_crystals())
    embedding = backbone.embed(graph)
    masked = embedding.edges * (torch.arange(graph.edge_total) % 3 > 0).unsqueeze(-1)
    found = parts(backbone.propagate(graph, replace(embedding, edges=masked)))
    for one, other in zip(found, plainly(backbone, graph, list(masked)), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-10)


def test_edge_features_that_are_leaves_have_the_derivatives_of_the_plain_equations():
    backbone = shaken()
    graph = backbone.graph_builder()(examples.symmetric_crystals()[:1])
    embedding = backbone.embed(graph)
    edges = embedding.edges.detach().requires_grad_()
    found = parts(backbone.propagate(graph, replace(embedding, edges=edges)))
    expected = plainly(backbone, graph, list(edges))
    shares = [torch.autograd.grad(total(*values), edges)[0] for values in (found, expected)]
    torch.testing.assert_close(*shares, rtol=1e-8, atol=1e-9)


def test_a_lone_neighbor_leaves_without_a_jump():
    backbone = shaken()
    inside, outside = (
        backbone(backbone.graph_builder()(dimer(backbone.cutoff + step))) for step in (-1e-6, 1e-6)
    )
    assert len(inside.edges) == 2
    assert len(outside.edges) == 0
    torch.testing.assert_close(inside.nodes, outside.nodes, rtol=0, atol=1e-9)
    torch.testing.assert_close(inside.crystals, outside.crystals, rtol=0, atol=1e-9)


def test_plain_means_jump_at_the_cutoff():
    liar = shaken(envelope=False)
    assert not liar.smooth
    liar.smooth = True
    with pytest.raises(AssertionError, match="jump"):
        check_backbone(liar)


class KeepsEdges(MEGNet):
    def propagate(self, graph, embedding):
        encoding = super().propagate(graph, embedding)
        return replace(encoding, edges=torch.ones_like(encoding.edges))


class MixesStates(MEGNet):
    def propagate(self, graph, embedding):
        encoding = super().propagate(graph, embedding)
        return replace(encoding, crystals=encoding.crystals + encoding.crystals.mean(0))


class MixesEdges(MEGNet):
    def propagate(self, graph, embedding):
        encoding = super().propagate(graph, embedding)
        return replace(encoding, edges=encoding.edges + encoding.edges.mean(0))


class IgnoresTheState(MEGNet):
    def propagate(self, graph, embedding):
        return super().propagate(
            graph, replace(embedding, crystals=torch.zeros_like(embedding.crystals))
        )


class CountsEdges(MEGNet):
    def propagate(self, graph, embedding):
        encoding = super().propagate(graph, embedding)
        return replace(encoding, crystals=encoding.crystals + graph.edge_total)


@pytest.mark.parametrize(
    ("cls", "check", "complaint"),
    [
        (KeepsEdges, "updates", "edges do not depend on the atoms"),
        (IgnoresTheState, "updates", "nodes do not depend on the state"),
        (MixesStates, "batching", "the state depends on the rest of the batch"),
        (MixesEdges, "batching", "edges depend on the rest of the batch"),
        (MixesStates, "isolation", "a derivative reaches another crystal"),
        (MixesEdges, "isolation", "a derivative reaches another crystal"),
        (CountsEdges, "smoothness", "the state jumps"),
        (CountsEdges, "supercell", "the state depends on the size of the cell"),
    ],
)
def test_a_broken_state_or_edge_is_found(cls, check, complaint):
    torch.manual_seed(0)
    with pytest.raises(AssertionError, match=complaint):
        BACKBONE_CHECKS[check](shaken_copy(cls(**SMALL)))


@pytest.mark.parametrize("envelope", [True, False])
def test_isolated_atoms_and_batches_without_edges_are_finite(envelope):
    backbone = shaken(envelope=envelope)
    graph = backbone.graph_builder()(isolated_atoms())
    assert graph.edge_total == 0
    encoding = backbone(graph)
    total(*parts(encoding)).backward()
    assert encoding.edges.shape == (0, backbone.width)
    assert torch.isfinite(encoding.nodes).all()
    assert torch.isfinite(encoding.crystals).all()
    assert torch.isfinite(backbone.element_table.weight.grad).all()


@pytest.mark.parametrize("envelope", [True, False])
def test_a_one_atom_cell_is_told_from_its_atom_alone(envelope):
    backbone = shaken(envelope=envelope)
    crystal, alone = examples.one_atom_crystals()[:1], isolated_atoms()[:1]
    with_images, without = (backbone(backbone.graph_builder()(c)) for c in (crystal, alone))
    assert torch.isfinite(with_images.nodes).all()
    assert not torch.allclose(with_images.nodes, without.nodes)
    assert not torch.allclose(with_images.crystals, without.crystals)


def test_single_precision_stays_within_rounding_of_double():
    backbone = shaken()
    graph = backbone.graph_builder()(mixed_crystals())
    with torch.no_grad():
        exact = parts(backbone(graph))
        found = parts(backbone.float()(graph.to(dtype=torch.float32)))
    for one, other in zip(found, exact, strict=True):
        assert one.dtype == torch.float32
        assert float((one.double() - other).abs().max() / other.abs().max()) < 1e-5


def test_mixed_precision_stays_near_full_precision():
    backbone = shaken().float()
    graph = backbone.graph_builder()(mixed_crystals()).to(dtype=torch.float32)
    exact = backbone(graph).nodes.detach()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = backbone(graph).nodes
        mixed.float().sum().backward()
    assert float((mixed.detach() - exact).abs().max()) < 0.1 * float(exact.abs().max())


@pytest.mark.parametrize("crystal", GOLDEN["crystals"], ids=lambda crystal: crystal["name"])
def test_features_equal_those_of_matgl(crystal):
    backbone = as_matgl()
    crystals = Crystals(
        numbers=torch.tensor(crystal["numbers"]),
        positions=torch.tensor(crystal["positions"], dtype=torch.float64),
        cell=torch.tensor([crystal["cell"]], dtype=torch.float64),
        pbc=torch.ones(1, 3, dtype=torch.bool),
        offsets=torch.tensor([0, len(crystal["numbers"])]),
    )
    graph = backbone.graph_builder()(crystals)
    embedding = backbone.embed(graph)
    state = torch.tensor([crystal["state"]], dtype=torch.float64)
    encoding = backbone.propagate(graph, replace(embedding, crystals=state))

    columns = (graph.center.unsqueeze(-1), graph.neighbor.unsqueeze(-1), graph.shift)
    rows = torch.cat(columns, dim=-1).tolist()
    order = [rows.index(edge) for edge in crystal["edges"]]
    assert len(rows) == len(order)
    for found, expected in (
        (encoding.nodes, crystal["node_features"]),
        (encoding.edges[order], crystal["edge_features"]),
        (encoding.crystals[0], crystal["state_features"]),
    ):
        torch.testing.assert_close(found, found.new_tensor(expected), rtol=1e-9, atol=1e-9)


def as_matgl() -> MEGNet:
    """The golden file's network, in our names."""
    sizes = ("element_width", "hidden", "width", "radial", "state", "layers", "cutoff")
    sizes = {key: GOLDEN[key] for key in (*sizes, "last_center")}
    backbone = MEGNet.preset("matgl", **sizes).double().eval()
    weights = {
        name: torch.tensor(values, dtype=torch.float64)
        for name, values in GOLDEN["weights"].items()
    }
    rows = weights.pop("embedding.layer_node_embedding.weight")
    table = torch.zeros_like(backbone.element_table.weight)
    table = table.index_copy(0, torch.tensor(GOLDEN["numbers"]), rows)
    ours = {"element_table.weight": table}
    for name, values in weights.items():
        owner, step, kind = name.replace(".layers.", ".").rsplit(".", 2)
        for theirs, own in (
            (".conv.edge_func", ".edge_update"),
            (".conv.node_func", ".node_update"),
            (".conv.state_func", ".state_update"),
            ("_func", "_dense"),
            ("_encoder", "_start"),
        ):
            owner = owner.replace(theirs, own)
        place = {"0": "first", "2": "rest.0", "4": "rest.1"}[step]
        ours[f"{owner}.{place}.{kind}"] = values
    backbone.load_state_dict(ours)
    return backbone


def test_presets_are_as_documented():
    paper, matgl, small = (MEGNet.preset(name) for name in ("paper", "matgl", "small"))
    published = (3, 64, 32, 16, 2, 100, 5.0, 0.5, 4.0, None)
    names = ("layers", "hidden", "width", "element_width", "state", "radial", "last_center")
    names = (*names, "gaussian_width", "cutoff", "neighbors")
    assert tuple(getattr(paper, name) for name in names) == published
    assert {key for key in paper.constants() if getattr(paper, key) != getattr(matgl, key)} == {
        "gaussian_width",
        "activate_last",
    }
    assert (paper.smooth, matgl.smooth, small.smooth, MEGNet().smooth) == (False, False, True, True)


def test_an_unknown_element_is_named_with_its_crystal():
    backbone = MEGNet(**SMALL, elements=20)
    graph = backbone.graph_builder()(examples.low_symmetry_crystals().to(dtype=torch.float32))
    with pytest.raises(InputError, match=r"crystal '.*' has an atom of atomic number 2[26]"):
        backbone(graph)
