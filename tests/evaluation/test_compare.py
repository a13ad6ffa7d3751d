import json
import math

import pandas as pd
import pytest
import torch

import epitaxy as ep
from epitaxy.crystals.targets import Target
from epitaxy.datasets.bundled import bundled
from epitaxy.errors import InputError
from epitaxy.evaluation.compare import run_comparison

SHORT = {"training.batch_size": 16, "training.epochs": 2}
GRID = {"training.learning_rate": (1e-3, 3e-3), "training.epochs": (2,)}


@pytest.fixture(scope="module")
def pretrained(crystals, tmp_path_factory):
    backbone = {"name": "torchmd_et", "width": 16, "layers": 1, "heads": 2, "cutoff": 4.0}
    out = tmp_path_factory.mktemp("runs") / "pretrained"
    return ep.pretrain(
        "pretrain", data=crystals, backbone=backbone, changes=SHORT, out=out, progress=False
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
        out=tmp_path_factory.mktemp("comparison") / "out",
        jobs=2,
        progress=False,
    )


def test_every_contender_predicts_the_same_test_crystals_under_every_seed(comparison):
    splits = json.loads((comparison.folder / "splits.json").read_text())
    tested = comparison.predictions.groupby(["contender", "seed"])["id"].apply(set)
    assert len(tested) == 9
    assert all(ids == set(splits["test"]) for ids in tested)


def test_test_crystals_are_in_no_training_or_validation_part(comparison):
    splits = json.loads((comparison.folder / "splits.json").read_text())
    for split in splits["seeds"].values():
        assert not set(splits["test"]) & {*split["train"], *split["validation"]}


def test_both_contenders_get_the_same_settings_and_take_their_best(comparison):
    tuning = comparison.tuning
    per_group = tuning.groupby(["contender", "seed"])["setting"].apply(set)
    assert per_group.map(tuple).map(sorted).map(tuple).nunique() == 1
    best = tuning.loc[tuning.groupby(["contender", "seed"])["validation_mae"].idxmin()]
    assert best["chosen"].all()
    assert tuning["chosen"].sum() == 6


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
        out=comparison.folder,
        jobs=1,
        progress=False,
    )
    assert again.sentence == comparison.sentence
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
        out=tmp_path / "x",
        jobs=1,
        progress=False,
    )
    assert any("never saw" in note and "Cf (1 crystal" in note for note in found.notes)
    assert "Too few seeds" in found.sentence
    assert math.isfinite(found.difference.relative)
