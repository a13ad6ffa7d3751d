"""Lets atoms settle: cell and positions move until bond lengths fit the elements.

Pauling's relation ties the strength of a bond to its length, s = exp((d₀ − d) / b). In salts an ion
of charge q wants its bonds to ions of the other sign to sum up to |q|; d₀ is the sum of the radii
for six neighbors, at which a cation's bond counts q/6 (the bond-valence rule, Brown and Altermatt,
Acta Cryst. B41, 244). In metals every atom counts twelve neighbors at the sum of the metallic
radii, less what unlike electronegativities shorten. Fewer neighbors are therefore nearer, more are
farther, as in crystals. Ions of one sign avoid each other, which makes polyhedra regular.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from epitaxy.datasets.generate.near_pairs import near_pairs

SOFTNESS = 0.37  # Å, b
REACH = {True: 1.45, False: 1.30}  # bonds between ions, in metals, count up to so many d₀
CLOSENESS = 0.90  # metals: of d₀, nearer is too near
CONTRACTION = (
    0.10  # Å per unit of electronegativity: unlike metals come closer (Schomaker, Stevenson)
)
_STIFF = 8.0  # of the repulsion
_SPREAD, _WIDE = 0.4, 1.25  # ions of one sign avoid each other a little up to so many contacts
_MARGIN = 1.15  # of the distances up to which pairs are listed, as long as atoms move
_BREATHS = 4
_DAMPING = 0.6
_FARTHEST_STEP = 0.12  # Å
_LARGEST_STRAIN = 0.03


@dataclass(frozen=True, eq=False)
class Candidates:
    """Crystals that have not settled, end to end.

    Attributes:
        charges: 0 in metals.
        radii: Å, those of ``Species``.
        wanted: what an atom's bonds are to sum up to.
    """

    numbers: Int[np.ndarray, " atoms"]
    charges: Int[np.ndarray, " atoms"]
    radii: Float[np.ndarray, " atoms"]
    electronegativities: Float[np.ndarray, " atoms"]
    wanted: Float[np.ndarray, " atoms"]
    positions: Float[np.ndarray, "atoms 3"]
    cell: Float[np.ndarray, "crystals 3 3"]
    offsets: Int[np.ndarray, " crystals+1"]

    @functools.cached_property
    def crystal_of_atom(self) -> Int[np.ndarray, " atoms"]:
        """Crystal that each atom belongs to."""
        return np.repeat(np.arange(len(self.cell)), np.diff(self.offsets))

    def only(self, chosen: Bool[np.ndarray, " crystals"]) -> "Candidates":
        """Return some of the crystals."""
        if chosen.all():
            return self
        atoms = chosen[self.crystal_of_atom]
        return Candidates(
            self.numbers[atoms],
            self.charges[atoms],
            self.radii[atoms],
            self.electronegativities[atoms],
            self.wanted[atoms],
            self.positions[atoms],
            self.cell[chosen],
            np.concatenate([[0], np.cumsum(np.diff(self.offsets)[chosen])]),
        )


@dataclass(frozen=True, eq=False)
class Settled:
    """Where the atoms came to rest, and how well.

    Attributes:
        misfit: per crystal, the largest |ln(Σs / wanted)| of its atoms.
        crowding: per crystal, the least ratio of a distance to what the two elements allow.
    """

    positions: Float[np.ndarray, "atoms 3"]
    cell: Float[np.ndarray, "crystals 3 3"]
    misfit: Float[np.ndarray, " crystals"]
    crowding: Float[np.ndarray, " crystals"]


@dataclass(frozen=True, eq=False)
class _Pairs:
    """Half of all pairs: of a pair and its reverse, one.

    Attributes:
        weight: of the bond, 0 where none is.
        length: d₀, Å.
        reach: Å, up to which the bond counts.
        contact: Å, nearer is too near.
    """

    center: Int[np.ndarray, " pairs"]
    neighbor: Int[np.ndarray, " pairs"]
    shift: Float[np.ndarray, "pairs 3"]
    crystal: Int[np.ndarray, " pairs"]
    weight: Float[np.ndarray, " pairs"]
    length: Float[np.ndarray, " pairs"]
    reach: Float[np.ndarray, " pairs"]
    contact: Float[np.ndarray, " pairs"]


def settle(these: Candidates, rounds: Sequence[float], steps: int = 12) -> Settled:
    """Scale every crystal to the volume its bonds ask for, then let cell and atoms move.

    Forces and stresses have the symmetry of the crystal, so it is kept.

    Args:
        rounds: one number for each round of steps: crystals whose misfit exceeds it beforehand are
            given up and stay as they are.
        steps: of a round, after which pairs are listed anew.
    """
    pairs, positions, cell = _inflated(these)
    found = _judged(these, pairs, positions, cell)
    for hopeless in rounds:
        good = found.misfit < hopeless
        if not good.any():
            break
        atoms = good[these.crystal_of_atom]
        part = replace(these, positions=found.positions, cell=found.cell).only(good)
        last = _relaxed(part, steps)
        found.positions[atoms], found.cell[good] = last.positions, last.cell
        found.misfit[good], found.crowding[good] = last.misfit, last.crowding
    return found


def _inflated(
    these: Candidates,
) -> tuple[_Pairs, Float[np.ndarray, "atoms 3"], Float[np.ndarray, "crystals 3 3"]]:
    """Return pairs, positions and cells at the volume that the bonds ask for."""
    positions, cell = these.positions, these.cell
    pairs = _listed(these, positions, cell, 1.1 * _MARGIN)
    for _ in range(_BREATHS):
        factor = _breathe(these, pairs, positions, cell)
        positions = positions * factor[these.crystal_of_atom, None]
        cell = cell * factor[:, None, None]
    return pairs, positions, cell


def _relaxed(these: Candidates, steps: int) -> Settled:
    positions, cell = these.positions, these.cell
    pairs = _listed(these, positions, cell, _MARGIN)
    for _ in range(steps):
        positions, cell = _moved(these, pairs, positions, cell)
    factor = _breathe(these, pairs, positions, cell)
    positions = positions * factor[these.crystal_of_atom, None]
    cell = cell * factor[:, None, None]
    return _judged(these, _listed(these, positions, cell), positions, cell)


def bond_sums(
    these: Candidates,
) -> Float[np.ndarray, " atoms"]:
    """Return what every atom's bonds sum up to, where the crystals stand."""
    pairs = _listed(these, these.positions, these.cell)
    distances = _lengths(_vectors(pairs, these.positions, these.cell))
    return _sums(pairs, _strengths(pairs, distances), len(these.numbers))


