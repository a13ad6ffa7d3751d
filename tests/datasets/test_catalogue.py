"""Data sets by name: fetched, converted in bounded memory, mapped, with units and reports."""

import gzip
import hashlib
import json
import resource

import numpy as np
import pytest
import torch
from ase import Atoms

import epitaxy as ep
from epitaxy.crystals.arrow import MappedCrystals, open_arrow, read_parquet
from epitaxy.crystals.exchange import fingerprint, to_pymatgen
from epitaxy.datasets.bundled import bundled
from epitaxy.datasets.catalogue import conversion_report, convert_dataset, load_dataset
from epitaxy.datasets.columns import GrowingArrow, GrowingParquet
from epitaxy.datasets.readers import read_crystals, read_with_report
from epitaxy.datasets.servers import DownloadError
from epitaxy.datasets.store import get_dataset
from epitaxy.errors import InputError, SkippedWarning

CARD = """
[ours]
title = "Ours"
entries = {entries}
reading = {{ form = "table_json" }}
files = [{{ name = "ours.json.gz", addresses = ["{address}"], sha256 = "{sha256}" }}]
split = {{ protocol = "kfold", folds = 5, seed = 18012019 }}
targets.energy = {{ column = "e", unit = "meV/atom" }}
targets.is_metal = {{ column = "metal" }}
"""


def table(bad: bool = False) -> bytes:
    """Return a MatBench-like file of the first bundled crystals; the third may overlap itself."""
    rows = []
    for row, structure in enumerate(to_pymatgen(bundled()[:12].with_targets({}))):
        if bad and row == 2:
            structure.scale_lattice(0.01)
        rows.append([structure.as_dict(), 10.0 * row, bool(row % 2)])
    content = {"columns": ["structure", "e", "metal"], "index": list(range(12)), "data": rows}
    return gzip.compress(json.dumps(content).encode())


@pytest.fixture
def ours(server, cache, tmp_path, monkeypatch):
    """Give a data set of twelve crystals that a server on this machine has."""

    def make(bad: bool = False, entries: int = 12):
        content = table(bad)
        served = server.serve("/ours.json.gz", content)
        text = CARD.format(
            address=f"{server.base}/ours.json.gz",
            sha256=hashlib.sha256(content).hexdigest(),
            entries=entries,
        )
        (tmp_path / "cards.toml").write_text(text)
        monkeypatch.setenv("EPITAXY_CARDS", str(tmp_path / "cards.toml"))
        return served

    return make


def test_a_name_gives_mapped_crystals_with_declared_targets(ours, server):
    ours()
    crystals = ep.load_dataset("ours")
    assert isinstance(crystals, MappedCrystals)
    expected = bundled()[:12]
    assert torch.equal(crystals.numbers.long(), expected.numbers.long())
    assert torch.equal(crystals.offsets, expected.offsets)
    assert np.allclose(crystals.positions, expected.positions, atol=1e-5)
    assert crystals.target("energy").values.tolist() == [10.0 * row for row in range(12)]
    assert crystals.target("energy").unit == "meV/atom"
    assert crystals.target("is_metal").values.tolist() == [0, 1] * 6
    assert list(crystals.ids) == [str(row) for row in range(12)]
    server.files.clear()
    assert fingerprint(ep.load_dataset("ours")) == fingerprint(crystals)
    assert len(server.asked) == 1


def test_a_conversion_outlives_its_source(ours, server, cache):
    ours()
    load_dataset("ours")
    server.files.clear()
    (cache / "datasets" / "ours" / "ours.json.gz").unlink()
    assert len(load_dataset("ours")) == 12


def test_read_crystals_takes_a_name_where_there_is_no_such_path(ours, tmp_path, monkeypatch):
    ours()
    crystals, report = read_with_report("ours", targets="energy[eV/atom]")
    assert crystals.target("energy").values.tolist() == pytest.approx([0.01 * r for r in range(12)])
    assert "converted from meV/atom" in report.summary()
    assert report.form == "data set of the catalogue"
    assert list(read_crystals("ours").targets) == ["energy", "is_metal"]
    monkeypatch.chdir(tmp_path)
    bundled()[:2]
    from epitaxy.crystals.exchange import to_ase

    (tmp_path / "ours").mkdir()
    to_ase(bundled()[:1].with_targets({}))[0].write(tmp_path / "ours" / "a.cif")
    assert len(read_crystals("ours")) == 1


def test_a_name_that_is_none_gets_the_nearest_but_a_path_does_not(cache):
    with pytest.raises(InputError, match="Did you mean 'matbench_jdft2d'"):
        read_crystals("matbench_jdf2d")
    with pytest.raises(InputError) as raised:
        read_crystals("folder/crystals.cif")
    assert "catalogue" not in str(raised.value)


def test_unknown_targets_and_units_are_answered_with_what_there_is(ours):
    ours()
    with pytest.raises(InputError, match="Did you mean 'energy'") as raised:
        load_dataset("ours", targets=["enrgy"])
    assert "energy, is_metal" in str(raised.value)
    with pytest.raises(InputError, match="no conversion is known"):
        load_dataset("ours", targets="energy[bananas]")
    chosen = load_dataset("ours", targets=["energy[eV/atom]"])
    assert list(chosen.targets) == ["energy"]
    assert float(chosen.target("energy").values[1]) == pytest.approx(0.01)
    with pytest.raises(InputError, match="no column or target 'gap'"):
        read_crystals("ours", targets=["gap"])


