"""What counts as the same formula, prototype and structure."""

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule

from epitaxy.crystals.exchange import from_ase
from epitaxy.datasets.grouping import (
    anonymous_formula,
    chemical_systems,
    equal_structures,
    merged,
    prototypes,
    reduced_formulas,
)


def test_supercells_share_formula_prototype_and_structure():
    salt = bulk("NaCl", "rocksalt", a=5.64)
    cubic = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    double = salt * (1, 1, 2)
    other = bulk("MgO", "rocksalt", a=4.2)
    crystals = from_ase([salt, cubic, double, other, bulk("NaCl", "cesiumchloride", a=3.4)])
    assert reduced_formulas(crystals) == ["NaCl", "NaCl", "NaCl", "MgO", "NaCl"]
    assert chemical_systems(crystals) == ["Cl-Na", "Cl-Na", "Cl-Na", "Mg-O", "Cl-Na"]
    assert prototypes(crystals) == ["AB 225"] * 4 + ["AB 221"]
    labels = equal_structures(crystals)
    assert labels[0] == labels[1] == labels[2]
    assert len(set(labels)) == 3


def test_a_strained_twin_is_the_same_and_an_inflated_one_is_not():
    silicon, stretched, inflated = bulk("Si"), bulk("Si", a=5.50), bulk("Si", a=6.2)
    silicon.rattle(0.01, seed=0)
    first, second, third = equal_structures(from_ase([silicon, stretched, inflated]))
    assert first == second != third


@pytest.mark.parametrize(
    ("numbers", "expected"), [([8, 1, 1], "AB2"), ([14] * 8, "A"), ([6] * 4 + [1] * 2, "AB2")]
)
def test_anonymous_formulas_do_not_name_elements(numbers, expected):
    assert anonymous_formula(numbers) == expected


def test_molecules_are_the_same_by_their_distances():
    water, turned, stretched = molecule("H2O"), molecule("H2O"), molecule("H2O")
    turned.rotate(40, "x")
    turned.positions = turned.positions[[0, 2, 1]] + 3.0
    stretched.positions[1] += 0.5
    labels = equal_structures(from_ase([water, turned, stretched]))
    assert labels[0] == labels[1] != labels[2]
    assert prototypes(from_ase([water])) == ["AB2 periodic in 0 directions"]


def test_slabs_without_a_full_cell_and_broken_symmetry_do_not_end_the_grouping():
    slab = Atoms("CC", positions=[[0, 0, 0], [1.2, 0.7, 0]], cell=[2.46, 2.46, 0], pbc=[1, 1, 0])
    slab.cell[1] = [1.23, 2.13, 0]
    two = from_ase([slab, slab])
    assert len(set(equal_structures(two))) == 2
    assert prototypes(two) == ["A periodic in 2 directions"] * 2
    crowded = Atoms("H2", positions=[[0, 0, 0], [0, 0, 0]], cell=np.eye(3), pbc=True)
    assert prototypes(from_ase([crowded])) == ["A without a space group"]


def test_labels_of_several_kinds_are_joined_through_chains():
    assert merged([1, 2, 3, 4], ["a", "a", "b", "c"], ["x", "y", "y", "z"]).tolist() == [0, 0, 0, 1]


def test_labels_do_not_depend_on_single_precision():
    crystals = from_ase([bulk("Cu"), bulk("Cu", cubic=True)])
    assert prototypes(crystals.to(dtype=torch.float32)) == ["A 225"] * 2
