"""Representations in two dimensions, colored by chemical family and by a target."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from epitaxy.evaluation.summary import require_columns
from epitaxy.report.plots.style import PALETTE, drawing

MAP_COLUMNS = ("contender", "method", "x", "y", "family", "truth")
REST = "#9CA3AF"
CLIPPED = 2.0  # percent of the target at either end that share the last color


def maps(points: pd.DataFrame, method: str, target: str, unit: str = "") -> Figure:
    """Draw the contenders side by side: above by chemical family, below by the target.

    The target's colors leave out the outermost two percent. Axes have no unit, and no ticks.
    """
    require_columns(points, MAP_COLUMNS, "maps")
    shown = points[points["method"] == method]
    contenders = [str(one) for one in shown["contender"].unique()]
    families = [str(one) for one in shown["family"].value_counts().index]
    color = {
        name: PALETTE[place] if place < len(PALETTE) else REST
        for place, name in enumerate(families)
    }
    low, high = np.percentile(shown["truth"], [CLIPPED, 100.0 - CLIPPED])
    size = float(np.clip(2000.0 / (1 + len(shown) / len(contenders)), 4.0, 22.0))
    with drawing(2 * len(contenders), width=4.0, height=3.4) as panels:
        above, below = panels[: len(contenders)], panels[len(contenders) :]
        for axes, contender in zip(above, contenders, strict=True):
            own = shown[shown["contender"] == contender]
            for name in families:
                part = own[own["family"] == name]
                axes.scatter(
                    part["x"], part["y"], s=size, color=color[name], label=name, linewidths=0
                )
            _bare(axes, f"{contender}, {method}")
        for axes, contender in zip(below, contenders, strict=True):
            own = shown[shown["contender"] == contender].sort_values("truth")
            drawn = axes.scatter(
                own["x"], own["y"], s=size, c=own["truth"], vmin=low, vmax=high, linewidths=0
            )
            _bare(axes, "")
        bar = axes.figure.colorbar(drawn, ax=below, fraction=0.04, pad=0.01)
        bar.set_label(target.replace("_", " ") + (f" [{unit}]" if unit else ""), fontsize=9.5)
        bar.ax.tick_params(labelsize=8.5, length=0)
        bar.outline.set_visible(False)
        handles, labels = above[0].get_legend_handles_labels()
        axes.figure.legend(
            handles,
            labels,
            loc="outside lower center",
            ncols=min(4, len(labels)),
            frameon=False,
            fontsize=9.5,
            markerscale=2.0,
        )
    for axes in panels:
        axes.grid(False)
        for side in ("left", "bottom"):
            axes.spines[side].set_visible(False)
    return panels[0].get_figure(root=True)  # type: ignore[return-value]


def _bare(axes: Axes, title: str) -> None:
    axes.set_title(title)
    axes.set_xticks([])
    axes.set_yticks([])
