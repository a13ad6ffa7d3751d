"""Every form of public file gives the crystals and values that were written into it."""

import bz2
import csv
import gzip
import io
import json
import pickle
import random
import zipfile
import zlib

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from epitaxy.datasets.assembly import crystals_of
from epitaxy.datasets.cards import Card, CardFile, CardTarget, Reading
from epitaxy.datasets.forms import entries_of
from epitaxy.datasets.json_stream import JsonStream, descend
from epitaxy.datasets.pickles import PlainUnpickler, plain_pickle
from epitaxy.datasets.read_report import ReadLog
from epitaxy.errors import InputError

ENERGY = CardTarget(column="energy", unit="eV", extensive=True)
FORCES = CardTarget(column="forces", unit="eV/Å", level="atom", shape=(3,))
STRESS = CardTarget(column="stress", unit="eV/Å^3", source_unit="kbar", sign=-1, shape=(3, 3))


def salt(edge: float = 3.5) -> Atoms:
    atoms = Atoms("NaCl", scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5]], cell=[edge] * 3, pbc=True)
    return atoms


def structure(atoms: Atoms) -> dict:
    from pymatgen.core import Structure

    return Structure(
        np.array(atoms.cell), atoms.get_chemical_symbols(), atoms.get_scaled_positions()
    ).as_dict()


def card(form: str, targets: dict[str, CardTarget], **reading) -> Card:
    return Card(
        name="ours",
        title="Ours",
        reading=Reading(form=form, **reading),
        files=(CardFile(name="*"),),
        targets=targets,
    )


def read(paths, card: Card, log: ReadLog | None = None):
    from epitaxy.crystals.crystals import cat

    paths = paths if isinstance(paths, list) else [paths]
    chunks = crystals_of(entries_of(card, paths), card, card.targets, log or ReadLog(), at_once=2)
    return cat(list(chunks))


def check(crystals, edges, names=None) -> None:
    assert crystals.numbers.tolist() == [11, 17] * len(edges)
    assert crystals.cell[:, 0, 0].tolist() == pytest.approx(edges)
    assert crystals.positions[1::2, 0].tolist() == pytest.approx([edge / 2 for edge in edges])
    if names is not None:
        assert list(crystals.ids) == names


EDGES = [3.5, 3.6, 3.7]


def test_matbench_table(tmp_path):
    """Columns may stand before or behind the rows; a value may be missing or a truth."""
    rows = [
        [structure(salt(edge)), value] for edge, value in zip(EDGES, [1, None, True], strict=True)
    ]
    content = {"index": [0, 1, 2], "data": rows, "columns": ["structure", "gap pbe"]}
    with gzip.open(tmp_path / "a.json.gz", "wt") as file:
        json.dump(content, file)
    found = read(
        tmp_path / "a.json.gz", card("table_json", {"gap": CardTarget(column="gap pbe", unit="eV")})
    )
    check(found, EDGES, ["0", "1", "2"])
    assert found.target("gap").values.tolist() == pytest.approx([1, np.nan, 1], nan_ok=True)
    assert found.target("gap").unit == "eV"


def test_jarvis_records_in_a_zip(tmp_path):
    records = [
        {
            "jid": f"JVASP-{row}",
            "atoms": {
                "lattice_mat": np.diag([edge] * 3).tolist(),
                "coords": [[0, 0, 0], [0.5, 0.5, 0.5]],
                "elements": ["Na", "Cl"],
                "cartesian": False,
            },
            "mbj_bandgap": "na" if row else 2.5,
        }
        for row, edge in enumerate(EDGES)
    ]
    with zipfile.ZipFile(tmp_path / "jdft.json.zip", "w") as archive:
        archive.writestr("jdft.json", json.dumps(records))
        archive.writestr("__MACOSX/jdft.json", b"\x00")
    gap = {"gap": CardTarget(column="mbj_bandgap", unit="eV")}
    found = read(tmp_path / "jdft.json.zip", card("records_json", gap, structure="atoms", id="jid"))
    check(found, EDGES, ["JVASP-0", "JVASP-1", "JVASP-2"])
    assert found.target("gap").values.tolist() == pytest.approx([2.5, np.nan, np.nan], nan_ok=True)


