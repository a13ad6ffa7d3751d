"""One reader per form of source: structures, where they stood, and a table's raw cells."""

import contextlib
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from epitaxy.crystals.crystals import Crystals, cat
from epitaxy.crystals.exchange import (
    TargetDeclaration,
    from_arrow,
    from_ase,
    from_pymatgen,
    is_mapped_form,
    open_arrow,
)
from epitaxy.datasets.progress import with_progress
from epitaxy.datasets.read_report import ReadLog
from epitaxy.datasets.structures import (
    FILE_FORMS,
    STRUCTURE_FORMS,
    MissingPackageError,
    is_structure_file,
    parsed_structure,
    structures_in_file,
)
from epitaxy.datasets.tables import (
    Request,
    Table,
    csv_table,
    ids_of_rows,
    json_table,
    structure_column,
)
from epitaxy.errors import InputError, RowsError

_FOLDER_TABLES = ("targets.csv", "id_prop.csv")


@dataclass(frozen=True)
class Origin:
    """Where a crystal stood."""

    file: str
    row: int | None

    def __str__(self) -> str:
        places = [self.file] if self.file else []
        places += [f"row {self.row}"] if self.row is not None else []
        return ", ".join(places) or "the first structure"


@dataclass(frozen=True)
class Harvest:
    """Crystals with their origins, and the cells of a table: name → one raw cell per crystal.

    ``screened`` says that the crystals are not to be looked through: they are mapped, not read.
    """

    crystals: Crystals
    origins: Sequence[Origin]
    columns: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    screened: bool = False


@dataclass(frozen=True)
class _Item:
    structure: Any
    id: str
    origin: Origin
    cells: Mapping[str, Any] = field(default_factory=dict)


def read_structure_file(path: Path, request: Request, log: ReadLog) -> Harvest:
    """Read one CIF, POSCAR, (extended) XYZ file or ASE database."""
    return _harvest(_items_of_file(path, log), request, log)


def read_structure_files(paths: Sequence[Path], request: Request, log: ReadLog) -> Harvest:
    """Read several structure files without a table."""
    files = with_progress(paths, "reading structures", len(paths))
    items = (item for path in files for item in _items_of_file(Path(path), log))
    return _harvest(items, request, log)


def read_folder(folder: Path, request: Request, log: ReadLog) -> Harvest:
    """Read a folder of structure files, with ``id_prop.csv`` or ``targets.csv`` if there is one."""
    files = sorted(path for path in folder.iterdir() if is_structure_file(path))
    if not files:
        raise InputError(
            f"the folder {folder} holds no structure files ({STRUCTURE_FORMS}). Name the one file "
            "to be read if it is a table, a database or an Arrow file."
        )
    if request.targets == ():  # no label is wanted, so none needs to be there
        return read_structure_files(files, request, log)
    tables = sorted(folder.glob("*.csv"))
    found = [path for path in tables if path.name in _FOLDER_TABLES]
    if others := [path.name for path in tables if path not in found]:
        log.note(
            f"{', '.join(others)} {'is' if len(others) == 1 else 'are'} ignored: targets are read "
            f"from {' or '.join(_FOLDER_TABLES)}."
        )
    if len(found) > 1:
        raise InputError(
            f"the folder {folder} holds several tables ({', '.join(p.name for p in found)}): keep "
            "one, or name the CSV file itself as the source."
        )
    if not found:
        return read_structure_files(files, request, log)
    log.note(f"targets are taken from {found[0].name}.")
    table = csv_table(found[0], request)
    harvest = _harvest_of_table(table, request, log)
    named = {Path(str(cell)).name for cell in table.columns[structure_column(table)]}
    for path in files:
        if not named & {path.name, path.stem}:
            log.skip(str(path), None, None, f"it has no row in {found[0].name}: add one.")
    return harvest


def read_csv(path: Path, request: Request, log: ReadLog) -> Harvest:
    """Read a table with a column of file names or of CIF text; ``id_prop.csv`` needs no header."""
    return _harvest_of_table(csv_table(path, request), request, log)


def read_json(path: Path, request: Request, log: ReadLog) -> Harvest:
    """Read pymatgen's JSON: a structure, a list, a mapping by id, records, or MatBench's form."""
    return _harvest_of_table(json_table(path), request, log)


def read_parquet_file(path: Path, request: Request, log: ReadLog) -> Harvest:
    """Read Parquet in the exchange layout, or with a column of CIF text or structures."""
    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{path} cannot be read as Parquet: {error}") from error
    return _harvest_of_arrow(table, path, request, log)


def read_arrow_file(path: Path, request: Request, log: ReadLog) -> Harvest:
    """Map our own ``.arrow`` file as it is, unscreened; read any other as a table."""
    if is_mapped_form(path):
        crystals = open_arrow(path)
        return Harvest(crystals, Rows(str(path), len(crystals)), screened=True)
    try:
        with pa.memory_map(str(path)) as source:
            table = pa.ipc.open_file(source).read_all()
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{path} is damaged or no Arrow file: {error}") from error
    return _harvest_of_arrow(table, path, request, log)


def read_dataframe(frame: Any, request: Request, log: ReadLog) -> Harvest:
    """Read a pandas DataFrame with a column of structures, CIF text or file names."""
    columns = {str(name): frame[name].tolist() for name in frame.columns}
    if frame.index.name is not None and str(frame.index.name) not in columns:
        columns[str(frame.index.name)] = frame.index.tolist()
    table = Table(columns, range(len(frame)), "", Path())
    return _harvest_of_table(table, request, log)


