"""Crystals as they are first put together, before they settle and are judged."""

import functools
import math
import random
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from epitaxy.datasets.generate.decorate import (
    bonds_wanted,
    covalent,
    drawn,
    metal,
    salt,
    similar,
)
from epitaxy.datasets.generate.prototypes import Prototype, prototypes
from epitaxy.datasets.generate.species import Species

_PACKING = {True: 0.62, False: 0.70}  # of ions, of metal atoms
# Most known compounds are of three elements; there are few structures of one or two.
_ELEMENTS = {1: 0.2, 2: 0.22, 3: 1.2, 4: 1.2}
_FIRST_KIND = 0.65
_DOUBLED = 0.35  # of those whose atoms are exchanged, if they are small


@dataclass(frozen=True, eq=False)
class Candidate:
    """A crystal that has not settled.

    Attributes:
        name: what it was made from.
        kind: as in ``Prototype``, or ``"+-"`` for any salt.
        species: of every atom.
        cell: of unit volume.
    """

    name: str
    kind: str
    species: tuple[Species, ...]
    fractional: Float[np.ndarray, "atoms 3"]
    cell: Float[np.ndarray, "3 3"]

    @property
    def volume(self) -> float:
        """A guess in Å³ from the species' spheres."""
        spheres = sum(one.radius**3 for one in self.species) * 4 / 3 * math.pi
        return spheres / _PACKING[any(one.charge for one in self.species)]

    @property
    def wanted(self) -> list[float]:
        """What every atom's bonds are to sum up to."""
        return [bonds_wanted(one, self.kind) for one in self.species]


@functools.cache
def fitting(max_atoms: int) -> tuple[list[Prototype], list[float]]:
    """Return the prototypes of at most so many atoms, and their weights."""
    chosen = [one for one in prototypes().values() if len(one.sublattice) <= max_atoms]
    return chosen, [one.often * _ELEMENTS[len(one.counts)] for one in chosen]


def decorated(prototype: Prototype, chance: random.Random) -> Candidate | None:
    """Return a prototype with elements on its sublattices; None where they did not balance."""
    kinds = prototype.kinds
    first = len(kinds) == 1 or chance.random() < _FIRST_KIND
    kind = kinds[0] if first else chance.choice(kinds[1:])
    if kind == "m":
        species = metal(len(prototype.counts), chance)
    elif kind == "c":
        species = covalent(chance)
    else:
        species = salt(prototype.counts, kind, _room(prototype.name), chance)
    if species is None:
        return None
    if kind == "m" and len(species) > 1 and chance.random() < 0.8:
        species = _by_size(prototype, species)
    every = tuple(species[place] for place in prototype.sublattice)
    return Candidate(prototype.name, kind, every, prototype.fractional, prototype.cell)


def _by_size(prototype: Prototype, species: tuple[Species, ...]) -> tuple[Species, ...]:
    """Return the species with larger atoms on the roomier sublattices."""
    order = sorted(range(len(species)), key=lambda place: -_room(prototype.name)[place])
    sorted_ = sorted(species, key=lambda one: -one.radius)
    return tuple(dict(zip(order, sorted_, strict=True))[place] for place in range(len(species)))


@functools.cache
def _room(name: str) -> tuple[float, ...]:
    """Return the mean distance from a sublattice's atoms to the twelve nearest others."""
    prototype = prototypes()[name]
    steps = np.stack(np.meshgrid(*[np.arange(-2, 3)] * 3, indexing="ij"), -1).reshape(-1, 3)
    apart = prototype.fractional[None] - prototype.fractional[:, None]
    images = (apart[:, :, None] + steps) @ prototype.cell
    distances = np.sort(np.linalg.norm(images, axis=3).reshape(len(apart), -1), axis=1)[:, 1:13]
    means = distances.mean(1)
    return tuple(
        float(means[prototype.sublattice == place].mean()) for place in range(len(prototype.counts))
    )


def exchanged(candidate: Candidate, max_atoms: int, chance: random.Random) -> Candidate:
    """Return the crystal with some atoms of one element replaced by another that is like it.

    In salts by ions of the same charge, or half and half by one charge more and one less. A small
    cell may be doubled beforehand, so that an order of the two shows.
    """
    if 2 * len(candidate.species) <= max_atoms and chance.random() < _DOUBLED:
        candidate = doubled(candidate, chance.randrange(3))
    old = chance.choice(sorted({one.number for one in candidate.species}))
    places = [place for place, one in enumerate(candidate.species) if one.number == old]
    if len(places) < 2 or candidate.kind == "c":
        return candidate
    species = list(candidate.species)
    ion = species[places[0]]
    chance.shuffle(places)
    here = places[: max(1, round(len(places) * chance.choice((0.25, 0.5, 0.5))))]
    charges = [ion.charge]
    if ion.charge > 1 and len(here) * 2 == len(places) and chance.random() < 0.4:
        charges, here = [ion.charge - 1, ion.charge + 1], places
    for part, charge in enumerate(charges):
        others = similar(ion, charge)
        if not others.members:
            return candidate
        new = drawn(others, chance)
        if any(new.number == one.number for one in species):
            return candidate
        for place in here[part :: len(charges)]:
            species[place] = new
    return replace(candidate, species=tuple(species))


def doubled(candidate: Candidate, axis: int) -> Candidate:
    """Return the crystal with its cell twice as long along one axis."""
    half = np.ones(3)
    half[axis] = 0.5
    step = np.zeros(3)
    step[axis] = 0.5
    once = candidate.fractional * half
    cell = candidate.cell / half[:, None]
    return replace(
        candidate,
        species=candidate.species * 2,
        fractional=np.concatenate([once, once + step]),
        cell=cell / 2 ** (1 / 3),
    )


def numbers_of(candidate: Candidate) -> Int[np.ndarray, " atoms"]:
    """Return the atomic numbers."""
    return np.array([one.number for one in candidate.species])
