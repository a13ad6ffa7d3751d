"""The page of a comparison: figures and tables from its tidy records."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from epitaxy.report.html import write_report
from epitaxy.report.plots.errors import errors
from epitaxy.report.plots.learning_curves import learning_curves
from epitaxy.report.plots.parity import parity
from epitaxy.report.plots.style import save


def write_comparison(
    folder: Path,
    title: str,
    verdict: str,
    results: pd.DataFrame,
    predictions: pd.DataFrame,
    curves: pd.DataFrame,
    tuning: pd.DataFrame,
    notes: Sequence[str] = (),
    manifest: Mapping[str, Any] | None = None,
) -> Path:
    """Draw the figures, write ``index.html``, and return its path."""
    figures = {
        "Predicted against true values of the test crystals": ("parity", parity(predictions)),
        "Test error of every contender: a point per seed, a bar for the 95 % interval": (
            "errors",
            errors(predictions, results),
        ),
        "Error on training (thin) and validation crystals (bold); bands span the seeds": (
            "learning_curves",
            learning_curves(curves),
        ),
    }
    drawn = {caption: save(figure, folder / name)[0] for caption, (name, figure) in figures.items()}
    chosen = tuning[tuning["chosen"]].drop(columns="chosen")
    return write_report(
        folder,
        title,
        verdict,
        {"Results": results, "Settings chosen on the validation crystals": chosen},
        drawn,
        notes,
        _manifest(folder) if manifest is None else manifest,
    )


def _manifest(folder: Path) -> dict[str, Any]:
    file = folder / "manifest.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
