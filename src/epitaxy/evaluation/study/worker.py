"""A worker process of a study: reads paths of orders, one a line, and answers each with one line.

``python -m epitaxy.evaluation.study.worker THREADS`` ends at once when its input does.
"""

import json
import time
import traceback
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from epitaxy.crystals.arrow import open_arrow
from epitaxy.crystals.crystals import Crystals
from epitaxy.errors import EpitaxyError, TrainingError
from epitaxy.evaluation.baselines import run_baseline
from epitaxy.evaluation.fits import RESULT_FILE, answer_orders, run_job
from epitaxy.evaluation.maps import planes
from epitaxy.evaluation.named_baselines import features_named, features_of
from epitaxy.evaluation.nested import Representation
from epitaxy.evaluation.probe_task import network_representation
from epitaxy.evaluation.probes import untrained_twin
from epitaxy.training.checkpoint import load_model
from epitaxy.training.files import write_json
from epitaxy.training.predict import predict_values
from epitaxy.training.pretrain import pretrain
from epitaxy.training.recipe import parse_recipe


def run_order(file: Path) -> None:
    """Do what the order in a file says, and leave the result where it says.

    Raises TrainingError for whatever goes wrong, so that the process lives on.
    """
    order = json.loads(file.read_text(encoding="utf-8"))
    kinds = {"pretraining": _pretrain, "baseline": _baseline, "prediction": _predict, "map": _map}
    try:
        if "kind" not in order:  # a fit's file says nothing of it
            run_job(file)
        else:
            kinds[order["kind"]](order, file)
    except (EpitaxyError, OSError):
        raise
    except Exception as error:  # another piece of work may still go well
        traceback.print_exc()
        raise TrainingError(f"{type(error).__name__}: {error}") from error


def _pretrain(order: dict[str, Any], file: Path) -> None:
    recipe = parse_recipe(order["recipe"], str(file))
    changes = {"data.source": recipe.data.source}
    crystals = open_arrow(order["crystals"])
    pretrain(recipe, data=crystals, changes=changes, out=order["folder"], progress=False)


def _baseline(order: dict[str, Any], file: Path) -> None:
    name = order["baseline"]
    found = run_baseline(
        name,
        _in_memory(order["crystals"]),
        order["target"],
        order["train"],
        order["validation"],
        order["test"],
        order["seed"],
        from_=order["ancestor"],
        at_least=order["at_least"],
        threads=torch.get_num_threads(),
        features=_features(features_of(name), order["crystals"], order["ancestor"]),
    )
    result = {
        "test": list(found.test),
        "setting": found.setting,
        "settings": dict(found.settings),
        "seconds": found.seconds,
    }
    write_json(file.parent / RESULT_FILE, result)


@lru_cache(maxsize=2)
def _features(features: str, crystals: str, ancestor: str | None) -> Representation:
    """Return features of all crystals of a task; the next split asks for the same."""
    model = None if ancestor is None else load_model(ancestor)
    return features_named(features, model)(_in_memory(crystals).with_targets({}))


def _in_memory(file: str) -> Crystals:
    """Return all crystals of a file, with numbers of the usual width."""
    crystals = open_arrow(file)
    return crystals[torch.arange(len(crystals))]


def _predict(order: dict[str, Any], file: Path) -> None:
    model = load_model(file.parent)
    test = open_arrow(order["crystals"])[order["test"]].with_targets({})
    values = predict_values(model, test)[model.targets[0]][0].double().tolist()
    write_json(file.parent / order["result"], {"test": values})


def _map(order: dict[str, Any], file: Path) -> None:
    began = time.monotonic()
    backbone = load_model(order["ancestor"]).backbone
    if order["untrained"]:
        backbone = untrained_twin(backbone, seed=0)
    crystals = open_arrow(order["crystals"])[order["rows"]].with_targets({})
    found = network_representation(backbone, crystals, "crystal", "mean")
    places = planes(found.rows(found.last_layer, slice(None)).astype(float))
    result = {"places": {method: plane.tolist() for method, plane in places.items()}}
    write_json(file.parent / RESULT_FILE, {**result, "seconds": time.monotonic() - began})


if __name__ == "__main__":
    answer_orders(run_order)
