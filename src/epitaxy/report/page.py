"""A page made of sections and blocks: one file with its style and its one script inside.

The page forbids itself to load anything and to run any script but its own (by hash), so text
that should have been escaped could still do nothing.
"""

import base64
import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import jinja2
import pandas as pd
from markupsafe import Markup

from epitaxy.report.charts.frame import Chart
from epitaxy.report.palette import theme
from epitaxy.report.tables import readable

LONG_VERDICT = 360  # characters


@dataclass(frozen=True)
class Cell:
    """A cell of a table; ``tone`` shades it, ``tag`` in small says the same, ``under`` is below."""

    text: str
    tone: str = ""
    tag: str = ""
    under: str = ""


@dataclass(frozen=True)
class Text:
    """A paragraph; ``tone`` is empty, ``quiet`` or ``warning``."""

    words: str
    tone: str = ""
    kind: ClassVar[str] = "text"


@dataclass(frozen=True)
class Items:
    """A list of sentences."""

    sentences: Sequence[str]
    kind: ClassVar[str] = "items"


@dataclass(frozen=True)
class Pairs:
    """Names and what belongs to them."""

    pairs: Sequence[tuple[str, str]]
    kind: ClassVar[str] = "pairs"


@dataclass(frozen=True)
class Table:
    """A table; a script makes it sortable by its headings."""

    caption: str
    headings: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    numeric: Sequence[bool]
    note: str = ""
    kind: ClassVar[str] = "table"


@dataclass(frozen=True)
class Charts:
    """Charts side by side, as many as there is room for, with a line above."""

    charts: Sequence[Chart]
    controls: Sequence[dict[str, Any]] = ()
    caption: str = ""
    kind: ClassVar[str] = "charts"


@dataclass(frozen=True)
class Image:
    """A picture from a PNG or SVG file, as a data address."""

    source: str
    caption: str
    kind: ClassVar[str] = "image"


@dataclass(frozen=True)
class Fold:
    """Blocks behind a line that opens them; open when printed."""

    line: str
    blocks: Sequence[Any]
    kind: ClassVar[str] = "fold"


@dataclass(frozen=True)
class Section:
    """A heading with its blocks; ``level`` 3 stands below the last of level 2."""

    title: str
    name: str
    blocks: Sequence[Any]
    level: int = 2
    short: str = ""


def table_of(caption: str, records: pd.DataFrame) -> Table:
    """Return a table of records as the house writes numbers: intervals in one cell, units above."""
    told = readable(records)
    return Table(
        caption,
        told.headings,
        [[Cell(cell) for cell in row] for row in told.rows],
        told.numeric,
        told.caption,
    )


def render(
    title: str,
    verdict: str,
    sections: Sequence[Section],
    kind: str = "run",
    under: Sequence[str] = (),
) -> str:
    """Return the page; all text in it is escaped. A long verdict is listed part by part."""
    parts = verdict.split("; ") if len(verdict) > LONG_VERDICT else [verdict]
    script = _source("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        _environment()
        .get_template("page.html")
        .render(
            title=title,
            kind=kind,
            verdict=parts,
            under=list(under),
            sections=sections,
            style=Markup(theme() + _source("page.css")),
            script=Markup(script),
            script_hash=digest,
        )
    )


def write_page(folder: Path | str, page: str) -> Path:
    """Write ``index.html`` into the folder by way of a temporary file, and return its path."""
    path = Path(folder) / "index.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".index.html.{os.getpid()}.part")
    partial.write_text(page, encoding="utf-8")
    os.replace(partial, path)
    return path


def _source(name: str) -> str:
    return (Path(__file__).parent / "templates" / name).read_text(encoding="utf-8")


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("epitaxy.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["minus"] = _with_minus
    environment.filters["prose"] = _prose
    return environment


def _prose(sentence: str) -> str:
    """Return a sentence with real minus signs, and percents that stay with their number."""
    with_minus = re.sub(r"(?<![^\s(])-(?=\d)", "\N{MINUS SIGN}", sentence)
    return with_minus.replace(" %", "\N{NO-BREAK SPACE}%")


def _with_minus(number: str) -> str:
    """Return a number's text with the minus sign that is as wide as a digit."""
    return number.replace("-", "\N{MINUS SIGN}")
