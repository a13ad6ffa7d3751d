"""What cannot be used is left out with a reason, or is an error that names it and the way out."""

import json
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from epitaxy.crystals import exchange
from epitaxy.crystals.crystals import Crystals
from epitaxy.crystals.targets import Target
from epitaxy.datasets.bundled import bundled
from epitaxy.datasets.read_report import ReadReport, Skipped
from epitaxy.datasets.readers import read_crystals, read_with_report
from epitaxy.errors import InputError, SkippedWarning

pytestmark = pytest.mark.filterwarnings("ignore::epitaxy.errors.SkippedWarning")

CIF = """data_{name}
_symmetry_space_group_name_H-M 'P 1'
_cell_length_a {edge}
_cell_length_b 4.0
_cell_length_c 4.0
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
loop_
 _atom_site_label
 _atom_site_type_symbol
 _atom_site_fract_x
 _atom_site_fract_y
 _atom_site_fract_z
 _atom_site_occupancy
 Na1 Na 0 0 0 1
 Cl1 Cl {x} 0.5 0.5 {occupancy}
"""


def cif(name="good", edge=4.0, x=0.5, occupancy=1) -> str:
    return CIF.format(name=name, edge=edge, x=x, occupancy=occupancy)


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"{name}.cif").write_text(text)
    return folder


def reasons(folder: Path, **options) -> dict[str, str]:
    """Return the reason for each skipped file or id, and check that strict reading raises it."""
    _, report = read_with_report(folder, **options)
    assert report.skipped
    with pytest.raises(InputError) as raised:
        read_crystals(folder, strict=True, **options)
    first = report.skipped[0]
    assert first.reason in str(raised.value)
    assert first.file in str(raised.value)
    return {Path(s.file).name if s.file else str(s.id): s.reason for s in report.skipped}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "the file is empty"),
        ("   \n", "the CIF is empty"),
        ("no cif at all\n", "cannot be read as a CIF"),
        (cif(edge="?"), "cannot be read as a CIF"),
        (cif(x="nan"), "cannot be read as a CIF|not a finite number"),
        (cif().replace("Cl1 Cl", "Qq1 Qq"), "cannot be read as a CIF|no element"),
        (cif(occupancy=0.5), r"site 1 .*disordered \(Cl: 0.5\)"),
        (cif() + " Cl2 Br 0.5 0.5 0.5 1\n", "disordered|overlap|cannot be read"),
        (cif(x=0.1).replace("0.1 0.5 0.5", "0.1 0 0"), "atoms 0 and 1 are 0.40 Å apart"),
        (cif(x=0.95).replace("0.95 0.5 0.5", "0.95 0 0"), "atoms 0 and 1 are 0.20 Å apart"),
        (cif(edge=0.0), "zero|cannot be read"),
    ],
)
def test_a_cif_that_cannot_be_used_is_skipped_with_the_reason(tmp_path, text, says):
    import re

    write(tmp_path, good=cif(), bad=text)
    found = reasons(tmp_path)
    assert list(found) == ["bad.cif"]
    assert re.search(says, found["bad.cif"]), found["bad.cif"]
    assert list(read_crystals(tmp_path).ids) == ["good"]


def test_rows_without_files_and_files_without_rows_are_skipped(tmp_path):
    write(tmp_path, a=cif(), b=cif(), extra=cif())
    (tmp_path / "id_prop.csv").write_text("a,1.0\nmissing,2.0\nb,3.0\n")
    crystals, report = read_with_report(tmp_path, targets="gap")
    assert list(crystals.ids) == ["a", "b"]
    row, file = report.skipped
    assert (row.row, row.id) == (2, "missing")
    assert "no structure file 'missing'" in row.reason
    assert file.file.endswith("extra.cif")
    assert "no row in id_prop.csv" in file.reason
    reasons(tmp_path)


def test_a_broken_file_that_the_table_names_is_reported_once(tmp_path):
    write(tmp_path, a=cif(), b="no cif at all\n")
    (tmp_path / "targets.csv").write_text("file,gap\na.cif,1.0\nb.cif,2.0\n")
    _, report = read_with_report(tmp_path)
    (skipped,) = report.skipped
    assert "cannot be read as a CIF" in skipped.reason
    assert skipped.row == 3


