"""What happens besides the optimization: records, best weights, resume state, progress."""

import json
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from epitaxy.errors import TrainingError
from epitaxy.objectives.base import View
from epitaxy.training.files import write_atomically
from epitaxy.training.learner import NotFiniteError, label_counts
from epitaxy.training.rank import Rank

RESUME_FILE = "resume.ckpt"
METRICS_FILE = "metrics.jsonl"


class RunInterruptedError(TrainingError):
    """The user stopped the run; its state is saved and the same command resumes it."""

    exit_code = 130


class History(Callback):
    """One row of figures per epoch and split, kept in memory and in ``metrics.jsonl``.

    An objective's figures are means over the batches of all ranks, each weighted by its labels (a
    NaN says that there is none), and ``loss`` is the sum by which epochs are judged (see
    ``Learner.judged``), so every rank has the same rows. Besides there is ``gradient_norm``, the
    length of the gradient before it is clipped.
    """

    def __init__(self, folder: Path | None, steps_per_epoch: int, rank: Rank) -> None:
        self.folder, self.steps_per_epoch, self.rank = folder, steps_per_epoch, rank
        self.rows: list[dict[str, Any]] = []
        self._train, self._validation = Means(rank), Means(rank)
        self._began = time.monotonic()

    def on_train_batch_end(
        self, trainer: Trainer, learner: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Add the step's figures; close the row when the epoch is complete."""
        self._train.add(learner, outputs, batch)
        norm = {"gradient_norm": learner.gradient_norm}
        self._train.add(learner, norm, batch)  # type: ignore[arg-type]
        if trainer.global_step % self.steps_per_epoch == 0:
            seconds = time.monotonic() - self._began
            row = self._train.row(learner)
            speed = {"seconds": round(seconds, 3)}
            self._append(trainer, "train", row | speed)
            self._train = Means(self.rank)
            self._began = time.monotonic()

    def on_validation_epoch_start(self, trainer: Trainer, learner: LightningModule) -> None:
        """Begin a new row."""
        self._validation = Means(self.rank)

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
        self._validation.add(learner, outputs, batch)

    def on_validation_epoch_end(self, trainer: Trainer, learner: LightningModule) -> None:
        """Close the row."""
        self._append(trainer, "validation", self._validation.row(learner))
        self._began = time.monotonic()

    def last(self, split: str) -> dict[str, Any]:
        """Return the newest row of a split, or an empty one."""
        return next((row for row in reversed(self.rows) if row["split"] == split), {})

    def state_dict(self) -> dict[str, Any]:
        """Return rows and the open sums over all ranks."""
        return {"rows": json.dumps(self.rows), "open": self._train.state()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from saved rows; what was written after them is written anew."""
        self.rows = json.loads(state_dict["rows"])
        self._train.load(state_dict["open"])
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


class Means:
    """Weighted means of figures over batches and ranks; a figure that is NaN has no weight.

    A loss that is NaN is one, and so is its mean.
    """

    def __init__(self, rank: Rank) -> None:
        self.rank = rank
        self.sums: dict[str, Tensor] = {}  # name → (Σ weight · value, Σ weight)

    def add(
        self, learner: LightningModule, figures: Mapping[str, Tensor], batch: Sequence[View]
    ) -> None:
        """Add a batch's figures: ``name/figure`` by its objective's labels, others by crystals."""
        weights = dict(zip(learner.names, label_counts(batch), strict=True))  # type: ignore[arg-type]
        for name, value in figures.items():
            objective, _, figure = name.partition("/")
            value = value.detach().double()
            known = torch.isnan(value).logical_not() if figure not in ("", "loss") else True
            known = torch.as_tensor(known, device=value.device)
            pair = torch.stack([torch.where(known, value, 0.0), known.double()])
            pair = pair * weights.get(objective, float(len(batch[0])))
            self.sums[name] = self.sums[name].to(pair.device) + pair if name in self.sums else pair

    def row(self, learner: LightningModule) -> dict[str, float]:
        """Return the means; figures without any weight are left out."""
        totals = {name: self.rank.total(pair) for name, pair in self.sums.items()}
        means = {name: float(pair[0] / pair[1]) for name, pair in totals.items() if float(pair[1])}
        if any(f"{name}/loss" in means for name in learner.names):  # type: ignore[union-attr]
            means["loss"] = float(learner.judged(means))  # type: ignore[operator]
        return means

    def state(self) -> dict[str, list[float]]:
        """Return the sums over all ranks, in plain numbers."""
        return {name: self.rank.total(pair).tolist() for name, pair in self.sums.items()}

    def load(self, state: Mapping[str, Sequence[float]]) -> None:
        """Take saved sums: those over all ranks are the first one's."""
        own = 1 if self.rank.first else 0
        self.sums = {
            name: own * torch.tensor(pair, dtype=torch.float64) for name, pair in state.items()
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
            raise NotFiniteError(
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
        save: Callable[[LightningModule, int], Path | None],
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
