"""Errors in the periodic table, colored by their size and written into the cells."""

import pandas as pd
from matplotlib import colormaps
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from epitaxy.crystals.elements import NUMBERS, period_and_group
from epitaxy.report.charts.elements import short
from epitaxy.report.plots.style import INK, QUIET, drawing
from epitaxy.report.residuals import FEWEST
from epitaxy.report.tables import rows

LAST = 103  # drawn


def periodic_table(table: pd.DataFrame, title: str, unit: str = "") -> Figure:
    """Draw a table from ``residuals.by_element``: symbol, MAE and number of crystals.

    Elements in fewer than five test crystals are outlined only.
    """
    known = {str(row["element"]): row for row in rows(table)}
    sure = table[table["crystals"] >= FEWEST]["mae"].clip(lower=1e-12)
    low, high = (float(sure.min()), float(sure.max())) if len(sure) else (1.0, 2.0)
    norm, scale = LogNorm(low, max(high, low * 1.001)), colormaps["viridis"]
    with drawing(1, width=10.5, height=5.6) as panels:
        axes = panels[0]
        for symbol, atomic in NUMBERS.items():
            if atomic > LAST:
                break
            x, y = place(atomic)
            own = known.get(symbol)
            few = own is not None and own["crystals"] < FEWEST
            face = "none" if own is None or few else scale(norm(max(own["mae"], low)))
            edge = "#d6dae0" if own is None else QUIET if few else "none"
            axes.add_patch(Rectangle((x, -y), 0.94, 0.94, facecolor=face, edgecolor=edge))
            bright = own is not None and not few and norm(max(own["mae"], low)) < 0.6
            ink = "#b4bac2" if own is None else "white" if bright else INK
            axes.text(x + 0.47, 0.66 - y, symbol, color=ink, ha="center", va="center", fontsize=9)
            if own is not None:
                words = f"{short(float(own['mae']))}\n{int(own['crystals'])}"
                axes.text(
                    x + 0.47, 0.25 - y, words, color=ink, ha="center", va="center", fontsize=5.5
                )
        axes.set(xlim=(0.8, 19.1), ylim=(-9.8, 0.2), aspect="equal", xticks=[], yticks=[])
        axes.set_title(f"{title}: MAE" + (f" [{unit}]" if unit else "") + ", and test crystals")
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return axes.get_figure(root=True)  # type: ignore[return-value]


def place(atomic: int) -> tuple[float, float]:
    """Return column and row of an element; the f block stands below.

    >>> place(1), place(8), place(58)
    ((1.0, 1.0), (16.0, 2.0), (4.0, 8.4))
    """
    for first, last, row in ((57, 70, 8.4), (89, 102, 9.4)):
        if first <= atomic <= last:
            return 3.0 + atomic - first, row
    period, group = period_and_group(atomic)
    return float(group), float(period)