def test_rows_of_a_parquet_file_that_do_not_fit_are_skipped(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    atom_level = {"level": "Atom", "unit": "eV/Å"}
    table = pa.table(
        {
            "id": ["a", "short", "b", "forceless", "boxless"],
            "numbers": [[1, 8], [1], [8], [8], [8]],
            "positions": [[0.0] * 3 + [1.0] * 3, [0.0] * 4, *[[0.0] * 3] * 3],
            "cell": [*[[9.0, 0, 0, 0, 9, 0, 0, 0, 9]] * 4, [9.0] * 8],
            "forces": [[0.1] * 6, [0.1] * 3, [0.1] * 3, [0.1] * 5, [0.1] * 3],
        }
    )
    field = table.schema.field("forces").with_metadata(atom_level)
    table = table.set_column(4, field, table.column("forces"))
    pq.write_table(table, tmp_path / "all.parquet")
    crystals, report = read_with_report(tmp_path / "all.parquet")
    assert list(crystals.ids) == ["a", "b"]
    assert crystals.targets["forces"].level == "atom"
    found = {skipped.id: (skipped.row, skipped.reason) for skipped in report.skipped}
    assert found == {
        "short": (1, "column 'positions' has 4 numbers, where 3 belong."),
        "forceless": (3, "column 'forces' has 5 numbers, where 3 belong (atom level)."),
        "boxless": (4, "column 'cell' has 8 numbers, where 9 belong."),
    }
    with pytest.raises(InputError, match=r"all\.parquet, row 1, id 'short'"):
        read_with_report(tmp_path / "all.parquet", strict=True)
    pq.write_table(table.slice(1, 1), tmp_path / "bad.parquet")
    with pytest.raises(InputError, match=r"no row of .* could be read"):
        read_with_report(tmp_path / "bad.parquet")


def test_duplicate_ids_are_skipped_and_the_first_is_named(tmp_path):
    write(tmp_path, a=cif(), b=cif())
    (tmp_path / "targets.csv").write_text("file,id,gap\na.cif,x,1\nb.cif,x,2\n")
    crystals, report = read_with_report(tmp_path)
    assert crystals.targets["gap"].values.tolist() == [1.0]
    assert report.skipped[0].row == 3
    assert "stands already at" in report.skipped[0].reason
    assert "row 2" in report.skipped[0].reason


@pytest.mark.parametrize("value", ["high", "1.2.3", "inf", "5,0"])
def test_a_value_that_is_no_number_is_named_with_row_and_column(tmp_path, value):
    write(tmp_path, a=cif(), b=cif(), c=cif())
    (tmp_path / "targets.csv").write_text(f'id,gap\na,1\nb,"{value}"\nc,2\n')
    crystals, report = read_with_report(tmp_path, targets="gap[eV]")
    assert list(crystals.ids) == ["a", "c"]
    skipped = report.skipped[0]
    assert skipped.row == 3
    assert skipped.id == "b"
    assert f"column 'gap' holds '{value}'" in skipped.reason
    with pytest.raises(InputError, match=f"row 3, id 'b': column 'gap' holds '{value}'"):
        read_crystals(tmp_path, targets="gap[eV]", strict=True)


def test_a_row_is_skipped_where_every_target_asked_for_is_missing(tmp_path):
    write(tmp_path, a=cif(), b=cif(), c=cif())
    (tmp_path / "targets.csv").write_text("id,gap,energy\na,1,\nb,,NaN\nc,,2\n")
    crystals, report = read_with_report(tmp_path, targets=("gap", "energy"))
    assert list(crystals.ids) == ["a", "c"]
    assert "no value is given for gap, energy" in report.skipped[0].reason
    only, _ = read_with_report(tmp_path, targets="gap")
    assert list(only.ids) == ["a"]
    assert len(read_crystals(tmp_path)) == 3


def atoms(positions, cell=(4.0, 4.0, 4.0), pbc=True, symbols=None):
    import ase

    symbols = symbols or ["Fe"] * len(positions)
    return ase.Atoms(symbols, positions=positions, cell=cell, pbc=pbc)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: atoms([[0, 0, 0], [0, 0, 3.8]]), "atoms 0 and 1 are 0.20 Å apart"),
        (lambda: atoms([[0, 0, 0], [8.0, 0, 0.1]]), "atoms 0 and 1 are 0.10 Å apart"),
        (lambda: atoms([[0, 0, 0], [0, 0, 0]]), "atoms 0 and 1 are 0.00 Å|on top of each other"),
        (lambda: atoms([[0, 0, 0]], (0.4, 4, 4)), "atom 0 and its own image are 0.40 Å apart"),
        (lambda: atoms([[0, 0, 0], [0.2, 0, 0]], (0.9, 4, 4)), "0.20 Å apart"),
        (lambda: atoms([[0, 0, 0], [0, 0, 0.3]], pbc=False), "0.30 Å apart"),
        (lambda: atoms([[0, 0, np.nan]]), "not a finite number"),
        (lambda: atoms([[0, 0, 0]], (4, 4, 0)), "zero or lies in the span"),
        (lambda: atoms([[0, 0, 0]], [[4, 0, 0], [0, 4, 0], [4, 4, 0]]), "lies in the span"),
        (lambda: atoms([[0, 0, 0]], (4, 0, 0), (True, True, False)), "zero or lies in the span"),
        (lambda: atoms([]), "no atoms"),
        (lambda: atoms([[0, 0, 0]], symbols=["X"]), "atomic number lies outside 1–118"),
    ],
)
def test_a_structure_that_cannot_be_meant_is_skipped_with_the_reason(make, says):
    import re

    good = atoms([[0, 0, 0], [2, 2, 2]])
    crystals, report = read_with_report([good, make()])
    assert len(crystals) == 1
    assert len(report.skipped) == 1
    assert report.skipped[0].row == 1
    assert re.search(says, report.skipped[0].reason), report.skipped[0].reason
    with pytest.raises(InputError, match=r"row 1, id '1'"):
        read_crystals([good, make()], strict=True)


