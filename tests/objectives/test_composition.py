import pytest
import torch
from torch import nn

from epitaxy.crystals.elements import NUMBERS
from epitaxy.crystals.neighbors import GraphBuilder
from epitaxy.objectives import Composition
from epitaxy.objectives.composition import fractions
from epitaxy.registry import build, settings_of
from epitaxy.testing.examples import rotation, supercell, symmetric_crystals, turned
from epitaxy.training.learner import Encoder
from epitaxy.training.loader import graph_builder, seeded_generator


class Says(nn.Module):
    """A head that has its answer ready."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, pooled):
        return self.answer


def test_labels_are_fractions_of_the_atoms(crystals):
    labels = fractions(symmetric_crystals())
    perovskite = {"Fe": 0.2, "Ti": 0.2, "O": 0.6}
    for symbol, fraction in perovskite.items():
        assert float(labels[1, NUMBERS[symbol] - 1]) == pytest.approx(fraction)
    torch.testing.assert_close(fractions(crystals).sum(1), torch.ones(len(crystals)))


def test_labels_are_those_of_the_supercell_and_do_not_turn():
    crystals = symmetric_crystals()
    torch.testing.assert_close(fractions(supercell(crystals)[0]), fractions(crystals))
    assert torch.equal(fractions(turned(crystals, rotation())), fractions(crystals))


def test_a_perfect_answer_has_no_loss_and_the_mean_composition_no_skill(crystals, tiny):
    backbone = build("backbones", tiny)
    objective = Composition()
    builder = graph_builder(backbone, [objective])
    objective = objective.prepare(crystals, builder, seeded_generator(0))
    view = objective.view(crystals, builder, seeded_generator(0))
    truth = view.labels["composition"].values
    perfect = objective.loss(Encoder(backbone), Says(torch.log(truth + 1e-30)), view)
    for name, value in {"loss": 0.0, "skill": 1.0, "misplaced": 0.0}.items():
        assert float(perfect[name]) == pytest.approx(value, abs=1e-5)
    mean = torch.log(torch.tensor(objective.fitted["mean"])).expand_as(truth)
    assert float(objective.loss(Encoder(backbone), Says(mean), view)["skill"]) == pytest.approx(
        0.0, abs=1e-5
    )


def test_a_slice_of_a_view_is_the_view_of_a_slice(crystals):
    objective, builder = Composition(), GraphBuilder(4.0)
    whole = objective.view(crystals, builder, seeded_generator(0))[3:7]
    part = objective.view(crystals[3:7], builder, seeded_generator(0))
    assert torch.equal(whole.labels["composition"].values, part.labels["composition"].values)
    assert torch.equal(whole.graphs[0].center, part.graphs[0].center)


def test_settings_and_fitted_numbers_build_the_same_objective_again(crystals):
    objective = Composition(sample=5).prepare(crystals, GraphBuilder(4.0), seeded_generator(0))
    again = build("objectives", settings_of(objective)).with_fitted(objective.fitted)
    assert settings_of(again) == settings_of(objective)
    assert again.fitted == objective.fitted


def test_it_is_learned_soon_on_every_backbone(crystals, every_backbone, prepared, trained):
    parts = prepared(every_backbone, Composition(), crystals)
    before, after = trained(*parts, crystals[:16], steps=30)
    assert after["loss"] < 0.7 * before["loss"]
