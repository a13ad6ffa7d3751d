"""Many tasks and sizes at once: which share is won, and by how much on the average.

A configuration is a task at a training size. Configurations are no independent trials: those of one
task have the same test crystals and seeds, and draws of both (`resampling`) are therefore shared
among them. What is asked is conditional on the tasks: would the same tasks, with other seeds and
other test crystals, say the same.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from numpy import ndarray
from numpy.typing import NDArray
from scipy.stats import t as student

from epitaxy.errors import InputError
from epitaxy.evaluation.resampling import (
    Draws,
    centered_weights,
    draw_log_maes,
    student_factor,
)
from epitaxy.evaluation.statistics import FEWEST_SEEDS
from epitaxy.evaluation.summary import paired_errors

KEYS = ("task", "target", "size")
DIFFERENCE = np.array([1.0, -1.0])


@dataclass(frozen=True, eq=False)
class Configuration:
    """What both contenders did with a task at a size.

    Attributes:
        task: a number; configurations of one task share test crystals.
        keys: task, target and size, as far as the predictions name them.
        errors: absolute errors of the contender and of its reference.
        folds: in which fold a crystal was tested, where there are folds.
    """

    task: int
    keys: Mapping[str, Any]
    errors: Float[ndarray, "2 seeds crystals"]
    folds: Int[ndarray, " crystals"] | None = None

    @property
    def maes(self) -> tuple[float, float]:
        """Both mean absolute errors."""
        own, other = self.errors.mean(axis=(1, 2))
        return float(own), float(other)

    @property
    def improvement(self) -> float:
        """The contender's relative improvement."""
        own, other = self.maes
        return 1.0 - own / other


@dataclass(frozen=True, eq=False)
class Wins:
    """In how many configurations a contender has the lower error.

    Attributes:
        table: a row per configuration: its keys, mae, reference_mae, improvement_percent with its
            95 % interval and standard error (half the central 68 % of the draws), win.
        wins, configurations: the count, where a tie is half.
        chance_deviation: standard deviation of the count of wins of equal contenders.
        p_value: how often equal contenders are so uneven, or more; ties count half.
        tasks, seeds: how many tasks, and the fewest seeds of a configuration.
        sentence: what it says.
    """

    table: pd.DataFrame
    wins: float
    configurations: int
    chance_deviation: float
    p_value: float
    tasks: int
    seeds: int
    sentence: str = ""

    def __str__(self) -> str:
        return self.sentence


