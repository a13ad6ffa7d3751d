"""From tidy predictions to the results table: one row per contender, with intervals."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from epitaxy.errors import InputError, did_you_mean
from epitaxy.evaluation.statistics import PairedDifference, mae_interval, paired_difference

PREDICTION_COLUMNS = ("contender", "seed", "id", "target", "unit", "truth", "value")


def summarize(
    predictions: pd.DataFrame,
    reference: str | None = "scratch",
    *,
    train_size: int | None = None,
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Return one row per target and contender: its MAE, and how it compares with the reference.

    Columns: target, contender, mae, mae_low, mae_high, difference, difference_low,
    difference_high, improvement_percent, improvement_low, improvement_high, wins_percent, seeds,
    train, test, unit. Differences and improvements are positive where the contender's error is
    lower than the reference's, and wins are the crystals of which its error, averaged over seeds,
    is the lower one; all are NaN for the reference itself, and everywhere if `reference` is None.
    A contender is compared over the seeds it shares with the reference; its MAE is over all of its
    own.
    """
    require_columns(predictions, PREDICTION_COLUMNS, "predictions")
    rows = [
        _row(group, str(contender), reference, seed, resamples, confidence)
        for _, group in predictions.groupby("target", sort=False)
        for contender in group["contender"].unique()
    ]
    table = pd.DataFrame(rows)
    train = pd.Series([train_size] * len(table), dtype="Int64")
    table.insert(table.columns.get_loc("test"), "train", train)  # type: ignore[arg-type]
    return table


def _row(
    predictions: pd.DataFrame,
    contender: str,
    reference: str | None,
    seed: int,
    resamples: int,
    confidence: float,
) -> dict[str, object]:
    errors = error_table(predictions, contender)
    difference = None
    if reference is not None and contender != reference:
        difference = compare_contenders(
            predictions, contender, reference, resamples=resamples, confidence=confidence, seed=seed
        )
    folds = _folds(predictions[predictions["contender"] == contender], errors.columns)
    low, high = mae_interval(
        errors.to_numpy(), seed, resamples=resamples, confidence=confidence, folds=folds
    )
    return {
        "target": str(predictions["target"].iloc[0]),
        "contender": contender,
        "mae": float(errors.to_numpy().mean()),
        "mae_low": low,
        "mae_high": high,
        **_difference_columns(difference),
        "seeds": errors.shape[0],
        "test": errors.shape[1],
        "unit": str(predictions["unit"].iloc[0]),
    }


def _difference_columns(difference: PairedDifference | None) -> dict[str, float]:
    return {
        "difference": difference.difference if difference else math.nan,
        "difference_low": difference.low if difference else math.nan,
        "difference_high": difference.high if difference else math.nan,
        "improvement_percent": 100.0 * difference.relative if difference else math.nan,
        "improvement_low": 100.0 * difference.relative_low if difference else math.nan,
        "improvement_high": 100.0 * difference.relative_high if difference else math.nan,
        "wins_percent": 100.0 * difference.win_rate if difference else math.nan,
    }


