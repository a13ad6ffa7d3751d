"""Representations in two dimensions, several pre-trainings side by side on the same crystals."""

from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from epitaxy.report.charts.frame import Chart, Drawing, compact, marker, number
from epitaxy.report.residuals import commonest, evenly

SIDE, STEPS, GRID = 252.0, 8, 999
MOST_ELEMENTS = 7  # with a color and a mark of their own; the others are gray dots
SHAPES = ("circle", "square", "triangle", "diamond", "plus", "cross", "circle")
METHODS = {"pca": "PCA", "tsne": "t-SNE", "umap": "UMAP"}
CODES = "0123456789"


def maps(name: str, table: pd.DataFrame, target: str, unit: str, most: int) -> list[Chart]:
    """Draw one panel per pre-training; a script changes method and color.

    ``table`` has the rows of one task. Panels show the same crystals, at most ``most``, and a
    script marks the crystal under the pointer in all of them. Colors of numbers are eighths of
    the crystals, so that a few extreme values do not take the whole scale.
    """
    methods = [one for one in METHODS if one in set(table["method"])]
    methods += sorted(set(table["method"]) - set(methods))
    pretrainings = list(dict.fromkeys(table["pretraining"]))
    first = table.drop_duplicates("id").set_index("id")
    kept = first.iloc[evenly(len(first), most)]
    colors = _colors(kept, target, unit)
    panels = {
        (pretraining, method): _places(table, pretraining, method, kept.index)
        for pretraining in pretrainings
        for method in methods
    }
    chosen = next(iter(colors))
    said = (
        "" if len(kept) == len(first) else f" {len(kept):,} of {len(first):,} crystals are shown."
    )
    charts = []
    for place, pretraining in enumerate(pretrainings):
        x, y = panels[pretraining, methods[0]]
        drawing = Drawing(SIDE, SIDE + 14, f"{name}-{place}")
        word = METHODS.get(methods[0], methods[0])
        drawing.path(f"M4 4V{SIDE:g}H{SIDE - 4:g}", "grid")
        drawing.text(SIDE - 6, SIDE + 11, f"{word} 1", "tick word", "end")
        drawing.add(
            '<text transform="translate(2 8) rotate(-90)" class="tick word" text-anchor="end" '
            'dy="13">{word} 2</text>',
            word=word,
        )
        drawing.parts.append(Markup('<g data-part="map">'))
        for code, outline in _outlines(x, y, colors[chosen]["codes"]).items():
            drawing.path(outline, f"dots large r{code}")
        drawing.parts.append(Markup("</g>"))
        charts.append(
            Chart(
                svg=drawing.svg(
                    f"Map of {pretraining}",
                    f"{len(kept):,} crystals by {METHODS.get(methods[0], methods[0])}, colored by "
                    f"{colors[chosen]['name']}.",
                    "map",
                ),
                caption="",
                data={"kind": "map", "from": name, "pretraining": pretraining},
                title=pretraining,
            )
        )
    shared = {
        "ids": [str(one) for one in kept.index],
        "formulas": [str(one) for one in kept["formula"]],
        "told": {
            key: {"name": one["name"], "values": one["values"]} for key, one in colors.items()
        },
        "codes": {key: one["codes"] for key, one in colors.items()},
        "panels": {
            f"{pretraining}\n{method}": {"x": _whole(x), "y": _whole(y)}
            for (pretraining, method), (x, y) in panels.items()
        },
        "side": SIDE,
        "names": {one: METHODS.get(one, one) for one in methods},
    }
    charts[0] = Chart(
        **{
            **vars(charts[0]),
            "data": {**charts[0].data, "shared": shared},
            "caption": f"Axes of PCA are its first two components; those of the others have no "
            f"meaning, and none have a unit.{said}",
            "controls": [
                {
                    "label": "method",
                    "key": "method",
                    "options": methods,
                    "names": [METHODS.get(one, one) for one in methods],
                    "chosen": methods[0],
                },
                {
                    "label": "color",
                    "key": "color",
                    "options": list(colors),
                    "names": [one["name"] for one in colors.values()],
                    "chosen": chosen,
                    "legends": [one["legend"] for one in colors.values()],
                },
            ],
        }
    )
    return charts


