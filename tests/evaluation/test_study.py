"""A whole study on few crystals: killed, gone on with, added to, and what it writes."""

import gzip
import json
import math
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import epitaxy as ep
from epitaxy.crystals.exchange import to_ase
from epitaxy.evaluation.probe_task import network_representation
from epitaxy.evaluation.probes import untrained_twin
from epitaxy.evaluation.regressions import standardized
from epitaxy.evaluation.study.benchmark import run_study
from epitaxy.evaluation.study.pool import Pool

STUDY = """
name = "tiny"
seeds = 2
sizes = [20]
test = 20
validation = 10
tune = "first"
baselines = ["dummy"]

[tuning]
training.batch_size = [10, 20]

[changes]
training.epochs = 1


[[tasks]]
source = "crystals.parquet"
target = "bulk_modulus[GPa]"
published = [{ who = "somebody", mae = 1.5, protocol = "all of it" }]

[[pretrainings]]
name = "fp"
[pretrainings.changes]
data.source = "crystals.parquet"
training.epochs = 1
backbone = { name = "torchmd_et", width = 8, layers = 1, heads = 2, radial = 8, cutoff = 3.5 }

[[contenders]]

[[contenders]]
pretraining = "fp"

[[contenders]]
name = "diverging"
pretraining = "fp"
label = "control"
reference = "scratch"
changes = { "training.learning_rate" = 1e30 }
"""
MORE = '\n[[contenders]]\nbaseline = "composition-ridge"\n'


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with sixty small crystals and the study's file."""
    from epitaxy.crystals.exchange import write_parquet
    from epitaxy.datasets.bundled import bundled

    folder = tmp_path_factory.mktemp("study")
    crystals = bundled()
    few = crystals[crystals.atom_counts <= 4][:70]
    write_parquet(few, folder / "crystals.parquet")
    (folder / "tiny.toml").write_text(STUDY)
    return folder


