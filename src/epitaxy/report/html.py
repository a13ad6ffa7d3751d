"""The page of a run: one file that can be mailed, with everything in it."""

import base64
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import jinja2
import pandas as pd

from epitaxy.errors import InputError
from epitaxy.report.tables import readable

MEDIA_TYPES = {".svg": "image/svg+xml", ".png": "image/png"}


def write_report(
    folder: Path | str,
    title: str,
    verdict: str,
    tables: Mapping[str, pd.DataFrame],
    figures: Mapping[str, Path | str],
    notes: Sequence[str] = (),
    manifest: Mapping[str, object] | None = None,
) -> Path:
    """Write `index.html` into the folder and return its path.

    Tables and figures are shown in the order given, under their keys as captions. A figure is
    the path of a PNG or SVG file, and is embedded. All text is escaped.
    """
    page = _template().render(
        title=title,
        verdict=verdict.replace(" %", "\N{NO-BREAK SPACE}%"),
        tables=[(caption, readable(table)) for caption, table in tables.items()],
        figures=[(caption, _embedded(Path(path))) for caption, path in figures.items()],
        notes=list(notes),
        manifest=[(str(name), _plain(value)) for name, value in (manifest or {}).items()],
    )
    path = Path(folder) / "index.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name("index.html.partial")
    partial.write_text(page, encoding="utf-8")
    os.replace(partial, path)
    return path


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("epitaxy.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["minus"] = _with_minus
    return environment.get_template("run.html")


def _with_minus(number: str) -> str:
    """Return a number's text with the minus sign that is as wide as a digit."""
    return number.replace("-", "\N{MINUS SIGN}")


def _embedded(path: Path) -> str:
    if path.suffix not in MEDIA_TYPES:
        raise InputError(f"The figure {path} is neither PNG nor SVG; save it as one of them.")
    if not path.is_file():
        raise InputError(f"The figure {path} does not exist; save it before writing the report.")
    content = base64.b64encode(path.read_bytes()).decode("ascii")
    return f"data:{MEDIA_TYPES[path.suffix]};base64,{content}"


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