def compare_contenders(
    predictions: pd.DataFrame,
    contender: str,
    reference: str = "scratch",
    *,
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> PairedDifference:
    """Compare two contenders of one target's predictions over the seeds that they share.

    Where predictions say which ``fold`` tested a crystal, the interval covers the folds too.
    """
    pair, folds, _ = paired_errors(predictions, contender, reference)
    return paired_difference(
        pair[0], pair[1], seed, resamples=resamples, confidence=confidence, folds=folds
    )


def paired_errors(
    predictions: pd.DataFrame, contender: str, reference: str
) -> tuple[NDArray, NDArray | None, pd.Index]:
    """Return absolute errors (2, seeds, crystals), the fold of each crystal, and the crystals' ids.

    The contender's errors come first. Folds are None where predictions have none, or where a
    crystal is in another fold under another seed.
    """
    errors, reference_errors = (error_table(predictions, name) for name in (contender, reference))
    seeds = errors.index.intersection(reference_errors.index)
    if seeds.empty:
        raise InputError(
            f"{contender!r} has seeds {list(errors.index)}, {reference!r} has "
            f"{list(reference_errors.index)}: none in common. Run both with the same seeds."
        )
    _require_same_crystals(errors.columns, reference_errors.columns, contender, reference)
    pair = [errors.loc[seeds].to_numpy(), reference_errors.loc[seeds, errors.columns].to_numpy()]
    return np.stack(pair), _folds(predictions, errors.columns), errors.columns


def _folds(predictions: pd.DataFrame, ids: pd.Index) -> NDArray | None:
    if "fold" not in predictions.columns:
        return None
    known = predictions.loc[predictions["fold"].notna(), ["id", "fold"]].drop_duplicates()
    if known["fold"].nunique() < 2 or known["id"].duplicated().any():
        return None
    return known.set_index("id")["fold"].reindex(ids).to_numpy()


def error_table(predictions: pd.DataFrame, contender: str) -> pd.DataFrame:
    """Return one contender's absolute errors, seeds as rows and test crystals as columns.

    Crystals whose truth is unknown (NaN) are left out.
    """
    require_columns(predictions, PREDICTION_COLUMNS, "predictions")
    one_target(predictions)
    own = predictions[(predictions["contender"] == contender)]
    if own.empty:
        known = predictions["contender"].unique()
        raise InputError(f"No predictions of {contender!r}. {did_you_mean(contender, known)}")
    own = own[own["truth"].notna()]
    if own.empty:
        raise InputError(f"No crystal that {contender!r} predicts has a known truth.")
    if own.duplicated(["seed", "id"]).any():
        twice = own.loc[own.duplicated(["seed", "id"]), "id"].iloc[0]
        raise InputError(f"{contender!r} predicts crystal {twice!r} twice with the same seed.")
    errors = (
        own.assign(error=(own["value"] - own["truth"]).abs())
        .pivot(index="seed", columns="id", values="error")
        .sort_index()
    )
    _require_complete(errors, contender)
    return errors


def one_target(predictions: pd.DataFrame) -> tuple[str, str]:
    """Return the name and unit of the one target in these predictions."""
    pairs = predictions[["target", "unit"]].drop_duplicates()
    if len(pairs) != 1:
        listed = ", ".join(f"{target} [{unit}]" for target, unit in pairs.itertuples(index=False))
        raise InputError(
            f"These predictions hold {len(pairs)} targets ({listed or 'none'}); select one, "
            "for example predictions[predictions.target == name]."
        )
    return str(pairs["target"].iloc[0]), str(pairs["unit"].iloc[0])


def require_columns(table: pd.DataFrame, columns: Sequence[str], name: str) -> None:
    """Raise an error that names the columns which a tidy table lacks, or says that it is empty."""
    if missing := [column for column in columns if column not in table.columns]:
        raise InputError(
            f"The {name} lack the columns {', '.join(missing)}; they have "
            f"{', '.join(map(str, table.columns)) or 'none'}."
        )
    if table.empty:
        raise InputError(f"The {name} are empty.")


def seed_maes(predictions: pd.DataFrame, contender: str) -> NDArray:
    """Return one contender's MAE for each seed, in the order of the seeds."""
    return error_table(predictions, contender).to_numpy().mean(axis=1)


def _require_complete(errors: pd.DataFrame, contender: str) -> None:
    if errors.isna().any(axis=None):
        seed, crystal = errors.isna().stack().idxmax()  # type: ignore[misc]
        raise InputError(
            f"{contender!r} has no prediction for crystal {crystal!r} with seed {seed}. Every seed "
            "must predict the same test crystals; a comparison needs one fixed test set."
        )


def _require_same_crystals(ours: pd.Index, theirs: pd.Index, contender: str, other: str) -> None:
    lone = ours.symmetric_difference(theirs)
    if len(lone):
        raise InputError(
            f"{contender!r} and {other!r} predict different test crystals ({len(lone)} are in one "
            f"only, such as {lone[0]!r}); compare them on the same test set."
        )
