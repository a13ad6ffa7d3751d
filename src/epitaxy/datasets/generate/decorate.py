"""Chooses the elements of a crystal: charges that balance, metals that go together."""

import functools
import itertools
import math
import random
from bisect import bisect
from collections.abc import Sequence

from epitaxy.crystals.elements import NUMBERS
from epitaxy.datasets.generate.species import (
    ACTIVE,
    BLOCK_P,
    GASES,
    LATE,
    Choice,
    Species,
    anions,
    atoms,
    choice,
    ions_of_charge,
)

# The highest charge that an anion lets a cation keep.
_HIGHEST = {"O": 7, "F": 6, "N": 5, "Cl": 5, "Br": 4, "I": 4, "S": 5, "Se": 5, "Te": 4, "H": 3}
_HIGHEST_BESIDE = {NUMBERS[name]: charge for name, charge in _HIGHEST.items()}
_NOT_SO_HIGH = 4
# Which kinds of atoms meet in metals of two, three and four elements: active (A), late (T), p (P).
_MEETINGS = {
    2: {"AT": 30, "AP": 27, "TP": 22, "TT": 10, "AA": 8, "PP": 3},
    3: {"ATP": 60, "TTP": 12, "AAP": 8, "ATT": 8, "APP": 7, "AAT": 4, "TTT": 1},
    4: {"AATP": 40, "ATTP": 30, "ATPP": 30},
}
_CLASSES = {"A": ACTIVE, "T": LATE, "P": BLOCK_P}
_GASEOUS = 0.02  # share of the noble gases among single elements
# Covalent elements: radius of the single bond in Å and how many bonds.
COVALENT = {
    "C": (0.77, 4), "Si": (1.17, 4), "Ge": (1.22, 4), "Sn": (1.40, 4), "B": (0.88, 4),
    "P": (1.10, 3), "As": (1.24, 3), "Sb": (1.43, 3), "Bi": (1.52, 3), "S": (1.03, 2),
    "Se": (1.18, 2), "Te": (1.40, 2), "N": (0.72, 3),
}  # fmt: skip
_TRIES = 12
_CLEARLY = 1.04  # times as much room


def drawn(among: Choice, chance: random.Random) -> Species:
    """Return one of the species, by their weights."""
    place = bisect(among.sums, chance.random() * among.weight)
    return among.members[min(place, len(among.members) - 1)]


def salt(
    counts: Sequence[int], signs: str, room: Sequence[float], chance: random.Random
) -> tuple[Species, ...] | None:
    """Return ions for sublattices of so many atoms and given signs, charges adding up to zero.

    Cations are less electronegative than anions, the less sharply the rarer, and those on roomier
    sublattices are larger. None where no balance was found.
    """
    negative = [place for place, sign in enumerate(signs) if sign == "-"]
    positive = [place for place, sign in enumerate(signs) if sign == "+"]
    for _ in range(_TRIES):
        chosen: dict[int, Species] = {}
        for place in negative:
            chosen[place] = drawn(anions(), chance)
        found = tuple(chosen.values())
        if len({ion.number for ion in found}) < len(found):
            continue
        total = -sum(counts[place] * chosen[place].charge for place in negative)
        highest = min(_HIGHEST_BESIDE.get(ion.number, _NOT_SO_HIGH) for ion in found)
        ways = _balances(tuple(counts[place] for place in positive), total, highest)
        if not ways[0]:
            continue
        charges = ways[0][bisect(ways[1], chance.random() * ways[1][-1])]
        cations = cations_of(charges, found, chance)
        spaces = [room[place] for place in positive]
        if cations is not None and _in_order(spaces, [ion.radius for ion in cations]):
            chosen |= dict(zip(positive, cations, strict=True))
            return tuple(chosen[place] for place in range(len(counts)))
    return None


def cations_of(
    charges: Sequence[int], beside: Sequence[Species], chance: random.Random
) -> list[Species] | None:
    """Return different cations of these charges that the anions beside them accept."""
    cations: list[Species] = []
    limit = min(ion.electronegativity for ion in beside)
    for charge in charges:
        cation = drawn(ions_of_charge(charge), chance)
        gap = limit - cation.electronegativity
        taken = [*(ion.number for ion in beside), *(ion.number for ion in cations)]
        if cation.number in taken or chance.random() > 0.35 + gap or gap < 0:
            return None
        cations.append(cation)
    return cations


def _in_order(room: Sequence[float], radii: Sequence[float]) -> bool:
    """Return whether nothing larger sits where there is clearly less room."""
    both = list(zip(room, radii, strict=True))
    return all(
        one[1] > 0.95 * other[1]
        for one, other in itertools.permutations(both, 2)
        if one[0] > _CLEARLY * other[0]
    )


@functools.cache
def _balances(
    counts: tuple[int, ...], total: int, highest: int
) -> tuple[list[tuple[int, ...]], list[float]]:
    """Return the charges that balance so many cations, and their cumulative weights."""
    ways, sums, sum_ = [], [], 0.0
    for charges in itertools.product(range(1, highest + 1), repeat=len(counts)):
        if sum(count * charge for count, charge in zip(counts, charges, strict=True)) == total:
            weight = math.prod(ions_of_charge(charge).weight for charge in charges)
            if weight > 0:
                sum_ += weight
                ways.append(charges)
                sums.append(sum_)
    return ways, sums


def metal(sublattices: int, chance: random.Random) -> tuple[Species, ...] | None:
    """Return different neutral atoms that meet in metals; None where two came out equal."""
    if sublattices == 1:
        if chance.random() < _GASEOUS:
            return (drawn(atoms(" ".join(GASES)), chance),)
        return (drawn(atoms(f"{ACTIVE} {LATE} Al Ga In Tl Sn Pb"), chance),)
    meetings = _MEETINGS[sublattices]
    (kinds,) = chance.choices(list(meetings), list(meetings.values()))
    found = [drawn(atoms(_CLASSES[kind]), chance) for kind in kinds]
    chance.shuffle(found)
    if len({one.number for one in found}) < len(found):
        return None
    return tuple(found)


def covalent(chance: random.Random) -> tuple[Species, ...]:
    """Return an element that forms as many bonds as it lacks electrons."""
    name = chance.choice(list(COVALENT))
    return (Species(NUMBERS[name], 0, COVALENT[name][0], 1.0),)


def bonds_wanted(species: Species, kind: str) -> float:
    """Return what an atom's bonds are to sum up to; see ``settle``."""
    if kind == "c":
        name = next(name for name in COVALENT if NUMBERS[name] == species.number)
        return COVALENT[name][1] / 12
    return float(abs(species.charge) or 1)


@functools.cache
def similar(species: Species, charge: int) -> Choice:
    """Return what may stand in for a species: of that charge, and of nearly its size."""
    if species.charge:
        pool = ions_of_charge(charge).members
    else:
        pool = next(
            (found for kind in "ATP" if species in (found := atoms(_CLASSES[kind]).members)),
            atoms(ACTIVE).members,
        )
    return choice(
        tuple(
            one
            for one in pool
            if one.number != species.number
            and abs(one.radius - species.radius) < 0.2 * species.radius + 0.05
        )
    )
