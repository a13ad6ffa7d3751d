"""Copies, near-duplicates and odd structures are found, however they are written down."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from epitaxy.crystals.crystals import Crystals, cat
from epitaxy.crystals.targets import Target
from epitaxy.datasets.audits.duplicates import duplicate_findings
from epitaxy.datasets.audits.facts import Facts
from epitaxy.datasets.audits.fingerprints import structure_fingerprints
from epitaxy.datasets.audits.geometry import geometry_findings
from epitaxy.datasets.audits.twins import SAME, find_twins
from epitaxy.datasets.bundled import bundled
from epitaxy.datasets.read_report import ReadReport, Skipped


@pytest.fixture(scope="module")
def some() -> Crystals:
    return bundled()[:150].with_targets({}).to(dtype=torch.float64)


def crystal(
    cell: np.ndarray, positions: np.ndarray, numbers: list[int], name: str = "x"
) -> Crystals:
    return Crystals(
        numbers=torch.tensor(numbers),
        positions=torch.from_numpy(np.asarray(positions, dtype=float)),
        cell=torch.from_numpy(np.asarray(cell, dtype=float))[None],
        pbc=torch.ones(1, 3, dtype=torch.bool),
        offsets=torch.tensor([0, len(numbers)]),
        ids=[name],
    )


def reworded(one: Crystals, name: str, seed: int) -> Crystals:
    """Return a supercell in other lattice vectors, rotated, mirrored, moved and reordered."""
    generator = np.random.default_rng(seed)
    cell, positions = one.cell[0].numpy(), one.positions.numpy()
    positions = np.concatenate([positions, positions + cell[1]])
    cell = np.array([cell[0] + cell[1], 2 * cell[1], cell[2] - cell[0]])
    turn = np.linalg.qr(generator.normal(size=(3, 3)))[0]
    order = generator.permutation(len(positions))
    numbers = np.tile(one.numbers.numpy(), 2)[order]
    return crystal(cell @ turn, (positions[order] + 1.7) @ turn, numbers.tolist(), name)


def test_a_fingerprint_does_not_depend_on_how_a_crystal_is_written(some):
    own = structure_fingerprints(some[:20])
    other = structure_fingerprints(cat([reworded(some[k], str(k), k) for k in range(20)]))
    assert np.abs(own - other).max() < 1e-9


def test_a_fingerprint_does_not_depend_on_the_lattice_constant_but_on_all_else(some):
    one = some[3]
    wider = replace(one, cell=1.02 * one.cell, positions=1.02 * one.positions)
    assert np.linalg.norm(structure_fingerprints(wider) - structure_fingerprints(one)) < 1e-9
    strained = replace(
        one,
        cell=one.cell * torch.tensor([1.0, 1.0, 1.05]),
        positions=one.positions * torch.tensor([1.0, 1.0, 1.05]),
    )
    assert np.linalg.norm(structure_fingerprints(strained) - structure_fingerprints(one)) > SAME


def test_cubic_and_hexagonal_stackings_are_told_apart():
    """Fcc and hcp of equal density share two shells; so do zinc blende and wurtzite."""
    fcc = crystal(np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) * 1.8, np.zeros((1, 3)), [29])
    edge = 1.8 * np.sqrt(2)
    cell = np.array([[1, 0, 0], [-0.5, np.sqrt(3) / 2, 0], [0, 0, np.sqrt(8 / 3)]]) * edge
    hcp = crystal(cell, np.array([[0, 0, 0], [1 / 3, 2 / 3, 1 / 2]]) @ cell, [29, 29])
    apart = structure_fingerprints(fcc) - structure_fingerprints(hcp)
    assert np.linalg.norm(apart) > 100 * SAME


def test_copies_are_found_and_nothing_else(some):
    copies = cat([reworded(some[k], f"copy-{k}", k) for k in range(0, 60, 3)])
    whole = cat([some, copies])
    twins = find_twins(Facts(whole), np.ones(len(whole), dtype=bool))
    same = {
        frozenset((whole.ids[a], whole.ids[b]))
        for a, b in zip(twins.first[twins.same], twins.second[twins.same], strict=True)
    }
    assert same == {frozenset((some.ids[k], f"copy-{k}")) for k in range(0, 60, 3)}


def ordered_rocksalt(name: str, lithium: set[tuple[int, int, int]]) -> Crystals:
    """Return LiCoO₂ on the sites of rocksalt, 2 × 2 × 2 cells, with lithium on those given."""
    sites = list(itertools.product(range(4), repeat=3))
    numbers = [8 if sum(at) % 2 else (3 if at in lithium else 27) for at in sites]
    return crystal(8.2 * np.eye(3), np.array(sites) * 2.05, numbers, name)


def layered_and_spinel_like() -> tuple[Crystals, Crystals]:
    """Return the two orders: layers along (111), and the sites 16c of Fd-3m."""
    sites = set(itertools.product(range(4), repeat=3))
    layers = {at for at in sites if sum(at) % 4 == 0}
    centering = ((0, 0, 0), (0, 2, 2), (2, 0, 2), (2, 2, 0))
    corners = ((0, 0, 0), (3, 1, 2), (1, 2, 3), (2, 3, 1))
    spinel = {
        tuple((a + b) % 4 for a, b in zip(one, by, strict=True))
        for one in corners
        for by in centering
    }
    return ordered_rocksalt("layered", layers), ordered_rocksalt("spinel-like", spinel)


def test_orders_with_the_same_distances_are_no_copies():
    """Layered and spinel-like LiCoO₂ differ by nothing that distances from an atom know."""
    layered, spinel = layered_and_spinel_like()
    apart = structure_fingerprints(layered) - structure_fingerprints(spinel)
    assert np.linalg.norm(apart) < 1e-9
    copy = reworded(layered, "copy", 1)
    found = {f.check: f for f in duplicate_findings(cat([layered, spinel, copy]), None, None)}
    assert found["duplicates"].examples == ("layered = copy",)
    assert found["near-duplicates"].count == 3
    alone = {f.check for f in duplicate_findings(layered, spinel, None)}
    assert alone == {"near leak"}


def test_copies_are_found_however_many_others_look_alike():
    """Each crystal has but twenty partners; the others must not use them up."""
    layered, spinel = layered_and_spinel_like()
    others = [replace(spinel, ids=[f"other-{k}"]) for k in range(25)]
    again = replace(layered, ids=["again"])
    found = {f.check: f for f in duplicate_findings(cat([layered, *others, again]), None, None)}
    assert "25 crystals repeat" in found["duplicates"].what  # 24 others, and one
    assert "layered = again" in found["duplicates"].examples


def test_copies_that_are_written_alike_need_no_matching(some, monkeypatch):
    """Rounded to 0.0001 Å, and with atoms moved by lattice vectors."""
    import pymatgen.analysis.structure_matcher

    moved = some[:40].positions + some[:40].cell[some[:40].crystal_of_atom][:, 1]
    again = replace(
        some[:40],
        positions=(1e4 * moved).round() / 1e4,
        cell=(1e4 * some[:40].cell).round() / 1e4,
        ids=[f"again-{k}" for k in range(40)],
    )
    monkeypatch.delattr(pymatgen.analysis.structure_matcher, "StructureMatcher")
    whole = cat([some[:40], again])
    twins = find_twins(Facts(whole), np.ones(len(whole), dtype=bool))
    assert len(twins.groups(len(whole), same=True)) == 40


def test_a_slightly_relaxed_copy_is_a_near_duplicate(some):
    generator = np.random.default_rng(0)
    one = some[int(some.atom_counts.argmax())]
    moved = one.positions + 0.01 * torch.from_numpy(generator.normal(size=one.positions.shape))
    relaxed = replace(one, positions=1.005 * moved, cell=1.005 * one.cell, ids=["relaxed"])
    checks = {f.check: f for f in duplicate_findings(cat([some, relaxed]), None, None)}
    assert "duplicates" not in checks
    assert any("relaxed" in text for text in checks["near-duplicates"].examples)


@pytest.mark.parametrize(("labels", "severity"), [("equal", "warning"), ("unrelated", "note")])
def test_near_duplicates_whose_labels_are_unrelated_are_but_a_note(some, labels, severity):
    """Such as slabs that differ in one site: alike in the mean, not where it matters."""
    generator = np.random.default_rng(1)
    first = some[:60]
    moved = first.positions + 0.01 * torch.from_numpy(generator.normal(size=first.positions.shape))
    second = replace(first, positions=moved, ids=[f"moved-{k}" for k in range(60)])
    values = torch.from_numpy(generator.normal(size=60))
    others = values if labels == "equal" else torch.from_numpy(generator.normal(size=60))
    first = first.with_targets({"energy": Target(values, "crystal", "eV")})
    second = second.with_targets({"energy": Target(others, "crystal", "eV")})
    within = {f.check: f for f in duplicate_findings(cat([first, second]), None, None)}
    between = {f.check: f for f in duplicate_findings(first, second, None)}
    for finding in (within["near-duplicates"], between["near leak"]):
        assert finding.severity == severity
        assert "energy" in finding.what
        assert finding.count > 20


def test_one_wrong_label_or_another_unit_hides_no_leak(some):
    generator = np.random.default_rng(1)
    moved = some.positions + 0.01 * torch.from_numpy(generator.normal(size=some.positions.shape))
    copies = replace(some, positions=moved, ids=[f"moved-{k}" for k in range(len(some))])[:60]
    values = torch.from_numpy(generator.normal(size=len(some)))
    wrong = values[:60].clone()
    wrong[0] = 1e4
    train = some.with_targets({"energy": Target(values, "crystal", "eV")})
    for labels, unit in ((wrong, "eV"), (1e3 * values[:60], "meV")):
        test = copies.with_targets({"energy": Target(labels, "crystal", unit)})
        found = {f.check: f for f in duplicate_findings(train, test, None)}
        assert found["near leak"].severity == "warning"


def test_rows_of_the_test_set_that_stand_in_training_are_leaks(some):
    leaked = cat([reworded(some[k], f"test-{k}", k) for k in range(5)])
    found = {f.check: f for f in duplicate_findings(some[:100], cat([some[100:], leaked]), None)}
    assert found["leak"].severity == "error"
    assert found["leak"].count == 5
    assert f"test-0 = {some.ids[0]}" in found["leak"].examples
    clean = {f.check for f in duplicate_findings(some[:100], some[100:], None)}
    assert "leak" not in clean


def test_forty_copies_of_one_training_row_are_forty_leaks(some):
    copies = cat([replace(some[:1], ids=[f"test-{k}"]) for k in range(40)])
    found = {f.check: f for f in duplicate_findings(some[:100], copies, None)}
    assert found["leak"].count == 40


def test_test_rows_in_the_pretraining_data_are_a_warning_and_an_error_with_labels():
    crystals = bundled()[:60]
    plain = crystals.with_targets({})
    for earlier, severity in ((plain[20:], "warning"), (crystals[20:], "error")):
        found = duplicate_findings(crystals[:20], crystals[20:40], earlier)
        seen = next(f for f in found if f.check == "seen in pre-training")
        assert (seen.severity, seen.count) == (severity, 20)


def test_copies_with_different_labels_are_named(some):
    from epitaxy.crystals.targets import Target

    pair = cat([some, reworded(some[0], "copy", 0)])
    values = torch.linspace(0.0, 10.0, len(pair), dtype=torch.float64)
    for last, count in ((values[0], 0), (values[0] + 5, 1)):
        values[-1] = last
        labelled = pair.with_targets({"band_gap": Target(values.clone(), unit="eV")})
        found = [
            f for f in duplicate_findings(labelled, None, None) if f.check == "conflicting labels"
        ]
        assert len(found) == count


def test_an_extensive_label_of_a_supercell_does_not_conflict(some):
    from epitaxy.crystals.targets import Target

    pair = cat([some[:50], reworded(some[0], "copy", 0)])
    energies = torch.linspace(-3, -1, 51, dtype=torch.float64)
    energies[-1] = energies[0]
    target = Target(energies * pair.atom_counts, unit="eV", extensive=True)
    found = duplicate_findings(pair.with_targets({"energy": target}), None, None)
    assert {f.check for f in found} == {"duplicates"}


def test_boxes_with_vacuum_lone_atoms_and_odd_densities_are_told_apart():
    atoms = np.array([[0.0, 0, 0], [0, 0, 1.2]])
    boxes = cat(
        [
            crystal(np.diag([12.0, 12, 14]), atoms + np.array([0, 0, 11]), [6, 8], "molecule"),
            crystal(np.diag([3.0, 3, 20]), atoms + np.array([0, 0, 19.5]), [6, 6], "slab"),
            crystal(np.diag([3.0, 12, 14]), atoms, [6, 6], "chain"),
            crystal(np.diag([2.5, 2.5, 2.5]), atoms[:1], [26], "lone"),
            crystal(np.diag([3.0, 3, 3]), atoms * [0, 0, 0.5], [26, 26], "short"),
            crystal(np.diag([1.9, 1.9, 1.9]), atoms[:1], [55], "dense"),
            crystal(np.diag([7.0, 7, 7]), atoms * [0, 0, 2.9], [8, 8], "loose"),
            crystal(np.diag([4.2, 4.2, 4.2]), atoms * [0, 0, 2.1 / 1.2], [11, 17], "fine"),
        ]
    )
    found = {f.check: f.examples for f in geometry_findings(Facts(boxes), None)}
    assert found["molecules in boxes"] == ("molecule",)
    assert found["slabs in boxes"] == ("slab",)
    assert found["chains in boxes"] == ("chain",)
    assert found["one-atom cells"] == ("lone", "dense")
    assert "short" in found["short distances"]
    assert found["too dense"] == ("dense",)
    assert found["too loose"] == ("loose",)
    assert not any("fine" in ids for ids in found.values())


def test_skipped_structures_are_reported_disorder_apart():
    skipped = (
        Skipped("a.cif", None, "a", "site 0 is disordered (Fe: 0.5, Ni: 0.5)"),
        Skipped("b.cif", None, "b", "the file is empty."),
    )
    report = ReadReport("CIF", "here", 1, skipped)
    found = {f.check: f.examples for f in geometry_findings(Facts(bundled()[:3]), report)}
    assert found["disorder"] == ("a",)
    assert found["unreadable"] == ("b",)
