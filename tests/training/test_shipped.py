"""The weights that come with the package, taken as a user takes them."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import epitaxy as ep
from epitaxy.datasets.bundled import bundled
from epitaxy.errors import CheckpointError
from epitaxy.registry import build
from epitaxy.training.finetune import lineage
from epitaxy.training.train import labels_seen
from epitaxy.training.weights import SHIPPED, shipped_names, weights_folder


@pytest.mark.parametrize("name", shipped_names())
def test_they_load_and_have_read_no_label(name):
    """Loading compares the encoding of a few crystals with what was written down."""
    model = ep.load(name)
    assert model.name == name
    assert labels_seen(model) == []
    assert len(model.coverage.elements) >= 80


@pytest.mark.parametrize("name", shipped_names())
def test_they_say_how_they_were_made_and_nothing_of_the_machine(name):
    text = (SHIPPED / name / "model.json").read_text()
    assert json.loads(text)["recipe"]["data"]["source"].startswith("generated:")
    assert not re.search(r"(/work/|/home/|/root/|/tmp/|/Users/)", text)
    readme = (SHIPPED / name / "README.md").read_text()
    assert "epitaxy pretrain" in readme


def test_a_folder_of_that_name_comes_first(tmp_path, monkeypatch):
    name = shipped_names()[0]
    monkeypatch.chdir(tmp_path)
    assert weights_folder(name) == SHIPPED / name
    assert weights_folder(f"./{name}") == weights_folder(f"{name}/") == Path(name)
    (tmp_path / name).mkdir()
    assert weights_folder(name) == Path(name)
    with pytest.raises(CheckpointError, match="there is no model"):
        ep.load(name)


def test_a_name_that_is_none_is_told_those_that_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match=f"Installed weights: .*{shipped_names()[0]}"):
        ep.load("epitaxy-tiny")


def test_a_fine_tuning_begins_with_them(tmp_path):
    name, crystals = shipped_names()[0], bundled()[:60]
    run = ep.finetune(
        crystals, target="bulk_modulus", from_=name, out=tmp_path / "run",
        changes={"training.epochs": 1},
    )  # fmt: skip
    weights = json.loads((SHIPPED / name / "model.json").read_text())["weights"]
    assert run.model.card["ancestor"]["sha256"] == lineage(ep.load(name))["sha256"]
    assert lineage(ep.load(name))["sha256"] == weights["sha256"]
    assert run.model.card["ancestor"]["folder"] == name
    assert np.isfinite(ep.predict(run, crystals[:5])["value"]).all()


def test_a_ridge_learns_more_from_them_than_from_random_weights():
    """Frozen, on the bulk moduli of 500 bundled crystals that were not in the pre-training."""
    crystals = bundled()
    known = crystals.target("bulk_modulus").present()
    crystals = crystals[known][:500]
    labels = crystals.target("bulk_modulus").values.double().numpy()
    model = ep.load(shipped_names()[0])
    torch.manual_seed(0)
    random = replace(model, backbone=build("backbones", model.card["backbone"]).eval())
    errors = []
    for one in (model, random):
        values = ep.embed(one, crystals).drop(columns=["id", "flag"]).to_numpy()
        ridge = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-2, 5, 15)))
        errors.append(np.abs(cross_val_predict(ridge, values, labels, cv=5) - labels).mean())
    assert errors[0] < 0.9 * errors[1]
