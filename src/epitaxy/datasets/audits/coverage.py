"""Elements of the test set that training never sees."""

import numpy as np

from epitaxy.crystals.elements import SYMBOLS
from epitaxy.datasets.audits.facts import Facts
from epitaxy.datasets.audits.findings import Finding, examples


def coverage_findings(training: Facts, test: Facts) -> list[Finding]:
    """Return the elements that only the test set has, with the crystals that hold them."""
    known = (training.counts > 0).any(0)
    new = (test.counts > 0).any(0) & ~known
    if not new.any():
        return []
    rows = np.flatnonzero((test.counts[:, new] > 0).any(1))
    names = ", ".join(SYMBOLS[number - 1] for number in np.flatnonzero(new))
    return [
        Finding(
            "warning",
            "unseen elements",
            f"{len(rows)} of {len(test.crystals)} test crystals hold elements that no training "
            f"crystal has: {names}.",
            len(rows),
            "what is predicted for them is a guess: add such crystals to training, or report "
            "their error apart.",
            examples=examples(test.crystals, rows),
        )
    ]
