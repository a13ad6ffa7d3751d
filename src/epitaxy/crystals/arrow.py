"""Crystals to and from Arrow: Parquet for exchange, a memory-mapped file for work.

One row is one crystal: ``id``, ``numbers``, ``positions`` (flattened n×3, Cartesian Å), ``cell``
(9 numbers, rows are lattice vectors), ``pbc`` (3 booleans), then one column per property, whose
field metadata say ``unit``, ``level``, ``extensive`` and, beyond scalars, ``shape``.
"""

import json
import mmap
import os
import tempfile
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from torch import Tensor

from epitaxy.crystals.arrow_declarations import (
    declarations,
    declared_shape,
    declared_target,
    inferred_level,
)
from epitaxy.crystals.crystals import Crystals, Index
from epitaxy.crystals.targets import Target
from epitaxy.errors import InputError, RowsError, did_you_mean

LAYOUT = ("id", "numbers", "positions", "cell", "pbc")
MAPPED_AROUND = 65536  # bytes
RELEASED_AFTER = 32 * 2**20  # bytes
_MARK = {b"epitaxy": b"crystals 1"}  # schema metadata of the files that open_arrow maps


@dataclass(frozen=True, eq=False)
class MappedCrystals(Crystals):
    """Crystals whose arrays lie over a file; what batches touch does not stay in memory.

    The system maps more around every row that is read, 64 kB of each column or so. Once
    ``RELEASED_AFTER`` bytes may have gathered, the process gives all of them back: they stay in
    the system's cache while there is room, and come again when asked for.
    """

    mapping: mmap.mmap | None = None
    _touched: int = 0

    def __getitem__(self, index: Index) -> Crystals:
        batch = super().__getitem__(index)
        columns = 6 + len(self.targets) + len(self.inputs)
        touched = self._touched + len(batch) * columns * MAPPED_AROUND
        if touched > RELEASED_AFTER and self.mapping is not None and hasattr(mmap, "MADV_DONTNEED"):
            self.mapping.madvise(mmap.MADV_DONTNEED)
            touched = 0
        object.__setattr__(self, "_touched", touched)
        return batch

    def __getstate__(self) -> dict[str, Any]:
        """Another process gets the arrays, not the mapping."""
        return {**vars(self), "mapping": None}


class ArrowTexts(Sequence[str]):
    """Texts that stay in an Arrow array until one is asked for."""

    def __init__(self, texts: pa.LargeStringArray) -> None:
        self.texts = texts

    def __len__(self) -> int:
        return len(self.texts)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...
    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        if isinstance(index, slice):
            return self.texts[index].to_pylist()
        return self.texts[index].as_py()

    def __iter__(self) -> Iterator[str]:
        return iter(self.texts.to_pylist())


def from_arrow(table: pa.Table, targets: Collection[str] | None = None) -> Crystals:
    """Return the crystals of a table in the exchange layout, with these or all numeric targets.

    Where a column's metadata are missing, its level follows from its type: a number per row is of
    the crystal, a list of n or 3n numbers of the atoms, 9 numbers named ``stress`` a tensor; other
    columns are left out. Raises InputError that names the column and the row that do not fit.
    """
    missing = [name for name in ("numbers", "positions") if name not in table.column_names]
    if missing:
        raise InputError(
            f"the table has no column '{missing[0]}'; it has {', '.join(table.column_names)}. "
            f"The exchange layout is {', '.join(LAYOUT)}, then properties."
        )
    numbers, counts = _flat(table, "numbers")
    if not np.issubdtype(numbers.dtype, np.integer):
        raise InputError("column 'numbers' holds something else than whole atomic numbers.")
    positions = _floating(_flat_of(table, "positions", 3 * counts)).reshape(-1, 3)
    rows = np.ones(len(table), dtype=np.int64)
    cell = np.zeros((len(table), 3, 3), dtype=positions.dtype)
    if "cell" in table.column_names:
        cell = _flat_of(table, "cell", 9 * rows).astype(positions.dtype).reshape(-1, 3, 3)
    pbc = np.full((len(table), 3), "cell" in table.column_names)
    if "pbc" in table.column_names:
        pbc = _flat_of(table, "pbc", 3 * rows).astype(bool).reshape(-1, 3)
    found, inputs = _properties(table, counts, targets)
    return Crystals(
        numbers=torch.from_numpy(numbers.astype(np.int64)),
        positions=_tensor(positions),
        cell=_tensor(cell),
        pbc=_tensor(pbc),
        offsets=torch.from_numpy(np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)),
        targets=found,
        inputs=inputs,
        ids=_texts(table),
    )