def test_atoms_that_overlap_in_a_large_cell_are_found():
    grid = np.stack(np.meshgrid(*[np.arange(7.0)] * 3), -1).reshape(-1, 3) * 2.0
    crowded = np.concatenate([grid, [[0.0, 0.0, 13.7]]])
    with pytest.raises(InputError, match=r"atoms 0 and 343 are 0\.30 Å apart"):
        read_crystals(atoms(crowded, (14.0, 14.0, 14.0)), strict=True)


def test_a_disordered_structure_among_objects_is_skipped():
    from pymatgen.core import Lattice, Structure

    alloy = Structure(Lattice.cubic(3), [{"Fe": 0.5, "Co": 0.5}], [[0, 0, 0]])
    crystals, report = read_with_report([alloy, atoms([[0, 0, 0]])])
    assert len(crystals) == 1
    assert "site 0" in report.skipped[0].reason


def test_a_frame_that_breaks_off_is_reported(tmp_path):
    import ase.io

    path = tmp_path / "run.extxyz"
    ase.io.write(path, [atoms([[0, 0, 0]]), atoms([[0, 0, 0]])])
    path.write_text(path.read_text() + '2\nLattice="4 0 0 0 4 0 0 0 4"\nFe 0 0\n')
    with pytest.raises(InputError, match=r"run\.extxyz.*cannot be read as extxyz"):
        read_crystals(path, strict=True)


def test_an_unknown_target_lists_the_known_and_the_nearest(tmp_path):
    write(tmp_path, a=cif())
    (tmp_path / "targets.csv").write_text("id,band_gap,energy,phase\na,1,2,cold\n")
    with pytest.raises(InputError, match=r"'band_gp'.*Did you mean 'band_gap'.*band_gap, energy"):
        read_crystals(tmp_path, targets="band_gp[eV]")
    with pytest.raises(InputError, match=r"column 'phase' holds no numbers but e.g. 'cold'"):
        read_crystals(tmp_path, targets="phase")


def test_the_same_target_twice_is_an_error(tmp_path):
    write(tmp_path, a=cif())
    with pytest.raises(InputError, match=r"'gap' is asked for twice"):
        read_crystals(tmp_path, targets=("gap", "gap[eV]"))


def crystals_in(unit: str, level="crystal") -> Crystals:
    crystals = exchange.from_ase([atoms([[0, 0, 0]])])
    return crystals.with_targets({"y": Target(torch.ones(1), level, unit)})


def test_a_unit_that_cannot_be_converted_is_an_error():
    with pytest.raises(InputError, match=r"declares 'y' in 'μB', not in 'eV'.*no conversion"):
        read_crystals(crystals_in("μB"), targets="y[eV]")
    with pytest.raises(InputError, match=r"'eV/atom' measures energy per atom"):
        read_crystals(crystals_in("eV/atom"), targets="y[eV]")


