"""Prototypes: the primitive cells of structures whose sublattices wait for elements."""

import functools
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from epitaxy.datasets.generate.prototype_table import TABLE
from epitaxy.datasets.generate.symmetry import crystal_system, lattice, space_group


@dataclass(frozen=True, eq=False)
class Prototype:
    """A structure in its primitive cell, scaled to unit volume.

    Attributes:
        kinds: ``"m"`` (metals), ``"c"`` (covalent elements), or signs of charges such as ``"++-"``.
        often: weight with which it is drawn.
        cell: rows are lattice vectors.
        fractional: coordinates of the atoms, ordered by sublattice.
        sublattice: of each atom, counted from 0.
    """

    name: str
    kinds: tuple[str, ...]
    often: float
    group: int
    cell: Float[np.ndarray, "3 3"]
    fractional: Float[np.ndarray, "atoms 3"]
    sublattice: Int[np.ndarray, " atoms"]

    @functools.cached_property
    def counts(self) -> tuple[int, ...]:
        """Atoms on each sublattice."""
        return tuple(np.bincount(self.sublattice).tolist())


@functools.cache
def prototypes() -> dict[str, Prototype]:
    """Return all prototypes by name."""
    lines = TABLE.strip().replace("\\\n", "").splitlines()
    return {made.name: made for made in map(_made, lines)}


def _made(line: str) -> Prototype:
    name, kinds, often, group, axes, sites = (part.strip() for part in line.split("|"))
    number, _, setting = group.partition(":")
    found = space_group(int(number), int(setting or 1))
    numbers = [float(word) for word in axes.split()]
    hexagonal = crystal_system(found.number) == "hexagonal"
    angles = tuple(numbers[2:]) or (90.0, 90.0, 120.0 if hexagonal else 90.0)
    conventional = lattice((1.0, numbers[0], numbers[1]), angles)  # type: ignore[arg-type]
    cell = found.primitive @ conventional
    orbits, labels = [], []
    for site in sites.split(";"):
        label, *coordinates = site.split()
        point = np.array([_number(word) for word in coordinates])
        orbit = found.orbit(np.linalg.solve(found.primitive.T, point))
        orbits.append(orbit)
        labels += ["ABCD".index(label)] * len(orbit)
    order = np.argsort(labels, kind="stable")
    return Prototype(
        name,
        tuple(kinds.split(",")),
        float(often),
        found.number,
        cell / np.cbrt(abs(np.linalg.det(cell))),
        np.concatenate(orbits)[order],
        np.array(labels)[order],
    )


def _number(text: str) -> float:
    top, _, bottom = text.partition("/")
    return float(top) / float(bottom or 1)
