"""Random crystals of given symmetry: a composition, a space group, sites that hold it."""

import random
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from epitaxy.datasets.generate.candidates import Candidate
from epitaxy.datasets.generate.decorate import cations_of, drawn, metal
from epitaxy.datasets.generate.species import Species, anions
from epitaxy.datasets.generate.symmetry import random_lattice, space_group

# Space groups and how often they are tried: those that inorganic crystals prefer, and some others.
_GROUPS = {
    2: 10, 14: 12, 62: 12, 12: 10, 15: 7, 63: 6, 1: 3, 4: 3, 5: 2, 7: 1, 8: 2, 9: 2, 10: 2, 11: 4,
    13: 1, 19: 2, 25: 1, 26: 1, 29: 1, 31: 1, 33: 2, 36: 2, 38: 2, 40: 1, 43: 1, 44: 1, 46: 1,
    47: 1, 51: 2, 55: 1, 57: 1, 58: 1, 59: 2, 60: 1, 61: 1, 64: 2, 65: 2, 69: 1, 70: 1, 71: 3,
    72: 1, 74: 2, 82: 1, 85: 1, 87: 1, 88: 1, 99: 1, 107: 2, 109: 1, 113: 1, 115: 1, 119: 1,
    121: 1, 122: 1, 123: 4, 127: 2, 129: 4, 130: 1, 131: 1, 136: 2, 137: 1, 139: 6, 140: 2, 141: 2,
    146: 1, 147: 1, 148: 3, 152: 1, 154: 1, 155: 1, 156: 2, 160: 2, 161: 1, 162: 1, 164: 4, 165: 1,
    166: 7, 167: 2, 173: 1, 176: 1, 182: 1, 185: 1, 186: 2, 187: 2, 189: 3, 191: 3, 193: 1, 194: 6,
    198: 1, 204: 1, 205: 1, 215: 1, 216: 2, 217: 1, 221: 3, 223: 1, 225: 3, 227: 1, 229: 1,
}  # fmt: skip
_SALTS = 0.75  # share of salts; the rest are metals
_TRIES = 8
_NEAREST = 0.45  # of the cube root of the volume per atom; nearer atoms do not come apart


def random_crystal(max_atoms: int, chance: random.Random) -> Candidate | None:
    """Return a random crystal; None where no composition or no sites were found."""
    is_salt = chance.random() < _SALTS
    formula = _salt_formula(chance) if is_salt else _metal_formula(chance)
    if formula is None:
        return None
    species, counts = formula
    unit = sum(counts)
    most = max_atoms // unit
    if most < 1:
        return None
    times = min(chance.choice((1, 1, 2, 2, 2, 3, 4, 4)), most)
    counts = [count * times for count in counts]
    for _ in range(_TRIES):
        (number,) = chance.choices(list(_GROUPS), list(_GROUPS.values()))
        made = _sites(number, counts, chance)
        if made is None:
            continue
        every = tuple(one for one, count in zip(species, counts, strict=True) for _ in range(count))
        cell = space_group(number).primitive @ random_lattice(number, chance)
        cell = cell / np.cbrt(abs(np.linalg.det(cell)))
        if _apart(made, cell) * len(made) ** (1 / 3) < _NEAREST:
            continue
        return Candidate(f"random-{number}", "+-" if is_salt else "m", every, made, cell)
    return None


def _salt_formula(chance: random.Random) -> tuple[list[Species], list[int]] | None:
    """Return ions and how many of each make a neutral unit of at most sixteen atoms."""
    for _ in range(_TRIES):
        (cations,) = chance.choices((1, 2, 3), (25, 55, 20))
        (kinds,) = chance.choices((1, 2), (88, 12))
        negative = [drawn(anions(), chance) for _ in range(kinds)]
        if len({ion.number for ion in negative}) < kinds:
            continue
        charges = chance.choices((1, 2, 3, 4, 5, 6), (28, 27, 24, 13, 5, 3), k=cations)
        positive = cations_of(charges, negative, chance)
        if positive is None:
            continue
        counts = chance.choices((1, 2, 3, 4), (60, 28, 9, 3), k=cations)
        total = sum(charge * count for charge, count in zip(charges, counts, strict=True))
        fixed = chance.choices((1, 2), (75, 25), k=kinds - 1)
        rest = total + sum(
            ion.charge * count for ion, count in zip(negative[1:], fixed, strict=True)
        )
        last, odd = divmod(rest, -negative[0].charge)
        if odd or last < 1 or sum(counts) + last + sum(fixed) > 16:
            continue
        return [*positive, *negative], [*counts, last, *fixed]
    return None


def _metal_formula(chance: random.Random) -> tuple[list[Species], list[int]] | None:
    (kinds,) = chance.choices((2, 3, 4), (30, 60, 10))
    species = metal(kinds, chance)
    if species is None:
        return None
    return list(species), chance.choices((1, 2, 3, 4, 5, 6), (48, 28, 10, 7, 4, 3), k=kinds)


def _sites(
    number: int, counts: Sequence[int], chance: random.Random
) -> Float[np.ndarray, "atoms 3"] | None:
    """Return coordinates that hold so many atoms of each element on positions of the group."""
    positions = space_group(number).positions
    sizes = [(place, one.images, one.freedom) for place, one in enumerate(positions)]
    taken: list[int] = []
    for count in counts:
        left = count
        while left:
            free = [
                place
                for place, images, freedom in sizes
                if images <= left and (freedom or place not in taken)
            ]
            if not free:
                return None
            place = chance.choice(free)
            taken.append(place)
            left -= sizes[place][1]
    points = [np.array([chance.random() for _ in range(3)]) for _ in taken]
    return np.concatenate(
        [positions[place].orbit(point) for place, point in zip(taken, points, strict=True)]
    )


def _apart(fractional: Float[np.ndarray, "atoms 3"], cell: Float[np.ndarray, "3 3"]) -> float:
    """Return how near the nearest two atoms are, images next in fractions only."""
    step = fractional[:, None] - fractional[None]
    step -= np.rint(step)
    squares = ((step @ cell) ** 2).sum(2)
    squares[np.diag_indices(len(squares))] = np.inf
    return float(np.sqrt(squares.min()))
