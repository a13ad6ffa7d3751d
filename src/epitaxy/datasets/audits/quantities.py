"""What a column can be, by its name: unit, possible values, windows, and usual mistakes."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from epitaxy.crystals.targets import Target
from epitaxy.datasets.audits import measures
from epitaxy.datasets.audits.facts import Facts
from epitaxy.errors import InputError
from epitaxy.units import conversion_factor

Measure = Callable[[Float[np.ndarray, " rows"], Facts], float | None]
_INFINITE = float("inf")


@dataclass(frozen=True)
class Window:
    """A measure, the range that it has in right data, and what to call it."""

    measure: Measure
    low: float
    high: float
    spoken: str


@dataclass(frozen=True)
class Quantity:
    """A physical quantity as columns hold it.

    Attributes:
        name: what it is called.
        words: a regular expression for names of columns, in lower case.
        unit: the unit of all figures here.
        lowest, highest: no crystal has a value beyond.
        windows: what the column as a whole must look like.
        mistakes: unit that the values may be in by mistake → how many of it make one ``unit``.
        grows: whether a whole cell may be meant, so that values are divided by the atoms.
    """

    name: str
    words: str
    unit: str
    lowest: float = -_INFINITE
    highest: float = _INFINITE
    windows: tuple[Window, ...] = ()
    mistakes: Mapping[str, float] = field(default_factory=dict)
    grows: bool = False


def _others(unit: str, *others: str) -> dict[str, float]:
    return {other: conversion_factor(unit, other) for other in others}


_ENERGIES = _others("eV", "meV", "kJ/mol", "kcal/mol", "Ha", "Ry")
_PRESSURES = _others("GPa", "kbar", "MPa", "eV/Å^3") | {"Mbar": 0.01, "Pa": 1e9}
_BONDING = Window(measures.bonding_slope, 0.25, 10.0, "the energy gained per (Δχ)²")

QUANTITIES = (
    # A formation energy lies between −4.5 (fluorides) and +2 eV/atom; data sets of one family of
    # compounds spread by 0.1, all of inorganic chemistry by 1 eV/atom.
    Quantity("formation energy", r"(^|_)form(ation)?(_|$)|(^|_)[eh]form|enthalpy",
             "eV", -10.0, 10.0,
             (_BONDING, Window(measures.spread, 0.05, 3.0, "the spread between formulas")),
             _ENERGIES, grows=True),
    Quantity("energy above the hull", r"hull", "eV", -5.0, 15.0,
             (Window(measures.median_size, 0.003, 2.0, "the median"),), _ENERGIES),
    # Alkali-metal to Tb–Cu surfaces: adsorption energies of one species differ by 0.3 to 2 eV.
    Quantity("adsorption energy", r"ads(orption)?(_|$)", "eV", -15.0, 15.0,
             (Window(measures.spread, 0.12, 3.5, "the spread between surfaces"),
              Window(measures.rise_along_the_d_series, 1e-9, 3.0,
                     "the rise along the transition metals, eV per group")), _ENERGIES),
    # Layers are held by 15 to 30 meV/Å², 20 to 200 meV per atom (Björkman et al., PRL 108, 235502).
    Quantity("exfoliation energy", r"exfol", "meV", -100.0, 1e4,
             (Window(measures.median_size, 15.0, 500.0, "the median"),),
             _others("meV", "eV", "kJ/mol", "kcal/mol", "Ha", "Ry")),
    # Gaps that are not zero: 0.3 (thermoelectrics) to 7 eV (fluorides); 14 in LiF, 22 in He.
    Quantity("band gap", r"gap", "eV", -0.01, 25.0,
             (Window(measures.median_size, 0.3, 7.0, "the median of gaps that are not zero"),),
             _ENERGIES),
    Quantity("shear modulus", r"shear|^g_v|^gvrh|g_vrh|^g_?(voigt|reuss|hill)", "GPa", 0.0, 1000.0,
             (Window(measures.energy_density, 0.7, 20.0, "modulus × volume per atom, in eV"),),
             _PRESSURES),
    Quantity("bulk modulus", r"bulk|^k_v|^kvrh|k_vrh|^k_?(voigt|reuss|hill)", "GPa", 0.0, 1000.0,
             (Window(measures.energy_density, 1.5, 30.0, "modulus × volume per atom, in eV"),),
             _PRESSURES),
    Quantity("Young's modulus", r"young", "GPa", 0.0, 1500.0,
             (Window(measures.energy_density, 1.5, 50.0, "modulus × volume per atom, in eV"),),
             _PRESSURES),
    # 40 K in Cs, 2230 K in diamond.
    Quantity("Debye temperature", r"debye", "K", 5.0, 3000.0,
             (Window(measures.median_size, 120.0, 1200.0, "the median"),),
             {"meV": 0.0861733, "THz": 0.0208366, "1/cm": 0.695035}),
    # 0.1 in glasses of molecules, 3300 W/(m K) in diamond with one isotope.
    Quantity("thermal conductivity", r"thermal_cond|kappa|conductivity", "W/(m K)", 0.0, 1e4,
             (Window(measures.median_size, 0.3, 300.0, "the median"),),
             {"W/(cm K)": 0.01, "mW/(m K)": 1e3}),
    # 1e-6 in diamond, 1e-4 in the alkali metals (linear; three times as much by volume).
    Quantity("thermal expansion", r"expansion", "1/K", -1e-3, 5e-3,
             (Window(measures.median_size, 2e-6, 2e-4, "the median"),
              Window(measures.positive_share, 0.5, 1.0, "the part that is positive")),
             {"1e-6/K": 1e6, "1e-5/K": 1e5}),
    # Vacuum has 1; n = 1.3 in LiF and 4 in germanium.
    Quantity("refractive index", r"refract|^n$", "", 0.95, 200.0,
             (Window(measures.median_size, 1.3, 4.0, "the median"),)),
    Quantity("electronic dielectric constant", r"electronic|eps_?(inf|el)|epsilon_?(inf|el)", "",
             0.9, 1e4, (Window(measures.median_size, 1.7, 20.0, "the median"),)),
    Quantity("static dielectric constant", r"poly_total|eps_?(0|tot|static)|dielectric_(tot|const)",
             "", 0.9, 1e5, (Window(measures.median_size, 3.0, 60.0, "the median"),)),
    # 100 (heavy metals) to 4400 cm⁻¹ (H₂).
    Quantity("highest phonon frequency", r"phonon|phdos", "1/cm", 0.0, 5000.0,
             (Window(measures.median_size, 100.0, 1500.0, "the median"),),
             {"THz": 0.0299792, "meV": 0.123984}),
    # Free atoms, ions and electrons or elements: whatever the zero, most crystals are bound.
    Quantity("total energy", r"^energy$|^e$|energy_per_atom|total_energy|e_tot|toten|^energies$",
             "eV", windows=(
                 _BONDING,
                 Window(measures.positive_share, 0.0, 0.5, "the part that is positive"),
             ), mistakes=_ENERGIES, grows=True),
)  # fmt: skip
_LOGARITHM = re.compile(r"^log(10)?_|^log(10)?\(")


def is_logarithm(name: str, unit: str) -> bool:
    """Return whether a column holds decimal logarithms, as its name or unit says."""
    return bool(_LOGARITHM.match(unit.lower()) or _LOGARITHM.match(name.lower()))


def quantity_named(name: str) -> Quantity | None:
    """Return what a column of this name holds; None where the name is not known."""
    plain = re.sub(r"[\s\-.]+", "_", _LOGARITHM.sub("", name.lower()))
    return next((one for one in QUANTITIES if re.search(one.words, plain)), None)


def natural_values(
    name: str, target: Target, quantity: Quantity, facts: Facts
) -> Float[np.ndarray, " crystals"]:
    """Return a column in the quantity's unit, logarithms undone, per atom where it is extensive.

    A unit that is not known or not stated is taken as the quantity's own.
    """
    values = target.values.numpy().astype(np.float64)
    unit = target.unit.strip()
    if is_logarithm(name, unit):
        unit = re.sub(r"^log(10)?\((.*)\)$", r"\2", unit)
        with np.errstate(over="ignore"):
            values = 10.0**values
    values = values * _to_unit(unit.removesuffix("/atom"), quantity.unit)
    return values / facts.atom_counts if target.extensive else values


def _to_unit(unit: str, wanted: str) -> float:
    if unit in ("", "1", wanted):
        return 1.0
    try:
        return conversion_factor(unit, wanted)
    except InputError:
        return 1.0
