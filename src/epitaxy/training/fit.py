"""One training: a learner, its views, and Lightning's Trainer around them."""

import logging
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EMAWeightAveraging
from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from epitaxy.errors import CheckpointError, RecipeError
from epitaxy.training.callbacks import (
    RESUME_FILE,
    BestWeights,
    History,
    KeepEpochs,
    Progress,
    ResumeState,
)
from epitaxy.training.files import AtomicCheckpointIO
from epitaxy.training.learner import Learner, NotFiniteError
from epitaxy.training.loader import Views, training_loader
from epitaxy.training.memory import freed_memory_kept
from epitaxy.training.plateau import FallsOnPlateau
from epitaxy.training.rank import Rank
from epitaxy.training.recipe import TrainingPlan
from epitaxy.training.skipped import SkippedCrystals

# Messages of the trainer that say nothing to our users: batches are made by us on purpose.
_KNOWN_WARNINGS = (
    "in eval mode at the start of training",  # a frozen encoder, on purpose
    "does not have many workers",
    "The number of training batches",
    "is not resumable",
    "Trying to infer the `batch_size`",
    "GPU available but not used",
    "You defined a `validation_step` but have no `val_dataloader`",
    "You are using `torch.load` with `weights_only=False`",
    "Checkpoint directory .* exists and is not empty",
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",
)


@dataclass(frozen=True)
class Fitted:
    """What a training reached.

    Attributes:
        rows: figures per epoch and split.
        best_epoch: the epoch whose weights the learner now has.
        best_loss: the validation loss there; NaN without validation.
        seconds: wall time of this process's part.
        skipped: objective → ids of crystals that it could make nothing of.
    """

    rows: list[dict[str, Any]]
    best_epoch: int
    best_loss: float
    seconds: float
    skipped: Mapping[str, Sequence[str]] = field(default_factory=dict)


def fit(
    learner: Learner,
    train: Views,
    validation: Views | None,
    plan: TrainingPlan,
    folder: Path | None = None,
    label: str | None = None,
    keep: Callable[[LightningModule, int], Path | None] | None = None,
) -> Fitted:
    """Train; the learner ends with the weights of the lowest validation loss.

    With a folder, the state for resuming is kept there, and a state found there is gone on from.
    With a label, progress is printed under it. All epochs are one pass of the trainer over
    ``epochs × per_epoch`` steps, so a run resumes at any step in the same way.

    ``keep`` writes a checkpoint of an epoch and returns its place. Where a loss is not finite, the
    best weights so far are kept by it, and NotFiniteError says so.
    """
    began = time.monotonic()
    per_epoch = train.plan.per_epoch
    learner.train()
    rank = learner.rank
    history = History(folder, per_epoch, rank)
    best = BestWeights(history, plan.patience)
    ids = [*train.crystals.ids, *(validation.crystals.ids if validation is not None else ())]
    skipped = SkippedCrystals(ids, rank)
    callbacks: list[Callback] = [history, best, skipped]
    if plan.schedule == "plateau":
        callbacks.append(FallsOnPlateau(history, plan, validation is not None))
    if plan.ema is not None:
        callbacks.append(EMAWeightAveraging(decay=plan.ema))
    if keep is not None and plan.keep_epochs:
        callbacks.append(KeepEpochs(plan.keep_epochs, per_epoch, keep))
    if folder is not None:
        callbacks.append(ResumeState(folder, plan.resume_minutes, rank))
    if label is not None:
        callbacks.append(Progress(label, history, per_epoch, plan.epochs))
    with quiet_trainer(), stoppable(callbacks), freed_memory_kept(), torch.random.fork_rng():
        trainer = _made_trainer(plan, rank, callbacks, per_epoch, folder, validation is not None)
        state = folder / RESUME_FILE if folder is not None else None
        resumed = state is not None and state.is_file()
        start = _step_of(state) if resumed else 0  # type: ignore[arg-type]
        try:
            trainer.fit(
                learner,
                training_loader(train, start, per_epoch * plan.epochs, plan.workers),
                None
                if validation is None
                else training_loader(validation, 0, validation.plan.per_epoch, 0),
                ckpt_path=state if resumed else None,
                weights_only=True,
            )
        except NotFiniteError as error:
            raise NotFiniteError(f"{error} {_kept(learner, best, keep)}") from None
        _end_runs(trainer)
    if best.weights:
        learner.load_state_dict(best.weights)
    return Fitted(
        rows=history.rows,
        best_epoch=best.epoch if best.weights else plan.epochs,
        best_loss=best.loss if best.weights else float("nan"),
        seconds=time.monotonic() - began,
        skipped=skipped.found,
    )


