"""Structures unlike the others: lone atoms, molecules, slabs, odd densities, short bonds."""

import numpy as np
import torch
from jaxtyping import Bool

from epitaxy.crystals.crystals import Crystals
from epitaxy.crystals.elements import SYMBOLS
from epitaxy.crystals.neighbors import build_graph
from epitaxy.datasets.audits.facts import VACUUM, Facts, covalent_radii
from epitaxy.datasets.audits.findings import Finding, examples
from epitaxy.datasets.read_report import ReadReport

_SHORT = 0.6
"""Of the sum of covalent radii. Single bonds have 1.0, the shortest multiple ones 0.77 (N₂), the
compressed hydrogen of a planet's core 0.75."""
_DENSE, _LOOSE = 3.0, 0.04
"""Spheres of covalent radii fill 0.3 of diamond, 0.8 of copper, 1.4 of cesium chloride and 0.13 of
frozen argon; beyond 3 lie only pressures of many hundred GPa, below 0.04 only foams and vacuum."""
_ATOMS_AT_ONCE = 4096


def geometry_findings(facts: Facts, report: ReadReport | None) -> list[Finding]:
    """Return what is to be said of the structures, and of those that could not be read."""
    crystals = facts.crystals
    vacuum = (facts.empty_layers >= VACUUM).sum(1)
    periodic = crystals.pbc.numpy().all(1)
    lone = (crystals.atom_counts.numpy() == 1) & (vacuum == 0)
    listed = [
        _listed(
            crystals,
            periodic & (vacuum == 3),
            "warning",
            "molecules in boxes",
            f"have more than {VACUUM:g} Å of vacuum on all sides, but are declared periodic",
            "switch pbc off, so that no network sees the images.",
        ),
        _listed(
            crystals,
            periodic & (vacuum == 2),
            "warning",
            "chains in boxes",
            f"have more than {VACUUM:g} Å of vacuum in two directions, but are declared "
            "periodic there",
            "switch pbc off along the vacuum.",
        ),
        _listed(
            crystals,
            periodic & (vacuum == 1),
            "warning",
            "slabs in boxes",
            f"have a layer of vacuum thicker than {VACUUM:g} Å, but are declared periodic "
            "across it",
            "switch pbc off across the vacuum; volumes and densities mean nothing here.",
        ),
        _listed(
            crystals,
            lone,
            "note",
            "one-atom cells",
            "have one atom in the cell",
            "nothing to do; objectives that move or mask atoms learn nothing from them.",
        ),
        *_densities(facts),
        *_short_distances(crystals),
    ]
    return _unread(report) + [finding for finding in listed if finding is not None]


def _listed(
    crystals: Crystals,
    which: Bool[np.ndarray, " crystals"],
    severity,
    check: str,
    what: str,
    advice: str,
) -> Finding | None:
    rows = np.flatnonzero(which)
    if not len(rows):
        return None
    text = f"{len(rows)} of {len(crystals)} crystals {what}."
    return Finding(severity, check, text, len(rows), advice, examples=examples(crystals, rows))


def _densities(facts: Facts) -> list[Finding | None]:
    packing = np.where(facts.dense, facts.packing, np.nan)
    volume = facts.volumes_per_atom
    findings = []
    for which, word in ((packing > _DENSE, "dense"), (packing < _LOOSE, "loose")):
        if not which.any():
            continue
        worst = int(np.nanargmax(packing) if word == "dense" else np.nanargmin(packing))
        findings.append(
            _listed(
                facts.crystals,
                which,
                "warning" if word == "dense" else "note",
                f"too {word}",
                f"are uncommonly {word} for their elements: '{facts.crystals.ids[worst]}' has "
                f"{volume[worst]:.3g} Å³ per atom, of which spheres with covalent radii "
                f"would fill {packing[worst]:.2g}",
                "is the cell in Å? Are atoms missing or doubled?"
                + (" Porous frameworks and solid hydrogen are so loose." * (word == "loose")),
            )
        )
    return findings


def _short_distances(crystals: Crystals) -> list[Finding | None]:
    radii = covalent_radii()
    double = crystals.with_targets({}).to(dtype=torch.float64)
    reach = 2 * _SHORT * float(radii[np.unique(crystals.numbers.numpy())].max())
    worst = np.full(len(crystals), np.inf)
    pair = [("", "", 0.0)] * len(crystals)
    for chunk in double.chunks(_ATOMS_AT_ONCE):
        some = double[chunk]
        graph = build_graph(some, reach)
        if not graph.edge_total:
            continue
        numbers, distances = some.numbers.numpy(), graph.distances().numpy()
        center, neighbor = numbers[graph.center.numpy()], numbers[graph.neighbor.numpy()]
        share = distances / (radii[center] + radii[neighbor])
        for edge in np.flatnonzero(share < _SHORT).tolist():
            c = int(chunk[some.crystal_of_atom[graph.center[edge]]])
            if share[edge] < worst[c]:
                worst[c] = share[edge]
                pair[c] = (
                    SYMBOLS[center[edge] - 1],
                    SYMBOLS[neighbor[edge] - 1],
                    float(distances[edge]),
                )
    if not np.isfinite(worst).any():
        return []
    c = int(worst.argmin())
    one, other, length = pair[c]
    return [
        _listed(
            crystals,
            np.isfinite(worst),
            "warning",
            "short distances",
            f"have atoms nearer than {_SHORT:g} of the sum of their covalent radii: "
            f"{one}–{other} {length:.2f} Å in '{crystals.ids[c]}'",
            "look at these structures; remove what no experiment could make.",
        )
    ]


def _unread(report: ReadReport | None) -> list[Finding]:
    """Return what the reader skipped, sites with partial occupancy apart from other reasons."""
    if report is None or not report.skipped:
        return []
    words = ("disorder", "occupan")
    disordered = [one for one in report.skipped if any(word in one.reason for word in words)]
    others = [one for one in report.skipped if one not in disordered]
    findings = []
    for skipped, check, advice in (
        (disordered, "disorder", "they are left out: order them first, or leave them out."),
        (others, "unreadable", "they are left out: correct or remove them."),
    ):
        if skipped:
            findings.append(
                Finding(
                    "warning",
                    check,
                    f"{len(skipped)} structures were skipped. The first: {skipped[0]}",
                    len(skipped),
                    advice,
                    examples=tuple(one.id or one.file for one in skipped[:5]),
                )
            )
    return findings
