"""Structures that stand twice: within the data, in the test set, in the pre-training data."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from epitaxy.crystals.crystals import Crystals, cat
from epitaxy.crystals.targets import Target
from epitaxy.datasets.audits.facts import Facts
from epitaxy.datasets.audits.findings import Finding
from epitaxy.datasets.audits.fingerprints import structure_fingerprints

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
Where = Literal["train", "test", "pretraining"]


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
    In a group that has more than 20 partners each, some pairs are left out but the groups stay.
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
    return Twins(*(np.concatenate(column) for column in zip(empty, *found, strict=True)))


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


def duplicate_findings(
    crystals: Crystals, test: Crystals | None, pretraining: Crystals | None
) -> list[Finding]:
    """Return duplicates and conflicting labels within the data, and what leaks into other parts."""
    parts = {"train": crystals, "test": test, "pretraining": pretraining}
    given = {name: part for name, part in parts.items() if part is not None}
    union = cat(
        [part.with_targets({}).to(dtype=torch.float64) for part in map(_bare, given.values())]
    )
    of_part = np.repeat(np.arange(len(given)), [len(part) for part in given.values()])
    where = {name: of_part == number for number, name in enumerate(given)}
    sought = ~where.get("pretraining", np.zeros(len(union), dtype=bool))
    twins = find_twins(Facts(union), sought, of_part)
    findings = _within(crystals, twins.between(where["train"], where["train"]), len(union))
    if test is not None:
        findings += _test_in_training(union, twins.between(where["test"], where["train"]), test)
        findings += _shared_ids(crystals, test)
    if pretraining is not None:
        part = "test" if test is not None else "train"
        pairs = twins.between(where[part], where["pretraining"])
        shared = [name for name in given[part].targets if name in pretraining.targets]
        findings += _in_pretraining(union, pairs, len(given[part]), part, shared)
    return findings


def _bare(crystals: Crystals) -> Crystals:
    return Crystals(
        numbers=crystals.numbers.long(),
        positions=crystals.positions,
        cell=crystals.cell,
        pbc=crystals.pbc,
        offsets=crystals.offsets.long(),
        ids=crystals.ids,
    )


def _within(crystals: Crystals, twins: Twins, length: int) -> list[Finding]:
    same, alike = twins.groups(length, same=True), twins.groups(length, same=False)
    findings = []
    if same:
        spare = sum(len(group) - 1 for group in same)
        findings.append(
            Finding(
                "warning",
                "duplicates",
                f"{spare} crystals repeat another one exactly (up to cell choice, translation, "
                f"rotation, reflection and atom order), in {len(same)} groups.",
                sum(map(len, same)),
                "keep one of each group, or split so that a group stays on one side: random "
                "splits put copies into the test set.",
                examples=_as_groups(crystals, same),
            )
        )
        findings += [
            finding
            for name, target in crystals.targets.items()
            if target.level == "crystal" and target.values.ndim == 1
            for finding in _conflicts(crystals, name, target, same)
        ]
    only_alike = len(twins.first) - int(twins.same.sum())
    if only_alike:
        pairs = twins.first[~twins.same], twins.second[~twins.same]
        rows = np.unique(np.concatenate(pairs))
        findings.append(
            Finding(
                "warning" if len(rows) > 0.05 * len(crystals) else "note",
                "near-duplicates",
                f"{len(rows)} crystals have a near-duplicate (equal formula, volume within "
                f"{ALIKE_VOLUME:.0%}, similar distances), in {len(alike)} groups that hold up to "
                f"{max(map(len, alike))}.",
                len(rows),
                "split by formula, or say that test crystals have near relatives in training.",
                examples=tuple(
                    f"{crystals.ids[a]} = {crystals.ids[b]}"
                    for a, b in list(zip(*pairs, strict=True))[:3]
                ),
            )
        )
    return findings


def _as_groups(crystals: Crystals, groups: list[np.ndarray]) -> tuple[str, ...]:
    return tuple(" = ".join(crystals.ids[c] for c in group[:4]) for group in groups[:3])


def _conflicts(
    crystals: Crystals, name: str, target: Target, groups: list[np.ndarray]
) -> list[Finding]:
    """Copies whose labels differ by more than a tenth of the spread between all crystals.

    A tenth of the standard deviation (from quartiles) is as much as a good model's error, so
    labels that differ by more limit what can be learned or measured.
    """
    values = target.values.numpy().astype(np.float64)
    if target.extensive:
        values = values / crystals.atom_counts.numpy()
    low, high = np.nanquantile(values, [0.25, 0.75]) if np.isfinite(values).any() else (0.0, 0.0)
    allowed = 0.1 * (high - low) / 1.349
    spans = [
        (float(np.nanmax(values[group]) - np.nanmin(values[group])), group)
        for group in groups
        if np.isfinite(values[group]).sum() > 1
    ]
    wrong = [(span, group) for span, group in spans if span > max(allowed, 1e-12)]
    if not wrong:
        return []
    worst, group = max(wrong, key=lambda one: one[0])
    per = " per atom" if target.extensive else ""
    return [
        Finding(
            "warning",
            "conflicting labels",
            f"{len(wrong)} of {len(spans)} groups of copies disagree by more than a tenth of the "
            f"spread; the worst by {worst:.4g} {target.unit}{per}.",
            sum(len(group) for _, group in wrong),
            "look at where the labels come from; keep the better one, or their mean.",
            name,
            _as_groups(crystals, [group] + [g for _, g in wrong if g is not group]),
        )
    ]


def _test_in_training(union: Crystals, twins: Twins, test: Crystals) -> list[Finding]:
    leaked = _first_of_each(twins, twins.same)
    alike = {
        row: other for row, other in _first_of_each(twins, ~twins.same).items() if row not in leaked
    }
    findings = []
    if leaked:
        findings.append(
            Finding(
                "error",
                "leak",
                f"{len(leaked)} of {len(test)} test crystals stand in the training data too.",
                len(leaked),
                "remove them from one side: what is measured on them is memory.",
                examples=_named_pairs(union, leaked),
            )
        )
    if alike:
        findings.append(
            Finding(
                "warning",
                "near leak",
                f"{len(alike)} of {len(test)} test crystals have a near-duplicate in training.",
                len(alike),
                "remove them from training, or report the error without them as well.",
                examples=_named_pairs(union, alike),
            )
        )
    return findings


def _shared_ids(crystals: Crystals, test: Crystals) -> list[Finding]:
    shared = sorted(set(crystals.ids) & set(test.ids))
    numbered = all(name.isdecimal() for name in shared)
    if not shared or numbered:  # rows without a name are numbered in every file
        return []
    return [
        Finding(
            "warning",
            "shared ids",
            f"{len(shared)} ids stand in the training and in the test data.",
            len(shared),
            "if they name the same materials, remove them from one side.",
            examples=tuple(shared[:5]),
        )
    ]


def _in_pretraining(
    union: Crystals, twins: Twins, total: int, part: str, shared_targets: list[str]
) -> list[Finding]:
    same = _first_of_each(twins, twins.same)
    alike = {
        row: other for row, other in _first_of_each(twins, ~twins.same).items() if row not in same
    }
    if not same and not alike:
        return []
    whose = "test crystals" if part == "test" else "crystals"
    labels = (
        f"The pre-training data hold {', '.join(shared_targets)} too: where it is learned, labels "
        "leak. "
        if shared_targets
        else "No label leaks, but the structures are known to the network. "
    )
    severity: Literal["error", "warning", "note"] = "note"
    if part == "test":
        severity = "error" if shared_targets and same else "warning"
    return [
        Finding(
            severity,
            "seen in pre-training",
            f"{len(same)} of {total} {whose} stand in the pre-training data, {len(alike)} more "
            f"have a near-duplicate there. {labels}",
            len(same) + len(alike),
            "remove them from the pre-training data, or say so beside the result.",
            examples=_named_pairs(union, same or alike),
        )
    ]


def _first_of_each(twins: Twins, chosen: Bool[np.ndarray, " pairs"]) -> dict[int, int]:
    ends = zip(twins.first[chosen].tolist(), twins.second[chosen].tolist(), strict=True)
    return dict(reversed(list(ends)))


def _named_pairs(union: Crystals, pairs: dict[int, int]) -> tuple[str, ...]:
    chosen = sorted(pairs)[:3]
    return tuple(f"{union.ids[row]} = {union.ids[pairs[row]]}" for row in chosen)
