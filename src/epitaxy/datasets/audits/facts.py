"""What the checks need to know of every crystal: composition, bonding contrast, density, vacuum."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int

from epitaxy.crystals.crystals import Crystals
from epitaxy.crystals.element_properties import properties
from epitaxy.crystals.elements import SYMBOLS, electronegativity
from epitaxy.crystals.neighbors import filled_box

VACUUM = 8.0  # Å
"""An empty layer this thick is vacuum: the widest gap between nuclei that touch across a van der
Waals gap is twice the largest van der Waals radius, 2 × 3.4 Å for Cs, and some room."""

_LAST_KNOWN = 103  # the table of element properties ends with lawrencium
_TYPICAL_RADIUS = 1.5  # Å, of an element beyond the table


def element_column(name: str) -> Float[np.ndarray, " elements"]:
    """Return a property of the elements 0–118 by atomic number; the median where unknown."""
    column = np.full(len(SYMBOLS) + 1, np.nan)
    for number in range(1, _LAST_KNOWN + 1):
        value = properties(number)[name]
        column[number] = np.nan if value is None else value
    return np.where(np.isnan(column), np.nanmedian(column), column)


def covalent_radii() -> Float[np.ndarray, " elements"]:
    """Return covalent radii in Å by atomic number 0–118."""
    radii = element_column("covalent_radius") / 100
    radii[_LAST_KNOWN + 1 :] = _TYPICAL_RADIUS
    return radii


@dataclass(frozen=True, eq=False)
class Facts:
    """The crystals with what is derived of them once, in double precision."""

    crystals: Crystals

    @cached_property
    def atom_counts(self) -> Float[np.ndarray, " crystals"]:
        """Atoms in each crystal."""
        return self.crystals.atom_counts.numpy().astype(np.float64)

    @cached_property
    def counts(self) -> Float[np.ndarray, "crystals 119"]:
        """Atoms of each element in each crystal."""
        counts = np.zeros((len(self.crystals), len(SYMBOLS) + 1))
        where = self.crystals.crystal_of_atom.numpy(), self.crystals.numbers.numpy()
        np.add.at(counts, where, 1.0)
        return counts

    @cached_property
    def fractions(self) -> Float[np.ndarray, "crystals 119"]:
        """Fraction of each element in each crystal."""
        return self.counts / self.atom_counts[:, None]

    @cached_property
    def formula_keys(self) -> Int[np.ndarray, " crystals"]:
        """A number for each reduced formula: Σ_z ν_z h_z modulo 2⁶⁴ with random h."""
        whole = self.counts.astype(np.int64)
        divisors = np.gcd.reduce(whole, axis=1)
        hashes = np.random.default_rng(118).integers(1, 2**62, whole.shape[1], dtype=np.int64)
        with np.errstate(over="ignore"):
            return (whole // np.maximum(divisors, 1)[:, None]) @ hashes

    @cached_property
    def bonding_contrast(self) -> Float[np.ndarray, " crystals"]:
        """Σ_{i<j} x_i x_j (χ_i − χ_j)², Pauling's measure of how much unlike atoms bind."""
        scale = np.array([0.0, *((electronegativity(z + 1) or 1.5) for z in range(len(SYMBOLS)))])
        return self.fractions @ scale**2 - (self.fractions @ scale) ** 2

    @cached_property
    def volumes_per_atom(self) -> Float[np.ndarray, " crystals"]:
        """Å³; NaN where the cell does not repeat in three directions."""
        volumes = self.crystals.volumes.numpy().astype(np.float64) / self.atom_counts
        return np.where(self.crystals.pbc.numpy().all(1), volumes, np.nan)

    @cached_property
    def packing(self) -> Float[np.ndarray, " crystals"]:
        """Volume of spheres with covalent radii, divided by that of the cell."""
        spheres = self.fractions @ (4 / 3 * np.pi * covalent_radii() ** 3)
        return spheres / self.volumes_per_atom

    @cached_property
    def empty_layers(self) -> Float[np.ndarray, "crystals 3"]:
        """Å; the thickest layer without a nucleus normal to each pair of lattice vectors.

        Zero along directions that do not repeat.
        """
        crystals = self.crystals
        pbc = crystals.pbc.numpy()
        box = filled_box(crystals.cell.numpy().astype(np.float64), pbc)
        inverse = np.linalg.inv(box)
        of_atom = crystals.crystal_of_atom.numpy()
        inside = np.einsum(
            "ai,aij->aj", crystals.positions.numpy().astype(np.float64), inverse[of_atom]
        )
        inside -= np.floor(inside)
        first = crystals.offsets.numpy()[:-1]
        last = crystals.offsets.numpy()[1:] - 1
        widest = np.zeros((len(crystals), 3))
        for axis in range(3):
            order = np.lexsort((inside[:, axis], of_atom))
            along = inside[order, axis]
            step = np.diff(along, append=0.0)
            step[last] = along[first] + 1 - along[last]
            widest[:, axis] = np.maximum.reduceat(step, first)
        spacing = 1 / np.linalg.norm(inverse, axis=1)
        return np.where(pbc, widest * spacing, 0.0)

    @cached_property
    def dense(self) -> Bool[np.ndarray, " crystals"]:
        """Whether a crystal repeats in three directions without vacuum, so its volume means it."""
        filled = (self.empty_layers < VACUUM).all(1)
        return np.logical_and(self.crystals.pbc.numpy().all(1), filled)