def test_a_per_atom_target_is_never_extensive():
    with pytest.raises(InputError, match=r"'y' is given per atom"):
        read_crystals(crystals_in("eV/atom"), extensive=["y"])
    with pytest.raises(InputError, match=r"'y' is given per atom"):
        read_crystals(crystals_in("eV", "atom"), extensive=["y"])
    with pytest.raises(InputError, match=r"no target 'z' to be extensive"):
        read_crystals(crystals_in("eV"), extensive=["z"])


def test_a_path_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(InputError, match=r"no file or folder .*none"):
        read_crystals(tmp_path / "none")


@pytest.mark.parametrize("name", ["all.txt", "all.pkl", "all.xlsx"])
def test_an_unknown_form_lists_the_known(tmp_path, name):
    (tmp_path / name).write_text("x")
    with pytest.raises(InputError, match=f"{name} is not known. Known: a CIF, POSCAR"):
        read_crystals(tmp_path / name)


@pytest.mark.parametrize("source", [3, [], None, [1, 2], {"a": 1}])
def test_an_object_that_is_no_source_is_an_error(source):
    with pytest.raises(InputError, match=r"no source of crystals.*Known: a CIF"):
        read_crystals(source)


def test_nothing_readable_lists_the_first_reasons(tmp_path):
    with pytest.raises(InputError, match=r"holds no structure files"):
        read_crystals(tmp_path)
    write(tmp_path, a="", b=cif(occupancy=0.3))
    with pytest.raises(InputError, match=r"(?s)a\.cif: the file is empty.*b\.cif.*disordered"):
        read_crystals(tmp_path)
    write(tmp_path, a=cif(x=0.05).replace("0.05 0.5 0.5", "0.05 0 0"), b="")
    with pytest.raises(InputError, match=r"(?s)nothing in .* can be used.*0\.20 Å apart"):
        read_crystals(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("all.json", "{", "is no JSON"),
        ("all.json", json.dumps([1, 2]), "holds no structures: known are"),
        ("all.json", json.dumps({"a": 1}), "holds no structures"),
        ("all.json.gz", "x", "is no JSON"),
        ("all.csv", "", "is empty"),
        ("all.csv", "a,b\n1,2\n", "no column of structures: one of its columns"),
        ("all.csv", "a,a\n1,2\n", "two columns named 'a'"),
        ("all.parquet", "x", "cannot be read as Parquet"),
        ("all.arrow", "x", "damaged or no Arrow"),
        ("all.db", "x", "it is no ASE database"),
    ],
)
def test_a_damaged_file_is_an_error_that_names_it(tmp_path, name, content, says):
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=says) as raised:
        read_crystals(tmp_path / name)
    assert name in str(raised.value)


def test_an_unknown_column_of_ids_is_an_error(tmp_path):
    write(tmp_path, a=cif())
    (tmp_path / "targets.csv").write_text("id,gap\na,1\n")
    with pytest.raises(InputError, match=r"no column 'idd' for the ids. Did you mean 'id'"):
        read_crystals(tmp_path, id_column="idd")


def test_as_many_targets_as_a_headless_table_has_columns(tmp_path):
    write(tmp_path, a=cif())
    (tmp_path / "id_prop.csv").write_text("a,1.0,2.0\n")
    with pytest.raises(InputError, match=r"no header and 2 columns of values, but 1 targets"):
        read_crystals(tmp_path, targets="gap")


def test_warnings_of_parsers_go_into_the_report(tmp_path):
    slightly_off = cif(x=0.3333).replace("0.3333 0.5", "0.3333 0.6667")
    write(tmp_path, a=slightly_off, b=slightly_off)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, report = read_with_report(tmp_path)
    assert any("warned 2 times while parsing" in note for note in report.notes)


def test_a_folder_ignores_tables_of_other_names_and_says_so(tmp_path):
    write(tmp_path, a=cif(), b=cif())
    (tmp_path / "predictions.csv").write_text("id,gap\na,1\n")
    crystals, report = read_with_report(tmp_path)
    assert list(crystals.ids) == ["a", "b"]
    assert not report.skipped
    says = "predictions.csv is ignored: targets are read from targets.csv or id_prop.csv."
    assert says in report.notes
    with pytest.raises(InputError, match=r"no column or target 'gap'.*predictions.csv is ignored"):
        read_crystals(tmp_path, targets="gap")


