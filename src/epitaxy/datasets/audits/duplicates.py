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

RELATED = 0.5
"""Where the labels of near-duplicates differ by more than this part of what any two crystals' do,
the pairs are no relatives to the target. Real pairs: 0 to 0.3; surfaces with an adsorbate on
another site of the same alloy: 0.7."""
UNRELATED = "nothing, where labels differ as much as those of any two: they tell these apart."


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
            f"{crystals.ids[a]} = {crystals.ids[b]}"
            for a, b in list(zip(first, second, strict=True))[:3]
        ),
    )


def _related(
    parts: list[Crystals], first: Int[np.ndarray, " pairs"], second: Int[np.ndarray, " pairs"]
) -> tuple[str, bool]:
    """Say how far labels of pairs are apart, and whether they are nearer than those of any two."""
    found = {}
    for name in parts[0].targets:
        if all(name in part.targets for part in parts):
            values = [_scalar_labels(part, part.targets[name]) for part in parts]
            if all(map(len, values)):
                found[name] = _label_contrast(np.concatenate(values), first, second)
    known = {name: one for name, one in found.items() if not np.isnan(one)}
    said = ", ".join(f"{name} {one:.2g}" for name, one in known.items())
    text = f" Labels of a pair differ, in units of any two crystals' difference: {said}."
    return text if known else "", not known or min(known.values()) < RELATED


def _scalar_labels(crystals: Crystals, target: Target) -> Float[np.ndarray, " crystals"]:
    """Return one number per crystal, per atom where it grows with the cell; empty if not scalar."""
    if target.level != "crystal" or target.values.ndim != 1:
        return np.zeros(0)
    values = target.values.numpy().astype(np.float64)
    return values / crystals.atom_counts.numpy() if target.extensive else values


def _label_contrast(
    values: Float[np.ndarray, " crystals"],
    first: Int[np.ndarray, " pairs"],
    second: Int[np.ndarray, " pairs"],
) -> float:
    """Return the mean difference of pairs over that of random pairs; NaN where unknown."""
    known = values[np.isfinite(values)]
    pairs = np.abs(values[first] - values[second])
    pairs = pairs[np.isfinite(pairs)]
    if not len(pairs):
        return np.nan
    order = np.random.default_rng(0).permutation(len(known))
    usual = float(np.abs(known - known[order]).mean())
    return float(pairs.mean()) / usual if usual > 0.0 else np.nan


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
