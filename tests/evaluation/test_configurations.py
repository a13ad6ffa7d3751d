"""Claims over many tasks and sizes: what is found, and that nothing is found where nothing is."""

import numpy as np
import pandas as pd
import pytest

from epitaxy.errors import InputError
from epitaxy.evaluation.configurations import (
    Configuration,
    average_improvement,
    average_over_tasks,
    configurations_of,
    count_wins,
    wins_over_configurations,
)
from epitaxy.evaluation.summary import compare_contenders


def errors(gain=0.0, seeds=3, crystals=80, rng=None):
    """Return errors of a contender and its reference that share the crystals' difficulty."""
    rng = rng or np.random.default_rng(0)
    difficulty = rng.lognormal(-1.0, 0.8, crystals)
    shared = rng.normal(size=crystals)
    pair = []
    for factor in (1.0 - gain, 1.0):
        own = 0.5 * rng.normal(size=crystals) + 0.4 * rng.normal(size=(seeds, crystals))
        run = np.exp(0.06 * rng.normal(size=(seeds, 1)))
        pair.append(factor * np.abs(0.77 * shared + own) * difficulty * run)
    return np.stack(pair)


def study(gain, tasks=6, sizes=(100, 1000), seeds=3, rng_seed=0):
    rng = np.random.default_rng(rng_seed)
    return [
        Configuration(task, {"task": f"t{task}", "size": size}, errors(gain, seeds, rng=rng))
        for task in range(tasks)
        for size in sizes
    ]


def predictions_of(configurations):
    frames = []
    for one in configurations:
        for contender, rows in zip(("pre-trained", "scratch"), one.errors, strict=True):
            seeds, crystals = rows.shape
            columns = {
                **one.keys,
                "target": "y",
                "unit": "eV",
                "contender": contender,
                "seed": np.repeat(np.arange(seeds), crystals),
                "id": np.tile(np.arange(crystals), seeds),
                "truth": 0.0,
                "value": rows.ravel(),
            }
            frames.append(pd.DataFrame(columns))
    return pd.concat(frames, ignore_index=True)


def test_predictions_and_errors_say_the_same():
    configurations = study(0.2, 3)
    predictions = predictions_of(configurations).sample(frac=1.0, random_state=1)
    predictions = predictions.sort_values(["task", "size"], kind="stable")
    read = list(configurations_of(predictions, "pre-trained", "scratch"))
    assert [one.task for one in read] == [one.task for one in configurations]
    for ours, theirs in zip(read, configurations, strict=True):
        np.testing.assert_allclose(ours.errors, theirs.errors)
    first = wins_over_configurations(predictions, "pre-trained", resamples=200)
    second = count_wins(configurations, "pre-trained", "scratch", resamples=200)
    assert first.sentence == second.sentence
    assert first.table["improvement_low"].to_numpy() == pytest.approx(
        second.table["improvement_low"].to_numpy()
    )


def test_wins_are_counted_and_a_tie_is_half():
    configurations = study(0.2)
    won = sum(one.maes[0] < one.maes[1] for one in configurations)
    same = np.stack([configurations[0].errors[0]] * 2)
    found = count_wins([*configurations, Configuration(9, {}, same)], "a", "b", resamples=200)
    assert (found.wins, found.configurations, found.tasks) == (won + 0.5, 13, 7)


def test_a_real_improvement_wins_more_often_than_chance():
    found = count_wins(study(0.25), "pre-trained", "scratch", resamples=500)
    assert found.p_value < 0.02
    assert found.sentence.startswith("Pre-trained has a lower error than scratch in ")
    assert "pre-trained helps more often than chance" in found.sentence
    worse = count_wins(study(-0.3), "pre-trained", "scratch", resamples=500)
    assert "pre-trained hurts more often than chance" in worse.sentence


def test_sizes_of_a_task_are_no_independent_trials():
    """Seven copies of the same configuration: chance wins all or none."""
    one = errors(seeds=1)
    copies = [Configuration(0, {"size": size}, one) for size in range(7)]
    apart = [Configuration(size, {"size": size}, one) for size in range(7)]
    together = count_wins(copies, "a", "b", resamples=500).chance_deviation
    assert together == pytest.approx(3.5, abs=0.1)
    assert count_wins(apart, "a", "b", resamples=500).chance_deviation < 0.6 * together


def test_equal_contenders_win_more_often_than_chance_one_time_in_twenty():
    claims = [
        count_wins(study(0.0, 5, (1,), rng_seed=k), "a", "b", resamples=100).p_value < 0.05
        for k in range(40)
    ]
    assert np.mean(claims) <= 0.15


def test_few_seeds_are_said():
    sentence = count_wins(study(0.3, seeds=2), "a", "b", resamples=100).sentence
    assert sentence.startswith("Too few seeds to trust (2 of at least 3)")


def test_the_average_is_the_mean_of_the_percentages():
    predictions = predictions_of(study(0.1, 3))
    table = average_over_tasks(predictions, "pre-trained", resamples=300)
    assert table["size"].tolist() == [100, 1000]
    for row in table.itertuples():
        own = predictions[predictions["size"] == row.size]
        single = [
            100.0 * compare_contenders(some, "pre-trained", resamples=10).relative
            for _, some in own.groupby("task")
        ]
        assert row.average_percent == pytest.approx(np.mean(single))
        assert row.low < row.average_percent < row.high
        assert row.other_low < row.average_percent < row.other_high


def test_one_task_can_rule_the_average_and_be_named():
    calm, wild = study(0.0, 6, (100,), rng_seed=2), errors(-3.0, rng=np.random.default_rng(5))
    predictions = predictions_of([*calm, Configuration(6, {"task": "phonons", "size": 100}, wild)])
    table = average_over_tasks(predictions, "pre-trained", without=["phonons"], resamples=300)
    everything, rest = table.to_dict("records")
    assert (everything["which"], rest["which"]) == ("all tasks", "without phonons")
    assert (everything["tasks"], rest["tasks"]) == (7, 6)
    assert everything["average_percent"] < -30.0
    assert everything["high"] < 0.0
    assert abs(rest["average_percent"]) < 15.0
    assert rest["low"] < 0.0 < rest["high"]


def test_many_tasks_know_more_of_seeds_than_one():
    """With three seeds a task alone has a wide Student t; twelve tasks together have not."""
    one = average_improvement(study(0.1, 1, (100,), rng_seed=3), 2000)
    many = average_improvement(study(0.1, 12, (100,), rng_seed=3), 2000)
    assert many["high"] - many["low"] < (one["high"] - one["low"]) / 12**0.5


def test_the_average_of_equal_contenders_is_apart_one_time_in_twenty():
    found = [average_improvement(study(0.0, 4, (1,), rng_seed=k), 150) for k in range(40)]
    claims = [one["low"] > 0.0 or one["high"] < 0.0 for one in found]
    assert np.mean(claims) <= 0.15


def test_what_is_missing_is_named():
    predictions = predictions_of(study(0.1, 2))
    with pytest.raises(InputError, match="no task 'phonons'"):
        average_over_tasks(predictions, "pre-trained", without=["phonons"])
    lost = predictions[(predictions["task"] != "t1") | (predictions["contender"] != "scratch")]
    with pytest.raises(
        InputError, match="task t1, target y, size 100: No predictions of 'scratch'"
    ):
        wins_over_configurations(lost, "pre-trained")
    with pytest.raises(InputError, match="neither a column"):
        wins_over_configurations(predictions.drop(columns=["task", "target"]), "pre-trained")
