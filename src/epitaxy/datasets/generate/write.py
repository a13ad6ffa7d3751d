"""Writes a stretch of the stream to a file, shard by shard: parallel, resumable, whole or not."""

import json
import multiprocessing
import multiprocessing.connection
import os
import shutil
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch

from epitaxy.crystals.arrow import MappedCrystals, open_arrow, to_arrow, write_arrow
from epitaxy.crystals.crystals import Crystals
from epitaxy.datasets.generate.stream import CrystalStream
from epitaxy.errors import InputError, RunFolderError, did_you_mean

_PLAN = "plan.json"
_FORM = 1  # another number where the same seed makes other crystals

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Generated:
    """What a call has written.

    Attributes:
        path: the file.
        crystals, atoms: how many are in it.
        made: crystals made by this call; the others were there from one that was interrupted.
        seconds: wall time of this call.
    """

    path: Path
    crystals: int
    atoms: int
    made: int
    seconds: float

    def __str__(self) -> str:
        return (
            f"{self.crystals} crystals with {self.atoms} atoms are in {self.path} "
            f"({self.made} made in {self.seconds:.1f} s)."
        )


def generate(
    out: str | os.PathLike[str],
    count: int,
    *,
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
    jobs: int = 1,
    shard: int = 4096,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Generated:
    """Write the first ``count`` crystals of a seed's stream to a Parquet or an ``.arrow`` file.

    Finished shards are kept beside the file until all are there, and the same call goes on from
    them. Memory is bounded by ``shard`` and ``jobs``, but for the ids of an ``.arrow`` file.

    Args:
        out: the file to write; its suffix says which form.
        count: crystals.
        seed: another seed, another stream.
        settings: what to replace in ``CrystalStream``: ``{"max_atoms": 12}``.
        jobs: processes.
        shard: crystals that one process makes at a time; it does not change them.
        overwrite: replace the file, and whatever else has been begun for it.
        progress: called with the crystals done and their total.

    Raises InputError for settings that do not fit, RunFolderError where the file is there already
    or another one has been begun in its place.
    """
    started = time.monotonic()
    path = Path(out)
    if path.suffix not in (".parquet", ".arrow"):
        raise InputError(f"{path} is to end in .parquet or .arrow, which say how it is written.")
    if count < 1 or jobs < 1 or shard < 1:
        raise InputError(f"count, jobs and shard are at least 1, not {count}, {jobs} and {shard}.")
    stream = stream_of(seed, settings)
    parts = path.with_name(path.name + ".parts")
    _begin(
        path, parts, {"form": _FORM, **asdict(stream), "count": count, "shard": shard}, overwrite
    )
    made = 0
    files = [parts / f"{first:012d}.arrow" for first in range(0, count, shard)]
    for done, fresh in _shards(stream, files, count, shard, jobs):
        made += fresh
        if progress is not None:
            progress(done, count)
    shards = [open_arrow(file) for file in files]
    atoms = sum(one.atom_total for one in shards)
    (_join_parquet if path.suffix == ".parquet" else _join_arrow)(shards, atoms, path)
    del shards
    shutil.rmtree(parts)
    return Generated(path, count, atoms, made, time.monotonic() - started)


def stream_of(seed: int, settings: Mapping[str, Any] | None = None) -> CrystalStream:
    """Return a stream; raises InputError for a setting that there is not."""
    known = [field.name for field in fields(CrystalStream) if field.name != "seed"]
    for name in settings or ():
        if name not in known:
            raise InputError(f"no setting '{name}' of the generator. {did_you_mean(name, known)}")
    for name, value in (settings or {}).items():
        kind = int if name == "max_atoms" else int | float
        if isinstance(value, bool) or not isinstance(value, kind):
            raise InputError(f"the generator's {name} is a number, not {value!r}.")
    return CrystalStream(seed=seed, **(settings or {}))


def _begin(path: Path, parts: Path, plan: dict[str, Any], overwrite: bool) -> None:
    """Make the folder of the shards, or see that those in it belong to the same plan."""
    if overwrite:
        path.unlink(missing_ok=True)
        shutil.rmtree(parts, ignore_errors=True)
    if path.exists():
        raise RunFolderError(f"{path} is there already: choose another file, or overwrite it.")
    file = parts / _PLAN
    if file.is_file() and json.loads(file.read_text()) != plan:
        raise RunFolderError(
            f"{parts} holds what another call began (another seed, count, shard or settings): "
            "give the same arguments again, choose another file, or overwrite it."
        )
    parts.mkdir(parents=True, exist_ok=True)
    temporary = parts / f".{_PLAN}.{os.getpid()}"
    temporary.write_text(json.dumps(plan, indent=1))
    os.replace(temporary, file)


def _shards(
    stream: CrystalStream, files: Sequence[Path], count: int, shard: int, jobs: int
) -> Iterator[tuple[int, int]]:
    """Make the shards that are missing; yield crystals done so far, and how many were made now."""
    done = 0
    running: deque[tuple[Future[None], int, int]] = deque()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_start_worker) as pool:
        for place, file in enumerate(files):
            size, there = min(shard, count - place * shard), file.is_file()
            future: Future[None] = Future()
            if not there and jobs > 1:
                future = pool.submit(_write_shard, stream, place * shard, size, file)
            else:
                if not there:
                    _write_shard(stream, place * shard, size, file)
                future.set_result(None)
            running.append((future, size, 0 if there else size))
            while running and (running[0][0].done() or len(running) > 2 * jobs):
                ended, crystals, fresh = running.popleft()
                ended.result()
                done += crystals
                yield done, fresh
        for ended, crystals, fresh in running:
            ended.result()
            done += crystals
            yield done, fresh