def test_alexandria_entries_and_wbm_lines(tmp_path):
    """Records below a key, and one per line; values and structures in nested records."""
    entries = [
        {
            "structure": structure(salt(edge)),
            "energy": -edge,
            "data": {"mat_id": f"agm{row}", "e_above_hull": 0.1},
        }
        for row, edge in enumerate(EDGES)
    ]
    path = tmp_path / "alexandria_000.json.bz2"
    path.write_bytes(bz2.compress(json.dumps({"info": {"n": 3}, "entries": entries}).encode()))
    targets = {"energy": ENERGY, "hull": CardTarget(column="data.e_above_hull", unit="eV/atom")}
    found = read(path, card("records_json", targets, records="entries", id="data.mat_id"))
    check(found, EDGES, ["agm0", "agm1", "agm2"])
    assert found.target("energy").values.tolist() == pytest.approx([-edge for edge in EDGES])
    assert found.target("energy").extensive
    assert found.target("hull").values.tolist() == [0.1] * 3
    lines = tmp_path / "wbm.jsonl.gz"
    with gzip.open(lines, "wt") as file:
        for entry in entries:
            file.write(json.dumps({"cse": entry, "material_id": f"wbm-{entry['energy']}"}) + "\n")
    energy = {"energy": CardTarget(column="cse.energy", unit="eV")}
    again = read(lines, card("records_json", energy, structure="cse.structure", id="material_id"))
    check(again, EDGES, ["wbm--3.5", "wbm--3.6", "wbm--3.7"])


def test_mptrj_frames_with_the_sign_of_the_stress_turned(tmp_path):
    content = {
        f"mp-{compound}": {
            f"mp-{compound}-{frame}": {
                "structure": structure(salt(edge + 0.01 * frame)),
                "energy": -1.0,
                "forces": [[0, 0, frame], [0, 0, -frame]],
                "stress": (np.eye(3) * 1602.1766208).tolist(),
            }
            for frame in range(2)
        }
        for compound, edge in enumerate(EDGES)
    }
    (tmp_path / "MPtrj.json").write_text(json.dumps(content))
    targets = {"energy": ENERGY, "forces": FORCES, "stress": STRESS}
    found = read(tmp_path / "MPtrj.json", card("trajectories_json", targets))
    assert len(found) == 6
    assert found.ids[1] == "mp-0-1"
    assert found.target("forces").values[2:4].tolist() == [[0, 0, 1], [0, 0, -1]]
    assert np.allclose(found.target("stress").values, -np.eye(3), atol=1e-6)
    assert found.target("stress").unit == "eV/Å^3"
    last = read(tmp_path / "MPtrj.json", card("trajectories_json", {}, frames="last"))
    check(last, [edge + 0.01 for edge in EDGES])


@pytest.mark.parametrize("protocol", [2, 4])
def test_mpf_pickles_are_read_without_running_them(tmp_path, protocol):
    from pymatgen.core import Structure

    frames = [Structure.from_dict(structure(salt(edge))) for edge in EDGES]
    columns = {
        "structure": frames,
        "energy": [-1.0, -2.0, -3.0],
        "forces": [np.zeros((2, 3)), np.ones((2, 3)), [[0, 0, 1], [0, 0, -1]]],
        "stress": [(np.eye(3) * 10).tolist()] * 3,
        "id": ["a", "b", "c"],
    }
    (tmp_path / "block_0.p").write_bytes(pickle.dumps({"mp-1": columns}, protocol=protocol))
    targets = {"energy": ENERGY, "forces": FORCES, "stress": STRESS}
    found = read(tmp_path / "block_0.p", card("pickled_trajectories", targets))
    check(found, EDGES, ["mp-1-0", "mp-1-1", "mp-1-2"])
    assert found.target("forces").values[2:4].tolist() == [[1, 1, 1], [1, 1, 1]]
    assert float(found.target("stress").values[0, 0, 0]) == pytest.approx(-10 / 1602.1766208)
    relaxed = read(tmp_path / "block_0.p", card("pickled_trajectories", targets, frames="last"))
    check(relaxed, EDGES[-1:], ["mp-1-2"])