def test_crystals_in_memory_are_screened_like_everything_else():
    good, close = atoms([[0, 0, 0]]), atoms([[0, 0, 0], [0, 0, 0.2]])
    crystals = replace(exchange.from_ase([good, close, good, good]), ids=["a", "b", "a", "c"])
    found, report = read_with_report(crystals)
    assert list(found.ids) == ["a", "c"]
    overlap, double = report.skipped
    assert (overlap.row, overlap.id) == (1, "b")
    assert "0.20 Å apart" in overlap.reason
    assert (double.row, double.id) == (2, "a")
    assert "its id stands already at row 0" in double.reason
    with pytest.raises(InputError, match=r"row 1, id 'b': .*0\.20 Å apart"):
        read_crystals(crystals, strict=True)


def test_cifs_without_pymatgen_are_one_error_that_says_what_to_install(tmp_path, monkeypatch):
    write(tmp_path, a=cif(), b=cif())
    (tmp_path / "all.csv").write_text('id,cif\na,"' + cif() + '"\n')
    (tmp_path / "all.json").write_text('[{"lattice": {}, "sites": []}]')
    for name in ("pymatgen", "pymatgen.core", "pymatgen.io", "pymatgen.io.cif"):
        monkeypatch.setitem(sys.modules, name, None)
    sources = [tmp_path, tmp_path / "a.cif", tmp_path / "all.csv", tmp_path / "all.json"]
    for source in sources:
        with pytest.raises(InputError, match=r"pip install pymatgen") as raised:
            read_crystals(source)
        assert str(raised.value).count("pymatgen, which cannot be imported") == 1
        assert "first reasons" not in str(raised.value)


def test_a_table_without_rows_and_crystals_without_crystals_are_errors(tmp_path):
    (tmp_path / "all.csv").write_text("id,cif,gap\n")
    with pytest.raises(InputError, match=r"all\.csv has no rows"):
        read_crystals(tmp_path / "all.csv")
    none = exchange.from_ase([atoms([[0, 0, 0]])])[[]]
    with pytest.raises(InputError, match=r"Crystals in memory holds no crystals"):
        read_crystals(none)
    exchange.write_parquet(none, tmp_path / "all.parquet")
    with pytest.raises(InputError, match=r"all\.parquet"):
        read_crystals(tmp_path / "all.parquet")


def test_a_table_whose_rows_are_all_skipped_lists_the_first_reasons(tmp_path):
    rows = "".join(f'{name},"{cif(edge="?")}"\n' for name in "abcdefg")
    (tmp_path / "all.csv").write_text("id,cif\n" + rows)
    with pytest.raises(InputError, match=r"(?s)no structure could.*id 'a'.*id 'e'.*and 2 more"):
        read_crystals(tmp_path / "all.csv")


def test_a_long_report_is_short_for_people_and_whole_for_machines():
    skipped = tuple(Skipped("all.csv", row, None, "it is broken.") for row in range(1000))
    report = ReadReport("CSV table", "all.csv", 1, skipped)
    assert report.summary().count("it is broken") == 10
    assert report.summary().endswith("and 990 more: see the report")
    assert len(json.loads(report.to_json())["skipped"]) == 1000


@pytest.mark.filterwarnings("error::epitaxy.errors.SkippedWarning")
def test_reading_without_a_report_warns_of_what_is_left_out(tmp_path):
    import ase.build
    import ase.io

    (tmp_path / "broken.cif").write_text("no cif at all\n")
    ase.io.write(tmp_path / "good.cif", ase.build.bulk("Cu"))
    with pytest.warns(SkippedWarning, match=r"broken\.cif"):
        assert len(read_crystals(tmp_path)) == 1


def test_a_row_whose_structure_is_text_is_named_by_its_row(tmp_path):
    structure = exchange.to_pymatgen(bundled()[:1].with_targets({}))[0]
    text = json.dumps(structure.as_dict() | {"properties": {}})
    assert "\n" not in text
    table = pd.DataFrame({"structure": [text, text], "band_gap": [1.0, 2.0]})
    table.to_csv(tmp_path / "all.csv", index=False)
    crystals = read_crystals(tmp_path / "all.csv", targets=["band_gap[eV]"])
    assert [len(name) < 20 for name in crystals.ids] == [True, True]
    assert len(set(crystals.ids)) == 2