def _write_shard(stream: CrystalStream, first: int, size: int, file: Path) -> None:
    write_arrow(stream.crystals(range(first, first + size)), file)


def _start_worker() -> None:
    """Compute with one thread, and end when the process that asked does."""
    torch.set_num_threads(1)
    parent = multiprocessing.parent_process()

    def follow() -> None:
        if parent is not None:
            multiprocessing.connection.wait([parent.sentinel])
            os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _join_parquet(shards: Sequence[MappedCrystals], atoms: int, path: Path) -> None:
    """Write one row group for each shard; the file appears whole or not at all."""
    temporary = path.with_name(f".{path.name}.part")
    first = to_arrow(shards[0][:1])
    with pq.ParquetWriter(temporary, first.schema, compression="zstd") as writer:
        for shard in shards:
            writer.write_table(to_arrow(shard[:]))
    os.replace(temporary, path)


def _join_arrow(shards: Sequence[MappedCrystals], atoms: int, path: Path) -> None:
    """Write one record batch, from arrays that lie on the disk while it is put together."""
    crystals = sum(len(shard) for shard in shards)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:

        def on_disk(name: str, kind: type, shape: tuple[int, ...]) -> np.ndarray:
            return np.memmap(Path(folder) / name, dtype=kind, mode="w+", shape=shape)

        numbers = on_disk("numbers", np.int16, (atoms,))
        positions = on_disk("positions", np.float32, (atoms, 3))
        cell = on_disk("cell", np.float32, (crystals, 3, 3))
        offsets = on_disk("offsets", np.int64, (crystals + 1,))
        row = atom = 0
        for shard in shards:
            rows, here = slice(row, row + len(shard)), slice(atom, atom + shard.atom_total)
            numbers[here], positions[here] = shard.numbers.numpy(), shard.positions.numpy()
            cell[rows] = shard.cell.numpy()
            offsets[row + 1 : row + len(shard) + 1] = shard.offsets[1:].numpy() + atom
            row, atom = rows.stop, here.stop
        whole = Crystals(
            numbers=torch.from_numpy(numbers),
            positions=torch.from_numpy(positions),
            cell=torch.from_numpy(cell),
            pbc=torch.ones((crystals, 3), dtype=torch.bool),
            offsets=torch.from_numpy(offsets),
            ids=[text for shard in shards for text in shard.ids],
        )
        write_arrow(whole, path)
