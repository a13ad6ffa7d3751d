"""Results on MatBench's tasks, in the form of record that the ``matbench`` package reads."""

import gzip
import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray
from numpy.typing import ArrayLike
from sklearn import metrics

from epitaxy.datasets.matbench import FOLDS, MatbenchTask, matbench_folds, matbench_task
from epitaxy.errors import InputError
from epitaxy.training.files import write_atomically

BENCHMARK = "matbench_v0.1"
VERSION = "0.6"  # of the package whose record this is
SMALLEST_TRUTH = 1e-5  # below, a relative error says nothing, so MatBench leaves the row out
THRESHOLD = 0.5  # of the probability beyond which MatBench takes a row for True


@dataclass(frozen=True, eq=False)
class MatbenchResults:
    """What five models predicted of the rows of one task, each of the fold that it never saw.

    Attributes:
        truth: the target of every row, in file order; zero and one for classes.
        predictions: the prediction of every row, in file order, in the unit of the task; for
            classes the probability of the second one.
        parameters: what the record is to say of the model of each fold; or one for all.
    """

    truth: ArrayLike
    predictions: ArrayLike
    parameters: Mapping[str, Any] | Sequence[Mapping[str, Any]] = field(default_factory=dict)


def write_matbench(
    path: str | Path,
    results: Mapping[str, MatbenchResults],
    about: Mapping[str, Any] | None = None,
) -> dict[str, dict[str, float]]:
    """Write a record of one task or several; return every task's scores, averaged over its folds.

    A name that ends with ``.gz`` makes a compressed file, which the leaderboard wants and the
    newest ``matbench`` reads; version 0.6 on PyPI reads plain ``.json`` only.

    Args:
        path: ``results.json.gz``, say.
        results: task → its results; ``"jdft2d"`` or ``"matbench_jdft2d"``.
        about: name, authors and the like; values that JSON knows.

    Raises InputError for a task that is not there, for rows or folds that are too many or too few,
    and for predictions that are not finite numbers, or no probabilities.
    """
    tasks = {matbench_task(name).name: one for name, one in results.items()}
    record = matbench_record(tasks, about)
    text = json.dumps(record).encode()
    path = Path(path)
    write_atomically(path, gzip.compress(text, mtime=0) if path.suffix == ".gz" else text)
    return {
        name: {
            score: float(np.mean([fold["scores"][score] for fold in task["results"].values()]))
            for score in task["results"]["fold_0"]["scores"]
        }
        for name, task in record["tasks"].items()
    }


def matbench_record(
    results: Mapping[str, MatbenchResults], about: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the record as nested dictionaries: task → fold → data by id, scores, parameters.

    Its ``hash`` is the SHA-256 of the rest as JSON with sorted keys, by which ``matbench`` sees
    that nothing was changed.
    """
    record: dict[str, Any] = {
        "@module": "matbench.bench",
        "@class": "MatbenchBenchmark",
        "version": VERSION,
        "benchmark_name": BENCHMARK,
        "datestamp": time.strftime("%Y.%m.%d %H:%M.%S", time.gmtime()),
        "user_metadata": dict(about or {}),
        "tasks": {name: _task(matbench_task(name), one) for name, one in results.items()},
    }
    try:
        text = json.dumps(record, sort_keys=True)
    except TypeError as error:
        raise InputError(f"parameters and 'about' hold what JSON does not know: {error}.") from None
    return {**json.loads(text), "hash": hashlib.sha256(text.encode()).hexdigest()}


def regression_scores(truth: ndarray, predictions: ndarray) -> dict[str, float]:
    """Return MatBench's four errors: mean absolute, root mean square, relative, largest."""
    errors = np.abs(predictions - truth)
    told = np.abs(truth) > SMALLEST_TRUTH
    relative = errors[told] / np.abs(truth[told])
    return {
        "mae": float(errors.mean()),
        "rmse": float(np.sqrt(np.square(errors).mean())),
        "mape": float(relative.mean()) if told.any() else float("nan"),
        "max_error": float(errors.max()),
    }


def classification_scores(truth: ndarray, probabilities: ndarray) -> dict[str, float]:
    """Return accuracy, balanced accuracy, F1 and the area under the ROC curve.

    The area is that of the probabilities. matbench 0.6 computes it of the classes that they come
    to (its issue 137), which is the balanced accuracy: compare published ones with that.
    """
    labels, found = truth.astype(bool), probabilities > THRESHOLD
    return {
        "accuracy": float(metrics.accuracy_score(labels, found)),
        "balanced_accuracy": float(metrics.balanced_accuracy_score(labels, found)),
        "f1": float(metrics.f1_score(labels, found)),
        "rocauc": float(metrics.roc_auc_score(labels, probabilities)),
    }


def _task(task: MatbenchTask, results: MatbenchResults) -> dict[str, Any]:
    truth, predictions = _checked(task, results)
    each = results.parameters
    parameters = [dict(each)] * FOLDS if isinstance(each, Mapping) else [dict(one) for one in each]
    if len(parameters) != FOLDS:
        raise InputError(f"{task.name}: {len(parameters)} sets of parameters for {FOLDS} folds.")
    ids = task.ids()
    score = classification_scores if task.classification else regression_scores
    folds = matbench_folds(task.rows, truth if task.classification else None)
    return {
        "@module": "matbench.task",
        "@class": "MatbenchTask",
        "benchmark_name": BENCHMARK,
        "dataset_name": task.name,
        "results": {
            f"fold_{number}": {
                "data": {ids[row]: float(predictions[row]) for row in test.tolist()},
                "parameters": parameters[number],
                "scores": score(truth[test], predictions[test]),
            }
            for number, (_, test) in enumerate(folds)
        },
    }


def _checked(task: MatbenchTask, results: MatbenchResults) -> tuple[ndarray, ndarray]:
    arrays = {
        "true values": np.asarray(results.truth, dtype=np.float64),
        "predictions": np.asarray(results.predictions, dtype=np.float64),
    }
    for name, values in arrays.items():
        if values.shape != (task.rows,):
            raise InputError(
                f"{task.name} has {task.rows} rows, and {name} of shape {values.shape} are given: "
                "one for every row of the file, in its order."
            )
        wrong = np.flatnonzero(~np.isfinite(values))
        if len(wrong):
            raise InputError(
                f"{task.name}: {len(wrong)} {name} are no finite numbers, the first in row "
                f"{wrong[0]} ({task.ids()[wrong[0]]}). MatBench wants all rows predicted."
            )
    truth, predictions = arrays.values()
    if task.classification and not np.isin(truth, (0.0, 1.0)).all():
        raise InputError(f"{task.name}: its true values are zero and one, for False and True.")
    if task.classification and (predictions.min() < 0.0 or predictions.max() > 1.0):
        raise InputError(f"{task.name}: give probabilities of True, from 0 to 1.")
    return truth, predictions
