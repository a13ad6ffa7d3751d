"""Errors of predictions against the truth, in the unit of the target."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from epitaxy.errors import InputError


def known_pairs(truth: ArrayLike, value: ArrayLike) -> tuple[NDArray, NDArray]:
    """Return truth and prediction, flat and in float64, where the truth is known (not NaN)."""
    true, predicted = np.asarray(truth, dtype=np.float64), np.asarray(value, dtype=np.float64)
    if true.shape != predicted.shape:
        raise InputError(
            f"The truth has shape {true.shape}, the prediction {predicted.shape}; "
            "give one prediction for every true value."
        )
    known = ~np.isnan(true)
    if not known.any():
        raise InputError(f"None of the {true.size} true values is known, so there is no error.")
    true, predicted = true[known], predicted[known]
    if bad := int((~np.isfinite(predicted)).sum()):
        raise InputError(
            f"{bad} of {predicted.size} predictions are not finite; a model that predicts NaN has "
            "no error to report. Look at its loss curve for divergence."
        )
    return true, predicted


def mean_absolute_error(truth: ArrayLike, value: ArrayLike) -> float:
    """Return the mean of |value − truth|; unknown (NaN) truths are left out.

    >>> mean_absolute_error([1.0, 2.0, float("nan")], [1.5, 2.0, 7.0])
    0.25
    """
    true, predicted = known_pairs(truth, value)
    return float(np.abs(predicted - true).mean())


def root_mean_squared_error(truth: ArrayLike, value: ArrayLike) -> float:
    """Return the square root of the mean of (value − truth)²; unknown (NaN) truths are left out.

    >>> root_mean_squared_error([0.0, 0.0], [3.0, -3.0])
    3.0
    """
    true, predicted = known_pairs(truth, value)
    return float(np.sqrt(np.square(predicted - true).mean()))


def r_squared(truth: ArrayLike, value: ArrayLike) -> float:
    """Return R², the share of the truth's variance that is explained; at most 1.

    It is negative where the mean of the truth would have done better, and NaN where the known
    truths are all equal, since there is no variance to explain.

    >>> r_squared([1.0, 2.0, 3.0], [1.0, 2.0, 3.0])
    1.0
    """
    true, predicted = known_pairs(truth, value)
    spread = np.square(true - true.mean()).sum()
    if spread == 0.0:
        return float("nan")
    return float(1.0 - np.square(predicted - true).sum() / spread)
