"""Generated crystals obey chemistry: charges cancel, bonds have the lengths of the radii."""

import random
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import spglib

from epitaxy.crystals.elements import atomic_number
from epitaxy.datasets.generate.candidates import Candidate, decorated, doubled, exchanged
from epitaxy.datasets.generate.decorate import metal, salt
from epitaxy.datasets.generate.disturb import disturbed
from epitaxy.datasets.generate.prototypes import prototypes
from epitaxy.datasets.generate.random_crystals import random_crystal
from epitaxy.datasets.generate.settle import bond_sums, settle
from epitaxy.datasets.generate.species import Species, atoms, ion, known_elements
from epitaxy.datasets.generate.stream import CrystalStream, joined
from epitaxy.errors import InputError

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def made_of(name: str, *species: Species) -> Candidate:
    prototype = prototypes()[name]
    kind = "+-" if species[0].charge else "m"
    every = tuple(species[place] for place in prototype.sublattice)
    return Candidate(name, kind, every, prototype.fractional, prototype.cell)


def settled_volume(candidate: Candidate) -> float:
    """Return Å³ per primitive cell."""
    return float(abs(np.linalg.det(settle(joined([candidate]), (np.inf,)).cell[0])))


def in_metal(name: str) -> Species:
    return atoms(name).members[0]


