"""A data set becomes a table of representations, whatever interrupts."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch import nn

from epitaxy import embeddings
from epitaxy.backbones import MEGNet, TorchMDET
from epitaxy.cli import representations as cli
from epitaxy.crystals.arrow import write_parquet
from epitaxy.crystals.crystals import cat
from epitaxy.embeddings import write_embeddings
from epitaxy.errors import InputError, RunFolderError
from epitaxy.training.checkpoint import Model, save_model
from epitaxy.training.coverage import Coverage
from epitaxy.training.embed import embed


@pytest.fixture(scope="module")
def some(crystals):
    return crystals[:7].with_targets({})


@pytest.fixture(scope="module")
def model(some, tmp_path_factory):
    torch.manual_seed(0)
    backbone = TorchMDET(width=8, layers=1, heads=2, radial=6, cutoff=3.5).eval()
    bare = Model(backbone, (), nn.ModuleList(), Coverage.of(some[:5]))
    return save_model(bare, tmp_path_factory.mktemp("run") / "mine", some[:1])


@pytest.fixture(scope="module")
def path(some, tmp_path_factory):
    path = tmp_path_factory.mktemp("crystals") / "crystals.parquet"
    write_parquet(some, path)
    return path


def test_the_file_is_the_table_of_embed(model, some, path, tmp_path):
    for options in ({"level": "atom", "layer": "01"}, {"pooling": "cumulants"}):
        found = write_embeddings(
            model, path, tmp_path / f"{len(options)}.parquet", **options, shard=3
        )
        table, expected = pq.read_table(found.path).to_pandas(), embed(model, some, **options)
        assert list(table.columns) == list(expected.columns)
        assert table["id"].tolist() == expected["id"].tolist()
        assert table["flag"].tolist() == expected["flag"].tolist()
        numbers = [name for name in table.columns if name not in ("id", "flag")]
        np.testing.assert_allclose(table[numbers], expected[numbers], rtol=1e-4, atol=1e-5)
    assert "crystals are flagged as unlike the training data" in str(found)


def test_edges_go_to_the_file_as_well(some, path, tmp_path):
    backbone = MEGNet(width=8, hidden=8, layers=1, radial=6, cutoff=3.5).eval()
    network = Model(backbone, (), nn.ModuleList(), Coverage.of(some))
    found = write_embeddings(network, path, tmp_path / "edges.parquet", level="edge", shard=2)
    assert pq.read_metadata(found.path).num_rows == backbone.graph_builder()(some).edge_total


def test_an_interrupted_call_goes_on_where_it_stopped(model, path, tmp_path, monkeypatch):
    out, written, real = tmp_path / "out.parquet", [], embeddings._Task.write

    def write(self, rows, part):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(part.name)
        real(self, rows, part)

    monkeypatch.setattr(embeddings._Task, "write", write)
    with pytest.raises(KeyboardInterrupt):
        write_embeddings(model, path, out, shard=3)
    assert not out.exists()
    with pytest.raises(RunFolderError, match="another call began"):
        write_embeddings(model, path, out, shard=3, layer="0")
    monkeypatch.setattr(embeddings._Task, "write", real)
    assert write_embeddings(model, path, out, shard=3).crystals == 7
    assert not out.with_name("out.parquet.parts").exists()


def test_crystals_that_cannot_be_used_are_left_out_and_named(model, some, tmp_path):
    torn = some[1]
    torn.positions[0, 0] = torch.nan
    found = write_embeddings(model, cat([torn, some[2:4]]), tmp_path / "out.parquet", shard=1)
    assert (found.crystals, [*found.skipped]) == (2, [torn.ids[0]])
    assert pq.read_table(found.path)["id"].to_pylist() == list(some.ids[2:4])


def test_the_command_line_says_what_was_done(model, path, tmp_path, capsys):
    out = tmp_path / "out.parquet"
    cli.embed(str(model.folder), str(path), out, level="atom", layer="1")
    assert "7 crystals with" in capsys.readouterr().out
    schema = pq.read_schema(out)
    assert schema.names[4:] == [f"NE1[{column}]" for column in range(8)]
    plan = json.loads(schema.metadata[b"epitaxy"])
    assert plan["model"]["sha256"] == model.card["weights"]["sha256"]
    with pytest.raises(RunFolderError, match="there already"):
        cli.embed(str(model.folder), str(path), out)
    with pytest.raises(InputError, match="no layer '2'"):
        cli.embed(str(model.folder), str(path), tmp_path / "other.parquet", layer="2")
