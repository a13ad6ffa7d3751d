"""Learned weights bring losses of any size to one, and epochs are judged without them."""

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch
from torch import nn

from epitaxy.crystals.targets import Target
from epitaxy.errors import RecipeError, TrainingError
from epitaxy.objectives.base import Objective, View
from epitaxy.registry import build
from epitaxy.training.fit import fit
from epitaxy.training.learner import Learner
from epitaxy.training.loader import BatchPlan, Views, graph_builder
from epitaxy.training.rank import Rank
from epitaxy.training.recipe import TrainingPlan, load_recipe
from epitaxy.training.train import train

TWO = [{"name": "fingerprint"}, {"name": "property", "target": "bulk_modulus", "weight": 2.0}]


@dataclass(frozen=True)
class Toy(Objective):
    """A loss of a known size: the mean of the labels times ``size``, whatever the weights are."""

    size: float = 1.0
    label: str = "toy"
    chance: ClassVar[bool] = False

    def view(self, crystals, build_graph, generator):
        return View((build_graph(crystals),), {self.label: crystals.target(self.label)})

    def head(self, backbone):
        return nn.Linear(1, 1)

    def loss(self, encode, head, view):
        values = view.labels[self.label].values
        there = torch.isfinite(values)
        mean = torch.where(there, values, 0.0).sum() / there.sum().clamp(min=1)
        return {"loss": self.size * mean + 0.0 * head.weight.sum()}


def learner_of(crystals, tiny, objectives, labels, plan, rank=None, batch_size=64):
    """Return a learner of toys, and its views; every crystal has the labels given."""
    targets = {
        name: Target(torch.as_tensor(values, dtype=torch.float32).expand(len(crystals)), "crystal")
        for name, values in labels.items()
    }
    backbone = build("backbones", tiny)
    builder = graph_builder(backbone, objectives)
    cut = BatchPlan(crystals.atom_counts, 0, batch_size)
    views = Views(crystals.with_targets(targets), objectives, builder, cut, rank=rank)
    heads = [one.head(backbone) for one in objectives]
    weights = [1.0, 3.0][: len(objectives)]
    steps = plan.epochs * cut.per_epoch
    return Learner(backbone, objectives, heads, weights, plan, steps, rank=rank), views


def plan_of(**more):
    settings = {"weights": "learned", "schedule": "constant", "clip": None, **more}
    return TrainingPlan(**settings)


def test_the_sizes_begin_at_the_first_losses_and_are_at_rest_there(crystals, tiny):
    """The derivative of e^(−s) L + s by s is zero where e^s = L."""
    toys = (Toy(size=1e-3), Toy(size=50.0))
    learner, views = learner_of(crystals[:8], tiny, toys, {"toy": 2.0}, plan_of())
    figures = learner.losses(views[0])
    torch.testing.assert_close(learner.log_sizes.detach().exp(), torch.tensor([2e-3, 100.0]))
    expected = 1.0 * (1.0 + math.log(2e-3)) + 3.0 * (1.0 + math.log(100.0))
    assert float(figures["loss"].detach()) == pytest.approx(expected, rel=1e-5)
    figures["loss"].backward()
    assert learner.log_sizes.grad.abs().max() < 1e-5
    weights = [float(figures[f"{name}/weight"]) for name in learner.names]
    assert weights == pytest.approx([1 / 2e-3, 3 / 100.0], rel=1e-5)


def test_the_sizes_follow_losses_that_change(crystals, tiny):
    """From a first batch ten times too large in one, three times too small in the other."""
    toys = (Toy(size=1e-3), Toy(size=50.0))
    learner, views = learner_of(crystals[:8], tiny, toys, {"toy": 1.0}, plan_of(learning_rate=5e-3))
    first = [replace(toys[0], size=1e-2), replace(toys[1], size=16.0)]
    learner.objectives = tuple(first)
    learner.losses(views[0])
    learner.objectives = toys
    optimizer = learner.configure_optimizers()["optimizer"]
    for _ in range(200):
        optimizer.zero_grad()
        learner.losses(views[0])["loss"].backward()
        optimizer.step()
    torch.testing.assert_close(
        learner.log_sizes.detach().exp(), torch.tensor([1e-3, 50.0]), rtol=0.02, atol=0
    )


def test_log_sizes_are_not_decayed_and_follow_the_schedule(crystals, tiny):
    learner, _ = learner_of(crystals[:8], tiny, (Toy(), Toy()), {"toy": 1.0}, plan_of())
    groups = learner.configure_optimizers()["optimizer"].param_groups
    (own,) = [g for g in groups if any(p is learner.log_sizes for p in g["params"])]
    assert own["weight_decay"] == 0.0
    assert own["lr"] == pytest.approx(10 * learner.plan.learning_rate)


def test_an_objective_without_labels_waits_for_its_size(crystals, tiny):
    toys = (Toy(label="known"), Toy(label="rare"))
    labels = {"known": 2.0, "rare": math.nan}
    learner, views = learner_of(crystals[:8], tiny, toys, labels, plan_of())
    batch = views[0]
    figures = learner.losses(batch, learner._shares(batch))
    figures["loss"].backward()
    assert math.isnan(learner.first_losses[1])
    assert float(learner.log_sizes.grad[1]) == 0.0
    other, later = learner_of(crystals[:8], tiny, toys, {"known": 2.0, "rare": 7.0}, plan_of())
    learner.losses(later[0])
    assert float(learner.log_sizes[1].detach().exp()) == pytest.approx(7.0)
    learner.zero_grad()
    learner.losses(batch, learner._shares(batch))["loss"].backward()
    assert float(learner.log_sizes.grad[1]) == 0.0  # a batch without labels says nothing of size
    assert other is not learner


