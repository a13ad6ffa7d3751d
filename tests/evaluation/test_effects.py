import numpy as np
import pandas as pd
import pytest

from epitaxy.errors import InputError
from epitaxy.evaluation.effects import (
    effects_by_element,
    effects_by_group,
    effects_by_range,
    effects_sentence,
)
from epitaxy.evaluation.statistics import paired_difference
from epitaxy.evaluation.summary import compare_contenders

CATIONS = ("Li", "Na", "K", "Mg", "Ca")


def predictions_of(gain, seeds=3, crystals=200, rng_seed=0):
    """Return predictions; ``gain`` says how much lower the error is, for each crystal."""
    rng = np.random.default_rng(rng_seed)
    truth = rng.uniform(0.0, 10.0, crystals)
    formulas = [f"{CATIONS[k % 5]}2{'O' if k % 2 else 'S'}" for k in range(crystals)]
    difficulty = rng.lognormal(-1.0, 0.5, crystals)
    factors = np.array([1.0 - gain(*pair) for pair in zip(formulas, truth, strict=True)])
    frames = []
    for contender, factor in (("scratch", 1.0), ("pre-trained", factors)):
        for seed in range(seeds):
            columns = {
                "contender": contender,
                "seed": seed,
                "id": [f"c{k}" for k in range(crystals)],
                "formula": formulas,
                "target": "y",
                "unit": "eV",
                "truth": truth,
                "value": truth + factor * difficulty * rng.uniform(0.6, 1.4, crystals),
            }
            frames.append(pd.DataFrame(columns))
    return pd.concat(frames, ignore_index=True)


def test_the_element_that_helps_is_found_and_the_one_that_hurts():
    predictions = predictions_of(lambda f, _: 0.4 * ("Li" in f) - 0.5 * ("Mg" in f))
    table = effects_by_element(predictions, "pre-trained").set_index("group")
    assert sorted(table.index) == sorted([*CATIONS, "O", "S", "all"])
    assert table.loc["Li", "all_low"] > 20.0
    assert table.loc["Mg", "all_high"] < -20.0
    assert not table.loc[["Na", "K", "Ca"], "clear"].any()
    sentence = effects_sentence(table.reset_index(), "pre-trained", "elements")
    assert "helps with 1 (Li) and hurts with 1 (Mg)" in sentence


def test_a_group_says_what_its_crystals_say_alone():
    predictions = predictions_of(lambda *_: 0.1)
    table = effects_by_element(predictions, "pre-trained", resamples=4000).set_index("group")
    own = predictions[predictions["formula"].str.contains("Na")]
    pivoted = [
        (part["value"] - part["truth"]).abs().to_numpy().reshape(3, -1)
        for part in (own[own["contender"] == name] for name in ("pre-trained", "scratch"))
    ]
    alone = paired_difference(*pivoted, 0, resamples=4000)
    row = table.loc["Na"]
    assert row["crystals"] == alone.crystals == 40
    assert row["improvement_percent"] == pytest.approx(100.0 * alone.relative)
    width = 100.0 * (alone.relative_high - alone.relative_low)
    assert row["improvement_low"] == pytest.approx(100.0 * alone.relative_low, abs=0.15 * width)
    assert row["improvement_high"] == pytest.approx(100.0 * alone.relative_high, abs=0.15 * width)


def test_the_interval_for_all_groups_is_wider_and_grows_with_their_number():
    pair = np.random.default_rng(0).lognormal(0.0, 0.5, (2, 3, 400))
    few = {str(k): np.arange(400) % 2 == k for k in range(2)}
    many = {str(k): np.arange(400) % 20 == k for k in range(20)}
    ratios = []
    for groups in (few, many):
        table = effects_by_group(pair, groups)[:-1]
        own = table["improvement_high"] - table["improvement_low"]
        ratios.append(((table["all_high"] - table["all_low"]) / own).median())
    assert 1.0 < ratios[0] < ratios[1]


def test_equal_contenders_rarely_have_a_group_that_stands_out():
    clear, single = [], []
    for rng_seed in range(20):
        predictions = predictions_of(lambda *_: 0.0, crystals=100, rng_seed=rng_seed)
        table = effects_by_element(predictions, "pre-trained", resamples=200)[:-1]
        clear.append(table["clear"].any())
        single.append(((table["improvement_low"] > 0) | (table["improvement_high"] < 0)).any())
    assert np.mean(clear) <= 0.2
    assert np.mean(single) > np.mean(clear)


def test_ranges_hold_every_crystal_once():
    predictions = predictions_of(lambda _, truth: 0.5 * (truth > 5.0))
    table = effects_by_range(predictions, "pre-trained", edges=4)
    assert table["crystals"].tolist() == [50, 50, 50, 50, 200]
    assert table["clear"].tolist()[2:4] == [True, True]
    assert not table["clear"][0]
    given = effects_by_range(predictions, "pre-trained", edges=(0.0, 5.0, 10.0))
    assert given["group"].tolist() == ["0 to 5 eV", "5 to 10 eV", "all"]


def test_small_groups_are_left_out_and_none_at_all_is_refused():
    predictions = predictions_of(lambda *_: 0.0, crystals=40)
    assert "Li" not in set(effects_by_element(predictions, "pre-trained")["group"])
    with pytest.raises(InputError, match="no group has 30"):
        effects_by_element(predictions, "pre-trained", fewest=30)
    with pytest.raises(InputError, match="rising"):
        effects_by_range(predictions, "pre-trained", edges=(3.0, 1.0))


def test_effects_cover_folds_that_trained_on_other_crystals():
    predictions = predictions_of(lambda *_: 0.1)
    folds = predictions["id"].str.removeprefix("c").astype(int) // 2 % 4
    apart = predictions["contender"] == "pre-trained"
    error = predictions["value"] - predictions["truth"]
    predictions["value"] += error * np.where(apart, 0.4 * folds - 0.6, 0.0)
    told = effects_by_element(predictions.assign(fold=folds), "pre-trained").set_index("group")
    untold = effects_by_element(predictions, "pre-trained").set_index("group")
    pd.testing.assert_series_equal(told["improvement_percent"], untold["improvement_percent"])
    width, before = (one["improvement_high"] - one["improvement_low"] for one in (told, untold))
    assert (width > before).all()
    whole = compare_contenders(predictions.assign(fold=folds), "pre-trained")
    same = 100.0 * (whole.relative_high - whole.relative_low)
    assert width["all"] == pytest.approx(same, rel=0.1)


def test_an_element_of_one_fold_shares_in_the_spread_of_all_folds():
    """It cannot tell its fold's luck from its own effect, so its interval must be the wider."""
    predictions = predictions_of(lambda *_: 0.1)
    number = predictions["id"].str.removeprefix("c").astype(int)
    cation = number % 5
    together = pd.Series(np.where(cation == 0, 0, 1 + number // 5 % 4), index=number.index)
    apart = predictions["contender"] == "pre-trained"
    error = predictions["value"] - predictions["truth"]
    predictions["value"] += error * np.where(apart, 0.3 * together - 0.6, 0.0)
    told = effects_by_element(predictions.assign(fold=together), "pre-trained").set_index("group")
    untold = effects_by_element(predictions, "pre-trained").set_index("group")
    width, before = (one["improvement_high"] - one["improvement_low"] for one in (told, untold))
    assert width["Li"] > 3.0 * before["Li"]
    assert width["Li"] > width["all"]
