from dataclasses import replace

import ase
import pytest
import torch

from epitaxy.crystals.crystals import cat
from epitaxy.crystals.exchange import from_ase
from epitaxy.crystals.neighbors import build_graph
from epitaxy.errors import InputError
from epitaxy.objectives import Denoise
from epitaxy.registry import build
from epitaxy.testing import examples
from epitaxy.training.learner import Encoder
from epitaxy.training.loader import graph_builder, seeded_generator
from epitaxy.training.recipe import load_recipe
from epitaxy.training.train import train

MODES = ("head", "derivative")


def setup(tiny, crystals, dtype=torch.float64, **arguments):
    torch.manual_seed(0)
    backbone = build("backbones", tiny).to(dtype)
    objective = Denoise(**arguments)
    builder = graph_builder(backbone, [objective])
    view = objective.view(crystals.to(dtype=dtype), builder, seeded_generator(1))
    return backbone, objective, objective.head(backbone).to(dtype), view


def test_labels_point_back_and_leave_the_center_where_it_is(crystals, tiny):
    """Moving every atom by σ times its label gives the clean crystal back."""
    _, _, _, view = setup(tiny, crystals[:8], sigma=0.2, smallest=2)
    moved, labels = view.graphs[0].crystals, view.labels["way_back"].values
    sums = torch.zeros(8, 3, dtype=labels.dtype).index_add(0, moved.crystal_of_atom, labels)
    assert sums.abs().max() < 1e-10
    clean = crystals[:8].to(dtype=torch.float64)
    if torch.equal(moved.atom_counts, clean.atom_counts):
        restored = moved.positions + 0.2 * labels
        torch.testing.assert_close(restored, clean.positions)


def test_the_edges_are_those_of_the_moved_crystal(crystals, tiny):
    _, _, _, view = setup(tiny, crystals[:6], sigma=0.3)
    graph = view.graphs[0]
    exact = build_graph(graph.crystals, graph.cutoff)
    assert torch.equal(graph.center, exact.center)
    assert graph.distances().max() <= graph.cutoff


def test_noise_is_new_at_every_step_and_the_same_for_the_same_seed(crystals, tiny):
    backbone = build("backbones", tiny)
    objective = Denoise()
    builder = graph_builder(backbone, [objective])

    def labels(seed):
        view = objective.view(crystals[:4], builder, seeded_generator(seed))
        return view.labels["way_back"].values

    assert torch.equal(labels(1), labels(1))
    first, second = labels(1), labels(2)
    assert first.shape != second.shape or not torch.allclose(first, second)


def test_a_range_of_sigmas_differs_from_crystal_to_crystal(crystals, tiny):
    one = Denoise(sigma=(0.01, 0.5))
    sigmas = one._sigmas(crystals, seeded_generator(0)).flatten()
    assert 0.01 <= float(sigmas.min()) < float(sigmas.max()) <= 0.5
    first = crystals.crystal_of_atom == 0
    assert sigmas[first].unique().numel() == 1


@pytest.mark.parametrize("mode", MODES)
def test_predictions_turn_with_the_crystal(crystals, tiny, mode):
    backbone, objective, head, view = setup(tiny, crystals[:4], mode=mode)
    rotation = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))[0]
    graph = view.graphs[0]
    moved = graph.crystals
    turned = replace(
        graph,
        crystals=replace(moved, positions=moved.positions @ rotation, cell=moved.cell @ rotation),
    )
    find = objective._by_derivative if mode == "derivative" else objective._by_head
    before = find(Encoder(backbone), head, graph)
    after = find(Encoder(backbone), head, turned)
    torch.testing.assert_close(after, before @ rotation, rtol=1e-9, atol=1e-10)
    assert before.abs().max() > 1e-4


def test_derivative_predictions_sum_to_zero_and_match_finite_differences(crystals, tiny):
    backbone, objective, head, view = setup(tiny, crystals[:3], mode="derivative")
    graph = view.graphs[0]
    forces = objective._by_derivative(Encoder(backbone), head, graph)
    sums = torch.zeros(3, 3, dtype=forces.dtype)
    sums = sums.index_add(0, graph.crystals.crystal_of_atom, forces.detach())
    assert sums.abs().max() < 1e-10

    def energy(by):
        moved = graph.displaced(by)
        return float(head(backbone(moved), moved).detach().sum())

    step = torch.zeros_like(graph.crystals.positions)
    step[1, 2] = 1e-5
    slope = (energy(step) - energy(-step)) / 2e-5
    assert float(forces[1, 2].detach()) == pytest.approx(-slope, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("name", ["cgcnn", "megnet"])
def test_a_backbone_without_vectors_predicts_vectors_that_turn(crystals, name):
    settings = {"name": name, "preset": "small"}
    backbone, objective, head, view = setup(settings, crystals[:4], mode="head")
    assert not backbone.has_vectors
    backbone.eval()
    graph = view.graphs[0]
    turned = replace(graph, crystals=examples.turned(graph.crystals, examples.rotation()))
    before = objective._by_head(Encoder(backbone), head, graph)
    after = objective._by_head(Encoder(backbone), head, turned)
    torch.testing.assert_close(after, before @ examples.rotation().T, rtol=1e-9, atol=1e-10)
    assert before.abs().max() > 1e-4
    objective.loss(Encoder(backbone), head, view)["loss"].backward()
    gradients = [p.grad for p in head.parameters()]
    assert all(gradient is not None and bool(gradient.any()) for gradient in gradients)


@pytest.mark.parametrize("mode", MODES)
def test_gradients_reach_backbone_and_head(crystals, tiny, mode):
    backbone, objective, head, view = setup(tiny, crystals[:8], mode=mode)
    objective.loss(Encoder(backbone), head, view)["loss"].backward()
    for module in (backbone, head):
        grads = [p.grad for p in module.parameters()]
        reached = sum(g is not None and bool(g.abs().sum() > 0) for g in grads)
        assert reached > 0.6 * len(grads)


@pytest.mark.parametrize("mode", MODES)
def test_the_loss_falls(crystals, tiny, mode):
    recipe = load_recipe("pretrain").altered(
        {
            "backbone": tiny,
            "objectives": [{"name": "denoise", "mode": mode}],
            "training.epochs": 15,
            "training.batch_size": 16,
            "training.learning_rate": 5e-3,
        }
    )
    rows = train(recipe, crystals[:48], crystals[48:]).fitted.rows
    held = [row["loss"] for row in rows if row["split"] == "validation"]
    assert held[-1] < 0.97 * held[0]


def test_free_atoms_are_skipped_and_named(crystals, tiny):
    atom = replace(from_ase(ase.Atoms("Ar")), ids=["argon"])
    _, _, _, view = setup(tiny, cat([crystals[:2].with_targets({}), atom.to(dtype=torch.float32)]))
    assert view.skipped == ("argon",)
    assert len(view) == 2
    with pytest.raises(InputError, match="argon are free atoms"):
        setup(tiny, atom)


def test_clean_and_noisy_objectives_train_together(crystals, tiny):
    recipe = load_recipe("pretrain").altered(
        {
            "backbone": tiny,
            "objectives": [{"name": "fingerprint"}, {"name": "denoise", "weight": 0.5}],
            "training.epochs": 2,
        }
    )
    row = train(recipe, crystals[:32]).fitted.rows[-1]
    expected = row["fingerprint/loss"] + 0.5 * row["denoise/loss"]
    assert row["loss"] == pytest.approx(expected, rel=1e-6)
