import json

import pytest
import torch

import epitaxy as ep
from epitaxy.errors import CheckpointError, InputError, RunFolderError, TrainingError
from epitaxy.training.recipe import load_recipe
from epitaxy.training.train import train

SHORT = {"training.epochs": 2, "training.batch_size": 16}


@pytest.fixture(scope="module")
def pretrained(crystals, tmp_path_factory):
    backbone = {"name": "torchmd_et", "width": 16, "layers": 1, "heads": 2, "cutoff": 4.0}
    return ep.pretrain(
        "pretrain",
        data=crystals,
        backbone=backbone,
        changes=SHORT,
        out=tmp_path_factory.mktemp("runs") / "pretrained",
        progress=False,
    )


def test_pretraining_needs_no_label_and_fits_none(pretrained):
    assert pretrained.model.targets == ()
    with pytest.raises(InputError, match="pre-trained only"):
        ep.predict(pretrained, "nothing")


def test_finetuning_takes_the_encoder_and_makes_a_new_head(pretrained, crystals, tmp_path):
    run = ep.finetune(
        crystals,
        "bulk_modulus[GPa]",
        from_=pretrained,
        changes={**SHORT, "training.freeze": "encoder"},
        out=tmp_path / "run",
        progress=False,
    )
    assert "taken: backbone; new: head of property; dropped: head of fingerprint" in run.report
    before, after = pretrained.model.backbone.state_dict(), run.model.backbone.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert run.model.card["ancestor"]["sha256"] == pretrained.model.card["weights"]["sha256"]


def test_finetuning_from_scratch_says_so(crystals, tmp_path, tiny):
    run = ep.finetune(
        crystals, "bulk_modulus", changes={**SHORT, "backbone": tiny}, out=tmp_path, progress=False
    )
    assert "from scratch" in run.report


def test_a_recipe_with_another_backbone_than_the_checkpoint_is_refused(
    pretrained, crystals, tmp_path
):
    with pytest.raises(CheckpointError, match="layers = 1, and the recipe asks for 3"):
        ep.finetune(
            crystals,
            "bulk_modulus",
            from_=pretrained,
            changes={
                **SHORT,
                "backbone": {"name": "torchmd_et", "width": 16, "layers": 3, "heads": 2},
            },
            out=tmp_path / "run",
            progress=False,
        )


def test_a_folder_with_another_run_is_refused_and_can_be_cleared(crystals, tmp_path, tiny):
    def run(epochs, **more):
        changes = {**SHORT, "training.epochs": epochs, "backbone": tiny}
        return ep.finetune(
            crystals, "bulk_modulus", changes=changes, out=tmp_path / "x", progress=False, **more
        )

    run(1)
    with pytest.raises(
        RunFolderError, match=r"training\.epochs is 1 there and 2 here.*--overwrite"
    ):
        run(2)
    run(2, overwrite=True)
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "thesis.tex").write_text("precious")
    with pytest.raises(RunFolderError, match="is not empty"):
        ep.pretrain("pretrain", data=crystals, out=tmp_path / "foreign")
    with pytest.raises(RunFolderError, match="will not be cleared"):
        ep.pretrain("pretrain", data=crystals, out=tmp_path / "foreign", overwrite=True)
    assert (tmp_path / "foreign" / "thesis.tex").exists()


def test_predictions_flag_what_the_model_has_not_seen(pretrained, crystals, tmp_path):
    numbers = crystals.numbers.tolist()
    rare = min(set(numbers), key=numbers.count)
    holds = torch.zeros(len(crystals), dtype=torch.bool)
    holds[crystals.crystal_of_atom[crystals.numbers == rare]] = True
    model = ep.finetune(
        crystals[~holds],
        "bulk_modulus",
        from_=pretrained,
        changes=SHORT,
        out=tmp_path / "run",
        progress=False,
    )
    table = ep.predict(model, crystals)
    assert list(table.columns) == ["id", "formula", "target", "unit", "value", "flag"]
    assert list(table["id"]) == list(crystals.ids)
    assert set(table["unit"]) == {"GPa"}
    unseen = table["flag"].str.contains("was not in the training data")
    assert unseen[holds.numpy()].all()
    assert unseen.mean() < 0.5
    with pytest.raises(InputError, match="lie outside the training data"):
        ep.predict(model, crystals, strict=True)


def test_squeezed_surroundings_are_flagged(pretrained, crystals):
    squeezed = crystals.with_targets({})
    squeezed = type(squeezed)(
        numbers=squeezed.numbers,
        positions=squeezed.positions * 0.7,
        cell=squeezed.cell * 0.7,
        pbc=squeezed.pbc,
        offsets=squeezed.offsets,
        ids=squeezed.ids,
    )
    flags = pretrained.model.coverage.flags(squeezed)
    assert sum("nearest neighbor" in flag for flag in flags) > 0.5 * len(flags)
    assert sum(map(bool, pretrained.model.coverage.flags(crystals))) < 0.2 * len(flags)


def test_the_best_weights_are_restored_and_patience_ends_the_run(crystals, tiny):
    recipe = load_recipe("finetune").altered(
        {
            "objectives": [{"name": "property", "target": "bulk_modulus"}],
            "backbone": tiny,
            "training.epochs": 60,
            "training.learning_rate": 0.05,
            "training.schedule": "constant",
            "training.patience": 2,
        }
    )
    fitted = train(recipe, crystals[:48], crystals[48:]).fitted
    losses = [row["loss"] for row in fitted.rows if row["split"] == "validation"]
    assert len(losses) < 60
    assert fitted.best_loss == min(losses)
    assert losses.index(min(losses)) + 1 == fitted.best_epoch == len(losses) - 2


def test_named_epochs_are_kept(crystals, tmp_path, tiny):
    run = ep.pretrain(
        "pretrain",
        data=crystals,
        backbone=tiny,
        changes={**SHORT, "training.keep_epochs": (1,)},
        out=tmp_path / "run",
        progress=False,
    )
    kept = ep.load(run.folder / "epochs" / "0001")
    last = ep.load(run.folder)
    different = [
        not torch.equal(a, b)
        for a, b in zip(kept.backbone.parameters(), last.backbone.parameters(), strict=True)
    ]
    assert any(different)


def test_a_loss_that_is_not_finite_names_the_crystals(crystals, tiny):
    recipe = load_recipe("finetune").altered(
        {
            "objectives": [{"name": "property", "target": "bulk_modulus", "loss_kind": "l2"}],
            "backbone": tiny,
            "training.learning_rate": 1e30,
            "training.clip": None,
            "training.schedule": "constant",
        }
    )
    with pytest.raises(TrainingError, match=r"the loss became .* on crystals .*-"):
        train(recipe, crystals)


def test_the_manifest_tells_what_a_run_was(pretrained):
    manifest = json.loads((pretrained.folder / "manifest.json").read_text())
    assert manifest["status"] == "finished"
    assert manifest["recipe"]["training"]["epochs"] == 2
    assert len(manifest["data"]["fingerprint"]) >= 32
    assert {"python", "torch", "epitaxy"} <= set(manifest["versions"])
    assert manifest["seconds"] > 0
