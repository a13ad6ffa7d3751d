"""Errors by crystal, by element and along the prediction."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import bootstrap

from epitaxy.report.residuals import (
    by_crystal,
    by_element,
    evenly,
    outliers,
    residual_band,
)


def predictions(values: dict[str, list[float]], truth=1.0, formula="NaCl") -> pd.DataFrame:
    rows = [(one, formula, truth, value) for one, many in values.items() for value in many]
    return pd.DataFrame(rows, columns=["id", "formula", "truth", "value"])


def test_a_crystal_has_the_mean_the_spread_and_the_mean_error_over_seeds():
    row = by_crystal(predictions({"a": [0.0, 1.0, 5.0]})).iloc[0]
    assert row["value"] == 2.0
    assert row["spread"] == pytest.approx(np.sqrt(7.0))
    assert row["error"] == pytest.approx(5.0 / 3.0)
    assert row["residual"] == 1.0
    assert row["seeds"] == 3


def test_one_seed_has_no_spread_and_unknown_truths_are_left_out():
    table = by_crystal(
        pd.concat([predictions({"a": [1.0]}), predictions({"b": [1.0]}, truth=np.nan)])
    )
    assert list(table["id"]) == ["a"]
    assert np.isnan(table["spread"].iloc[0])


def crystals(errors, formulas) -> pd.DataFrame:
    errors = np.asarray(errors, dtype=float)
    return pd.DataFrame(
        {"id": range(len(errors)), "formula": formulas, "error": np.abs(errors), "residual": errors}
    )


def test_a_crystal_counts_for_each_of_its_elements():
    table = by_element(crystals([1.0, -3.0], ["NaCl", "KCl"])).set_index("element")
    assert table["crystals"].to_dict() == {"Na": 1, "K": 1, "Cl": 2}
    assert table.loc["Cl", "mae"] == 2.0
    assert table.loc["Cl", "bias"] == -1.0


def test_the_interval_of_an_element_is_near_the_bootstrap_s():
    errors = np.random.default_rng(0).gamma(2.0, 1.0, 300)
    row = by_element(crystals(errors, ["Fe"] * 300)).iloc[0]
    found = bootstrap((errors,), np.mean, n_resamples=2000, rng=np.random.default_rng(1))
    assert row["mae_low"] == pytest.approx(found.confidence_interval.low, abs=0.03)
    assert row["mae_high"] == pytest.approx(found.confidence_interval.high, abs=0.03)


def test_four_crystals_have_no_interval():
    assert by_element(crystals([1, 2, 3, 4], ["Fe"] * 4))["mae_low"].isna().all()


def test_the_band_holds_the_middle_eighty_percent_of_the_residuals():
    rng = np.random.default_rng(0)
    value = rng.normal(size=4000)
    table = pd.DataFrame({"value": value, "residual": rng.normal(size=4000) * 2.0 + 1.0})
    band = residual_band(table)
    assert band["crystals"].sum() == 4000
    assert band["crystals"].nunique() == 1
    assert band["low"].mean() == pytest.approx(1.0 - 2.0 * 1.2816, abs=0.1)
    assert band["high"].mean() == pytest.approx(1.0 + 2.0 * 1.2816, abs=0.1)


def test_the_band_of_a_calibrated_model_lies_at_zero_although_the_truth_scatters():
    rng = np.random.default_rng(0)
    value = rng.normal(size=4000)
    band = residual_band(pd.DataFrame({"value": value, "residual": rng.normal(size=4000)}))
    assert band["middle"].abs().max() < 0.2


def test_few_crystals_have_no_band():
    assert residual_band(pd.DataFrame({"value": [1.0], "residual": [0.0]})).empty


def test_outliers_come_worst_first_with_the_other_contender_s_error():
    own = by_crystal(predictions({"a": [1.5], "b": [9.0], "c": [1.0]}))
    other = by_crystal(predictions({"b": [2.0], "a": [1.0]}))
    table = outliers(own, other, 2)
    assert list(table["id"]) == ["b", "a"]
    assert list(table["error_beside"]) == [1.0, 0.0]


def test_thinning_out_keeps_the_order_and_repeats():
    kept = evenly(1000, 50)
    assert len(set(kept)) == 50
    assert list(kept) == sorted(kept)
    assert list(kept) == list(evenly(1000, 50))
    assert list(evenly(3, 50)) == [0, 1, 2]
