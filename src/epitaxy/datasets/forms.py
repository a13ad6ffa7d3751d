"""One function per form of public file: from files to structures with their values, one by one."""

import csv
import io
import json
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from epitaxy.datasets.cards import Card, Reading
from epitaxy.datasets.json_stream import JsonStream, descend, member, opened
from epitaxy.datasets.optimade import atoms_of_attributes
from epitaxy.datasets.structures import MissingPackageError, structures_in_file
from epitaxy.errors import InputError

_ROWS = 256  # of a Parquet file at once
_OF_LMDB = (b"nextid", b"metadata", b"deleted_ids")  # keys that hold no structure


@dataclass(frozen=True)
class Entry:
    """A structure as its file has it, with its id, its values and where it stood.

    ``fault`` says why there is no structure.
    """

    structure: Any
    id: str
    values: Mapping[str, Any]
    file: str
    row: int
    fault: str = ""


def entries_of(card: Card, paths: Sequence[Path]) -> Iterator[Entry]:
    """Yield what the files of a data set hold, in their order; one entry is in memory at a time.

    Raises InputError where a file is damaged or of another form than the card says.
    """
    reading, path = card.reading, paths[0]
    try:
        if reading.form == "archive":
            yield from _of_archive(paths, reading)
            return
        for path in paths:
            yield from _READERS[reading.form](path, reading)
    except MissingPackageError:
        raise
    except InputError as error:
        if path.name in str(error):
            raise
        raise InputError(f"{path}: {error}") from error
    except Exception as error:  # parsers of other houses raise whatever they meet
        text = str(error).strip() or type(error).__name__
        raise InputError(f"{path} cannot be read as {reading.form}: {text}") from error


def value_at(values: Mapping[str, Any], column: str) -> Any:
    """Return a value by its name, or by dots through nested records; None where it is missing."""
    if column in values:
        return values[column]
    found: Any = values
    for key in column.split("."):
        if not isinstance(found, Mapping) or key not in found:
            return None
        found = found[key]
    return found


def _of_table_json(path: Path, reading: Reading) -> Iterator[Entry]:
    """MatBench's and matminer's: ``{"columns": […], "index": […], "data": [[…], …]}``."""
    columns = member(path, "columns")
    if not isinstance(columns, list) or reading.structure not in columns:
        raise InputError(
            f"{path} is no table with a column '{reading.structure}'; its columns are {columns}."
        )
    index = member(path, "index") or []
    with opened(path) as file:
        stream = JsonStream(file, str(path))
        if not descend(stream, "data"):
            raise InputError(f"{path} has no 'data'.")
        for row in stream.entries():
            values = dict(zip(columns, stream.value(), strict=False))
            name = str(index[int(row)]) if int(row) < len(index) else str(row)
            yield _entry(values, reading, name, path, int(row))


def _of_records_json(path: Path, reading: Reading) -> Iterator[Entry]:
    """A list of records, ``{id: record}``, one of them under a key, or a record per line."""
    with opened(path) as file:
        stream = JsonStream(file, str(path))
        if ".jsonl" in path.name or ".ndjson" in path.name:
            row = 0
            while stream.peek():
                yield _entry(stream.value(), reading, str(row), path, row)
                row += 1
            return
        if reading.records and not descend(stream, reading.records):
            raise InputError(f"{path} has no '{reading.records}'.")
        for row, key in enumerate(stream.entries()):
            yield _entry(stream.value(), reading, str(key), path, row)


def _of_trajectories_json(path: Path, reading: Reading) -> Iterator[Entry]:
    """MPtrj's: ``{compound: {frame: record}}``."""
    row = 0
    with opened(path) as file:
        stream = JsonStream(file, str(path))
        for _ in stream.entries():
            frames = stream.value()
            chosen = list(frames.items())
            for name, record in chosen[-1:] if reading.frames == "last" else chosen:
                yield _entry(record, reading, str(name), path, row)
                row += 1


