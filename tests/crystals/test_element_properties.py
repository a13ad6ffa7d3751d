"""Property vectors of elements say what the periodic table says."""

import pytest
import torch

from epitaxy.crystals.element_properties import COLUMNS, SIZE, properties, property_vectors
from epitaxy.crystals.elements import NUMBERS, period_and_group
from epitaxy.errors import InputError


def column(symbol: str, name: str) -> int | None:
    """The place of the 1 among a property's columns, None where there is none."""
    vector, first = property_vectors([NUMBERS[symbol]])[0], 0
    for other, count, _ in COLUMNS:
        if other == name:
            ones = torch.nonzero(vector[first : first + count]).flatten().tolist()
            assert len(ones) <= 1
            return ones[0] if ones else None
        first += count
    raise KeyError(name)


def test_there_are_92_columns_with_at_most_one_1_per_property():
    vectors = property_vectors(range(1, 104))
    assert SIZE == 92
    assert vectors.shape == (103, 92)
    assert set(vectors.unique().tolist()) == {0.0, 1.0}
    first = 0
    for _, count, _ in COLUMNS:
        assert float(vectors[:, first : first + count].sum(1).max()) == 1
        first += count


@pytest.mark.parametrize(
    ("symbol", "name", "expected"),
    [
        ("H", "group", 1),
        ("He", "group", 18),
        ("Fe", "group", 8),
        ("Gd", "group", 0),
        ("Lu", "group", 3),
        ("Cs", "period", 5),
        ("F", "electronegativity", 9),  # 3.98 in the last tenth of 0.5–4.0
        ("Cs", "electronegativity", 0),
        ("He", "electronegativity", None),
        ("H", "covalent_radius", 0),  # 32 pm in 25–47.5
        ("O", "valence_electrons", 5),  # six of them
        ("Zn", "valence_electrons", 11),
        ("Ga", "valence_electrons", 2),
        ("Er", "valence_electrons", 11),  # fourteen, counted as twelve
        ("He", "ionization_energy", 9),
        ("Cs", "ionization_energy", 0),
        ("Cl", "electron_affinity", 9),
        ("He", "block", 0),
        ("Al", "block", 1),
        ("Lu", "block", 2),
        ("U", "block", 3),
        ("Cs", "molar_volume", 9),
        ("B", "molar_volume", 0),
        ("At", "molar_volume", None),
    ],
)
def test_properties_of_known_elements_are_in_their_bins(symbol, name, expected):
    assert column(symbol, name) == expected


def test_known_values_are_what_handbooks_say():
    iron = properties(26)
    assert iron["ionization_energy"] == pytest.approx(2.067, abs=1e-3)  # ln 7.902 eV
    assert iron["molar_volume"] == pytest.approx(1.959, abs=1e-3)  # ln 7.09 cm³
    assert iron["covalent_radius"] == 116
    assert properties(17)["electron_affinity"] == pytest.approx(3.613, abs=1e-3)


def test_groups_and_periods_agree_with_the_plain_facts_outside_of_the_f_block():
    for number in range(1, 104):
        found = properties(number)
        assert found["period"] == period_and_group(number)[0]
        assert found["group"] in (0, period_and_group(number)[1])
        assert (found["group"] == 0) == (found["block"] == 3)


def test_few_elements_share_a_vector():
    vectors = property_vectors(range(1, 99))
    assert len(vectors.unique(dim=0)) == 98 - 2  # Dy, Ho and Er are one


@pytest.mark.parametrize("number", [104, 0, 119])
def test_an_element_outside_of_the_table_is_named(number):
    with pytest.raises(InputError, match=f"{number}"):
        property_vectors([26, number])
