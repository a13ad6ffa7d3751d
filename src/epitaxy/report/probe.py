"""The page of a probe: figures and tables from its tidy records."""

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from epitaxy.report.html import write_report
from epitaxy.report.plots.maps import maps
from epitaxy.report.plots.parity import parity
from epitaxy.report.plots.ranges import in_order, ranges
from epitaxy.report.plots.style import save

MOST_PANELS = 6
LEFT_OUT = ("rmse", "mae_atoms", "layers")


def write_probe(
    folder: Path,
    title: str,
    verdict: str,
    results: pd.DataFrame,
    errors_by_range: pd.DataFrame,
    choices: pd.DataFrame,
    predictions: pd.DataFrame,
    points: pd.DataFrame,
    notes: Sequence[str] = (),
) -> Path:
    """Draw the figures, write ``index.html``, and return its path."""
    target, unit = str(results["target"].iloc[0]), str(results["unit"].iloc[0])
    errors_by_range = _in_order(errors_by_range, results)
    figures: dict[str, tuple[str, Figure]] = {
        "Error against what is read of each network; bars are 95 % intervals over crystals": (
            "ranges",
            ranges(errors_by_range, target, unit),
        ),
        "Predicted against true values; each by folds that do not hold its crystal": (
            "parity",
            parity(_shown(predictions, results)),
        ),
    }
    for method in points["method"].unique():
        caption = f"Representations in two dimensions ({method}), by chemical family and target"
        figures[caption] = (f"map_{method.lower()}", maps(points, method, target, unit))
    drawn = {caption: save(figure, folder / name)[0] for caption, (name, figure) in figures.items()}
    file = folder / "manifest.json"
    return write_report(
        folder,
        title,
        verdict,
        {
            "Results": results,
            "Error by range": errors_by_range[errors_by_range["range"] != "all"],
            "Chosen inside the folds": choices,
        },
        drawn,
        notes,
        json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {},
    )


def for_terminal(results: pd.DataFrame) -> pd.DataFrame:
    """Return the columns of the results that fit a terminal."""
    return results.drop(columns=list(LEFT_OUT), errors="ignore")


def range_tuning(errors_by_range: pd.DataFrame, unit: str) -> pd.DataFrame:
    """Return a row for each range and a column for each network: its MAE there.

    The range ``chosen``, last, is the one to quote.
    """
    layered = errors_by_range.groupby("contender")["range"].transform("nunique") > 2
    own = errors_by_range[layered]
    table = own.pivot(index="range", columns="contender", values="mae")
    table = table.loc[in_order(own["range"]), own["contender"].unique()]
    named = {name: f"MAE of {name}" + (f" [{unit}]" if unit else "") for name in table.columns}
    return table.rename(columns=named).reset_index().rename_axis(columns=None)


def _shown(predictions: pd.DataFrame, results: pd.DataFrame) -> pd.DataFrame:
    """Return the best contenders' predictions, every row with an id of its own."""
    best = list(results["contender"][:MOST_PANELS])
    shown = predictions[predictions["contender"].isin(best)]
    if "atom" in shown:
        shown = shown.assign(id=shown["id"] + " atom " + shown["atom"].astype(str))
    return _in_order(shown, results)


def _in_order(table: pd.DataFrame, results: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with the contenders in the order of the results, the best first."""
    place = table["contender"].map({name: place for place, name in enumerate(results["contender"])})
    return table.iloc[place.argsort(kind="stable")]