def wins_over_configurations(
    predictions: pd.DataFrame,
    contender: str,
    reference: str = "scratch",
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> Wins:
    """Count the configurations in which the contender's MAE is lower, and say what chance does.

    ``predictions`` have the columns of `summarize` and ``task`` or ``target``, and ``size``. Draws
    are centered where both contenders are equal everywhere, and counted. In every draw the sizes of
    a task share crystals and weights of seeds, so that what they have in common is not counted as
    agreement of independent trials.
    """
    found = list(configurations_of(predictions, contender, reference))
    return count_wins(found, contender, reference, resamples=resamples, seed=seed)


def count_wins(
    configurations: Sequence[Configuration],
    contender: str,
    reference: str,
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> Wins:
    """Return what `wins_over_configurations` returns, from errors."""
    rows, deviations = [], []
    for one in configurations:
        shared = np.random.default_rng([seed, one.task])  # the same draws at every size
        draws = draw_log_maes(one.errors, DIFFERENCE, shared, resamples, one.folds)
        ratios = _log_ratios(draws.maes(shared))
        own, other = one.maes
        middle = float(_log_ratios(np.array([[own, other]]))[0])
        low, high, less, more = np.quantile(-np.expm1(ratios), [0.025, 0.975, 0.16, 0.84])
        rows.append(
            {
                **one.keys,
                "mae": own,
                "reference_mae": other,
                "improvement_percent": -100.0 * math.expm1(middle),
                "improvement_low": 100.0 * low,
                "improvement_high": 100.0 * high,
                "standard_error": 50.0 * (more - less),
                "win": 0.5 if own == other else float(own < other),
                "seeds": one.errors.shape[1],
            }
        )
        deviations.append(ratios - middle)
    table = pd.DataFrame(rows)
    by_chance = (np.stack(deviations) < 0.0).sum(axis=0)
    count, half = float(table["win"].sum()), len(table) / 2.0
    apart, uneven = np.abs(by_chance - half), abs(count - half)
    found = Wins(
        table=table,
        wins=count,
        configurations=len(table),
        chance_deviation=float(by_chance.std()),
        p_value=float((apart > uneven).mean() + 0.5 * (apart == uneven).mean()),
        tasks=len({one.task for one in configurations}),
        seeds=int(table["seeds"].min()),
    )
    return replace(found, sentence=_counted(found, contender, reference))


def average_over_tasks(
    predictions: pd.DataFrame,
    contender: str,
    reference: str = "scratch",
    *,
    without: Sequence[str] = (),
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Return the mean improvement over tasks, of all and without those named, for every size.

    The mean of percentages, as the papers have it, so that one task can rule it: name those that
    may. Columns: size, where there are sizes; which; tasks; average_percent, low and high, for the
    same tasks with other seeds and test crystals; other_low and other_high, for other tasks like
    these (Student's t over tasks; NaN below three); seeds.
    """
    predictions = predictions.assign(**{"task": predictions[_task_column(predictions)]})
    if unknown := [name for name in without if name not in set(predictions["task"])]:
        known = ", ".join(map(str, predictions["task"].unique()))
        raise InputError(f"no task {unknown[0]!r} in the predictions; they have {known}.")
    sizes = sorted(predictions["size"].unique()) if "size" in predictions.columns else [None]
    rows: list[dict[str, Any]] = []
    for size in sizes:
        own = predictions if size is None else predictions[predictions["size"] == size]
        kinds = {"all tasks": own}
        if without:
            kinds[f"without {', '.join(without)}"] = own[~own["task"].isin(without)]
        for which, some in kinds.items():
            if some.empty:  # this size has but the tasks left out
                continue
            chosen = list(configurations_of(some, contender, reference))
            found = average_improvement(chosen, resamples, confidence, seed)
            head = {} if size is None else {"size": size}
            rows.append({**head, "which": which, **found})
    return pd.DataFrame(rows)


def average_improvement(
    configurations: Sequence[Configuration],
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[str, Any]:
    """Return a row of `average_over_tasks`, from errors of every task at one size."""
    everything = [
        draw_log_maes(
            one.errors, DIFFERENCE, np.random.default_rng([seed, 2, one.task]), resamples, one.folds
        )
        for one in configurations
    ]
    improvements = np.array([one.improvement for one in configurations])
    generator = np.random.default_rng([seed, 1])
    drawn = _improvement_draws(everything, improvements, generator)
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(100.0 * drawn.mean(axis=0), [tail, 1.0 - tail])
    percent = 100.0 * improvements
    half = math.nan
    if len(percent) > 2:
        spread = percent.std(ddof=1) / math.sqrt(len(percent))
        half = float(student.ppf(1.0 - tail, len(percent) - 1) * spread)
    return {
        "tasks": len(percent),
        "average_percent": float(percent.mean()),
        "low": float(low),
        "high": float(high),
        "other_low": float(percent.mean() - half),
        "other_high": float(percent.mean() + half),
        "seeds": min(one.errors.shape[1] for one in configurations),
    }


def _improvement_draws(
    everything: Sequence[Draws], improvements: NDArray, generator: np.random.Generator
) -> Float[ndarray, "tasks draws"]:
    """Return draws of 1 − MAE / reference MAE, with one Student factor for all tasks.

    Linear in the drawn logarithms, because the mean of many tasks is to lie amid its draws. Seeds
    of one task are few, but those of all tasks together are not: the degrees of freedom of their
    sum are Welch and Satterthwaite's, ν = (Σ v)² / Σ (v² / ν_t).
    """
    variances, freedoms = [], []
    for draws, improvement in zip(everything, improvements, strict=True):
        for effects in draws.effects:
            apart = effects @ DIFFERENCE
            variances.append((1.0 - improvement) ** 2 * apart.var(ddof=1) / len(apart))
            freedoms.append(len(apart) - 1.0)
    v, freedom = np.array(variances), np.array(freedoms)
    count = len(everything[0].logs)
    factor = np.ones(count)
    if v.sum() > 0.0:
        factor = student_factor(float(v.sum() ** 2 / (v**2 / freedom).sum()), generator, count)
    rows = []
    for draws, improvement in zip(everything, improvements, strict=True):
        shift = np.zeros(count)
        for effects in draws.effects:
            weights = centered_weights(len(effects), generator, count)
            shift += factor * (weights @ (effects @ DIFFERENCE))
        apart = draws.logs @ DIFFERENCE - math.log(max(1.0 - improvement, 1e-12)) + shift
        rows.append(improvement - (1.0 - improvement) * apart)
    return np.stack(rows)


def configurations_of(
    predictions: pd.DataFrame, contender: str, reference: str
) -> Iterator[Configuration]:
    """Yield the configurations of tidy predictions."""
    task = _task_column(predictions)
    numbers = {name: place for place, name in enumerate(predictions[task].unique())}
    keys = [name for name in KEYS if name in predictions.columns]
    for values, own in predictions.groupby(keys, sort=False):
        found = dict(zip(keys, values, strict=True))
        where = ", ".join(f"{name} {value}" for name, value in found.items())
        try:
            pair, folds, _ = paired_errors(own, contender, reference)
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
        if not pair[1].any():
            raise InputError(f"{where}: {reference!r} makes no error that could be lower.")
        yield Configuration(numbers[found[task]], found, pair, folds)


def _task_column(predictions: pd.DataFrame) -> str:
    for name in ("task", "target"):
        if name in predictions.columns:
            return name
    raise InputError("the predictions have neither a column 'task' nor 'target'.")


def _log_ratios(maes: Float[ndarray, "draws 2"]) -> Float[ndarray, " draws"]:
    smallest = np.finfo(float).tiny
    return np.log(np.maximum(maes, smallest)) @ DIFFERENCE


def _counted(found: Wins, contender: str, reference: str) -> str:
    total, half = found.configurations, found.configurations / 2.0
    better = int((found.table["improvement_low"] > 0.0).sum())
    worse = int((found.table["improvement_high"] < 0.0).sum())
    finding = "no evidence that either wins more often"
    if found.p_value < 0.05:
        finding = f"{contender} {'helps' if found.wins > half else 'hurts'} more often than chance"
    text = (
        f"{contender} has a lower error than {reference} in {found.wins:g} of {total} "
        f"configurations of {found.tasks} tasks; equal contenders would in {half:g} ± "
        f"{found.chance_deviation:.1f}, and be so uneven in {100 * found.p_value:.2g} of 100 "
        f"studies: {finding}. One by one, {better} intervals lie above zero and {worse} below; "
        f"{0.05 * total:.1f} would by chance."
    )
    if found.seeds < FEWEST_SEEDS:
        return f"Too few seeds to trust ({found.seeds} of at least {FEWEST_SEEDS}): {text}"
    return text[0].upper() + text[1:]