class Evil:
    def __init__(self, call, *arguments):
        self.call, self.arguments = call, arguments

    def __reduce__(self):
        return self.call, self.arguments


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_that_would_run_something_is_refused(tmp_path, protocol):
    import os
    import subprocess

    mark = tmp_path / "it ran"
    attacks = [
        Evil(os.system, f"touch '{mark}'"),
        Evil(subprocess.check_output, ["touch", str(mark)]),
        Evil(eval, f"open({str(mark)!r}, 'w')"),
        Evil(getattr, "x", "upper"),
        Evil(np.load, str(mark)),
    ]
    for attack in attacks:
        (tmp_path / "evil.p").write_bytes(pickle.dumps({"mp-1": attack}, protocol=protocol))
        with pytest.raises(InputError, match=r"run anything|is not read"):
            plain_pickle(tmp_path / "evil.p")
    assert not mark.exists()


def test_an_object_array_does_not_smuggle_anything(tmp_path):
    content = pickle.dumps(np.array([Evil(print, "x")], dtype=object))
    with pytest.raises(pickle.UnpicklingError):
        PlainUnpickler(io.BytesIO(content)).load()


def test_a_disordered_pickled_structure_is_left_out(tmp_path):
    from pymatgen.core import Structure

    mixed = Structure(np.eye(3) * 4, [{"Na": 0.5, "K": 0.5}], [[0, 0, 0]])
    whole = Structure.from_dict(structure(salt()))
    (tmp_path / "a.p").write_bytes(
        pickle.dumps({"a": {"structure": [mixed]}, "b": {"structure": [whole]}})
    )
    log = ReadLog()
    found = read(tmp_path / "a.p", card("pickled_trajectories", {}), log)
    assert list(found.ids) == ["b-0"]
    assert "disordered" in log.skipped[0].reason


def test_extended_xyz_alone_and_in_a_zip(tmp_path):
    from ase.io import write

    frames = []
    for row, edge in enumerate(EDGES):
        atoms = salt(edge)
        atoms.info["material_id"] = f"wbm-{row}"
        atoms.calc = SinglePointCalculator(atoms, energy=-edge, forces=np.full((2, 3), edge))
        frames.append(atoms)
    write(tmp_path / "all.extxyz", frames)
    targets = {"energy": ENERGY, "forces": FORCES}
    settings = card("xyz", targets, id="material_id", members="*.extxyz")
    found = read(tmp_path / "all.extxyz", settings)
    check(found, EDGES, ["wbm-0", "wbm-1", "wbm-2"])
    assert found.target("forces").values[:, 0].tolist() == pytest.approx(np.repeat(EDGES, 2))
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for atoms in frames:
            write(tmp_path / "one.extxyz", atoms)
            archive.write(tmp_path / "one.extxyz", f"{atoms.info['material_id']}.extxyz")
    check(read(tmp_path / "all.zip", settings), EDGES, ["wbm-0", "wbm-1", "wbm-2"])


def test_c2db_like_ase_database(tmp_path):
    from ase.db import connect

    with connect(tmp_path / "c2db.db") as database:
        for row, edge in enumerate(EDGES):
            atoms = salt(edge)
            atoms.pbc = [True, True, False]
            values = {"workfunction": 4.0 + row} if row else {}
            database.write(atoms, uid=f"NaCl-{row}", **values)
    target = {"work_function": CardTarget(column="workfunction", unit="eV")}
    found = read(tmp_path / "c2db.db", card("ase_db", target, id="uid"))
    check(found, EDGES, ["NaCl-0", "NaCl-1", "NaCl-2"])
    assert found.pbc.tolist() == [[True, True, False]] * 3
    assert found.target("work_function").values.tolist() == pytest.approx(
        [np.nan, 5, 6], nan_ok=True
    )
    slabs = card("ase_db", target, pbc=(True, False, False))
    assert read(tmp_path / "c2db.db", slabs).pbc.tolist() == [[True, False, False]] * 3