def read_objects(structures: Sequence[Any], request: Request, log: ReadLog) -> Harvest:
    """Read ASE's Atoms and pymatgen's Structures and Molecules, mixed as they come."""
    items = (
        _Item(one, _own_id(one) or str(row), Origin("", row)) for row, one in enumerate(structures)
    )
    return _harvest(items, request, log)


class Rows(Sequence[Origin]):
    """The rows of one file, made when asked for: a file may have a million."""

    def __init__(self, file: str, length: int) -> None:
        self.file, self.length = file, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, row: Any) -> Any:
        return Origin(self.file, range(self.length)[row])


def _harvest(items: Iterable[_Item], request: Request, log: ReadLog) -> Harvest:
    """Turn structures into crystals; those that cannot be are skipped."""
    parts: list[Crystals] = []
    kept: list[_Item] = []
    declared: Mapping[str, TargetDeclaration] | None = {} if request.targets == () else None
    for item in items:
        try:
            convert = from_pymatgen if hasattr(item.structure, "site_properties") else from_ase
            crystal = replace(convert([item.structure], declared), ids=(item.id,))
        except InputError as error:
            log.skip(item.origin.file, item.origin.row, item.id, str(error))
            continue
        parts.append(crystal)
        kept.append(item)
    if not parts:
        raise InputError(f"no structure could be read.{first_reasons(log)}")
    names = dict.fromkeys(name for item in kept for name in item.cells)
    columns = {name: [item.cells.get(name) for item in kept] for name in names}
    return Harvest(cat(parts), [item.origin for item in kept], columns)


def _own_id(structure: Any) -> str | None:
    remembered = getattr(structure, "info", None) or getattr(structure, "properties", None) or {}
    return str(remembered["id"]) if "id" in remembered else None


def first_reasons(log: ReadLog) -> str:
    """Return the first reasons for which structures were skipped, as the end of an error."""
    reasons = "".join(f"\n  {skipped}" for skipped in log.skipped[:5])
    more = f"\n  … and {len(log.skipped) - 5} more" if len(log.skipped) > 5 else ""
    return f" The first reasons:{reasons}{more}" if reasons else ""


def _items_of_file(path: Path, log: ReadLog) -> Iterator[_Item]:
    stem = path.stem if path.suffix.lower() in FILE_FORMS else path.name
    items: list[_Item] = []
    fault: InputError | None = None
    with _warnings_into(log):
        try:
            for structure, name, values in structures_in_file(path):
                count = len(items)
                called = _own_id(structure) or name or (f"{stem}-{count}" if count else stem)
                items.append(_Item(structure, called, Origin(str(path), count or None), values))
        except MissingPackageError:
            raise
        except InputError as error:
            fault = error
    yield from items
    if fault is not None:
        log.skip(str(path), len(items) or None, None, str(fault))


def _harvest_of_table(table: Table, request: Request, log: ReadLog) -> Harvest:
    column = structure_column(table)
    ids = ids_of_rows(table, column, request, log)
    others = [name for name in table.columns if name != column and name != request.id_column]
    others = [] if request.targets == () else others

    def items() -> Iterator[_Item]:
        positions = with_progress(range(len(table.rows)), "reading structures", len(table.rows))
        for position in positions:
            row, name = table.rows[position], ids[position]
            try:
                with _warnings_into(log):
                    structure, file = parsed_structure(
                        table.columns[column][position], table.folder
                    )
            except MissingPackageError:
                raise
            except InputError as error:
                log.skip(table.file, row, name, str(error))
                continue
            cells = {other: table.columns[other][position] for other in others}
            called = name or _own_id(structure) or str(position)
            yield _Item(structure, called, Origin(file or table.file, row), cells)

    return _harvest(items(), request, log)


def _harvest_of_arrow(table: pa.Table, path: Path, request: Request, log: ReadLog) -> Harvest:
    if {"numbers", "positions"} <= set(table.column_names):
        crystals, sound = _sound_rows(table, path, request, log)
        return Harvest(crystals, [Origin(str(path), row) for row in sound])
    columns = {name: table.column(name).to_pylist() for name in table.column_names}
    rows = Table(columns, range(len(table)), str(path), path.parent)
    return _harvest_of_table(rows, request, log)


def _sound_rows(
    table: pa.Table, path: Path, request: Request, log: ReadLog
) -> tuple[Crystals, Sequence[int]]:
    """Return the crystals of the rows that fit the exchange layout, and which rows they are."""
    rows = np.arange(len(table))
    while True:
        try:
            return from_arrow(table, request.targets), rows.tolist()
        except RowsError as error:
            for row, reason in error.reasons.items():
                named = "id" in table.column_names and table.column("id")[row].as_py()
                log.skip(str(path), int(rows[row]), str(named) if named else None, reason)
            kept = np.setdiff1d(np.arange(len(table)), list(error.reasons))
            if not len(kept):
                raise InputError(f"no row of {path} could be read.{first_reasons(log)}") from error
            table, rows = table.take(kept), rows[kept]
        except InputError as error:
            raise InputError(f"{path}: {error}") from error


@contextlib.contextmanager
def _warnings_into(log: ReadLog) -> Iterator[None]:
    """Within this context, warnings go to the log instead of the user's screen."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield
        finally:
            log.warnings.update(
                str(warning.message).strip().splitlines()[0][:160]
                for warning in caught
                if not issubclass(warning.category, DeprecationWarning | FutureWarning)
                and str(warning.message).strip()
            )
