"""What two columns of one crystal must be to each other."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from ase.data import atomic_masses
from jaxtyping import Float

from epitaxy.datasets.audits.facts import Facts

Values = Float[np.ndarray, " crystals"]
_FEWEST = 30
_UNIT_MASS = 1.66053907e-27  # kg
_BOLTZMANN, _HBAR = 1.380649e-23, 1.054571817e-34  # J/K, J s


@dataclass(frozen=True)
class Relation:
    """The median over crystals of f(first, second) lies between ``low`` and ``high``."""

    first: str
    second: str
    ratio: Callable[[Values, Values, Facts], Values]
    low: float
    high: float
    spoken: str


def _quotient(first: Values, second: Values, facts: Facts) -> Values:
    return first / second


def _square_quotient(first: Values, second: Values, facts: Facts) -> Values:
    return first**2 / second


def debye_ratio(temperature: Values, bulk: Values, facts: Facts) -> Values:
    """Return θ_D over the estimate from bulk modulus, volume and mass.

    θ = (ħ/k_B) (6π² N/V)^⅓ v. For an isotropic solid whose Poisson ratio is 0.25, v_l² = 1.8 B/ρ
    and v_t² = 0.6 B/ρ, of which Debye's mean 3/v³ = 1/v_l³ + 2/v_t³ is v = 0.86 √(B/ρ).
    """
    per_volume = 1e30 / facts.volumes_per_atom
    density = (facts.fractions @ atomic_masses[:119]) * _UNIT_MASS * per_volume
    velocity = 0.86 * np.sqrt(np.maximum(bulk, 0) * 1e9 / density)
    return temperature / (_HBAR / _BOLTZMANN * (6 * np.pi**2 * per_volume) ** (1 / 3) * velocity)


def grueneisen(expansion: Values, bulk: Values, facts: Facts) -> Values:
    """Return γ = 3α B V / (3 k_B), with α the linear expansion, V per atom and classical heat."""
    return expansion * bulk * 1e9 * facts.volumes_per_atom * 1e-30 / _BOLTZMANN


RELATIONS = (
    # G/B = 3(1 − 2ν)/(2(1 + ν)): 0.15 at ν = 0.43 (lead), 1.2 at ν = 0.07 (diamond).
    Relation("shear modulus", "bulk modulus", _quotient, 0.15, 1.2, "shear / bulk modulus"),
    Relation("refractive index", "electronic dielectric constant", _square_quotient, 0.8, 1.25,
             "n² / electronic dielectric constant"),
    # The ions add to what the electrons do.
    Relation("static dielectric constant", "electronic dielectric constant", _quotient, 1.0, 30.0,
             "static / electronic dielectric constant"),
    Relation("Debye temperature", "bulk modulus", debye_ratio, 0.4, 2.0,
             "the Debye temperature, divided by what the bulk modulus lets expect,"),
    # Grüneisen's parameter is 1 to 3; a third or three times that by volume or per direction.
    Relation("thermal expansion", "bulk modulus", grueneisen, 0.2, 12.0,
             "Grüneisen's parameter from expansion and bulk modulus"),
)  # fmt: skip


def broken_relations(
    columns: Mapping[str, tuple[str, Values]], facts: Facts
) -> list[tuple[str, tuple[str, str]]]:
    """Return in words what does not hold between columns given as name → (quantity, values)."""
    broken = []
    for relation in RELATIONS:
        for one, (quantity, first) in columns.items():
            for other, (beside, second) in columns.items():
                if (quantity, beside) != (relation.first, relation.second):
                    continue
                with np.errstate(all="ignore"):
                    ratio = relation.ratio(first, second, facts)
                there = ratio[np.isfinite(ratio)]
                if len(there) < _FEWEST:
                    continue
                middle = float(np.median(there))
                if not relation.low <= middle <= relation.high:
                    broken.append(
                        (
                            f"the median of {relation.spoken} is {middle:.3g} (expected: "
                            f"{relation.low:g} to {relation.high:g})",
                            (one, other),
                        )
                    )
    return broken