def _of_pickled_trajectories(path: Path, reading: Reading) -> Iterator[Entry]:
    """MPF's: ``{compound: {"structure": […], "energy": […], …}}``, without running its code."""
    from epitaxy.datasets.pickles import plain_pickle, plain_structure

    row = 0
    content = plain_pickle(path)
    while content:
        compound = next(iter(content))
        columns = content.pop(compound)
        count = len(columns[reading.structure])
        for frame in range(count - 1 if reading.frames == "last" else 0, count):
            values = {name: column[frame] for name, column in columns.items()}
            name = f"{compound}-{frame}"
            try:
                values[reading.structure] = plain_structure(values[reading.structure])
            except InputError as error:
                yield Entry(None, name, values, str(path), row, str(error))
            else:
                yield _entry(values, reading, name, path, row)
            row += 1


def _of_xyz(path: Path, reading: Reading) -> Iterator[Entry]:
    """Extended XYZ, alone or several files in a zip archive."""
    from ase.io import iread

    if path.suffix != ".zip":
        for row, atoms in enumerate(iread(path, index=":", format="extxyz")):
            yield _of_atoms(atoms, reading, f"{path.stem}-{row}", path, row)
        return
    row = 0
    with zipfile.ZipFile(path) as archive:
        for name in _members(archive, reading.members):
            text = io.StringIO(archive.read(name).decode())
            for frame, atoms in enumerate(iread(text, index=":", format="extxyz")):
                yield _of_atoms(atoms, reading, f"{Path(name).stem}-{frame}", path, row)
                row += 1


def _of_ase_db(path: Path, reading: Reading) -> Iterator[Entry]:
    """An ASE database; its key-value pairs are the values."""
    for row, (atoms, name, values) in enumerate(structures_in_file(path)):
        found = _atoms_values(atoms) | dict(values)
        yield _entry({reading.structure: atoms, **found}, reading, name or str(row), path, row)


def _of_aselmdb(path: Path, reading: Reading) -> Iterator[Entry]:
    """FAIR Chemistry's LMDB files: each row is compressed JSON of what an ASE database keeps."""
    try:
        import lmdb
    except ImportError as error:
        raise MissingPackageError(
            f'{path.name} is an LMDB file and needs the package lmdb: pip install "epitaxy[data]".'
        ) from error
    from ase import Atoms
    from ase.io.jsonio import decode

    try:
        base = lmdb.open(str(path), subdir=False, readonly=True, lock=False, readahead=False)
    except lmdb.Error as error:
        raise InputError(f"{path} cannot be read as LMDB: {error}.") from error
    with base, base.begin() as transaction:
        last = transaction.get(b"nextid")
        numbered = range(1, json.loads(zlib.decompress(last))) if last else ()
        keys = (str(number).encode() for number in numbered)
        keys = keys if last else (key for key, _ in transaction.cursor() if key not in _OF_LMDB)
        for row, key in enumerate(keys):
            content = transaction.get(key)
            if content is None:  # deleted
                continue
            stored = decode(zlib.decompress(content).decode())
            parts = {name: stored.get(name) for name in ("numbers", "positions", "cell", "pbc")}
            values = {**stored, **(stored.get("key_value_pairs") or {})}
            values[reading.structure] = Atoms(**parts)
            yield _entry(values, reading, f"{path.stem}-{key.decode()}", path, row)


def _of_parquet(path: Path, reading: Reading) -> Iterator[Entry]:
    """Parquet with OPTIMADE's columns (LeMat-Bulk), or with a column of structures."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            row = 0
            for batch in file.iter_batches(_ROWS):
                for values in batch.to_pylist():
                    if "lattice_vectors" in values:
                        values[reading.structure] = _Attributes(values)
                    yield _entry(values, reading, str(row), path, row)
                    row += 1
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{path} cannot be read as Parquet: {error}") from error


def _of_optimade(path: Path, reading: Reading) -> Iterator[Entry]:
    """OPTIMADE's structure resources, one per line."""
    for entry in _of_records_json(path, Reading(form="records_json", id="id")):
        attributes = entry.values["attributes"]
        values = {**attributes, reading.structure: _Attributes(attributes)}
        yield _entry(values, reading, entry.id, path, entry.row)


