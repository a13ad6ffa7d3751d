"""Numbers that a column has if its unit, sign and structures are right, whatever the materials.

Each takes values (one per crystal, in the quantity's own unit, NaN where missing) and the facts of
the crystals, and returns a number to be compared with a window, or None where the data do not say.
"""

import numpy as np
from jaxtyping import Float

from epitaxy.crystals.elements import SYMBOLS, period_and_group
from epitaxy.datasets.audits.facts import Facts
from epitaxy.units import conversion_factor

_FEWEST = 30  # values; quantiles of fewer say too little
_CERTAIN = 6.0  # standard errors from zero before a slope's sign is believed
_RIDGE = 1e-3  # of the mean diagonal: keeps rare elements from fitting their own few rows
_VARIED = 0.015  # spread of bonding contrast that is left beside the elements; NaCl has 1.2
_GROUPS = np.array([0, *(period_and_group(z + 1)[1] for z in range(len(SYMBOLS)))])
_TRANSITION_METALS = np.isin(_GROUPS, range(3, 12)) & (np.arange(len(_GROUPS)) > 18)


def median_size(values: Float[np.ndarray, " rows"], facts: Facts) -> float | None:
    """Return the median of |value| of what is not zero."""
    there = np.abs(values[np.isfinite(values) & (np.abs(values) > 1e-9)])
    return float(np.median(there)) if len(there) >= _FEWEST else None


def spread(values: Float[np.ndarray, " rows"], facts: Facts) -> float | None:
    """Return the standard deviation as the quartiles give it, over at least 30 formulas."""
    there = np.isfinite(values)
    if len(np.unique(facts.formula_keys[there])) < _FEWEST:
        return None
    low, high = np.quantile(values[there], [0.25, 0.75])
    return float((high - low) / 1.349)


def energy_density(values: Float[np.ndarray, " rows"], facts: Facts) -> float | None:
    """Return the median of modulus (GPa) × volume per atom in eV, of crystals without vacuum.

    It is the energy that resists compression: 1.5 eV for Cs, 3.4 for NaCl, 10 for Cu, 16 for
    diamond, 36 for Os, and nearly free of the soft–hard trend, which the volume carries.
    """
    energies = values * facts.volumes_per_atom * conversion_factor("GPa", "eV/Å^3")
    there = energies[np.isfinite(energies) & facts.dense]
    return float(np.median(there)) if len(there) >= _FEWEST else None


def bonding_slope(values: Float[np.ndarray, " rows"], facts: Facts) -> float | None:
    """Return b of E/N = Σ_z x_z ε_z − b Σ_{i<j} x_i x_j (χ_i − χ_j)², in eV.

    Pauling: bonds between unlike atoms are stronger by (Δχ)² eV than the mean of those between
    like ones. The sum over elements takes up every choice of reference, so formation energies and
    total energies of any code have the same b, one to a few eV. Outliers beyond four standard
    deviations are left out. None where the compositions vary too little, or b is within six
    standard errors of zero and its error is not small either.
    """
    there = np.isfinite(values)
    columns = (facts.fractions[there] > 0).sum(0) >= 3
    design = facts.fractions[there][:, columns]
    if len(design) < 3 * (design.shape[1] + 10):
        return None
    pull, energies = facts.bonding_contrast[there], values[there]
    keep = np.ones(len(energies), dtype=bool)
    for _ in range(3):
        left = _beside(design[keep], np.stack([pull[keep], energies[keep]], axis=1))
        against = left[:, 0] @ left[:, 0]
        slope = left[:, 0] @ left[:, 1] / max(against, 1e-12)
        rest = left[:, 1] - slope * left[:, 0]
        error = np.sqrt(rest @ rest / max(len(rest) - design.shape[1] - 1, 1) / max(against, 1e-12))
        width = 1.4826 * np.median(np.abs(rest))
        inside = np.abs(rest) <= 4 * max(width, 1e-12)
        if inside.all():
            break
        keep[np.flatnonzero(keep)[~inside]] = False
    enough = left[:, 0].std() > _VARIED and abs(slope) > _CERTAIN * error
    return float(-slope) if enough else None


def _beside(
    design: Float[np.ndarray, "rows columns"], values: Float[np.ndarray, "rows two"]
) -> Float[np.ndarray, "rows two"]:
    """Return what a ridge on the composition leaves of the values."""
    gram = design.T @ design
    gram += _RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram))
    return values - design @ np.linalg.solve(gram, design.T @ values)


def rise_along_the_d_series(values: Float[np.ndarray, " rows"], facts: Facts) -> float | None:
    """Return how an adsorption energy rises from group 3 to 11, in eV per group.

    Positive: the fuller the d band of a surface, the weaker it binds (Hammer and Nørskov, Nature
    376, 238 (1995)). The rarest transition metal of a crystal counts as much as the commonest.
    """
    metals = facts.counts * _TRANSITION_METALS
    there = np.isfinite(values) & (metals.sum(1) > 0)
    if there.sum() < 2 * _FEWEST:
        return None
    group = (metals[there] @ _GROUPS) / metals[there].sum(1)
    if group.std() < 0.5:
        return None
    centered = group - group.mean()
    energies = values[there] - np.median(values[there])
    slope = centered @ energies / (centered @ centered)
    error = np.sqrt(np.mean((energies - slope * centered) ** 2) / (centered @ centered))
    return float(slope) if abs(slope) > _CERTAIN * error else None


def positive_share(values: Float[np.ndarray, " rows"], facts: Facts) -> float | None:
    """Return which part of the values that are not zero is positive."""
    there = values[np.isfinite(values) & (np.abs(values) > 1e-3)]
    return float((there > 0).mean()) if len(there) >= _FEWEST else None
