"""Errors in the periodic table: one cell per element, colored by the error of its crystals."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from epitaxy.crystals.elements import NUMBERS, period_and_group
from epitaxy.report.charts.frame import Chart, Drawing, number
from epitaxy.report.residuals import FEWEST
from epitaxy.report.tables import rows

CELL, STEPS = 40.0, 8  # of the page's scale of colors


def elements(name: str, table: pd.DataFrame, contender: str, unit: str) -> Chart:
    """Draw a table from ``by_element``; colors follow the rank of the error, numbers tell it.

    Elements in fewer than five test crystals are outlined only: their mean says little.
    """
    drawing = Drawing(18 * CELL + 8, 9.4 * CELL + 36, name)
    sure = table[table["crystals"] >= FEWEST].sort_values("mae")
    edges = np.quantile(sure["mae"], np.linspace(0, 1, STEPS + 1)) if len(sure) else np.zeros(9)
    known = {str(row["element"]): row for row in rows(table)}
    for symbol, atomic in NUMBERS.items():
        if atomic > 103:
            break
        x, y = _place(atomic)
        drawing.add('<g transform="translate({x:g} {y:g})"', x=x, y=y)
        if symbol not in known:
            drawing.add(
                '><rect width="37" height="37" rx="4" class="cell none"/>'
                '<text x="18.5" y="23" class="symbol none" text-anchor="middle">{s}</text></g>',
                s=symbol,
            )
            continue
        row = known[symbol]
        step = int(np.clip(np.searchsorted(edges, row["mae"], side="right") - 1, 0, STEPS - 1))
        few = int(row["crystals"]) < FEWEST
        drawing.add(
            ' data-tip="{tip}"><rect width="37" height="37" rx="4" class="cell {kind}"/>'
            '<text x="18.5" y="14" class="symbol {ink}" text-anchor="middle">{s}</text>'
            '<text x="18.5" y="25" class="mini {ink}" text-anchor="middle">{mae}</text>'
            '<text x="18.5" y="34" class="mini {ink}" text-anchor="middle">{count:,}</text></g>',
            tip=_told(symbol, row, unit),
            kind="few" if few else f"r{step}",
            ink="plain" if few else f"i{step}",
            s=symbol,
            mae=short(row["mae"]),
            count=int(row["crystals"]),
        )
    foot = 9.4 * CELL + 18
    drawing.text(2, foot + 6, "lower error", anchor="start")
    for step in range(STEPS):
        drawing.add(
            '<rect x="{x:g}" y="{y:g}" width="26" height="13" class="cell r{step}"/>',
            x=74 + 27 * step, y=foot - 5, step=step,
        )  # fmt: skip
    drawing.text(74 + 27 * STEPS + 6, foot + 6, "higher error", anchor="start")
    listed = ", ".join(f"{r.element} {r.mae:.3g}" for r in sure[::-1].head(5).itertuples())
    return Chart(
        svg=drawing.svg(
            f"Errors by element of {contender}",
            f"Largest mean absolute errors [{unit}]: {listed or 'none'}.",
            "wide",
        ),
        caption=(
            f"Mean absolute error{f' [{unit}]' if unit else ''} of {contender} over the test "
            "crystals that hold an element, and their number. "
            "Dashed: fewer than five crystals. Colors are eighths of the elements."
        ),
        data={"kind": "cells"},
        wide=True,
    )


def _place(atomic: int) -> tuple[float, float]:
    """Return the corner of an element's cell; the f block stands below."""
    for first, last, row in ((57, 70, 7.4), (89, 102, 8.4)):
        if first <= atomic <= last:
            return 4 + CELL * (2 + atomic - first), 4 + CELL * row
    period, group = period_and_group(atomic)
    return 4 + CELL * (group - 1), 4 + CELL * (period - 1)


def short(value: float) -> str:
    """Return a number that fits a cell.

    >>> short(0.0312), short(0.25), short(12.34), short(1234.0)
    ('.031', '.25', '12', '1.2k')
    """
    if value >= 1000:
        return f"{value / 1000:.1f}k"
    if value >= 1:
        return f"{value:.2g}"
    text = f"{value:.2g}" if value >= 1e-3 else f"{value:.0e}".replace("e-0", "e-")
    return number(float(text)).removeprefix("0") if "e" not in text else text


def _told(symbol: str, row: Mapping[str, Any], unit: str) -> str:
    interval = ""
    if math.isfinite(row["mae_low"]):
        interval = f" ({row['mae_low']:.3g} to {row['mae_high']:.3g})"
    return (
        f"{symbol}: {int(row['crystals']):,} test crystals\nMAE {row['mae']:.3g} {unit}{interval}\n"
        f"mean residual {number(float(row['bias']))} {unit}"
    )
