"""Fingerprints of a whole data set to Parquet: streaming, in several processes, resumable."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from epitaxy.crystals.arrow import from_arrow
from epitaxy.crystals.crystals import Crystals
from epitaxy.datasets.screening import screen
from epitaxy.descriptors.base import Descriptor, described
from epitaxy.errors import InputError
from epitaxy.nn.statistics import statistic_names, statistics_over_atoms
from epitaxy.registry import build, settings_of
from epitaxy.shards import Part, Progress, Written, write_part, write_shards

SHARD = 1024  # crystals that are read, described and written at a time
ISOLATED = "atoms have no neighbor"


class Described(Written):
    """What ``describe`` did."""

    @property
    def isolated(self) -> int:
        """How many of the atoms have no neighbor; their fingerprints are as documented."""
        return self.counts[ISOLATED]


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
    if level not in ("crystal", "atom"):
        raise InputError(f"level is 'crystal' or 'atom', not '{level}'.")
    settings = {"name": descriptor} if isinstance(descriptor, str) else dict(descriptor)
    if preset is not None:
        settings["preset"] = preset
    built: Descriptor = build("descriptors", settings)
    statistic_names(pooling, ())
    task = _Task(settings_of(built), level, pooling if level == "crystal" else "")
    written = write_shards(
        task, structures, out, shard=shard, jobs=jobs, overwrite=overwrite, progress=progress
    )
    return Described(**vars(written))


@dataclass(frozen=True)
class _Task:
    """What is to be done with each shard, in plain values that another process understands."""

    descriptor: Mapping[str, Any]
    level: str
    pooling: str

    @property
    def plan(self) -> Mapping[str, Any]:
        """The settings."""
        return vars(self)

    def write(self, rows: pa.Table, part: Path) -> None:
        """Write the fingerprints of some crystals."""
        descriptor: Descriptor = build("descriptors", self.descriptor)
        crystals, skipped = _usable(from_arrow(rows, ()).to(dtype=torch.float32), descriptor)
        tables, isolated = [], 0
        for graph, values in described(descriptor, crystals):
            isolated += len(graph.isolated)
            tables.append(self._table(graph.crystals, values, descriptor))
        if not tables:
            none = torch.zeros((0, descriptor.size))
            tables = [self._table(crystals[:0], none, descriptor)]
        counts = {ISOLATED: isolated}
        whole = pa.concat_tables(tables)
        write_part(self, Part(whole, len(crystals), crystals.atom_total, skipped, counts), part)

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
