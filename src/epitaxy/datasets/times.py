"""When crystals were found: years or dates, out of a table or given."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from jaxtyping import Float
from numpy import ndarray

from epitaxy.datasets.read_report import ReadLog
from epitaxy.datasets.tables import (
    MISSING,
    Request,
    Table,
    csv_table,
    ids_of_rows,
    json_table,
    structure_column,
)
from epitaxy.errors import InputError, did_you_mean


def as_times(values: Sequence[Any], ids: Sequence[str]) -> Float[ndarray, " crystals"]:
    """Return years, other numbers, or dates (text such as 2019-03-01, or objects) as numbers.

    Dates become days. Raises InputError that names the first crystals without a time that can be
    read.
    """
    if len(values) != len(ids):
        raise InputError(f"{len(values)} times for {len(ids)} crystals: give one for each.")
    known = [not _is_missing(value) for value in values]
    numbers = [_as_number(value) for value in values]
    if any(there and number is None for there, number in zip(known, numbers, strict=True)):
        numbers = [_as_days(value) for value in values]
    lost = [p for p, number in enumerate(numbers) if number is None or not known[p]]
    if lost:
        shown = ", ".join(f"'{ids[place]}' ({values[place]!r})" for place in lost[:5])
        raise InputError(
            f"{len(lost)} crystals have no year or date that can be read: {shown}. Write years as "
            "numbers or dates as 2019-03-01, and leave out crystals without one."
        )
    return np.array(numbers, dtype=np.float64)


def column_of_times(source: str | Path, column: str, ids: Sequence[str]) -> list[Any]:
    """Return the cells of a table's column for the crystals with these ids; None without one.

    The table is a CSV, JSON or Parquet file, or the CSV file in a folder of structures.
    """
    table = _table(Path(source))
    if column not in table.columns:
        raise InputError(
            f"no column '{column}' in {table.file}. {did_you_mean(column, table.columns)}"
        )
    if "id" in table.columns:
        names: Sequence[Any] = [str(name) for name in table.columns["id"]]
    else:
        names = ids_of_rows(table, structure_column(table), Request(()), ReadLog())
    cells = dict(zip(names, table.columns[column], strict=True))
    return [cells.get(name) for name in ids]


def _table(path: Path) -> Table:
    if path.is_dir():
        tables = [path / name for name in ("targets.csv", "id_prop.csv")]
        found = [table for table in tables if table.is_file()]
        if not found:
            raise InputError(f"the folder {path} has no targets.csv or id_prop.csv with dates.")
        path = found[0]
    if path.suffix.lower() == ".csv":
        return csv_table(path, Request(()))
    if path.suffix.lower() == ".parquet":
        read = pq.read_table(path)
        columns = {name: read.column(name).to_pylist() for name in read.column_names}
        return Table(columns, range(len(read)), str(path), path.parent)
    if path.name.lower().endswith((".json", ".json.gz")):
        return json_table(path)
    raise InputError(
        f"a column of dates is read from CSV, JSON or Parquet, not from {path}: give `times`."
    )


def _is_missing(value: Any) -> bool:
    return value is None or str(value).strip().lower() in (*MISSING, "nat")


def _as_number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if np.isfinite(number) else None


def _as_days(value: Any) -> float | None:
    text = value.isoformat() if hasattr(value, "isoformat") else str(value).strip()
    try:
        moment = np.datetime64(text[:19].removesuffix("Z"), "s")  # the time zone does not matter
    except ValueError:
        return None
    return None if np.isnat(moment) else float(moment.astype(np.int64)) / 86400.0
