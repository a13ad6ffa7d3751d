"""What happens besides the optimization: records, best weights, resume state, progress."""

import json
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from epitaxy.errors import TrainingError
from epitaxy.objectives.base import View
from epitaxy.training.files import write_atomically
from epitaxy.training.rank import Rank

RESUME_FILE = "resume.ckpt"
METRICS_FILE = "metrics.jsonl"


class RunInterruptedError(TrainingError):
    """The user stopped the run; its state is saved and the same command resumes it."""

    exit_code = 130


class History(Callback):
    """One row of figures per epoch and split, kept in memory and in ``metrics.jsonl``.

    Figures are means over the crystals of all ranks, so every rank has the same rows. Besides the
    losses there is ``gradient_norm``, the length of the gradient before it is clipped.
    """

    def __init__(self, folder: Path | None, steps_per_epoch: int, rank: Rank) -> None:
        self.folder, self.steps_per_epoch, self.rank = folder, steps_per_epoch, rank
        self.rows: list[dict[str, Any]] = []
        self._sums: dict[str, Tensor] = {}
        self._count = 0
        self._validation: dict[str, Tensor] = {}
        self._validation_count = 0
        self._began = time.monotonic()
        self._gradient_norm = torch.zeros(())

    def on_before_optimizer_step(
        self, trainer: Trainer, learner: LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Measure the gradient, which is not clipped yet."""
        gradients = [p.grad for p in learner.parameters() if p.grad is not None]
        self._gradient_norm = torch.nn.utils.get_total_norm(gradients)

    def on_train_batch_end(
        self, trainer: Trainer, learner: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Add the step's figures; close the row when the epoch is complete."""
        size = len(batch[0])
        _add(self._sums, {**outputs, "gradient_norm": self._gradient_norm}, size)
        self._count += size
        if trainer.global_step % self.steps_per_epoch == 0:
            seconds = time.monotonic() - self._began
            row = self._means(self._sums, self._count)
            speed = {"seconds": round(seconds, 3)}
            self._append(trainer, "train", row | speed)
            self._sums, self._count = {}, 0
            self._began = time.monotonic()

    def on_validation_epoch_start(self, trainer: Trainer, learner: LightningModule) -> None:
        """Begin a new row."""
        self._validation, self._validation_count = {}, 0

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        learner: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Add the batch's figures."""
        _add(self._validation, outputs, len(batch[0]))
        self._validation_count += len(batch[0])

    def on_validation_epoch_end(self, trainer: Trainer, learner: LightningModule) -> None:
        """Close the row."""
        self._append(trainer, "validation", self._means(self._validation, self._validation_count))
        self._began = time.monotonic()

    def last(self, split: str) -> dict[str, Any]:
        """Return the newest row of a split, or an empty one."""
        return next((row for row in reversed(self.rows) if row["split"] == split), {})

    def state_dict(self) -> dict[str, Any]:
        """Return rows and the open sums over all ranks."""
        sums = {name: float(self.rank.total(value)) for name, value in self._sums.items()}
        count = int(self.rank.total(torch.tensor(self._count)))
        return {"rows": json.dumps(self.rows), "sums": sums, "count": count}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from saved rows; what was written after them is written anew."""
        self.rows = json.loads(state_dict["rows"])
        own = 1 if self.rank.first else 0  # what was summed over all ranks is the first one's
        self._sums = {
            name: torch.tensor(own * value, dtype=torch.float64)
            for name, value in state_dict["sums"].items()
        }
        self._count = own * state_dict["count"]
        self._write()

    def _append(self, trainer: Trainer, split: str, figures: dict[str, float]) -> None:
        epoch = trainer.global_step // self.steps_per_epoch
        self.rows.append({"epoch": epoch, "step": trainer.global_step, "split": split, **figures})
        self._write()
        for logger in trainer.loggers:
            logger.log_metrics({f"{split}/{k}": v for k, v in figures.items()}, trainer.global_step)

    def _write(self) -> None:
        if self.folder is not None and self.rank.first:
            lines = "".join(json.dumps(row) + "\n" for row in self.rows)
            write_atomically(self.folder / METRICS_FILE, lines.encode())

    def _means(self, sums: dict[str, Tensor], count: int) -> dict[str, float]:
        total = self.rank.total(torch.tensor(float(count), dtype=torch.float64))
        return {
            name: float(self.rank.total(value) / total.to(value.device))
            for name, value in sums.items()
        }


class BestWeights(Callback):
    """Keeps the weights of the lowest validation loss, and stops when patience runs out."""

    def __init__(self, history: History, patience: int | None) -> None:
        self.history, self.patience = history, patience
        self.loss = float("inf")
        self.epoch = 0
        self.waited = 0
        self.weights: dict[str, Tensor] = {}

    def on_validation_epoch_end(self, trainer: Trainer, learner: LightningModule) -> None:
        """Compare the row that the history has just closed."""
        row = self.history.last("validation")
        if not math.isfinite(row["loss"]):
            raise TrainingError(
                f"the validation loss became {row['loss']} in epoch {row['epoch']}: lower the "
                "learning rate, or look at the validation crystals."
            )
        if row["loss"] < self.loss:
            self.loss, self.epoch, self.waited = row["loss"], row["epoch"], 0
            self.weights = {
                name: value.detach().to("cpu", copy=True)
                for name, value in learner.state_dict().items()
            }
            return
        self.waited += 1
        if self.patience is not None and self.waited >= self.patience:
            trainer.should_stop = True

    def state_dict(self) -> dict[str, Any]:
        """Return the best weights so far and what they reached."""
        return {
            "loss": self.loss,
            "epoch": self.epoch,
            "waited": self.waited,
            "weights": self.weights,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        self.loss, self.epoch = state_dict["loss"], state_dict["epoch"]
        self.waited, self.weights = state_dict["waited"], state_dict["weights"]


class KeepEpochs(Callback):
    """Calls ``save(learner, epoch)`` after the named epochs."""

    def __init__(
        self,
        epochs: Sequence[int],
        steps_per_epoch: int,
        save: Callable[[LightningModule, int], None],
    ) -> None:
        self.epochs, self.steps_per_epoch, self.save = set(epochs), steps_per_epoch, save

    def on_train_batch_end(
        self, trainer: Trainer, learner: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save if a named epoch has just ended."""
        epoch, rest = divmod(trainer.global_step, self.steps_per_epoch)
        if rest == 0 and epoch in self.epochs and trainer.is_global_zero:
            self.save(learner, epoch)


class ResumeState(Callback):
    """Writes the state for resuming every few minutes, and once more when the user interrupts.

    It is written before a step begins, when all that belongs to the step before is done. What one
    rank wants all do at the same step.
    """

    def __init__(self, folder: Path, minutes: float, rank: Rank) -> None:
        self.file, self.seconds, self.rank = folder / RESUME_FILE, 60.0 * minutes, rank
        self._written = time.monotonic()
        self._asked_to_stop = False
        self._process = os.getpid()

    def on_train_start(self, trainer: Trainer, learner: LightningModule) -> None:
        """Take SIGTERM back from the trainer, which would end the run as if all were well."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self.ask_to_stop)

    def on_train_batch_start(
        self, trainer: Trainer, learner: LightningModule, batch: Sequence[View], batch_idx: int
    ) -> None:
        """Write the state if it is time."""
        due = time.monotonic() - self._written >= self.seconds
        wishes = self.rank.total(torch.tensor([due, self._asked_to_stop], dtype=torch.float32))
        if wishes.any():
            trainer.save_checkpoint(self.file)
            self._written = time.monotonic()
        if wishes[1]:
            raise RunInterruptedError(
                f"interrupted after step {trainer.global_step}; the state is saved in "
                f"{self.file.parent}. Give the same command again: it resumes."
            )

    def ask_to_stop(self, number: int, frame: FrameType | None) -> None:
        """Stop after the current step, or, when asked again, at once."""
        if os.getpid() != self._process:
            return  # a loader's process: the one that trains will end it
        if self._asked_to_stop:
            kept = "what was saved before is kept" if self.file.exists() else "nothing was saved"
            raise RunInterruptedError(f"stopped at once; {kept} in {self.file.parent}.")
        self._asked_to_stop = True
        if self.rank.first:
            print("stopping after this step; once more to stop at once", file=sys.stderr)


class Progress(Callback):
    """A line per epoch, at most every few seconds, with an estimate of the time left."""

    def __init__(
        self, label: str, history: History, steps_per_epoch: int, epochs: int, seconds: float = 5.0
    ) -> None:
        self.label, self.history, self.epochs = label, history, epochs
        self.steps_per_epoch, self.seconds = steps_per_epoch, seconds
        self._began = self._printed = time.monotonic()
        self._first_step = 0
        self._crystals = 0
        self._on_terminal = sys.stderr.isatty()

    def on_train_start(self, trainer: Trainer, learner: LightningModule) -> None:
        """Start the clock."""
        self._began = self._printed = time.monotonic()
        self._first_step = trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, learner: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Print if it is time."""
        self._crystals += len(batch[0]) * trainer.world_size
        now = time.monotonic()
        pause = 0.5 if self._on_terminal else self.seconds
        if now - self._printed >= pause and trainer.is_global_zero:
            self._printed = now
            self._print(self._line(trainer.global_step, now - self._began))

    def on_train_end(self, trainer: Trainer, learner: LightningModule) -> None:
        """Print the last line."""
        if trainer.is_global_zero:
            self._print(self._line(trainer.global_step, time.monotonic() - self._began), last=True)

    def _line(self, step: int, seconds: float) -> str:
        done = max(1, step - self._first_step)
        left = seconds / done * (self.epochs * self.steps_per_epoch - step)
        parts = [f"{self.label}: epoch {step / self.steps_per_epoch:.1f}/{self.epochs}"]
        for split in ("train", "validation"):
            row = self.history.last(split)
            if row:
                parts.append(f"{split} {row['loss']:.4g}")
        parts.append(f"{self._crystals / max(seconds, 1e-9):.0f} crystals/s")
        parts.append(f"{_clock(left)} left")
        return " · ".join(parts)

    def _print(self, line: str, last: bool = False) -> None:
        if self._on_terminal:
            print(f"\r\x1b[2K{line}", end="\n" if last else "", file=sys.stderr, flush=True)
        else:
            print(line, file=sys.stderr, flush=True)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _add(sums: dict[str, Tensor], figures: dict[str, Tensor], size: int) -> None:
    for name, value in figures.items():
        share = value.detach().double() * size
        sums[name] = sums[name].to(share.device) + share if name in sums else share
