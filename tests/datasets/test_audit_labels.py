"""Defects planted into the columns of bundled crystals are found and named; right columns pass."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from epitaxy.crystals.crystals import Crystals
from epitaxy.crystals.targets import Target
from epitaxy.datasets.audits.agreement import LARGEST_CHANCE, cross_validated
from epitaxy.datasets.audits.facts import Facts
from epitaxy.datasets.audits.findings import Finding
from epitaxy.datasets.audits.labels import label_findings
from epitaxy.datasets.audits.measures import bonding_slope
from epitaxy.datasets.audits.quantities import quantity_named
from epitaxy.datasets.audits.relations import debye_ratio
from epitaxy.datasets.bundled import bundled

MODULUS, FORMATION = "bulk_modulus", "formation_energy_per_atom"


@pytest.fixture(scope="module")
def relaxed() -> Crystals:
    crystals = bundled()
    order = torch.from_numpy(np.random.default_rng(3).permutation(len(crystals))[:330])
    return crystals[order]


@pytest.fixture(scope="module")
def frames() -> Crystals:
    return bundled("frames")[:150]


def with_values(crystals: Crystals, name: str, values: torch.Tensor) -> Crystals:
    target = crystals.target(name).with_values(values)
    return replace(crystals, targets={**crystals.targets, name: target})


def only(crystals: Crystals, *names: str) -> Crystals:
    return crystals.with_targets({name: crystals.target(name) for name in names})


def findings(crystals: Crystals, *names: str) -> list[Finding]:
    return label_findings(Facts(only(crystals, *names)), set(names))[0]


def test_right_columns_raise_neither_errors_nor_warnings(relaxed, frames):
    for crystals in (relaxed, frames):
        found = findings(crystals, *crystals.targets)
        assert {one.severity for one in found} <= {"note"}


@pytest.mark.parametrize(
    ("name", "factor", "unit"),
    [
        (FORMATION, 1e3, "meV"),
        (FORMATION, 96.485, "kJ/mol"),
        (FORMATION, 1 / 27.2114, "Ha"),
        (MODULUS, 10.0, "kbar"),
        (MODULUS, 1e3, "MPa"),
        ("energy", 1e3, "meV"),
        ("energy", 1 / 27.2114, "Ha"),
    ],
)
def test_a_wrong_unit_is_found_and_named(relaxed, name, factor, unit):
    values = relaxed.target(name).values * factor
    found = [
        one for one in findings(with_values(relaxed, name, values), name) if one.check == "unit"
    ]
    assert [one.severity for one in found] == ["error"]
    assert f"in {unit}" in found[0].advice


@pytest.mark.parametrize(
    ("name", "factor", "unit"),
    [
        ("forces", 1e3, "meV/Å"),
        ("forces", 1 / 51.42, "Ha/Bohr"),
        ("stress", 160.2, "GPa"),
        ("stress", 1602.0, "kbar"),
    ],
)
def test_a_wrong_unit_of_forces_or_stress_is_found_and_named(frames, name, factor, unit):
    values = frames.target(name).values * factor
    found = [
        one for one in findings(with_values(frames, name, values), name) if one.check == "unit"
    ]
    assert [one.severity for one in found] == ["error"]
    assert f"in {unit}" in found[0].advice


@pytest.mark.parametrize("name", [FORMATION, MODULUS, "energy"])
def test_a_turned_sign_is_found(relaxed, name):
    turned = with_values(relaxed, name, -relaxed.target(name).values)
    assert "sign" in {one.check for one in findings(turned, name) if one.severity == "error"}


@pytest.mark.parametrize("name", ["forces", "stress"])
def test_a_turned_sign_of_forces_or_stress_is_found(frames, name):
    turned = with_values(frames, name, -frames.target(name).values)
    found = [one for one in findings(turned, name) if one.check == "sign"]
    assert "−1" in found[0].advice


def test_a_logarithm_of_the_wrong_base_is_found(relaxed):
    values = relaxed.target(MODULUS).values
    for logarithm, said in ((torch.log10, None), (torch.log, "natural logarithms")):
        target = Target(logarithm(values), unit="log10(GPa)")
        column = relaxed.with_targets({"log10_bulk_modulus": target})
        found = [
            one
            for one in label_findings(Facts(column), {"log10_bulk_modulus"})[0]
            if one.check == "unit"
        ]
        assert (said is None) == (not found)
        assert said is None or said in found[0].advice


def test_exchanged_columns_are_named(relaxed):
    swapped = with_values(relaxed, MODULUS, relaxed.target(FORMATION).values)
    swapped = with_values(swapped, FORMATION, relaxed.target(MODULUS).values)
    found = findings(swapped, MODULUS, FORMATION)
    assert "swapped columns" in {one.check for one in found if one.severity == "error"}


def test_shear_and_bulk_modulus_are_told_apart_by_their_ratio(relaxed):
    bulk = relaxed.target(MODULUS)
    shear = bulk.with_values(0.4 * bulk.values)
    for one, other, found in ((bulk, shear, False), (shear, bulk, True)):
        columns = relaxed.with_targets({"bulk_modulus": one, "shear_modulus": other})
        checks = {x.check for x in label_findings(Facts(columns), set(columns.targets))[0]}
        assert ("swapped columns" in checks) == found


@pytest.mark.parametrize("name", [FORMATION, MODULUS, "energy"])
def test_shuffled_labels_are_found_every_time(relaxed, name):
    for seed in range(2):
        order = torch.randperm(len(relaxed), generator=torch.Generator().manual_seed(seed))
        shuffled = with_values(relaxed, name, relaxed.target(name).values[order])
        found = {one.check for one in findings(shuffled, name) if one.severity == "error"}
        assert "labels do not follow" in found


def test_labels_below_a_lost_cell_are_found_and_the_move_is_named():
    crystals = bundled()[:640]
    values = crystals.target(FORMATION).values.clone()
    start = 400
    values[start:] = torch.roll(values[start:], -1)
    found = [
        one
        for one in findings(with_values(crystals, FORMATION, values), FORMATION)
        if one.check == "labels do not follow"
    ]
    assert len(found) == 1
    assert 150 < found[0].count < 320
    assert "Moved by +1 rows" in found[0].what


def test_shuffled_forces_stresses_and_moments_are_found(frames):
    generator = np.random.default_rng(0)
    for name in ("forces", "stress", "magmoms"):
        values = frames.target(name).values
        order = torch.from_numpy(generator.permutation(len(values)))
        found = {one.check for one in findings(with_values(frames, name, values[order]), name)}
        assert "labels do not follow" in found


def test_an_energy_per_atom_declared_per_cell_is_found(relaxed):
    energy = relaxed.target("energy")
    per_atom = energy.with_values(energy.values / relaxed.atom_counts)
    for target, found in ((energy, False), (per_atom, True)):
        column = relaxed.with_targets({"energy": target})
        checks = {one.check for one in label_findings(Facts(column), {"energy"})[0]}
        assert ("size law" in checks) == found
    undeclared = relaxed.with_targets({"energy": replace(energy, extensive=False)})
    checks = {one.check for one in label_findings(Facts(undeclared), {"energy"})[0]}
    assert "size law" in checks


def test_single_impossible_values_and_outliers_are_named(relaxed):
    modulus = relaxed.target(MODULUS).values.clone()
    modulus[7], modulus[9] = -3.0, 9000.0
    found = {one.check: one for one in findings(with_values(relaxed, MODULUS, modulus), MODULUS)}
    assert set(found["impossible values"].examples) == {relaxed.ids[7], relaxed.ids[9]}
    assert found["outliers"].examples == (relaxed.ids[9],)


def test_constant_and_missing_columns_are_found(relaxed):
    values = relaxed.target(MODULUS).values
    constant = findings(with_values(relaxed, MODULUS, torch.full_like(values, 80.0)), MODULUS)
    assert "constant" in {one.check for one in constant if one.severity == "error"}
    some = values.clone()
    some[:200] = torch.nan
    missing = findings(with_values(relaxed, MODULUS, some), MODULUS)
    assert [one.count for one in missing if one.check == "missing values"] == [
        int(torch.isnan(some).sum())
    ]


def test_forces_that_push_the_whole_frame_are_found(frames):
    forces = frames.target("forces").values.clone()
    forces[frames.crystal_of_atom == 4] += 1.0
    found = [
        one
        for one in findings(with_values(frames, "forces", forces), "forces")
        if one.check == "net force"
    ]
    assert found[0].examples == (frames.ids[4],)


def test_chance_correlations_of_shuffled_labels_stay_below_the_bound():
    generator = np.random.default_rng(0)
    design, beyond = generator.normal(size=(120, 8)), 0
    for seed in range(60):
        values = np.random.default_rng(seed).normal(size=120)
        found = np.corrcoef(cross_validated(design, values), values)[0, 1]
        beyond += found > LARGEST_CHANCE / np.sqrt(120)
    assert beyond <= 1


def test_the_bonding_slope_is_the_same_for_any_zero_of_energy(relaxed):
    facts = Facts(relaxed)
    energies = relaxed.target(FORMATION).values.numpy().astype(float)
    slope = bonding_slope(energies, facts)
    zeros = np.random.default_rng(1).normal(size=119) * 5
    moved = bonding_slope(energies + facts.fractions @ zeros, facts)
    assert 0.5 < slope < 5
    assert moved == pytest.approx(slope, rel=0.1)


def test_the_debye_estimate_knows_copper_and_diamond():
    """343 K at 140 GPa, and 2230 K at 443 GPa; both within what a Poisson ratio makes of it."""
    for number, volume, bulk, temperature in ((29, 11.81, 140.0, 343.0), (6, 5.67, 443.0, 2230.0)):
        one = Crystals(
            numbers=torch.tensor([number]),
            positions=torch.zeros(1, 3, dtype=torch.float64),
            cell=torch.eye(3, dtype=torch.float64)[None] * volume ** (1 / 3),
            pbc=torch.ones(1, 3, dtype=torch.bool),
            offsets=torch.tensor([0, 1]),
        )
        ratio = debye_ratio(np.array([temperature]), np.array([bulk]), Facts(one))
        assert 0.7 < ratio[0] < 1.5


@pytest.mark.parametrize(
    ("column", "name"),
    [
        ("band_gap", "band gap"),
        ("Egap PBE", "band gap"),
        ("log10_shear_modulus", "shear modulus"),
        ("K_VRH", "bulk modulus"),
        ("e_form", "formation energy"),
        ("heat_of_formation", "formation energy"),
        ("e_above_hull", "energy above the hull"),
        ("total_energy", "total energy"),
        ("information", None),
    ],
)
def test_quantities_are_known_by_their_columns(column, name):
    quantity = quantity_named(column)
    assert (quantity.name if quantity else None) == name
