"""The paired interval: what it says, and how often it is wrong."""

import importlib.util
import re
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from epitaxy.errors import InputError
from epitaxy.evaluation.statistics import (
    PairedDifference,
    mae_interval,
    paired_difference,
    verdict,
)
from epitaxy.evaluation.summary import compare_contenders, summarize

FILE = Path(__file__).parents[2] / "benchmarks" / "false_positives.py"


@pytest.fixture(scope="module")
def simulation():
    """Return the benchmark of false positives as a module."""
    specification = importlib.util.spec_from_file_location("false_positives", FILE)
    module = importlib.util.module_from_spec(specification)
    sys.modules["false_positives"] = module
    specification.loader.exec_module(module)
    yield module
    del sys.modules["false_positives"]


def simulated_errors(seeds=5, crystals=200, improvement=0.2, rng_seed=0):
    """Return errors of a contender and its reference that share the crystals' difficulty."""
    rng = np.random.default_rng(rng_seed)
    difficulty = rng.exponential(0.1, crystals)
    reference = difficulty * rng.uniform(0.7, 1.3, (seeds, crystals))
    contender = difficulty * rng.uniform(0.7, 1.3, (seeds, crystals)) * (1.0 - improvement)
    return contender, reference


def simulated_predictions(seeds=3, crystals=40, contenders=("scratch", "pre-trained")):
    """Return tidy predictions whose error halves from one contender to the next."""
    rng = np.random.default_rng(3)
    truth = rng.normal(size=crystals)
    frames = [
        pd.DataFrame(
            {
                "contender": name,
                "seed": seed,
                "id": [f"crystal-{number}" for number in range(crystals)],
                "formula": "NaCl",
                "target": "band_gap",
                "unit": "eV",
                "truth": truth,
                "value": truth + 0.2 * 0.5**rank * rng.normal(size=crystals),
            }
        )
        for rank, name in enumerate(contenders)
        for seed in range(seeds)
    ]
    return pd.concat(frames, ignore_index=True)


def scenario(simulation, name):
    return next(found for found in simulation.SCENARIOS if found.name == name)


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("name", ["no seed effect", "dominant seed effect"])
def test_contenders_that_do_not_differ_are_told_apart_one_time_in_twenty(simulation, name, seeds):
    small = replace(scenario(simulation, name), crystals=150)
    rate = simulation.detection_rate(simulation.corrected_detects, small, seeds, 300)
    assert 0.003 <= rate <= 0.09


def test_the_textbook_bootstrap_fails_the_same_test(simulation):
    small = replace(scenario(simulation, "dominant seed effect"), crystals=150)
    assert simulation.detection_rate(simulation.textbook_detects, small, 3, 300) > 0.12


def test_a_real_improvement_is_found(simulation):
    real = replace(scenario(simulation, "small seed effect"), improvement=0.25)
    assert simulation.detection_rate(simulation.corrected_detects, real, 5, 60) > 0.8


def test_folds_that_are_told_are_covered_and_folds_that_are_not_are_not(simulation):
    """Every fold trained on other crystals, and all seeds of a fold on the same."""
    folded = next(one for one in simulation.FOLD_SCENARIOS if one.fold_spread > 0.1)
    told, naive = simulation.fold_rates(replace(folded, crystals=150, fold_spread=0.3), 3, 60)
    assert told <= 0.12
    assert naive > 0.15


def test_equal_folds_change_little_and_a_column_of_folds_is_read():
    predictions = simulated_predictions(crystals=60)
    folds = predictions["id"].str.removeprefix("crystal-").astype(int) % 5
    plain = compare_contenders(predictions, "pre-trained")
    folded = compare_contenders(predictions.assign(fold=folds), "pre-trained")
    assert folded.difference == plain.difference
    assert folded != plain
    assert 0.9 < (folded.high - folded.low) / (plain.high - plain.low) < 2.0
    one_fold = compare_contenders(predictions.assign(fold=0), "pre-trained")
    other_folds = folds + predictions["seed"]  # other folds under every seed are no factor
    shuffled = compare_contenders(predictions.assign(fold=other_folds), "pre-trained")
    assert one_fold == shuffled == plain


def test_the_interval_of_a_mae_covers_folds_that_trained_on_other_crystals():
    predictions = simulated_predictions(crystals=60)
    folds = predictions["id"].str.removeprefix("crystal-").astype(int) % 5
    folded = predictions.assign(fold=folds)
    folded["value"] += (folded["value"] - folded["truth"]) * folds  # some folds learned badly
    told, untold = summarize(folded), summarize(folded.drop(columns="fold"))
    assert (told["mae"] == untold["mae"]).all()
    wider = (told["mae_high"] - told["mae_low"]) / (untold["mae_high"] - untold["mae_low"])
    assert (wider > 1.5).all()