def _properties(
    table: pa.Table, counts: np.ndarray, targets: Collection[str] | None
) -> tuple[dict[str, Target], dict[str, Tensor]]:
    found: dict[str, Target] = {}
    inputs: dict[str, Tensor] = {}
    for field in table.schema:
        if field.name in LAYOUT:
            continue
        if declarations(field).get("role") == "input":
            values = _flat(table, field.name)[0]
            inputs[field.name] = _tensor(values.reshape(-1, *(declared_shape(field) or ())))
        elif targets is None or field.name in targets:
            target = _target(table, field, counts)
            if target is not None:
                found[field.name] = target
    if targets is not None and (absent := [name for name in targets if name not in found]):
        known = [name for name in table.column_names if name not in LAYOUT]
        raise InputError(f"no numeric column '{absent[0]}'. {did_you_mean(absent[0], known)}")
    return found, inputs


def to_arrow(crystals: Crystals) -> pa.Table:
    """Return a table in the exchange layout; a missing value is NaN; precision is kept."""
    return pa.Table.from_batches([_record_batch(crystals)])


def read_parquet(path: str | os.PathLike[str], targets: Collection[str] | None = None) -> Crystals:
    """Return the crystals of a Parquet file in the exchange layout, with these or all targets."""
    try:
        known = pq.read_schema(path).names
        wanted = None
        if targets is not None:
            wanted = [name for name in known if name in LAYOUT or name in targets]
        table = pq.read_table(path, columns=wanted)
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{path} cannot be read as Parquet: {error}") from error
    try:
        return from_arrow(table, targets)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def write_parquet(crystals: Crystals, path: str | os.PathLike[str]) -> None:
    """Write crystals in the exchange layout; the file appears whole or not at all."""
    table = to_arrow(crystals)
    _write_whole(path, lambda part: pq.write_table(table, part, compression="zstd"))


