"""Predicted against true values, one panel per contender on the same axes."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from epitaxy.evaluation.summary import PREDICTION_COLUMNS, one_target, require_columns, seed_maes
from epitaxy.report.plots.style import QUIET, colors, drawing

MOST_POINTS = 2500  # in a panel; above, hexagons colored by their number of points


def parity(predictions: pd.DataFrame) -> Figure:
    """Draw every prediction of every seed against its truth.

    The identity line is a perfect model. The title gives the MAE, averaged over seeds. Crystals
    whose truth is unknown (NaN) are left out.
    """
    require_columns(predictions, PREDICTION_COLUMNS, "predictions")
    target, unit = one_target(predictions)
    known = predictions[predictions["truth"].notna()]
    contenders = [str(name) for name in predictions["contender"].unique()]
    color = colors(contenders)
    limits = _limits(known)
    with drawing(len(contenders), width=3.5, height=3.75) as panels:
        for axes, contender in zip(panels, contenders, strict=True):
            own = known[known["contender"] == contender]
            axes.plot(limits, limits, color=QUIET, linewidth=0.9, dashes=(4, 3), zorder=1)
            _draw_points(axes, own["truth"], own["value"], color[contender], limits)
            axes.set(xlim=limits, ylim=limits, aspect="equal")
            axes.locator_params(nbins=6)
            axes.set_xlabel(_label(f"true {target}", unit))
            axes.set_ylabel(_label(f"predicted {target}", unit))
            maes = seed_maes(predictions, contender)
            seeds = f" · {len(maes)} seeds" if len(maes) > 1 else ""
            error = f"{maes.mean():#.3g}".rstrip(".") + f" {unit}".rstrip()
            axes.set_title(f"{contender}\nMAE {error}{seeds}")
    return panels[0].get_figure(root=True)  # type: ignore[return-value]


def _limits(known: pd.DataFrame) -> tuple[float, float]:
    values = known[["truth", "value"]].to_numpy()
    low, high = float(values.min()), float(values.max())
    margin = 0.04 * (high - low) or 0.5
    return low - margin, high + margin


def _draw_points(
    axes: Axes, truth: pd.Series, value: pd.Series, color: str, limits: tuple[float, float]
) -> None:
    if len(truth) > MOST_POINTS:
        shades = LinearSegmentedColormap.from_list("density", ["#cdd6de", color, "#1a1a1a"])
        axes.hexbin(
            truth,
            value,
            gridsize=55,
            extent=(*limits, *limits),
            bins="log",
            mincnt=1,
            cmap=shades,
            linewidths=0.0,
            zorder=2,
        )
        return
    alpha = float(np.clip(30.0 / np.sqrt(len(truth) + 1.0), 0.25, 0.8))
    axes.scatter(
        truth, value, s=9, color=color, alpha=alpha, linewidths=0, zorder=2, rasterized=True
    )


def _label(name: str, unit: str) -> str:
    readable = name.replace("_", " ")
    return f"{readable} [{unit}]" if unit else readable
