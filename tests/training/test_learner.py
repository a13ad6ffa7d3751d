"""What the trainer does besides minimizing: frozen statistics, gradient norms, lineage."""

import json
from dataclasses import replace

import pytest
import torch

import epitaxy as ep
from epitaxy.crystals.crystals import cat
from epitaxy.errors import InputError
from epitaxy.testing import examples
from epitaxy.training.predict import predict_values
from epitaxy.training.recipe import load_recipe
from epitaxy.training.train import labels_seen, train

SHORT = {"training.epochs": 1, "training.batch_size": 16}
NORMED = {"name": "cgcnn", "preset": "paper_d", "width": 8, "layers": 2, "cutoff": 4.0}


def test_a_frozen_encoder_keeps_the_statistics_of_its_batch_norms(crystals, tmp_path):
    first = ep.pretrain(
        data=crystals, backbone=NORMED, changes=SHORT, out=tmp_path / "a", progress=False
    )

    def tuned(out, **changes):
        run = ep.finetune(
            crystals,
            "bulk_modulus",
            from_=first,
            changes={**SHORT, **changes},
            out=tmp_path / out,
            progress=False,
        )
        return run.model.backbone.state_dict()

    before = first.model.backbone.state_dict()
    frozen, free = tuned("b", **{"training.freeze": "encoder"}), tuned("c")
    statistics = [name for name in before if "running_mean" in name]
    assert statistics
    assert all(torch.equal(before[name], frozen[name]) for name in before)
    assert any(not torch.equal(before[name], free[name]) for name in statistics)


def test_the_gradient_norm_is_recorded_before_it_is_clipped(crystals, tiny, tmp_path):
    def rows(clip):
        run = ep.pretrain(
            data=crystals,
            backbone=tiny,
            changes={**SHORT, "training.clip": clip},
            out=tmp_path / str(clip),
            progress=False,
        )
        text = (run.folder / "metrics.jsonl").read_text().splitlines()
        return [json.loads(line) for line in text]

    tight, loose = rows(1e-6), rows(100.0)
    assert tight[0]["gradient_norm"] > 1e-3
    assert tight[0]["gradient_norm"] == pytest.approx(loose[0]["gradient_norm"], rel=0.5)
    assert all("gradient_norm" not in row for row in tight if row["split"] == "validation")


def test_labels_of_every_kind_are_remembered_through_the_generations(crystals, tiny, tmp_path):
    energies = ep.pretrain(
        data=crystals,
        backbone=tiny,
        objectives={"name": "energy_forces", "preset": "0:1:0"},
        changes=SHORT,
        out=tmp_path / "a",
        progress=False,
    )
    assert labels_seen(energies.model) == ["forces"]
    tuned = ep.finetune(
        crystals, "bulk_modulus", from_=energies, changes=SHORT, out=tmp_path / "b", progress=False
    )
    assert labels_seen(tuned.model) == ["bulk_modulus", "forces"]


def test_batches_without_labels_do_not_dilute_figures(crystals, tiny, tmp_path):
    """The error of a target known in few crystals is that of these crystals."""
    target = crystals.targets["bulk_modulus"]
    values = target.values.clone()
    values[3:] = torch.nan
    energy = crystals.targets["energy"]
    sparse = crystals.with_targets({"bulk_modulus": target.with_values(values), "energy": energy})
    recipe = load_recipe("finetune").altered(
        {
            "backbone": tiny,
            "objectives": [{"name": "property", "target": ["bulk_modulus", "energy"]}],
            "training.epochs": 1,
            "training.batch_size": 8,
        }
    )
    many = cat([sparse] * 3)  # two validation batches, the labels in the first
    trained = train(recipe, crystals[:32], many)
    row = next(row for row in trained.fitted.rows if row["split"] == "validation")
    found = predict_values(trained.model, many)["bulk_modulus"][0]
    known = ~torch.isnan(many.targets["bulk_modulus"].values)
    wanted = (found - many.targets["bulk_modulus"].values.double())[known].abs().mean()
    assert row["property/bulk_modulus_mae"] == pytest.approx(float(wanted), rel=1e-4)


def test_free_atoms_are_left_out_where_there_is_nothing_to_find(crystals, tiny, tmp_path):
    atom = examples.one_atom_crystals()[0]
    alone = replace(atom, pbc=torch.zeros(1, 3, dtype=torch.bool), ids=("alone",)).to(
        dtype=torch.float32
    )
    run = ep.pretrain(
        data=cat([crystals[:20].with_targets({}), alone]),
        backbone=tiny,
        objectives="denoise",
        changes={"training.epochs": 1, "training.batch_size": 1},
        out=tmp_path,
        progress=False,
    )
    assert "1 crystals ('alone') are single atoms" in run.report
    with pytest.raises(InputError, match="all crystals are free atoms"):
        ep.pretrain(data=alone, backbone=tiny, objectives="denoise", out=tmp_path / "none")
