"""The evidence for every alarm on structures that ``epitaxy audit`` raises, one row each.

Copies and near-duplicates: every pair that was found, with what pymatgen's StructureMatcher says
of it at its default tolerances (the same structure; the same sites with elements in another order,
where it matches once all elements are one; neither), the root mean square displacement where it
matches, both space groups, and the labels.

Slabs, chains and molecules: the thickest empty layer of every axis, from fractional coordinates,
which is not how the audit measures it.

Run: python benchmarks/audit_alarms.py FILE… --out alarms.csv [--page docs/audit_alarms.md]
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Structure
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

from epitaxy.crystals.crystals import Crystals
from epitaxy.crystals.exchange import to_pymatgen
from epitaxy.datasets.audits.facts import VACUUM, Facts
from epitaxy.datasets.audits.twins import find_twins
from epitaxy.datasets.readers import read_crystals
from epitaxy.training.predict import formulas

MOST_BOXES = 200  # listed one by one
SAID = {
    "same": "one structure, moved a little",
    "other order": "one lattice, other order",
    "neither": "other stacking, order or tilt",
}
PREAMBLE = """# Every alarm on structures

The pairs and boxes that `epitaxy audit` reports in nine public data sets as they are. What is said
of a pair is pymatgen's word, not ours: one structure, where its StructureMatcher matches the two at
default tolerances; one lattice with the elements in another order, where it does once all elements
are one; else neither: those were looked at. A group may hold pairs of several kinds. Labels apart
is the largest difference of a pair, of any scalar label, in standard deviations of all crystals.
Where a file has over 200 boxes they are one line. How these alarms are judged: [audit](audit.md).

