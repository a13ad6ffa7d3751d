"""Fingerprints of a whole data set to Parquet: streaming, in several processes, resumable."""

import json
import multiprocessing
import os
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from epitaxy.crystals.arrow import LAYOUT, from_arrow, is_mapped_form, open_arrow, to_arrow
from epitaxy.crystals.crystals import Crystals
from epitaxy.crystals.fingerprint import fingerprint
from epitaxy.datasets.readers import read_with_report
from epitaxy.datasets.screening import screen
from epitaxy.descriptors.base import Descriptor, described
from epitaxy.errors import InputError, RunFolderError
from epitaxy.nn.statistics import statistic_names, statistics_over_atoms
from epitaxy.registry import build, settings_of
from epitaxy.training.files import write_json

BUNDLED = Path(str(files("epitaxy.datasets.bundled") / "crystals.parquet"))
SHARD = 1024  # crystals that are read, described and written at a time
_PLAN = "plan.json"
_REPORT = b"epitaxy_report"

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Described:
    """What ``describe`` did.

    Attributes:
        path: the file.
        crystals: how many are described in it.
        atoms: how many atoms these have.
        isolated: how many of the atoms have no neighbor; their fingerprints are as documented.
        skipped: id → reason of the crystals that are left out.
        seconds: wall time of this call.
    """

    path: Path
    crystals: int
    atoms: int
    isolated: int
    skipped: Mapping[str, str]
    seconds: float

    def __str__(self) -> str:
        lines = [
            f"{self.crystals} crystals with {self.atoms} atoms are described in {self.path} "
            f"({self.seconds:.1f} s); {self.isolated} atoms have no neighbor."
        ]
        lines += [f"left out: '{name}': {reason}" for name, reason in [*self.skipped.items()][:10]]
        if len(self.skipped) > 10:
            lines.append(f"left out: {len(self.skipped) - 10} more")
        return "\n".join(lines)


