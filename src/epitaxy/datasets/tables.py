"""Tables that hold structures or name their files: out of CSV and JSON."""

import csv
import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from epitaxy.datasets.read_report import ReadLog
from epitaxy.datasets.structures import FILE_FORMS, file_named, is_structure, repeats
from epitaxy.errors import InputError, did_you_mean

_ID_COLUMNS = ("id", "material_id", "mpid", "jid", "identifier", "name")
MISSING = frozenset(("", "nan", "na", "n/a", "none", "null", "-"))


@dataclass(frozen=True)
class Request:
    """What the caller wants of a source: names of targets (None = all) and a column of ids.

    Where no target is wanted, columns of labels are not even looked at.
    """

    targets: tuple[str, ...] | None = None
    id_column: str | None = None


@dataclass(frozen=True)
class Table:
    """Columns of equal length with the row numbers by which people find them."""

    columns: Mapping[str, Sequence[Any]]
    rows: Sequence[int]
    file: str
    folder: Path


def structure_column(table: Table) -> str:
    """Return the first column that holds structures, else the first that names existing files."""
    if not table.rows:
        raise InputError(f"{table.file or 'the table'} has no rows: give it one per structure.")
    for looks_right in (
        is_structure,
        lambda cell: isinstance(cell, str) and file_named(cell, table.folder) is not None,
    ):
        for name, cells in table.columns.items():
            if any(looks_right(cell) for cell in list(cells)[:50]):
                return name
    raise InputError(
        f"{table.file or 'the table'} has no column of structures: one of its columns "
        f"({', '.join(table.columns)}) must hold file names relative to {table.folder}, CIF text, "
        "or structures of ASE or pymatgen."
    )


def ids_of_rows(
    table: Table, structures: str, request: Request, log: ReadLog
) -> Sequence[str | None]:
    """Return what names each row: the column asked for, one of the usual, or the file names.

    A column ``name`` is passed over, with a note, where two rows share a name: polymorphs do.
    """
    wanted = request.id_column
    if wanted is not None and wanted not in table.columns:
        raise InputError(f"no column '{wanted}' for the ids. {did_you_mean(wanted, table.columns)}")
    named = wanted or _usual_column_of_ids(table, structures, log)
    if named is None and all(
        isinstance(cell, str) and "\n" not in cell and not cell.lstrip().startswith("{")
        for cell in table.columns[structures]
    ):
        named = structures
    if named is None:
        return [None] * len(table.rows)
    cells = table.columns[named]
    if named != structures:
        return [_text(cell) for cell in cells]
    return [Path(cell).stem if Path(cell).suffix in FILE_FORMS else str(cell) for cell in cells]


def _usual_column_of_ids(table: Table, structures: str, log: ReadLog) -> str | None:
    folded = {name.lower(): name for name in table.columns}
    usual = next((name for name in _ID_COLUMNS if name in folded), None)
    if usual is None:
        return None
    named = folded[usual]
    shared = usual == "name" and repeats([_text(cell) for cell in table.columns[named]])
    if not shared or named == structures:
        return named
    log.note(
        f"column '{named}' holds a name twice, so the crystals have their ids from their files or "
        "rows: choose a column with id_column."
    )
    return None


def _text(cell: Any) -> str | None:
    return None if cell is None or cell != cell or cell == "" else str(cell)


def csv_table(path: Path, request: Request) -> Table:
    """Return the cells of a CSV file as text; ``id_prop.csv`` needs no header."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as UTF-8 text: {error}") from error
    first = text.splitlines()[0] if text.strip() else ""
    if not first:
        raise InputError(f"{path} is empty.")
    delimiter = max(",;\t", key=first.count)
    longest = csv.field_size_limit(max(len(text) + 1, 131072))
    try:
        rows, lines, start = [], [], 1
        reader = csv.reader(text.splitlines(keepends=True), delimiter=delimiter)
        for cells in reader:
            if any(cell.strip() for cell in cells):
                rows.append([cell.strip() for cell in cells])
                lines.append(start)
            start = reader.line_num + 1
    except csv.Error as error:
        raise InputError(f"{path}, line {start}: {error}") from error
    finally:
        csv.field_size_limit(longest)
    header = rows[0]
    for cells, line in zip(rows, lines, strict=True):
        if any(cells[len(header) :]):
            raise InputError(
                f"{path}, line {line} has {len(cells)} cells, and the first line {len(header)}: "
                "put texts with a comma into quotation marks, and write decimals with a point."
            )
    if path.name == "id_prop.csv" and not _is_header(header, path.parent):
        header = ["id", *_names_of_values(path, len(header) - 1, request)]
    else:
        rows, lines = rows[1:], lines[1:]
    doubled = next((name for name in header if header.count(name) > 1), None)
    if doubled is not None:
        raise InputError(f"{path} has two columns named '{doubled}': rename one.")
    columns = {
        name: [cells[position] if position < len(cells) else "" for cells in rows]
        for position, name in enumerate(header)
    }
    return Table(columns, lines, str(path), path.parent)


def _names_of_values(path: Path, count: int, request: Request) -> list[str]:
    """Return names for the columns of a table without header: the caller's, if as many."""
    if not request.targets:
        return ["target"] if count == 1 else [f"target_{k}" for k in range(1, count + 1)]
    if len(request.targets) != count:
        raise InputError(
            f"{path} has no header and {count} columns of values, but {len(request.targets)} "
            f"targets were asked for ({', '.join(request.targets)}): name all columns in their "
            "order, or give the file a header and the name targets.csv."
        )
    return list(request.targets)


def _is_header(first: Sequence[str], folder: Path) -> bool:
    """Return whether a first row names columns: it has no file, no number, but words."""
    if file_named(first[0], folder) is not None or any(_is_numeric(cell) for cell in first[1:]):
        return False
    return any(cell.lower() not in MISSING for cell in first[1:])


def _is_numeric(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def json_table(path: Path) -> Table:
    """Return the structures of pymatgen's JSON as a table, whichever of its forms they are in."""
    return _as_table(_json_content(path), path)


def _json_content(path: Path) -> Any:
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as file:
            return json.load(file)
    except (ValueError, OSError, EOFError) as error:
        raise InputError(f"{path} is no JSON: {error}") from error


def _as_table(content: Any, path: Path) -> Table:
    def table(columns: Mapping[str, Sequence[Any]], count: int) -> Table:
        return Table(columns, range(count), str(path), path.parent)

    if is_structure(content):
        return table({"structure": [content], "id": [path.name.split(".")[0]]}, 1)
    if isinstance(content, dict) and {"columns", "data"} <= content.keys():
        rows = content["data"]
        columns = {str(n): [r[k] for r in rows] for k, n in enumerate(content["columns"])}
        if "index" in content and not {"id", "material_id"} & columns.keys():
            columns["id"] = [str(entry) for entry in content["index"]]
        return table(columns, len(rows))
    if isinstance(content, dict) and all(isinstance(v, dict) for v in content.values()):
        records = [_record(value) | {"id": key} for key, value in content.items()]
    elif isinstance(content, list) and all(isinstance(value, dict) for value in content):
        records = [_record(value) for value in content]
    else:
        records = []
    if not records:
        raise InputError(
            f"{path} holds no structures: known are one structure as a dictionary, a list of them, "
            "{id: structure}, a list of records with a structure each, and MatBench's "
            "{index, columns, data}."
        )
    names = dict.fromkeys(name for record in records for name in record)
    return table({n: [record.get(n) for record in records] for n in names}, len(records))


def _record(value: dict[str, Any]) -> dict[str, Any]:
    return {"structure": value} if is_structure(value) else value
