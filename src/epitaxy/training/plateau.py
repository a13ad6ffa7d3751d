"""A learning rate that falls when a loss does not fall any more."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from epitaxy.errors import RecipeError
from epitaxy.training.callbacks import History
from epitaxy.training.recipe import TrainingPlan


class FallsOnPlateau(Callback):
    """Multiplies the learning rates by ``factor`` when epochs go by without a lower loss.

    An epoch is without one if its loss is not below (1 − threshold) times the lowest so far. After
    more than ``patience`` such epochs in a row the rates fall, and the count begins anew. None of
    them falls below ``lowest``, counted by the head's; the others keep their ratio to it.
    """

    def __init__(self, history: History, plan: TrainingPlan, validates: bool) -> None:
        self.history, self.plan, self.plateau = history, plan, plan.plateau
        if self.plateau.loss == "validation" and not validates:
            raise RecipeError(
                "training.plateau.loss = 'validation', and no crystals are kept aside: raise "
                "data.validation, or watch the loss of 'train'."
            )
        self.scale = 1.0
        self.best = float("inf")
        self.waited = 0

    def on_train_batch_end(
        self, trainer: Trainer, learner: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Judge the epoch that has just ended by its training loss."""
        ended = trainer.global_step % self.history.steps_per_epoch == 0
        if ended and self.plateau.loss == "train":
            self.judge(self.history.last("train")["loss"])
            self._set(trainer)

    def on_validation_epoch_end(self, trainer: Trainer, learner: LightningModule) -> None:
        """Judge it by its validation loss."""
        if self.plateau.loss == "validation":
            self.judge(self.history.last("validation")["loss"])
            self._set(trainer)

    def judge(self, loss: float) -> None:
        """Take note of an epoch's loss."""
        if loss < self.best * (1.0 - self.plateau.threshold):
            self.best, self.waited = loss, 0
            return
        self.waited += 1
        if self.waited > self.plateau.patience:
            lowest = min(1.0, self.plateau.lowest / self.plan.learning_rate)
            self.scale, self.waited = max(lowest, self.plateau.factor * self.scale), 0

    def state_dict(self) -> dict[str, Any]:
        """Return how far the rates have fallen, and what was waited for."""
        return {"scale": self.scale, "best": self.best, "waited": self.waited}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        self.scale, self.best = state_dict["scale"], state_dict["best"]
        self.waited = state_dict["waited"]

    def _set(self, trainer: Trainer) -> None:
        """Set the rates of the next step; the resume state carries them with the optimizer."""
        optimizer = trainer.optimizers[0]
        schedule = trainer.lr_scheduler_configs[0].scheduler
        schedule.base_lrs = [self.scale * group["initial_lr"] for group in optimizer.param_groups]
        for group, rate in zip(optimizer.param_groups, schedule.base_lrs, strict=True):
            group["lr"] = rate
