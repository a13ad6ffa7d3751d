"""The page of a run: one file that can be mailed, with everything in it."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from epitaxy.errors import InputError
from epitaxy.report.findings import manifest_pairs
from epitaxy.report.page import Fold, Image, Items, Section, render, table_of, write_page

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
    images = [Image(embedded(Path(path)), caption) for caption, path in figures.items()]
    sections = [
        Section("Tables", "tables", [table_of(caption, table) for caption, table in tables.items()])
    ]
    if images:
        sections.append(Section("Figures", "figures", images))
    made: list[Any] = [Items(notes)] if notes else []
    if manifest:
        made.append(Fold("How this run was made", [manifest_pairs(manifest)]))
    if made:
        sections.append(Section("Notes", "notes", made))
    shown = [section for section in sections if section.blocks]
    return write_page(folder, render(title, verdict, shown))


def embedded(path: Path) -> str:
    """Return a picture as an address that holds it; raises InputError where there is none."""
    if path.suffix not in MEDIA_TYPES:
        raise InputError(f"The figure {path} is neither PNG nor SVG; save it as one of them.")
    if not path.is_file():
        raise InputError(f"The figure {path} does not exist; save it before writing the report.")
    content = base64.b64encode(path.read_bytes()).decode("ascii")
    return f"data:{MEDIA_TYPES[path.suffix]};base64,{content}"
