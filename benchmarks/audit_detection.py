"""Whether ``epitaxy audit`` finds what is wrong: defects planted into real files, and counted.

``python benchmarks/audit_detection.py FILE…`` reads each file with all of its columns, lists the
alarms on the file as it is, then plants one defect at a time and says whether the finding that
should come comes: every column in another unit, with its sign turned, shuffled against the
structures, exchanged with another one; in stretches of rows; exact copies under another
description (cell, rotation, translation, order of atoms), within the file and between training and
test. Rates are over ``--seeds`` draws; ``--rows`` crystals are drawn for shuffled and exchanged
columns. Nothing is written.
"""

import argparse
import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from epitaxy.crystals.crystals import Crystals, cat
from epitaxy.crystals.targets import Target
from epitaxy.datasets.audit import audit
from epitaxy.datasets.audits.duplicates import duplicate_findings
from epitaxy.datasets.audits.facts import Facts
from epitaxy.datasets.audits.findings import Finding
from epitaxy.datasets.audits.labels import label_findings
from epitaxy.datasets.audits.twins import find_twins
from epitaxy.datasets.readers import read_crystals
from epitaxy.units import canonical

MISTAKES = {  # declared unit -> values in another unit, as multiples of the declared one
    "eV": {"meV": 1e3, "kJ/mol": 96.48533, "Ha": 1 / 27.211386},
    "eV/atom": {"meV": 1e3, "kJ/mol": 96.48533, "Ha": 1 / 27.211386},
    "meV/atom": {"eV": 1e-3, "kJ/mol": 0.09648533},
    "GPa": {"kbar": 10.0, "MPa": 1e3, "eV/Å³": 1 / 160.21766},
    "eV/Å": {"meV/Å": 1e3, "Ha/Bohr": 1 / 51.42207, "kJ/(mol Å)": 96.48533},
    "eV/Å^3": {"GPa": 160.21766, "kbar": 1602.1766},
    "K": {"meV": 0.0861733},
    "1/K": {"1e-6/K": 1e6},
    "W/(m K)": {"W/(cm K)": 0.01},
}
Change = Callable[[Target], Target]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--rows", type=int, nargs="+", default=[100, 300, 1000])
    parser.add_argument(
        "--skip", nargs="*", default=[], help="alarms units copies shuffled swapped"
    )
    choices = parser.parse_args()
    torch.set_num_threads(1)
    parts = {"alarms": alarms, "units": units, "copies": copies, "shuffled": shuffled,
             "stretches": stretches, "swapped": swapped}  # fmt: skip
    for file in choices.files:
        print(f"\n== {file.name}", flush=True)
        crystals = read_crystals(file)
        for name, part in parts.items():
            if name not in choices.skip:
                for line in part(crystals, choices.seeds, choices.rows):
                    print(f"  {name}: {line}", flush=True)


def alarms(crystals: Crystals, seeds: int, rows: list[int]) -> Iterator[str]:
    """List what is found in the file as it is."""
    found = audit(crystals)
    for one in found.findings:
        parts = one.severity, one.check, one.target, one.what, "; ".join(one.examples)
        yield " | ".join(parts)
    yield from found.checked


def units(crystals: Crystals, seeds: int, rows: list[int]) -> Iterator[str]:
    """Put every column into other units, and turn its sign."""
    for name, target in crystals.targets.items():
        logarithm = target.unit.startswith("log10(")
        unit = target.unit.removeprefix("log10(").removesuffix(")") if logarithm else target.unit
        changes = {
            f"in {other}": factor for other, factor in MISTAKES.get(canonical(unit), {}).items()
        }
        for said, factor in {**changes, "sign": -1.0}.items():
            if logarithm and factor > 0:
                values = target.values + np.log10(factor)
            else:
                values = target.values * factor
            found = _label_findings(_with(crystals, name, target.with_values(values)), name)
            fitting = [
                one
                for one in found
                if one.check
                in (
                    "unit",
                    "sign",
                    "impossible values",
                    "columns that contradict",
                    "swapped columns",
                    "labels do not follow",
                )
            ]
            named = [one for one in fitting if said.removeprefix("in ") in one.advice + one.check]
            verdict = "FOUND AND NAMED" if named else "FOUND" if fitting else "MISSED"
            yield f"{name} {said}: {verdict}" + "".join(
                f" | {one.severity} {one.check}: {one.what} → {one.advice}" for one in fitting[:1]
            )


