"""scikit-learn's own checks of estimators.

It skips nearly all of them where what is learned from is no table, so a crystal is made of every
row of the checks' tables. Left out are those that demand a good fit of a table,
``check_regressors_train`` and ``check_classifiers_train``, and one that gives the constructor
arguments of any type, which the type checks of these tests refuse and the package does not.
"""

import warnings

import numpy as np
import pytest
import torch
from sklearn.utils import estimator_checks as checks
from sklearn.utils.validation import check_is_fitted, validate_data

from epitaxy.crystals.crystals import Crystals
from epitaxy.estimators import PropertyClassifier, PropertyRegressor

TINY = {
    "backbone": {"name": "torchmd_et", "width": 8, "layers": 1, "heads": 1, "radial": 4},
    "backbone.cutoff": 3.2,
    "data.validation": 0.0,
}
LEFT_OUT = (
    "check_regressors_train",
    "check_classifiers_train",
    "check_do_not_raise_errors_in_init_or_set_params",
)
WITHOUT_CRYSTALS = (
    "check_estimator_cloneable",
    "check_estimator_repr",
    "check_estimator_tags_renamed",
    "check_get_params_invariance",
    "check_mixin_order",
    "check_no_attributes_set_in_init",
    "check_parameters_default_constructible",
    "check_set_params",
    "check_valid_tag_types",
)


def crystals_of(rows: np.ndarray) -> Crystals:
    """Return chlorides of the cesium chloride type, shaped by the first three columns."""
    count, told = len(rows), np.zeros((len(rows), 3))
    used = min(3, rows.shape[1])
    told[:, :used] = np.tanh(rows[:, :used] / 3)
    edge = 4.0 + 0.3 * told[:, :1]
    inside = 0.5 + 0.08 * np.concatenate([told[:, 1:], 0 * edge], axis=1)
    positions = np.stack([np.zeros((count, 3)), edge * inside], axis=1)
    numbers = np.stack([11 + (told[:, 0] > 0), np.full(count, 17)], axis=1)
    return Crystals(
        numbers=torch.from_numpy(numbers.reshape(-1)),
        positions=torch.from_numpy(positions.reshape(-1, 3)),
        cell=torch.from_numpy(edge[:, :, None] * np.eye(3)),
        pbc=torch.ones(count, 3, dtype=torch.bool),
        offsets=torch.arange(0, 2 * count + 1, 2),
    )


class FromTables:
    """Looks at tables as scikit-learn's own estimators do, and hands crystals on."""

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True
        return tags

    def fit(self, X, y):  # noqa: N803
        return super().fit(crystals_of(validate_data(self, X, dtype=np.float64)), y)

    def predict(self, X):  # noqa: N803
        check_is_fitted(self)
        return super().predict(crystals_of(validate_data(self, X, reset=False, dtype=np.float64)))


class TableRegressor(FromTables, PropertyRegressor):
    pass


class TableClassifier(FromTables, PropertyClassifier):
    def predict_proba(self, X):  # noqa: N803
        check_is_fitted(self)
        rows = validate_data(self, X, reset=False, dtype=np.float64)
        return super().predict_proba(crystals_of(rows))


@pytest.mark.parametrize("kind", [PropertyRegressor, PropertyClassifier])
@pytest.mark.parametrize("check", WITHOUT_CRYSTALS)
def test_checks_that_need_no_crystals(kind, check):
    getattr(checks, check)(kind.__name__, kind())


@pytest.mark.slow
@pytest.mark.parametrize("kind", [TableRegressor, TableClassifier])
def test_all_checks_pass_but_those_left_out(kind):
    estimator = kind(epochs=1, learning_rate=1e-2, batch_size=16, changes=TINY)
    done = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for given, check in checks.estimator_checks_generator(estimator, mark="skip"):
            name = getattr(check, "func", check).__name__
            if name in LEFT_OUT:
                continue
            try:
                check(given)
            except checks.SkipTest:
                continue
            done += 1
    assert done > 40
