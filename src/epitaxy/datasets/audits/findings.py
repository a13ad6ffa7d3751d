"""What an audit says: findings with a severity, the crystals meant and the way out."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
from jaxtyping import Int

from epitaxy.crystals.crystals import Crystals

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
_EXAMPLES = 5


@dataclass(frozen=True)
class Finding:
    """One thing that an audit found.

    Attributes:
        severity: ``"error"`` makes results wrong, ``"warning"`` may, ``"note"`` is good to know.
        check: a short name of the kind of finding, the same in every audit.
        what: what was found, in a sentence with its figures.
        count: how many crystals (or atoms, where ``what`` says so) are meant.
        advice: what to do.
        target: the column, where it is about one.
        examples: ids of some of the crystals.
    """

    severity: Severity
    check: str
    what: str
    count: int
    advice: str = ""
    target: str = ""
    examples: tuple[str, ...] = ()


@dataclass(frozen=True)
class Audit:
    """All findings on a data set, the worst first."""

    source: str
    crystals: int
    findings: tuple[Finding, ...]
    checked: tuple[str, ...] = ()

    def of(self, severity: Severity) -> tuple[Finding, ...]:
        """Return the findings of one severity."""
        return tuple(one for one in self.findings if one.severity == severity)

    def named(self, check: str) -> tuple[Finding, ...]:
        """Return the findings of one kind of check."""
        return tuple(one for one in self.findings if one.check == check)

    def exit_code(self, strict: bool = False) -> int:
        """Return 1 where there are errors (``strict``: or warnings), else 0."""
        return int(bool(self.of("error") or (strict and self.of("warning"))))

    def summary(self) -> str:
        """Return one line: how many findings of which severity."""
        counts = ", ".join(_counted(len(self.of(one)), one) for one in SEVERITIES)
        return f"{self.source}: {self.crystals} crystals, {counts}."

    def to_json(self) -> str:
        """Return everything as JSON text."""
        return json.dumps(asdict(self), ensure_ascii=False, indent=1)

    def __str__(self) -> str:
        from epitaxy.datasets.audits.table import as_text  # here, because it needs rich

        return as_text(self)


def sorted_findings(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Return findings by severity, else in their order."""
    return tuple(sorted(findings, key=lambda one: SEVERITIES.index(one.severity)))


def examples(crystals: Crystals, chosen: Int[np.ndarray, " chosen"]) -> tuple[str, ...]:
    """Return the ids of the first few of the crystals chosen."""
    return tuple(crystals.ids[int(c)] for c in chosen[:_EXAMPLES])


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
