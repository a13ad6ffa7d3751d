import json
import math

import numpy as np
import pytest
import torch

from epitaxy.backbones.cgcnn import CGCNN
from epitaxy.crystals.crystals import cat
from epitaxy.crystals.targets import Target
from epitaxy.datasets.bundled import bundled
from epitaxy.errors import InputError
from epitaxy.evaluation.baselines import BaselineResult, baseline_features, run_baseline
from epitaxy.evaluation.named_baselines import (
    ALL_BASELINES,
    DEFAULT_BASELINES,
    baseline_in_words,
    baseline_names,
    features_named,
    named_baseline,
    tune,
)
from epitaxy.training.checkpoint import Model
from epitaxy.training.coverage import Coverage

TRAIN, HELD, TEST = tuple(range(60)), tuple(range(60, 75)), tuple(range(75, 100))


@pytest.fixture(scope="module")
def hundred():
    return bundled()[:100].with_targets({"y": bundled()[:100].target("bulk_modulus")})


def run(crystals, name="composition-ridge", target="y", **keywords):
    return run_baseline(name, crystals, target, TRAIN, HELD, TEST, **keywords)


def error_of(crystals, found, target="y"):
    truth = crystals.target(target).values.double().numpy()[list(TEST)]
    return np.abs(np.array(found.test) - truth).mean()


@pytest.mark.parametrize(
    "name", ["composition-ridge", "composition-kernel", "composition-boosting", "wacsf-ridge"]
)
def test_it_learns_what_the_median_does_not(hundred, name):
    assert error_of(hundred, run(hundred, name)) < 0.75 * error_of(hundred, run(hundred, "dummy"))


@pytest.mark.parametrize("name", ["composition-ridge", "wacsf-kernel", "dummy-mean"])
def test_targets_of_test_crystals_are_not_read(hundred, name):
    values = hundred.target("y").values.clone()
    values[list(TEST)] = torch.nan
    blind = hundred.with_targets({"y": hundred.target("y").with_values(values)})
    assert run(blind, name).test == run(hundred, name).test


def test_other_test_crystals_change_nothing_that_is_chosen(hundred):
    others = bundled()[200:225]
    order = [*range(75), *range(100, 125)]
    changed = cat([hundred, others.with_targets({"y": others.target("bulk_modulus")})])[order]
    first, second = run(hundred, "wacsf-ridge"), run(changed, "wacsf-ridge")
    assert first.setting == second.setting
    assert list(first.settings.values()) == pytest.approx(list(second.settings.values()))


def test_the_setting_is_the_best_on_the_validation_rows(hundred):
    found = run(hundred, "composition-kernel")
    assert found.validation_mae == min(found.settings.values())
    assert len(found.settings) == 98


def test_more_settings_are_tried_where_the_networks_try_more(hundred):
    assert len(run(hundred, "composition-ridge", at_least=40).settings) == 40


def test_the_dummies_are_median_and_mean(hundred):
    known = sorted(hundred.target("y").values[list(TRAIN)].double().tolist())
    assert set(run(hundred, "dummy").test) == {known[29]}
    assert run(hundred, "dummy-mean").test[0] == pytest.approx(np.mean(known))


def test_an_extensive_target_is_learned_per_atom(hundred):
    y, sizes = hundred.target("y").values.double(), hundred.atom_counts.double()
    whole = Target(y * sizes, unit="eV", extensive=True)
    both = hundred.with_targets({"y": hundred.target("y"), "whole": whole})
    counts = sizes[list(TEST)].numpy()
    median = np.array(run(both, "dummy", "whole").test) / counts
    np.testing.assert_allclose(median, run(both, "dummy").test[0])
    features = baseline_features("composition-ridge", both)
    found = run(both, target="whole", features=features)
    weights = both.atom_counts.double().numpy()
    learned = named_baseline("composition-ridge").regression
    tuned = tune(features, learned, y.numpy(), TRAIN, HELD, weights)
    rows = features.rows(tuned.range, np.array(TEST))
    np.testing.assert_allclose(
        np.array(found.test), tuned.fitted.predict(rows)[tuned.place] * counts
    )


def test_fit_and_predict_are_the_same_as_a_run(hundred):
    parts = [hundred[list(rows)] for rows in (TRAIN, HELD, TEST)]
    values = [one.target("y").values.double().numpy() for one in parts]
    baseline = named_baseline("wacsf-ridge")
    fitted = baseline.fit(parts[0], values[0], parts[1], values[1])
    predicted = fitted.predict(parts[2].with_targets({}))
    np.testing.assert_allclose(predicted, run(hundred, "wacsf-ridge").test, rtol=1e-5)


def test_linear_predictions_stay_within_what_was_seen(hundred):
    values = hundred.target("y").values[list(TRAIN)]
    found = run(hundred, "gmp-ridge").test
    assert min(found) >= float(values.min())
    assert max(found) <= float(values.max())


def test_a_frozen_representation_has_its_layer_chosen(hundred):
    torch.manual_seed(0)
    backbone = CGCNN(width=8, layers=2, cutoff=4.0)
    model = Model(backbone, (), torch.nn.ModuleList(), Coverage.of(hundred))
    features = features_named("frozen", model)(hundred)
    assert {"0", "1", "2", "01", "012"} <= set(features.ranges)
    found = run(hundred, "frozen-ridge", from_=model, features=features)
    assert found.setting.split(",")[0] in features.ranges
    assert len(found.settings) == len(features.ranges) * 14


def test_a_result_is_json_and_back(hundred):
    found = run(hundred, seed=3)
    again = BaselineResult.from_json(json.loads(json.dumps(found.to_json())))
    assert again == found
    assert (again.seed, again.validation_mae) == (3, found.validation_mae)


def test_names_and_words():
    assert baseline_names("default") == DEFAULT_BASELINES
    assert baseline_names("all") == ALL_BASELINES
    assert baseline_names("none") == ("dummy",)
    assert baseline_names("gmp-forest, dummy-mean") == ("dummy", "gmp-forest", "dummy-mean")
    assert baseline_in_words("wacsf-kernel") == "kernel ridge regression on wacsf fingerprints"
    for name in ALL_BASELINES:
        assert baseline_in_words(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("composition-forrest", "Did you mean 'composition-forest'"),
        ("forest", "a hyphen and a regression"),
        ("frozen-ridge", "need a pre-trained model"),
    ],
)
def test_what_cannot_be_a_baseline_is_explained(hundred, name, message):
    with pytest.raises(InputError, match=message):
        run(hundred, name)


def test_rows_in_two_parts_are_refused(hundred):
    with pytest.raises(InputError, match="in two of the training"):
        run_baseline("dummy", hundred, "y", TRAIN, HELD, (0, 80))


def test_a_missing_training_target_is_refused(hundred):
    values = hundred.target("y").values.clone()
    values[3] = math.nan
    spoiled = hundred.with_targets({"y": hundred.target("y").with_values(values)})
    with pytest.raises(InputError, match="missing in training"):
        run(spoiled)
