"""Magnetic moments of atoms: how large, on which elements, of which sign."""

import numpy as np
import torch

from epitaxy.crystals.elements import SYMBOLS, period_and_group
from epitaxy.datasets.audits.agreement import (
    FEWEST,
    LARGEST_CHANCE,
    correlation,
    cross_validated,
)
from epitaxy.datasets.audits.facts import Facts, element_column
from epitaxy.datasets.audits.findings import Finding, examples

_LARGEST = 11.0  # μB; the ten of a whole 4f shell's spin and orbit in Ho, and some
_FELT = 0.1  # μB; smaller ones are tails of neighbors and noise
_MOST_ATOMS = 20_000
_GROUPS = np.array([0, *(period_and_group(z + 1)[1] for z in range(len(SYMBOLS)))])
_OPEN_SHELLS = np.isin(_GROUPS, range(3, 12)) & (np.arange(len(_GROUPS)) > 20)


def moment_findings(facts: Facts, name: str) -> tuple[list[Finding], str]:
    """Return findings on moments in μB, one per atom, and a line on the power of the test."""
    crystals = facts.crystals
    moments = crystals.targets[name].values.numpy().astype(np.float64).reshape(-1)
    sizes, of_atom = np.abs(np.nan_to_num(moments)), crystals.crystal_of_atom.numpy()
    findings = []
    if (sizes > _LARGEST).any():
        rows = np.unique(of_atom[sizes > _LARGEST])
        findings.append(
            Finding(
                "error",
                "impossible values",
                f"{len(rows)} crystals have moments beyond {_LARGEST:g} μB on one atom, up to "
                f"{sizes.max():.3g}.",
                len(rows),
                "correct or remove these rows.",
                name,
                examples(crystals, rows),
            )
        )
    numbers = crystals.numbers.numpy()
    felt = sizes > _FELT
    on_open = float(sizes[felt & _OPEN_SHELLS[numbers]].sum() / max(sizes[felt].sum(), 1e-12))
    if felt.sum() > FEWEST and on_open < 0.5:
        findings.append(
            Finding(
                "error",
                "labels do not follow",
                f"only {on_open:.0%} of the moments sit on elements with open d or f shells.",
                int(felt.sum()),
                "are the atoms of each crystal in the same order as their moments?",
                name,
            )
        )
    findings += _sign(facts, name, np.nan_to_num(moments))
    return _follow(facts, name, sizes, np.isfinite(moments), findings)


def _sign(facts: Facts, name: str, moments: np.ndarray) -> list[Finding]:
    crystals = facts.crystals
    net = np.zeros(len(crystals))
    np.add.at(net, crystals.crystal_of_atom.numpy(), moments)
    magnetic = np.abs(net) > 0.5
    if magnetic.sum() < 30 or (net[magnetic] < 0).mean() < 0.7:
        return []
    return [
        Finding(
            "warning",
            "sign",
            f"the net moment of {(net[magnetic] < 0).mean():.0%} of {magnetic.sum()} magnetic "
            "crystals is negative, where codes start from positive ones.",
            int((net < -0.5).sum()),
            "both signs are the same physics; but if other data are joined to these, "
            "multiply the column by −1.",
            name,
        )
    ]


def _follow(
    facts: Facts, name: str, sizes: np.ndarray, present: np.ndarray, findings: list[Finding]
) -> tuple[list[Finding], str]:
    """Predict |m| from the element and its crystal's composition; chance stays below 3.1/√N."""
    atoms = np.flatnonzero(present)
    if len(atoms) < 4 * FEWEST or not (sizes > _FELT).any():
        return findings, f"{name}: too few moments to test."
    atoms = np.sort(np.random.default_rng(0).permutation(atoms)[:_MOST_ATOMS])
    numbers = facts.crystals.numbers.numpy()
    table = np.stack([element_column(n) for n in ("electronegativity", "covalent_radius")], 1)
    around = (facts.fractions @ table)[facts.crystals.crystal_of_atom.numpy()[atoms]]
    kinds = np.unique(numbers[atoms])
    own = (numbers[atoms][:, None] == kinds).astype(np.float64)
    wanted = np.log1p(sizes[atoms])
    found = correlation(cross_validated(np.column_stack([own, around]), wanted), wanted)
    bound = LARGEST_CHANCE / np.sqrt(len(torch.unique(facts.crystals.crystal_of_atom[atoms])))
    if found < bound:
        findings = [
            *findings,
            Finding(
                "error",
                "labels do not follow",
                f"moments do not follow from the elements that they stand beside: r = {found:.2f}.",
                len(facts.crystals),
                "are the atoms in the same order as their moments?",
                name,
            ),
        ]
    return findings, (
        f"{name}: sizes predicted from elements with r = {found:.2f}; shuffled ones stay below "
        f"{bound:.2f} in more than 99.9 % of cases."
    )