def test_a_fold_for_each_crystal_is_asked_for():
    with pytest.raises(InputError, match="give one for each"):
        paired_difference(*simulated_errors(crystals=20), 0, folds=[0, 1])


def test_the_estimate_is_the_difference_of_the_two_maes():
    contender, reference = simulated_errors()
    found = paired_difference(contender, reference, 0)
    assert found.difference == pytest.approx(reference.mean() - contender.mean())
    assert found.relative == pytest.approx(1.0 - contender.mean() / reference.mean())
    assert (found.seeds, found.crystals, found.note) == (5, 200, "")
    assert found.low < found.difference < found.high
    assert found.relative_low < found.relative < found.relative_high


def test_both_intervals_exclude_zero_together():
    for rng_seed in range(30):
        pair = simulated_errors(seeds=3, crystals=60, improvement=0.05, rng_seed=rng_seed)
        found = paired_difference(*pair, 0, resamples=400)
        assert (found.low > 0.0) == (found.relative_low > 0.0)
        assert (found.high < 0.0) == (found.relative_high < 0.0)


def test_the_same_generator_gives_the_same_interval():
    pair = simulated_errors()
    assert paired_difference(*pair, 4) == paired_difference(*pair, np.random.default_rng(4))
    assert paired_difference(*pair, 4) != paired_difference(*pair, 5)


def test_more_confidence_widens_the_interval():
    pair = simulated_errors()
    wide, narrow = (paired_difference(*pair, 0, confidence=level) for level in (0.99, 0.8))
    assert wide.low < narrow.low < narrow.high < wide.high


def test_a_spread_between_seeds_widens_the_interval():
    contender, reference = simulated_errors(seeds=3)
    calm = paired_difference(contender, reference, 0)
    unsteady = contender * np.array([[0.8], [1.0], [1.2]])
    assert paired_difference(unsteady, reference, 0).high > 2.0 * calm.high


def test_errors_that_both_contenders_share_cancel():
    contender, reference = simulated_errors(seeds=3)
    shared = np.array([[0.5], [1.0], [1.5]])
    found = paired_difference(contender * shared, reference * shared, 0)
    low, high = mae_interval(reference * shared, 0)
    assert found.high - found.low < 0.2 * (high - low)


def test_one_seed_is_said_to_cover_only_the_crystals():
    contender, reference = simulated_errors(seeds=1)
    found = paired_difference(contender, reference, 0)
    assert found.low < found.difference < found.high
    assert "One seed" in found.note


def test_two_very_different_seeds_give_a_wide_but_finite_interval():
    contender, reference = simulated_errors(seeds=2)
    found = paired_difference(contender * np.array([[0.2], [4.0]]), reference, 0)
    assert np.isfinite([found.low, found.high, found.relative_low, found.relative_high]).all()
    assert found.low < 0.0 < found.high


def test_a_contender_does_not_differ_from_itself():
    errors, _ = simulated_errors()
    found = paired_difference(errors, errors, 0)
    assert (found.difference, found.low, found.high, found.win_rate) == (0.0, 0.0, 0.0, 0.5)


def test_a_perfect_contender_improves_by_all_of_it():
    _, reference = simulated_errors()
    found = paired_difference(np.zeros_like(reference), reference, 0)
    assert found.relative == 1.0
    assert found.relative_low == pytest.approx(1.0)


def test_five_seeds_and_a_thousand_crystals_take_less_than_a_second():
    pair = simulated_errors(crystals=1000)
    start = time.process_time()
    paired_difference(*pair, 0, resamples=2000)
    assert time.process_time() - start < 1.0


@pytest.mark.parametrize(
    ("errors", "message"),
    [
        (np.ones(5), "shape"),
        (np.ones((3, 1)), "two test crystals"),
        (np.full((3, 4), np.nan), "finite"),
        (-np.ones((3, 4)), "not negative"),
        (np.ones((3, 5)), "same test crystals"),
    ],
)
def test_errors_that_cannot_be_compared_are_refused(errors, message):
    with pytest.raises(InputError, match=message):
        paired_difference(errors, np.ones((3, 4)), 0)