def test_omat_like_lmdb(tmp_path):
    lmdb = pytest.importorskip("lmdb", reason="the extra 'data' is not installed")
    base = lmdb.open(str(tmp_path / "data.aselmdb"), subdir=False, map_size=1 << 22)
    with base.begin(write=True) as transaction:
        for row, edge in enumerate(EDGES, start=1):
            atoms = salt(edge)
            stored = {
                "numbers": atoms.numbers.tolist(),
                "positions": atoms.positions.tolist(),
                "cell": np.array(atoms.cell).tolist(),
                "pbc": [True] * 3,
                "energy": -edge,
                "forces": np.full((2, 3), edge).tolist(),
                "stress": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
                "data": {"sid": f"s{row}"},
            }
            if row != 2:  # deleted
                transaction.put(str(row).encode(), zlib.compress(json.dumps(stored).encode()))
        transaction.put(b"nextid", zlib.compress(b"4"))
        transaction.put(b"deleted_ids", zlib.compress(b"[2]"))
        transaction.put(b"metadata", zlib.compress(b"{}"))
    base.close()
    stress = CardTarget(column="stress", unit="eV/Å^3", shape=(3, 3))
    targets = {"energy": ENERGY, "forces": FORCES, "stress": stress}
    found = read(tmp_path / "data.aselmdb", card("aselmdb", targets))
    check(found, [3.5, 3.7], ["data-1", "data-3"])
    assert found.target("stress").values[0].tolist() == [[1, 6, 5], [6, 2, 4], [5, 4, 3]]


def test_without_lmdb_the_error_names_the_package(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "lmdb", None)
    with pytest.raises(InputError, match=r"pip install .epitaxy\[data\]"):
        read(tmp_path / "a.aselmdb", card("aselmdb", {}))


