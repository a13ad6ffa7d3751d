"""From predictions of probes to tables and a sentence; intervals are paired over crystals."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from jaxtyping import Float
from numpy import ndarray

from epitaxy.evaluation.metrics import r_squared, root_mean_squared_error
from epitaxy.evaluation.probe_task import DUMMY, WHOLE
from epitaxy.evaluation.statistics import (
    PairedDifference,
    mae_interval,
    paired_difference,
    rounded,
)


def crystal_errors(predictions: pd.DataFrame, contender: str) -> Float[ndarray, "repeats crystals"]:
    """Return absolute errors, the mean over the atoms of each crystal where rows are atoms.

    So a large cell counts as much as a small one, and what is resampled is independent.
    """
    own = predictions[predictions["contender"] == contender]
    error = (own["value"] - own["truth"]).abs()
    return error.groupby([own["seed"], own["id"]]).mean().unstack("id").to_numpy()


def results_table(
    predictions: pd.DataFrame, choices: Sequence[Mapping[str, Any]], reference: str
) -> pd.DataFrame:
    """Return a row per contender, the lowest error first.

    ``improvement_percent`` is against the reference, with its interval over crystals. RMSE and R²
    are over rows. ``mae_atoms``, where rows are atoms, is the error with every atom counting the
    same.
    """
    rows = []
    for contender in predictions["contender"].unique():
        own = predictions[predictions["contender"] == contender]
        errors = crystal_errors(predictions, contender)
        low, high = mae_interval(errors, 0)
        found = None
        if contender != reference:
            found = _difference(errors, crystal_errors(predictions, reference))
        row = {
            "target": own["target"].iloc[0],
            "contender": contender,
            "mae": errors.mean(),
            "mae_low": low,
            "mae_high": high,
            **_improvement(found),
            "rmse": root_mean_squared_error(own["truth"], own["value"]),
            "r_squared": r_squared(own["truth"], own["value"]),
            "layers": _layers(choices, contender),
            "seeds": errors.shape[0],
            "test": errors.shape[1],
            "unit": own["unit"].iloc[0],
        }
        if "atom" in own:
            row["mae_atoms"] = (own["value"] - own["truth"]).abs().mean()
        rows.append(row)
    return pd.DataFrame(rows).sort_values("mae", ignore_index=True)


def ranges_table(everything: pd.DataFrame) -> pd.DataFrame:
    """Return contender, range, mae, mae_low, mae_high and unit; every range with its own constants.

    The lowest of these errors is chosen with the test rows in view: quote the one of the range
    ``"chosen"``.
    """
    rows = []
    for (contender, name), own in everything.groupby(["contender", "range"], sort=False):
        errors = crystal_errors(own, str(contender))
        low, high = mae_interval(errors, 0)
        rows.append(
            {
                "contender": contender,
                "range": name,
                "mae": errors.mean(),
                "mae_low": low,
                "mae_high": high,
                "unit": own["unit"].iloc[0],
            }
        )
    return pd.DataFrame(rows)


def sentence(predictions: pd.DataFrame, trained: Sequence[str], networks: Sequence[str]) -> str:
    """Say how the best trained network stands to the untrained and to what was made by hand."""
    means = {
        str(one): float(crystal_errors(predictions, one).mean())
        for one in predictions["contender"].unique()
    }
    best = min(trained, key=lambda one: means[one])
    errors, unit = crystal_errors(predictions, best), predictions["unit"].iloc[0]
    low, high = mae_interval(errors, 0)
    value, lower, upper = rounded(means[best], low, high, width=high - low)
    text = f"{best}: MAE {value} {unit}".rstrip() + f" ({lower} to {upper})"
    others = {
        "untrained": [one for one in networks if one not in trained],
        "hand-made": [one for one in means if one not in networks and one != DUMMY],
        DUMMY: [DUMMY],
    }
    against = []
    for kind, some in others.items():
        if some:
            other = min(some, key=lambda one: means[one])
            name = other if kind in other or kind == "untrained" else f"{other}, the best {kind}"
            found = _difference(errors, crystal_errors(predictions, other))
            against.append(f"{_stands(found)} {name}")
    return f"{text}; " + "; ".join(against) + "."


def _difference(
    errors: Float[ndarray, "repeats crystals"], reference: Float[ndarray, "repeats crystals"]
) -> PairedDifference | None:
    """Return how much lower the errors are; None where the reference has none to be lower than."""
    return paired_difference(errors, reference, 0) if reference.any() else None


def _stands(found: PairedDifference | None) -> str:
    if found is None:
        return "no lower than the error, zero, of"
    sign = 1.0 if found.difference >= 0.0 else -1.0
    percent = [
        100.0 * sign * one for one in (found.relative, found.relative_low, found.relative_high)
    ]
    value, low, high = rounded(*percent, width=abs(percent[2] - percent[1]))
    low, high = (low, high) if sign > 0 else (high, low)
    word = "lower" if sign > 0 else "higher"
    claim = "" if found.low > 0.0 or found.high < 0.0 else "no evidence either way, "
    return f"{claim}{value} % ({low} to {high} %) {word} than"


def _layers(choices: Sequence[Mapping[str, Any]], contender: str) -> str:
    counts = Counter(one["range"] for one in choices if one["contender"] == contender)
    if len(counts) < 2:
        return next((name for name in counts if name != WHOLE), "")
    return ", ".join(f"{name} ×{count}" for name, count in counts.most_common())


def _improvement(found: PairedDifference | None) -> dict[str, float]:
    return {
        "improvement_percent": 100.0 * found.relative if found else math.nan,
        "improvement_low": 100.0 * found.relative_low if found else math.nan,
        "improvement_high": 100.0 * found.relative_high if found else math.nan,
    }
