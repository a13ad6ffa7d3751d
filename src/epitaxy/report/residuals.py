"""Where the errors are: crystal by crystal, by element, and along the target."""

import re
from collections.abc import Iterable

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import t as student

from epitaxy.crystals.elements import NUMBERS

FEWEST = 5  # crystals below which an interval is not shown
BINS = 10
CONFIDENCE = 0.95


def by_crystal(predictions: pd.DataFrame) -> pd.DataFrame:
    """Return one row per crystal of one task, size and contender.

    Columns: id, formula, truth, value (the mean over seeds), spread (their standard deviation,
    NaN with one seed), seeds, error (the mean absolute error over seeds), residual (value minus
    truth). Crystals without a truth are left out.
    """
    known = predictions[predictions["truth"].notna() & predictions["value"].notna()]
    known = known.assign(error=(known["value"] - known["truth"]).abs())
    groups = known.groupby("id", sort=False)
    table = pd.DataFrame(
        {
            "formula": groups["formula"].first(),
            "truth": groups["truth"].first(),
            "value": groups["value"].mean(),
            "spread": groups["value"].std(ddof=1),
            "seeds": groups["value"].count(),
            "error": groups["error"].mean(),
        }
    )
    table["residual"] = table["value"] - table["truth"]
    return table.reset_index()


def elements_of(formula: str) -> list[str]:
    """Return the elements of a formula, each once.

    >>> elements_of("Ba2NaOsO6")
    ['Ba', 'Na', 'Os', 'O']
    """
    found = re.findall(r"[A-Z][a-z]?", formula)
    return list(dict.fromkeys(symbol for symbol in found if symbol in NUMBERS))


def by_element(crystals: pd.DataFrame) -> pd.DataFrame:
    """Return one row per element: the errors of the test crystals that hold it.

    Columns: element, crystals, mae, mae_low, mae_high, bias (mean residual). A crystal counts for
    each of its elements. Intervals are Student's, over crystals; none below five crystals.
    """
    held = crystals.assign(element=crystals["formula"].map(elements_of)).explode("element")
    held = held[held["element"].notna()]
    rows = []
    for element, own in held.groupby("element"):
        low, high = _mean_interval(own["error"].to_numpy(dtype=float))
        rows.append(
            {
                "element": str(element),
                "crystals": len(own),
                "mae": float(own["error"].mean()),
                "mae_low": low,
                "mae_high": high,
                "bias": float(own["residual"].mean()),
            }
        )
    columns = ["element", "crystals", "mae", "mae_low", "mae_high", "bias"]
    return pd.DataFrame(rows, columns=columns)


def residual_band(crystals: pd.DataFrame, bins: int = BINS) -> pd.DataFrame:
    """Return how residuals are spread along the predicted value, in bins of equally many crystals.

    Columns: value (the bin's median prediction), low, middle, high (the 10th, 50th and 90th
    percentile of the residuals), crystals. Bins follow the prediction, not the truth: along the
    truth, any imperfect model looks biased towards the mean.
    """
    bins = min(bins, len(crystals) // FEWEST)
    if bins < 2:
        return pd.DataFrame(columns=["value", "low", "middle", "high", "crystals"], dtype=float)
    rank = crystals["value"].rank(method="first") - 1.0
    part = (rank * bins / len(crystals)).astype(int)
    groups = crystals.groupby(part)
    return pd.DataFrame(
        {
            "value": groups["value"].median(),
            "low": groups["residual"].quantile(0.1),
            "middle": groups["residual"].median(),
            "high": groups["residual"].quantile(0.9),
            "crystals": groups.size(),
        }
    ).reset_index(drop=True)


def outliers(crystals: pd.DataFrame, beside: pd.DataFrame, most: int = 10) -> pd.DataFrame:
    """Return the crystals with the largest mean errors, and the error of another contender there.

    Columns: id, formula, truth, value, spread, error, error_beside.
    """
    worst = crystals.nlargest(most, "error")
    columns = ["id", "formula", "truth", "value", "spread", "error"]
    other = beside.set_index("id")["error"]
    return worst[columns].assign(error_beside=worst["id"].map(other)).reset_index(drop=True)


def evenly(count: int, most: int, seed: int = 0) -> NDArray:
    """Return which of so many rows are shown: all, or a random choice in their order."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, most, replace=False))


def _mean_interval(values: NDArray) -> tuple[float, float]:
    if len(values) < FEWEST:
        return float("nan"), float("nan")
    half = student.ppf(0.5 + CONFIDENCE / 2, len(values) - 1) * values.std(ddof=1)
    half /= np.sqrt(len(values))
    return float(max(0.0, values.mean() - half)), float(values.mean() + half)


def commonest(symbols: Iterable[str], most: int) -> list[str]:
    """Return the commonest names, the commonest first.

    >>> commonest(["O", "Na", "O"], 1)
    ['O']
    """
    counts = pd.Series(list(symbols), dtype=object).value_counts(sort=True)
    return [str(name) for name in counts.index[:most]]
