"""Folds and records are MatBench's."""

import gzip
import hashlib
import json

import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error, roc_auc_score

from epitaxy.datasets.matbench import TASKS, matbench_folds, matbench_task
from epitaxy.errors import InputError
from epitaxy.evaluation.matbench import (
    MatbenchResults,
    classification_scores,
    regression_scores,
    write_matbench,
)

# SHA-256 of "test rows of fold 0|of fold 1|…", rows as decimals joined by commas: computed from
# matbench_v0.1_validation.json of the package matbench 0.6, where row k is called k + 1.
FROZEN_FOLDS = {
    "matbench_jdft2d": "3628801a9a37f6cf8efdc8789b8d01d6e8479dd8267dc77a5788a2af2036f50e",
    "matbench_phonons": "7d04283a1858805a0fcfbb85a61f16a8dbdd52bf62bc074179d85f298a903932",
    "matbench_dielectric": "d595f5fd01ca07dc6dd4fcfc123fe5375533e2fa1a4601514cc6ba2d0fc0cecd",
    "matbench_log_gvrh": "f96eccc693e5a7d9f538b02054a46dc06493dadd765315dc53783f5cab2fb2f4",
    "matbench_log_kvrh": "f96eccc693e5a7d9f538b02054a46dc06493dadd765315dc53783f5cab2fb2f4",
    "matbench_perovskites": "eaa3a74deaa3cc2cf6f3abd97369ed076923c8dc9a71f9ffef17dce0a7f60bca",
    "matbench_mp_gap": "d64f3f221cc53feb7f7213762e4258ebcbf53da262cba6f465692a77bcce3c24",
    "matbench_mp_e_form": "7d2cfdb70ed0eef6a3f5e947673fc97c3b089fc68a55b6cfe0f0ec427c78e301",
}


@pytest.fixture(scope="module")
def results():
    generator = np.random.default_rng(0)
    truth = generator.normal(size=636)
    return MatbenchResults(
        truth, truth + generator.normal(size=636), {"layers": [{"z": 1, "a": 2}]}
    )


@pytest.mark.parametrize("name", FROZEN_FOLDS)
def test_folds_are_those_that_the_package_ships(name):
    task = TASKS[name]
    text = "|".join(",".join(map(str, test)) for _, test in matbench_folds(task.rows))
    assert hashlib.sha256(text.encode()).hexdigest() == FROZEN_FOLDS[name]


def test_first_rows_of_the_folds():
    firsts = [test[:4].tolist() for _, test in matbench_folds(636)]
    assert firsts == [
        [11, 13, 26, 30],
        [2, 4, 6, 18],
        [3, 7, 17, 34],
        [8, 9, 10, 16],
        [0, 1, 5, 12],
    ]


def test_rows_are_called_as_the_package_calls_them():
    names = {name: (task.ids()[0], task.ids()[-1]) for name, task in TASKS.items()}
    assert names["matbench_jdft2d"] == ("mb-jdft2d-001", "mb-jdft2d-636")
    assert names["matbench_mp_e_form"] == ("mb-mp-e-form-000001", "mb-mp-e-form-132752")
    assert matbench_task("phonons") is TASKS["matbench_phonons"]
    with pytest.raises(InputError, match="Did you mean 'matbench_phonons'"):
        matbench_task("phonon")


def test_the_record_holds_every_test_row_in_its_fold(results, tmp_path):
    path = tmp_path / "results.json.gz"
    scores = write_matbench(path, {"jdft2d": results}, {"algorithm": "trial"})
    record = json.loads(gzip.decompress(path.read_bytes()))
    task = record["tasks"]["matbench_jdft2d"]
    ids = TASKS["matbench_jdft2d"].ids()
    errors = []
    for number, (_, test) in enumerate(matbench_folds(636)):
        fold = task["results"][f"fold_{number}"]
        assert fold["data"] == {ids[row]: results.predictions[row] for row in test}
        assert fold["parameters"] == {"layers": [{"a": 2, "z": 1}]}
        errors.append(fold["scores"]["mae"])
        expected = mean_absolute_error(results.truth[test], results.predictions[test])
        assert fold["scores"]["mae"] == pytest.approx(expected, rel=1e-14)
    assert scores["matbench_jdft2d"]["mae"] == pytest.approx(np.mean(errors))


def test_the_hash_is_that_of_the_rest_as_it_stands_in_the_file(results, tmp_path):
    """As the package checks it: keys sorted in dictionaries, and in none that lists hold."""

    def ordered(value):
        if not isinstance(value, dict):
            return value
        return {key: ordered(value[key]) for key in sorted(value)}

    write_matbench(
        tmp_path / "results.json", {"jdft2d": results}, {"z": 1, "a": [{"y": 1, "b": 2}]}
    )
    record = json.loads((tmp_path / "results.json").read_text())
    found = record.pop("hash")
    assert found == hashlib.sha256(json.dumps(ordered(record)).encode()).hexdigest()
    record["tasks"]["matbench_jdft2d"]["results"]["fold_0"]["data"]["mb-jdft2d-001"] = 0.0
    assert found != hashlib.sha256(json.dumps(ordered(record)).encode()).hexdigest()


def test_scores_are_those_of_the_definitions():
    truth, found = np.array([1.0, 0.0, -2.0]), np.array([1.5, 1.0, -1.0])
    assert regression_scores(truth, found) == pytest.approx(
        {"mae": 2.5 / 3, "rmse": (2.25 / 3) ** 0.5, "mape": 0.5, "max_error": 1.0}
    )
    labels, probabilities = np.array([1, 1, 0, 0, 1]), np.array([0.9, 0.4, 0.5, 0.6, 0.8])
    scores = classification_scores(labels, probabilities)
    assert scores["accuracy"] == pytest.approx(3 / 5)  # 0.5 counts as False
    assert scores["balanced_accuracy"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert scores["f1"] == pytest.approx(4 / 6)
    assert scores["rocauc"] == pytest.approx(roc_auc_score(labels, probabilities))


def test_classes_are_stratified_and_probabilities_are_demanded(tmp_path):
    task = TASKS["matbench_mp_is_metal"]
    truth = (np.arange(task.rows) % 3 == 0).astype(float)
    with pytest.raises(InputError, match="probabilities of True"):
        write_matbench(tmp_path / "r.json", {task.name: MatbenchResults(truth, truth * 2)})
    with pytest.raises(InputError, match="zero and one"):
        write_matbench(tmp_path / "r.json", {task.name: MatbenchResults(truth * 2, truth)})
    for _, test in matbench_folds(task.rows, truth):
        assert truth[test].mean() == pytest.approx(1 / 3, abs=1e-4)


def test_what_is_missing_is_named(results, tmp_path):
    holes = np.array(results.predictions)
    holes[7] = np.nan
    for wrong, complaint in (
        (MatbenchResults(results.truth, holes), "row 7 .mb-jdft2d-008"),
        (MatbenchResults(results.truth[:-1], holes), "has 636 rows, and true values"),
        (MatbenchResults(results.truth, results.predictions, [{}] * 4), "4 sets of parameters"),
        (MatbenchResults(results.truth, results.predictions, {"a": {1}}), "JSON does not know"),
    ):
        with pytest.raises(InputError, match=complaint):
            write_matbench(tmp_path / "r.json", {"jdft2d": wrong})
    assert not list(tmp_path.iterdir())
