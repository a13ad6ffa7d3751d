"""The cells of a study's tables, and what came of each."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from epitaxy.evaluation.study.plan import TaskData
from epitaxy.evaluation.study.rows import Row
from epitaxy.evaluation.study.splits import Part

Status = Literal["done", "failed", "waiting"]


@dataclass(frozen=True)
class Cell:
    """One contender on one task, with one number of training crystals, one seed and one fold."""

    task: TaskData
    row: Row
    size: int
    seed: int
    fold: int | None

    @property
    def part(self) -> Part:
        """Its rows to train on, to choose by and to test on."""
        return self.task.splits.parts[self.size, self.seed, self.fold]

    @property
    def urgency(self) -> tuple[int, ...]:
        """One seed of all tasks before the next, few crystals before many."""
        return (1, self.seed, self.fold or 0, self.size)

    def __str__(self) -> str:
        fold = "" if self.fold is None else f", fold {self.fold}"
        return f"{self.task.name} {self.size}, {self.row.name}, seed {self.seed}{fold}"


@dataclass(frozen=True)
class Outcome:
    """What came of a cell.

    Attributes:
        status, reason: whether it is done; why it failed.
        setting, validation_mae, seconds: of the fit that was chosen.
        values: predictions of the test crystals, in their order.
        curve: epochs of the chosen fit.
        tried: setting → validation error, infinite where a fit diverged.
        folder: of the chosen fit.
    """

    status: Status
    reason: str = ""
    setting: str = ""
    validation_mae: float = math.nan
    seconds: float = math.nan
    values: tuple[float, ...] = ()
    curve: tuple[Mapping[str, Any], ...] = ()
    tried: Mapping[str, float] = field(default_factory=dict)
    folder: Path | None = None


def unfinished(reason: str | None, tried: Mapping[str, float] | None = None) -> Outcome:
    """Return the outcome of a cell that has failed for a reason, or waits without one."""
    return Outcome("failed" if reason else "waiting", reason or "", tried=tried or {})
