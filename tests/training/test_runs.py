import json

import pytest
import torch
from filelock import FileLock

import epitaxy as ep
from epitaxy.crystals.targets import Target
from epitaxy.errors import (
    CheckpointError,
    InputError,
    RecipeError,
    RunFolderError,
    TrainingError,
)
from epitaxy.training.recipe import load_recipe
from epitaxy.training.train import train

SHORT = {"training.epochs": 2, "training.batch_size": 16}


@pytest.fixture(scope="module")
def pretrained(crystals, tmp_path_factory):
    backbone = {"name": "torchmd_et", "width": 16, "layers": 1, "heads": 2, "cutoff": 4.0}
    return ep.pretrain(
        "fingerprint",
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
        ep.pretrain("fingerprint", data=crystals, out=tmp_path / "foreign")
    with pytest.raises(RunFolderError, match="will not be cleared"):
        ep.pretrain("fingerprint", data=crystals, out=tmp_path / "foreign", overwrite=True)
    assert (tmp_path / "foreign" / "thesis.tex").exists()


def test_a_frozen_encoder_learns_again_when_it_is_an_ancestor(pretrained, crystals, tmp_path):
    def run(start, out, **changes):
        return ep.finetune(
            crystals,
            "bulk_modulus",
            from_=start,
            changes={**SHORT, **changes},
            out=tmp_path / out,
            progress=False,
        )

    frozen = run(pretrained, "frozen", **{"training.freeze": "encoder"})
    free = run(frozen, "free")
    pairs = zip(frozen.model.backbone.parameters(), free.model.backbone.parameters(), strict=True)
    assert any(not torch.equal(before, after) for before, after in pairs)


def test_a_taken_head_means_what_it_meant(pretrained, crystals, tmp_path):
    first = ep.finetune(
        crystals,
        "bulk_modulus",
        from_=pretrained,
        changes=SHORT,
        out=tmp_path / "a",
        progress=False,
    )
    again = ep.finetune(
        crystals[:16],
        "bulk_modulus",
        from_=first,
        head="taken",
        changes={**SHORT, "training.learning_rate": 1e-12},
        out=tmp_path / "b",
        progress=False,
    )
    ours, theirs = (ep.predict(run, crystals)["value"] for run in (first, again))
    assert (ours - theirs).abs().max() < 1e-2
    with pytest.raises(CheckpointError, match="take a new head"):
        ep.finetune(
            crystals, "energy", from_=first, head="taken", out=tmp_path / "c", progress=False
        )


def test_the_folder_of_the_ancestor_is_never_cleared(pretrained, crystals):
    with pytest.raises(RunFolderError, match="holds the weights to start from"):
        ep.finetune(
            crystals, "bulk_modulus", from_=pretrained, out=pretrained.folder, overwrite=True
        )
    assert ep.load(pretrained.folder)


def test_a_folder_with_a_foreign_manifest_is_not_cleared(crystals, tmp_path):
    (tmp_path / "manifest.json").write_text('{"name": "my web app"}')
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(RunFolderError, match="will not be cleared"):
        ep.pretrain("fingerprint", data=crystals, out=tmp_path, overwrite=True)
    assert (tmp_path / "thesis.tex").exists()


def test_a_folder_in_use_is_refused(crystals, tmp_path, tiny):
    with FileLock(tmp_path / ".lock"), pytest.raises(RunFolderError, match="another process"):
        ep.pretrain("fingerprint", data=crystals, backbone=tiny, out=tmp_path, progress=False)


def test_pretraining_with_labels_reads_those_it_needs(crystals, tmp_path, tiny):
    run = ep.pretrain(
        "fingerprint",
        data=crystals,
        backbone=tiny,
        objectives=[{"name": "fingerprint"}, {"name": "property", "target": "energy"}],
        changes=SHORT,
        out=tmp_path,
        progress=False,
    )
    assert run.model.targets == ("energy",)


def test_an_accelerator_that_is_not_there_is_one_line(crystals, tiny):
    recipe = load_recipe("fingerprint").altered(
        {"backbone": tiny, "training.accelerator": "banana"}
    )
    with pytest.raises(RecipeError, match="'banana'"):
        train(recipe, crystals[:8])


def test_an_output_that_cannot_be_written_is_one_line(crystals, tmp_path, tiny):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match="cannot be written"):
        ep.pretrain("fingerprint", data=crystals, backbone=tiny, out=tmp_path / "file" / "run")


def test_large_totals_keep_their_digits(crystals, tiny):
    """Energies of −250,000 eV per atom that differ by 0.1 eV: more digits than float32 has."""
    generator = torch.Generator().manual_seed(0)
    small = torch.randn(len(crystals), generator=generator, dtype=torch.float64) * 0.1
    values = (small - 250_000.0) * crystals.atom_counts
    labelled = crystals.with_targets({"energy": Target(values, unit="eV", extensive=True)})
    recipe = load_recipe("finetune").altered(
        {"objectives": [{"name": "property", "target": "energy"}], "backbone": tiny, **SHORT}
    )
    objective = train(recipe, labelled).model.objectives[0]
    labels = objective._label("energy", labelled).values
    expected = (small - small.mean()) / small.std(unbiased=False)
    torch.testing.assert_close(labels, expected, rtol=1e-6, atol=1e-6)


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


def test_bundled_is_the_crystals_of_the_package_in_predictions_too(monkeypatch, crystals, tiny):
    from epitaxy.training import pretrain as room
    from epitaxy.training.train import train as trained

    monkeypatch.setattr(room, "bundled", lambda: crystals[:6])
    recipe = load_recipe("finetune").altered(
        {**SHORT, "backbone": tiny, "objectives": [{"name": "property", "target": "bulk_modulus"}]}
    )
    table = ep.predict(trained(recipe, crystals[:32]).model, "bundled")
    assert list(table["id"]) == list(crystals.ids[:6])


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
        "fingerprint",
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


def test_all_that_was_skipped_is_written_down(crystals, tmp_path, tiny):
    double = type(crystals)(
        numbers=crystals.numbers,
        positions=crystals.positions,
        cell=crystals.cell,
        pbc=crystals.pbc,
        offsets=crystals.offsets,
        ids=["same"] * 20 + list(crystals.ids[20:]),
    )
    run = ep.pretrain(
        "fingerprint", data=double, backbone=tiny, changes=SHORT, out=tmp_path, progress=False
    )
    report = json.loads((tmp_path / "read_report.json").read_text())
    assert len(report["skipped"]) == 19
    assert run.model.card["data"]["crystals"] == len(crystals) - 19
