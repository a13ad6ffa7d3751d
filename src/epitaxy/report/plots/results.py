"""Errors of all contenders from a table of results: against each other, and against size."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from epitaxy.evaluation.summary import require_columns
from epitaxy.report.plots.style import INK, colors, drawing

COLUMNS = ("task", "size", "contender", "mae", "mae_low", "mae_high", "unit")
FAR = -60.0  # percent: who is that much worse is told, not drawn
MARKS = ("o", "s", "^", "D", "P", "X", "v", "*")


def improvements(results: pd.DataFrame) -> Figure:
    """Draw how much lower than its reference's the error of every contender is, task by task.

    One panel per task, at its largest size; bars are 95 % intervals, zero is the reference. Who
    is more than 60 % worse is told in figures at the edge.
    """
    require_columns(results, (*COLUMNS, "improvement_percent"), "results")
    largest = results.groupby("task")["size"].transform("max")
    own = results[(results["size"] == largest) | largest.isna()]
    own = own[own["improvement_percent"].notna()]
    tasks, names = list(own["task"].unique()), list(own["contender"].unique())
    color = colors(str(one) for one in results["contender"])  # as where the reference is drawn
    with drawing(max(1, len(tasks)), width=4.4, height=1.0 + 0.32 * len(names)) as panels:
        for axes, task in zip(panels, tasks, strict=False):
            rows = own[own["task"] == task].set_index("contender")
            axes.axvline(0.0, color=INK, linewidth=0.9)
            near = rows[rows["improvement_percent"] > FAR]
            ends = [*near["improvement_low"], *near["improvement_high"], 0.0]
            low, high = np.nanmin(ends), np.nanmax(ends)
            room = 0.08 * (high - low) or 1.0
            axes.set_xlim(low - room, high + room)
            for place, name in enumerate(names):
                if name not in rows.index:
                    axes.annotate("missing", (0.0, place), fontsize=8, va="center", xytext=(4, 0),
                                  textcoords="offset points")  # fmt: skip
                    continue
                row = rows.loc[name]
                if row["improvement_percent"] <= FAR:
                    told = f"← −{-row['improvement_percent']:.0f}"
                    axes.annotate(told, (low - room, place), fontsize=8, va="center",
                                  color=color[name])  # fmt: skip
                    continue
                ends = [row["improvement_low"], row["improvement_high"]]
                axes.plot(ends, [place, place], color=color[name], linewidth=1.6)
                axes.scatter(
                    [row["improvement_percent"]], [place], s=26, color=color[name], zorder=3
                )
            axes.set_yticks(range(len(names)), names)
            axes.set_ylim(len(names) - 0.5, -0.5)
            axes.set_title(str(task))
            axes.set_xlabel("error lower than the reference's by [%]")
    _plain_labels(panels)
    return panels[0].get_figure(root=True)  # type: ignore[return-value]


def against_size(results: pd.DataFrame, unit: str = "") -> Figure:
    """Draw the MAE of each contender of one task against the number of training crystals."""
    require_columns(results, COLUMNS, "results")
    names = list(results["contender"].unique())
    color = colors(names)
    sizes = sorted(results["size"].dropna().unique())
    with drawing(1, width=5.4, height=3.8) as panels:
        axes = panels[0]
        for place, name in enumerate(names):
            rows = results[results["contender"] == name].sort_values("size")
            beside = 1.0 + 0.012 * (place - (len(names) - 1) / 2)
            low, high = (rows["mae"] - rows["mae_low"], rows["mae_high"] - rows["mae"])
            axes.errorbar(
                rows["size"] * beside,
                rows["mae"],
                yerr=[low.fillna(0.0).clip(lower=0.0), high.fillna(0.0).clip(lower=0.0)],
                color=color[name],
                marker=MARKS[place % len(MARKS)],
                markersize=5,
                linewidth=1.4,
                elinewidth=1.0,
                label=name,
            )
        axes.set_xscale("log")
        axes.set_xticks(sizes, [f"{size:,.0f}" for size in sizes])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel("training crystals")
        axes.set_ylabel(f"MAE [{unit}]" if unit else "MAE")
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return panels[0].get_figure(root=True)  # type: ignore[return-value]


def _plain_labels(panels: list[Axes]) -> None:
    for axes in panels:
        axes.yaxis.grid(False)
        axes.tick_params(axis="y", labelcolor=INK)
        for label in axes.get_yticklabels():
            label.set_parse_math(False)
