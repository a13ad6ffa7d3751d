from dataclasses import replace

import ase
import pytest
import torch
from torch import nn

from epitaxy.crystals.crystals import cat
from epitaxy.crystals.exchange import from_ase
from epitaxy.crystals.neighbors import GraphBuilder
from epitaxy.errors import InputError
from epitaxy.objectives import EdgeDenoise
from epitaxy.registry import build, settings_of
from epitaxy.testing.examples import low_symmetry_crystals, one_atom_crystals, rotation, turned
from epitaxy.training.learner import Encoder
from epitaxy.training.loader import seeded_generator

CUTOFF = 4.0


class Says(nn.Module):
    """A head that has its answer ready."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, encoding, graph):
        return self.answer.expand(graph.edge_total, -1)


def seen(objective, crystals):
    builder = GraphBuilder(CUTOFF)
    objective = objective.prepare(crystals, builder, seeded_generator(0))
    return objective, objective.view(crystals, builder, seeded_generator(1))


def test_the_edges_are_those_of_the_clean_crystal():
    crystals = low_symmetry_crystals()
    _, view = seen(EdgeDenoise(sigma=0.5, smallest=2), crystals)
    moved, clean = view.graphs
    whole = GraphBuilder(CUTOFF)(crystals)
    for graph in (moved, clean):
        assert torch.equal(graph.center, whole.center)
        assert torch.equal(graph.neighbor, whole.neighbor)
        assert torch.equal(graph.shift, whole.shift)
    torch.testing.assert_close(clean.distances(), whole.distances())
    assert moved.distances().max() > CUTOFF


def test_atoms_move_by_sigma_around_a_center_that_stays():
    crystals = cat([low_symmetry_crystals()[2]] * 400)
    _, view = seen(EdgeDenoise(sigma=0.2, smallest=2), crystals)
    moved, clean = (graph.crystals for graph in view.graphs)
    by = (moved.positions - clean.positions).reshape(400, 5, 3)
    assert by.mean(1).abs().max() < 1e-12
    # the mean of five takes a fifth of the variance away
    assert float(by.std()) == pytest.approx(0.2 * (4 / 5) ** 0.5, rel=0.03)


def test_a_label_is_one_at_its_gaussian_and_has_the_width_asked_for():
    objective = EdgeDenoise(gaussians=5, gaussian_width=0.7)
    labels = objective.expansion(torch.tensor([2.0, 2.7]), 4.0)
    assert labels.shape == (2, 5)
    assert float(labels[0, 2]) == 1.0
    assert float(labels[1, 2]) == pytest.approx(float(torch.exp(torch.tensor(-1.0))))


@pytest.mark.parametrize("loss_kind", ["l1", "l2"])
def test_the_label_of_a_crystal_that_hardly_moves_is_its_own_expansion(loss_kind):
    crystals = low_symmetry_crystals()
    objective, view = seen(EdgeDenoise(sigma=1e-9, loss_kind=loss_kind), crystals)
    own = objective.expansion(view.graphs[0].distances(), CUTOFF)
    figures = objective.loss(lambda graph: None, Says(own), view)
    assert figures["loss"] < 1e-8
    assert float(figures["skill"]) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("loss_kind", ["l1", "l2"])
def test_no_constant_has_skill_and_the_best_one_has_none(loss_kind):
    """On the crystals themselves; the mean and the median of their expansions."""
    crystals = low_symmetry_crystals()
    objective, view = seen(EdgeDenoise(sigma=0.1, smallest=2, loss_kind=loss_kind), crystals)
    labels = objective.expansion(view.graphs[1].distances(), CUTOFF)
    for constant in (labels.mean(0), labels.median(0).values, torch.zeros(50).double()):
        skill = objective.loss(lambda graph: None, Says(constant), view)["skill"]
        assert skill < 1e-9
    best = labels.mean(0) if loss_kind == "l2" else labels.median(0).values
    skill = objective.loss(lambda graph: None, Says(best), view)["skill"]
    assert float(skill) == pytest.approx(0.0, abs=1e-9)


def test_a_copy_of_the_moved_distances_has_denoised_nothing():
    objective, view = seen(EdgeDenoise(sigma=0.1), low_symmetry_crystals())
    copy = objective.expansion(view.graphs[0].distances(), CUTOFF)
    figures = objective.loss(lambda graph: None, Says(copy), view)
    assert float(figures["denoised"]) == pytest.approx(0.0, abs=1e-9)
    assert figures["skill"] > 0.3


def test_labels_do_not_turn_with_the_crystal():
    crystals, matrix = low_symmetry_crystals(), rotation()
    labels = []
    for some in (crystals, turned(crystals, matrix)):
        objective, view = seen(EdgeDenoise(), some)
        distances = view.graphs[1].distances()
        labels.append(torch.sort(distances).values)
    torch.testing.assert_close(*[objective.expansion(one, CUTOFF) for one in labels])


def test_one_atom_cells_are_enlarged_and_free_atoms_are_skipped_and_named():
    atom = replace(from_ase(ase.Atoms("Ar")), ids=["argon"]).to(dtype=torch.float64)
    far = from_ase(ase.Atoms("Ar2", [[0, 0, 0], [0, 0, 9]]))
    far = replace(far, ids=["far"]).to(dtype=torch.float64)
    crystals = cat([one_atom_crystals(), atom, far])
    objective, view = seen(EdgeDenoise(), crystals)
    assert view.skipped == ("argon", "far")
    assert view.graphs[0].crystals.atom_counts.tolist() == [4, 4]
    changed = view.graphs[0].distances() - view.graphs[1].distances()
    assert changed.abs().mean() > 0.02
    with pytest.raises(InputError, match="argon are free atoms"):
        objective.view(atom, GraphBuilder(CUTOFF), seeded_generator(0))


def test_the_same_seed_gives_the_same_view():
    objective, first = seen(EdgeDenoise(sigma=(0.05, 0.3)), low_symmetry_crystals())
    builder = GraphBuilder(CUTOFF)
    again = objective.view(low_symmetry_crystals(), builder, seeded_generator(1))
    other = objective.view(low_symmetry_crystals(), builder, seeded_generator(2))
    positions = [view.graphs[0].crystals.positions for view in (first, again, other)]
    assert torch.equal(positions[0], positions[1])
    assert positions[0].shape != positions[2].shape or not torch.equal(positions[0], positions[2])


def test_settings_and_fitted_numbers_build_the_same_objective_again():
    objective, view = seen(EdgeDenoise(gaussians=7, sigma=(0.1, 0.2)), low_symmetry_crystals())
    again = build("objectives", settings_of(objective)).with_fitted(objective.fitted)
    answer = Says(torch.rand(7).double())
    assert objective.loss(lambda graph: None, answer, view) == again.loss(
        lambda graph: None, answer, view
    )


def test_an_edge_beyond_the_cutoff_sends_no_message(crystals, every_backbone, prepared):
    backbone, objective, head, builder = prepared(every_backbone, EdgeDenoise(sigma=0.5), crystals)
    view = objective.view(crystals[:16], builder, seeded_generator(0))
    beyond = view.graphs[0].distances() >= backbone.cutoff
    assert bool(beyond.any())
    embedding = backbone.embed(view.graphs[0])
    if embedding.envelope is not None:
        assert bool((embedding.envelope[beyond] == 0).all())
    figures = objective.loss(Encoder(backbone), head, view)
    assert all(bool(torch.isfinite(value)) for value in figures.values())


def test_the_loss_falls_on_every_backbone(crystals, every_backbone, prepared, trained):
    objective = EdgeDenoise(gaussians=20)
    parts = prepared(every_backbone, objective, crystals)
    before, after = trained(*parts, crystals[:16])
    assert abs(before["skill"]) < 0.3
    assert after["skill"] > before["skill"] + 0.2
