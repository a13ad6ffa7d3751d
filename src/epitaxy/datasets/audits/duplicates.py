"""Structures that stand twice: within the data, in the test set, in the pre-training data."""

from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from epitaxy.crystals.crystals import Crystals, cat
from epitaxy.crystals.targets import Target
from epitaxy.datasets.audits.facts import Facts
from epitaxy.datasets.audits.findings import Finding
from epitaxy.datasets.audits.twins import ALIKE_VOLUME, Twins, find_twins
from epitaxy.errors import InputError

ABOVE_CHANCE = 0.1
"""Labels of near-duplicates are related where more pairs than chance would have, by this share of
all pairs, are closer than half of what two crystals differ by. Real pairs of nine data sets: 0.2 to
0.7 above; slabs that differ in the site next to an adsorbate: 0.01."""
MOST_LABELS = 1500  # that all pairs are formed of
UNRELATED = "nothing, for these labels: those of near-duplicates differ as those of any two do."


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
        pairs = twins.between(where["test"], where["train"])
        findings += _test_in_training(union, pairs, crystals, test)
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
            if len(values := _scalar_labels(crystals, target))
            for finding in _conflicts(crystals, name, target, values, same)
        ]
    if not twins.same.all():
        findings.append(_near_duplicates(crystals, twins, alike))
    return findings


def _near_duplicates(crystals: Crystals, twins: Twins, groups: list[np.ndarray]) -> Finding:
    """Most are other stackings, or other orders of elements on the same sites."""
    first, second = twins.first[~twins.same], twins.second[~twins.same]
    rows = np.unique(np.concatenate([first, second]))
    near = [group for group in groups if np.isin(group, rows).any()]
    labels, related = _related([crystals], first, second)
    return Finding(
        "warning" if related and len(rows) > 0.05 * len(crystals) else "note",
        "near-duplicates",
        f"{len(rows)} crystals have a near-duplicate (equal formula, volume within "
        f"{ALIKE_VOLUME:.0%}, similar distances), in {len(near)} groups that hold up to "
        f"{max(map(len, near))}.{labels}",
        len(rows),
        "split by formula, or say that test crystals have near relatives in training."
        if related
        else UNRELATED,
        examples=tuple(
            f"{crystals.ids[a]} ~ {crystals.ids[b]}"
            for a, b in list(zip(first, second, strict=True))[:3]
        ),
    )


def _related(
    parts: list[Crystals], first: Int[np.ndarray, " pairs"], second: Int[np.ndarray, " pairs"]
) -> tuple[str, bool]:
    """Say how many pairs have similar labels, and whether for any label these are more than chance.

    Rows count through all parts. Labels that only one part has, or of units that cannot be
    converted, say nothing; without any that does, pairs are taken to be related.
    """
    told, related = [], []
    for name in parts[0].targets:
        values = _labels_of_all(parts, name)
        found = None if values is None else _closeness(values, first, second)
        if found is not None:
            told.append(f"{name} in {found[0]:.0%} of pairs (by chance {found[1]:.0%})")
            related.append(found[0] > found[1] + ABOVE_CHANCE)
    said = " Labels nearer than half of what two crystals usually differ by: "
    return f"{said}{', '.join(told)}." if told else "", any(related) or not told


def _labels_of_all(parts: list[Crystals], name: str) -> Float[np.ndarray, " crystals"] | None:
    """Return one number per crystal of all parts, in the unit of the first."""
    targets = [part.targets[name] for part in parts if name in part.targets]
    alike = {(one.level, one.extensive, one.values.ndim) for one in targets}
    if len(targets) < len(parts) or len(alike) > 1:
        return None
    try:
        targets = [one.converted(targets[0].unit) for one in targets]
    except InputError:
        return None
    values = [_scalar_labels(part, one) for part, one in zip(parts, targets, strict=True)]
    return np.concatenate(values) if all(map(len, values)) else None


def _scalar_labels(crystals: Crystals, target: Target) -> Float[np.ndarray, " crystals"]:
    """Return one number per crystal, per atom where it grows with the cell; empty if not scalar."""
    if target.level != "crystal" or target.values.ndim != 1:
        return np.zeros(0)
    values = target.values.numpy().astype(np.float64)
    return values / crystals.atom_counts.numpy() if target.extensive else values


def _closeness(
    values: Float[np.ndarray, " crystals"],
    first: Int[np.ndarray, " pairs"],
    second: Int[np.ndarray, " pairs"],
) -> tuple[float, float] | None:
    """Return which share of pairs, and of any two crystals, is closer than half the usual.

    The usual is the median difference between any two crystals. None where it is zero or unknown.
    """
    both = np.isfinite(values[first]) & np.isfinite(values[second])
    known = np.sort(values[np.isfinite(values)])
    if not both.any() or len(known) < 3:
        return None
    chosen = np.linspace(0, len(known) - 1, min(len(known), MOST_LABELS)).round().astype(int)
    any_two = np.abs(known[chosen][:, None] - known[chosen])[np.triu_indices(len(chosen), 1)]
    half = 0.5 * float(np.median(any_two))
    if half == 0.0:
        return None
    pairs = np.abs(values[first[both]] - values[second[both]])
    return float((pairs < half).mean()), float((any_two < half).mean())


def _as_groups(crystals: Crystals, groups: list[np.ndarray]) -> tuple[str, ...]:
    return tuple(" = ".join(crystals.ids[c] for c in group[:4]) for group in groups[:3])


def _conflicts(
    crystals: Crystals,
    name: str,
    target: Target,
    values: Float[np.ndarray, " crystals"],
    groups: list[np.ndarray],
) -> list[Finding]:
    """Copies whose labels differ by more than a tenth of the spread between all crystals.

    A tenth of the standard deviation (from quartiles) is as much as a good model's error, so
    labels that differ by more limit what can be learned or measured.
    """
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


def _test_in_training(
    union: Crystals, twins: Twins, crystals: Crystals, test: Crystals
) -> list[Finding]:
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
        ends = np.array(list(alike.items())).T
        labels, related = _related([crystals, test], ends[0], ends[1])
        findings.append(
            Finding(
                "warning" if related else "note",
                "near leak",
                f"{len(alike)} of {len(test)} test crystals have a near-duplicate in training."
                f"{labels}",
                len(alike),
                "remove them from training, or report the error without them as well."
                if related
                else UNRELATED,
                examples=_named_pairs(union, alike, "~"),
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
            examples=_named_pairs(union, same or alike, "=" if same else "~"),
        )
    ]


def _first_of_each(twins: Twins, chosen: Bool[np.ndarray, " pairs"]) -> dict[int, int]:
    ends = zip(twins.first[chosen].tolist(), twins.second[chosen].tolist(), strict=True)
    return dict(reversed(list(ends)))


def _named_pairs(union: Crystals, pairs: dict[int, int], sign: str = "=") -> tuple[str, ...]:
    chosen = sorted(pairs)[:3]
    return tuple(f"{union.ids[row]} {sign} {union.ids[pairs[row]]}" for row in chosen)
