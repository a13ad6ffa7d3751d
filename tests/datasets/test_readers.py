"""Crystals are read from whatever people have, with their targets, units and ids."""

import csv
import gzip
import json
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from epitaxy.crystals import exchange
from epitaxy.crystals.crystals import Crystals, cat
from epitaxy.crystals.targets import Target
from epitaxy.datasets import cache
from epitaxy.datasets.readers import read_crystals, read_with_report
from epitaxy.errors import InputError, SkippedWarning

pytestmark = pytest.mark.filterwarnings("ignore::epitaxy.errors.SkippedWarning")

GAPS = [5.0, 0.0, 3.2]


def salts() -> Crystals:
    """Return rock salt, iron and a perovskite, with one crystal- and one atom-level target."""
    parts = []
    for name, numbers, fractional, edge in (
        ("NaCl", [11, 17], [[0, 0, 0], [0.5, 0.5, 0.5]], 3.5),
        ("Fe", [26], [[0, 0, 0]], 2.8),
        ("CaTiO3", [20, 22, 8, 8, 8],
         [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]], 3.9),
    ):  # fmt: skip
        parts.append(
            Crystals(
                numbers=torch.tensor(numbers),
                positions=torch.tensor(fractional, dtype=torch.float64) * edge,
                cell=torch.eye(3, dtype=torch.float64)[None] * edge,
                pbc=torch.ones(1, 3, dtype=torch.bool),
                offsets=torch.tensor([0, len(numbers)]),
                ids=[name],
            )
        )
    return cat(parts)


@pytest.fixture
def crystals() -> Crystals:
    magmoms = Target(torch.arange(8.0, dtype=torch.float64), "atom", "μB")
    gap = Target(torch.tensor(GAPS, dtype=torch.float64), "crystal", "eV")
    return salts().with_targets({"gap": gap, "magmoms": magmoms})


@pytest.fixture
def structures() -> list:
    return exchange.to_pymatgen(salts())