@pytest.mark.parametrize(
    ("candidate", "measured"),  # Å³ per primitive cell, from the lattice constants of handbooks
    [
        (made_of("rocksalt", ion("Na", 1), ion("Cl", -1)), 5.640**3 / 4),
        (made_of("rocksalt", ion("Mg", 2), ion("O", -2)), 4.212**3 / 4),
        (made_of("cesium-chloride", ion("Cs", 1), ion("Cl", -1)), 4.123**3),
        (made_of("fluorite", ion("Ca", 2), ion("F", -1)), 5.463**3 / 4),
        (made_of("zincblende", ion("Ga", 3), ion("As", -3)), 5.653**3 / 4),
        (made_of("wurtzite", ion("Zn", 2), ion("O", -2)), 47.6),
        (made_of("rutile", ion("Ti", 4), ion("O", -2)), 62.4),
        (made_of("perovskite", ion("Sr", 2), ion("Ti", 4), ion("O", -2)), 3.905**3),
        (made_of("spinel", ion("Mg", 2), ion("Al", 3), ion("O", -2)), 8.08**3 / 4),
        (made_of("fcc", in_metal("Cu")), 3.615**3 / 4),
        (made_of("bcc", in_metal("W")), 3.165**3 / 2),
        (made_of("hcp", in_metal("Mg")), 46.5),
        (made_of("L1_2", in_metal("Ni"), in_metal("Al")), 3.572**3),
        (made_of("cesium-chloride", in_metal("Ni"), in_metal("Al")), 2.887**3),
        (made_of("cesium-chloride", in_metal("Ni"), in_metal("Ti")), 3.015**3),
        (made_of("laves-C15", in_metal("Mg"), in_metal("Cu")), 7.034**3 / 4),
        (made_of("laves-C15", in_metal("Ca"), in_metal("Al")), 8.04**3 / 4),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_volumes_of_well_known_compounds_are_met_within_an_eighth(candidate, measured):
    assert settled_volume(candidate) == pytest.approx(measured, rel=0.125)


def test_the_edge_of_rocksalt_is_twice_the_sum_of_the_radii():
    for cation, anion in (("Li", "F"), ("K", "Br"), ("Rb", "I")):
        one, other = ion(cation, 1), ion(anion, -1)
        edge = (4 * settled_volume(made_of("rocksalt", one, other))) ** (1 / 3)
        assert edge == pytest.approx(2 * (one.radius + other.radius), rel=0.01)


def test_larger_ions_make_larger_cells():
    volumes = [
        [
            settled_volume(made_of("rocksalt", ion(cation, 1), ion(anion, -1)))
            for anion in ("F", "Cl", "Br", "I")
        ]
        for cation in ("Li", "Na", "K", "Rb")
    ]
    assert (np.diff(volumes, axis=0) > 0).all()
    assert (np.diff(volumes, axis=1) > 0).all()


def test_fewer_neighbors_are_nearer():
    """The same ions with four, six and eight neighbors, as Pauling's relation has it."""
    species = ion("Na", 1), ion("Cl", -1)
    lengths = {
        "zincblende": np.sqrt(3) / 4 * 4 ** (1 / 3),
        "rocksalt": 1 / 2 * 4 ** (1 / 3),
        "cesium-chloride": np.sqrt(3) / 2,
    }
    four, six, eight = (
        settled_volume(made_of(name, *species)) ** (1 / 3) * length
        for name, length in lengths.items()
    )
    assert six - four == pytest.approx(0.37 * np.log(6 / 4), abs=0.02)
    assert eight - six == pytest.approx(0.37 * np.log(8 / 6), abs=0.05)


@pytest.mark.parametrize(
    "candidate",
    [
        made_of("rutile", ion("Sn", 4), ion("O", -2)),
        made_of("corundum", ion("Al", 3), ion("O", -2)),
        made_of("spinel", ion("Zn", 2), ion("Cr", 3), ion("O", -2)),
        made_of("olivine", ion("Mg", 2), ion("Si", 4), ion("O", -2)),
        made_of("titanium-nickel-silicide", *map(in_metal, ("Zr", "Co", "P"))),
    ],
    ids=lambda value: value.name,
)
def test_settling_keeps_the_space_group_and_satisfies_the_bonds(candidate):
    before = joined([candidate])
    after = settle(before, (np.inf, np.inf, np.inf))
    fractional = np.linalg.solve(after.cell[0].T, after.positions.T).T
    numbers = [one.number for one in candidate.species]
    found = spglib.get_symmetry_dataset((after.cell[0], fractional, numbers), symprec=1e-2)
    assert found.number == prototypes()[candidate.name].group
    assert after.misfit[0] < (0.06 if candidate.kind == "+-" else 0.5)


def test_settling_mends_what_shaking_has_spoiled():
    """Atoms of a spinel moved by 0.15 Å and a cell strained by 3 % find fitting bonds again."""
    right = made_of("spinel", ion("Mg", 2), ion("Al", 3), ion("O", -2))
    generator = np.random.default_rng(0)
    before = joined([right])
    moved = before.positions + 0.15 * generator.normal(size=before.positions.shape)
    strain = np.eye(3) + 0.03 * np.diag([1.0, -1.0, 0.0])
    spoiled = replace(before, positions=moved @ strain, cell=before.cell @ strain)
    rigid = settle(spoiled, ())
    settled = settle(spoiled, (np.inf, np.inf))
    assert rigid.misfit[0] > 0.2
    assert settled.misfit[0] < 0.3 * rigid.misfit[0]


def test_bonds_sum_up_to_the_charges_in_rocksalt():
    settled = settle(joined([made_of("rocksalt", ion("Sc", 3), ion("N", -3))]), (np.inf,))
    moved = replace(
        joined([made_of("rocksalt", ion("Sc", 3), ion("N", -3))]),
        positions=settled.positions,
        cell=settled.cell,
    )
    assert bond_sums(moved) == pytest.approx([3.0, 3.0], rel=0.01)


def test_charges_cancel_in_everything_that_is_put_together():
    chance = random.Random(5)
    seen = Counter()
    for prototype in prototypes().values():
        for _ in range(4):
            candidate = decorated(prototype, chance)
            if candidate is not None:
                candidate = exchanged(candidate, 40, chance)
                assert sum(one.charge for one in candidate.species) == 0, candidate.name
                assert all(one.charge for one in candidate.species) or candidate.kind in "mc"
                seen[candidate.kind] += 1
    for _ in range(200):
        candidate = random_crystal(24, chance)
        if candidate is not None:
            assert sum(one.charge for one in candidate.species) == 0
            assert len(candidate.species) <= 24
            seen["random"] += 1
    assert min(seen["m"], seen["++-"], seen["+-"], seen["random"]) > 20


def test_cations_are_less_electronegative_than_the_anions_beside_them():
    chance = random.Random(6)
    for _ in range(300):
        ions = salt((1, 1, 3), "++-", (1.2, 1.0, 1.0), chance)
        if ions is not None:
            assert max(one.electronegativity for one in ions[:2]) <= ions[2].electronegativity
            assert [one.charge > 0 for one in ions] == [True, True, False]
            assert len({one.number for one in ions}) == 3


def test_metals_of_three_are_three_elements_without_charge():
    chance = random.Random(7)
    found = [one for one in (metal(3, chance) for _ in range(200)) if one is not None]
    assert len(found) > 100
    assert all(len({atom.number for atom in one}) == 3 for one in found)
    assert not any(atom.charge for one in found for atom in one)


def test_vacancies_leave_a_salt_neutral():
    candidate = made_of("spinel", ion("Mg", 2), ion("Al", 3), ion("O", -2))
    stream = CrystalStream(vacancies=1.0, rattle=0.0, strain=0.0)
    charge = {atomic_number("Mg"): 2, atomic_number("Al"): 3, atomic_number("O"): -2}
    gone = 0
    for seed in range(20):
        numbers, positions, _ = disturbed(
            stream, candidate, candidate.fractional, candidate.cell, random.Random(seed)
        )
        assert len(numbers) == len(positions)
        assert sum(charge[number] for number in numbers.tolist()) == 0
        gone += len(candidate.species) - len(numbers)
    assert gone > 20


def test_a_doubled_cell_is_the_same_crystal():
    candidate = made_of("perovskite", ion("Ba", 2), ion("Ti", 4), ion("O", -2))
    twice = doubled(candidate, 2)
    one, two = settled_volume(candidate), settled_volume(twice)
    assert two == pytest.approx(2 * one, rel=1e-3)
    cell = spglib.find_primitive(
        (twice.cell, twice.fractional, [one.number for one in twice.species])
    )
    assert len(cell[2]) == 5


def test_the_table_holds_89_elements_and_knows_its_ions():
    assert len(known_elements()) == 89
    assert ion("Fe", 3).radius < ion("Fe", 2).radius
    with pytest.raises(InputError, match="no ion Na\\+3"):
        ion("Na", 3)