@pytest.fixture(scope="module")
def killed(home):
    """The results that were there when the study was killed, and when they were written."""
    command = [sys.executable, "-m", "epitaxy.cli", "benchmark", str(home / "tiny.toml")]
    process = subprocess.Popen(
        [*command, "--out", str(home / "out"), "--jobs", "1"], stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 600
    while len(list((home / "out").glob("fits/*/result.json"))) < 2:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    time.sleep(1.0)  # for the worker to notice
    return stamps(home / "out")


@pytest.fixture(scope="module")
def study(home, killed):
    return run_study(home / "tiny.toml", out=home / "out", jobs=1, progress=False)


def stamps(folder: Path) -> dict[Path, int]:
    files = [*folder.glob("fits/*/result.json"), *folder.glob("pretrainings/*/model.json")]
    return {file: file.stat().st_mtime_ns for file in files}


def test_what_had_ended_before_the_kill_is_not_made_again(study, killed):
    now = stamps(study.folder)
    assert len(killed) >= 2
    assert len(now) > len(killed)
    assert {file: now[file] for file in killed} == killed


def test_every_row_of_the_table_has_its_seeds(study):
    records = study.records.records
    done = records[records["status"] == "done"]
    assert done.groupby("contender")["seed"].apply(sorted).to_dict() == {
        "scratch": [0, 1],
        "fp": [0, 1],
        "dummy": [0, 1],
    }
    assert study.records.results["contender"].tolist() == ["scratch", "fp", "dummy"]


def test_the_first_seed_chooses_for_all(study):
    tuning = study.records.tuning
    fp = tuning[tuning["contender"] == "fp"]
    first, second = (fp[fp["seed"] == seed] for seed in (0, 1))
    assert len(first) == 2
    best = first.loc[first["validation_mae"].idxmin(), "setting"]
    assert first[first["chosen"]]["setting"].tolist() == [best]
    assert second["setting"].tolist() == [best]


def test_a_contender_that_fails_leaves_a_hole_with_its_reason(study):
    records = study.records.records
    lost = records[records["contender"] == "diverging"]
    assert set(lost["status"]) == {"failed"}
    assert lost["reason"].str.contains("settings").all()
    table = study.tables["errors-20"]
    row = next(row for row in table.rows if row[0] == "diverging")
    assert row[1:] == ("control", "–")
    assert any("Failed: bulk_modulus, diverging, seed 0" in note for note in table.notes)


def test_the_results_are_those_of_the_predictions(study):
    predictions = pd.read_parquet(study.folder / "predictions.parquet")
    errors = (predictions["truth"] - predictions["value"]).abs()
    expected = errors.groupby(predictions["contender"]).mean()
    for row in study.records.results.itertuples():
        assert row.mae == pytest.approx(expected[row.contender])
        assert row.reference == ("" if row.contender == "scratch" else "scratch")
    scratch, fp = expected["scratch"], expected["fp"]
    gain = study.records.results.set_index("contender").loc["fp", "improvement_percent"]
    assert gain == pytest.approx(100 * (1 - fp / scratch))


def test_no_worker_is_told_of_test_crystals_but_to_predict_the_chosen(study):
    splits = json.loads((study.folder / "splits" / "bulk_modulus.json").read_text())["splits"]
    ids = list(study.plan.tasks[0].data.crystals.ids)
    test = {ids.index(text) for split in splits for text in split["test"]}
    for file in study.folder.glob("fits/*/job.json"):
        job = json.loads(file.read_text())
        if "kind" not in job:
            assert not test & {*job["train"], *job["validation"]}
    chosen = study.records.tuning[study.records.tuning["chosen"]]
    told = {file.parent.name for file in study.folder.glob("fits/*/predict.json")}
    assert told == set(chosen[chosen["contender"] != "dummy"]["run"])


def test_the_folder_holds_what_a_report_reads(study):
    folder = study.folder
    for name in ("records", "results", "curves", "tuning", "pretraining", "published"):
        assert len(pd.read_csv(folder / f"{name}.csv")), name
    assert json.loads((folder / "study.json").read_text())["name"] == "tiny"
    assert (folder / "study.toml").read_text() == STUDY
    verdicts = json.loads((folder / "verdicts.json").read_text())
    assert [one["contender"] for one in verdicts["verdicts"]] == ["fp", "dummy"]
    assert "2 of 8 fits failed" in verdicts["sentence"]
    pretraining = pd.read_csv(folder / "pretraining.csv").iloc[0]
    atoms = study.plan.pretraining_data["fp"].crystals.atom_total
    assert (pretraining["name"], pretraining["atoms_seen"]) == ("fp", atoms)
    for suffix in ("md", "csv", "tex"):
        assert (folder / "tables" / f"improvements-20.{suffix}").is_file()


def test_a_map_places_the_same_crystals_by_every_representation(study):
    """By the first two components of what the pre-trained network itself makes of them."""
    maps = pd.read_parquet(study.folder / "maps.parquet")
    task = study.plan.tasks[0].data.crystals
    pca = maps[maps["method"] == "pca"]
    for label in ("untrained", "fp"):
        assert pca[pca["pretraining"] == label]["id"].tolist() == list(task.ids)
    own, twin = (pca[pca["pretraining"] == label] for label in ("fp", "untrained"))
    model = ep.load(study.records.pretraining["folder"][0])
    for backbone, found in ((model.backbone, own), (untrained_twin(model.backbone, 0), twin)):
        whole = network_representation(backbone, task, "crystal", "mean")
        features = whole.rows(whole.last_layer, slice(None))
        left, values, _ = np.linalg.svd(standardized(features, features)[0], full_matrices=False)
        for place, axis in enumerate("xy"):
            expected = left[:, place] * values[place]
            sign = np.sign(expected @ found[axis])
            np.testing.assert_allclose(found[axis], sign * expected, atol=1e-2 * values[0])
    atoms = to_ase(task[7:8])[0]
    density = atoms.get_masses().sum() / atoms.get_volume() * 1.66053906892
    assert own["density"].iloc[7] == pytest.approx(density, rel=1e-6)
    assert own["value"].tolist() == task.target("bulk_modulus").values.tolist()


def test_a_row_added_to_the_file_is_made_and_nothing_else(study, home):
    before = stamps(study.folder)
    more = home / "more.toml"
    more.write_text(STUDY + MORE)
    grown = run_study(more, out=study.folder, jobs=1, progress=False)
    now = stamps(study.folder)
    assert {file: now[file] for file in before} == before
    assert len(now) == len(before) + 2
    assert "composition-ridge" in grown.records.results["contender"].tolist()


def test_a_folder_of_another_study_is_refused(study, home):
    from epitaxy.errors import RunFolderError

    other = home / "other.toml"
    other.write_text(STUDY.replace('name = "tiny"', 'name = "other"', 1))
    with pytest.raises(RunFolderError, match="holds the study 'tiny', not 'other'"):
        run_study(other, out=study.folder, run=False, progress=False)


def test_a_worker_survives_bad_orders_and_is_replaced_when_it_dies(tmp_path):
    bad = tmp_path / "bad.json"
    bad.write_text('{"kind": "baseline"}')
    with Pool(1) as pool:
        pool.submit((1,), "first", bad)
        assert pool.answer(300.0) == ("first", "KeyError: 'baseline'")
        (process,) = pool._processes.values()
        process.kill()
        process.wait()
        pool.submit((1,), "second", bad)
        key, reason = pool.answer(300.0)
        assert key == "second"
        assert "ended by itself" in reason
        pool.submit((1,), "third", bad)
        assert pool.answer(300.0) == ("third", "KeyError: 'baseline'")


def test_records_in_matbench_form_hold_every_row_of_the_task(tmp_path, monkeypatch):
    from epitaxy.datasets.bundled import bundled
    from epitaxy.datasets.matbench import TASKS, MatbenchTask

    rows = 60
    monkeypatch.setitem(TASKS, "matbench_tiny", MatbenchTask("matbench_tiny", rows, "bulk_modulus"))
    crystals = bundled()
    crystals = crystals[~crystals.target("bulk_modulus").values.isnan()][:rows]
    from epitaxy.crystals.exchange import write_parquet

    write_parquet(crystals, tmp_path / "tiny.parquet")
    values = {
        "name": "folds",
        "seeds": 1,
        "validation": 10,
        "contenders": [{"baseline": "dummy"}],
        "baselines": [],
        "tasks": [
            {
                "source": str(tmp_path / "tiny.parquet"),
                "target": "bulk_modulus",
                "protocol": "matbench",
                "matbench": "matbench_tiny",
                "published": [],
            }
        ],
    }
    found = run_study(values, out=tmp_path / "out", jobs=1, progress=False)
    file = tmp_path / "out" / "matbench" / "dummy" / "results.json.gz"
    record = json.loads(gzip.decompress(file.read_bytes()))
    folds = record["tasks"]["matbench_tiny"]["results"]
    assert sum(len(fold["data"]) for fold in folds.values()) == rows
    mean = sum(fold["scores"]["mae"] for fold in folds.values()) / len(folds)
    assert found.records.results["mae"].iloc[0] == pytest.approx(mean)
    assert not math.isnan(mean)
    shutil.rmtree(tmp_path / "out")
