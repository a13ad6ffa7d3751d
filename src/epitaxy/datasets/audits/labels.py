"""All checks of columns: on their own, against physics, against their structures."""

import re

import numpy as np
import torch
from jaxtyping import Float

from epitaxy.crystals.targets import Target
from epitaxy.datasets.audits.agreement import agreement_findings, composition_features
from epitaxy.datasets.audits.facts import Facts
from epitaxy.datasets.audits.findings import Finding
from epitaxy.datasets.audits.mechanics import mechanics_findings
from epitaxy.datasets.audits.moments import moment_findings
from epitaxy.datasets.audits.size_law import size_law_findings
from epitaxy.datasets.audits.units import quantity_notes, unit_findings
from epitaxy.datasets.audits.values import value_findings


def label_findings(facts: Facts, wanted: set[str]) -> tuple[list[Finding], list[str]]:
    """Return findings on the columns wanted, and one line per test of agreement on its power."""
    findings = unit_findings(facts, wanted) + mechanics_findings(facts, wanted)
    findings += quantity_notes(facts.crystals, wanted)
    features, powers = composition_features(facts), []
    for name, target in facts.crystals.targets.items():
        if name not in wanted:
            continue
        power = ""
        if target.level == "crystal" and target.values.ndim == 1:
            values = _per_atom_if_extensive(target, facts)
            findings += value_findings(facts.crystals, name, values)
            findings += size_law_findings(facts, name)
            found, power = agreement_findings(facts, name, values, features, target.extensive)
        elif target.level == "atom" and re.search(r"magmom|moment", name.lower()):
            found, power = moment_findings(facts, name)
        else:
            found = _missing_rows(facts, name, target)
        findings += found
        powers += [power] if power else []
    return findings, powers


def _per_atom_if_extensive(target: Target, facts: Facts) -> Float[np.ndarray, " crystals"]:
    values = target.values.numpy().astype(np.float64)
    return values / facts.atom_counts if target.extensive else values


def _missing_rows(facts: Facts, name: str, target: Target) -> list[Finding]:
    """Return whether whole crystals lack a vector, a tensor or their atoms' values."""
    there = target.present()
    if target.level == "atom":
        lacking = torch.zeros(len(facts.crystals)).index_add_(
            0, facts.crystals.crystal_of_atom, (~there).float()
        )
        there = lacking == 0
    flags = np.where(there.numpy(), 0.0, np.nan)
    return [one for one in value_findings(facts.crystals, name, flags) if "missing" in one.check]
