"""Pairs of crystals that are one structure, or nearly so."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from epitaxy.datasets.audits.facts import Facts
from epitaxy.datasets.audits.fingerprints import structure_fingerprints
from epitaxy.datasets.audits.identity import structure_classes

SAME = 3e-4
"""Distance of fingerprints up to which two structures are one. Positions rounded to 0.001 Å move
it by less than this in 95 of 100 crystals; the nearest structures that differ, SiC polytypes of 42
and 28 layers, are 4e-4 apart."""
SAME_VOLUME = 0.003  # relative: lattice constants written with three digits
ALIKE = 0.05
"""Distance up to which two structures are near-duplicates: random displacements of 0.03 Å, as
between relaxations with two codes or settings, stay below it in 95 of 100 crystals."""
ALIKE_VOLUME = 0.03  # relative: 1 % in lattice constants, as between two density functionals
_PARTNERS = 20  # a crystal needs no more to be joined to its group
_ROWS_AT_ONCE = 512


@dataclass(frozen=True, eq=False)
class Twins:
    """Pairs of crystals of equal formula that are one structure (``same``) or nearly so."""

    first: Int[np.ndarray, " pairs"]
    second: Int[np.ndarray, " pairs"]
    same: Bool[np.ndarray, " pairs"]

    def groups(self, length: int, same: bool) -> list[Int[np.ndarray, " members"]]:
        """Return the groups of two and more, among all pairs or those that are one structure."""
        chosen = self.same if same else np.ones(len(self.same), dtype=bool)
        ends = self.first[chosen], self.second[chosen]
        graph = coo_matrix((np.ones(len(ends[0])), ends), shape=(length, length))
        label = connected_components(graph, directed=False)[1]
        order = np.argsort(label, kind="stable")
        starts = np.flatnonzero(np.diff(label[order])) + 1
        return [members for members in np.split(order, starts) if len(members) > 1]

    def between(self, left: Bool[np.ndarray, " all"], right: Bool[np.ndarray, " all"]) -> "Twins":
        """Return the pairs with one end in each part, the end in ``left`` first."""
        along = left[self.first] & right[self.second]
        against = left[self.second] & right[self.first] & ~along
        first = np.concatenate([self.first[along], self.second[against]])
        second = np.concatenate([self.second[along], self.first[against]])
        return Twins(first, second, np.concatenate([self.same[along], self.same[against]]))


def find_twins(
    facts: Facts,
    sought: Bool[np.ndarray, " crystals"],
    part: Int[np.ndarray, " crystals"] | None = None,
) -> Twins:
    """Return all pairs of which at least one crystal is sought.

    Fingerprints are made only of crystals that share their reduced formula with a sought one and
    whose volume per atom is within 3 % of another's, so most of a large collection costs nothing.
    Those that say two crystals are one are believed only where `structure_classes` agrees. In a
    group that has more than 20 partners each, some pairs are left out, but groups stay, and copies
    stay in one.
    Pairs of two parts, where ``part`` has a number for each crystal, are never left out.
    """
    part = np.zeros(len(facts.crystals), dtype=np.int64) if part is None else part
    crystals, keys = facts.crystals, facts.formula_keys
    volume = np.log(np.where(np.isnan(facts.volumes_per_atom), 1.0, facts.volumes_per_atom))
    order = np.lexsort((volume, keys))
    starts = np.flatnonzero(np.diff(keys[order])) + 1
    families = [
        family for family in np.split(order, starts) if len(family) > 1 and sought[family].any()
    ]
    families = [family[_has_neighbor(volume[family])] for family in families]
    needed = np.unique(np.concatenate([np.zeros(0, dtype=np.int64), *families]))
    place = np.full(len(crystals), -1)
    place[needed] = np.arange(len(needed))
    vectors = structure_fingerprints(crystals[torch.from_numpy(needed)])
    periodic = crystals.pbc.numpy()
    found = [
        _pairs(f, volume, vectors[place[f]], periodic, sought, part) for f in families if len(f)
    ]
    empty = (np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, bool))
    first, second, same = (np.concatenate(column) for column in zip(empty, *found, strict=True))
    alike = Twins(first, second, same).groups(len(crystals), same=True)
    classes = structure_classes(crystals, alike)
    one, other = _chains(alike, classes)
    return Twins(
        np.concatenate([first, one]),
        np.concatenate([second, other]),
        np.concatenate([same & (classes[first] == classes[second]), np.ones(len(one), bool)]),
    )


def _chains(
    groups: list[Int[np.ndarray, " members"]], classes: Int[np.ndarray, " crystals"]
) -> tuple[Int[np.ndarray, " links"], Int[np.ndarray, " links"]]:
    """Return links from each member to the next of its structure, so that no cap parts them.

    A pair may be there twice then.
    """
    links = [np.zeros((2, 0), dtype=np.int64)]
    for group in groups:
        order = group[np.argsort(classes[group], kind="stable")]
        equal = classes[order[:-1]] == classes[order[1:]]
        links.append(np.stack([order[:-1][equal], order[1:][equal]]))
    one, other = np.concatenate(links, axis=1)
    return one, other


def _has_neighbor(volume: Float[np.ndarray, " family"]) -> Bool[np.ndarray, " family"]:
    """Return which of ascending volumes have another one within reach."""
    near = np.diff(volume) <= ALIKE_VOLUME
    return np.concatenate([near, [False]]) | np.concatenate([[False], near])


def _pairs(
    family: Int[np.ndarray, " family"],
    volume: Float[np.ndarray, " crystals"],
    vectors: Float[np.ndarray, "family width"],
    periodic: Bool[np.ndarray, "crystals 3"],
    sought: Bool[np.ndarray, " crystals"],
    part: Int[np.ndarray, " crystals"],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    firsts, seconds, sames = [], [], []
    for start in range(0, len(family), _ROWS_AT_ONCE):
        rows = np.arange(start, min(start + _ROWS_AT_ONCE, len(family)))
        apart = np.abs(volume[family][rows][:, None] - volume[family][None, :])
        squares = 2 - 2 * vectors[rows] @ vectors.T
        near = (apart <= ALIKE_VOLUME) & (squares <= ALIKE**2)
        near &= rows[:, None] < np.arange(len(family))[None, :]
        near &= sought[family][rows][:, None] | sought[family][None, :]
        near &= (periodic[family][rows][:, None] == periodic[family][None, :]).all(2)
        across = part[family][rows][:, None] != part[family][None, :]
        near &= across | (np.cumsum(near & ~across, axis=1) <= _PARTNERS)
        i, j = np.nonzero(near)
        exact = np.linalg.norm(vectors[rows[i]] - vectors[j], axis=1)
        firsts.append(family[rows[i]])
        seconds.append(family[j])
        sames.append((exact <= SAME) & (apart[i, j] <= SAME_VOLUME))
    return np.concatenate(firsts), np.concatenate(seconds), np.concatenate(sames)
