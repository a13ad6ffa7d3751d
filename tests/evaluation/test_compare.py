import json
import math
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pandas as pd
import pytest
import torch

import epitaxy as ep
from epitaxy.crystals.targets import Target
from epitaxy.datasets.bundled import bundled
from epitaxy.errors import InputError
from epitaxy.evaluation.compare import run_comparison
from epitaxy.training.recipe import load_recipe

SHORT = {"training.batch_size": 16, "training.epochs": 2}
GRID = {"training.learning_rate": (1e-3, 3e-3), "training.epochs": (2,)}
BASELINES = ["composition-ridge", "frozen-ridge"]
NETWORKS = ["scratch", "pre-trained"]


@pytest.fixture(scope="module")
def pretrained(crystals, tmp_path_factory):
    backbone = {"name": "torchmd_et", "width": 16, "layers": 1, "heads": 2, "cutoff": 4.0}
    out = tmp_path_factory.mktemp("runs") / "pretrained"
    return ep.pretrain(
        "fingerprint", data=crystals, backbone=backbone, changes=SHORT, out=out, progress=False
    )


@pytest.fixture(scope="module")
def comparison(pretrained, tmp_path_factory):
    return ep.compare(
        bundled()[:120],
        target="bulk_modulus[GPa]",
        from_=pretrained,
        train_size=40,
        seeds=3,
        grid=GRID,
        baselines=BASELINES,
        published="matbench_log_kvrh",
        out=tmp_path_factory.mktemp("comparison") / "out",
        jobs=2,
        progress=False,
    )


def test_every_contender_predicts_the_same_test_crystals_under_every_seed(comparison):
    splits = json.loads((comparison.folder / "splits.json").read_text())
    tested = comparison.predictions.groupby(["contender", "seed"])["id"].apply(set)
    assert len(tested) == 3 * len(["dummy", *BASELINES, *NETWORKS])
    assert all(ids == set(splits["test"]) for ids in tested)


def test_test_crystals_are_in_no_training_or_validation_part(comparison):
    splits = json.loads((comparison.folder / "splits.json").read_text())
    for split in splits["seeds"].values():
        assert not set(splits["test"]) & {*split["train"], *split["validation"]}


def test_both_contenders_get_the_same_settings_and_take_their_best(comparison):
    tuning = comparison.tuning[comparison.tuning["contender"].isin(NETWORKS)]
    per_group = tuning.groupby(["contender", "seed"])["setting"].apply(set)
    assert per_group.map(tuple).map(sorted).map(tuple).nunique() == 1
    best = tuning.loc[tuning.groupby(["contender", "seed"])["validation_mae"].idxmin()]
    assert best["chosen"].all()
    assert tuning["chosen"].sum() == 6


def test_baselines_try_as_many_settings_and_take_their_best(comparison):
    counts = comparison.tuning.groupby(["contender", "seed"])["setting"].nunique().unstack()
    assert (counts.loc[BASELINES] >= counts.loc["scratch"]).all(axis=None)
    for _, own in comparison.tuning.groupby(["contender", "seed"]):
        assert own["chosen"].sum() == 1
        assert own.loc[own["chosen"], "validation_mae"].item() == own["validation_mae"].min()


def test_the_sentence_says_how_the_best_baseline_does(comparison):
    means = comparison.results.set_index("contender")["mae"]
    best = means[BASELINES].idxmin()
    words = {
        "composition-ridge": "ridge regression on the composition",
        "frozen-ridge": "ridge regression on the frozen pre-trained representation",
    }
    assert words[best] in comparison.sentence.lower()
    assert "widened for the best of 2 baselines" in comparison.sentence


def test_published_figures_are_a_table_of_their_own(comparison):
    assert set(comparison.published["task"]) == {"matbench_log_kvrh"}
    assert comparison.published["protocol"].str.len().min() > 10
    assert not set(comparison.published["who"]) & set(comparison.results["contender"])
    assert any("other protocols" in note for note in comparison.notes)
    written = pd.read_csv(comparison.folder / "published.csv")
    assert written["mae"].tolist() == pytest.approx(comparison.published["mae"].tolist())


