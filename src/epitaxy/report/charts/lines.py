"""Error against the number of training crystals, and against the epoch."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from epitaxy.report.charts.frame import (
    Axis,
    Chart,
    Drawing,
    Look,
    band,
    bars,
    line,
    marker,
    points,
    span,
    swatch,
)
from epitaxy.report.tables import rows

WIDTH, HEIGHT = 420.0, 300.0
FAR = 2.0  # times the largest error of the others, from which a baseline is told, not drawn
DECADE = 8.0  # of the largest to the smallest value, from which a logarithmic axis helps


def by_size(
    name: str, results: pd.DataFrame, unit: str, look: Mapping[str, Look], tags: Mapping[str, str]
) -> Chart:
    """Draw the MAE of every contender against the number of training crystals.

    Vertical lines are 95 % intervals. Contenders stand a little beside each other, so that their
    intervals can be told apart.
    """
    sizes = sorted(float(size) for size in results["size"].unique())
    far = _far(results, tags)
    own = results[~results["contender"].isin(far)].sort_values("size")
    drawing = Drawing(WIDTH, HEIGHT, name)
    x = Axis(sizes[0] / 1.18, sizes[-1] * 1.18, 64, WIDTH - 10, log=True)
    limits = [*own["mae"], *own["mae_low"].dropna(), *own["mae_high"].dropna()]
    y = _height(limits)
    drawing.axes(x, y, "training crystals", _mae(unit), x_ticks=sizes)
    names = [one for one in look if one in set(own["contender"])]
    there: tuple[list[float], list[float], list[str]] = ([], [], [])
    for rank, contender in enumerate(names):
        part = own[own["contender"] == contender]
        beside = 7.0 * (rank - (len(names) - 1) / 2) / max(1, len(names) - 1) * 2.0
        places, heights = x(part["size"]) + beside, y(part["mae"])
        kind, extra = look[contender].kind, look[contender].extra
        drawing.path(line(places, heights), f"line {kind}", extra)
        drawing.path(bars(places, y(part["mae_low"]), y(part["mae_high"])), f"bar strong {kind}")
        marks = [marker(look[contender].marker, *at) for at in zip(places, heights, strict=True)]
        drawing.path("".join(marks), f"mark {kind}")
        there[0].extend(places)
        there[1].extend(heights)
        there[2].extend(_told(row, unit) for row in rows(part))
    above = ", ".join(f"{one} ({mae:.3g})" for one, mae in far.items())
    best = own[own["size"] == sizes[-1]].nsmallest(1, "mae")
    said = f"With {int(sizes[-1]):,} crystals {best['contender'].iloc[0]} has the lowest error."
    return Chart(
        svg=drawing.svg("Error against training size", said),
        caption="Test error against the number of training crystals; lines are 95 % intervals."
        + (f" Above the chart: {above}." if above else ""),
        data=points(*there),
        legend=[swatch(one, look[one], tags.get(one, "")) for one in names],
    )


def by_epoch(
    name: str, curves: pd.DataFrame, look: Mapping[str, Look], tags: Mapping[str, str]
) -> Chart:
    """Draw one metric against the epoch: validation bold with a band over seeds, training thin."""
    drawing = Drawing(WIDTH, HEIGHT, name)
    groups = curves.groupby(["contender", "split", "epoch"], sort=False)["value"]
    table = groups.agg(["median", "min", "max"]).reset_index().sort_values("epoch")
    x = Axis(*span(table["epoch"], margin=0.02), 64, WIDTH - 10)
    y = _height([*table["median"], *table.loc[table["split"] != "train", "max"]])
    metric, unit = str(curves["metric"].iloc[0]), str(curves["unit"].iloc[0])
    axis = _mae(unit) if metric == "mae" else metric + (f" [{unit}]" if unit else "")
    drawing.axes(x, y, "epoch", axis)
    names = [one for one in look if one in set(table["contender"])]
    there: tuple[list[float], list[float], list[str]] = ([], [], [])
    for contender in names:
        for split, part in table[table["contender"] == contender].groupby("split"):
            thin = split == "train"
            places, heights = x(part["epoch"]), y(part["median"].clip(*_inside(y)))
            low, high = (y(part[one].clip(*_inside(y))) for one in ("min", "max"))
            kind, extra = look[contender].kind, look[contender].extra
            if not thin:
                drawing.path(band(places, low, high), f"band {kind}")
            drawing.path(line(places, heights), f"{'thin' if thin else 'line'} {kind}", extra)
            if not thin:
                there[0].extend(places)
                there[1].extend(heights)
                there[2].extend(
                    f"{contender}\nepoch {int(row['epoch'])}, {split}: {row['median']:.3g} {unit}\n"
                    f"seeds from {row['min']:.3g} to {row['max']:.3g}"
                    for row in rows(part)
                )
    return Chart(
        svg=drawing.svg("Error against the epoch", f"{len(names)} contenders, {axis}."),
        caption="During training: validation bold, its range over seeds shaded; training thin.",
        data=points(*there),
        legend=[swatch(one, look[one], tags.get(one, "")) for one in names],
    )


def forest(
    name: str, results: pd.DataFrame, unit: str, look: Mapping[str, Look], tags: Mapping[str, str]
) -> Chart:
    """Draw the MAE of every contender of one task and size with its interval, one below another."""
    names = [one for one in look if one in set(results["contender"])]
    own = {str(row["contender"]): row for row in rows(results)}
    height = 30.0 + 30.0 * len(names) + 42
    drawing = Drawing(WIDTH, height, name)
    far = _far(results, tags)
    near = results[~results["contender"].isin(far)]
    x = Axis(*span([*near["mae"], *near["mae_high"].dropna()], zero=True), 12, WIDTH - 12)
    foot = 12.0 + 30.0 * len(names)
    ticks = x.ticks()
    drawing.path("".join(f"M{x(t):g} 6V{foot:g}" for t in ticks), "grid")
    for tick in ticks:
        drawing.text(float(x(tick)), foot + 15, f"{tick:g}")
    drawing.text((x.start + x.end) / 2, foot + 33, _mae(unit), "axis")
    there: tuple[list[float], list[float], list[str]] = ([], [], [])
    for rank, contender in enumerate(names):
        row = own[contender]
        y = 31.0 + 30.0 * rank
        kind = look[contender].kind
        drawing.text(14, y - 9, contender + _tagged(tags.get(contender, "")), "name", "start")
        if contender in far:
            drawing.text(WIDTH - 14, y + 4, f"{far[contender]:.3g}, beyond →", "name", "end")
            continue
        if math.isfinite(row["mae_low"]):
            ends = x([row["mae_low"], row["mae_high"]])
            drawing.path(f"M{ends[0]:g} {y:g}H{ends[1]:g}", f"bar strong {kind}")
        place = float(x(row["mae"]))
        drawing.path(marker(look[contender].marker, place, y), f"mark {kind}")
        there[0].append(place)
        there[1].append(y)
        there[2].append(_told(row, unit))
    return Chart(
        svg=drawing.svg(
            "Error of every contender", f"{len(names)} contenders; the table holds the numbers."
        ),
        caption="Test error; lines are 95 % intervals over test crystals and seeds.",
        data=points(*there),
    )


def _far(results: pd.DataFrame, tags: Mapping[str, str]) -> dict[str, float]:
    """Return baselines whose error would squeeze all others together, and that error."""
    at = results[results["size"].isna() | (results["size"] == results["size"].max())]
    mae = at.set_index("contender")["mae"].astype(float)
    near = [value for one, value in mae.items() if tags.get(str(one)) != "baseline"]
    if not near:
        return {}
    return {
        str(one): float(value)
        for one, value in mae.items()
        if tags.get(str(one)) == "baseline" and value > FAR * max(near)
    }


def _height(values: Sequence[float]) -> Axis:
    known = [value for value in values if math.isfinite(value)]
    positive = bool(known) and min(known) > 0.0
    if positive and max(known) > DECADE * min(known):
        return Axis(min(known) / 1.15, max(known) * 1.15, HEIGHT - 42, 12, log=True)
    low, high = span(known, zero=positive and min(known) < 0.4 * max(known))
    return Axis(low, high, HEIGHT - 42, 12)


def _inside(axis: Axis) -> tuple[float, float]:
    return axis.low, axis.high


def _mae(unit: str) -> str:
    return f"MAE [{unit}]" if unit else "MAE"


def _tagged(tag: str) -> str:
    return f" ({tag})" if tag else ""


def _told(row: Mapping[str, Any], unit: str) -> str:
    mae, low, high = (float(row[one]) for one in ("mae", "mae_low", "mae_high"))
    size = float(row["size"])
    text = f"{row['contender']}\nMAE {mae:.3g} {unit}"
    if math.isfinite(low):
        text += f" ({low:.3g} to {high:.3g})"
    return text + (f"\n{int(size):,} training crystals" if math.isfinite(size) else "")
