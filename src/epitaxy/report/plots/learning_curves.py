"""Loss or metric against the epoch: one line per contender, a band over its seeds."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from epitaxy.evaluation.summary import require_columns
from epitaxy.report.plots.style import colors, drawing

CURVE_COLUMNS = ("contender", "seed", "epoch", "split", "metric", "value")
SEEDS_FOR_QUARTILES = 8  # from here on the band shows quartiles, below it shows all seeds
RATIO_FOR_LOG = 10.0  # of the largest to the smallest value, from which a log axis helps


def learning_curves(curves: pd.DataFrame) -> Figure:
    """Draw one panel per metric: training thin, validation bold with a band over seeds.

    A column ``unit``, if there is one, goes to the axis. The line is the median over seeds. The
    band is their minimum to maximum, or their quartiles from eight seeds on.
    """
    require_columns(curves, CURVE_COLUMNS, "curves")
    metrics = [str(metric) for metric in curves["metric"].unique()]
    color = colors(str(name) for name in curves["contender"])
    with drawing(len(metrics), width=5.2, height=3.4) as panels:
        for axes, metric in zip(panels, metrics, strict=True):
            shown = curves[curves["metric"] == metric]
            for (contender, split), group in shown.groupby(["contender", "split"], sort=False):
                _draw_line(axes, group, str(contender), str(split), color[str(contender)])
            if _spans_decades(shown["value"]):
                axes.set_yscale("log")
                axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
                axes.yaxis.set_major_formatter("{x:g}")
                axes.yaxis.set_minor_locator(NullLocator())
            axes.set_xlabel("epoch")
            axes.set_ylabel(_label(metric, shown))
            axes.xaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 5, 10], integer=True))
            axes.legend(loc="best")
    return panels[0].get_figure(root=True)  # type: ignore[return-value]


def _label(metric: str, curves: pd.DataFrame) -> str:
    name = "MAE" if metric == "mae" else metric
    units = list(curves["unit"].unique()) if "unit" in curves.columns else []
    return f"{name} [{units[0]}]" if len(units) == 1 and units[0] else name


def _spans_decades(values: pd.Series) -> bool:
    return bool(values.min() > 0.0 and values.max() > RATIO_FOR_LOG * values.min())


def _draw_line(axes: Axes, curve: pd.DataFrame, contender: str, split: str, color: str) -> None:
    by_epoch = curve.groupby("epoch")["value"]
    middle = by_epoch.median()
    bold = split != "train"
    marker = "o" if len(middle) == 1 else None
    axes.plot(
        middle.index.to_numpy(),
        middle.to_numpy(),
        color=color,
        linewidth=2.0 if bold else 0.9,
        alpha=1.0 if bold else 0.7,
        marker=marker,
        label=f"{contender}, {split}",
        zorder=3 if bold else 2,
    )
    seeds = curve["seed"].nunique()
    if bold and seeds > 1:
        tail = 0.25 if seeds >= SEEDS_FOR_QUARTILES else 0.0
        low, high = by_epoch.quantile(tail), by_epoch.quantile(1.0 - tail)
        epochs = low.index.to_numpy()
        axes.fill_between(epochs, low, high, color=color, alpha=0.16, linewidth=0, zorder=1)
