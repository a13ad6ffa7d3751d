"""Is the spread over seeds an uncertainty? Errors against it, and how often it covers the truth.

With n seeds the mean of the predictions and their standard deviation s are known. Were the truth
one more draw of the same kind, (truth − mean) / (s √(1 + 1/n)) would follow Student's t with
n − 1 degrees of freedom, so the interval mean ± t s √(1 + 1/n) would cover it with the
probability that t was chosen for. What is covered instead is drawn against that. The spread over
seeds knows nothing of what all seeds get wrong together, so it usually covers too little.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import spearmanr
from scipy.stats import t as student

LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.68, 0.8, 0.9, 0.95, 0.99)
Z = 1.959963984540054
BINS = 8
SAME = 1e-9  # of the largest: below, values differ by rounding
FEWEST = 20  # crystals, below which nothing is said


@dataclass(frozen=True, eq=False)
class Calibration:
    """How the spread over seeds relates to the errors.

    Attributes:
        bins: spread, rmse, rmse_low, rmse_high, crystals; of equally many crystals each.
        coverage: expected, observed, observed_low, observed_high (Wilson's interval).
        rank: Spearman's correlation of the spread with the absolute residual; NaN where the
            spread is the same for all crystals, as a dummy's is.
        factor: by which the spread would have to grow to be as large as the errors.
        covered: share of truths inside the interval that is meant to hold 95 %.
        seeds: predictions per crystal.
    """

    bins: pd.DataFrame
    coverage: pd.DataFrame
    rank: float
    factor: float
    covered: float
    seeds: int

    def __str__(self) -> str:
        return (
            f"Errors are {self.factor:.2g} times as large as the spread over {self.seeds} seeds "
            "(root mean squares); an interval meant to hold 95 % of the true values holds "
            f"{100 * self.covered:.0f} %. "
        ) + self._ranked()

    def _ranked(self) -> str:
        if np.isnan(self.rank):
            return "The spread is the same for all crystals, so it tells none from another."
        return f"The rank correlation of spread and absolute error is {self.rank:.2f}" + (
            ", so it hardly tells good predictions from bad." if self.rank < 0.2 else "."
        )


def calibration(crystals: pd.DataFrame) -> Calibration | None:
    """Return the calibration of one contender's crystals (from ``by_crystal``).

    None where there is one seed, or too few crystals, or no spread at all.
    """
    known = crystals[(crystals["seeds"] > 1) & (crystals["spread"] > 0.0)]
    if len(known) < FEWEST:
        return None
    seeds = known["seeds"].to_numpy(dtype=float)
    spread = known["spread"].to_numpy(dtype=float) * np.sqrt(1.0 + 1.0 / seeds)
    residual = known["residual"].to_numpy(dtype=float)
    rows = []
    for level in LEVELS:
        inside = np.abs(residual) <= student.ppf(0.5 + level / 2, seeds - 1.0) * spread
        low, high = _wilson(int(inside.sum()), len(inside))
        rows.append((level, float(inside.mean()), low, high))
    names = ["expected", "observed", "observed_low", "observed_high"]
    coverage = pd.DataFrame(rows, columns=names)
    return Calibration(
        bins=_bins(spread, residual),
        coverage=coverage,
        rank=_rank(spread, np.abs(residual)),
        factor=float(np.sqrt(np.mean(residual**2) / np.mean(spread**2))),
        covered=float(coverage.loc[coverage["expected"] == 0.95, "observed"].iloc[0]),
        seeds=int(np.median(seeds)),
    )


def _rank(spread: np.ndarray, error: np.ndarray) -> float:
    """Return Spearman's correlation; NaN where one of them is the same for all crystals."""
    if min(np.ptp(one) / one.max() for one in (spread, error)) < SAME:
        return float("nan")
    return float(spearmanr(spread, error).statistic)


def _bins(spread: np.ndarray, residual: np.ndarray) -> pd.DataFrame:
    """Return root mean squares of spread and residual, in bins of the spread."""
    order = np.argsort(spread, kind="stable")
    rows = []
    for part in np.array_split(order, min(BINS, len(order) // 10)):
        squares = residual[part] ** 2
        mean, error = squares.mean(), squares.std(ddof=1) / np.sqrt(len(part))
        low, high = np.sqrt(np.maximum([mean - Z * error, mean + Z * error], 0.0))
        width = float(np.sqrt(np.mean(spread[part] ** 2)))
        rows.append((width, float(np.sqrt(mean)), float(low), float(high), len(part)))
    return pd.DataFrame(rows, columns=["spread", "rmse", "rmse_low", "rmse_high", "crystals"])


def _wilson(hits: int, count: int) -> tuple[float, float]:
    """Return the 95 % interval of a share.

    E. B. Wilson, J. Am. Stat. Assoc. 22, 209 (1927).
    """
    share, scale = hits / count, 1.0 + Z**2 / count
    middle = (share + Z**2 / (2 * count)) / scale
    half = Z * np.sqrt(share * (1 - share) / count + Z**2 / (4 * count**2)) / scale
    return float(middle - half), float(middle + half)