def _listed(
    these: Candidates,
    positions: Float[np.ndarray, "atoms 3"],
    cell: Float[np.ndarray, "crystals 3 3"],
    margin: float = 1.0,
) -> _Pairs:
    """Return the pairs that are bonds or may come too near, times a margin."""
    of_atom = these.crystal_of_atom
    largest = np.zeros(len(cell))
    np.maximum.at(largest, of_atom, these.radii)
    salty = np.bincount(of_atom, these.charges != 0, len(cell)) > 0
    anion = np.zeros(len(cell))
    np.maximum.at(anion, of_atom, np.where(these.charges < 0, these.radii, 0.0))
    cation = np.zeros(len(cell))
    np.maximum.at(cation, of_atom, np.where(these.charges > 0, these.radii, 0.0))
    bonds = np.where(salty, REACH[True] * (anion + cation), REACH[False] * 2 * largest)
    others = _WIDE * np.maximum(1.8 * anion, 2.0 + 0.9 * cation)
    cutoff = margin * np.where(salty, np.maximum(bonds, others), bonds)
    center, neighbor, shift = near_pairs(positions, cell, these.offsets, cutoff)
    crystal = of_atom[center]
    charges = these.charges[center], these.charges[neighbor]
    length = these.radii[center] + these.radii[neighbor]
    opposite = charges[0] * charges[1] < 0
    metallic = (charges[0] == 0) & (charges[1] == 0)
    apart = these.electronegativities[center] - these.electronegativities[neighbor]
    length = length - np.where(metallic, CONTRACTION * np.abs(apart), 0.0)
    weight = np.where(opposite, np.maximum(*charges) / 6.0, np.where(metallic, 1 / 12, 0.0))
    contact = np.where(opposite | metallic, CLOSENESS * length, _like_contact(*charges, length))
    reach = np.where(opposite, REACH[True], REACH[False]) * length
    found = _Pairs(center, neighbor, shift, crystal, weight, length, reach, contact)
    distances = _lengths(_vectors(found, positions, cell))
    near = distances < margin * np.where(weight > 0, reach, _WIDE * contact)
    return _Pairs(*(array[near] for array in vars(found).values()))


def _like_contact(
    one: Int[np.ndarray, " pairs"],
    other: Int[np.ndarray, " pairs"],
    length: Float[np.ndarray, " pairs"],
) -> Float[np.ndarray, " pairs"]:
    """Return how near two ions of one sign may come, Å.

    Anions touch at nine tenths of their radii; cations see each other across an edge of anions.
    """
    return np.where(one < 0, 0.90 * length, 2.0 + 0.45 * length)


def _vectors(
    pairs: _Pairs,
    positions: Float[np.ndarray, "atoms 3"],
    cell: Float[np.ndarray, "crystals 3 3"],
) -> Float[np.ndarray, "pairs 3"]:
    images = np.einsum("pi,pij->pj", pairs.shift, cell[pairs.crystal])
    return positions[pairs.neighbor] - positions[pairs.center] + images


def _lengths(vectors: Float[np.ndarray, "pairs 3"]) -> Float[np.ndarray, " pairs"]:
    return np.sqrt(np.einsum("pi,pi->p", vectors, vectors))


def _strengths(
    pairs: _Pairs, distances: Float[np.ndarray, " pairs"]
) -> Float[np.ndarray, " pairs"]:
    strengths = pairs.weight * np.exp(np.minimum((pairs.length - distances) / SOFTNESS, 5.0))
    return np.where(distances < pairs.reach, strengths, 0.0)


