import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from epitaxy.crystals.arrow import open_arrow, write_arrow
from epitaxy.crystals.crystals import Crystals
from epitaxy.crystals.supercells import supercells
from epitaxy.errors import InputError
from epitaxy.evaluation.composition_features import (
    FEATURE_NAMES,
    PROPERTIES,
    composition_features,
    element_table,
)


def crystal_of(*numbers):
    count = len(numbers)
    return Crystals(
        numbers=torch.tensor(numbers),
        positions=torch.zeros(count, 3),
        cell=torch.eye(3)[None] * 5.0,
        pbc=torch.ones(1, 3, dtype=torch.bool),
        offsets=torch.tensor([0, count]),
    )


def feature(crystal, name):
    return composition_features(crystal)[0, FEATURE_NAMES.index(name)]


def test_titanium_dioxide_by_hand():
    rutile = crystal_of(22, 8, 8)
    assert feature(rutile, "fraction(Ti)") == pytest.approx(1 / 3)
    assert feature(rutile, "fraction(O)") == pytest.approx(2 / 3)
    assert feature(rutile, "fraction(H)") == 0.0
    mean = (1.54 + 2 * 3.44) / 3
    assert feature(rutile, "mean(electronegativity)") == pytest.approx(mean)
    deviation = ((mean - 1.54) + 2 * (3.44 - mean)) / 3
    assert feature(rutile, "deviation(electronegativity)") == pytest.approx(deviation)
    assert feature(rutile, "min(number)") == 8.0
    assert feature(rutile, "max(number)") == 22.0
    assert feature(rutile, "range(number)") == 14.0
    assert feature(rutile, "elements") == 2.0
    entropy = -(math.log(1 / 3) + 2 * math.log(2 / 3)) / 3
    assert feature(rutile, "mixing_entropy") == pytest.approx(entropy)


def test_an_element_has_no_range_and_no_entropy():
    row = composition_features(crystal_of(26, 26))[0]
    named = dict(zip(FEATURE_NAMES, row, strict=True))
    for name in PROPERTIES:
        assert named[f"range({name})"] == named[f"deviation({name})"] == 0.0
    assert named["mixing_entropy"] == 0.0


def test_neither_the_cell_nor_the_geometry_nor_the_order_matters(crystals):
    some = crystals[:8]
    expected = composition_features(some)
    moved = replace(some, positions=some.positions + torch.rand_like(some.positions))
    np.testing.assert_array_equal(composition_features(moved), expected)
    larger = supercells(some, torch.tensor([[1, 2, 1]] * 8))
    np.testing.assert_allclose(composition_features(larger), expected, atol=1e-12)
    one_by_one = np.concatenate([composition_features(some[row]) for row in range(8)])
    np.testing.assert_allclose(one_by_one, expected, atol=1e-12)


def test_a_mapped_file_gives_the_same(crystals, tmp_path):
    write_arrow(crystals[:8], tmp_path / "some.arrow")
    mapped = open_arrow(tmp_path / "some.arrow")
    np.testing.assert_array_equal(composition_features(mapped), composition_features(crystals[:8]))


def test_every_element_to_lawrencium_has_every_property():
    table = element_table()
    assert table.shape == (103, len(PROPERTIES))
    assert np.isfinite(table).all()
    electrons = table[:, [PROPERTIES.index(f"{name}_electrons") for name in "spdf"]]
    iron, cerium, ytterbium = electrons[25], electrons[57], electrons[69]
    assert iron.tolist() == [2, 0, 6, 0]
    assert cerium.tolist() == [2, 0, 0, 2]
    assert ytterbium.tolist() == [2, 0, 0, 14]


def test_an_element_beyond_the_table_is_named():
    with pytest.raises(InputError, match=r"Rf \(104\)"):
        composition_features(crystal_of(104, 8))
