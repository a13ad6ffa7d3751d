"""What of a study is done, what can be done next, and what came of every cell of its tables."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar, get_args

from epitaxy.evaluation.fits import Job
from epitaxy.evaluation.metrics import mean_absolute_error
from epitaxy.evaluation.named_baselines import features_of
from epitaxy.evaluation.protocol import setting_name
from epitaxy.evaluation.study.cells import Cell, Outcome, Status, unfinished
from epitaxy.evaluation.study.origins import Origin
from epitaxy.evaluation.study.plan import Plan, task_recipe
from epitaxy.evaluation.study.works import (
    BaselineWork,
    FitWork,
    PredictionWork,
    PretrainingWork,
    Work,
    digest,
    failure_of,
    pretraining_digest,
    what_counts,
)
from epitaxy.training.recipe import Recipe

W = TypeVar("W", bound=Work)


class Ledger:
    """The plan of a study and the folder that its works lie in."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self.plan, self.folder = plan, folder
        self.failures: dict[str, str] = {}
        self._done: dict[str, bool] = {}
        self._results: dict[str, dict[str, Any]] = {}
        self._errors: dict[str, float] = {}
        self._recipes: dict[tuple[str, str, str], tuple[Recipe, Any]] = {}
        self._fits: dict[tuple, list[FitWork]] = {}
        self._digests: dict[tuple, str] = {}
        self._pretrainings: dict[str, PretrainingWork] = {}

    @cached_property
    def cells(self) -> list[Cell]:
        """Every cell, in the order of the tables."""
        return [
            Cell(task, row, size, seed, fold)
            for task in self.plan.tasks
            for row in self.plan.rows
            for size, seed, fold in task.splits.parts
        ]

    def done(self, work: Work) -> bool:
        """Return whether a piece of work has ended well."""
        if work.key not in self._done:
            self._done[work.key] = work.done
        return self._done[work.key]

    def ended(self, work: Work, reason: str) -> None:
        """Take note that a piece of work has ended, or why it failed."""
        self._done[work.key] = not reason and work.done
        if not self._done[work.key]:
            self.failures[work.key] = reason or "it left no result."

    def recall_failures(self) -> None:
        """Take over what failed when the study was run last."""
        for work in self.expected():
            if not self.done(work) and (reason := failure_of(work)):
                self.failures[work.key] = reason

    def next_works(self, cell: Cell) -> list[Work]:
        """Return what can be done now for a cell; nothing where it is complete, or must wait."""
        origin = self._pretraining(cell.row.origin)
        if origin is not None and not self.done(origin):
            return self.open_ones([origin])
        if cell.row.baseline is not None:
            return self.open_ones([self.baseline(cell)])
        fits = self.wanted_fits(cell)
        if missing := self.open_ones(fits):
            return [*missing]
        best = self._best(cell, fits)
        return [] if best is None else self.open_ones([self.prediction(cell, best)])

    def expected(self) -> list[Work]:
        """Return all works of the study, each once; where a setting is open, one stands for it."""
        found: dict[str, Work] = {}
        for cell in self.cells:
            for work in self._works_of(cell):
                found.setdefault(work.key, work)
        return list(found.values())

    def is_open(self, cell: Cell) -> bool:
        """Return whether a cell is neither done nor failed."""
        return self.outcome(cell, brief=True).status == "waiting"

    def outcome(self, cell: Cell, brief: bool = False) -> Outcome:
        """Return what came of a cell so far; in brief, its status and the reason alone."""
        origin = self._pretraining(cell.row.origin)
        if origin is not None and not self.done(origin):
            reason = self.failures.get(origin.key)
            return unfinished(reason and f"the pre-training failed: {reason}")
        if cell.row.baseline is not None:
            return self._baseline_outcome(cell, brief)
        fits = self.wanted_fits(cell)
        if brief and self.open_ones(fits):
            return Outcome("waiting")
        tried = {
            setting_name(fit.job.setting): self._error(cell, fit) for fit in fits if self.done(fit)
        }
        best = self._best(cell, fits)
        if best is None:
            return unfinished(self._why_not(cell, fits), tried)
        prediction = self.prediction(cell, best)
        done = self.done(prediction)
        reason = self.failures.get(prediction.key, "")
        status: Status = "done" if done else "failed" if reason else "waiting"
        if brief:
            return Outcome(status, reason)
        found = self._result(best)
        told = setting_name(best.job.setting)
        return Outcome(
            status=status,
            reason=reason,
            setting=told,
            validation_mae=tried[told],
            seconds=found["seconds"],
            values=tuple(self._result(prediction)["test"]) if done else (),
            curve=tuple(found["rows"]),
            tried=tried,
            folder=best.folder,
        )

    def wanted_fits(self, cell: Cell) -> list[FitWork]:
        """Return the fits that a cell chooses from; none where the first seed has not chosen."""
        fits = self.fits(cell)
        leader = self._leader(cell)
        if leader is cell or len(fits) == 1:
            return fits
        best = self._best(leader, self.fits(leader))
        if best is None:
            return []
        return [fit for fit in fits if fit.job.setting == best.job.setting]

    def fits(self, cell: Cell) -> list[FitWork]:
        """Return a fit for every setting of a cell."""
        key = (cell.task.name, cell.row.name, cell.size, cell.seed, cell.fold)
        if key not in self._fits:
            self._fits[key] = [
                self._fit(cell, setting) for setting in self.plan.settings_of(cell.row)
            ]
        return self._fits[key]

    def baseline(self, cell: Cell) -> BaselineWork:
        """Return the one work of a baseline's cell."""
        part, origin, name = cell.part, cell.row.origin, str(cell.row.baseline)
        told: dict[str, Any] = {
            "baseline": name,
            "target": cell.task.target,
            "seed": cell.seed,
            "at_least": max(1, len(self.plan.settings)),
            **{key: list(rows) for key, rows in vars(part).items()},
        }
        identity = ["baseline", told, cell.task.data.fingerprint, self.start(origin)]
        ancestor = self.ancestor(origin)
        order = {
            **told,
            "crystals": str(cell.task.data.file(self.folder).absolute()),
            "ancestor": None if ancestor is None else str(ancestor.absolute()),
        }
        return BaselineWork(
            name=str(cell),
            folder=self.folder / "fits" / digest(identity),
            cost=float(len(part.train)),
            group=f"baseline {features_of(name)} {name}",
            order=order,
        )

    def prediction(self, cell: Cell, fit: FitWork) -> PredictionWork:
        """Return the test predictions of a fit that was chosen."""
        return PredictionWork(
            name=f"{cell}, test",
            folder=fit.folder,
            cost=float(len(cell.part.test)),
            group="prediction",
            crystals=cell.task.data.file(self.folder),
            test=cell.part.test,
            test_digest=self._test_digest(cell),
        )

    def ancestor(self, origin: Origin | None) -> Path | None:
        """Return the folder of the weights that a fit starts from."""
        if origin is None:
            return None
        work = self._pretraining(origin)
        folder = origin.run if work is None else work.folder
        assert folder is not None
        return folder if origin.epoch is None else folder / "epochs" / f"{origin.epoch:04d}"

    def pretrainings(self) -> Iterator[tuple[Origin, PretrainingWork | None]]:
        """Yield every pre-training with its work; None where the run was there before."""
        for origin in self.plan.origins:
            yield origin, self._pretraining(origin)

    def is_made(self, origin: Origin) -> bool:
        """Return whether the weights of a pre-training are there."""
        work = self._pretraining(origin)
        return work is None or self.done(work)

    def _fit(self, cell: Cell, setting: Mapping[str, Any]) -> FitWork:
        recipe, counts = self._recipe(cell, setting)
        part, data = cell.part, cell.task.data
        start = self.start(cell.row.origin)
        identity = ["fit", counts, cell.seed, self._part_digest(cell), start]
        job = Job(
            folder=self.folder / "fits" / digest(identity),
            crystals=data.file(self.folder),
            ancestor=self.ancestor(cell.row.origin),
            contender=cell.row.name,
            seed=cell.seed,
            setting=setting,
            recipe=recipe,
            train=part.train,
            validation=part.validation,
        )
        atoms = int(data.crystals.atom_counts[list(part.train)].sum())
        told = setting_name(setting)
        return FitWork(
            name=f"{cell}, {told}" if told else str(cell),
            folder=job.folder,
            cost=float(atoms * recipe.training.epochs),
            group=f"fit {digest(dict(cell.row.backbone))}",
            job=job,
        )

    def _recipe(self, cell: Cell, setting: Mapping[str, Any]) -> tuple[Recipe, Any]:
        """Return the recipe of a fit, and what of it its result depends on besides the seed."""
        key = (cell.task.name, cell.row.name, setting_name(setting))
        if key not in self._recipes:
            recipe = task_recipe(cell.row, cell.task, 0, setting)
            self._recipes[key] = (recipe, what_counts(recipe))
        recipe, counts = self._recipes[key]
        return recipe.model_copy(update={"seed": cell.seed}), counts

    def _part_digest(self, cell: Cell) -> str:
        """Return what the crystals to train on and to choose by are known by."""
        key = (cell.task.name, cell.size, cell.seed, cell.fold)
        if key not in self._digests:
            part = cell.part
            self._digests[key] = digest([cell.task.data.fingerprint, part.train, part.validation])
        return self._digests[key]

    def _pretraining(self, origin: Origin | None) -> PretrainingWork | None:
        if origin is None or origin.recipe is None:
            return None
        if origin.name not in self._pretrainings:
            data = self.plan.pretraining_data[origin.name]
            atoms = data.crystals.atom_total * origin.recipe.training.epochs
            self._pretrainings[origin.name] = PretrainingWork(
                name=f"pre-training {origin.name}",
                folder=self.folder / "pretrainings" / pretraining_digest(origin, data.fingerprint),
                cost=float(atoms),
                group=f"pretraining {digest([dict(origin.backbone), origin.recipe.objectives])}",
                recipe=origin.recipe,
                crystals=data.file(self.folder),
            )
        return self._pretrainings[origin.name]

    def start(self, origin: Origin | None) -> list[Any] | None:
        """Return what a fit's start is known by: the weights' hash, or how they will be made."""
        work = self._pretraining(origin)
        if origin is None:
            return None
        return [origin.sha256] if work is None else [work.folder.name, origin.epoch]

    def _test_digest(self, cell: Cell) -> str:
        key = (cell.task.name, cell.fold)
        if key not in self._digests:
            self._digests[key] = digest(cell.part.test)
        return self._digests[key]

    def _leader(self, cell: Cell) -> Cell:
        """Return the cell whose choice of a setting this one takes over; itself, if nobody's.

        A fold chooses for itself: another one trains and validates on its test crystals.
        """
        if self.plan.study.tune == "each" or cell.seed == 0:
            return cell
        return Cell(cell.task, cell.row, cell.size, 0, cell.fold)

    def _works_of(self, cell: Cell) -> Iterator[Work]:
        origin = self._pretraining(cell.row.origin)
        if origin is not None:
            yield origin
        if cell.row.baseline is not None:
            yield self.baseline(cell)
            return
        fits = self.wanted_fits(cell) or self.fits(cell)[:1]
        yield from fits
        yield self.prediction(cell, self._best(cell, fits) or fits[0])

    def status_counts(self) -> dict[Status, int]:
        """Return how many cells are done, failed and waiting."""
        found = [self.outcome(cell, brief=True).status for cell in self.cells]
        return {one: found.count(one) for one in get_args(Status)}

    def open_ones(self, works: Sequence[W]) -> list[W]:
        """Return those that are neither done nor have failed."""
        return [one for one in works if not self.done(one) and one.key not in self.failures]

    def _best(self, cell: Cell, fits: Sequence[FitWork]) -> FitWork | None:
        """Return the fit with the lowest validation error, once all have a result.

        There is no best of fewer settings than others have: a diverged fit is a result, and one
        that ended without a result is none.
        """
        if not fits or self.open_ones(fits) or not all(self.done(fit) for fit in fits):
            return None
        errors = {fit: self._error(cell, fit) for fit in fits}
        best = min(errors, key=lambda fit: errors[fit], default=None)
        return best if best is not None and math.isfinite(errors[best]) else None

    def _error(self, cell: Cell, fit: FitWork) -> float:
        """Return a fit's error on its validation crystals; infinite if it diverged."""
        if fit.key not in self._errors:
            found = self._result(fit)
            truth = cell.task.data.crystals.target(cell.task.target).values.double()
            held = truth[list(fit.job.validation)].numpy()
            self._errors[fit.key] = (
                math.inf if "failed" in found else mean_absolute_error(held, found["validation"])
            )
        return self._errors[fit.key]

    def _result(self, work: Work) -> dict[str, Any]:
        if work.key not in self._results:
            self._results[work.key] = work.result
        return self._results[work.key]

    def _why_not(self, cell: Cell, fits: Sequence[FitWork]) -> str:
        if not fits:
            leader = self._leader(cell)
            reason = self._why_not(leader, self.fits(leader))
            return reason and f"the first seed, which chooses for all, failed: {reason}"
        if self.open_ones(fits):
            return ""
        ended = [self.failures[fit.key] for fit in fits if fit.key in self.failures]
        if ended:
            return ended[0]
        reasons = [self._result(fit)["failed"] for fit in fits]
        return reasons[0] if len(reasons) == 1 else f"all {len(fits)} settings: {reasons[0]}"

    def _baseline_outcome(self, cell: Cell, brief: bool) -> Outcome:
        work = self.baseline(cell)
        if not self.done(work):
            return unfinished(self.failures.get(work.key, ""))
        if brief:
            return Outcome("done")
        found = self._result(work)
        return Outcome(
            status="done",
            setting=found["setting"],
            validation_mae=found["settings"][found["setting"]],
            seconds=found["seconds"],
            values=tuple(found["test"]),
            tried=found["settings"],
            folder=work.folder,
        )


def read_seconds(work: Work) -> float:
    """Return what a finished piece of work took, zero where it does not say."""
    try:
        return work.seconds
    except (OSError, json.JSONDecodeError, KeyError):
        return 0.0
