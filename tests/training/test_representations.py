"""Node-embedding networks: frozen representations of one encoder are what another starts from."""

import subprocess
import sys

import pytest
import torch

import epitaxy as ep
from epitaxy.crystals.exchange import open_arrow, write_parquet
from epitaxy.errors import InputError
from epitaxy.training.train import labels_seen

SHORT = {"training.epochs": 1, "training.batch_size": 16}


@pytest.fixture(scope="module")
def encoder(crystals, tmp_path_factory):
    return ep.pretrain(
        data=crystals,
        backbone={"name": "torchmd_et", "width": 8, "layers": 2, "heads": 2, "cutoff": 4.0},
        changes=SHORT,
        out=tmp_path_factory.mktemp("runs") / "encoder",
        progress=False,
    )


def test_the_input_is_the_encoders_layers_and_names_its_weights(encoder, crystals):
    carried = ep.with_representations(encoder, crystals, layer="01")
    (name,) = carried.inputs
    assert name == f"NE01@{encoder.model.card['weights']['sha256'][:12]}"
    table = ep.embed(encoder, crystals, layer="01", level="atom")
    rows = torch.tensor(table.filter(like="NE").to_numpy())
    torch.testing.assert_close(carried.inputs[name], rows)
    assert list(carried.targets) == list(crystals.targets)


@pytest.mark.parametrize("mode", ["replace", "concatenate"])
@pytest.mark.parametrize("name", ["torchmd_et", "cgcnn", "megnet"])
def test_a_network_starts_from_them_and_is_saved(encoder, crystals, tmp_path, name, mode):
    carried = ep.with_representations(encoder, crystals, layer="012")
    (given,) = carried.inputs
    settings = {"name": name, "preset": "small", "inputs": [given, 24], "inputs_mode": mode}
    run = ep.finetune(
        carried,
        "bulk_modulus",
        changes={**SHORT, "backbone": settings},
        out=tmp_path / "run",
        progress=False,
    )
    again = ep.load(tmp_path / "run")
    values = ep.predict(run, carried)["value"]
    assert values.equals(ep.predict(again, carried)["value"])
    with pytest.raises(InputError, match=rf"'{given}' of 24 columns, and the crystals have no inp"):
        ep.predict(run, crystals)


def test_the_command_line_writes_what_the_next_command_reads(encoder, crystals, tmp_path):
    write_parquet(crystals, tmp_path / "some.parquet")
    out = tmp_path / "carried.arrow"
    command = ["embed", str(encoder.folder), str(tmp_path / "some.parquet"), "--layer", "012"]
    command = [sys.executable, "-m", "epitaxy.cli", *command, "--as-input", "-o", str(out)]
    told = subprocess.run(command, capture_output=True, text=True, check=True)
    name, columns = "NE012@" + encoder.model.card["weights"]["sha256"][:12], 24
    assert f'["{name}", {columns}]' in told.stdout
    mapped = open_arrow(out)
    assert mapped.inputs[name].shape == (crystals.atom_total, columns)
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert "is there already" in refused.stderr


def test_what_the_encoder_has_read_is_known_of_the_network(crystals, tmp_path, tiny):
    labelled = ep.finetune(
        crystals,
        "bulk_modulus",
        changes={**SHORT, "backbone": tiny},
        out=tmp_path / "a",
        progress=False,
    )
    carried = ep.with_representations(labelled, crystals, layer="0")
    (given,) = carried.inputs
    assert given.endswith("+bulk_modulus")
    run = ep.pretrain(
        data=carried,
        backbone={**tiny, "inputs": [given, 16]},
        changes=SHORT,
        out=tmp_path / "b",
        progress=False,
    )
    assert labels_seen(run.model) == ["bulk_modulus"]
    rows = ep.embed(run, carried, level="atom", layer="01")
    assert len(rows) == crystals.atom_total
