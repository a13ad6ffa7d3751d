"""A column on its own: missing, constant, heavy-tailed, far outliers."""

import numpy as np
from jaxtyping import Bool, Float

from epitaxy.crystals.crystals import Crystals
from epitaxy.datasets.audits.findings import Finding, Severity, examples

_FAR = 5.0
"""A value is an outlier beyond the median by more than five times the way from there to the
2.5 % or 97.5 % quantile on its side: ten standard deviations of a normal distribution, 18 of the
scale of an exponential one, so neither tail makes one among a million."""
_ROBUST_FROM = 40  # with fewer, those quantiles are the extremes themselves
_HEAVY = 0.4
"""The largest 1 % of deviations hold this much of the variance: 8 % for a normal distribution,
23 % for an exponential one, a half for a log-normal one with σ = 1.3."""
_COMMON = 0.5  # more than half of the values are one number: a median learns nothing else


def value_findings(
    crystals: Crystals, name: str, values: Float[np.ndarray, " rows"]
) -> list[Finding]:
    """Return what is to be said of a column of numbers, one per crystal, NaN where missing."""
    present = np.isfinite(values)
    findings = []
    missing = int((~present).sum())
    if not present.any():
        return [
            Finding(
                "error",
                "missing values",
                "no value is there.",
                missing,
                "choose another target, or fill the column.",
                name,
            )
        ]
    if missing:
        severity: Severity = "warning" if missing > 0.5 * len(values) else "note"
        findings.append(
            Finding(
                severity,
                "missing values",
                f"{missing} of {len(values)} crystals have no value.",
                missing,
                "they are left out of this target; nothing to do if they are meant to be.",
                name,
                examples(crystals, np.flatnonzero(~present)),
            )
        )
    return findings + _shape(crystals, name, values, present)


def _shape(
    crystals: Crystals,
    name: str,
    values: Float[np.ndarray, " rows"],
    present: Bool[np.ndarray, " rows"],
) -> list[Finding]:
    there = values[present]
    numbers, counts = np.unique(there, return_counts=True)
    if len(numbers) == 1 and len(there) > 1:
        return [
            Finding(
                "error",
                "constant",
                f"all {len(there)} values are {there[0]:.6g}.",
                len(there),
                "nothing can be learned: look at how the column was made.",
                name,
            )
        ]
    findings = []
    if counts.max() > _COMMON * len(there) and len(there) > _ROBUST_FROM and len(numbers) > 20:
        findings.append(
            Finding(
                "note",
                "one common value",
                f"{counts.max()} of {len(there)} values are {numbers[counts.argmax()]:.6g}.",
                int(counts.max()),
                "compare with a dummy that always says it; consider a classifier first.",
                name,
            )
        )
    outlying = far_outliers(values)
    if outlying.any():
        rows = np.flatnonzero(outlying)
        worst = rows[np.argsort(-np.abs(values[rows] - np.nanmedian(values)))]
        findings.append(
            Finding(
                "warning",
                "outliers",
                f"{len(rows)} values lie far outside of all others, up to "
                f"{values[worst[0]]:.4g} where the median is {np.median(there):.4g}.",
                len(rows),
                "look at these rows: another unit, a failed calculation?",
                name,
                examples(crystals, worst),
            )
        )
    share = tail_share(there)
    if share > _HEAVY and len(there) >= 100:
        findings.append(
            Finding(
                "note",
                "heavy tail",
                f"the largest 1 % of deviations hold {share:.0%} of the variance.",
                int(np.ceil(0.01 * len(there))),
                "report the mean absolute error and medians; consider learning the logarithm.",
                name,
            )
        )
    return findings


def far_outliers(values: Float[np.ndarray, " rows"]) -> Bool[np.ndarray, " rows"]:
    """Return which values lie far outside of all others; none where there are fewer than 40."""
    present = np.isfinite(values)
    if present.sum() < _ROBUST_FROM:
        return np.zeros(len(values), dtype=bool)
    low, middle, high = np.nanquantile(values, [0.025, 0.5, 0.975])
    return (
        present
        & (
            (values > middle + _FAR * max(high - middle, 0.2 * (middle - low)))
            | (values < middle - _FAR * max(middle - low, 0.2 * (high - middle)))
        )
        & (high > low)
    )


def tail_share(values: Float[np.ndarray, " rows"]) -> float:
    """Return which part of the variance the largest 1 % of deviations hold."""
    squares = np.sort((values - values.mean()) ** 2)
    total = squares.sum()
    return float(squares[-max(1, round(0.01 * len(squares))) :].sum() / total) if total else 0.0
