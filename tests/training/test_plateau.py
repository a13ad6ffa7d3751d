"""A rate that falls on plateaus falls when PyTorch's own schedule lets it, and resumes exactly."""

import pytest
import torch

from epitaxy.errors import RecipeError
from epitaxy.training.callbacks import History, ResumeState
from epitaxy.training.plateau import FallsOnPlateau
from epitaxy.training.rank import Rank
from epitaxy.training.recipe import TrainingPlan, load_recipe, recipe_names
from epitaxy.training.train import train


def falls(plan, validates=True):
    return FallsOnPlateau(History(None, 1, Rank()), plan, validates)


@pytest.mark.parametrize("seed", range(5))
def test_it_falls_when_the_schedule_of_pytorch_does(seed):
    chosen = {"factor": 0.7, "patience": seed, "threshold": 0.03, "lowest": 2e-4}
    plan = TrainingPlan(schedule="plateau", learning_rate=1e-3, plateau=chosen)
    ours = falls(plan)
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1e-3)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=0.7, patience=seed, threshold=0.03, min_lr=2e-4
    )
    generator = torch.Generator().manual_seed(seed)
    losses = 1.0 / torch.arange(1, 60) ** 0.5 + 0.2 * torch.rand(59, generator=generator)
    rates = []
    for loss in losses.tolist():
        ours.judge(loss)
        theirs.step(loss)
        rates.append(optimizer.param_groups[0]["lr"])
        assert 1e-3 * ours.scale == pytest.approx(rates[-1])
    assert len(set(rates)) > 2
    assert rates[-1] == pytest.approx(2e-4) or seed > 2


def test_watching_what_is_not_there_is_refused():
    plan = TrainingPlan(schedule="plateau", plateau={"loss": "validation"})
    with pytest.raises(RecipeError, match=r"plateau\.loss = 'validation', and no crystals"):
        falls(plan, validates=False)


class StopError(Exception):
    """The end of a run's first part."""


@pytest.mark.parametrize("watched", ["train", "validation"])
def test_a_run_takes_the_rates_that_fell_and_resumes_with_them(
    watched, crystals, tiny, tmp_path, monkeypatch
):
    """With a rate too high for the loss to fall, every second epoch halves it."""
    recipe = load_recipe("fingerprint").altered(
        {
            "backbone": tiny,
            "objectives": [{"name": "property", "target": "bulk_modulus"}],
            "training.epochs": 6,
            "training.batch_size": 12,
            "training.learning_rate": 0.03,
            "training.encoder_rate": 0.1,
            "training.schedule": "plateau",
            "training.plateau": {"factor": 0.5, "patience": 0, "loss": watched, "threshold": 0.3},
            "training.resume_minutes": 1e-6,
        }
    )
    written = ResumeState.on_train_batch_start
    rates: dict[int, tuple[float, ...]] = {}
    stop_at = -1

    def watching(self, trainer, *rest):
        written(self, trainer, *rest)
        groups = trainer.optimizers[0].param_groups
        rates[trainer.global_step] = tuple(sorted({group["lr"] for group in groups}))
        if trainer.global_step == stop_at:
            raise StopError

    monkeypatch.setattr(ResumeState, "on_train_batch_start", watching)
    whole = train(recipe, crystals[:24], crystals[24:36], folder=tmp_path / "whole").fitted
    expected = dict(rates)
    losses = [row["loss"] for row in whole.rows if row["split"] == watched]
    scale, best = 1.0, float("inf")
    for epoch in range(6):
        for step in (2 * epoch, 2 * epoch + 1):
            assert expected[step] == pytest.approx((0.003 * scale, 0.03 * scale))
        better = losses[epoch] < 0.7 * best
        best, scale = (losses[epoch], scale) if better else (best, 0.5 * scale)
    assert scale < 0.5
    rates.clear()
    stop_at = 7
    with pytest.raises(StopError):
        train(recipe, crystals[:24], crystals[24:36], folder=tmp_path / "parts")
    stop_at = -1
    parts = train(recipe, crystals[:24], crystals[24:36], folder=tmp_path / "parts").fitted
    assert rates == expected
    assert [row["loss"] for row in parts.rows] == [row["loss"] for row in whole.rows]


PAPERS = [name for name in recipe_names() if name[:7] in ("paper_a", "paper_b")]


@pytest.mark.parametrize("name", PAPERS)
def test_recipes_of_papers_a_and_b_fall_as_their_code_does(name):
    plan = load_recipe(name).training
    assert plan.schedule == "plateau"
    chosen = plan.plateau
    assert (chosen.factor, chosen.patience, chosen.threshold) == (0.8, 10, 2e-4)
    assert chosen.loss == "train"
    assert chosen.lowest == (1e-5 if "cgcnn" in name else 1e-6)
