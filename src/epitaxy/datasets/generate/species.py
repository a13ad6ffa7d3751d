"""Ions and atoms that crystals are made of: charges, radii, and how often they are drawn."""

import functools
from dataclasses import dataclass

from epitaxy.crystals.elements import SYMBOLS, atomic_number, electronegativity
from epitaxy.errors import InputError

# symbol | how common | radius in a metal with twelve neighbors, Å | charge:radius of the ion with
# six neighbors, Å, likeliest first. The ionic radii of cations are those of Shannon (Acta Cryst.
# A32, 751), rounded; those of anions are chosen with them. How common an element is was set by
# hand: 1 is usual, rare and radioactive ones are below.
TABLE = """
H 0.3 0.60 +1:0.24 -1:1.40 | He .01 1.80 | Li 1.6 1.57 +1:0.76 | Be 0.3 1.12 +2:0.45
B 0.8 0.97 +3:0.27 | C 0.7 0.91 +4:0.16 -4:1.58 | N 0.5 0.88 -3:1.46 +5:0.13 | O 0.1 0.85 -2:1.40
F .02 0.80 -1:1.33 | Ne .01 1.58 | Na 1.2 1.91 +1:1.02 | Mg 1.2 1.60 +2:0.72
Al 1.4 1.43 +3:0.535 | Si 1.3 1.36 +4:0.40 -4:2.15 | P 0.9 1.30 +5:0.38 -3:1.92 +3:0.44
S 0.4 1.30 -2:1.84 +6:0.29 +4:0.37 | Cl .05 1.40 -1:1.81 +7:0.27 | Ar .01 1.88
K 1.1 2.35 +1:1.38 | Ca 1.1 1.97 +2:1.00 | Sc 0.8 1.64 +3:0.745
Ti 1.0 1.46 +4:0.605 +3:0.67 +2:0.86 | V 0.9 1.35 +5:0.54 +3:0.64 +4:0.58 +2:0.79
Cr 0.9 1.28 +3:0.615 +2:0.80 +4:0.55 +6:0.44 | Mn 1.2 1.30 +2:0.83 +3:0.645 +4:0.53 +7:0.40
Fe 1.3 1.26 +3:0.645 +2:0.78 +4:0.585 | Co 1.1 1.25 +2:0.745 +3:0.58 +4:0.53
Ni 1.2 1.25 +2:0.69 +3:0.58 +4:0.48 | Cu 1.4 1.28 +2:0.73 +1:0.77 +3:0.54 | Zn 1.1 1.37 +2:0.74
Ga 1.1 1.40 +3:0.62 | Ge 1.2 1.39 +4:0.53 -4:2.20 +2:0.73 | As 1.0 1.42 +5:0.46 -3:2.02 +3:0.58
Se 0.5 1.45 -2:1.98 +4:0.50 +6:0.42 | Br .05 1.60 -1:1.96 | Kr .01 2.00 | Rb 0.9 2.50 +1:1.52
Sr 1.0 2.15 +2:1.18 | Y 0.8 1.80 +3:0.90 | Zr 0.8 1.60 +4:0.72
Nb 0.8 1.47 +5:0.64 +4:0.68 +3:0.72 | Mo 0.7 1.40 +6:0.59 +4:0.65 +3:0.69 +5:0.61
Tc 0.2 1.36 +4:0.645 +7:0.56 | Ru 0.8 1.34 +4:0.62 +3:0.68 +5:0.565 | Rh 0.9 1.34 +3:0.665 +4:0.60
Pd 1.0 1.37 +2:0.86 +4:0.615 | Ag 0.9 1.44 +1:1.15 | Cd 0.8 1.55 +2:0.95
In 1.1 1.66 +3:0.80 +1:1.40 | Sn 1.1 1.58 +4:0.69 +2:1.10 -4:2.30
Sb 1.0 1.60 +5:0.60 +3:0.76 -3:2.22 | Te 0.5 1.62 -2:2.21 +4:0.97 +6:0.56
I .05 1.70 -1:2.20 +5:0.95 +7:0.53 | Xe .01 2.18 | Cs 0.9 2.72 +1:1.67 | Ba 1.1 2.24 +2:1.35
La 0.8 1.88 +3:1.032 | Ce 0.8 1.82 +3:1.01 +4:0.87 | Pr 0.6 1.83 +3:0.99 +4:0.85
Nd 0.7 1.82 +3:0.983 | Pm 0.2 1.81 +3:0.97 | Sm 0.6 1.80 +3:0.958 +2:1.19
Eu 0.5 2.04 +2:1.17 +3:0.947 | Gd 0.5 1.80 +3:0.938 | Tb 0.5 1.78 +3:0.923 +4:0.76
Dy 0.5 1.77 +3:0.912 | Ho 0.5 1.77 +3:0.901 | Er 0.5 1.76 +3:0.89 | Tm 0.5 1.75 +3:0.88
Yb 0.6 1.94 +3:0.868 +2:1.02 | Lu 0.5 1.73 +3:0.861 | Hf 0.6 1.58 +4:0.71
Ta 0.6 1.47 +5:0.64 +4:0.68 +3:0.72 | W 0.5 1.41 +6:0.60 +4:0.66 +5:0.62
Re 0.3 1.38 +4:0.63 +7:0.53 +6:0.55 +5:0.58 | Os 0.5 1.35 +4:0.63 +6:0.545 +5:0.575
Ir 0.8 1.36 +4:0.625 +3:0.68 +5:0.57 | Pt 0.9 1.39 +4:0.625 +2:0.80 | Au 0.8 1.44 +3:0.85 +1:1.37
Hg 0.6 1.57 +2:1.02 +1:1.19 | Tl 0.8 1.71 +1:1.50 +3:0.885 | Pb 0.8 1.75 +2:1.19 +4:0.775
Bi 0.9 1.75 +3:1.03 +5:0.76 -3:2.30 | Ac 0.2 1.88 +3:1.12 | Th 0.5 1.80 +4:0.94
Pa 0.1 1.63 +4:0.90 +5:0.78 | U 0.5 1.56 +4:0.89 +6:0.73 +3:1.025 +5:0.76
Np 0.2 1.55 +4:0.87 +3:1.01 +6:0.72 | Pu 0.3 1.58 +3:1.00 +4:0.86
"""
_OFTEN = (1.0, 0.6, 0.3, 0.2)  # of the first, second, … charge in the table

