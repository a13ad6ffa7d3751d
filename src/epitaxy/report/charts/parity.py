"""Predicted against true values, with the spread over seeds, and the band of the residuals."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from epitaxy.report.charts.frame import (
    Axis,
    Chart,
    Drawing,
    Look,
    band,
    bars,
    compact,
    dots,
    line,
    number,
    span,
    with_unit,
)
from epitaxy.report.residuals import evenly, residual_band

WIDTH, SIDE, STRIP = 352.0, 276.0, 92.0


def parity(
    name: str,
    crystals: Mapping[str, pd.DataFrame],
    shown: Sequence[str],
    target: str,
    unit: str,
    look: Mapping[str, Look],
    most: int = 1000,
) -> list[Chart]:
    """Draw a panel for each contender in ``shown``; a script can put any other in its place.

    ``crystals`` has a table from ``by_crystal`` for every contender. Dots are means over seeds,
    lines reach a standard deviation over seeds up and down. The strip below shows the residuals:
    their median and the range that holds the middle 80 % of them, in bins of equally many
    crystals. More than ``most`` crystals are thinned out at random; bands and errors use all.
    """
    every = pd.concat([table.set_index("id") for table in crystals.values()])
    every = every[~every.index.duplicated()]
    kept = every.iloc[evenly(len(every), most)]
    value = pd.concat([table["value"] for table in crystals.values()])
    x = Axis(*span([*every["truth"], *value.quantile([0.001, 0.999])]), 62.0, 62.0 + SIDE)
    y = Axis(x.low, x.high, 12.0 + SIDE, 12.0)
    bands = {one: residual_band(table) for one, table in crystals.items()}
    reach = [v for one in shown for end in ("low", "high") for v in bands[one][end]]
    strip = Axis(*span(reach, zero=True), 12.0 + SIDE + 34 + STRIP, 12.0 + SIDE + 34)
    aligned = {one: table.set_index("id").reindex(kept.index) for one, table in crystals.items()}
    outlines = {one: _outlines(own, bands[one], x, y, strip) for one, own in aligned.items()}
    said = (
        "" if len(kept) == len(every) else f" {len(kept):,} of {len(every):,} crystals are drawn."
    )
    charts = []
    for place, first in enumerate(shown):
        drawing = Drawing(WIDTH, strip.start + 42, f"{name}-{place}")
        _draw_axes(drawing, x, y, strip, target, unit)
        for part, kind in PARTS.items():
            extra = f' data-part="{part}"'
            drawing.path(outlines[first][part] or "M0 0", f"{kind} {look[first].kind}", extra)
        charts.append(
            Chart(
                svg=drawing.svg(
                    f"Parity of {first}", _described(first, crystals[first], target, unit)
                ),
                caption=f"Predicted against true {with_unit(target, unit)}.{said}",
                data={"kind": "parity", "from": name, "shown": first},
                controls=[
                    {"label": "contender", "key": "shown", "options": [*crystals], "chosen": first}
                ],
                title=first,
            )
        )
    shared = _shared(kept, aligned, outlines, look, x, y, unit)
    charts[0] = Chart(**{**vars(charts[0]), "data": {**charts[0].data, "shared": shared}})
    return charts


PARTS = {"bars": "bar", "dots": "dots", "band": "band", "middle": "middle"}


def _outlines(
    own: pd.DataFrame, bins: pd.DataFrame, x: Axis, y: Axis, strip: Axis
) -> dict[str, str]:
    places, heights = x(own["truth"]), np.clip(y(own["value"]), y.end, y.start)
    low = np.clip(y(own["value"] - own["spread"]), y.end, y.start)
    high = np.clip(y(own["value"] + own["spread"]), y.end, y.start)
    along = np.clip(x(bins["value"]), x.start, x.end)
    return {
        "bars": bars(places, low, high),
        "dots": dots(places, heights),
        "band": band(along, _inside(strip, bins["low"]), _inside(strip, bins["high"])),
        "middle": line(along, _inside(strip, bins["middle"])),
    }


def _inside(strip: Axis, values: pd.Series) -> np.ndarray:
    return np.clip(strip(values), strip.end, strip.start)


def _draw_axes(drawing: Drawing, x: Axis, y: Axis, strip: Axis, target: str, unit: str) -> None:
    drawing.axes(x, y, f"true {with_unit(target, unit)}", f"predicted {with_unit(target, unit)}")
    drawing.path(f"M{x.start:g} {y.start:g}L{x.end:g} {y.end:g}", "identity")
    ticks = next(found for most in (3, 4, 5, 8) if len(found := strip.ticks(most)) > 1)
    drawing.path("".join(f"M{x.start:g} {strip(t):g}H{x.end:g}" for t in ticks), "grid")
    for tick in ticks:
        drawing.text(x.start - 6, float(strip(tick)) + 4, number(tick), anchor="end")
    drawing.path(f"M{x.start:g} {strip(0.0):g}H{x.end:g}", "identity")
    drawing.add(
        '<text transform="translate(13 {y:g}) rotate(-90)" class="axis" text-anchor="middle">'
        "residual</text>",
        y=(strip.start + strip.end) / 2,
    )
    for tick in x.ticks():
        drawing.text(float(x(tick)), strip.start + 15, number(tick))
    label = f"predicted {with_unit(target, unit)}"
    drawing.text((x.start + x.end) / 2, strip.start + 33, label, "axis")


def _described(contender: str, table: pd.DataFrame, target: str, unit: str) -> str:
    return (
        f"Predictions of {target} by {contender} for {len(table):,} test crystals: mean absolute "
        f"error {table['error'].mean():.3g} {unit}, true values from {table['truth'].min():.3g} to "
        f"{table['truth'].max():.3g} {unit}."
    )


def _shared(
    kept: pd.DataFrame,
    aligned: Mapping[str, pd.DataFrame],
    outlines: Mapping[str, Mapping[str, str]],
    look: Mapping[str, Look],
    x: Axis,
    y: Axis,
    unit: str,
) -> dict[str, Any]:
    """Return the crystals once, and every contender's predictions of them."""
    return {
        "ids": [str(one) for one in kept.index],
        "formulas": [str(one) for one in kept["formula"]],
        "truth": compact(kept["truth"]),
        "unit": unit,
        "x": [x.low, x.high, x.start, x.end],
        "y": [y.low, y.high, y.start, y.end],
        "contenders": {
            name: {
                "look": look[name].color,
                "value": compact(own["value"]),
                "spread": compact(own["spread"], 2),
                "band": outlines[name]["band"],
                "middle": outlines[name]["middle"],
            }
            for name, own in aligned.items()
        },
    }