def _of_any(path: Path, reading: Reading) -> Iterator[Entry]:
    """Anything else that ``read_crystals`` reads, whole."""
    from epitaxy.crystals.exchange import to_ase
    from epitaxy.datasets.readers import read_with_report

    crystals, _ = read_with_report(path)
    for row in range(len(crystals)):
        atoms = to_ase(crystals[row])[0]
        values = {name: atoms.info.get(name, atoms.arrays.get(name)) for name in crystals.targets}
        yield _entry({reading.structure: atoms, **values}, reading, crystals.ids[row], path, row)


def _of_archive(paths: Sequence[Path], reading: Reading) -> Iterator[Entry]:
    """A zip archive of CIF files and a CSV table, which lies in the archive or beside it."""
    path = next((one for one in paths if one.suffix == ".zip"), None)
    if path is None:
        raise InputError(f"none of {', '.join(p.name for p in paths)} is a zip archive.")
    with zipfile.ZipFile(path) as archive:
        files = {Path(name).stem: name for name in _members(archive, reading.members)}
        beside = next((one for one in paths if one.name == reading.table), None)
        inside = next((n for n in archive.namelist() if Path(n).name == reading.table), None)
        if beside is None and inside is None:
            raise InputError(f"{path} has no {reading.table}, in it or beside it.")
        raw = beside.open("rb") if beside else archive.open(str(inside))
        with io.TextIOWrapper(raw, encoding="utf-8-sig", newline="") as text:
            for row, values in enumerate(csv.DictReader(text), start=2):
                name = values.get(reading.id) or str(row)
                if name not in files:
                    fault = f"{path.name} has no structure '{name}'."
                    yield Entry(None, name, values, reading.table, row, fault)
                    continue
                cif = archive.read(files[name]).decode(errors="replace")
                yield Entry(cif, name, values, reading.table, row)


class _Attributes(dict[str, Any]):
    """The attributes of an OPTIMADE structure, made Atoms of when they are asked for."""


def structure_in(entry: Entry) -> Any:
    """Return the structure of an entry as what ``parsed_structure`` knows.

    Raises InputError that says why there is none.
    """
    if entry.fault:
        raise InputError(entry.fault)
    if isinstance(entry.structure, _Attributes):
        return atoms_of_attributes(entry.structure)
    return entry.structure


def _entry(values: Any, reading: Reading, name: str, path: Path, row: int) -> Entry:
    if not isinstance(values, Mapping):
        raise InputError(f"{path}, row {row}: a record is expected, not {str(values)[:40]!r}.")
    named = value_at(values, reading.id) if reading.id else None
    structure = value_at(values, reading.structure)
    fault = "" if structure is not None else f"it has no '{reading.structure}'."
    return Entry(structure, name if named is None else str(named), values, str(path), row, fault)


def _of_atoms(atoms: Any, reading: Reading, name: str, path: Path, row: int) -> Entry:
    return _entry({reading.structure: atoms, **_atoms_values(atoms)}, reading, name, path, row)


def _atoms_values(atoms: Any) -> dict[str, Any]:
    """Return what ASE keeps beside the structure: results, arrays and remarks."""
    results = dict(getattr(atoms.calc, "results", None) or {})
    return {**atoms.arrays, **results, **atoms.info}


def _members(archive: zipfile.ZipFile, pattern: str) -> list[str]:
    names = [name for name in archive.namelist() if not name.endswith("/")]
    return [n for n in names if fnmatch(n, pattern) and not n.startswith("__MACOSX")]


_READERS: dict[str, Callable[[Path, Reading], Iterator[Entry]]] = {
    "table_json": _of_table_json,
    "records_json": _of_records_json,
    "trajectories_json": _of_trajectories_json,
    "pickled_trajectories": _of_pickled_trajectories,
    "xyz": _of_xyz,
    "ase_db": _of_ase_db,
    "aselmdb": _of_aselmdb,
    "parquet": _of_parquet,
    "optimade": _of_optimade,
    "materials_project": _of_records_json,
    "any": _of_any,
}
