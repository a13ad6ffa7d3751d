"""Error against training size, and where an advantage ends."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from epitaxy.errors import InputError
from epitaxy.evaluation.statistics import FEWEST_SEEDS, rounded
from epitaxy.evaluation.summary import compare_contenders, require_columns, summarize


def learning_curve(
    predictions: pd.DataFrame,
    reference: str = "scratch",
    *,
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Return a row per size and contender of one task, from predictions with a column ``size``.

    The columns of `summarize`, with ``size`` in front, and at the end ``all_low`` and ``all_high``:
    the interval of ``improvement_percent`` that covers at all sizes together (Bonferroni).
    """
    require_columns(predictions, ("size",), "predictions")
    sizes = sorted(predictions["size"].unique())
    level = 1.0 - (1.0 - confidence) / len(sizes)
    parts = []
    for size in sizes:
        own = predictions[predictions["size"] == size]
        table = summarize(
            own, reference, resamples=resamples, confidence=confidence, seed=seed
        ).drop(columns="train")
        ends = [
            _wide(own, str(name), reference, level, resamples, seed) for name in table["contender"]
        ]
        table.insert(0, "size", int(size))
        table["all_low"], table["all_high"] = zip(*ends, strict=True)
        parts.append(table)
    return pd.concat(parts, ignore_index=True)


def advantage_end(curve: pd.DataFrame, contender: str) -> float:
    """Return the largest size up to which the contender helps, and NaN where it does not.

    It is a sequence of tests from the smallest size on, which ends with the first that finds no
    improvement. So one in twenty curves of equal contenders has an advantage, however many sizes
    there are.
    """
    end = math.nan
    for row in _own(curve, contender):
        if _direction(row, "improvement") <= 0:
            break
        end = float(row["size"])
    return end


def verdict_over_sizes(curve: pd.DataFrame, contender: str, reference: str = "scratch") -> str:
    """Say in one sentence at which training sizes the contender helps, from `learning_curve`.

    Sizes are taken from the smallest on, each with its own interval, until one tells nothing or the
    opposite. Sizes beyond count only where the interval for all sizes together excludes zero.
    """
    rows = _own(curve, contender)
    start = _direction(rows[0], "improvement")
    chain = 0
    while start and chain < len(rows) and _direction(rows[chain], "improvement") == start:
        chain += 1
    clear = [row for row in rows[chain:] if _direction(row, "all")]
    unclear = [row for row in rows[chain:] if not _direction(row, "all")]
    parts = []
    if chain:
        verb = "helps" if start > 0 else "hurts"
        parts.append(f"{contender} {verb} by {_percent(rows[0])} at {_size(rows[0])}")
        if chain > 1:
            last = rows[chain - 1]
            parts[0] += (
                f", and at each size up to {int(last['size']):,} (by {_percent(last)} there)"
            )
    for row in clear:
        subject = "it" if parts else contender
        verb = "helps" if _direction(row, "all") > 0 else "hurts"
        how = f"by {_percent(row, 'all')}, an interval for {len(rows)} sizes together"
        parts.append(f"{subject} {verb} {how}, at {_size(row)}")
    if unclear:
        parts.append(_nothing(rows, chain, clear, unclear, contender))
    seeds = int(min(row["seeds"] for row in rows))
    against = f"against {reference}, {seeds} {'seed' if seeds == 1 else 'seeds'}, 95 % intervals"
    found = f"{'; '.join(parts)} ({against})."
    if seeds < FEWEST_SEEDS:
        return f"Too few seeds to trust ({seeds} of at least {FEWEST_SEEDS}): {found}"
    return f"{found[0].upper()}{found[1:]}"


def _nothing(
    rows: Sequence[Mapping[str, Any]],
    chain: int,
    clear: Sequence[Mapping[str, Any]],
    unclear: Sequence[Mapping[str, Any]],
    contender: str,
) -> str:
    if not chain and not clear:
        sizes = f"{int(rows[0]['size']):,}"
        if len(rows) > 1:
            sizes += f" to {int(rows[-1]['size']):,}"
        return (
            f"no evidence that {contender} helps or hurts at {sizes} training crystals "
            f"({_percent(rows[0])} at the smallest size)"
        )
    if chain and not clear:
        return f"no evidence above {int(rows[chain - 1]['size']):,}"
    listed = ", ".join(f"{int(row['size']):,}" for row in unclear)
    return f"no evidence at {listed}"


def _percent(row: Mapping[str, Any], ends: str = "improvement") -> str:
    """Return the size of an improvement with its interval, in the direction that it has."""
    value = row["improvement_percent"]
    low, high = row[f"{ends}_low"], row[f"{ends}_high"]
    if value < 0.0 and high < 0.0:
        value, low, high = -value, -high, -low
    told = rounded(value, low, high, width=high - low)
    return f"{told[0]} % ({told[1]} to {told[2]} %)"


def _direction(row: Mapping[str, Any], ends: str) -> int:
    """Return 1 where the interval lies above zero, −1 where below, else 0."""
    return int(row[f"{ends}_low"] > 0.0) - int(row[f"{ends}_high"] < 0.0)


def _size(row: Mapping[str, Any]) -> str:
    return f"{int(row['size']):,} training crystals"


def _own(curve: pd.DataFrame, contender: str) -> list[dict[str, Any]]:
    """Return the contender's rows, the smallest size first."""
    require_columns(curve, ("size", "contender", "improvement_low", "all_low"), "curve")
    own = curve[curve["contender"] == contender].sort_values("size")
    if own.empty or own["improvement_low"].isna().any():
        known = ", ".join(map(str, curve["contender"].unique()))
        raise InputError(
            f"the curve says nothing of {contender!r} against a reference; it has {known}."
        )
    if own["size"].duplicated().any():
        raise InputError("the curve holds several tasks: select the rows of one.")
    return [{str(name): one for name, one in row.items()} for row in own.to_dict("records")]


def _wide(
    predictions: pd.DataFrame,
    contender: str,
    reference: str,
    confidence: float,
    resamples: int,
    seed: int,
) -> tuple[float, float]:
    if contender == reference:
        return math.nan, math.nan
    found = compare_contenders(
        predictions, contender, reference, resamples=resamples, confidence=confidence, seed=seed
    )
    return 100.0 * found.relative_low, 100.0 * found.relative_high
