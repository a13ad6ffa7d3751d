"""Conversions between the units that users bring and those that Epitaxy computes in.

Epitaxy uses ASE's units: Å, eV, eV/Å, eV/Å³; stress is positive in tension.
The factors are the CODATA 2018 values.
"""

import re
import unicodedata
from collections.abc import Mapping

from epitaxy.errors import InputError, did_you_mean

_ELECTRON_VOLT = 1.602176634e-19  # J
_AVOGADRO = 6.02214076e23  # 1/mol
_HARTREE = 27.211386245988  # eV
_RYDBERG = _HARTREE / 2
_BOHR = 0.529177210903  # Å
_GIGAPASCAL = 1e9 * 1e-30 / _ELECTRON_VOLT  # eV/Å³

# spelling -> (dimension, factor to the dimension's first unit)
_FACTORS: dict[str, tuple[str, float]] = {
    "eV": ("energy", 1.0),
    "meV": ("energy", 1e-3),
    "Ha": ("energy", _HARTREE),
    "Ry": ("energy", _RYDBERG),
    "kJ/mol": ("energy", 1e3 / (_AVOGADRO * _ELECTRON_VOLT)),
    "kcal/mol": ("energy", 4184.0 / (_AVOGADRO * _ELECTRON_VOLT)),
    "eV/atom": ("energy per atom", 1.0),
    "meV/atom": ("energy per atom", 1e-3),
    "Ha/atom": ("energy per atom", _HARTREE),
    "eV/Å": ("force", 1.0),
    "meV/Å": ("force", 1e-3),
    "Ha/Bohr": ("force", _HARTREE / _BOHR),
    "eV/Å^3": ("stress", 1.0),
    "GPa": ("stress", _GIGAPASCAL),
    "kbar": ("stress", 0.1 * _GIGAPASCAL),
    "MPa": ("stress", 1e-3 * _GIGAPASCAL),
    "Å": ("length", 1.0),
    "nm": ("length", 10.0),
    "Bohr": ("length", _BOHR),
}
_IN_ANY_CASE = {  # no case of these could be meant as another prefix
    "ev": "eV",
    "hartree": "Ha",
    "ry": "Ry",
    "rydberg": "Ry",
    "kj": "kJ",
    "kcal": "kcal",
    "mol": "mol",
    "atom": "atom",
    "gpa": "GPa",
    "kbar": "kbar",
    "angstrom": "Å",
    "å": "Å",
    "bohr": "Bohr",
}
_IN_THIS_CASE = {"mev": "meV", "ha": "Ha"}  # MeV, mPa and Nm are other units than meV, MPa and nm
_BELOW_THE_BAR = {"a": "Å", "A": "Å"}  # alone, A is the ampere
_TARGET = re.compile(r"^\s*(?P<name>[^\[\]]+?)\s*(?:\[(?P<unit>[^\[\]]*)\])?\s*$")


def canonical(unit: str) -> str:
    """Return the house spelling of a unit; a unit that is not known is returned as it is.

    Case is folded only where it carries no prefix: "MeV" is not meV.

    >>> canonical("eV/Angstrom^3")
    'eV/Å^3'
    >>> canonical("MeV")
    'MeV'
    """
    text = unit.strip()
    if text in _FACTORS:
        return text
    plain = unicodedata.normalize("NFC", text).replace("**", "^").replace("³", "^3")
    above, *below = plain.split("/")
    parts = [_symbol(above, {}), *(_symbol(part, _BELOW_THE_BAR) for part in below)]
    folded = "/".join(parts)
    return folded if folded in _FACTORS else text


def _symbol(part: str, here: Mapping[str, str]) -> str:
    """Return one side of a fraction bar in the house spelling, its power as it is."""
    name, hat, power = part.strip().partition("^")
    spellings = {**_IN_THIS_CASE, **here}
    return spellings.get(name, _IN_ANY_CASE.get(name.lower(), name)) + hat + power


def is_known(unit: str) -> bool:
    """Return whether a unit can be converted.

    >>> is_known("meV"), is_known("bananas")
    (True, False)
    """
    return canonical(unit) in _FACTORS


def conversion_factor(source: str, destination: str) -> float:
    """Return f such that (value in ``source``) · f = (value in ``destination``).

    Raises InputError if either unit is unknown or the two measure different things.

    >>> round(conversion_factor("eV/Å^3", "GPa"), 5)
    160.21766
    """
    source, destination = canonical(source), canonical(destination)
    if source == destination:
        return 1.0
    for unit in (source, destination):
        if unit not in _FACTORS:
            raise InputError(f"no conversion is known for the unit '{unit}'. {_known(unit)}")
    dimension, factor = _FACTORS[source]
    other_dimension, other_factor = _FACTORS[destination]
    if dimension != other_dimension:
        raise InputError(
            f"'{source}' measures {dimension} and '{destination}' measures {other_dimension}: "
            "one cannot be converted into the other."
        )
    return factor / other_factor


def parse_target(text: str) -> tuple[str, str | None]:
    """Split ``"name[unit]"`` into a name and a unit; the unit is None where none is stated.

    >>> parse_target("band_gap[eV]")
    ('band_gap', 'eV')
    >>> parse_target("refractive_index[]")
    ('refractive_index', '')
    """
    match = _TARGET.match(text)
    if match is None:
        raise InputError(f"'{text}' is no target: write it as name or name[unit].")
    unit = match["unit"]
    return match["name"], None if unit is None else canonical(unit)


def _known(unit: str) -> str:
    return did_you_mean(unit, _FACTORS)
