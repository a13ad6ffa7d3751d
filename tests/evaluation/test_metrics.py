"""Errors of predictions against the truth."""

import math

import numpy as np
import pytest

from epitaxy.errors import InputError
from epitaxy.evaluation.metrics import mean_absolute_error, r_squared, root_mean_squared_error

METRICS = (mean_absolute_error, root_mean_squared_error, r_squared)
TRUTH, VALUE = [1.0, 2.0, 3.0, 6.0], [1.0, 1.0, 5.0, 6.0]  # errors 0, 1, 2, 0 around mean 3


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        (mean_absolute_error, 0.75),
        (root_mean_squared_error, math.sqrt(1.25)),
        (r_squared, 1.0 - 5.0 / 14.0),
    ],
)
def test_a_metric_matches_the_sum_done_by_hand(metric, expected):
    assert metric(TRUTH, VALUE) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("metric", METRICS)
def test_an_unknown_truth_is_left_out(metric):
    assert metric([*TRUTH, np.nan], [*VALUE, 100.0]) == metric(TRUTH, VALUE)


@pytest.mark.parametrize("metric", METRICS)
def test_no_known_truth_is_an_error(metric):
    with pytest.raises(InputError, match="None of the 2 true values"):
        metric([np.nan, np.nan], [1.0, 2.0])


@pytest.mark.parametrize("metric", METRICS)
def test_a_prediction_of_nan_is_an_error_and_not_left_out(metric):
    with pytest.raises(InputError, match="1 of 2 predictions are not finite"):
        metric([1.0, 2.0], [1.0, np.nan])


@pytest.mark.parametrize("metric", METRICS)
def test_shapes_that_would_broadcast_are_an_error(metric):
    with pytest.raises(InputError, match=r"\(2, 1\)"):
        metric(np.ones((2, 1)), np.ones(2))


def test_r_squared_of_the_mean_is_zero_and_of_worse_is_negative():
    assert r_squared(TRUTH, [3.0] * 4) == 0.0
    assert r_squared(TRUTH, [6.0, 3.0, 2.0, 1.0]) < 0.0


def test_r_squared_of_a_constant_truth_is_unknown():
    assert math.isnan(r_squared([2.0, 2.0], [1.0, 2.0]))
