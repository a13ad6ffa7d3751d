"""The spread over seeds against the errors, and how often its intervals cover the truth."""

from collections.abc import Iterable, Mapping

from markupsafe import Markup

from epitaxy.report.calibration import Calibration
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
    swatch,
    with_unit,
)

WIDTH, SIDE = 352.0, 276.0
Told = tuple[list[float], list[float], list[str]]


def calibrations(
    name: str, found: Mapping[str, Calibration], unit: str, look: Mapping[str, Look]
) -> list[Chart]:
    """Draw both sides of the calibration of some contenders; a perfect one is on the diagonal."""
    there: Told = ([], [], [])
    held: Told = ([], [], [])
    legend = [swatch(one, look[one]) for one in found]
    return [
        Chart(
            _against_spread(f"{name}-spread", found, unit, look, there),
            "Root mean square error of crystals with about the same spread over seeds; "
            "lines are 95 % intervals. Above the dashed line the spread is too small.",
            points(*there),
            legend,
            title="Error against spread",
        ),
        Chart(
            _coverage(f"{name}-coverage", found, look, held),
            "Share of true values inside intervals made from the spread, against the share that "
            "is meant to be; shaded: 95 % intervals. Below the dashed line they are too narrow.",
            points(*held),
            legend,
            title="Coverage",
        ),
    ]


def _against_spread(
    name: str,
    found: Mapping[str, Calibration],
    unit: str,
    look: Mapping[str, Look],
    there: Told,
) -> Markup:
    drawing = Drawing(WIDTH, SIDE + 54, name)
    every = [v for c in found.values() for v in (*c.bins["spread"], *c.bins["rmse"])]
    low, high = min(every) / 1.3, max(every) * 1.3
    x = Axis(low, high, 62, 62 + SIDE, log=True)
    y = Axis(low, high, 12 + SIDE, 12, log=True)
    drawing.axes(x, y, with_unit("spread over seeds", unit), with_unit("RMSE", unit))
    drawing.path(f"M{x.start:g} {y.start:g}L{x.end:g} {y.end:g}", "identity")
    for one, calibration in found.items():
        bins, kind = calibration.bins, look[one].kind
        places, heights = x(bins["spread"]), y(bins["rmse"])
        ends = [y(bins[bound].clip(low, high)) for bound in ("rmse_low", "rmse_high")]
        drawing.path(bars(places, *ends), f"bar strong {kind}")
        drawing.path(line(places, heights), f"line {kind}", look[one].extra)
        marks = [marker(look[one].marker, *at) for at in zip(places, heights, strict=True)]
        drawing.path("".join(marks), f"mark {kind}")
        _tell(
            there,
            places,
            heights,
            [
                f"{one}\nspread {row.spread:.3g} {unit}\nRMSE {row.rmse:.3g} {unit} "
                f"({row.rmse_low:.3g} to {row.rmse_high:.3g})\n{row.crystals} crystals"
                for row in bins.itertuples()
            ],
        )
    said = " ".join(f"{one}: {calibration}" for one, calibration in found.items())
    return drawing.svg("Error against the spread over seeds", said)


def _coverage(
    name: str,
    found: Mapping[str, Calibration],
    look: Mapping[str, Look],
    there: Told,
) -> Markup:
    drawing = Drawing(WIDTH, SIDE + 54, name)
    x = Axis(0.0, 100.0, 62, 62 + SIDE)
    y = Axis(0.0, 100.0, 12 + SIDE, 12)
    drawing.axes(x, y, "meant to be covered [%]", "covered [%]")
    drawing.path(f"M{x.start:g} {y.start:g}L{x.end:g} {y.end:g}", "identity")
    for one, calibration in found.items():
        table, kind = 100.0 * calibration.coverage, look[one].kind
        places, heights = x(table["expected"]), y(table["observed"])
        low, high = y(table["observed_low"]), y(table["observed_high"])
        drawing.path(band(places, low, high), f"band {kind}")
        drawing.path(line(places, heights), f"line {kind}", look[one].extra)
        marks = [marker(look[one].marker, *at, 3.4) for at in zip(places, heights, strict=True)]
        drawing.path("".join(marks), f"mark {kind}")
        _tell(
            there,
            places,
            heights,
            [
                f"{one}\nmeant to cover {row.expected:.0f} %\ncovers {row.observed:.0f} % "
                f"({row.observed_low:.0f} to {row.observed_high:.0f} %)"
                for row in table.itertuples()
            ],
        )
    said = " ".join(
        f"{one}: {100 * c.covered:.0f} % where 95 % are meant." for one, c in found.items()
    )
    return drawing.svg("Coverage of the spread over seeds", said)


def _tell(there: Told, x: Iterable[float], y: Iterable[float], text: Iterable[str]) -> None:
    there[0].extend(x)
    there[1].extend(y)
    there[2].extend(text)