def _colors(kept: pd.DataFrame, target: str, unit: str) -> dict[str, dict[str, Any]]:
    """Return what dots may be colored by: a code for each crystal, its text, and a legend."""
    label = target.replace("_", " ") + (f" [{unit}]" if unit else "")
    named = {"value": label, "density": "density [g/cm³]"}
    found: dict[str, dict[str, Any]] = {}
    for key, name in named.items():
        values = kept[key].to_numpy(dtype=float)
        known = values[np.isfinite(values)]
        if not len(known):
            continue
        edges = np.quantile(known, np.linspace(0.0, 1.0, STEPS + 1))
        step = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, STEPS - 1)
        codes = np.where(np.isfinite(values), step, 9)
        found[key] = {
            "name": name,
            "values": compact(values),
            "codes": "".join(CODES[code] for code in codes),
            "legend": [
                {"kind": f"r{s}", "shape": "square", "text": f"{number(_3(a))} to {number(_3(b))}"}
                for s, (a, b) in enumerate(pairwise(edges))
            ],
        }
    if (kept["element"] != "").any():
        common = commonest(kept["element"], MOST_ELEMENTS)
        place = {symbol: rank for rank, symbol in enumerate(common)}
        found["element"] = {
            "name": "commonest element",
            "values": [str(one) for one in kept["element"]],
            "codes": "".join(CODES[place.get(one, 9)] for one in kept["element"]),
            "legend": [
                {"kind": f"s{rank}", "shape": SHAPES[rank], "text": symbol}
                for symbol, rank in place.items()
            ]
            + [{"kind": "rest", "shape": "circle", "text": "others"}],
        }
    if not found:
        found["value"] = {
            "name": "no value",
            "values": [None] * len(kept),
            "codes": "9" * len(kept),
            "legend": [],
        }
    for one in found.values():
        one["legend"] = [_swatch(**entry) for entry in one["legend"]]
    return found


def _3(value: float) -> float:
    return float(f"{value:.3g}")


def _swatch(kind: str, shape: str, text: str) -> dict[str, Any]:
    drawn = Markup(
        '<svg width="14" height="14" viewBox="0 0 14 14" aria-hidden="true">'
        '<path d="{d}" class="mark {kind}"/></svg>'
    ).format(d=marker(shape, 7, 7, 3.8), kind=kind)
    return {"drawn": drawn, "name": text, "tag": ""}


def _places(
    table: pd.DataFrame, pretraining: str, method: str, ids: pd.Index
) -> tuple[np.ndarray, np.ndarray]:
    """Return places from 0 to 999; NaN where this pre-training has no such crystal."""
    own = table[(table["pretraining"] == pretraining) & (table["method"] == method)]
    own = own.drop_duplicates("id").set_index("id").reindex(ids)
    scaled = []
    for axis, sign in (("x", 1.0), ("y", -1.0)):
        values = sign * own[axis].to_numpy(dtype=float)
        known = values[np.isfinite(values)]
        low, high = (known.min(), known.max()) if len(known) else (0.0, 1.0)
        scaled.append(np.round(GRID * (values - low) / (high - low or 1.0)))
    return scaled[0], scaled[1]


def _whole(values: np.ndarray) -> list[int | None]:
    return [int(value) if np.isfinite(value) else None for value in values]


def _outlines(x: np.ndarray, y: np.ndarray, codes: str) -> dict[str, str]:
    """Return a path of dots for each color; the script draws by the same rule."""
    scale = (SIDE - 16) / GRID
    paths: dict[str, list[str]] = {}
    for a, b, code in zip(x, y, codes, strict=True):
        if np.isfinite(a) and np.isfinite(b):
            paths.setdefault(code, []).append(f"M{8 + a * scale:.1f} {8 + b * scale:.1f}h0")
    return {code: "".join(paths[code]) for code in sorted(paths)}