def _sums(
    pairs: _Pairs, values: Float[np.ndarray, " pairs"], atoms: int
) -> Float[np.ndarray, " atoms"]:
    return np.bincount(pairs.center, values, atoms) + np.bincount(pairs.neighbor, values, atoms)


def _breathe(
    these: Candidates,
    pairs: _Pairs,
    positions: Float[np.ndarray, "atoms 3"],
    cell: Float[np.ndarray, "crystals 3 3"],
) -> Float[np.ndarray, " crystals"]:
    """Return by what to multiply lengths so that the mean of ln(Σs / wanted) becomes zero."""
    of_atom = these.crystal_of_atom
    distances = _lengths(_vectors(pairs, positions, cell))
    strengths = _strengths(pairs, distances)
    sums = np.maximum(_sums(pairs, strengths, len(these.numbers)), 1e-4 * these.wanted)
    slopes = _sums(pairs, strengths * distances / SOFTNESS, len(these.numbers)) / sums
    excess = np.bincount(of_atom, np.log(sums / these.wanted), len(cell))
    return np.clip(1 + excess / np.maximum(np.bincount(of_atom, slopes, len(cell)), 1), 0.85, 1.2)


def _moved(
    these: Candidates,
    pairs: _Pairs,
    positions: Float[np.ndarray, "atoms 3"],
    cell: Float[np.ndarray, "crystals 3 3"],
) -> tuple[Float[np.ndarray, "atoms 3"], Float[np.ndarray, "crystals 3 3"]]:
    """Return positions and cells one damped step further down the energy Σρ² + repulsion.

    ρ = Σs / wanted − 1. Steps are gradients over sums of the pairs' curvatures.
    """
    atoms, crystals = len(positions), len(cell)
    vectors = _vectors(pairs, positions, cell)
    distances = _lengths(vectors)
    units = vectors / distances[:, None]
    strengths = _strengths(pairs, distances)
    excess = np.clip(_sums(pairs, strengths, atoms) / these.wanted - 1, -1, 2)
    pull = excess / these.wanted
    within = np.maximum(0.0, 1 - distances / pairs.contact)
    slope = (-2 / SOFTNESS) * strengths * (pull[pairs.center] + pull[pairs.neighbor])
    slope -= 2 * _STIFF / pairs.contact * within
    wide = _WIDE * pairs.contact
    soft = np.where(pairs.weight == 0, np.maximum(0.0, 1 - distances / wide), 0.0)
    slope -= 2 * _SPREAD / wide * soft
    stiffness = 1 / these.wanted[pairs.center] ** 2 + 1 / these.wanted[pairs.neighbor] ** 2
    curvature = 2 * (strengths / SOFTNESS) ** 2 * stiffness
    curvature += 2 * _STIFF / pairs.contact**2 * (within > 0)
    curvature += 2 * _SPREAD / wide**2 * (soft > 0)
    force = np.stack(
        [
            np.bincount(pairs.center, slope * units[:, axis], atoms)
            - np.bincount(pairs.neighbor, slope * units[:, axis], atoms)
            for axis in range(3)
        ],
        axis=1,
    )
    step = _DAMPING * force / (_sums(pairs, curvature, atoms) + 0.05)[:, None]
    step *= np.minimum(1, _FARTHEST_STEP / np.maximum(np.sqrt((step**2).sum(1)), 1e-9))[:, None]
    stress = np.empty((crystals, 3, 3))
    for i in range(3):
        for j in range(i + 1):
            along = slope * units[:, i] * units[:, j] * distances
            stress[:, i, j] = stress[:, j, i] = np.bincount(pairs.crystal, along, crystals)
    hardness = np.bincount(pairs.crystal, curvature * distances**2, crystals)
    strain = -_DAMPING * stress / (hardness + 0.1)[:, None, None]
    size = np.abs(strain).max((1, 2))
    strain *= np.minimum(1, _LARGEST_STRAIN / np.maximum(size, 1e-9))[:, None, None]
    deformed = np.eye(3) + strain
    moved = (positions[:, None, :] @ deformed[these.crystal_of_atom])[:, 0] + step
    return moved, cell @ deformed


def _judged(
    these: Candidates,
    pairs: _Pairs,
    positions: Float[np.ndarray, "atoms 3"],
    cell: Float[np.ndarray, "crystals 3 3"],
) -> Settled:
    distances = _lengths(_vectors(pairs, positions, cell))
    sums = _sums(pairs, _strengths(pairs, distances), len(positions))
    off = np.abs(np.log(np.maximum(sums / these.wanted, 1e-3)))
    misfit, crowding = np.zeros(len(cell)), np.full(len(cell), 9.0)
    np.maximum.at(misfit, these.crystal_of_atom, off)
    np.minimum.at(crowding, pairs.crystal, distances / pairs.contact)
    return Settled(positions, cell, misfit, crowding)
