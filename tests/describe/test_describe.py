"""A data set becomes a table of fingerprints, whatever interrupts."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from epitaxy import describe as module
from epitaxy.cli import representations as cli
from epitaxy.crystals.arrow import read_parquet, write_arrow, write_parquet
from epitaxy.crystals.crystals import cat
from epitaxy.crystals.neighbors import build_graph
from epitaxy.datasets.bundled import bundled
from epitaxy.describe import describe
from epitaxy.descriptors import GMP, WACSF
from epitaxy.errors import InputError, RunFolderError
from epitaxy.registry import build


@pytest.fixture(scope="module")
def crystals():
    return bundled()[:9].with_targets({})


@pytest.fixture
def path(crystals, tmp_path):
    write_parquet(crystals, tmp_path / "crystals.parquet")
    return tmp_path / "crystals.parquet"


def test_atoms_stand_in_order_with_their_fingerprints(crystals, path, tmp_path):
    found = describe(path, tmp_path / "out.parquet", "wacsf", level="atom", shard=4)
    table = pq.read_table(found.path)
    expected = WACSF()(build_graph(crystals.to(dtype=torch.float32), 8.0)).numpy()
    assert table.column_names == ["id", "atom", "number", *WACSF().feature_names]
    assert table["number"].to_pylist() == crystals.numbers.tolist()
    assert table["id"].to_pylist()[-1] == crystals.ids[8]
    values = np.stack([table[name].to_numpy() for name in WACSF().feature_names], axis=1)
    np.testing.assert_allclose(values, expected, rtol=1e-4, atol=1e-4)
    assert (found.crystals, found.atoms, found.skipped) == (9, crystals.atom_total, {})
    settings = json.loads(table.schema.metadata[b"epitaxy"])["descriptor"]
    assert build("descriptors", settings) == WACSF()


def test_every_source_gives_the_same_table(crystals, path, tmp_path):
    write_arrow(crystals, tmp_path / "crystals.arrow")
    first = describe(path, tmp_path / "a.parquet", preset="set2", pooling="cumulants")
    for name, source in (("b", crystals), ("c", tmp_path / "crystals.arrow")):
        second = describe(
            source, tmp_path / f"{name}.parquet", preset="set2", pooling="cumulants", shard=2
        )
        one, two = (pq.read_table(found.path).to_pandas() for found in (first, second))
        assert list(one["id"]) == list(two["id"]) == list(crystals.ids)
        np.testing.assert_allclose(one.iloc[:, 1:], two.iloc[:, 1:], rtol=1e-3, atol=1e-4)


def test_an_interrupted_call_goes_on_where_it_stopped(path, tmp_path, monkeypatch):
    out = tmp_path / "out.parquet"
    written = []
    real = module._Task.write

    def write(self, rows, part):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(part.name)
        real(self, rows, part)

    monkeypatch.setattr(module._Task, "write", write)
    with pytest.raises(KeyboardInterrupt):
        describe(path, out, shard=3)
    assert not out.exists()
    with pytest.raises(RunFolderError, match="what another call began"):
        describe(path, out, shard=3, pooling="sum")
    with pytest.raises(KeyboardInterrupt):
        describe(path, out, shard=3)
    assert written == ["000000.parquet", "000001.parquet"]
    monkeypatch.setattr(module._Task, "write", real)
    found = describe(path, out, shard=3)
    assert found.crystals == 9
    whole = describe(path, tmp_path / "whole.parquet")
    one, two = (pq.read_table(described.path) for described in (found, whole))
    assert one.column_names == two.column_names
    assert one["id"].to_pylist() == two["id"].to_pylist()
    assert not out.with_name("out.parquet.parts").exists()


def test_crystals_that_cannot_be_used_are_left_out_and_named(crystals, tmp_path):
    heavy, torn = crystals[0], crystals[1]
    heavy.numbers[0] = 99
    torn.positions[0, 0] = torch.nan
    found = describe(cat([heavy, torn, crystals[2:4]]), tmp_path / "out.parquet", "gmp")
    assert found.crystals == 2
    assert "no electron density for Es" in found.skipped[heavy.ids[0]]
    assert "finite" in found.skipped[torn.ids[0]]
    assert "left out" in str(found)


def test_the_bundled_crystals_have_a_name(tmp_path):
    found = describe("bundled", tmp_path / "out.parquet", preset="set2")
    assert found.crystals == len(bundled())


def test_isolated_atoms_are_counted(crystals, tmp_path):
    found = describe(crystals[:2], tmp_path / "out.parquet", {"name": "wacsf", "cutoff": 0.6})
    assert found.isolated == found.atoms > 0


def test_a_file_that_is_there_is_not_replaced_unasked(path, tmp_path):
    out = tmp_path / "out.parquet"
    describe(path, out)
    with pytest.raises(RunFolderError, match="there already"):
        describe(path, out)
    assert describe(path, out, preset="set2", overwrite=True).crystals == 9


def test_wrong_arguments_are_named(path, tmp_path):
    for wrong, complaint in (
        ({"level": "bond"}, "level"),
        ({"jobs": 0}, "jobs"),
        ({"pooling": "x"}, "'x'"),
    ):
        with pytest.raises(InputError, match=complaint):
            describe(path, tmp_path / "out.parquet", **wrong)
    assert list(tmp_path.iterdir()) == [path]


def test_the_command_line_says_what_was_done(path, tmp_path, capsys):
    out = tmp_path / "out.parquet"
    changes = ["sigmas=[0.5, 1.0]"]
    cli.describe(str(path), out, descriptor="gmp", level="atom", changes=changes)
    assert "9 crystals with" in capsys.readouterr().out
    names = pq.read_schema(out).names
    assert names[3:] == list(GMP(sigmas=(0.5, 1.0)).feature_names)


@pytest.mark.slow
def test_several_processes_write_the_same_table(path, tmp_path):
    one = describe(path, tmp_path / "one.parquet", shard=2)
    two = describe(path, tmp_path / "two.parquet", shard=2, jobs=2)
    assert pq.read_table(one.path).equals(pq.read_table(two.path))
    assert len(read_parquet(path)) == 9