def write_cifs(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for structure, name in zip(exchange.to_pymatgen(salts()), salts().ids, strict=True):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            structure.to(filename=str(folder / f"{name}.cif"))


def write_csv(path: Path, rows: list) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


def assert_salts(found: Crystals, ids=("NaCl", "Fe", "CaTiO3")) -> None:
    expected = salts()[[("NaCl", "Fe", "CaTiO3").index(name) for name in ids]]
    assert list(found.ids) == list(ids)
    assert torch.equal(found.atom_counts, expected.atom_counts)
    assert torch.equal(found.numbers, expected.numbers)
    assert torch.allclose(found.volumes, expected.volumes, rtol=1e-5)
    assert found.pbc.all()


def test_a_cif_is_one_crystal_named_by_its_file(tmp_path):
    write_cifs(tmp_path)
    found, report = read_with_report(tmp_path / "CaTiO3.cif")
    assert_salts(found, ["CaTiO3"])
    assert report.form == "CIF"
    assert report.read == 1
    assert not report.skipped


@pytest.mark.parametrize("name", ["POSCAR", "CONTCAR_relaxed", "salt.vasp"])
def test_a_poscar_is_one_crystal(tmp_path, name):
    import ase.io

    ase.io.write(tmp_path / name, exchange.to_ase(salts())[0], format="vasp")
    found = read_crystals(tmp_path / name)
    assert found.numbers.tolist() == [11, 17]
    assert list(found.ids) == ["salt" if name == "salt.vasp" else name]


def test_the_frames_of_an_extended_xyz_are_crystals_with_energies_and_forces(tmp_path):
    import ase.build
    import ase.io
    from ase.calculators.emt import EMT

    frames = []
    for scale in (0.98, 1.0, 1.02):
        atoms = ase.build.bulk("Cu", a=3.6 * scale) * (1, 1, 2)
        atoms.calc = EMT()
        atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()
        frames.append(atoms)
    ase.io.write(tmp_path / "run.extxyz", frames)
    found, report = read_with_report(tmp_path / "run.extxyz")
    assert list(found.ids) == ["run", "run-1", "run-2"]
    assert found.targets["energy"].unit == "eV"
    assert found.targets["energy"].extensive
    assert found.targets["forces"].values.shape == (6, 3)
    assert found.targets["stress"].values.shape == (3, 3, 3)
    expected = [atoms.get_potential_energy() for atoms in frames]
    assert found.targets["energy"].values.tolist() == pytest.approx(expected)
    assert report.form == "extended XYZ"
    assert read_crystals(tmp_path / "run.extxyz", targets="energy[meV]").targets[
        "energy"
    ].values.tolist() == pytest.approx([1000 * value for value in expected])


def test_a_plain_xyz_is_a_molecule(tmp_path):
    (tmp_path / "water.xyz").write_text("3\n\nO 0 0 0\nH 0.96 0 0\nH -0.24 0.93 0\n")
    found, report = read_with_report(tmp_path / "water.xyz")
    assert not found.pbc.any()
    assert found.numbers.tolist() == [8, 1, 1]
    assert any("1 structures are not periodic" in note for note in report.notes)


def test_an_ase_database_gives_its_key_value_pairs(tmp_path):
    from ase.db import connect

    with connect(tmp_path / "all.db") as database:
        for atoms, gap in zip(exchange.to_ase(salts()), GAPS, strict=True):
            atoms.info = {}
            database.write(atoms, gap=gap, phase="cold")
    found = read_crystals(tmp_path / "all.db", targets="gap[eV]")
    assert list(found.ids) == ["1", "2", "3"]
    assert found.targets["gap"].values.tolist() == GAPS
    assert found.targets["gap"].unit == "eV"


def forms_of_json(structures: list) -> dict:
    dictionaries = [structure.as_dict() for structure in structures]
    ids = ["NaCl", "Fe", "CaTiO3"]
    records = [{"structure": d, "gap": g} for d, g in zip(dictionaries, GAPS, strict=True)]
    return {
        "list": dictionaries,
        "mapping": dict(zip(ids, dictionaries, strict=True)),
        "records": [record | {"id": name} for record, name in zip(records, ids, strict=True)],
        "mapping of records": dict(zip(ids, records, strict=True)),
        "matbench": {
            "index": ids,
            "columns": ["structure", "gap"],
            "data": [[d, g] for d, g in zip(dictionaries, GAPS, strict=True)],
        },
    }


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("form", ["list", "mapping", "records", "mapping of records", "matbench"])
def test_every_form_of_pymatgen_json_is_read(tmp_path, structures, form, packed):
    text = json.dumps(forms_of_json(structures)[form])
    path = tmp_path / ("all.json.gz" if packed else "all.json")
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    found = read_crystals(path)
    assert_salts(found)
    if form in ("records", "mapping of records", "matbench"):
        assert found.targets["gap"].values.tolist() == GAPS


def test_one_structure_in_json_is_one_crystal(tmp_path, structures):
    structures[1].properties = {}
    (tmp_path / "iron.json").write_text(json.dumps(structures[1].as_dict()))
    found = read_crystals(tmp_path / "iron.json")
    assert list(found.ids) == ["iron"]
    assert found.numbers.tolist() == [26]


def test_parquet_and_arrow_in_the_exchange_layout_are_read(tmp_path, crystals):
    exchange.write_parquet(crystals, tmp_path / "all.parquet")
    exchange.write_arrow(crystals, tmp_path / "all.arrow")
    for name in ("all.parquet", "all.arrow"):
        found, report = read_with_report(tmp_path / name)
        assert_salts(found[:])
        assert set(found.targets) == {"gap", "magmoms"}
        assert torch.equal(found.targets["magmoms"].values, crystals.targets["magmoms"].values)
        assert report.read == 3


def test_parquet_with_a_column_of_cif_text_is_read(tmp_path, structures):
    import pyarrow as pa
    import pyarrow.parquet

    texts = [structure.to(fmt="cif") for structure in structures]
    table = pa.table({"material_id": ["a", "b", "c"], "cif": texts, "gap": GAPS})
    pyarrow.parquet.write_table(table, tmp_path / "all.parquet")
    found = read_crystals(tmp_path / "all.parquet")
    assert list(found.ids) == ["a", "b", "c"]
    assert found.targets["gap"].values.tolist() == GAPS


def test_a_folder_without_a_table_is_its_structures(tmp_path):
    write_cifs(tmp_path)
    (tmp_path / "atom_init.json").write_text("{}")
    (tmp_path / "notes.txt").write_text("cold")
    found, report = read_with_report(tmp_path)
    assert_salts(found, ["CaTiO3", "Fe", "NaCl"])
    assert not found.targets
    assert not report.skipped


def test_a_folder_with_id_prop_names_its_values_as_the_caller_does(tmp_path):
    write_cifs(tmp_path)
    rows = [["CaTiO3", 3.2, -2.0], ["NaCl", 5.0, -1.0], ["Fe", 0.0, 0.5]]
    write_csv(tmp_path / "id_prop.csv", rows)
    found = read_crystals(tmp_path, targets=("gap[eV]", "formation[eV/atom]"))
    assert_salts(found, ["CaTiO3", "NaCl", "Fe"])
    assert found.targets["gap"].values.tolist() == [3.2, 5.0, 0.0]
    assert found.targets["formation"].unit == "eV/atom"
    assert list(read_crystals(tmp_path).targets) == ["target_1", "target_2"]


def test_a_folder_with_a_table_with_header_is_read(tmp_path):
    write_cifs(tmp_path)
    rows = [["file", "gap[eV]", "phase"], ["NaCl.cif", 5.0, "b"], ["Fe.cif", 0.0, "a"],
            ["CaTiO3.cif", "", "c"]]  # fmt: skip
    write_csv(tmp_path / "targets.csv", rows)
    found = read_crystals(tmp_path)
    assert_salts(found)
    assert list(found.targets) == ["gap"]
    assert found.targets["gap"].unit == "eV"
    assert found.targets["gap"].present().tolist() == [True, True, False]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_csv_names_files_relative_to_itself(tmp_path, delimiter):
    write_cifs(tmp_path / "cifs")
    lines = [f"path{delimiter}key{delimiter}gap"]
    lines += [
        f"cifs/{n}.cif{delimiter}k{n}{delimiter}{g}" for n, g in zip(salts().ids, GAPS, strict=True)
    ]
    (tmp_path / "all.csv").write_text("\ufeff" + "\n".join(lines) + "\n", encoding="utf-8")
    found = read_crystals(tmp_path / "all.csv", id_column="key")
    assert list(found.ids) == ["kNaCl", "kFe", "kCaTiO3"]
    assert found.targets["gap"].values.tolist() == GAPS
    assert_salts(read_crystals(tmp_path / "all.csv"))


def test_a_csv_row_with_more_cells_than_columns_is_refused(tmp_path):
    write_cifs(tmp_path / "cifs")
    (tmp_path / "all.csv").write_text("path,gap\ncifs/NaCl.cif,5.0\ncifs/Fe.cif,0,2\n")
    with pytest.raises(InputError, match="line 3 has 3 cells, and the first line 2"):
        read_crystals(tmp_path / "all.csv")


def test_a_csv_may_hold_the_cifs_themselves(tmp_path, structures):
    rows = [["id", "cif", "gap[meV]"]]
    rows += [
        [name, structure.to(fmt="cif"), 1000 * gap]
        for name, structure, gap in zip(salts().ids, structures, GAPS, strict=True)
    ]
    write_csv(tmp_path / "all.csv", rows)
    found, report = read_with_report(tmp_path / "all.csv", targets="gap[eV]")
    assert_salts(found)
    assert found.targets["gap"].values.tolist() == pytest.approx(GAPS)
    assert any("'gap' was converted from meV to eV" in note for note in report.notes)


def test_a_dataframe_is_read_by_its_column_of_structures(structures):
    import pandas as pd

    frame = pd.DataFrame({"id": salts().ids, "final": structures, "gap": GAPS, "who": ["a"] * 3})
    found, report = read_with_report(frame)
    assert_salts(found)
    assert list(found.targets) == ["gap"]
    assert report.form == "pandas DataFrame"
    atoms = pd.DataFrame({"atoms": exchange.to_ase(salts()), "gap": GAPS})
    assert_salts(read_crystals(atoms))


def test_structures_in_memory_are_read_mixed_and_alone(structures):
    mixed = [structures[0], exchange.to_ase(salts())[1], structures[2]]
    assert_salts(read_crystals(mixed))
    assert_salts(read_crystals(structures[1]), ["Fe"])
    assert_salts(read_crystals(exchange.to_ase(salts())[1]), ["Fe"])


def test_a_list_of_files_is_read(tmp_path):
    write_cifs(tmp_path)
    assert_salts(read_crystals([tmp_path / "Fe.cif", str(tmp_path / "NaCl.cif")]), ["Fe", "NaCl"])


def test_crystals_are_returned_with_the_targets_asked_for(crystals):
    found = read_crystals(crystals, targets="gap[meV]")
    assert list(found.targets) == ["gap"]
    assert found.targets["gap"].values.tolist() == [1000 * gap for gap in GAPS]
    assert found.positions is crystals.positions


def test_extensive_targets_are_declared_by_name_or_all(crystals):
    assert read_crystals(crystals, extensive=["gap"]).targets["gap"].extensive
    assert read_crystals(crystals, extensive="gap").targets["gap"].extensive
    every = read_crystals(crystals, extensive=True).targets
    assert every["gap"].extensive
    assert not every["magmoms"].extensive
    declared = read_crystals(crystals, extensive=True)
    assert read_crystals(declared).targets["gap"].extensive
    assert not read_crystals(declared, extensive=False).targets["gap"].extensive


def test_a_unit_is_stated_where_the_source_has_none(crystals):
    gap = Target(torch.tensor(GAPS), unit="")
    found, report = read_with_report(crystals.with_targets({"gap": gap}), targets="gap[meV]")
    assert found.targets["gap"].unit == "meV"
    assert found.targets["gap"].values.tolist() == (gap.values.tolist())
    assert report.notes == ("the source states no unit for 'gap': taken as meV.",)


def test_a_report_speaks_to_people_and_machines(tmp_path):
    write_cifs(tmp_path)
    (tmp_path / "broken.cif").write_text("data_x\n_cell_length_a ?\n")
    _, report = read_with_report(tmp_path)
    assert "Read 3 of 4 crystals" in report.summary()
    assert "broken.cif" in report.summary()
    plain = json.loads(report.to_json())
    assert plain["read"] == 3
    assert plain["skipped"][0]["file"].endswith("broken.cif")


def test_good_but_odd_structures_are_read_and_noted(tmp_path):
    import ase
    import ase.io

    left = ase.Atoms("Fe", cell=np.diag([2.8, 2.8, -2.8]), pbc=True)
    lonely = ase.Atoms("He", cell=[30, 30, 30], pbc=True)
    slab = ase.Atoms("Pt2", [[0, 0, 0], [0, 0, 2.5]], cell=[2.7, 2.7, 0], pbc=(True, True, False))
    gas = ase.Atoms("N2", [[0, 0, 0], [0, 0, 1.1]])
    outside = ase.Atoms("Fe2", [[-9.0, 0, 0], [1.4, 15.4, 1.4]], cell=[2.8] * 3, pbc=True)
    found, report = read_with_report([left, lonely, slab, gas, outside])
    assert len(found) == 5
    assert not report.skipped
    notes = " ".join(report.notes)
    assert "1 atoms in 1 crystals have no neighbor within 6 Å, e.g. in '1'" in notes
    assert "1 structures are not periodic" in notes
    assert "1 structures are periodic in one" in notes


def test_a_cache_is_made_once_and_anew_when_its_source_changes(tmp_path, crystals, monkeypatch):
    monkeypatch.setenv("EPITAXY_CACHE", str(tmp_path / "cache"))
    source = tmp_path / "all.parquet"
    exchange.write_parquet(crystals, source)
    first = cache.cached_arrow(source)
    made = first.stat().st_mtime_ns
    assert cache.cached_arrow(source) == first
    assert first.stat().st_mtime_ns == made
    assert exchange.fingerprint(exchange.open_arrow(first)) == exchange.fingerprint(crystals)
    exchange.write_parquet(crystals[:2], source)
    second = cache.cached_arrow(source)
    assert second != first
    assert len(exchange.open_arrow(second)) == 2
    assert cache.cached_arrow(second) == second
    with pytest.raises(InputError, match=r"no file"):
        cache.cached_arrow(tmp_path / "none.parquet")


@pytest.mark.parametrize("kind", ["crystals", "frames"])
def test_the_bundled_crystals_are_sound(kind):
    from epitaxy.datasets.bundled import bundled

    found = bundled(kind)
    _, report = read_with_report(exchange.to_ase(found.with_targets({})))
    assert report.read == len(found) > 0
    assert found.targets
    assert len(set(found.ids)) == len(found)


def test_a_name_that_two_rows_share_is_no_id(tmp_path, structures):
    rows = [["name", "cif", "gap"]]
    rows += [["CsCl", s.to(fmt="cif"), g] for s, g in zip(structures, GAPS, strict=True)]
    write_csv(tmp_path / "all.csv", rows)
    found, report = read_with_report(tmp_path / "all.csv")
    assert_salts(replace(found, ids=salts().ids))
    assert list(found.ids) == ["0", "1", "2"]
    assert any("column 'name' holds a name twice" in note for note in report.notes)
    write_cifs(tmp_path)
    files = [["name", "file"], ["salt", "NaCl.cif"], ["salt", "Fe.cif"]]
    write_csv(tmp_path / "all.csv", files)
    assert list(read_crystals(tmp_path / "all.csv").ids) == ["NaCl", "Fe"]
    write_csv(tmp_path / "all.csv", [*files[:2], ["iron", "Fe.cif"]])
    assert list(read_crystals(tmp_path / "all.csv").ids) == ["salt", "iron"]


def test_a_name_that_two_rows_share_is_no_id_in_json_and_databases(tmp_path, structures):
    from ase.db import connect

    for structure in structures:
        structure.properties = {}
    records = [{"name": "CsCl", "structure": structure.as_dict()} for structure in structures]
    (tmp_path / "all.json").write_text(json.dumps(records))
    assert list(read_crystals(tmp_path / "all.json").ids) == ["0", "1", "2"]
    with connect(tmp_path / "all.db") as database:
        for atoms in exchange.to_ase(salts()):
            atoms.info = {}
            database.write(atoms, name="CsCl")
    assert list(read_crystals(tmp_path / "all.db").ids) == ["1", "2", "3"]


@pytest.mark.parametrize("first", ["", "n/a", "nan", "n.d."])
def test_id_prop_needs_no_header_even_if_its_first_value_is_missing(tmp_path, first):
    write_cifs(tmp_path)
    write_csv(tmp_path / "id_prop.csv", [["NaCl", first], ["Fe", 0.0], ["CaTiO3", 3.2]])
    found = read_crystals(tmp_path, targets="y")
    assert list(found.ids) == ["Fe", "CaTiO3"]
    assert found.targets["y"].values.tolist() == [0.0, 3.2]


def test_id_prop_may_have_a_header(tmp_path):
    write_cifs(tmp_path)
    write_csv(tmp_path / "id_prop.csv", [["id", "gap[eV]"], ["NaCl", ""], ["Fe", 0.0]])
    found = read_crystals(tmp_path, targets="gap")
    assert list(found.ids) == ["Fe"]
    assert found.targets["gap"].unit == "eV"


def labelled_sources(folder: Path) -> dict:
    """Return salts in every form of source, with labels that no target could be made of."""
    import ase.io
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet

    structures, labels = exchange.to_pymatgen(salts()), ["n.d.", "1.0", "inf"]
    texts = [structure.to(fmt="cif") for structure in structures]
    columns = {"id": list(salts().ids), "cif": texts, "gap": labels}
    write_csv(folder / "all.csv", [list(columns), *zip(*columns.values(), strict=True)])
    pyarrow.parquet.write_table(pa.table(columns), folder / "cifs.parquet")
    forces = pa.array([[1.0] * 5] * 3)  # of no length that fits
    field = pa.field("forces", forces.type, metadata={"level": "atom", "extensive": "?"})
    layout = exchange.to_arrow(salts()).append_column(field, forces)
    pyarrow.parquet.write_table(layout, folder / "layout.parquet")
    records = [
        {"id": name, "structure": structure.as_dict(), "gap": label}
        for name, structure, label in zip(salts().ids, structures, labels, strict=True)
    ]
    (folder / "all.json").write_text(json.dumps(records))
    atoms = exchange.to_ase(salts())
    for one, label in zip(atoms, labels, strict=True):
        one.info |= {"gap": label, "forces": [1.0, 2.0]}
    ase.io.write(folder / "all.extxyz", atoms)
    write_cifs(folder / "headless")
    rows = list(zip(salts().ids, labels, strict=True))
    write_csv(folder / "headless" / "id_prop.csv", rows)
    write_cifs(folder / "headed")
    write_csv(folder / "headed" / "targets.csv", [["id", "gap"], *rows])
    names = ("all.csv", "cifs.parquet", "layout.parquet", "all.json", "all.extxyz")
    return {
        **{name: folder / name for name in (*names, "headless", "headed")},
        "frame": pd.DataFrame({"id": salts().ids, "final": structures, "gap": labels}),
        "objects": atoms,
    }


FORMS = ("all.csv", "cifs.parquet", "layout.parquet", "all.json", "all.extxyz", "headless",
         "headed", "frame", "objects")  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_where_no_target_is_wanted_labels_are_not_looked_at(tmp_path, form):
    found = read_crystals(labelled_sources(tmp_path)[form], targets=(), strict=True)
    by_name = sorted(range(len(found)), key=lambda row: salts().ids.index(found.ids[row]))
    assert_salts(found[by_name])
    assert not found.targets


@pytest.mark.parametrize("extent", [1e4, 1e6, 1e9])
def test_huge_cells_and_positions_are_read(extent):
    import ase

    far = np.array([[0.3, 0.7, 0.1]] * 2) * extent + [[0, 0, 0], [1.5, 0, 0]]
    sources = [
        ase.Atoms("Fe2", far, cell=[extent] * 3, pbc=True),
        ase.Atoms("Fe2", far, cell=[4.0] * 3, pbc=True),
        ase.Atoms("Fe2", far, cell=[4.0, 4.0, extent], pbc=True),
        ase.Atoms("Fe2", far),
        ase.Atoms("Fe2", [[0, 0, 0], [extent, 0, 0]]),
    ]
    found, report = read_with_report(sources)
    assert len(found) == len(sources)
    assert any("2 atoms in 1 crystals have no neighbor" in note for note in report.notes)


def test_a_wide_sheet_is_screened():
    import ase.build

    sheet = ase.build.graphene(size=(80, 80, 1))
    assert len(read_crystals(sheet)) == 1
    crowded = sheet + ase.Atoms("H", [sheet.positions[7] + [0, 0, 0.3]])
    with pytest.raises(InputError, match=r"atoms 7 and 12800 are 0\.30 Å apart"):
        read_crystals(crowded, strict=True)
    crowded.pbc = False
    with pytest.raises(InputError, match=r"atoms 7 and 12800 are 0\.30 Å apart"):
        read_crystals(crowded, strict=True)


def test_a_folder_without_wanted_labels_is_read_as_a_whole(tmp_path):
    write_cifs(tmp_path)
    first = sorted(tmp_path.glob("*.cif"))[0].stem
    (tmp_path / "targets.csv").write_text(f"id,gap\n{first},1.0\n")
    assert len(read_crystals(tmp_path, targets=())) == 3
    with pytest.warns(SkippedWarning, match="it has no row"):
        assert len(read_crystals(tmp_path)) == 1