# How often each stands for the anions of a salt: oxides lead, as among the minerals.
ANIONS = {
    "O": 40.0, "F": 9.0, "S": 11.0, "Se": 9.0, "Te": 6.5, "Cl": 8.0, "Br": 5.0, "I": 5.0,
    "N": 6.0, "P": 3.5, "As": 3.5, "Sb": 2.5, "Bi": 1.0, "H": 3.0, "C": 1.0, "Si": 0.6,
    "Ge": 0.6, "Sn": 0.3,
}  # fmt: skip
# What intermetallic compounds are made of: large electropositive metals, late transition metals
# and the p block. An element may be drawn as one of several classes.
ACTIVE = """
    Li Na K Rb Cs Mg Ca Sr Ba Sc Y La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Ti Zr Hf V Nb Ta
    Ac Th Pa U Np Pu
"""
LATE = "Be V Cr Mn Fe Co Ni Cu Zn Nb Mo Tc Ru Rh Pd Ag Cd Ta W Re Os Ir Pt Au Hg Mg"
BLOCK_P = "H B C N O Al Si P S Ga Ge As Se In Sn Sb Te Tl Pb Bi"
_SCARCE = {"H": 0.3, "C": 0.6, "N": 0.5, "O": 0.5, "S": 0.5, "Se": 0.5, "Te": 0.5}
_ALKALI = {"K": 0.4, "Rb": 0.3, "Cs": 0.3, "Na": 0.5, "Li": 0.7}
GASES = ("He", "Ne", "Ar", "Kr", "Xe")


@dataclass(frozen=True)
class Species:
    """An atom as it sits in a crystal.

    Attributes:
        number: atomic number.
        charge: of the ion; 0 in metals and elements.
        radius: Å, with six neighbors if charged, else with twelve.
        often: weight with which it is drawn among its like.
    """

    number: int
    charge: int
    radius: float
    often: float

    @functools.cached_property
    def electronegativity(self) -> float:
        """Pauling's; 1.5 where none is accepted."""
        return electronegativity(self.number) or 1.5


@dataclass(frozen=True)
class Choice:
    """Species to draw from, by their weights."""

    members: tuple[Species, ...]
    sums: tuple[float, ...]

    @property
    def weight(self) -> float:
        """The weights' sum."""
        return self.sums[-1] if self.sums else 0.0


def choice(members: tuple[Species, ...]) -> Choice:
    """Return a choice among species."""
    total, sums = 0.0, []
    for member in members:
        total += member.often
        sums.append(total)
    return Choice(members, tuple(sums))


@functools.cache
def ions() -> tuple[Species, ...]:
    """Return all ions of the table; an element's weight is shared by its charges."""
    found = []
    for name, often, _, states in _rows():
        for place, (charge, radius) in enumerate(states):
            weight = ANIONS[name] if charge < 0 else often * _OFTEN[place]
            if charge > 0 and name in ("N", "Cl", "I", "Br", "S", "Se", "Te", "H"):
                weight *= 0.3  # centers of molecular anions
            found.append(Species(atomic_number(name), charge, radius, weight))
    return tuple(found)


@functools.cache
def ions_of_charge(charge: int) -> Choice:
    """Return the ions of a charge."""
    return choice(tuple(ion for ion in ions() if ion.charge == charge))


@functools.cache
def anions() -> Choice:
    """Return all anions."""
    return choice(tuple(ion for ion in ions() if ion.charge < 0))


@functools.cache
def atoms(members: str) -> Choice:
    """Return neutral atoms by their symbols, with the radii that they have in metals."""
    table = {name: (often, radius) for name, often, radius, _ in _rows()}
    found = []
    for name in members.split():
        often, radius = table[name]
        often *= _SCARCE.get(name, 1.0) * _ALKALI.get(name, 1.0)
        found.append(Species(atomic_number(name), 0, radius, often))
    return choice(tuple(found))


@functools.cache
def known_elements() -> tuple[int, ...]:
    """Return the atomic numbers that may occur."""
    return tuple(sorted(atomic_number(name) for name, *_ in _rows()))


def ion(name: str, charge: int) -> Species:
    """Return the ion of an element; raises InputError where the table has none.

    >>> ion("Ti", 4).radius
    0.605
    """
    for one in ions():
        if SYMBOLS[one.number - 1] == name and one.charge == charge:
            return one
    raise InputError(f"no ion {name}{charge:+d} in the table of the generator.")


@functools.cache
def _rows() -> list[tuple[str, float, float, list[tuple[int, float]]]]:
    rows = []
    for entry in TABLE.replace("\n", "|").split("|"):
        if words := entry.split():
            states = [(int(word.split(":")[0]), float(word.split(":")[1])) for word in words[3:]]
            rows.append((words[0], float(words[1]), float(words[2]), states))
    return rows
