"""The spread over seeds is judged rightly where we know what it is worth."""

import numpy as np
import pandas as pd
import pytest

from epitaxy.report.calibration import calibration
from epitaxy.report.residuals import by_crystal


def simulated(shared: float, seeds: int = 3, crystals: int = 12000) -> pd.DataFrame:
    """Crystals whose truth and predictions are draws of one kind, plus what all seeds get wrong."""
    rng = np.random.default_rng(0)
    scale = rng.gamma(3.0, 0.5, crystals)
    truth = scale * rng.normal(size=crystals) + shared * rng.normal(size=crystals)
    tables = [
        pd.DataFrame(
            {
                "id": range(crystals),
                "formula": "NaCl",
                "truth": truth,
                "value": scale * rng.normal(size=crystals),
            }
        )
        for _ in range(seeds)
    ]
    return by_crystal(pd.concat(tables))


@pytest.mark.parametrize("seeds", [2, 3, 10])
def test_intervals_cover_what_they_are_meant_to_where_seeds_are_all_there_is(seeds):
    found = calibration(simulated(0.0, seeds))
    assert found is not None
    assert np.abs(found.coverage["observed"] - found.coverage["expected"]).max() < 0.02
    assert found.factor == pytest.approx(1.0, abs=0.05)
    assert found.seeds == seeds


def test_what_all_seeds_get_wrong_together_shows():
    found = calibration(simulated(3.0))
    assert found.factor > 1.5
    assert found.covered < 0.85
    assert "times as large as the spread over 3 seeds" in str(found)


def test_a_larger_spread_means_larger_errors_where_crystals_differ():
    found = calibration(simulated(0.0, seeds=10))
    assert found.rank > 0.3
    assert found.bins["rmse"].is_monotonic_increasing
    assert found.bins["crystals"].sum() == 12000
    assert (found.bins["rmse_low"] < found.bins["rmse"]).all()


def test_wilson_s_interval_holds_the_share():
    coverage = calibration(simulated(0.0)).coverage
    assert (coverage["observed_low"] < coverage["observed"]).all()
    assert (coverage["observed_high"] > coverage["observed"]).all()


def test_one_seed_or_few_crystals_say_nothing():
    assert calibration(simulated(0.0, seeds=1)) is None
    assert calibration(simulated(0.0, crystals=19)) is None


def test_a_dummy_s_spread_ranks_nothing():
    tables = [
        pd.DataFrame(
            {
                "id": range(40),
                "formula": "NaCl",
                "truth": np.arange(40.0),
                "value": 19.0 + 0.1 * seed,
            }
        )
        for seed in range(3)
    ]
    found = calibration(by_crystal(pd.concat(tables)))
    assert np.isnan(found.rank)
    assert "the same for all crystals" in str(found)
