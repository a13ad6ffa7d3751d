"""Facts about the elements."""

import pytest

from epitaxy.crystals.elements import (
    NUMBERS,
    SYMBOLS,
    atomic_number,
    electronegativity,
    formula,
    period_and_group,
    symbol,
)
from epitaxy.errors import InputError


def test_symbols_and_numbers_are_each_others_inverse():
    assert len(SYMBOLS) == len(NUMBERS) == 118
    assert all(atomic_number(symbol(number)) == number for number in range(1, 119))


def test_facts_are_those_of_pymatgen():
    from pymatgen.core import Element

    for number in range(1, 119):
        element = Element.from_Z(number)
        assert symbol(number) == element.symbol
        assert period_and_group(number) == (element.row, element.group)
        value = electronegativity(number)
        assert value is None or value == pytest.approx(element.X)


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ([20, 22, 8, 8, 8], "CaTiO3"),
        ([11, 17] * 4, "NaCl"),
        ([26], "Fe"),
        ([8, 8], "O"),
        ([13, 13, 8, 8, 8] * 2, "Al2O3"),
        ([], ""),
    ],
)
def test_a_formula_is_reduced_and_ordered_by_electronegativity(numbers, text):
    assert formula(numbers) == text


def test_what_is_no_element_is_an_error():
    with pytest.raises(InputError, match=r"atomic number 119"):
        symbol(119)
    with pytest.raises(InputError, match=r"atomic number 0"):
        symbol(0)
    with pytest.raises(InputError, match=r"no element 'Fee'. Did you mean 'Fe'"):
        atomic_number("Fee")
