"""The error of a probe against what it reads: one layer, or layers side by side."""

from collections.abc import Iterable
from itertools import count

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from epitaxy.evaluation.summary import require_columns
from epitaxy.report.plots.style import KNOWN, QUIET, colors, drawing

RANGE_COLUMNS = ("contender", "range", "mae", "mae_low", "mae_high")
WHOLE, CHOSEN = "all", "chosen"
FAR = 1.25  # times the largest error of a network; what lies beyond is said, not drawn


def ranges(table: pd.DataFrame, target: str, unit: str = "") -> Figure:
    """Draw a line per network over single layers, another over layers side by side.

    Bars are intervals over crystals. ``chosen`` is the range that was chosen without the test
    rows, and the one to quote. Contenders without layers are horizontal lines.
    """
    require_columns(table, RANGE_COLUMNS, "errors by range")
    layered = table.groupby("contender")["range"].transform("nunique") > 2
    networks = [str(one) for one in table.loc[layered, "contender"].unique()]
    color = colors(str(one) for one in table["contender"].unique())
    order = in_order(table.loc[layered, "range"])
    with drawing(1, width=max(6.0, 0.62 * len(order) + 3.0), height=4.0) as (axes,):
        for rank, network in enumerate(networks):
            own = table[table["contender"] == network].set_index("range")
            shift = 0.14 * (rank - (len(networks) - 1) / 2)
            _draw_network(axes, own, order, shift, color[network], network)
        highest = table.loc[layered, "mae"].max() if networks else float("inf")
        for contender in table.loc[~layered, "contender"].unique():
            own = table[(table["contender"] == contender) & (table["range"] == CHOSEN)]
            error = float(own["mae"].iloc[0])
            label = f"{contender}: {error:.3g}"
            if error > FAR * highest:
                axes.plot(
                    [],
                    [],
                    color=KNOWN.get(contender, color[contender]),
                    linestyle=":",
                    label=f"{label}, above",
                )
                continue
            axes.axhline(error, color=color[contender], linestyle="--", linewidth=1.2, label=label)
        axes.set_xticks(range(len(order)), [_readable(one) for one in order])
        axes.set_xlabel("layers read (0: the element alone)")
        axes.set_ylabel(f"MAE of {target.replace('_', ' ')}" + (f" [{unit}]" if unit else ""))
        handles, labels = axes.get_legend_handles_labels()
        order_of = sorted(range(len(labels)), key=lambda place: labels[place] not in networks)
        axes.legend(
            [handles[place] for place in order_of],
            [labels[place] for place in order_of],
            loc="center left",
            bbox_to_anchor=(1.0, 0.5),
        )
    axes.xaxis.grid(False)
    axes.tick_params(axis="x", labelcolor=QUIET)
    return axes.get_figure(root=True)  # type: ignore[return-value]


def in_order(names: Iterable[str]) -> list[str]:
    """Return single layers, layers side by side, then the rest as they come, ``chosen`` last.

    >>> in_order(["012", "chosen", "1", "last", "01", "0", "10"])
    ['0', '1', '10', '01', '012', 'last', 'chosen']
    """
    unique = list(dict.fromkeys(names))

    def place(name: str) -> tuple[int, int]:
        if not name.isdigit():
            return (3 if name == CHOSEN else 2), unique.index(name)
        return (1, len(name)) if _is_prefix(name) else (0, int(name))

    return sorted(unique, key=place)


def _is_prefix(name: str) -> bool:
    return name.isdigit() and len(name) > 1 and name[0] == "0"


def _draw_network(
    axes: Axes, own: pd.DataFrame, order: list[str], shift: float, color: str, label: str
) -> None:
    singles = [one for one in order if one.isdigit() and not _is_prefix(one)]
    prefixes = [one for one in order if _is_prefix(one)]
    rest = [[one] for one in order if one not in singles and one not in prefixes]
    for group in (singles, prefixes, *rest):
        held = [one for one in group if one in own.index]
        if not held:
            continue
        rows = own.loc[held]
        places = [order.index(one) + shift for one in held]
        bars = [rows["mae"] - rows["mae_low"], rows["mae_high"] - rows["mae"]]
        axes.errorbar(
            places,
            rows["mae"],
            yerr=[one.clip(lower=0.0) for one in bars],
            color=color,
            linewidth=1.4,
            elinewidth=1.0,
            marker="D" if held == [CHOSEN] else "o",
            markersize=7 if held == [CHOSEN] else 4.5,
            label=label if group is singles or not singles else None,
        )


def _readable(name: str) -> str:
    if not _is_prefix(name) or len(name) < 5:
        return name
    layers = next(last for last in count(1) if len("".join(map(str, range(last)))) == len(name))
    return f"0…{layers - 1}"
