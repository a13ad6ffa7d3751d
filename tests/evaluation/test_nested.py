"""Nothing that is predicted was seen: not by the scaler, not by any choice."""

import numpy as np
import pytest

from epitaxy.errors import InputError
from epitaxy.evaluation.nested import (
    CHOSEN,
    Representation,
    error_by_group,
    grouped_folds,
    nested,
)
from epitaxy.evaluation.regressions import Ridge

COUNT = 60
GROUPS = np.arange(COUNT)


def noise(seed: int, rows: int = COUNT, width: int = 4) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, width))


class Recorder:
    """Ridge that writes down which rows it was shown; the first feature is the row's number."""

    settings = Ridge(alphas=(1e-3, 1.0)).settings

    def __init__(self):
        self.calls = []

    def predictions(self, rows, truth, others):
        self.calls.append((set(rows[:, 0].astype(int)), set(others[:, 0].astype(int))))
        return Ridge(alphas=(1e-3, 1.0)).predictions(rows, truth, others)


def test_no_fit_and_no_choice_is_shown_a_row_that_is_predicted():
    numbered = np.concatenate([np.arange(COUNT)[:, None], noise(0)], axis=1)
    groups = np.repeat(np.arange(20), 3)
    representation = Representation([numbered], {"0": (0,), "00": (0, 0)})
    recorder, per_fold = Recorder(), 2 * (3 + 1)
    for place, fold in enumerate(
        nested(representation, noise(1)[:, 0], groups, recorder, outer=4, inner=3)
    ):
        calls = recorder.calls[place * per_fold :]
        assert len(calls) == per_fold
        hidden = set(fold.test.tolist())
        crystals = set(groups[fold.test])
        for shown, predicted in calls:
            assert not shown & predicted
            assert not hidden & shown
            assert not {groups[row] for row in shown} & {groups[row] for row in predicted}
            assert not crystals & {groups[row] for row in shown}
        assert sum(predicted == hidden for _, predicted in calls) == 2


def test_a_row_of_the_fold_changes_nothing_for_its_neighbors():
    """A scaler or a choice that saw the test rows would move all their predictions."""
    features, truth = noise(0), noise(1)[:, 0]
    before = next(nested(Representation([features], {"0": (0,)}), truth, GROUPS, Ridge()))
    altered, labels = features.copy(), truth.copy()
    altered[before.test[0]] = 1e6
    labels[before.test] = 1e6
    after = next(nested(Representation([altered], {"0": (0,)}), labels, GROUPS, Ridge()))
    assert after.settings == before.settings
    np.testing.assert_array_equal(after.values["0"][1:], before.values["0"][1:])


def test_choosing_among_many_useless_layers_gives_no_skill():
    """The best of forty, picked with the test rows in view, looks better than the mean."""
    truth = noise(99)[:, 0]
    blocks = [noise(seed, width=3) for seed in range(40)]
    representation = Representation(blocks, {str(place): (place,) for place in range(40)})
    learner = Ridge(alphas=(1e-6, 1e-2))
    folds = list(nested(representation, truth, GROUPS, learner, outer=5, inner=3))
    mean = np.abs(truth - truth.mean()).mean()
    error = {
        name: np.mean(np.concatenate([np.abs(f.values[name] - truth[f.test]) for f in folds]))
        for name in [*representation.ranges, CHOSEN]
    }
    assert min(error.values()) < 0.99 * mean
    assert error[CHOSEN] > mean


def test_a_linear_target_is_recovered_exactly_and_its_layer_found():
    useless, useful = noise(0), noise(1)
    truth = useful @ np.array([1.0, -2.0, 0.5, 3.0]) + 7.0
    ranges = {"0": (0,), "1": (1,), "01": (0, 1)}
    for fold in nested(Representation([useless, useful], ranges), truth, GROUPS, Ridge()):
        assert fold.range == "1"
        np.testing.assert_allclose(fold.values[CHOSEN], truth[fold.test], atol=1e-6)
        assert np.abs(fold.values["0"] - truth[fold.test]).mean() > 1.0


def test_every_row_is_predicted_once_with_the_rows_of_its_crystal():
    groups = np.sort(np.random.default_rng(3).integers(0, 17, size=80))
    folds = grouped_folds(groups, 5, seed=2)
    assert sorted(np.concatenate(folds).tolist()) == list(range(80))
    for fold in folds:
        rest = np.setdiff1d(np.arange(80), fold)
        assert not set(groups[fold]) & set(groups[rest])
    again = grouped_folds(groups, 5, seed=2)
    assert all(np.array_equal(one, two) for one, two in zip(folds, again, strict=True))


def test_errors_are_averaged_within_crystals():
    errors = np.array([[1.0, 3.0, 5.0], [2.0, 2.0, 8.0]])
    np.testing.assert_allclose(
        error_by_group(errors, np.array([7, 4, 7])), [[3.0, 3.0], [2.0, 5.0]]
    )


def test_fewer_crystals_than_folds_are_refused():
    with pytest.raises(InputError, match="3 crystals cannot be split into 5 folds"):
        grouped_folds(np.array([0, 1, 1, 2]), 5, seed=0)


def test_a_feature_that_few_rows_have_does_not_throw_predictions_out_of_range():
    """Standardized by rows that hardly have it, it is huge in one that does."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(60, 3))
    rows[:, 2] = 0.0
    rows[::7, 2] = 1e-3 * rng.normal(size=9)
    rows[5, 2] = 50.0
    truth = rows[:, 0] + 0.1 * rng.normal(size=60)
    for fold in nested(Representation([rows], {"all": (0,)}), truth, np.arange(60), Ridge()):
        others = np.delete(truth, fold.test)
        room = np.ptp(others) / 2
        assert (fold.values["all"] >= others.min() - room).all()
        assert (fold.values["all"] <= others.max() + room).all()
