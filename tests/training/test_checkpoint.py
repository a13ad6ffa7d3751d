import json
from dataclasses import replace

import pytest
import torch

import epitaxy as ep
from epitaxy.errors import CheckpointError, RunFolderError
from epitaxy.registry import build
from epitaxy.training import files
from epitaxy.training.checkpoint import load_model, save_model
from epitaxy.training.predict import predict_values
from epitaxy.training.recipe import parse_recipe
from epitaxy.training.train import probes, train


@pytest.fixture(scope="module")
def trained(crystals):
    recipe = parse_recipe(
        {
            "backbone": {
                "name": "torchmd_et",
                "width": 16,
                "layers": 1,
                "heads": 2,
                "cutoff": 4.0,
            },
            "objectives": [{"name": "property", "target": "bulk_modulus"}],
            "training": {"epochs": 1, "batch_size": 32},
        },
        "test",
    )
    return train(recipe, crystals[:40], crystals[40:56]).model


@pytest.fixture
def saved(trained, crystals, tmp_path):
    return save_model(trained, tmp_path / "model", probes(crystals)).folder


def test_a_checkpoint_gives_the_same_predictions_when_loaded(trained, saved, crystals):
    before = predict_values(trained, crystals)["bulk_modulus"][0]
    after = predict_values(ep.load(saved), crystals)["bulk_modulus"][0]
    assert torch.equal(before, after)


def test_it_holds_no_pickle(saved):
    assert sorted(file.suffix for file in saved.iterdir()) == [".json", ".safetensors"]


def test_truncated_weights_are_named(saved):
    weights = next(saved.glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=rf"{weights.name} are truncated"):
        load_model(saved)


def test_missing_weights_are_named(saved):
    next(saved.glob("*.safetensors")).unlink()
    with pytest.raises(CheckpointError, match="are missing"):
        load_model(saved)


def test_foreign_and_damaged_json_are_refused(saved, tmp_path):
    (saved / "model.json").write_text('{"format": "another"}')
    with pytest.raises(CheckpointError, match="not written by Epitaxy"):
        load_model(saved)
    (saved / "model.json").write_text('{"format": ')
    with pytest.raises(CheckpointError, match="damaged"):
        load_model(saved)
    with pytest.raises(CheckpointError, match="no checkpoint in"):
        load_model(tmp_path / "nothing")


def test_a_backbone_that_is_not_installed_is_named(saved):
    card = json.loads((saved / "model.json").read_text())
    card["backbone"]["name"] = "torchmd_ett"
    (saved / "model.json").write_text(json.dumps(card))
    with pytest.raises(CheckpointError, match="Did you mean 'torchmd_et'"):
        load_model(saved)


def test_weights_of_another_shape_are_refused(saved):
    card = json.loads((saved / "model.json").read_text())
    card["backbone"]["width"] = 8
    (saved / "model.json").write_text(json.dumps(card))
    with pytest.raises(CheckpointError, match="do not fit the backbone"):
        load_model(saved)


def test_a_model_that_gives_other_numbers_than_where_it_was_saved_is_refused(saved):
    card = json.loads((saved / "model.json").read_text())
    card["golden"]["values"]["nodes"][0] += 1.0
    (saved / "model.json").write_text(json.dumps(card))
    with pytest.raises(CheckpointError, match="gives other numbers"):
        load_model(saved)


def test_altered_numbers_of_the_head_are_found(saved):
    card = json.loads((saved / "model.json").read_text())
    card["objectives"][0]["fitted"]["mean"] += 1000.0
    (saved / "model.json").write_text(json.dumps(card))
    with pytest.raises(CheckpointError, match="gives other numbers"):
        load_model(saved)


def test_a_model_that_was_loaded_and_changed_can_be_saved_again(saved, crystals, tmp_path):
    loaded = load_model(saved)
    with torch.no_grad():
        next(loaded.backbone.parameters()).add_(0.1)
    again = load_model(save_model(loaded, tmp_path / "again", probes(crystals)).folder)
    assert again.card["weights"]["sha256"] != loaded.card["weights"]["sha256"]


def test_a_failing_write_leaves_the_last_good_checkpoint(trained, saved, crystals, monkeypatch):
    """The disk is full from the first byte of the second checkpoint on."""

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    other = build("backbones", {"name": "torchmd_et", "width": 16, "layers": 1, "heads": 2})
    with monkeypatch.context() as patched:
        patched.setattr(files.os, "fsync", full)
        with pytest.raises(RunFolderError, match="No space left"):
            save_model(replace(trained, backbone=other), saved, probes(crystals))
    assert load_model(saved).targets == ("bulk_modulus",)
    assert not list(saved.glob(".*.part"))
