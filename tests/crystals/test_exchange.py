"""Crystals come back from ASE, pymatgen, Arrow and Parquet as they went."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from epitaxy.crystals import arrow, exchange
from epitaxy.crystals.crystals import Crystals
from epitaxy.crystals.exchange import TargetDeclaration, fingerprint
from epitaxy.crystals.targets import Target
from epitaxy.errors import InputError


def mixed(dtype: torch.dtype = torch.float64) -> Crystals:
    """Return a crystal, a slab without a third vector, a molecule and a single atom."""
    generator = torch.Generator().manual_seed(1)
    nan = float("nan")
    counts = torch.tensor([3, 2, 4, 1])
    atoms = int(counts.sum())
    cell = torch.randn(4, 3, 3, generator=generator, dtype=dtype) + 4 * torch.eye(3, dtype=dtype)
    cell[1, 2], cell[2] = 0, 0
    forces = torch.randn(atoms, 3, generator=generator, dtype=dtype)
    forces[3:5] = nan
    stress = torch.randn(4, 3, 3, generator=generator, dtype=dtype)
    stress[2] = nan
    return Crystals(
        numbers=torch.tensor([22, 8, 8, 6, 7, 6, 1, 1, 1, 118]),
        positions=torch.randn(atoms, 3, generator=generator, dtype=dtype) * 6,
        cell=cell,
        pbc=torch.tensor([[True] * 3, [True, True, False], [False] * 3, [True] * 3]),
        offsets=torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)]),
        targets={
            "gap": Target(torch.tensor([0.1, nan, 3.0, -1e-9], dtype=dtype), unit="eV"),
            "energy": Target(torch.tensor([-1.5, -2.5, 1e6, 0.0], dtype=dtype), unit="eV"),
            "volume": Target(torch.ones(4, dtype=dtype), unit="Å^3", extensive=True),
            "forces": Target(forces, "atom", "eV/Å"),
            "magmoms": Target(torch.randn(atoms, generator=generator, dtype=dtype), "atom", "μB"),
            "stress": Target(stress, "crystal", "eV/Å^3"),
            "dipole": Target(torch.randn(4, 3, generator=generator, dtype=dtype), unit="e Å"),
        },
        inputs={"frozen": torch.randn(atoms, 5, generator=generator, dtype=torch.float32)},
        ids=["rutile", "slab", "methyl-ä", "x,y"],
    )


def assert_same(found: Crystals, expected: Crystals, tolerance: float = 0.0) -> None:
    assert list(found.ids) == list(expected.ids)
    for name in ("numbers", "offsets", "pbc"):
        assert torch.equal(getattr(found, name), getattr(expected, name)), name
    for name in ("positions", "cell"):
        here, there = getattr(found, name), getattr(expected, name)
        assert here.dtype == there.dtype
        assert torch.allclose(here, there, rtol=0, atol=tolerance), name
    assert set(found.targets) == set(expected.targets)
    for name, target in expected.targets.items():
        here = found.targets[name]
        assert (here.level, here.unit, here.extensive) == (
            target.level, target.unit, target.extensive,
        ), name  # fmt: skip
        assert here.values.dtype == target.values.dtype, name
        assert torch.equal(here.values.isnan(), target.values.isnan()), name
        assert torch.equal(here.values.nan_to_num(), target.values.nan_to_num()), name
    assert set(found.inputs) == set(expected.inputs)
    for name, values in expected.inputs.items():
        assert torch.equal(found.inputs[name], values)


@pytest.fixture(params=[torch.float64, torch.float32], ids=["double", "single"])
def crystals(request) -> Crystals:
    return mixed(request.param)


def test_ase_gives_everything_back(crystals):
    assert_same(exchange.from_ase(exchange.to_ase(crystals)), crystals)


def test_ase_keeps_everything_through_an_extended_xyz_file(tmp_path):
    import ase.io

    names = ("gap", "magmoms")
    crystals = mixed()
    crystals = crystals.with_targets({name: crystals.targets[name] for name in names})[[0, 2, 3]]
    ase.io.write(tmp_path / "all.extxyz", exchange.to_ase(crystals))
    found = exchange.from_ase(ase.io.read(tmp_path / "all.extxyz", index=":"))
    assert list(found.ids) == list(crystals.ids)
    assert torch.allclose(found.positions, crystals.positions, atol=1e-7)
    assert found.targets["gap"].unit == "eV"
    assert found.targets["magmoms"].level == "atom"
    assert torch.allclose(found.targets["gap"].values, crystals.targets["gap"].values)


def test_arrow_gives_everything_back(crystals):
    assert_same(exchange.from_arrow(exchange.to_arrow(crystals)), crystals)


def test_a_slice_of_an_arrow_table_is_that_part(crystals):
    table = exchange.to_arrow(crystals)
    assert_same(exchange.from_arrow(table.slice(1, 2)), crystals[1:3])
    chunked = pa.concat_tables([table.slice(0, 1), table.slice(1)])
    assert_same(exchange.from_arrow(chunked), crystals)


def test_parquet_gives_everything_back(crystals, tmp_path):
    exchange.write_parquet(crystals, tmp_path / "new" / "all.parquet")
    assert_same(exchange.read_parquet(tmp_path / "new" / "all.parquet"), crystals)
    assert os.listdir(tmp_path / "new") == ["all.parquet"]
    some = exchange.read_parquet(tmp_path / "new" / "all.parquet", targets=["gap"])
    assert list(some.targets) == ["gap"]


def test_a_mapped_file_gives_everything_back(crystals, tmp_path):
    exchange.write_arrow(crystals, tmp_path / "all.arrow")
    mapped = exchange.open_arrow(tmp_path / "all.arrow")
    assert mapped.numbers.dtype == torch.int16
    everything = mapped[:]
    assert_same(everything, crystals)
    assert_same(mapped[[3, 1]], crystals[[3, 1]])


def test_a_mapped_file_is_not_copied(crystals, tmp_path):
    exchange.write_arrow(crystals, tmp_path / "all.arrow")
    mapped = exchange.open_arrow(tmp_path / "all.arrow")
    batch = pa.ipc.open_file(pa.memory_map(str(tmp_path / "all.arrow"))).get_batch(0)
    distances = {
        mapped.positions.data_ptr() - mapped.cell.data_ptr(),
        batch.column("positions").values.buffers()[1].address
        - batch.column("cell").values.buffers()[1].address,
    }
    assert len(distances) == 1, "positions and cell do not lie as far apart as in the file"
    assert not isinstance(mapped.ids, list)


def test_what_batches_touch_of_a_mapped_file_does_not_stay_in_memory(tmp_path, monkeypatch):
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("resident memory is read where Linux keeps it")

    def pages_of_files() -> float:
        line = next(line for line in status.read_text().splitlines() if "RssFile" in line)
        return float(line.split()[1]) / 1e3

    count, atoms = 50_000, 20
    many = Crystals(
        numbers=torch.full((count * atoms,), 6),
        positions=torch.rand(count * atoms, 3, dtype=torch.float64),
        cell=torch.eye(3, dtype=torch.float64).expand(count, 3, 3),
        pbc=torch.ones(count, 3, dtype=torch.bool),
        offsets=torch.arange(0, count * atoms + 1, atoms),
    )
    exchange.write_arrow(many, tmp_path / "many.arrow")

    def grown(batches: int = 100) -> float:
        mapped = exchange.open_arrow(tmp_path / "many.arrow")
        before = pages_of_files()
        for seed in range(batches):
            chosen = torch.randint(count, (64,), generator=torch.Generator().manual_seed(seed))
            torch.testing.assert_close(mapped[chosen].positions, many[chosen].positions)
        return pages_of_files() - before

    assert grown() < 12.0
    monkeypatch.setattr(arrow, "RELEASED_AFTER", 2**40)
    assert grown() > 20.0, "the file is too small for this test to fail"


def test_mapped_crystals_can_be_sent_to_another_process(crystals, tmp_path):
    exchange.write_arrow(crystals, tmp_path / "all.arrow")
    sent = pickle.loads(pickle.dumps(exchange.open_arrow(tmp_path / "all.arrow")))
    assert_same(sent[:], crystals)


def test_other_arrow_readers_find_the_exchange_layout(tmp_path):
    import pyarrow.parquet

    exchange.write_parquet(mixed(), tmp_path / "all.parquet")
    table = pyarrow.parquet.read_table(tmp_path / "all.parquet")
    assert table.column_names[:5] == ["id", "numbers", "positions", "cell", "pbc"]
    row = table.slice(1, 1).to_pylist()[0]
    assert row["numbers"] == [6, 7]
    assert len(row["positions"]) == 6
    assert len(row["cell"]) == 9
    assert row["pbc"] == [True, True, False]
    assert len(row["forces"]) == 6
    metadata = table.schema.field("volume").metadata
    assert metadata[b"unit"].decode() == "Å^3"
    assert metadata[b"level"] == b"crystal"
    assert metadata[b"extensive"] == b"true"


def table_without_metadata(**columns) -> pa.Table:
    layout = {
        "numbers": [[1, 1], [8]],
        "positions": [[0.0, 0, 0, 0, 0, 1], [0.0, 0, 0]],
        "cell": [[9.0, 0, 0, 0, 9, 0, 0, 0, 9]] * 2,
    }
    return pa.table(layout | columns)


def test_levels_follow_from_the_type_where_nothing_is_said():
    crystals = exchange.from_arrow(
        table_without_metadata(
            gap=[1, None],
            stable=[True, False],
            charges=[None, [0.5]],
            forces=[[1.0] * 6, [2.0] * 3],
            stress=[None, list(range(9))],
            elastic=[list(range(9)), list(range(9))],
            source=["a", "b"],
        )
    )
    found = {name: tuple(target.values.shape) for name, target in crystals.targets.items()}
    assert found == {
        "gap": (2,), "stable": (2,), "charges": (3,), "forces": (3, 3), "stress": (2, 3, 3),
    }  # fmt: skip
    assert crystals.targets["gap"].present().tolist() == [True, False]
    assert crystals.targets["charges"].present().tolist() == [False, False, True]
    assert crystals.targets["stress"].present().tolist() == [False, True]
    assert crystals.pbc.all()
    assert list(crystals.ids) == ["0", "1"]
    assert all(t.unit == "" and not t.extensive for t in crystals.targets.values())


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"positions": [[0.0] * 6, [0.0] * 4]}, "row 1: column 'positions' has 4 numbers, where 3"),
        ({"cell": [[0.0] * 9, [0.0] * 8]}, "row 1: column 'cell' has 8 numbers, where 9"),
        ({"numbers": [[1.5, 1.0], [8.0]]}, "'numbers' holds something else than whole"),
        ({"numbers": [1, 2]}, "column 'numbers' is of type int64; a list"),
    ],
)
def test_a_malformed_table_is_an_error_that_names_the_place(columns, says):
    with pytest.raises(InputError, match=says):
        exchange.from_arrow(table_without_metadata(**columns))


def test_an_atom_level_column_of_wrong_length_is_an_error():
    field = pa.field("magmoms", pa.list_(pa.float64()), metadata={"level": "atom"})
    table = table_without_metadata().append_column(field, pa.array([[1.0, 2.0], [1.0, 2.0]]))
    with pytest.raises(InputError, match=r"row 1: column 'magmoms' has 2 numbers, where 1 belong"):
        exchange.from_arrow(table)


def test_files_that_are_damaged_or_foreign_are_errors(tmp_path):
    path = tmp_path / "all.arrow"
    exchange.write_arrow(mixed(), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"all\.arrow was not written by write_arrow, or is dam"):
        exchange.open_arrow(path)
    with pytest.raises(InputError, match=r"there is no file"):
        exchange.open_arrow(tmp_path / "none.arrow")
    path.write_text("no Parquet")
    with pytest.raises(InputError, match=r"cannot be read as Parquet"):
        exchange.read_parquet(path)


def test_pymatgen_gives_everything_back():
    crystals = mixed()[[0, 2]]
    structure, molecule = exchange.to_pymatgen(crystals)
    assert type(structure).__name__ == "Structure"
    assert type(molecule).__name__ == "Molecule"
    assert_same(exchange.from_pymatgen([structure, molecule]), crystals, tolerance=1e-12)


def test_a_slab_with_a_full_cell_passes_through_pymatgen():
    slab = mixed()[1].with_targets({})
    cell = slab.cell.clone()
    cell[0, 2] = torch.tensor([0.0, 0.0, 20.0])
    slab = Crystals(slab.numbers, slab.positions, cell, slab.pbc, slab.offsets, ids=["slab"])
    back = exchange.from_pymatgen(exchange.to_pymatgen(slab)[0])
    assert_same(back, slab, tolerance=1e-12)


def test_a_slab_without_a_third_vector_is_an_error_in_pymatgen():
    with pytest.raises(InputError, match=r"'slab' has no volume.*to_ase"):
        exchange.to_pymatgen(mixed()[1])


def test_a_disordered_site_is_an_error_that_names_it():
    from pymatgen.core import Lattice, Structure

    mixed_site = Structure(
        Lattice.cubic(3), ["O", {"Fe": 0.5, "Co": 0.5}], [[0, 0, 0], [0.5, 0.5, 0.5]]
    )
    with pytest.raises(InputError, match=r"site 1 .*disordered \(Fe: 0.5, Co: 0.5\)"):
        exchange.from_pymatgen(mixed_site)


def test_oxidation_states_and_deuterium_are_their_elements():
    from pymatgen.core import Lattice, Structure

    structure = Structure(Lattice.cubic(4), ["Fe2+", "D"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    assert exchange.from_pymatgen(structure).numbers.tolist() == [26, 1]


def test_results_of_an_ase_calculator_are_targets_in_its_units():
    import ase.build
    from ase.calculators.emt import EMT
    from ase.calculators.singlepoint import SinglePointCalculator

    copper = ase.build.bulk("Cu") * (1, 1, 2)
    copper.rattle(0.1, seed=1)
    calculation = copper.copy()
    calculation.calc = EMT()
    results = {
        "energy": calculation.get_potential_energy(),
        "forces": calculation.get_forces(),
        "stress": calculation.get_stress(),
    }
    copper.calc = SinglePointCalculator(copper, **results)
    crystals = exchange.from_ase(copper)
    energy, forces, stress = (crystals.targets[name] for name in ("energy", "forces", "stress"))
    assert (energy.unit, energy.extensive, float(energy.values)) == ("eV", True, results["energy"])
    assert (forces.level, forces.unit) == ("atom", "eV/Å")
    assert np.allclose(forces.values, results["forces"])
    assert stress.unit == "eV/Å^3"
    assert np.allclose(stress.values[0], calculation.get_stress(voigt=False))


def test_declarations_choose_the_targets_of_ase():
    import ase.build

    atoms = ase.build.bulk("NaCl", "rocksalt", a=5.64)
    atoms.info |= {"gap": 5.0, "energy": -7.0, "comment": "cold", "dipole": [0.0, 0.0, 1.0]}
    assert set(exchange.from_ase(atoms).targets) == {"gap", "energy"}
    chosen = exchange.from_ase(
        atoms, {"gap": TargetDeclaration(unit="eV"), "dipole": TargetDeclaration(unit="e Å")}
    )
    assert chosen.targets["gap"].unit == "eV"
    assert chosen.targets["dipole"].values.shape == (1, 3)
    with pytest.raises(
        InputError, match=r"no structure has crystal-level 'gapp'. Did you mean 'gap"
    ):
        exchange.from_ase(atoms, {"gapp": TargetDeclaration()})


def test_a_name_that_ase_keeps_for_itself_is_an_error():
    crystals = mixed().with_targets({"tags": Target(torch.zeros(10), "atom")})
    with pytest.raises(InputError, match=r"keeps 'tags' for itself"):
        exchange.to_ase(crystals)


def test_the_declarations_in_ase_are_plain_json():
    text = exchange.to_ase(mixed())[0].info["epitaxy"]
    assert json.loads(text)["targets"]["volume"] == {
        "level": "crystal", "unit": "Å^3", "extensive": True,
    }  # fmt: skip


def test_a_fingerprint_is_of_the_crystals_not_of_their_file(tmp_path):
    crystals = mixed()
    exchange.write_arrow(crystals, tmp_path / "all.arrow")
    exchange.write_parquet(crystals, tmp_path / "all.parquet")
    known = fingerprint(crystals)
    assert len(known) == 64
    assert fingerprint(exchange.open_arrow(tmp_path / "all.arrow")) == known
    assert fingerprint(exchange.read_parquet(tmp_path / "all.parquet")) == known
    reordered = crystals.with_targets(dict(reversed(crystals.targets.items())))
    assert fingerprint(reordered) == known


@pytest.mark.parametrize("part", ["numbers", "positions", "cell", "pbc", "ids", "values", "unit"])
def test_a_fingerprint_changes_with_every_part(part):
    from dataclasses import replace

    crystals = mixed()
    gap = crystals.targets["gap"]
    changed = {
        "numbers": lambda: replace(crystals, numbers=crystals.numbers.flip(0)),
        "positions": lambda: replace(crystals, positions=crystals.positions + 1e-12),
        "cell": lambda: replace(crystals, cell=crystals.cell * 1.0000001),
        "pbc": lambda: replace(crystals, pbc=~crystals.pbc),
        "ids": lambda: replace(crystals, ids=["rutile", "slab", "methyl-ä", "x"]),
        "values": lambda: crystals.with_targets(
            {**crystals.targets, "gap": gap.with_values(gap.values + 1e-9)}
        ),
        "unit": lambda: crystals.with_targets(
            {**crystals.targets, "gap": replace(gap, unit="meV")}
        ),
    }[part]()
    assert fingerprint(changed) != fingerprint(crystals)


def test_importing_the_exchange_loads_neither_pymatgen_nor_pandas():
    code = (
        "import sys, epitaxy.crystals.exchange, epitaxy.datasets.readers; "
        "print([m for m in ('pymatgen', 'pandas', 'ase') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def with_energy_declared(extensive: str) -> pa.Table:
    field = pa.field("energy", pa.float64(), metadata={"extensive": extensive})
    return table_without_metadata().append_column(field, pa.array([1.0, 2.0]))


@pytest.mark.parametrize(
    ("said", "meant"),
    [("True", True), ("TRUE", True), ("1", True), ("yes", True), ("False", False), ("0", False)],
)
def test_extensive_is_understood_as_other_programs_write_it(said, meant):
    crystals = exchange.from_arrow(with_energy_declared(said))
    assert crystals.targets["energy"].extensive is meant


def test_an_extensive_that_is_neither_true_nor_false_is_an_error():
    with pytest.raises(InputError, match=r"column 'energy' declares extensive as 'per cell'"):
        exchange.from_arrow(with_energy_declared("per cell"))