```console
$ python benchmarks/audit_alarms.py elasticity.parquet … --page docs/audit_alarms.md
```"""
MOST_PAIRS = 60  # of one group, of eleven crystals that all resemble each other


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, default=Path("alarms.csv"))
    parser.add_argument("--page", type=Path, help="the same by groups, in Markdown")
    choices = parser.parse_args()
    rows = []
    for file in choices.files:
        crystals = read_crystals(file)
        names = formulas(crystals)
        for row in [*pairs(crystals), *boxes(crystals)]:
            rows.append({"file": file.stem, "formula": names[row.pop("first")], **row})
        pd.DataFrame(rows).to_csv(choices.out, index=False)
        print(f"{file.stem}: {sum(row['file'] == file.stem for row in rows)} rows", flush=True)
    if choices.page is not None:
        choices.page.write_text(page(pd.DataFrame(rows)))


def pairs(crystals: Crystals) -> Iterator[dict]:
    """Yield a row for every pair within a group of copies or near-duplicates."""
    bare = crystals.with_targets({})
    twins = find_twins(Facts(bare), np.ones(len(bare), dtype=bool))
    ends = np.sort(np.stack([twins.first, twins.second], axis=1), axis=1).tolist()
    linked = {(a, b): bool(same) for (a, b), same in zip(ends, twins.same, strict=True)}
    matcher = StructureMatcher()
    periodic = replace(bare, pbc=torch.ones_like(bare.pbc))  # as the matcher takes slabs
    for group, members in enumerate(twins.groups(len(bare), same=False)):
        some = [pair for pair in combinations(sorted(members.tolist()), 2) if pair in linked]
        structures = dict(
            zip(members.tolist(), to_pymatgen(periodic[torch.from_numpy(members)]), strict=True)
        )
        symmetry = {c: space_group(one) for c, one in structures.items()}
        for a, b in some[:MOST_PAIRS]:
            matched, relation = compared(structures[a], structures[b], matcher)
            volumes = [structures[c].volume / len(structures[c]) for c in (a, b)]
            yield {
                "first": a,
                "check": "copy" if linked[a, b] else "near-duplicate",
                "group": group,
                "ids": f"{crystals.ids[a]} = {crystals.ids[b]}",
                "atoms": f"{len(structures[a])}, {len(structures[b])}",
                "space groups": f"{symmetry[a]}, {symmetry[b]}",
                "volume ratio": round(volumes[1] / volumes[0], 4),
                "relation": relation,
                "rms": None if matched is None else round(matched, 4),
                "labels": labels(crystals, a, b),
                "apart": max(label_distances(crystals, a, b).values(), default=None),
            }


def boxes(crystals: Crystals) -> Iterator[dict]:
    """Yield a row for every crystal with vacuum across which it is declared periodic."""
    vacuum = (Facts(crystals).empty_layers >= VACUUM).sum(1)
    kinds = {1: "slab", 2: "chain", 3: "molecule"}
    for c in np.flatnonzero((vacuum > 0) & crystals.pbc.numpy().all(1)):
        (one,) = to_pymatgen(crystals[int(c)].with_targets({}))
        yield {
            "first": int(c),
            "check": kinds[int(vacuum[c])],
            "ids": crystals.ids[c],
            "atoms": str(len(one)),
            "space groups": space_group(one),
            "empty": ", ".join(f"{gap:.1f}" for gap in empty_layers(one)),
        }


def compared(
    first: Structure, second: Structure, matcher: StructureMatcher
) -> tuple[float | None, str]:
    """Return the displacement (in units of the cube root of the volume per atom), and how alike."""
    found = matcher.get_rms_dist(first, second)
    if found is not None:
        return float(found[0]), "same"
    bare = [Structure(one.lattice, ["H"] * len(one), one.frac_coords) for one in (first, second)]
    found = matcher.get_rms_dist(*bare)
    return (None, "neither") if found is None else (float(found[0]), "other order")


def space_group(one: Structure) -> str:
    """Return the symbol at a tolerance of 0.05 Å."""
    try:
        return SpacegroupAnalyzer(one, symprec=0.05).get_space_group_symbol()
    except (TypeError, ValueError):  # spglib finds none
        return "?"


def empty_layers(one: Structure) -> list[float]:
    """Return the thickest layer without nuclei between lattice planes of each axis, in Å."""
    found = []
    for axis in range(3):
        at = np.sort(one.frac_coords[:, axis] % 1.0)
        widest = np.diff(np.append(at, at[0] + 1.0)).max()
        found.append(float(widest * one.lattice.d_hkl([int(axis == k) for k in range(3)])))
    return found


def labels(crystals: Crystals, a: int, b: int) -> str:
    """Return the labels of both, and how far they differ in deviations of all crystals."""
    told = []
    for name, apart in label_distances(crystals, a, b).items():
        values = crystals.targets[name].values
        told.append(f"{name} {float(values[a]):.4g}, {float(values[b]):.4g} ({apart:.2f} σ)")
    return "; ".join(told)


def label_distances(crystals: Crystals, a: int, b: int) -> dict[str, float]:
    """Return the differences of scalar labels, in standard deviations of all crystals."""
    found = {}
    for name, target in crystals.targets.items():
        if target.level == "crystal" and target.values.ndim == 1:
            values = target.values.double().numpy()
            if target.extensive:
                values = values / crystals.atom_counts.numpy()
            found[name] = float(abs(values[a] - values[b]) / np.nanstd(values))
    return {name: one for name, one in found.items() if np.isfinite(one)}


def page(rows: pd.DataFrame) -> str:
    """Return tables of all groups and boxes, file by file."""
    lines = [PREAMBLE]
    for file, own in rows.groupby("file", sort=False) if len(rows) else ():
        lines.append(f"\n## {str(file).replace('_', ' ')}\n")
        paired = own[own["check"].isin(["copy", "near-duplicate"])]
        if len(paired):
            lines += ["| formula | crystals | space groups | they are | labels apart, σ |"]
            lines += ["|---|---|---|---|---|"]
            lines += [group_row(group) for _, group in paired.groupby("group", sort=True)]
        boxed = own[own["check"].isin(["slab", "chain", "molecule"])]
        if len(boxed) > MOST_BOXES:
            widest = boxed["empty"].map(lambda text: max(map(float, text.split(", "))))
            lines.append(
                f"\n{len(boxed)} slabs, of which the emptiest layer is {widest.min():.1f} to "
                f"{widest.max():.1f} Å thick."
            )
        elif len(boxed):
            lines += [
                "",
                "| formula | crystal | kind | atoms | widest empty layers along a, b, c, Å |",
            ]
            lines += ["|---|---|---|---|---|"]
            lines += [
                f"| {one['formula']} | {one['ids']} | {one['check']} | {one['atoms']} "
                f"| {one['empty']} |"
                for one in boxed.to_dict("records")
            ]
    return "\n".join(lines) + "\n"


def group_row(pairs: pd.DataFrame) -> str:
    """Return the row of one group."""
    members: dict[str, str] = {}
    for one in pairs.to_dict("records"):
        ids, symbols = one["ids"].split(" = "), one["space groups"].split(", ")
        members |= dict(zip(ids, symbols, strict=True))
    kinds = []
    if (pairs["check"] == "copy").any():
        kinds.append("copies")
    for relation, said in SAID.items():
        if ((pairs["check"] != "copy") & (pairs["relation"] == relation)).any():
            kinds.append(said)
    apart = pairs["apart"].max()
    cells = (
        pairs["formula"].iloc[0],
        ", ".join(members),
        ", ".join(dict.fromkeys(members.values())),
        ", ".join(kinds),
        "" if pd.isna(apart) else f"{apart:.2f}",
    )
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
