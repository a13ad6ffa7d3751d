"""The stream is a function of seed and place, whoever makes it, and survives a kill."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from epitaxy.crystals.arrow import open_arrow, read_parquet
from epitaxy.crystals.crystals import Crystals, cat
from epitaxy.crystals.fingerprint import fingerprint
from epitaxy.crystals.neighbors import build_graph
from epitaxy.datasets.generate.source import generated
from epitaxy.datasets.generate.stream import CrystalStream
from epitaxy.datasets.generate.write import generate, stream_of
from epitaxy.datasets.screening import screen
from epitaxy.errors import InputError, RunFolderError
from epitaxy.training.pretrain import load_crystals
from epitaxy.training.recipe import DataPlan

SMALL = {"max_atoms": 10}
STREAM = CrystalStream(seed=3, max_atoms=10)


@pytest.fixture(scope="module")
def forty() -> Crystals:
    return STREAM.crystals(range(40))


def same(one: Crystals, other: Crystals) -> bool:
    return (
        torch.equal(one.numbers.to(torch.int64), other.numbers.to(torch.int64))
        and torch.equal(one.positions, other.positions)
        and torch.equal(one.cell, other.cell)
        and list(one.ids) == list(other.ids)
    )


def test_a_crystal_does_not_depend_on_the_batch_it_is_made_in(forty):
    assert same(STREAM.crystals([7]), forty[7])
    assert same(STREAM.crystals([31, 2, 18]), forty[[31, 2, 18]])
    assert same(cat(list(STREAM.batches(20, first=5, size=6))), forty[5:25])


def test_another_seed_is_another_stream(forty):
    other = CrystalStream(seed=4, max_atoms=10).crystals(range(40))
    assert fingerprint(other) != fingerprint(forty)
    assert not torch.equal(other.cell, forty.cell)


def test_crystals_are_sound(forty):
    assert not screen(forty).faults
    assert len(set(forty.ids)) == 40
    assert int(forty.atom_counts.max()) <= 10
    volumes = forty.volumes / forty.atom_counts
    assert bool(((volumes > 3) & (volumes < 130)).all())
    graph = build_graph(forty, 5.0)
    assert float(graph.distances().min()) > 0.8
    assert forty.positions.dtype == torch.float32
    assert bool((torch.linalg.det(forty.cell).abs() > 1).all())


def test_every_setting_is_heeded():
    nothing = {"strain": 0.0, "rattle": 0.0, "vacancies": 0.0, "supercells": 0.0, "exchange": 0.0}
    plain = stream_of(0, {**nothing, "random_share": 0.0, "max_atoms": 4}).crystals(range(12))
    assert int(plain.atom_counts.max()) <= 4
    assert not any("random" in text for text in plain.ids)
    chaotic = stream_of(0, {"random_share": 1.0, "max_atoms": 8}).crystals(range(12))
    assert sum("random" in text for text in chaotic.ids) > 6
    rattled = stream_of(0, {**nothing, "random_share": 0.0, "max_atoms": 4, "rattle": 1.0})
    shaken = rattled.crystals(range(12))
    assert torch.equal(shaken.numbers, plain.numbers)
    assert torch.equal(shaken.cell, plain.cell)
    moved = (shaken.positions - plain.positions).norm(dim=1)
    assert 0.01 < float(moved.mean()) < 0.3


def test_files_hold_the_stream_however_it_is_cut(tmp_path, forty):
    seen = []
    found = generate(
        tmp_path / "a.arrow",
        40,
        seed=3,
        settings=SMALL,
        shard=15,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert (found.crystals, found.atoms, found.made) == (40, forty.atom_total, 40)
    assert seen == [(15, 40), (30, 40), (40, 40)]
    assert same(open_arrow(tmp_path / "a.arrow"), forty)
    generate(tmp_path / "b.parquet", 40, seed=3, settings=SMALL, shard=27, jobs=2)
    assert same(read_parquet(tmp_path / "b.parquet"), forty)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.arrow", "b.parquet"]


def test_a_kill_loses_no_more_than_the_shards_under_way(tmp_path):
    out, count = tmp_path / "killed.parquet", 400
    command = ["generate", "-n", str(count), "-o", str(out), "--shard", "20", "--max-atoms", "10"]
    process = subprocess.Popen(
        [sys.executable, "-m", "epitaxy.cli", *command, "--seed", "3", "--jobs", "2"],
        stderr=subprocess.DEVNULL,
    )
    parts = Path(f"{out}.parts")
    limit = time.monotonic() + 240
    while len(list(parts.glob("0*.arrow"))) < 2 and time.monotonic() < limit:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not out.exists()
    assert 2 <= len(list(parts.glob("0*.arrow"))) < 20
    with pytest.raises(RunFolderError, match="another call began"):
        generate(out, count, seed=4, settings=SMALL, shard=20)
    found = generate(out, count, seed=3, settings=SMALL, shard=20)
    assert 0 < found.made < count
    assert same(read_parquet(out)[:40], STREAM.crystals(range(40)))
    assert not parts.exists()
    with pytest.raises(RunFolderError, match="is there already"):
        generate(out, count, seed=3, settings=SMALL, shard=20)


def test_pretraining_draws_from_the_generator(forty):
    plan = DataPlan(source="generated:40", max_atoms=10)
    crystals, _, _ = load_crystals(plan, None, 3)
    assert same(crystals, forty)
    assert same(generated("generated:40:3", seed=9, max_atoms=10), forty)


@pytest.mark.parametrize("source", ["generated", "generated:", "generated:many", "generated:1:2:3"])
def test_a_source_that_is_not_understood_is_an_error(source):
    with pytest.raises(InputError, match="write generated:9000"):
        load_crystals(DataPlan(source=source), None, 0)


def test_wrong_arguments_are_named(tmp_path):
    with pytest.raises(InputError, match=r"end in \.parquet or \.arrow"):
        generate(tmp_path / "crystals.cif", 3)
    with pytest.raises(InputError, match="Did you mean 'rattle'"):
        generate(tmp_path / "crystals.arrow", 3, settings={"ratle": 0.1})
    with pytest.raises(InputError, match="between 0 and 1"):
        generate(tmp_path / "crystals.arrow", 3, settings={"rattle": 1.5})
    with pytest.raises(InputError, match="max_atoms"):
        generate(tmp_path / "crystals.arrow", 3, settings={"max_atoms": 0})
    with pytest.raises(InputError, match="at least 1"):
        generate(tmp_path / "crystals.arrow", 0)
