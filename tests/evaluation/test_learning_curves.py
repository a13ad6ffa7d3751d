import math

import numpy as np
import pandas as pd
import pytest

from epitaxy.errors import InputError
from epitaxy.evaluation.learning_curves import advantage_end, learning_curve, verdict_over_sizes
from epitaxy.evaluation.summary import summarize


def predictions_of(gains, seeds=3, crystals=60):
    """Return predictions whose improvement at every size is given."""
    rng = np.random.default_rng(1)
    truth, difficulty = rng.normal(size=crystals), rng.lognormal(-1.0, 0.5, crystals)
    frames = []
    for size, gain in gains.items():
        for contender, factor in (("scratch", 1.0), ("pre-trained", 1.0 - gain)):
            for seed in range(seeds):
                error = factor * difficulty * rng.uniform(0.8, 1.2, crystals)
                columns = {
                    "size": size,
                    "contender": contender,
                    "seed": seed,
                    "id": np.arange(crystals),
                    "target": "y",
                    "unit": "eV",
                    "truth": truth,
                    "value": truth + error,
                }
                frames.append(pd.DataFrame(columns))
    return pd.concat(frames, ignore_index=True)


def curve_of(rows, seeds=5):
    """Return a curve whose intervals (size, value, low, high) are given; joint ones are wider."""
    return pd.DataFrame(
        {
            "size": size,
            "contender": "pre-trained",
            "seeds": seeds,
            "improvement_percent": value,
            "improvement_low": low,
            "improvement_high": high,
            "all_low": value - 1.5 * (value - low),
            "all_high": value + 1.5 * (high - value),
        }
        for size, value, low, high in rows
    )


def test_every_size_has_the_rows_of_its_summary():
    predictions = predictions_of({100: 0.3, 500: 0.1})
    curve = learning_curve(predictions, resamples=200)
    assert curve["size"].tolist() == [100, 100, 500, 500]
    alone = summarize(predictions[predictions["size"] == 500], resamples=200)
    expected = alone["improvement_low"].tolist()
    assert curve["improvement_low"].tolist()[2:] == pytest.approx(expected, nan_ok=True)
    ours = curve[curve["contender"] == "pre-trained"]
    assert (ours["all_low"] < ours["improvement_low"]).all()
    assert (ours["all_high"] > ours["improvement_high"]).all()


def test_the_advantage_ends_where_the_improvement_does():
    curve = learning_curve(predictions_of({100: 0.3, 500: 0.2, 2000: 0.0, 5000: 0.0}))
    assert advantage_end(curve, "pre-trained") == 500.0
    sentence = verdict_over_sizes(curve, "pre-trained")
    assert sentence.startswith("Pre-trained helps by 29")
    assert "at 100 training crystals, and at each size up to 500 (by " in sentence
    assert "; no evidence above 500 (against scratch, 3 seeds, 95 % intervals)." in sentence


def test_one_size_that_helps_and_none_beyond():
    curve = curve_of([(500, 12.0, 9.0, 15.0), (5000, 1.0, -2.0, 4.0)])
    assert verdict_over_sizes(curve, "pre-trained") == (
        "Pre-trained helps by 12.0 % (9.0 to 15.0 %) at 500 training crystals; no evidence above "
        "500 (against scratch, 5 seeds, 95 % intervals)."
    )


def test_harm_is_said_in_its_own_direction():
    curve = curve_of([(500, -12.0, -15.0, -9.0), (5000, 1.0, -2.0, 4.0)])
    assert "hurts by 12.0 % (9.0 to 15.0 %)" in verdict_over_sizes(curve, "pre-trained")
    assert math.isnan(advantage_end(curve, "pre-trained"))


def test_nothing_anywhere():
    curve = curve_of([(100, 1.0, -2.0, 4.0), (500, 1.0, -2.0, 4.0)])
    sentence = verdict_over_sizes(curve, "pre-trained")
    assert sentence.startswith("No evidence that pre-trained helps or hurts at 100 to 500")
    assert math.isnan(advantage_end(curve, "pre-trained"))


def test_a_later_size_counts_only_by_the_interval_of_all_together():
    barely = curve_of([(100, 1.0, -2.0, 4.0), (500, 3.0, 0.5, 5.5)])
    assert "No evidence" in verdict_over_sizes(barely, "pre-trained")
    clearly = curve_of([(100, 1.0, -2.0, 4.0), (500, 9.0, 6.5, 11.5)])
    sentence = verdict_over_sizes(clearly, "pre-trained")
    assert "an interval for 2 sizes together, at 500 training crystals" in sentence
    assert "no evidence at 100" in sentence
    assert math.isnan(advantage_end(clearly, "pre-trained"))


def test_few_seeds_are_said():
    sentence = verdict_over_sizes(curve_of([(100, 12.0, 9.0, 15.0)], seeds=1), "pre-trained")
    assert sentence.startswith("Too few seeds to trust (1 of at least 3): pre-trained helps")
    assert "1 seed, 95 %" in sentence


def test_a_curve_of_several_tasks_or_of_nobody_is_refused():
    curve = curve_of([(100, 1.0, -2.0, 4.0)])
    with pytest.raises(InputError, match="several tasks"):
        verdict_over_sizes(pd.concat([curve, curve]), "pre-trained")
    with pytest.raises(InputError, match="says nothing of 'dummy'"):
        verdict_over_sizes(curve, "dummy")
