"""Fine-tuning on several targets, on classes and on atoms, from the data to the table."""

import json
from pathlib import Path

import pandas as pd
import pytest
import torch

import epitaxy as ep
from epitaxy.crystals.elements import symbol
from epitaxy.crystals.exchange import to_ase
from epitaxy.crystals.targets import Target
from epitaxy.errors import InputError
from epitaxy.evaluation.compare import run_comparison
from epitaxy.training.checkpoint import load_model
from epitaxy.training.predict import predict_probabilities, predict_values
from epitaxy.training.recipe import load_recipe
from epitaxy.training.train import labels_seen

GOLDEN = Path(__file__).parents[1] / "golden" / "property_checkpoint"
SHORT = {"training.epochs": 2, "training.batch_size": 16}


@pytest.fixture
def changes(tiny):
    return {**SHORT, "backbone": tiny}


@pytest.fixture
def oxides(crystals):
    """Crystals with the class 1 where there is oxygen; eight have none of it."""
    values = torch.zeros(len(crystals), dtype=torch.float64)
    values[crystals.crystal_of_atom[crystals.numbers == 8]] = 1.0
    values[:8] = torch.nan
    return crystals.with_targets({"oxide": Target(values)})


def test_a_checkpoint_from_before_several_targets_and_classes_predicts_what_it_did(crystals):
    """Written by the code of commit 566ca06; loading compares two predictions with those then."""
    card = json.loads((GOLDEN / "model.json").read_text())
    (written,) = card["objectives"]
    assert "task" not in written["settings"]
    model = load_model(GOLDEN)
    assert model.objectives[0].fitted == written["fitted"]
    smallest = torch.argsort(crystals.atom_counts, stable=True)[:2]
    values, declared = predict_values(model, crystals[smallest])["energy"]
    assert values.tolist() == pytest.approx(card["golden"]["values"]["energy"], rel=1e-4)
    assert declared == written["fitted"]


def test_two_targets_of_which_each_crystal_has_at_least_one(crystals, changes, tmp_path):
    modulus, energy = crystals.target("bulk_modulus"), crystals.target("energy")
    values = modulus.values.clone()
    values[::2] = torch.nan
    holed = crystals.with_targets({"modulus": modulus.with_values(values), "energy": energy})
    run = ep.finetune(
        holed, ["modulus[GPa]", "energy"], changes=changes, out=tmp_path / "run", progress=False
    )
    assert run.model.card["data"]["crystals"] == len(crystals)
    assert {"validation property/modulus_mae", "validation property/energy_mae"} <= set(
        run.model.card["figures"]
    )
    table = ep.predict(tmp_path / "run", crystals)
    assert list(table.columns) == ["id", "formula", "target", "unit", "value", "flag"]
    assert table.groupby("target")["unit"].unique().map(list).to_dict() == {
        "modulus": ["GPa"],
        "energy": ["eV"],
    }
    assert list(table["id"]) == 2 * list(crystals.ids)
    in_memory = predict_values(run.model, crystals)
    for name, rows in table.groupby("target"):
        assert rows["value"].tolist() == pytest.approx(in_memory[name][0].tolist())
    assert labels_seen(run.model) == ["modulus", "energy"]
    again = ep.finetune(
        crystals, "energy", from_=run, changes=SHORT, out=tmp_path / "next", progress=False
    )
    assert labels_seen(again.model) == ["energy", "modulus"]


def test_two_classes(oxides, changes, tmp_path):
    run = ep.finetune(
        oxides,
        "oxide",
        task="classification",
        changes={**changes, "training.epochs": 20, "training.learning_rate": 1e-2},
        out=tmp_path / "run",
        progress=False,
    )
    assert run.model.card["data"]["crystals"] == len(oxides) - 8
    figures = run.model.card["figures"]
    assert figures["validation property/balanced_accuracy"] > 0.8
    table = ep.predict(tmp_path / "run", oxides)
    names = ["id", "formula", "target", "unit", "value", "probability", "flag"]
    assert list(table.columns) == names
    assert set(table["value"]) == {0, 1}
    assert table["probability"].between(0.5, 1.0).all()
    known = oxides.target("oxide").present().numpy()
    right = table["value"].to_numpy() == oxides.target("oxide").values.numpy()
    assert right[known].mean() > 0.9
    probabilities = predict_probabilities(load_model(tmp_path / "run"), oxides)["oxide"]
    assert probabilities.shape == (len(oxides), 2)
    assert probabilities.argmax(-1).tolist() == table["value"].tolist()
    assert predict_values(run.model, oxides)["oxide"][0].tolist() == table["value"].tolist()


def test_moments_of_atoms_have_a_row_each(crystals, changes, tmp_path):
    run = ep.finetune(
        crystals,
        "magmoms",
        changes={**changes, "objectives.0.absolute": True},
        out=tmp_path / "run",
        progress=False,
    )
    table = ep.predict(tmp_path / "run", crystals)
    names = ["id", "atom", "element", "formula", "target", "unit", "value", "flag"]
    assert list(table.columns) == names
    assert len(table) == crystals.atom_total
    assert set(table["unit"]) == {"μB"}
    third = table[table["id"] == crystals.ids[2]]
    assert list(third["atom"]) == list(range(int(crystals.atom_counts[2])))
    assert list(third["element"]) == [symbol(number) for number in crystals[2].numbers.tolist()]
    in_memory = predict_values(run.model, crystals)["magmoms"][0]
    assert table["value"].tolist() == pytest.approx(in_memory.tolist())


def test_classes_in_words_are_to_be_numbered(crystals, changes, tmp_path):
    table = pd.DataFrame({"structure": to_ase(crystals[:12]), "phase": ["metal", "insulator"] * 6})
    with pytest.raises(InputError, match=r"e\.g\. 'metal'\. Classes are to be numbered: 0, 1"):
        ep.finetune(table, "phase", task="classification", changes=changes, out=tmp_path)


def test_a_measured_value_is_no_class(crystals, changes, tmp_path):
    with pytest.raises(InputError, match=r"'bulk_modulus' is .* in '.*', which is no class"):
        ep.finetune(
            crystals,
            "bulk_modulus",
            task="classification",
            changes=changes,
            out=tmp_path,
            progress=False,
        )


def test_a_comparison_takes_no_classification(crystals, oxides, tiny, tmp_path):
    ancestor = ep.pretrain(
        "fingerprint",
        data=crystals[:8],
        backbone=tiny,
        changes={"training.epochs": 1},
        out=tmp_path / "start",
        progress=False,
    )
    recipe = load_recipe("finetune").altered({"objectives.0.task": "classification"})
    with pytest.raises(InputError, match="compare takes regressions"):
        run_comparison(oxides, "oxide", from_=ancestor, recipe=recipe, out=tmp_path / "compare")