def test_what_was_left_out_is_told_once_and_stays_on_record(ours):
    ours(bad=True)
    with pytest.warns(SkippedWarning, match="Read 11 of 12"):
        crystals = load_dataset("ours")
    assert "2" not in crystals.ids
    assert len(load_dataset("ours")) == 11
    report = conversion_report("ours")
    assert [skipped.row for skipped in report.skipped] == [2]
    assert any("folds are over all rows" in note for note in report.notes)
    assert "1 entries of 'ours' were left out" in read_with_report("ours")[1].summary()


def test_another_number_of_entries_than_the_card_says_is_told(ours, tmp_path):
    ours(entries=13)
    report = convert_dataset("ours", tmp_path / "ours.arrow")
    assert any("13 entries, but there were 12" in note for note in report.notes)


@pytest.mark.parametrize("suffix", [".arrow", ".parquet"])
def test_the_command_writes_what_load_dataset_returns(ours, tmp_path, command, suffix):
    ours()
    path = tmp_path / f"written{suffix}"
    status, out, _ = command("data", "convert", "ours", "--out", str(path))
    assert status == 0
    assert "Read 12 of 12 crystals" in out
    written = open_arrow(path) if suffix == ".arrow" else read_parquet(path)
    assert fingerprint(written) == fingerprint(load_dataset("ours"))
    assert not [one for one in tmp_path.iterdir() if one.name.startswith(".written")]


def test_the_command_chooses_targets_units_and_how_many(ours, tmp_path, command):
    ours()
    path = tmp_path / "a.parquet"
    command("data", "convert", "ours", "-o", str(path), "-t", "energy[eV/atom]", "--limit", "5")
    some = read_parquet(path)
    assert len(some) == 5
    assert list(some.targets) == ["energy"]
    assert some.target("energy").values.tolist() == pytest.approx([0, 0.01, 0.02, 0.03, 0.04])
    assert some.target("energy").unit == "eV/atom"
    assert "in the cache" not in command("data", "convert", "ours")[1]
    assert command("data", "convert", "ours", "-o", "a.csv")[0] == 1
    assert "Did you mean 'energy'" in command("data", "convert", "ours", "-t", "enrgy")[2]


def test_the_first_few_of_a_data_set_can_be_asked_for(ours):
    ours()
    some, whole = load_dataset("ours", limit=5), load_dataset("ours")
    assert list(some.ids) == list(whole.ids)[:5]
    assert len(whole) == 12


def test_a_new_declaration_is_a_new_conversion(ours, tmp_path):
    ours()
    load_dataset("ours")
    text = (tmp_path / "cards.toml").read_text()
    (tmp_path / "cards.toml").write_text(text.replace("meV/atom", "eV/atom"))
    assert load_dataset("ours").target("energy").unit == "eV/atom"


@pytest.mark.parametrize("suffix", [".arrow", ".parquet"])
def test_a_full_disk_leaves_no_half_conversion(ours, tmp_path, suffix):
    ours()
    get_dataset("ours")
    most, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (600, hard))
    try:
        with pytest.raises(DownloadError, match="could not be written"):
            convert_dataset("ours", tmp_path / "out" / f"a{suffix}")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    assert list((tmp_path / "out").iterdir()) == []


def test_growing_files_are_the_same_as_writing_at_once(tmp_path):
    frames = bundled("frames")[:40]
    chunks = [frames[start : start + 13] for start in range(0, len(frames), 13)]
    for growing, suffix, opened in (
        (GrowingArrow, ".arrow", open_arrow),
        (GrowingParquet, ".parquet", read_parquet),
    ):
        path = tmp_path / f"a{suffix}"
        with growing(path) as file:
            for chunk in chunks:
                file.add(chunk.to(dtype=torch.float64))
            file.finish()
        assert fingerprint(opened(path)) == fingerprint(frames.to(dtype=torch.float64))
        assert [one.name for one in tmp_path.iterdir() if one.name.startswith(".")] == []


def test_files_of_a_data_set_can_grow_in_number(tmp_path, cache, monkeypatch):
    """A data set in parts, put there by hand: a new part is read, too."""
    (tmp_path / "cards.toml").write_text(
        '[parts]\ntitle = "Parts"\nreading = { form = "records_json", id = "id" }\n'
        'files = [{ name = "part_*.json" }]\n'
    )
    monkeypatch.setenv("EPITAXY_CARDS", str(tmp_path / "cards.toml"))
    folder = cache / "datasets" / "parts"
    folder.mkdir(parents=True)
    for count in (1, 2):
        atoms = Atoms("Fe", cell=[2.8] * 3, pbc=True)
        record = {
            "id": f"fe-{count}",
            "structure": {
                "elements": ["Fe"],
                "lattice_mat": np.array(atoms.cell).tolist(),
                "coords": [[0, 0, 0]],
            },
        }
        (folder / f"part_{count}.json").write_text(json.dumps([record]))
        assert len(load_dataset("parts")) == count


def test_the_materials_project_asks_for_its_package_and_its_key(cache, monkeypatch):
    monkeypatch.delenv("MP_API_KEY", raising=False)
    with pytest.raises(Exception, match=r"mp-api|MP_API_KEY"):
        load_dataset("materials_project", query={"elements": ["Fe"]})


def test_a_file_is_asked_no_questions(ours):
    ours()
    with pytest.raises(InputError, match="takes no provider"):
        load_dataset("ours", provider="http://nowhere.invalid")