def describe(
    structures: Any,
    out: str | os.PathLike[str],
    descriptor: str | Mapping[str, Any] = "wacsf",
    *,
    preset: str | None = None,
    level: str = "crystal",
    pooling: str = "mean",
    jobs: int = 1,
    shard: int = SHARD,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Described:
    """Write a fingerprint of every atom or crystal to a Parquet file, one column per feature.

    Beside the features stands ``id``; at atom level also ``atom`` (its place in the crystal) and
    ``number``. A Parquet or ``.arrow`` file in the exchange layout is streamed: memory is bounded
    by ``shard`` and ``jobs``. Finished shards are kept beside the file until all are there, and the
    same call goes on from them. Crystals that cannot be used are left out and reported.

    Args:
        structures: whatever ``read_crystals`` reads, or ``"bundled"``.
        out: the file to write.
        descriptor: a name, or settings with a name.
        preset: a preset of the descriptor.
        level: ``"crystal"`` or ``"atom"``.
        pooling: as in ``statistics_over_atoms``; at atom level unused.
        jobs: processes.
        shard: crystals that one process takes at a time.
        overwrite: replace the file, and whatever else has been begun for it.
        progress: called with the crystals done and their total.

    Raises InputError or RecipeError for arguments that do not fit, and RunFolderError where the
    file is there already or another one has been begun in its place.
    """
    started = time.monotonic()
    if level not in ("crystal", "atom"):
        raise InputError(f"level is 'crystal' or 'atom', not '{level}'.")
    if jobs < 1 or shard < 1:
        raise InputError(f"jobs and shard are at least 1, not {jobs} and {shard}.")
    settings = {"name": descriptor} if isinstance(descriptor, str) else dict(descriptor)
    if preset is not None:
        settings["preset"] = preset
    built: Descriptor = build("descriptors", settings)
    statistic_names(pooling, ())
    task = _Task(settings_of(built), level, pooling if level == "crystal" else "")
    stream, total, origin, unread = _stream(structures, shard)
    path = Path(out)
    parts = path.with_name(path.name + ".parts")
    _begin(path, parts, {**vars(task), "source": origin, "shard": shard}, overwrite)
    _write_shards(task, stream, parts, jobs, total, progress)
    found = _merge(parts, path)
    skipped = {**unread, **found.skipped}
    return replace(found, skipped=skipped, seconds=time.monotonic() - started)


@dataclass(frozen=True)
class _Task:
    """What is to be done with each shard, in plain values that another process understands."""

    descriptor: Mapping[str, Any]
    level: str
    pooling: str

    def write(self, rows: pa.Table, part: Path) -> None:
        """Write the fingerprints of some crystals; the file appears whole or not at all."""
        descriptor: Descriptor = build("descriptors", self.descriptor)
        crystals, skipped = _usable(from_arrow(rows, ()).to(dtype=torch.float32), descriptor)
        tables, isolated = [], 0
        for graph, values in described(descriptor, crystals):
            isolated += len(graph.isolated)
            tables.append(self._table(graph.crystals, values, descriptor))
        if not tables:
            none = torch.zeros((0, descriptor.size))
            tables = [self._table(crystals[:0], none, descriptor)]
        report = {
            "crystals": len(crystals),
            "atoms": crystals.atom_total,
            "isolated": isolated,
            "skipped": skipped,
        }
        table = pa.concat_tables(tables).combine_chunks()
        says = {b"epitaxy": json.dumps(vars(self)).encode(), _REPORT: json.dumps(report).encode()}
        temporary = part.with_suffix(".part")
        pq.write_table(table.replace_schema_metadata(says), temporary, compression="zstd")
        os.replace(temporary, part)

    def _table(self, crystals: Crystals, values: torch.Tensor, descriptor: Descriptor) -> pa.Table:
        names = descriptor.feature_names
        ids = pa.array(list(crystals.ids), pa.string())
        columns: dict[str, Any] = {"id": ids}
        if self.level == "atom":
            of_atom = crystals.crystal_of_atom
            place = torch.arange(crystals.atom_total) - crystals.offsets[of_atom]
            columns = {
                "id": ids.take(pa.array(of_atom.numpy())),
                "atom": place.to(torch.int32).numpy(),
                "number": crystals.numbers.to(torch.int16).numpy(),
            }
        else:
            values = statistics_over_atoms(values, crystals, self.pooling)  # type: ignore[arg-type]
            names = statistic_names(self.pooling, names)
        features = values.T.contiguous().numpy()
        return pa.table(columns | dict(zip(names, features, strict=True)))


class _Stream(NamedTuple):
    shards: Iterator[pa.Table]
    total: int  # crystals
    origin: dict[str, Any]  # what tells these structures from others
    unread: dict[str, str]  # id → reason


def _usable(crystals: Crystals, descriptor: Descriptor) -> tuple[Crystals, dict[str, str]]:
    """Return the crystals that can be described, and why the others cannot."""
    faults = dict(screen(crystals).faults)
    known: dict[int, str] = {}
    for number in torch.unique(crystals.numbers).tolist():
        try:
            descriptor.cutoff_for([number])
        except InputError as error:
            known[number] = str(error)
    for number, reason in known.items():
        for place in torch.unique(crystals.crystal_of_atom[crystals.numbers == number]).tolist():
            faults.setdefault(place, reason)
    kept = [place for place in range(len(crystals)) if place not in faults]
    skipped = {crystals.ids[place]: reason for place, reason in sorted(faults.items())}
    return (crystals[torch.tensor(kept, dtype=torch.int64)] if skipped else crystals), skipped


def _stream(structures: Any, shard: int) -> "_Stream":
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
            f"{parts} holds what another call began (other structures, descriptor, level, pooling "
            "or shard): give the same arguments again, choose another file, or overwrite it."
        )
    if not file.is_file():
        write_json(file, plan)


def _write_shards(
    task: _Task,
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


def _merge(parts: Path, path: Path) -> Described:
    """Join the shards into one file, a row group each, and remove them."""
    shards = sorted(parts.glob("*.parquet"))
    counts = {"crystals": 0, "atoms": 0, "isolated": 0}
    skipped: dict[str, str] = {}
    if not shards:
        raise InputError("there is nothing to describe.")
    schema = pq.read_schema(shards[0])
    schema = schema.with_metadata({b"epitaxy": (schema.metadata or {})[b"epitaxy"]})
    temporary = path.with_name(f".{path.name}.part")
    with pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
        for shard in shards:
            table = pq.read_table(shard)
            report = json.loads(table.schema.metadata[_REPORT])
            counts = {name: count + report[name] for name, count in counts.items()}
            skipped |= report["skipped"]
            writer.write_table(table.replace_schema_metadata(schema.metadata))
    os.replace(temporary, path)
    shutil.rmtree(parts)
    return Described(path, **counts, skipped=skipped, seconds=0.0)
