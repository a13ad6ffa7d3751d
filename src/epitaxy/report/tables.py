"""Turn a table of numbers into one that reads: intervals in one cell, units in the heading."""

import math
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from epitaxy.evaluation.statistics import rounded

HEADINGS = {
    "mae": "MAE",
    "rmse": "RMSE",
    "r_squared": "R²",
    "difference": "MAE saved",
    "improvement": "improvement [%]",
    "wins": "crystals won [%]",
}
SHARED = {
    "target": "target",
    "seeds": "seeds",
    "train": "training crystals",
    "test": "test crystals",
}
IN_UNIT_OF_TARGET = ("mae", "rmse", "difference")
MISSING = "–"


@dataclass(frozen=True)
class ReadableTable:
    """Headings, rows of text, which columns hold numbers, and what all rows share."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: tuple[bool, ...]
    caption: str


def readable(table: pd.DataFrame) -> ReadableTable:
    """Fold `x`, `x_low`, `x_high` into one column and write every number with fitting decimals.

    What is the same in every row leaves its column: the unit for the headings; target, seeds and
    numbers of crystals for the caption. Columns without any value are left out.
    """
    unit = _common_unit(table)
    shared = [name for name in SHARED if name in table and table[name].nunique(dropna=False) == 1]
    shown = [
        column
        for column in map(str, table.columns)
        if not _is_bound(column, table)
        and column not in shared
        and not (column == "unit" and unit is not None)
        and table[column].notna().any()
    ]
    cells = [_cells(table, column) for column in shown]
    return ReadableTable(
        headings=tuple(_heading(column, unit) for column in shown),
        rows=tuple(zip(*cells, strict=True)),
        numeric=tuple(pd.api.types.is_numeric_dtype(table[column]) for column in shown),
        caption=", ".join(
            f"{SHARED[name]}: {_cell(table[name].iloc[0])}"
            for name in shared
            if table[name].notna().all()
        ),
    )


def rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a table's rows, each as column → value."""
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def _stem(column: str) -> str:
    return column.removesuffix("_percent")


def _is_bound(column: str, table: pd.DataFrame) -> bool:
    for suffix in ("_low", "_high"):
        stem = column.removesuffix(suffix)
        if stem != column and (stem in table.columns or f"{stem}_percent" in table.columns):
            return True
    return False


def _common_unit(table: pd.DataFrame) -> str | None:
    if "unit" not in table.columns or table["unit"].nunique() != 1:
        return None
    return str(table["unit"].iloc[0])


def _heading(column: str, unit: str | None) -> str:
    stem = _stem(column)
    heading = HEADINGS.get(stem, stem.replace("_", " "))
    if column.endswith("_percent") and stem not in HEADINGS:
        heading += " [%]"
    return f"{heading} [{unit}]" if unit and stem in IN_UNIT_OF_TARGET else heading


def _cells(table: pd.DataFrame, column: str) -> list[str]:
    low, high = f"{_stem(column)}_low", f"{_stem(column)}_high"
    if low in table.columns and high in table.columns:
        bounds = zip(table[column], table[low], table[high], strict=True)
        return [_interval(*map(float, row)) for row in bounds]
    return [_cell(value) for value in table[column]]


def _interval(value: float, low: float, high: float) -> str:
    if math.isnan(value):
        return MISSING
    if math.isnan(low) or math.isnan(high):
        return f"{value:.4g}"
    middle, lower, upper = rounded(value, low, high, width=high - low)
    return f"{middle} ({lower} to {upper})"


def _cell(value: object) -> str:
    if value is None or value is pd.NA or value is pd.NaT:
        return MISSING
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, int | np.integer):
        return f"{value:,}"
    if isinstance(value, float | np.floating):
        return MISSING if np.isnan(value) else f"{value:.4g}"
    return str(value)


def write_tables(folder: Path, results: pd.DataFrame) -> list[Path]:
    """Write the results as CSV with every digit, and as Markdown and LaTeX to read."""
    if results.empty:
        return []
    shown = results.dropna(axis=1, how="all")
    told = readable(shown)
    return [
        _write(folder / "results.csv", results.to_csv(index=False)),
        _write(folder / "results.md", markdown(told)),
        _write(folder / "results.tex", latex(told)),
    ]


def markdown(table: ReadableTable) -> str:
    """Return the table as Markdown."""
    rule = ["--:" if numeric else "---" for numeric in table.numeric]
    rows = [[re.sub(r"([\\|])", r"\\\1", cell) for cell in row] for row in table.rows]
    lines = [f"| {' | '.join(row)} |" for row in (table.headings, rule, *rows)]
    return "\n".join([*lines, *(["", table.caption] if table.caption else [])]) + "\n"


def latex(table: ReadableTable) -> str:
    """Return the table as LaTeX's tabular, for the package booktabs."""
    columns = "".join("r" if numeric else "l" for numeric in table.numeric)
    rows = [" & ".join(map(_tex, row)) + r" \\" for row in (table.headings, *table.rows)]
    lines = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", rows[0], r"\midrule", *rows[1:]]
    words = " ".join(table.caption.split())
    caption = [f"% {words}"] if words else []
    return "\n".join([*caption, *lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _tex(text: str) -> str:
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    special |= {one: f"\\{one}" for one in "&%$#_{}"}
    special |= {"²": "$^2$", "³": "$^3$", "Å": r"\AA{}", MISSING: "--"}
    return "".join(special.get(character, character) for character in text)


def _write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)
    return path
