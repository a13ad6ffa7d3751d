"""The weights that come with the package, taken as a user takes them."""

import json
from collections.abc import Iterator
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
from epitaxy.training.train import labels_seen
from epitaxy.training.weights import SHIPPED, shipped_names, weights_folder

NAME = "epitaxy-small"


def texts_in(value: object) -> Iterator[str]:
    """Yield every string of a JSON value, keys included."""
    if isinstance(value, dict):
        for key, one in value.items():
            yield key
            yield from texts_in(one)
    elif isinstance(value, list):
        for one in value:
            yield from texts_in(one)
    elif isinstance(value, str):
        yield value


def test_they_load_and_have_read_no_label():
    """Loading compares the encoding of a few crystals with what was written down."""
    assert NAME in shipped_names()
    model = ep.load(NAME)
    assert model.name == NAME
    assert labels_seen(model) == []
    assert len(model.coverage.elements) >= 80


def test_they_say_how_they_were_made_and_name_no_place_on_a_machine():
    card = json.loads((SHIPPED / NAME / "model.json").read_text())
    source, epochs = card["recipe"]["data"]["source"], card["recipe"]["training"]["epochs"]
    assert not [text for text in texts_in(card) if Path(text).is_absolute()]
    command = f"epitaxy pretrain --data {source} --set training.epochs={epochs} "
    assert command in (SHIPPED / NAME / "README.md").read_text()


def test_a_folder_of_that_name_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert weights_folder(NAME) == SHIPPED / NAME
    assert weights_folder(f"./{NAME}") == weights_folder(f"{NAME}/") == Path(NAME)
    (tmp_path / NAME).mkdir()
    assert weights_folder(NAME) == Path(NAME)
    with pytest.raises(CheckpointError, match="there is no model"):
        ep.load(NAME)


def test_a_name_that_is_none_is_told_those_that_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match=f"Installed weights: .*{NAME}"):
        ep.load("epitaxy-tiny")


def test_a_fine_tuning_begins_with_them(tmp_path):
    crystals = bundled()[:60]
    run = ep.finetune(
        crystals, target="bulk_modulus", from_=NAME, out=tmp_path / "run",
        changes={"training.epochs": 1},
    )  # fmt: skip
    weights = json.loads((SHIPPED / NAME / "model.json").read_text())["weights"]
    assert run.model.card["ancestor"]["sha256"] == weights["sha256"]
    assert run.model.card["ancestor"]["folder"] == NAME
    assert np.isfinite(ep.predict(run, crystals[:5])["value"]).all()


def test_a_ridge_learns_more_from_them_than_from_random_weights():
    """Frozen, on the bulk moduli of 500 bundled crystals that were not in the pre-training."""
    crystals = bundled()
    known = crystals.target("bulk_modulus").present()
    crystals = crystals[known][:500]
    labels = crystals.target("bulk_modulus").values.double().numpy()
    model = ep.load(NAME)
    torch.manual_seed(0)
    random = replace(model, backbone=build("backbones", model.card["backbone"]).eval())
    errors = []
    for one in (model, random):
        values = ep.embed(one, crystals).drop(columns=["id", "flag"]).to_numpy()
        ridge = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-2, 5, 15)))
        errors.append(np.abs(cross_val_predict(ridge, values, labels, cv=5) - labels).mean())
    assert errors[0] < 0.9 * errors[1]
