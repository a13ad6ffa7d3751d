"""A unit is converted rightly or not at all."""

import ase.units
import pytest

from epitaxy.errors import InputError
from epitaxy.units import canonical, conversion_factor, parse_target


@pytest.mark.parametrize(
    ("source", "destination", "factor"),
    [
        ("meV", "eV", 1e-3),
        ("Ha", "eV", ase.units.Hartree),
        ("Ry", "eV", ase.units.Rydberg),
        ("kJ/mol", "eV", ase.units.kJ / ase.units.mol),
        ("kcal/mol", "eV", ase.units.kcal / ase.units.mol),
        ("meV/atom", "eV/atom", 1e-3),
        ("Ha/Bohr", "eV/Å", ase.units.Hartree / ase.units.Bohr),
        ("GPa", "eV/Å^3", ase.units.GPa),
        ("kbar", "GPa", 0.1),
        ("Bohr", "Å", ase.units.Bohr),
        ("nm", "Å", 10.0),
    ],
)
def test_factors_are_those_of_ase_both_ways(source, destination, factor):
    assert conversion_factor(source, destination) == pytest.approx(factor, rel=1e-6)
    assert conversion_factor(destination, source) == pytest.approx(1 / factor, rel=1e-6)


def test_a_unit_is_itself_even_if_unknown():
    assert conversion_factor("log10(GPa)", "log10(GPa)") == 1.0


@pytest.mark.parametrize(
    ("text", "house"),
    [
        ("ev/Angstrom", "eV/Å"),
        ("eV/A**3", "eV/Å^3"),
        ("gpa", "GPa"),
        ("kBar", "kbar"),
        ("mev", "meV"),
        ("EV/atom", "eV/atom"),
        ("KJ/MOL", "kJ/mol"),
        ("ha/bohr", "Ha/Bohr"),
        ("eV/\u212b³", "eV/Å^3"),
        ("angstrom", "Å"),
        (" meV/ATOM ", "meV/atom"),
        ("Hartree", "Ha"),
        ("μB", "μB"),
    ],
)
def test_spellings_are_folded_into_one(text, house):
    assert canonical(text) == house


def test_what_measures_different_things_does_not_convert():
    with pytest.raises(InputError, match=r"'eV' measures energy and 'eV/atom' measures energy per"):
        conversion_factor("eV", "eV/atom")


def test_an_unknown_unit_is_an_error_that_lists_the_known():
    with pytest.raises(InputError, match=r"unit 'eV/atm'. Did you mean 'eV/atom'"):
        conversion_factor("eV/atm", "eV/atom")


@pytest.mark.parametrize(
    ("text", "name", "unit"),
    [
        ("band_gap[eV]", "band_gap", "eV"),
        ("band_gap [ev] ", "band_gap", "eV"),
        ("band_gap", "band_gap", None),
        ("n[]", "n", ""),
        ("log K[log10(GPa)]", "log K", "log10(GPa)"),
    ],
)
def test_a_target_is_a_name_and_perhaps_a_unit(text, name, unit):
    assert parse_target(text) == (name, unit)


@pytest.mark.parametrize("text", ["", "[eV]", "gap[eV", "gap[eV]x"])
def test_what_is_no_target_is_an_error(text):
    with pytest.raises(InputError, match=r"is no target"):
        parse_target(text)


@pytest.mark.parametrize(
    "unit", ["MeV", "mPa", "MeV/atom", "MeV/Å", "Nm", "A", "a", "GPA/A^3", "MPA", "mpa"]
)
def test_case_that_may_be_another_prefix_is_not_folded(unit):
    assert canonical(unit) == unit


def test_mega_is_not_converted_as_milli():
    with pytest.raises(InputError, match=r"unit 'MeV'"):
        conversion_factor("MeV", "eV")
