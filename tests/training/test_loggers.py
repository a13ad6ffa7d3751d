"""Figures go to the loggers that a recipe names, besides the run's own records."""

import csv
import json
from pathlib import Path

import pytest

import epitaxy as ep


def logged_run(folder: Path, logger: str) -> list[dict]:
    """Return the records of a short run that has a logger."""
    ep.pretrain(
        backbone={"name": "torchmd_et", "width": 8, "layers": 1, "heads": 2, "radial": 4},
        changes={"data.limit": 24, "training.epochs": 2, "training.loggers": [logger]},
        out=folder,
        progress=False,
    )
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_csv(tmp_path):
    own = [row for row in logged_run(tmp_path, "csv") if row["split"] == "train"]
    (file,) = tmp_path.glob("csv/*/metrics.csv")
    with file.open() as text:
        rows = [row for row in csv.DictReader(text) if row["train/loss"]]
    assert [int(row["step"]) for row in rows] == [row["step"] for row in own]
    assert [float(row["train/loss"]) for row in rows] == [row["loss"] for row in own]


def test_tensorboard(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    own = [row for row in logged_run(tmp_path, "tensorboard") if row["split"] == "validation"]
    (file,) = tmp_path.glob("tensorboard/*/events*")
    events = accumulator.EventAccumulator(str(file))
    events.Reload()
    found = [(event.step, event.value) for event in events.Scalars("validation/loss")]
    assert found == [(row["step"], pytest.approx(row["loss"])) for row in own]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_mlflow(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    own = [row for row in logged_run(tmp_path, "mlflow") if row["split"] == "train"]
    client = mlflow.tracking.MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("epitaxy")
    (run,) = client.search_runs([experiment.experiment_id])
    found = client.get_metric_history(run.info.run_id, "train/loss")
    assert [(one.step, one.value) for one in found] == [(row["step"], row["loss"]) for row in own]
