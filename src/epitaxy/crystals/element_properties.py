"""Elements as vectors of 92 zeros and ones that say where they stand among each other."""

import functools
import json
import math
from collections.abc import Iterable
from importlib.resources import files

import torch
from jaxtyping import Float
from torch import Tensor

from epitaxy.crystals.elements import SYMBOLS, electronegativity, period_and_group, symbol
from epitaxy.errors import InputError

BLOCKS = "spdf"
# name, columns, and for what is binned the range that its bins divide equally.
COLUMNS: tuple[tuple[str, int, tuple[float, float] | None], ...] = (
    ("group", 19, None),
    ("period", 7, None),
    ("electronegativity", 10, (0.5, 4.0)),
    ("covalent_radius", 10, (25.0, 250.0)),
    ("valence_electrons", 12, None),
    ("ionization_energy", 10, (1.3, 3.3)),
    ("electron_affinity", 10, (-3.0, 3.7)),
    ("block", 4, None),
    ("molar_volume", 10, (1.5, 4.3)),
)
SIZE = sum(count for _, count, _ in COLUMNS)


def property_vectors(numbers: Iterable[int]) -> Float[Tensor, "elements 92"]:
    """Return one row for each atomic number, 1 in one column of each property, else 0.

    The properties are those of Xie and Grossman (Phys. Rev. Lett. 120, 145301), as far as they are
    known to us, and so many columns as their vectors have: group (none for the f block, then 1–18),
    period (1–7), Pauling's electronegativity (0.5–4.0), covalent radius (25–250 pm), valence
    electrons (1–12), logarithm of the first ionization energy in eV (1.3–3.3), electron affinity
    (−3 to 3.7 eV), block (s, p, d, f) and logarithm of the molar volume in cm³ (1.5–4.3). That 19
    and 7 of the 92 are groups and periods is an inference. The facts are our own, so an element may
    fall into a bin next to theirs.

    A value beyond a range counts in its last bin, more than 12 valence electrons as 12. A property
    that is not known (the electronegativity of He, the molar volume of At) leaves its
    columns zero. Some neighbors share a vector: Dy, Ho and Er; Fm and Md.

    Raises InputError for an element beyond lawrencium (103).
    """
    return torch.stack([_vector(int(number)) for number in numbers])


def properties(number: int) -> dict[str, int | float | None]:
    """Return the value of every property of ``COLUMNS``, logarithms taken, None where unknown.

    ``group`` is 0 in the f block (La to Yb, Ac to No); ``block`` is a place in "spdf".

    >>> properties(26)["group"], properties(26)["valence_electrons"], properties(60)["group"]
    (8, 8, 0)
    """
    name, table = symbol(number), _table()
    if name not in table:
        last = max(SYMBOLS.index(known) for known in table)
        raise InputError(
            f"{name} ({number}) is not in the table of element properties, which ends with "
            f"{SYMBOLS[last]} ({last + 1}). A learned table of elements knows all of them."
        )
    period, group = period_and_group(number)
    in_f_block = 57 <= number <= 70 or 89 <= number <= 102
    if in_f_block:
        block, valence = "f", number - (54 if period == 6 else 86)
    elif group <= 2 or number == 2:
        block, valence = "s", 2 if number == 2 else group
    elif group >= 13:
        block, valence = "p", group - 10
    else:
        block, valence = "d", group
    facts = table[name]
    return {
        "group": 0 if in_f_block else group,
        "period": period,
        "electronegativity": electronegativity(number),
        "covalent_radius": facts["covalent_radius"],
        "valence_electrons": min(valence, 12),
        "ionization_energy": _log(facts["ionization_energy"]),
        "electron_affinity": facts["electron_affinity"],
        "block": BLOCKS.index(block),
        "molar_volume": _log(facts["molar_volume"]),
    }


def _vector(number: int) -> Float[Tensor, " 92"]:
    values, vector, first = properties(number), torch.zeros(SIZE), 0
    for name, count, limits in COLUMNS:
        value = values[name]
        if value is not None:
            if limits is not None:
                low, high = limits
                column = math.floor((value - low) / (high - low) * count)
                column = min(max(column, 0), count - 1)
            else:
                column = int(value) - (name in ("period", "valence_electrons"))  # count from one
            vector[first + column] = 1.0
        first += count
    return vector


def _log(value: float | None) -> float | None:
    return None if value is None else math.log(value)


@functools.cache
def _table() -> dict[str, dict[str, int | float | None]]:
    return json.loads((files("epitaxy.crystals") / "element_properties.json").read_text())