def _kept(
    learner: Learner,
    best: BestWeights,
    keep: Callable[[LightningModule, int], Path | None] | None,
) -> str:
    """Write the best weights so far, and say where they are."""
    if not best.weights:
        return "No epoch had been validated before: there are no weights to keep."
    learner.load_state_dict(best.weights)
    place = None if keep is None else keep(learner, best.epoch)
    where = "in no folder, and lost" if place is None else f"in {place}"
    return f"The best weights until then, of epoch {best.epoch}, are {where}."


@contextmanager
def quiet_trainer() -> Iterator[None]:
    """Keep the trainer's own chatter from the user."""
    loggers = [logging.getLogger(f"lightning.{part}") for part in ("pytorch", "fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            for message in _KNOWN_WARNINGS:
                warnings.filterwarnings("ignore", message=f".*{message}")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def stoppable(callbacks: list[Callback]) -> Iterator[None]:
    """Let Ctrl-C, or a scheduler's SIGTERM, ask the run to save its state and stop.

    A second one stops at once.
    """
    asked = [callback for callback in callbacks if isinstance(callback, ResumeState)]
    if not asked or threading.current_thread() is not threading.main_thread():
        yield
        return
    signals = (signal.SIGINT, signal.SIGTERM)
    previous = [signal.signal(one, asked[0].ask_to_stop) for one in signals]
    try:
        yield
    finally:
        for one, handler in zip(signals, previous, strict=True):
            signal.signal(one, handler)


def _made_trainer(
    plan: TrainingPlan,
    rank: Rank,
    callbacks: list[Callback],
    per_epoch: int,
    folder: Path | None,
    validates: bool,
) -> Trainer:
    try:
        return _trainer(plan, rank, callbacks, per_epoch, folder, validates)
    except (MisconfigurationException, ModuleNotFoundError, ValueError) as error:
        raise RecipeError(
            f"the trainer cannot be set up with accelerator = '{plan.accelerator}', devices = "
            f"{plan.devices}, precision = "
            f"'{plan.precision}', loggers = {list(plan.loggers)}: {error}"
        ) from error


def _trainer(
    plan: TrainingPlan,
    rank: Rank,
    callbacks: list[Callback],
    per_epoch: int,
    folder: Path | None,
    validates: bool,
) -> Trainer:
    together = rank.of > 1
    return Trainer(
        accelerator=plan.accelerator,
        devices=rank.of // plan.nodes,
        num_nodes=plan.nodes,
        # layers that a loss does not reach are found at every step
        strategy=DDPStrategy(find_unused_parameters=True) if together else "auto",
        precision=plan.precision,
        max_epochs=1,
        min_epochs=0,
        val_check_interval=per_epoch if validates else None,
        limit_val_batches=1.0 if validates else 0,
        gradient_clip_val=plan.clip,
        num_sanity_val_steps=0,
        inference_mode=False,
        use_distributed_sampler=False,
        logger=_loggers(plan, folder),
        callbacks=callbacks,
        plugins=[AtomicCheckpointIO(), *([LightningEnvironment()] if together else [])],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1,
        default_root_dir=folder,
    )


def _loggers(plan: TrainingPlan, folder: Path | None) -> list[Any] | bool:
    if not plan.loggers or folder is None:
        return False
    from lightning.pytorch import loggers

    made = {
        "csv": lambda: loggers.CSVLogger(folder, name="csv"),
        "tensorboard": lambda: loggers.TensorBoardLogger(folder, name="tensorboard"),
        "wandb": lambda: loggers.WandbLogger(save_dir=folder, project="epitaxy"),
        "mlflow": lambda: loggers.MLFlowLogger(
            experiment_name="epitaxy",
            tracking_uri=os.environ.get("MLFLOW_TRACKING_URI")
            or f"sqlite:///{folder.resolve() / 'mlflow.db'}",
        ),
    }
    return [made[name]() for name in plan.loggers]


def _end_runs(trainer: Trainer) -> None:
    """End a logger's run with the training: one process may train several models."""
    from lightning.pytorch.loggers import WandbLogger

    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger):
            logger.experiment.finish()


def _step_of(state: Path) -> int:
    try:
        return int(torch.load(state, map_location="cpu", weights_only=True)["global_step"])
    except Exception as error:  # whatever is wrong with the file, the way out is the same
        raise CheckpointError(
            f"the resume state {state} cannot be read ({error}). Remove it to begin anew."
        ) from error
