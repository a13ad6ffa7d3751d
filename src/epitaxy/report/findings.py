"""What an audit found, and how a study was made, as tables and lists of whatever they hold."""

import json
from collections.abc import Mapping
from typing import Any

from epitaxy.report.page import Cell, Fold, Items, Pairs, Table, Text

MOST_ROWS, MOST_OPEN = 30, 10
LONGEST = 400


def found_by_audit(found: Any) -> list[Any]:
    """Return blocks for an audit's JSON: sentences, numbers, and lists of what was found."""
    if not found:
        return [Text("Nothing was found.", "quiet")]
    if isinstance(found, str):
        return [Text(found)]
    if isinstance(found, list):
        return [_listed("findings", found)]
    if not isinstance(found, Mapping):
        return [Text(plain(found))]
    short = {key: value for key, value in found.items() if not _long(value)}
    blocks: list[Any] = []
    if short:
        blocks.append(Pairs([(readable(key), plain(value)) for key, value in short.items()]))
    for key, value in found.items():
        if key in short:
            continue
        if isinstance(value, Mapping):
            pairs = [(readable(one), plain(held)) for one, held in value.items()]
            blocks.append(Fold(f"{readable(key)} ({len(value)})", [Pairs(pairs[:MOST_ROWS])]))
        elif len(value) <= MOST_OPEN:
            blocks.append(_listed(readable(key), value))
        else:
            blocks.append(Fold(f"{readable(key)} ({len(value)})", [_listed(readable(key), value)]))
    return blocks


def manifest_pairs(manifest: Mapping[str, Any]) -> Pairs:
    """Return a manifest as names and values; what is nested is written out."""
    return Pairs([(readable(name), plain(value)) for name, value in manifest.items()])


def readable(name: object) -> str:
    """Return a key as words.

    >>> readable("wall_time")
    'wall time'
    """
    return str(name).replace("_", " ")


def plain(value: Any) -> str:
    """Return a value as text: lines of ``key: value`` for what is nested."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        return "\n".join(f"{key}: {_short(one)}" for key, one in value.items())
    if isinstance(value, list) and all(not isinstance(one, list | dict) for one in value):
        return ", ".join(plain(one) for one in value)
    return _short(value)


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= LONGEST else text[:LONGEST] + "…"


def _long(value: Any) -> bool:
    if isinstance(value, list):
        return len(value) > 5 or any(isinstance(one, list | dict) for one in value)
    return isinstance(value, Mapping) and (len(value) > 8 or any(map(_nested, value.values())))


def _nested(value: Any) -> bool:
    return isinstance(value, list | Mapping)


def _listed(name: str, values: list[Any]) -> Any:
    said = "" if len(values) <= MOST_ROWS else f"The first {MOST_ROWS} of {len(values)}."
    values = values[:MOST_ROWS]
    if values and all(isinstance(one, Mapping) for one in values):
        keys = list(dict.fromkeys(key for one in values for key in one))
        rows = [[Cell(plain(one.get(key, "")), "long") for key in keys] for one in values]
        return Table(name, [readable(key) for key in keys], rows, [False] * len(keys), said)
    return Items([plain(one) for one in values] + ([said] if said else []))
