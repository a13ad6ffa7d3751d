"""Plain facts about the elements 1–118: symbols, places in the periodic table, formulas."""

import functools
import math
from collections import Counter
from collections.abc import Iterable

from epitaxy.errors import InputError, did_you_mean

_SYMBOLS = """
    H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br
    Kr Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho
    Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es
    Fm Md No Lr Rf Db Sg Bh Hs Mt Ds Rg Cn Nh Fl Mc Lv Ts Og
"""
SYMBOLS = tuple(_SYMBOLS.split())
NUMBERS = {symbol: number for number, symbol in enumerate(SYMBOLS, start=1)}

# Pauling's scale by atomic number; 0 where no value is accepted.
_PAULING = """
    2.20 0 0.98 1.57 2.04 2.55 3.04 3.44 3.98 0 0.93 1.31 1.61 1.90 2.19 2.58 3.16 0 0.82 1.00 1.36
    1.54 1.63 1.66 1.55 1.83 1.88 1.91 1.90 1.65 1.81 2.01 2.18 2.55 2.96 3.00 0.82 0.95 1.22 1.33
    1.60 2.16 1.90 2.20 2.28 2.20 1.93 1.69 1.78 1.96 2.05 2.10 2.66 2.60 0.79 0.89 1.10 1.12 1.13
    1.14 1.13 1.17 1.20 1.20 1.10 1.22 1.23 1.24 1.25 1.10 1.27 1.30 1.50 2.36 1.90 2.20 2.20 2.28
    2.54 2.00 1.62 2.33 2.02 2.00 2.20 2.20 0.70 0.90 1.10 1.30 1.50 1.38 1.36 1.28 1.30 1.30 1.30
    1.30 1.30 1.30 1.30 1.30 1.30 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0
"""
_ELECTRONEGATIVITIES = tuple(float(value) for value in _PAULING.split())
_NOBLE = (0, 2, 10, 18, 36, 54, 86, 118)


def symbol(number: int) -> str:
    """Return the symbol of an atomic number; raises InputError outside 1–118.

    >>> symbol(26)
    'Fe'
    """
    if not 1 <= number <= len(SYMBOLS):
        raise InputError(f"no element has the atomic number {number}; they run from 1 to 118.")
    return SYMBOLS[number - 1]


def atomic_number(symbol: str) -> int:
    """Return the atomic number of a symbol.

    >>> atomic_number("Fe")
    26
    """
    if symbol not in NUMBERS:
        raise InputError(f"there is no element '{symbol}'. {did_you_mean(symbol, SYMBOLS)}")
    return NUMBERS[symbol]


def electronegativity(number: int) -> float | None:
    """Return Pauling's electronegativity, or None where none is accepted.

    >>> electronegativity(8)
    3.44
    """
    symbol(number)
    return _ELECTRONEGATIVITIES[number - 1] or None


@functools.cache
def period_and_group(number: int) -> tuple[int, int]:
    """Return the period 1–7 and the group 1–18; lanthanides and actinides count as group 3.

    >>> period_and_group(26)
    (4, 8)
    >>> period_and_group(60)
    (6, 3)
    """
    symbol(number)
    period = next(row for row, last in enumerate(_NOBLE) if number <= last)
    before, last = number - _NOBLE[period - 1], _NOBLE[period] - number
    if before <= 2 and period > 1:
        return period, before
    if period == 1:
        return period, 1 if number == 1 else 18
    if last < 15 and (last < 6 or period >= 4):
        return period, 18 - last
    return period, 3


def formula(numbers: Iterable[int]) -> str:
    """Return the reduced formula, elements by rising electronegativity, then by symbol.

    Elements without an accepted electronegativity stand last.

    >>> formula([8, 8, 8, 22, 20])
    'CaTiO3'
    """
    counts = Counter(int(number) for number in numbers)
    divisor = math.gcd(*counts.values())
    ordered = sorted(counts, key=lambda z: (electronegativity(z) or math.inf, symbol(z)))
    amounts = ((symbol(z), counts[z] // divisor) for z in ordered)
    return "".join(text if amount == 1 else f"{text}{amount}" for text, amount in amounts)