def copies(crystals: Crystals, seeds: int, rows: list[int]) -> Iterator[str]:
    """Add copies of 20 crystals in other words, to the file and to a test set."""
    bare = crystals.with_targets({})
    before = {_pair(text) for text in _repeats(bare)}
    found, leaked, false_leaks = 0, 0, 0
    for seed in range(seeds):
        generator = np.random.default_rng(seed)
        chosen = generator.permutation(len(bare))[:20]
        twins = cat([reworded(bare[int(c)], f"copy-{c}", generator) for c in chosen])
        found += len({_pair(text) for text in _repeats(cat([bare, twins]))} - before)
        order = torch.from_numpy(generator.permutation(len(bare)))
        train, test = bare[order[len(bare) // 5 :]], bare[order[: len(bare) // 5]]
        planted = cat([reworded(train[k], f"copy-{k}", generator) for k in range(20)])
        clean = _leaks(train, test)
        leaked += _leaks(train, cat([test, planted])) - clean
        false_leaks += clean
    total = 20 * seeds
    yield f"copies found within the file: {found} of {total}"
    own = false_leaks / seeds
    yield f"leaked rows found: {leaked} of {total} (beside {own:.1f} per split as it is)"


def shuffled(crystals: Crystals, seeds: int, rows: list[int]) -> Iterator[str]:
    """Shuffle every column against the structures, in samples of several sizes."""
    for name in crystals.targets:
        for size in rows:
            hits, false, draws = 0, 0, 0
            for seed in range(seeds):
                some = _sample(crystals, name, size, seed)
                if some is None:
                    continue
                draws += 1
                own = some.targets[name]
                order = np.random.default_rng(1000 + seed).permutation(len(own.values))
                false += _disagrees(some, name)
                moved = own.with_values(own.values[torch.from_numpy(order)])
                hits += _disagrees(_with(some, name, moved), name)
            if draws:
                counted = f"found {hits} of {draws}, false alarms {false} of {draws}"
                yield f"{name}, {size} crystals: {counted}"


def stretches(crystals: Crystals, seeds: int, rows: list[int]) -> Iterator[str]:
    """Shuffle a tenth of the rows in a row, or move all labels from the middle on by one row."""
    for name, target in crystals.targets.items():
        if target.level != "crystal" or target.values.ndim > 1:
            continue
        hits = {"a tenth shuffled": 0, "the second half moved by one row": 0}
        for seed in range(seeds):
            generator = np.random.default_rng(seed)
            count = len(crystals)
            order = np.arange(count)
            start = int(generator.integers(0, count - count // 10))
            part = order[start : start + count // 10].copy()
            order[start : start + count // 10] = generator.permutation(part)
            moved = np.arange(count)
            moved[count // 2 :] = np.roll(moved[count // 2 :], 1)
            for said, new in zip(hits, (order, moved), strict=True):
                values = target.values[torch.from_numpy(new)]
                hits[said] += _disagrees(_with(crystals, name, target.with_values(values)), name)
        yield f"{name}: " + ", ".join(f"{said} {hit} of {seeds}" for said, hit in hits.items())


def swapped(crystals: Crystals, seeds: int, rows: list[int]) -> Iterator[str]:
    """Exchange every two columns of one value per crystal, in samples of the largest size."""
    plain = [n for n, t in crystals.targets.items() if t.level == "crystal" and t.values.ndim == 1]
    for one, other in itertools.combinations(plain, 2):
        named, found = 0, 0
        for seed in range(seeds):
            order = np.random.default_rng(seed).permutation(len(crystals))[: max(rows)]
            some = crystals[torch.from_numpy(order)]
            first, second = some.targets[one], some.targets[other]
            wrong = _with(some, one, first.with_values(second.values))
            wrong = _with(wrong, other, second.with_values(first.values))
            findings, _ = label_findings(Facts(wrong), {one, other})
            found += any(finding.severity == "error" for finding in findings)
            named += any(finding.check == "swapped columns" for finding in findings)
        yield f"{one} and {other}: an error in {found}, named as swapped in {named} of {seeds}"


def reworded(crystal: Crystals, name: str, generator: np.random.Generator) -> Crystals:
    """Return the same crystal with another cell, orientation, origin and order of atoms."""
    cell = crystal.cell[0].numpy().astype(np.float64)
    positions = crystal.positions.numpy().astype(np.float64)
    periodic, numbers = crystal.pbc[0].numpy(), crystal.numbers.numpy()
    first = int(np.flatnonzero(periodic)[0]) if periodic.any() else None
    if first is not None and len(numbers) <= 60:  # twice the cell
        positions = np.concatenate([positions, positions + cell[first]])
        numbers, cell = np.concatenate([numbers, numbers]), cell.copy()
        cell[first] *= 2
        others = [k for k in np.flatnonzero(periodic) if k != first]
        if others:
            cell[first] += cell[others[0]]  # another choice of lattice vectors
    rotation = np.linalg.qr(generator.normal(size=(3, 3)))[0]
    order = generator.permutation(len(numbers))
    origin = generator.normal(size=3) * 3
    return Crystals(
        numbers=torch.from_numpy(numbers[order]),
        positions=torch.from_numpy((positions[order] + origin) @ rotation).to(
            crystal.positions.dtype
        ),
        cell=torch.from_numpy(cell @ rotation)[None].to(crystal.cell.dtype),
        pbc=crystal.pbc,
        offsets=torch.tensor([0, len(numbers)]),
        ids=[name],
    )


def _label_findings(crystals: Crystals, name: str) -> list[Finding]:
    return label_findings(Facts(crystals), {name})[0]


def _disagrees(crystals: Crystals, name: str) -> bool:
    return any(one.check == "labels do not follow" for one in _label_findings(crystals, name))


def _with(crystals: Crystals, name: str, target: Target) -> Crystals:
    return replace(crystals, targets={**crystals.targets, name: target})


def _sample(crystals: Crystals, name: str, size: int, seed: int) -> Crystals | None:
    target = crystals.targets[name]
    rows = np.arange(len(crystals))
    if target.level == "crystal":
        rows = rows[target.present().numpy()]
    if len(rows) < size:
        return None
    chosen = np.random.default_rng(seed).permutation(rows)[:size]
    return crystals[torch.from_numpy(chosen)]


def _repeats(crystals: Crystals) -> list[str]:
    """Return every crystal that repeats an earlier one, as "id = id"."""
    twins = find_twins(Facts(crystals), np.ones(len(crystals), dtype=bool))
    ends = zip(twins.first[twins.same], twins.second[twins.same], strict=True)
    return [f"{crystals.ids[a]} = {crystals.ids[b]}" for a, b in ends]


def _pair(text: str) -> str:
    """Return the copy that a pair names, so that one copy counts once; else the pair itself."""
    return next((one for one in text.split(" = ") if one.startswith("copy-")), text)


def _leaks(train: Crystals, test: Crystals) -> int:
    found = duplicate_findings(train, test, None)
    return sum(one.count for one in found if one.check == "leak")


if __name__ == "__main__":
    main()
