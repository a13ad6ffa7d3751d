"""Tables made of crystals shard by shard: streaming, resumable, whole or not there at all."""

import json
import multiprocessing
import os
import shutil
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from epitaxy.crystals.arrow import LAYOUT, is_mapped_form, open_arrow, to_arrow
from epitaxy.crystals.crystals import Crystals
from epitaxy.crystals.fingerprint import fingerprint
from epitaxy.datasets.readers import read_with_report
from epitaxy.errors import InputError, RunFolderError
from epitaxy.training.files import write_json

BUNDLED = Path(str(files("epitaxy.datasets.bundled") / "crystals.parquet"))
_PLAN = "plan.json"
_REPORT = b"epitaxy_report"

Progress = Callable[[int, int], None]


@runtime_checkable
class Task(Protocol):
    """What is to be done with each shard; another process must understand it if jobs > 1."""

    @property
    def plan(self) -> Mapping[str, Any]:
        """What tells this task from others, in plain values."""

    def write(self, rows: pa.Table, part: Path) -> None:
        """Write what becomes of some crystals with ``write_part``."""


@dataclass(frozen=True)
class Part:
    """What became of a shard.

    Attributes:
        crystals, atoms: how many are in the table.
        skipped: id → reason of the crystals that are left out.
        counts: whatever else was counted, by what to say of it: ``"atoms have no neighbor"``.
    """

    table: pa.Table
    crystals: int
    atoms: int
    skipped: Mapping[str, str] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Written:
    """What a call did.

    Attributes:
        path: the file.
        crystals, atoms: how many are in it.
        counts: whatever else was counted, by what to say of it.
        skipped: id → reason of the crystals that are left out.
        seconds: wall time of this call.
    """

    path: Path
    crystals: int
    atoms: int
    counts: Mapping[str, int]
    skipped: Mapping[str, str]
    seconds: float

    def __str__(self) -> str:
        counted = "".join(f"; {count} {what}" for what, count in self.counts.items())
        lines = [
            f"{self.crystals} crystals with {self.atoms} atoms are in {self.path} "
            f"({self.seconds:.1f} s){counted}."
        ]
        lines += [f"left out: '{name}': {reason}" for name, reason in [*self.skipped.items()][:10]]
        if len(self.skipped) > 10:
            lines.append(f"left out: {len(self.skipped) - 10} more")
        return "\n".join(lines)


