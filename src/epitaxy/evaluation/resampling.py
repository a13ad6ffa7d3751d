"""Draws of what may have come out differently by chance: test crystals, seeds, folds.

A draw has two parts. Crystals are drawn with replacement, which gives a MAE of its own. Seeds, and
folds where there are some, act as shifts of its logarithm: effects times weights that make a
Student t of them. Both parts are the same for all contenders of a comparison, which is what pairs
them; `statistics` says why this and not the textbook's crossed bootstrap.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from numpy.typing import NDArray

RESIDUAL_SHARE = 0.5  # of the residual in the between-seed variance that is taken out
FOLD_SHARE = 0.75  # the same of crystals and runs in the between-fold variance
LARGEST_SHIFT = 30.0  # of log MAE; with two seeds, t has tails that overflow
ENTRIES_PER_CHUNK = 2_000_000  # resampled errors held at once


@dataclass(frozen=True, eq=False)
class Draws:
    """Draws of the logarithm of several MAEs.

    Attributes:
        logs: logarithms for drawn crystals, with seeds and folds as they were.
        effects: for seeds and for folds, how far the logarithm lies from its mean, shrunk by what
            crystals and runs contribute; empty where there is one seed, or one fold.
    """

    logs: Float[ndarray, "draws contenders"]
    effects: tuple[Float[ndarray, "_ contenders"], ...]

    def maes(self, generator: np.random.Generator) -> Float[ndarray, "draws contenders"]:
        """Return MAEs with shifts for seeds and folds."""
        logs = self.logs.copy()
        for effects in self.effects:
            shift = student_weights(len(effects), generator, len(logs)) @ effects
            logs += np.clip(shift, -LARGEST_SHIFT, LARGEST_SHIFT)
        return np.exp(logs)


def draw_log_maes(
    errors: Float[ndarray, "contenders seeds crystals"],
    contrast: Float[ndarray, " contenders"],
    generator: np.random.Generator,
    draws: int,
    folds: Int[ndarray, " crystals"] | None = None,
) -> Draws:
    """Return draws of each contender's log MAE.

    ``contrast`` weighs the contenders in the comparison that shrinkage is estimated for: (1, −1)
    for a difference. ``folds`` says which fold each crystal was tested in, where every fold has
    fits of its own.
    """
    mae = errors.mean(axis=(1, 2))
    smallest = max(float(mae.max()), np.finfo(float).tiny) * 1e-12  # a perfect contender has a log
    scale = np.maximum(mae, smallest)[:, None, None]
    drawn = resample_crystals(errors.mean(axis=1), generator, draws)
    relative = errors / scale
    differences = np.tensordot(contrast, relative, axes=1)
    effects = []
    if errors.shape[1] > 1:  # weights sum to zero, so means drop out
        effects.append(seed_shrinkage(differences) * relative.mean(axis=2).T)
    if folds is not None and len(names := np.unique(folds)) > 1:
        by_fold = np.stack([relative[:, :, folds == one].mean(axis=(1, 2)) for one in names])
        effects.append(fold_shrinkage(differences, folds) * by_fold)
    return Draws(np.log(np.maximum(drawn, smallest)), tuple(effects))


def resample_crystals(
    by_crystal: Float[ndarray, "contenders crystals"], generator: np.random.Generator, draws: int
) -> Float[ndarray, "draws contenders"]:
    """Return means over crystals drawn with replacement."""
    crystals = by_crystal.shape[1]
    rows = max(1, ENTRIES_PER_CHUNK // crystals)
    chunks = []
    for start in range(0, draws, rows):
        counts = drawn_counts(crystals, generator, min(rows, draws - start))
        chunks.append(counts @ by_crystal.T / crystals)
    return np.concatenate(chunks)


def drawn_counts(
    crystals: int, generator: np.random.Generator, draws: int
) -> Float[ndarray, "draws crystals"]:
    """Return how often each crystal is drawn, when as many are drawn as there are."""
    drawn = generator.integers(crystals, size=(draws, crystals))
    drawn += np.arange(draws)[:, None] * crystals
    counts = np.bincount(drawn.ravel(), minlength=draws * crystals)
    return counts.reshape(draws, crystals).astype(np.float64)


def centered_weights(
    levels: int, generator: np.random.Generator, draws: int
) -> Float[ndarray, "draws levels"]:
    """Return weights that turn effects into normal shifts with their mean's standard error."""
    normal = generator.standard_normal((draws, levels))
    normal -= normal.mean(axis=1, keepdims=True)
    return normal / math.sqrt(levels * (levels - 1))


def student_weights(
    levels: int, generator: np.random.Generator, draws: int
) -> Float[ndarray, "draws levels"]:
    """Return weights that turn effects of few seeds or folds into t-distributed shifts."""
    weights = centered_weights(levels, generator, draws)
    return weights * student_factor(levels - 1.0, generator, draws)[:, None]


def student_factor(
    freedom: float, generator: np.random.Generator, draws: int
) -> Float[ndarray, " draws"]:
    """Return √(ν/χ²_ν), which makes a Student t of a normal number."""
    return np.sqrt(freedom / generator.chisquare(freedom, size=draws))


def seed_shrinkage(differences: Float[ndarray, "seeds crystals"]) -> float:
    """Return by how much seed effects shrink once part of the residual is out of them.

    From the mean squares of the two-way table of differences.
    """
    between, within = _mean_squares(differences)
    return _shrinkage(between, within / differences.shape[1], RESIDUAL_SHARE)


def fold_shrinkage(
    differences: Float[ndarray, "seeds crystals"], folds: Int[ndarray, " crystals"]
) -> float:
    """Return by how much fold effects shrink once part of crystals and runs is out of them.

    Folds differ because their crystals do, which the draw of crystals covers, and because every run
    is another, which the seeds cover; what is left is that they trained on other crystals.
    """
    names = np.unique(folds)
    table = np.stack([differences[:, folds == one].mean(axis=1) for one in names], axis=1)
    by_crystal = differences.mean(axis=0)
    crystals = [by_crystal[folds == one] for one in names]
    within = float(np.mean([one.var(ddof=1) / len(one) for one in crystals if len(one) > 1]))
    if len(table) > 1:
        within += _mean_squares(table)[1] / len(table)
    return _shrinkage(float(table.mean(axis=0).var(ddof=1)), within, FOLD_SHARE)


def _mean_squares(table: NDArray) -> tuple[float, float]:
    """Return the variance between row means and the mean square of rows × columns."""
    rows, columns = table.shape
    row_means, column_means = table.mean(axis=1), table.mean(axis=0)
    residual = table - row_means[:, None] - column_means + table.mean()
    within = np.square(residual).sum() / ((rows - 1) * (columns - 1))
    return float(row_means.var(ddof=1)), float(within)


def _shrinkage(between: float, within: float, share: float) -> float:
    return math.sqrt(max(0.0, 1.0 - share * within / between)) if between > 0.0 else 0.0
