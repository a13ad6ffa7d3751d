from dataclasses import replace

import numpy as np
import pytest

from epitaxy.evaluation import tree_regressions
from epitaxy.evaluation.tree_regressions import Boosting, Forest


@pytest.fixture(scope="module")
def step():
    """Return features of which one decides, by a threshold, and noise beside it."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(150, 4))
    return rows, np.where(rows[:, 2] > 0.0, 3.0, -1.0) + 0.05 * rng.normal(size=150)


@pytest.fixture(autouse=True)
def few_trees(monkeypatch):
    monkeypatch.setattr(tree_regressions, "STEPS", (20, 40, 60))


@pytest.mark.parametrize("regression", [Forest(trees=20), Boosting()])
def test_every_setting_finds_the_step(step, regression):
    rows, truth = step
    found = regression.fit(rows[:100], truth[:100]).predict(rows[100:])
    assert found.shape == (len(regression.settings), 50)
    assert len(set(regression.settings)) == len(regression.settings)
    errors = np.abs(found - truth[100:]).mean(axis=1)
    assert errors.max() < 0.9 * np.abs(truth[:100].mean() - truth[100:]).mean()
    assert errors.min() < 0.6


@pytest.mark.parametrize("kind", [Forest(trees=5), Boosting()])
def test_the_seed_decides_and_repeats(step, kind):
    rows, truth = step
    first, again, other = (
        replace(kind, seed=seed).fit(rows[:60], truth[:60]).predict(rows[100:])
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)


def test_as_many_settings_as_are_asked_for():
    assert len(Forest().settings) == 8
    assert len(Boosting().settings) == 12
    assert len(Forest(at_least=9).settings) == 32
    assert len(Boosting(at_least=13).settings) == 48


def test_many_rows_are_boosted_in_bins_and_give_the_same_settings(step, monkeypatch):
    rows, truth = step
    exact = Boosting().fit(rows[:100], truth[:100]).predict(rows[100:])
    monkeypatch.setattr(tree_regressions, "EXACT_ROWS", 50)
    binned = Boosting().fit(rows[:100], truth[:100]).predict(rows[100:])
    assert binned.shape == exact.shape
    assert np.abs(binned - truth[100:]).mean(axis=1).min() < 0.5