def write_shards(
    task: Task,
    structures: Any,
    out: str | os.PathLike[str],
    *,
    shard: int,
    jobs: int = 1,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Written:
    """Do a task with every shard of some structures, and join the results in one Parquet file.

    A Parquet or ``.arrow`` file in the exchange layout is streamed: memory is bounded by ``shard``
    and ``jobs``. Finished shards are kept beside the file until all are there, and the same call
    goes on from them.

    Args:
        task: what is done.
        structures: whatever ``read_crystals`` reads, or ``"bundled"``.
        out: the file to write.
        shard: crystals that one process takes at a time.
        jobs: processes.
        overwrite: replace the file, and whatever else has been begun for it.
        progress: called with the crystals done and their total.

    Raises RunFolderError where the file is there already or another one has been begun in its
    place.
    """
    started = time.monotonic()
    if jobs < 1 or shard < 1:
        raise InputError(f"jobs and shard are at least 1, not {jobs} and {shard}.")
    stream, total, origin, unread = _stream(structures, shard)
    path = Path(out)
    parts = path.with_name(path.name + ".parts")
    _begin(path, parts, {**task.plan, "source": origin, "shard": shard}, overwrite)
    _write_all(task, stream, parts, jobs, total, progress)
    found = _merge(parts, path)
    skipped = {**unread, **found.skipped}
    return replace(found, skipped=skipped, seconds=time.monotonic() - started)


def write_part(task: Task, part: Part, path: Path) -> None:
    """Write what became of a shard; the file appears whole or not at all."""
    report = {name: value for name, value in vars(part).items() if name != "table"}
    says = {b"epitaxy": json.dumps(task.plan).encode(), _REPORT: json.dumps(report).encode()}
    temporary = path.with_suffix(".part")
    table = part.table.combine_chunks().replace_schema_metadata(says)
    pq.write_table(table, temporary, compression="zstd")
    os.replace(temporary, path)


class _Stream(NamedTuple):
    shards: Iterator[pa.Table]
    total: int  # crystals
    origin: dict[str, Any]  # what tells these structures from others
    unread: dict[str, str]  # id → reason


def _stream(structures: Any, shard: int) -> _Stream:
    """Return what is to be described, by shards where it is not in memory anyway."""
    if isinstance(structures, str) and structures == "bundled" and not Path(structures).exists():
        structures = BUNDLED
    if isinstance(structures, str | os.PathLike) and Path(structures).is_file():
        path = Path(structures)
        state = path.stat()
        origin = {"path": str(path), "bytes": state.st_size, "changed": state.st_mtime_ns}
        if path.suffix == ".parquet" and {"numbers", "positions"} <= set(_columns(path)):
            total = pq.read_metadata(path).num_rows
            return _Stream(_parquet_shards(path, shard), total, origin, {})
        if path.suffix == ".arrow" and is_mapped_form(path):
            mapped = open_arrow(path)
            return _Stream(_shards(mapped, shard), len(mapped), origin, {})
    unread: dict[str, str] = {}
    if isinstance(structures, Crystals):
        crystals = structures
    else:
        crystals, report = read_with_report(structures, targets=())
        unread = {one.id or f"{one.file}, row {one.row}": one.reason for one in report.skipped}
    origin = {"crystals": fingerprint(crystals.with_targets({}))}
    return _Stream(_shards(crystals, shard), len(crystals), origin, unread)


def _columns(path: Path) -> list[str]:
    try:
        return pq.read_schema(path).names
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{path} cannot be read as Parquet: {error}") from error


def _shards(crystals: Crystals, shard: int) -> Iterator[pa.Table]:
    for first in range(0, len(crystals), shard):
        yield to_arrow(crystals[first : first + shard].with_targets({}))


def _parquet_shards(path: Path, shard: int) -> Iterator[pa.Table]:
    """Yield equal shards; a file without ids has its rows' numbers for ids."""
    wanted = [name for name in _columns(path) if name in LAYOUT]
    first = 0
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(shard, columns=wanted):
            table = pa.Table.from_batches([batch])
            if "id" not in wanted:
                rows = [str(row) for row in range(first, first + len(table))]
                table = table.append_column("id", pa.array(rows))
            first += len(table)
            yield table


def _begin(path: Path, parts: Path, plan: dict[str, Any], overwrite: bool) -> None:
    """Make the folder of the shards, or see that those in it belong to the same plan."""
    if overwrite:
        path.unlink(missing_ok=True)
        shutil.rmtree(parts, ignore_errors=True)
    if path.exists():
        raise RunFolderError(f"{path} is there already: choose another file, or overwrite it.")
    plan = json.loads(json.dumps(plan))
    file = parts / _PLAN
    if file.is_file() and json.loads(file.read_text()) != plan:
        raise RunFolderError(
            f"{parts} holds what another call began (other structures, other settings or another "
            "shard): give the same arguments again, choose another file, or overwrite it."
        )
    if not file.is_file():
        write_json(file, plan)


def _write_all(
    task: Task,
    stream: Iterator[pa.Table],
    parts: Path,
    jobs: int,
    total: int,
    progress: Progress | None,
) -> None:
    """Write the shards that are missing, no more than two per process in memory at a time."""
    done = 0
    running: deque[tuple[Future[None], int]] = deque()

    def finish() -> None:
        nonlocal done
        future, count = running.popleft()
        future.result()
        done += count
        if progress is not None:
            progress(done, total)

    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_one_thread) as pool:
        for place, rows in enumerate(stream):
            part = parts / f"{place:06d}.parquet"
            if part.is_file() or jobs == 1:
                future: Future[None] = Future()
                if not part.is_file():
                    task.write(rows, part)
                future.set_result(None)
            else:
                future = pool.submit(task.write, rows, part)
            running.append((future, len(rows)))
            while running and (running[0][0].done() or len(running) > 2 * jobs):
                finish()
        while running:
            finish()


def _one_thread() -> None:
    torch.set_num_threads(1)


def _merge(parts: Path, path: Path) -> Written:
    """Join the shards into one file, a row group each, and remove them."""
    shards = sorted(parts.glob("*.parquet"))
    crystals, atoms, counts = 0, 0, Counter[str]()
    skipped: dict[str, str] = {}
    if not shards:
        raise InputError("there are no crystals to write anything of.")
    schema = pq.read_schema(shards[0])
    schema = schema.with_metadata({b"epitaxy": (schema.metadata or {})[b"epitaxy"]})
    temporary = path.with_name(f".{path.name}.part")
    with pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
        for shard in shards:
            table = pq.read_table(shard)
            report = json.loads(table.schema.metadata[_REPORT])
            crystals, atoms = crystals + report["crystals"], atoms + report["atoms"]
            counts.update(report["counts"])
            skipped |= report["skipped"]
            writer.write_table(table.replace_schema_metadata(schema.metadata))
    os.replace(temporary, path)
    shutil.rmtree(parts)
    return Written(path, crystals, atoms, dict(counts), skipped, seconds=0.0)
