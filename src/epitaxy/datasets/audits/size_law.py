"""Energies of whole cells taken for energies per atom, and the other way round."""

import numpy as np
from jaxtyping import Float

from epitaxy.datasets.audits.agreement import cross_validated
from epitaxy.datasets.audits.facts import Facts
from epitaxy.datasets.audits.findings import Finding
from epitaxy.datasets.audits.quantities import quantity_named

_FEWEST = 100
_SIZES = 0.3  # standard deviation of ln N; with less the two laws predict alike
_BETTER = 0.15  # of the variance that one law explains and the other does not


def size_law_findings(facts: Facts, name: str) -> list[Finding]:
    """Return whether an energy is declared per cell but given per atom, or the other way round.

    What follows from the numbers of atoms of each element (per cell) and what follows from their
    fractions (per atom) are compared by cross-validated ridge regression: the right law explains
    more of the variance.
    """
    target, quantity = facts.crystals.targets[name], quantity_named(name)
    sizes = np.log(facts.atom_counts)
    if quantity is None or not quantity.grows or target.level != "crystal":
        return []
    values = target.values.numpy().astype(np.float64)
    there = np.isfinite(values)
    if there.sum() < _FEWEST or sizes[there].std() < _SIZES:
        return []
    energies = _tamed(values[there])
    columns = (facts.counts[there] > 0).any(0)
    per_cell = _explained(energies, facts.counts[there][:, columns])
    per_atom = _explained(energies, facts.fractions[there][:, columns])
    declared_per_cell = target.extensive
    if abs(per_cell - per_atom) < _BETTER or (per_cell > per_atom) == declared_per_cell:
        return []
    said, found = ("cell", "atom") if declared_per_cell else ("atom", "cell")
    return [
        Finding(
            "error",
            "size law",
            f"it is taken per {said}, but looks like an energy per {found}: numbers of atoms "
            f"explain {max(per_cell, 0):.0%} of its variance, fractions of elements "
            f"{max(per_atom, 0):.0%}.",
            int(there.sum()),
            "declare it extensive (--extensive)."
            if found == "cell"
            else "do not declare it extensive.",
            name,
        )
    ]


def _tamed(values: Float[np.ndarray, " rows"]) -> Float[np.ndarray, " rows"]:
    low, high = np.quantile(values, [0.005, 0.995])
    return np.clip(values, low, high)


def _explained(
    values: Float[np.ndarray, " rows"], design: Float[np.ndarray, "rows columns"]
) -> float:
    predicted = cross_validated(design, values)
    return 1 - float(np.mean((values - predicted) ** 2) / values.var()) if values.std() else 0.0