def write_arrow(crystals: Crystals, path: str | os.PathLike[str]) -> None:
    """Write the file that ``open_arrow`` maps: uncompressed Arrow IPC, one record batch."""
    batch = _record_batch(crystals)
    pbc = pa.FixedSizeListArray.from_arrays(
        pa.array(crystals.pbc.cpu().numpy().reshape(-1).view(np.uint8)), 3
    )  # a byte each: Arrow packs booleans into bits, which cannot be mapped
    batch = batch.set_column(batch.schema.get_field_index("pbc"), "pbc", pbc)
    batch = batch.replace_schema_metadata(_MARK)

    def write(part: Path) -> None:
        with pa.OSFile(str(part), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as file:
            file.write_batch(batch)

    _write_whole(path, write)


def is_mapped_form(path: str | os.PathLike[str]) -> bool:
    """Return whether a file is one that ``write_arrow`` wrote."""
    try:
        with pa.memory_map(str(path)) as source:
            metadata = pa.ipc.open_file(source).schema.metadata or {}
    except (pa.ArrowInvalid, OSError):
        return False
    return all(metadata.get(key) == value for key, value in _MARK.items())


def open_arrow(path: str | os.PathLike[str]) -> MappedCrystals:
    """Map a file of ``write_arrow``: nothing is read until it is used, whatever its size.

    So nothing is screened either: overlapping atoms and repeated ids stay as they were written.
    The arrays lie read-only over the file; take ``crystals[indices]`` or ``.to(…)`` before
    changing values in place. Atomic numbers are 16-bit here, 64-bit in every batch.
    """
    if not Path(path).is_file():
        raise InputError(f"there is no file {path}.")
    if not is_mapped_form(path):
        raise InputError(
            f"{path} was not written by write_arrow, or is damaged: read its source with "
            "read_crystals and write it anew."
        )
    with Path(path).open("rb") as file:
        mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    batch = pa.ipc.open_file(pa.BufferReader(pa.py_buffer(mapping))).get_batch(0)
    numbers = batch.column("numbers")
    rows = len(batch)
    targets: dict[str, Target] = {}
    inputs: dict[str, Tensor] = {}
    for field in batch.schema:
        if field.name in LAYOUT:
            continue
        column, described = batch.column(field.name), declarations(field)
        flat = column if pa.types.is_floating(field.type) else column.values
        length = rows if described["level"] == "crystal" else len(numbers.values)
        values = _mapped(flat).reshape(length, *(declared_shape(field) or ()))
        if described.get("role") == "input":
            inputs[field.name] = values
        else:
            targets[field.name] = declared_target(field.name, values, described)
    return MappedCrystals(
        numbers=_mapped(numbers.values),
        positions=_mapped(batch.column("positions").values).reshape(-1, 3),
        cell=_mapped(batch.column("cell").values).reshape(rows, 3, 3),
        pbc=_mapped(batch.column("pbc").values).view(torch.bool).reshape(rows, 3),
        offsets=_mapped(numbers.offsets),
        targets=targets,
        inputs=inputs,
        ids=ArrowTexts(batch.column("id")),
        mapping=mapping,
    )


def _record_batch(crystals: Crystals) -> pa.RecordBatch:
    crystals = crystals.to("cpu")
    offsets = crystals.offsets.to(torch.int64)
    columns: list[tuple[pa.Field, pa.Array]] = []

    def add(name: str, array: pa.Array, metadata: dict[str, str] | None = None) -> None:
        columns.append((pa.field(name, array.type, metadata=metadata), array))

    add("id", pa.array(list(crystals.ids), pa.large_string()))
    add("numbers", _ragged(crystals.numbers.to(torch.int16), offsets))
    add("positions", _ragged(crystals.positions, offsets))
    add("cell", _fixed(crystals.cell))
    add("pbc", _fixed(crystals.pbc))
    for name, target in crystals.targets.items():
        metadata = {
            "unit": target.unit,
            "level": target.level,
            "extensive": str(target.extensive).lower(),
        }
        if target.values.ndim > 1:
            metadata["shape"] = json.dumps(list(target.values.shape[1:]))
        if target.level == "atom":
            add(name, _ragged(target.values, offsets), metadata)
        else:
            add(name, _fixed(target.values), metadata)
    for name, values in crystals.inputs.items():
        shape = json.dumps(list(values.shape[1:]))
        add(name, _ragged(values, offsets), {"role": "input", "level": "atom", "shape": shape})
    names = [field.name for field, _ in columns]
    clash = next((name for name in names if names.count(name) > 1), None)
    if clash is not None:
        raise InputError(f"two columns would be named '{clash}': rename that target or input.")
    schema = pa.schema([field for field, _ in columns])
    return pa.RecordBatch.from_arrays([array for _, array in columns], schema=schema)


def _ragged(values: Tensor, offsets: Tensor) -> pa.LargeListArray:
    width = int(np.prod(values.shape[1:], dtype=np.int64))
    flat = pa.array(values.detach().contiguous().reshape(-1).numpy())
    return pa.LargeListArray.from_arrays(pa.array((offsets * width).numpy()), flat)


def _fixed(values: Tensor) -> pa.Array:
    flat = pa.array(values.detach().contiguous().reshape(-1).numpy())
    if values.ndim == 1:
        return flat
    return pa.FixedSizeListArray.from_arrays(flat, int(np.prod(values.shape[1:], dtype=np.int64)))


def _target(table: pa.Table, field: pa.Field, counts: np.ndarray) -> Target | None:
    described = declarations(field)
    if _is_number(field.type):
        values = table.column(field.name).cast(
            field.type if pa.types.is_floating(field.type) else pa.float64()
        )
        described = {"level": "crystal", **described}
        return declared_target(field.name, _tensor(_floating(values.to_numpy())), described)
    if not (_is_list(field.type) and _is_number(field.type.value_type)):
        return None
    values, lengths = _flat(table, field.name)
    level = described.get("level") or inferred_level(field.name, lengths, counts)
    if level is None:
        return None
    per_row = counts if level == "atom" else np.ones(len(counts), dtype=np.int64)
    filled = lengths > 0
    widths = lengths[filled] // np.maximum(per_row[filled], 1)
    width = int(np.bincount(widths).argmax()) if len(widths) else 1
    expected = width * per_row
    _require_lengths(
        field.name, lengths, expected, filled & (lengths != expected), f" ({level} level)"
    )
    whole = np.full(int((per_row * width).sum()), np.nan, dtype=_floating(values).dtype)
    whole[np.repeat(filled, per_row * width)] = values
    shape = declared_shape(field)
    if shape is None:
        shape = (3, 3) if level == "crystal" and width == 9 and field.name == "stress" else (width,)
        shape = () if level == "atom" and width == 1 else shape
    return declared_target(
        field.name, _tensor(whole.reshape(-1, *shape)), {**described, "level": level}
    )


def _flat(table: pa.Table, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the values of a list column end to end, and how many each row has."""
    kind = table.schema.field(name).type
    if not _is_list(kind):
        raise InputError(f"column '{name}' is of type {kind}; a list of numbers belongs there.")
    column = table.column(name).cast(pa.large_list(kind.value_type))
    arrays = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in column.chunks]
    values = np.concatenate(arrays) if arrays else np.zeros(0)
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy()
    return values, lengths.astype(np.int64)


def _flat_of(table: pa.Table, name: str, expected: np.ndarray) -> np.ndarray:
    values, lengths = _flat(table, name)
    _require_lengths(name, lengths, expected, lengths != expected)
    return values


def _require_lengths(
    name: str, lengths: np.ndarray, expected: np.ndarray, wrong: np.ndarray, level: str = ""
) -> None:
    reasons = {
        row: f"column '{name}' has {lengths[row]} numbers, where {expected[row]} belong{level}."
        for row in np.flatnonzero(wrong).tolist()
    }
    if reasons:
        raise RowsError(reasons)


def _texts(table: pa.Table) -> Sequence[str]:
    if "id" not in table.column_names:
        return [str(row) for row in range(len(table))]
    texts = table.column("id").cast(pa.large_string()).to_pylist()
    return [str(row) if text is None else text for row, text in enumerate(texts)]


def _is_list(kind: pa.DataType) -> bool:
    types = pa.types
    return types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)


def _is_number(kind: pa.DataType) -> bool:
    types = pa.types
    return types.is_floating(kind) or types.is_integer(kind) or types.is_boolean(kind)


def _floating(values: np.ndarray) -> np.ndarray:
    return values if values.dtype in (np.float32, np.float64) else values.astype(np.float64)


def _tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(values if values.flags.writeable else values.copy())


def _mapped(array: pa.Array) -> Tensor:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)
        return torch.from_numpy(array.to_numpy(zero_copy_only=True))


def _write_whole(path: str | os.PathLike[str], write: Callable[[Path], None]) -> None:
    destination = Path(path)
    destination.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=destination.parent, prefix=f".{destination.name}.")
    os.close(handle)
    try:
        write(Path(name))
        os.replace(name, destination)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