def test_lemat_like_parquet(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [
        {
            "immutable_id": f"agm{row}",
            "lattice_vectors": np.diag([edge] * 3).tolist(),
            "cartesian_site_positions": (np.array([[0.0] * 3, [0.5] * 3]) * edge).tolist(),
            "species": json.dumps(
                [{"name": "Na", "chemical_symbols": ["Na"], "concentration": [1.0]}]
            ),
            "species_at_sites": ["Na", "Cl"],
            "dimension_types": [1, 1, 1],
            "energy": -edge,
            "forces": None if row else [[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]],
        }
        for row, edge in enumerate(EDGES)
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "lemat.parquet")
    targets = {"energy": ENERGY, "forces": FORCES}
    found = read(tmp_path / "lemat.parquet", card("parquet", targets, id="immutable_id"))
    check(found, EDGES, ["agm0", "agm1", "agm2"])
    assert found.target("forces").values[:2].tolist() == [[0, 0, 1], [0, 0, -1]]
    assert bool(found.target("forces").values[2:].isnan().all())


def test_qmof_like_archive_and_a_table_beside_it(tmp_path):
    from ase.io import write

    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow(["qmof_id", "outputs.pbe.bandgap"])
    with zipfile.ZipFile(tmp_path / "qmof.zip", "w") as archive:
        for row, edge in enumerate(EDGES):
            write(tmp_path / "one.cif", salt(edge))
            archive.write(tmp_path / "one.cif", f"qmof_database/relaxed_structures/qmof-{row}.cif")
            writer.writerow([f"qmof-{row}", row + 0.5])
        writer.writerow(["qmof-9", 1.0])
        archive.writestr("qmof_database/qmof.csv", table.getvalue())
    gap = {"gap": CardTarget(column="outputs.pbe.bandgap", unit="eV")}
    settings = {"id": "qmof_id", "table": "qmof.csv", "members": "*relaxed_structures/*.cif"}
    log = ReadLog()
    found = read(tmp_path / "qmof.zip", card("archive", gap, **settings), log)
    check(found, EDGES, ["qmof-0", "qmof-1", "qmof-2"])
    assert found.target("gap").values.tolist() == [0.5, 1.5, 2.5]
    assert [skipped.id for skipped in log.skipped] == ["qmof-9"]
    (tmp_path / "qmof.csv").write_text("qmof_id,outputs.pbe.bandgap\nqmof-1,7\n")
    both = [tmp_path / "qmof.zip", tmp_path / "qmof.csv"]
    beside = read(both, card("archive", gap, **settings))
    check(beside, [3.6], ["qmof-1"])
    assert beside.target("gap").values.tolist() == [7.0]


def test_any_other_form_that_crystals_are_read_from(tmp_path):
    from epitaxy.crystals.exchange import write_parquet
    from epitaxy.datasets.bundled import bundled

    some = bundled("frames")[:5]
    write_parquet(some, tmp_path / "own.parquet")
    found = read(tmp_path / "own.parquet", card("any", {"energy": ENERGY, "forces": FORCES}))
    assert list(found.ids) == list(some.ids)
    assert np.allclose(found.target("forces").values, some.target("forces").values)


def test_what_cannot_be_used_is_left_out_with_its_row_and_reason(tmp_path):
    rows = [
        [structure(salt()), 1.0, "a"],
        [structure(salt(0.3)), 1.0, "b"],
        [structure(salt()), "many", "c"],
        [structure(salt()), float("inf"), "d"],
        [structure(salt()), 1.0, "a"],
        [None, 1.0, "e"],
        [{"sites": []}, 1.0, "f"],
    ]
    content = {"index": list(range(7)), "columns": ["structure", "gap", "id"], "data": rows}
    (tmp_path / "a.json").write_text(json.dumps(content))
    log = ReadLog()
    found = read(
        tmp_path / "a.json", card("table_json", {"gap": CardTarget(column="gap")}, id="id"), log
    )
    assert list(found.ids) == ["a"]
    assert sorted(skipped.row for skipped in log.skipped) == [1, 2, 3, 4, 5, 6]
    reasons = {skipped.id: skipped.reason for skipped in log.skipped}
    assert "overlap" in reasons["b"]
    assert "'many'" in reasons["c"]
    assert "infinite" in reasons["d"]
    assert "already" in reasons["a"]
    assert "no 'structure'" in reasons["e"]


@pytest.mark.parametrize(
    ("form", "name", "content"),
    [
        ("table_json", "a.json", b'{"columns": ["structure"], "data": [[1'),
        ("table_json", "a.json.gz", gzip.compress(b'{"columns": ["structure"]', mtime=0)[:-9]),
        ("records_json", "a.json", b"12"),
        ("records_json", "a.json.zip", b"PK no zip"),
        ("xyz", "a.xyz", b"2\nno\n"),
        ("ase_db", "a.db", b"no database"),
        ("parquet", "a.parquet", b"PAR1"),
        ("archive", "a.zip", b"PK"),
        ("pickled_trajectories", "a.p", b"\x80\x04"),
        ("pickled_trajectories", "a.p", pickle.dumps([1])),
        ("trajectories_json", "a.json", b'{"a": [1]}'),
    ],
)
def test_a_damaged_file_is_named(tmp_path, form, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=name.replace(".", r"\.")):
        read(tmp_path / name, card(form, {}))


def test_json_is_the_same_in_pieces_and_whole(monkeypatch):
    from epitaxy.datasets import json_stream

    chance = random.Random(1)

    def made(depth: int):
        kind = chance.random()
        if depth == 0 or kind < 0.3:
            return chance.choice([1, -2.5e-7, 12345678901, 'a"é\\u\n{[', True, None, "", 0.1])
        if kind < 0.65:
            return [made(depth - 1) for _ in range(chance.randint(0, 4))]
        return {f'k{row},"': made(depth - 1) for row in range(chance.randint(0, 4))}

    for length in (1, 7, 64):
        monkeypatch.setattr(json_stream, "_PIECE", length)
        for _ in range(20):
            document = {"x": made(3), "data": [made(3) for _ in range(5)], "y": made(2)}
            text = json.dumps(document, indent=chance.choice([None, 1]))
            stream, found = JsonStream(io.StringIO(text), "it"), {}
            for key in stream.entries():
                if key == "data":
                    found[key] = [stream.value() for _ in stream.entries()]
                elif chance.random() < 0.5:
                    found[key] = stream.value()
            assert found == {key: document[key] for key in found}
            stream = JsonStream(io.StringIO(text), "it")
            assert descend(stream, "y")
            assert stream.value() == document["y"]
