"""Parity with the spread over seeds, and the residuals below it."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.figure import Figure

from epitaxy.report.plots.style import QUIET, colors, drawing
from epitaxy.report.residuals import residual_band

MOST_BARS = 1500  # crystals whose spread is drawn


def parity_with_spread(crystals: Mapping[str, pd.DataFrame], target: str, unit: str = "") -> Figure:
    """Draw a panel per contender, and below it the band that holds the middle 80 % of residuals.

    ``crystals`` has a table from ``residuals.by_crystal`` for each. Dots are means over seeds,
    lines reach one standard deviation over seeds up and down.
    """
    label = target.replace("_", " ") + (f" [{unit}]" if unit else "")
    color = colors(crystals)
    every = pd.concat([table[["truth", "value"]] for table in crystals.values()]).to_numpy()
    low, high = float(every.min()), float(every.max())
    margin = 0.04 * (high - low) or 0.5
    limits = low - margin, high + margin
    columns = len(crystals)
    with drawing(2 * columns, width=3.5, height=3.4, columns=columns) as panels:
        pairs = zip(crystals.items(), panels[:columns], panels[columns:], strict=True)
        for (name, table), above, below in pairs:
            above.plot(limits, limits, color=QUIET, linewidth=0.9, dashes=(4, 3), zorder=1)
            drawn = table.head(MOST_BARS)
            above.errorbar(
                drawn["truth"],
                drawn["value"],
                yerr=drawn["spread"].fillna(0.0),
                linestyle="none",
                marker="o",
                markersize=3,
                markeredgewidth=0,
                elinewidth=0.7,
                color=color[name],
                ecolor=color[name],
                alpha=0.5,
                rasterized=True,
            )
            above.set(xlim=limits, ylim=limits, aspect="equal")
            above.set_xlabel(f"true {label}")
            above.set_ylabel(f"predicted {label}")
            seeds = int(table["seeds"].max())
            error = f"{table['error'].mean():#.3g}".rstrip(".") + f" {unit}".rstrip()
            above.set_title(f"{name}\nMAE {error}" + (f" · {seeds} seeds" if seeds > 1 else ""))
            bins = residual_band(table)
            below.axhline(0.0, color=QUIET, linewidth=0.9, dashes=(4, 3))
            below.fill_between(
                bins["value"], bins["low"], bins["high"], color=color[name], alpha=0.18, linewidth=0
            )
            below.plot(bins["value"], bins["middle"], color=color[name], linewidth=1.8)
            below.set_xlabel(f"predicted {label}")
            below.set_ylabel("residual" + (f" [{unit}]" if unit else ""))
    return panels[0].get_figure(root=True)  # type: ignore[return-value]
