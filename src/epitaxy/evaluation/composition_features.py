"""What a composition says without its structure: which elements, how much, and of what kind."""

import functools
import math

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray

from epitaxy.crystals.crystals import Crystals
from epitaxy.crystals.element_properties import BLOCKS, properties
from epitaxy.crystals.elements import SYMBOLS, period_and_group, symbol
from epitaxy.errors import InputError

LARGEST_NUMBER = 103  # where the table of element properties ends
PROPERTIES = (
    "number",
    "period",
    "group",
    "electronegativity",
    "covalent_radius",
    "ionization_energy",
    "electron_affinity",
    "molar_volume",
    "valence_electrons",
    "s_electrons",
    "p_electrons",
    "d_electrons",
    "f_electrons",
)
STATISTICS = ("mean", "deviation", "min", "max", "range")
FEATURE_NAMES = (
    *(f"fraction({name})" for name in SYMBOLS[:LARGEST_NUMBER]),
    *(f"{statistic}({name})" for statistic in STATISTICS for name in PROPERTIES),
    "elements",
    "mixing_entropy",
)


def composition_features(crystals: Crystals) -> Float[ndarray, "crystals 170"]:
    """Return one row per crystal, with the columns ``FEATURE_NAMES``.

    The fraction of every element, x_e; of every property p the mean p̄ = Σ x_e p_e, the mean
    deviation Σ x_e |p_e − p̄|, the least, the greatest and their distance; the number of elements
    and −Σ x_e ln x_e. In the manner of Ward and others (npj Comput. Mater. 2, 16028), from our own
    table of the elements: radii in pm, energies in eV, volumes in cm³/mol, the volumes and the
    ionization energies as logarithms. An element that lacks a property takes the mean over the
    elements.

    Raises InputError for an element beyond lawrencium (103).
    """
    numbers = crystals.numbers.cpu().long()
    if numbers.numel() and int(numbers.max()) > LARGEST_NUMBER:
        beyond = int(numbers.max())
        raise InputError(
            f"{symbol(beyond)} ({beyond}) is not in the table of element properties, which ends "
            f"with {SYMBOLS[LARGEST_NUMBER - 1]}: leave out the baselines on the composition."
        )
    counts = torch.zeros(len(crystals), LARGEST_NUMBER, dtype=torch.float64)
    place = (crystals.crystal_of_atom.cpu(), numbers - 1)
    counts.index_put_(place, torch.ones(len(numbers), dtype=torch.float64), accumulate=True)
    fractions = (counts / counts.sum(dim=1, keepdim=True)).numpy()
    table = element_table()
    present = fractions > 0.0
    mean = fractions @ table
    deviation = np.stack(
        [
            (fractions * np.abs(column - middle[:, None])).sum(axis=1)
            for column, middle in zip(table.T, mean.T, strict=True)
        ],
        axis=1,
    )
    least = np.stack([np.where(present, one, np.inf).min(axis=1) for one in table.T], axis=1)
    most = np.stack([np.where(present, one, -np.inf).max(axis=1) for one in table.T], axis=1)
    logarithms = np.log(fractions, where=present, out=np.zeros_like(fractions))
    entropy = -(fractions * logarithms).sum(axis=1)
    several = np.stack([present.sum(axis=1), entropy], axis=1)
    return np.concatenate([fractions, mean, deviation, least, most, most - least, several], axis=1)


@functools.cache
def element_table() -> Float[ndarray, "elements properties"]:
    """Return the properties of the elements 1–103, without gaps."""
    rows = [_element(number) for number in range(1, LARGEST_NUMBER + 1)]
    table = np.array([[row[name] for name in PROPERTIES] for row in rows], dtype=np.float64)
    return np.where(np.isnan(table), np.nanmean(table, axis=0), table)


def _element(number: int) -> dict[str, float]:
    """Return the properties of one element, NaN where not known; the f block is in group 3."""
    facts = properties(number)
    period, group = period_and_group(number)
    block, valence = BLOCKS[int(facts["block"] or 0)], int(facts["valence_electrons"] or 0)
    electrons = {f"{name}_electrons": 0 for name in BLOCKS} | {"s_electrons": min(valence, 2)}
    if block == "f":  # counted here: the table ends with 12 valence electrons
        electrons["f_electrons"] = number - (56 if period == 6 else 88)
    elif block != "s":
        electrons[f"{block}_electrons"] = valence - 2
    values = {"number": number, **facts, "period": period, "group": group, **electrons}
    return {name: math.nan if one is None else float(one) for name, one in values.items()}
