"""The mean absolute error of every contender: its interval, and a point for each seed."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from epitaxy.evaluation.summary import PREDICTION_COLUMNS, one_target, require_columns, seed_maes
from epitaxy.report.plots.style import INK, colors, drawing

RESULT_COLUMNS = ("contender", "mae", "mae_low", "mae_high")


def errors(predictions: pd.DataFrame, results: pd.DataFrame) -> Figure:
    """Draw the MAE of each row of `results` (from `summarize`) and the seeds behind it.

    The bar is the interval of the MAE, the tick its mean over seeds, the small points
    the seeds.
    """
    require_columns(predictions, PREDICTION_COLUMNS, "predictions")
    require_columns(results, RESULT_COLUMNS, "results")
    target, unit = one_target(predictions)
    if "target" in results.columns:
        results = results[results["target"] == target]
    contenders = [str(name) for name in results["contender"]]
    color = colors(contenders)
    with drawing(1, width=6.2, height=0.9 + 0.5 * len(contenders)) as (axes,):
        for row, contender in enumerate(contenders):
            found = results.iloc[row]
            axes.plot(
                [found["mae_low"], found["mae_high"]],
                [row, row],
                color=color[contender],
                linewidth=7,
                alpha=0.25,
                solid_capstyle="butt",
                zorder=2,
            )
            maes = seed_maes(predictions, contender)
            spread = np.linspace(-0.13, 0.13, len(maes)) if len(maes) > 1 else np.zeros(1)
            axes.scatter(
                maes, row + spread, s=13, color=color[contender], alpha=0.7, linewidths=0, zorder=3
            )
            axes.scatter([found["mae"]], [row], s=240, marker="|", color=INK, linewidths=1.6)
        axes.set_yticks(range(len(contenders)), contenders)
        axes.set_ylim(len(contenders) - 0.5, -0.5)
        axes.set_xlim(left=0.0)
        axes.set_xlabel(f"MAE of {target.replace('_', ' ')}" + (f" [{unit}]" if unit else ""))
    axes.yaxis.grid(False)
    axes.tick_params(axis="y", labelcolor=INK, labelsize=9.5)
    for label in axes.get_yticklabels():
        label.set_parse_math(False)
    return axes.get_figure(root=True)  # type: ignore[return-value]