def test_the_table_is_that_of_the_predictions(comparison):
    predictions = comparison.predictions
    errors = (predictions["truth"] - predictions["value"]).abs()
    expected = errors.groupby(predictions["contender"]).mean()
    for row in comparison.results.itertuples():
        assert row.mae == pytest.approx(expected[row.contender])
        assert row.unit == "GPa"
    assert comparison.difference.crystals == len(predictions["id"].unique())
    written = pd.read_csv(comparison.folder / "results.csv")
    assert written["mae"].tolist() == pytest.approx(comparison.results["mae"].tolist())


def test_the_dummy_is_the_median_of_the_training_targets(comparison):
    splits = json.loads((comparison.folder / "splits.json").read_text())
    crystals = bundled()[:120]
    truth = dict(zip(crystals.ids, crystals.target("bulk_modulus").values.tolist(), strict=True))
    dummy = comparison.predictions.query("contender == 'dummy' and seed == 0")["value"].unique()
    known = sorted(truth[name] for name in splits["seeds"]["0"]["train"])
    assert dummy == pytest.approx([known[(len(known) - 1) // 2]])


def test_the_page_and_its_figures_are_there(comparison):
    for name in ("index.html", "parity.png", "learning_curves.png", "errors.png"):
        assert (comparison.folder / name).stat().st_size > 5000
    page = (comparison.folder / "index.html").read_text()
    assert comparison.sentence.split(" (")[0].split(":")[0] in page


def test_the_same_command_makes_no_fit_again(comparison, pretrained):
    stamps = {
        file: file.stat().st_mtime_ns for file in comparison.folder.glob("fits/*/result.json")
    }
    assert len(stamps) == 12
    missing = next(iter(stamps))
    missing.unlink()
    again = run_comparison(
        bundled()[:120],
        target="bulk_modulus[GPa]",
        from_=pretrained,
        train_size=40,
        seeds=3,
        grid=GRID,
        baselines=BASELINES,
        out=comparison.folder,
        jobs=1,
        progress=False,
    )
    assert again.sentence == comparison.sentence
    assert again.published.empty
    assert not (comparison.folder / "published.csv").exists()
    for file, stamp in stamps.items():
        assert (file.stat().st_mtime_ns == stamp) == (file != missing)


def test_a_property_of_atoms_is_refused(pretrained, crystals, tmp_path):
    with pytest.raises(InputError, match="property of atoms"):
        run_comparison(crystals, "magmoms", from_=pretrained, out=tmp_path / "x")


def test_no_weights_no_comparison(crystals):
    with pytest.raises(InputError, match="needs pre-trained weights"):
        run_comparison(crystals, "bulk_modulus", from_=None)


def test_an_element_new_to_the_pretraining_is_noted(pretrained, crystals, tmp_path):
    numbers = crystals.numbers.clone()
    numbers[0] = 98
    changed = type(crystals)(
        numbers=numbers,
        positions=crystals.positions,
        cell=crystals.cell,
        pbc=crystals.pbc,
        offsets=crystals.offsets,
        targets={"y": Target(torch.linspace(0, 1, len(crystals)), unit="eV")},
        ids=crystals.ids,
    )
    found = run_comparison(
        changed,
        "y",
        from_=pretrained,
        seeds=1,
        grid={"training.epochs": (1,)},
        baselines="none",
        out=tmp_path / "x",
        jobs=1,
        progress=False,
    )
    assert any("never saw" in note and "Cf (1 crystal" in note for note in found.notes)
    assert "Too few seeds" in found.sentence
    assert math.isfinite(found.difference.relative)


def test_weights_that_read_labels_of_the_target_are_refused(pretrained, crystals, tmp_path):
    known = ep.finetune(
        crystals,
        "bulk_modulus",
        from_=pretrained,
        changes={"training.epochs": 1},
        out=tmp_path / "tuned",
        progress=False,
    )
    with pytest.raises(InputError, match="trained on labels of 'bulk_modulus'"):
        run_comparison(crystals, "bulk_modulus", from_=known, out=tmp_path / "x")


def test_a_baseline_that_nobody_knows_is_refused_before_the_first_fit(
    pretrained, crystals, tmp_path
):
    with pytest.raises(InputError, match="composition-forest"):
        run_comparison(
            crystals, "bulk_modulus", from_=pretrained, baselines="forest", out=tmp_path / "x"
        )
    assert not (tmp_path / "x").exists()


def test_two_crystals_of_one_id_are_refused_before_the_first_fit(pretrained, crystals, tmp_path):
    double = replace(crystals, ids=[crystals.ids[0], *crystals.ids[:-1]])
    with pytest.raises(InputError, match=crystals.ids[0]):
        run_comparison(double, "bulk_modulus", from_=pretrained, out=tmp_path / "x", strict=True)
    assert not (tmp_path / "x" / "fits").exists()


def test_a_setting_that_diverges_is_not_chosen(pretrained, crystals, tmp_path):
    found = run_comparison(
        crystals,
        "bulk_modulus",
        from_=pretrained,
        seeds=1,
        grid={"training.learning_rate": (1e-3, 1e30), "training.epochs": (1,)},
        baselines="none",
        recipe=load_recipe("finetune").altered({"training.clip": None}),
        out=tmp_path / "x",
        progress=False,
    )
    assert (found.tuning["validation_mae"] == math.inf).sum() == 2
    assert not found.tuning.query("chosen")["setting"].str.contains("1e+30", regex=False).any()
    assert any("2 of 4 fits diverged" in note for note in found.notes)


def test_a_frozen_encoder_is_frozen_for_the_pretrained_alone(pretrained, crystals, tmp_path):
    found = run_comparison(
        crystals,
        "bulk_modulus",
        from_=pretrained,
        seeds=1,
        grid={"training.freeze": ("encoder",), "training.epochs": (1,)},
        baselines="none",
        out=tmp_path / "x",
        progress=False,
    )
    frozen = {
        folder.name.split("-seed")[0]: json.loads((folder / "job.json").read_text())["recipe"][
            "training"
        ]["freeze"]
        for folder in (found.folder / "fits").iterdir()
    }
    assert frozen == {"scratch": "none", "pre-trained": "encoder"}


def test_test_rows_are_not_told_to_the_workers(comparison):
    splits = json.loads((comparison.folder / "splits.json").read_text())
    ids = list(bundled()[:120].ids)
    test = {ids.index(name) for name in splits["test"]}
    for file in comparison.folder.glob("fits/*/job.json"):
        job = json.loads(file.read_text())
        assert not test & {*job["train"], *job["validation"]}


@pytest.mark.slow
def test_a_plain_script_and_a_killed_parent_leave_no_process_behind(pretrained, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import epitaxy as ep\n"
        f"print(ep.compare('bundled', 'bulk_modulus', from_={str(pretrained.folder)!r},\n"
        f"    train_size=300, seeds=1, out={str(tmp_path / 'out')!r},\n"
        "    grid={'training.epochs': (50,)}))\n"
    )
    process = subprocess.Popen([sys.executable, str(script)], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not list((tmp_path / "out").glob("fits/*/metrics.jsonl")):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.1)
    workers = subprocess.run(
        ["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True
    ).stdout.split()
    assert workers
    process.send_signal(signal.SIGKILL)
    process.communicate()
    time.sleep(2)
    alive = subprocess.run(
        ["ps", "-o", "stat=", "-p", ",".join(workers)], capture_output=True, text=True
    )
    assert not [line for line in alive.stdout.split() if not line.startswith("Z")]


def test_a_split_file_says_what_is_tested(pretrained, tmp_path):
    crystals = bundled()[:120]
    split = ep.split(crystals, "formula", test=0.2, validation=0.2)
    split.write(tmp_path / "split.json")
    asked = {
        "from_": pretrained,
        "splits": tmp_path / "split.json",
        "train_size": 20,
        "seeds": 1,
        "grid": {"training.epochs": (1,)},
        "baselines": "none",
        "progress": False,
    }
    found = run_comparison(crystals, "bulk_modulus[GPa]", **asked, out=tmp_path / "out")
    assert set(found.predictions["id"]) == set(split[0].test)
    used = json.loads((tmp_path / "out" / "splits.json").read_text())["seeds"]["0"]
    assert set(used["train"]) <= set(split[0].train)
    assert set(used["validation"]) == set(split[0].validation)
    with pytest.raises(InputError, match="leave --test-size or --splits out"):
        run_comparison(crystals, "bulk_modulus[GPa]", **asked, test_size=20)