def found_difference(low, high, seeds=5):
    middle = (low + high) / 2.0
    return PairedDifference(
        middle / 10, low / 10, high / 10, middle, low, high, seeds, 1000, win_rate=0.5
    )


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.05, 0.15, "Pre-trained helps: its error is 10.0 % lower than that of scratch"),
        (-0.15, -0.05, "Pre-trained hurts: its error is 10.0 % higher than that of scratch"),
        (-0.05, 0.15, "No evidence either way: the error of pre-trained comes out 5 % lower"),
        (-0.15, 0.05, "No evidence either way: the error of pre-trained comes out 5 % higher"),
    ],
)
def test_the_verdict_says_what_the_interval_says(low, high, expected):
    sentence = verdict(found_difference(low, high), "pre-trained", "scratch", "eV", 200)
    assert sentence.startswith(expected)
    assert "trained on 200 crystals, over 5 seeds and 1,000 test crystals." in sentence


def test_the_verdict_gives_both_intervals_in_the_direction_of_its_words():
    sentence = verdict(found_difference(-0.15, -0.05), "a", "b", "eV", 200)
    assert "(95 % interval 5.0 to 15.0 %; 0.0100 eV, 0.0050 to 0.0150 eV)" in sentence


@pytest.mark.parametrize("seeds", [1, 2])
def test_the_verdict_on_fewer_than_three_seeds_is_not_to_be_trusted(seeds):
    sentence = verdict(found_difference(0.05, 0.15, seeds), "pre-trained", "scratch", "eV", 200)
    assert sentence.startswith(f"Too few seeds to trust ({seeds} of at least 3)")
    assert re.search(rf"over {seeds} seeds? and", sentence)


def test_the_summary_has_a_row_per_contender_and_compares_with_the_reference():
    predictions = simulated_predictions()
    table = summarize(predictions, train_size=200).set_index("contender")
    found = compare_contenders(predictions, "pre-trained")
    row = table.loc["pre-trained"]
    assert row["mae_low"] < row["mae"] < row["mae_high"] < table.loc["scratch", "mae_low"]
    assert row["improvement_low"] == 100.0 * found.relative_low > 0.0
    assert row["difference"] == pytest.approx(table.loc["scratch", "mae"] - row["mae"])
    assert np.isnan(table.loc["scratch", "difference"])
    assert (row["seeds"], row["train"], row["test"], row["unit"]) == (3, 200, 40, "eV")


def test_the_summary_says_how_many_crystals_are_won():
    predictions = simulated_predictions()
    table = summarize(predictions).set_index("contender")
    errors = predictions.assign(error=(predictions["value"] - predictions["truth"]).abs())
    mean = errors.pivot_table(index="id", columns="contender", values="error")
    won = (mean["pre-trained"] < mean["scratch"]).mean()
    assert table.loc["pre-trained", "wins_percent"] == pytest.approx(100 * won)
    assert np.isnan(table.loc["scratch", "wins_percent"])


def test_the_order_of_the_predictions_does_not_matter():
    predictions = simulated_predictions()
    shuffled = predictions.sample(frac=1.0, random_state=0)
    assert compare_contenders(shuffled, "pre-trained") == compare_contenders(
        predictions, "pre-trained"
    )


def test_crystals_without_truth_are_left_out_of_the_comparison():
    predictions = simulated_predictions()
    predictions.loc[predictions["id"] == "crystal-7", "truth"] = np.nan
    assert compare_contenders(predictions, "pre-trained").crystals == 39


def test_each_target_is_summarized_on_its_own():
    predictions = simulated_predictions()
    other = predictions.assign(target="energy", unit="eV/atom")
    table = summarize(pd.concat([predictions, other]))
    assert list(table["target"]) == ["band_gap", "band_gap", "energy", "energy"]
    assert list(table["unit"]) == ["eV", "eV", "eV/atom", "eV/atom"]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda table: table.drop(columns="truth"), "lack the columns truth"),
        (lambda table: table.iloc[:0], "are empty"),
        (lambda table: table.iloc[1:], "no prediction for crystal 'crystal-0' with seed 0"),
        (lambda table: pd.concat([table, table.iloc[:1]]), "'crystal-0' twice"),
        (lambda table: table[table["contender"] != "scratch"], "No predictions of 'scratch'"),
        (lambda table: table.assign(seed=np.arange(len(table)) // 40), "none in common"),
        (
            lambda table: table[(table["contender"] != "scratch") | (table["id"] != "crystal-3")],
            "different test crystals",
        ),
    ],
)
def test_predictions_that_cannot_be_compared_are_refused(spoil, message):
    with pytest.raises(InputError, match=message):
        summarize(spoil(simulated_predictions()))
