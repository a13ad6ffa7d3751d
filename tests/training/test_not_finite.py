"""A run that goes astray stops, names the crystals, and keeps the best weights that it had."""

from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch

import epitaxy as ep
from epitaxy.errors import TrainingError
from epitaxy.objectives import Fingerprint, Property
from epitaxy.registry import build
from epitaxy.training.fit import fit
from epitaxy.training.learner import Learner
from epitaxy.training.loader import BatchPlan, Views, graph_builder, seeded_generator
from epitaxy.training.recipe import TrainingPlan, load_recipe
from epitaxy.training.train import train

RAW = {
    "objectives": [
        {"name": "property", "target": "bulk_modulus", "standardize": False, "loss_kind": "l2"}
    ],
    "training.epochs": 2,
    "training.batch_size": 16,
}


def with_absurd_label(crystals, place):
    target = crystals.target("bulk_modulus")
    values = target.values.clone()
    values[place] = 1e30
    return crystals.with_targets({"bulk_modulus": target.with_values(values)})


def test_one_absurd_label_is_named_alone(crystals, tiny, tmp_path):
    recipe = load_recipe("finetune").altered({**RAW, "backbone": tiny})
    absurd = with_absurd_label(crystals, 5)
    with pytest.raises(
        TrainingError, match=rf"the loss became inf .* on crystals {crystals.ids[5]}\. "
    ):
        train(recipe, absurd[:48], crystals[48:], folder=tmp_path)
    assert not (tmp_path / "epochs").exists()


def test_an_absurd_validation_label_is_named_too(crystals, tiny):
    recipe = load_recipe("finetune").altered({**RAW, "backbone": tiny})
    absurd = with_absurd_label(crystals, 60)
    with pytest.raises(
        TrainingError, match=rf"the validation loss became inf .* on crystals {crystals.ids[60]}\. "
    ):
        train(recipe, crystals[:48], absurd[48:])


@dataclass(frozen=True)
class Fails(Fingerprint):
    """Fingerprints whose loss, or its gradient, is no number from a call on."""

    after: int = 8
    gradient: bool = False
    calls: ClassVar[list[int]] = []

    def loss(self, encode, head, view):
        figures = super().loss(encode, head, view)
        self.calls.append(1)
        if len(self.calls) > self.after and head.training:
            loss = figures["loss"]
            zero = loss - loss.detach()  # 0 / 0 in the derivative of the root, not in its value
            figures["loss"] = loss + torch.sqrt(zero) if self.gradient else loss * torch.nan
        return figures


@pytest.mark.parametrize("gradient", [False, True])
def test_the_best_weights_are_written_before_the_run_ends(crystals, tiny, tmp_path, gradient):
    Fails.calls.clear()
    objective, backbone = Fails(after=8, gradient=gradient), build("backbones", tiny)
    builder = graph_builder(backbone, [objective])
    prepared = objective.prepare(crystals, builder, seeded_generator(0))
    plan = TrainingPlan(epochs=9, batch_size=16)
    cut = [BatchPlan(some.atom_counts, 0, 16) for some in (crystals[:48], crystals[48:])]
    views = Views(crystals[:48], [prepared], builder, cut[0])
    held = Views(crystals[48:], [prepared], builder, cut[1])
    learner = Learner(backbone, [prepared], [prepared.head(backbone)], [1.0], plan, 27)
    kept = {}

    def keep(module, epoch):
        kept[epoch] = {name: value.clone() for name, value in module.state_dict().items()}
        return tmp_path / "epochs" / f"{epoch:04d}"

    what = "gradient" if gradient else "loss"
    with pytest.raises(TrainingError, match=rf"the {what} became nan at step \d") as raised:
        fit(learner, views, held, plan, keep=keep)
    assert "of epoch 2, are in" in str(raised.value)
    assert list(kept) == [2]
    assert all(torch.isfinite(value).all() for value in kept[2].values())


def test_a_command_that_fails_leaves_weights_that_can_be_loaded(
    crystals, tiny, tmp_path, monkeypatch
):
    calls, plain = [], Property.loss

    def failing(self, encode, head, view):
        figures = plain(self, encode, head, view)
        calls.append(1)
        return figures | ({"loss": figures["loss"] * torch.nan} if len(calls) > 12 else {})

    monkeypatch.setattr(Property, "loss", failing)
    with pytest.raises(TrainingError, match="The best weights until then, of epoch") as raised:
        ep.finetune(
            crystals,
            "bulk_modulus",
            changes={"training.epochs": 9, "training.batch_size": 16, "backbone": tiny},
            out=tmp_path / "run",
            progress=False,
        )
    (place,) = (tmp_path / "run" / "epochs").iterdir()
    assert str(place) in str(raised.value)
    assert ep.predict(place, crystals[:4].with_targets({}))["value"].notna().all()


def test_what_views_skip_is_reported_and_written_down(crystals, tiny, tmp_path):
    import json

    cutoff = 2.6  # some crystals have no two atoms so near: no shortest distance to count in
    relative = {"name": "denoise", "relative": True, "sigma": 0.05}
    run = ep.pretrain(
        data=crystals,
        backbone={**tiny, "cutoff": cutoff},
        objectives=relative,
        changes={"training.epochs": 2, "training.batch_size": 32},
        out=tmp_path,
        progress=False,
    )
    graph = ep.build_graph(replace(crystals, positions=crystals.positions.double()), cutoff)
    counts = torch.zeros(len(crystals)).index_add(
        0, crystals.crystal_of_atom[graph.center], torch.ones(graph.edge_total)
    )
    without = {crystals.ids[int(place)] for place in torch.nonzero(counts == 0).flatten()}
    skipped = json.loads((tmp_path / "manifest.json").read_text())["skipped"]
    assert without
    assert set(skipped["denoise"]) == without
    assert f"denoise could make nothing of {len(without)} crystals" in run.report