def test_a_negative_loss_is_refused_by_name(crystals, tiny):
    toys = (Toy(), Toy(size=-1.0))
    learner, views = learner_of(crystals[:8], tiny, toys, {"toy": 1.0}, plan_of())
    with pytest.raises(TrainingError, match=rf"the loss of '{learner.names[1]}' is -1"):
        learner.losses(views[0])


def test_one_objective_has_nothing_to_balance(crystals, tiny):
    recipe = load_recipe("fingerprint").altered({"backbone": tiny, "training.weights": "learned"})
    with pytest.raises(RecipeError, match="balances several objectives, and there is one"):
        train(recipe, crystals)
    two = recipe.altered({"objectives": [{**TWO[0], "weight": -1.0}, TWO[1]]})
    with pytest.raises(RecipeError, match="weights of the objectives are -1, 2"):
        train(two, crystals)


def test_what_epochs_are_judged_by_does_not_move_with_the_sizes(crystals, tiny):
    """Σ w L / L⁰: the same for any s, and for any unit of any loss."""
    figures = []
    for sizes in ((1e-3, 50.0), (1e3, 50.0)):
        toys = tuple(Toy(size=size) for size in sizes)
        learner, views = learner_of(crystals[:8], tiny, toys, {"toy": 1.0}, plan_of())
        learner.losses(views[0])
        later = learner_of(crystals[:8], tiny, toys, {"toy": 0.25}, plan_of())[1]
        learner.eval()
        for moved in (0.0, 5.0):
            with torch.no_grad():
                learner.log_sizes += moved
            figures.append(float(learner.validation_step(later[0], 0)["loss"]))
    assert figures == pytest.approx([(1.0 + 3.0) * 0.25] * 4, rel=1e-5)


class TwoOf(Rank):
    """A rank of two; the sums are those that the test has worked out."""

    totals: ClassVar[list] = []

    def total(self, value):
        return torch.tensor(self.totals).to(value)


def test_first_losses_are_those_of_all_ranks(crystals, tiny):
    """Means over the labels of the whole batch: 3 labels of 2.0 here, 1 label of 10.0 there."""
    toys = (Toy(), Toy(size=4.0))
    learner, views = learner_of(crystals[:6], tiny, toys, {"toy": 2.0}, plan_of(), TwoOf(0, 2))
    TwoOf.totals = [[4.0, 4.0], [16.0, 64.0]]
    learner.losses(views[0])
    torch.testing.assert_close(learner.log_sizes.detach().exp(), torch.tensor([4.0, 16.0]))


def changes(tiny, **more):
    settings = {
        "objectives": TWO,
        "backbone": tiny,
        "training.weights": "learned",
        "training.epochs": 3,
        "training.batch_size": 9,
        **more,
    }
    return settings


def test_a_run_records_its_weights_and_keeps_none_in_the_encoder(crystals, tiny):
    recipe = load_recipe("fingerprint").altered(changes(tiny, **{"training.ema": 0.9}))
    trained = train(recipe, crystals[:48], crystals[48:])
    rows = trained.fitted.rows
    for row in rows:
        training = row["split"] == "train"
        assert ("fingerprint/weight" in row) == ("property/weight" in row) == training
    ratio = [
        rows[-2][f"{name}/weight"] * rows[-2][f"{name}/loss"]
        for name in ("fingerprint", "property")
    ]
    assert ratio == pytest.approx([1.0, 2.0], rel=0.3)
    assert not [name for name in trained.model.backbone.state_dict() if "log_sizes" in name]
    assert trained.fitted.best_loss == min(r["loss"] for r in rows if r["split"] == "validation")


class StopError(Exception):
    """The end of a run's first part."""


def test_a_resumed_run_ends_where_an_undisturbed_one_does(crystals, tiny, tmp_path, monkeypatch):
    from epitaxy.training.callbacks import ResumeState

    asked = changes(tiny, **{"training.ema": 0.9, "training.resume_minutes": 1e-6})
    recipe = load_recipe("fingerprint").altered(asked)
    whole = train(recipe, crystals[:48], crystals[48:], folder=tmp_path / "whole")
    written = ResumeState.on_train_batch_start

    def until_the_ninth(self, trainer, *rest):
        written(self, trainer, *rest)
        if trainer.global_step == 9:
            raise StopError

    with monkeypatch.context() as patched:
        patched.setattr(ResumeState, "on_train_batch_start", until_the_ninth)
        with pytest.raises(StopError):
            train(recipe, crystals[:48], crystals[48:], folder=tmp_path / "parts")
    parts = train(recipe, crystals[:48], crystals[48:], folder=tmp_path / "parts")
    timeless = [{k: v for k, v in r.items() if k != "seconds"} for r in parts.fitted.rows]
    assert timeless == [{k: v for k, v in r.items() if k != "seconds"} for r in whole.fitted.rows]
    pairs = zip(whole.model.backbone.parameters(), parts.model.backbone.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


@pytest.mark.slow
def test_two_devices_learn_the_weights_of_one(crystals, tiny):
    found = {}
    for devices in (1, 2):
        asked = changes(tiny, **{"training.devices": devices})
        trained = train(load_recipe("fingerprint").altered(asked), crystals[:50], crystals[50:])
        last = [row for row in trained.fitted.rows if row["split"] == "train"][-1]
        found[devices] = [last["fingerprint/weight"], last["property/weight"], last["loss"]]
    assert found[2] == pytest.approx(found[1], rel=1e-4)


def test_fit_runs_without_validation_too(crystals, tiny):
    toys = (Toy(), Toy(size=5.0))
    learner, views = learner_of(crystals[:8], tiny, toys, {"toy": 1.0}, plan_of(epochs=1))
    row = fit(learner, views, None, learner.plan).rows[0]
    assert row["loss"] == pytest.approx(4.0)
