"""Representations of a whole data set to Parquet: streaming, resumable, with bounded memory."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from epitaxy.backbones.base import Encoding
from epitaxy.crystals.arrow import from_arrow, write_arrow, write_parquet
from epitaxy.crystals.crystals import Crystals
from epitaxy.crystals.graph import Graph
from epitaxy.datasets.screening import screen
from epitaxy.errors import InputError, RunFolderError
from epitaxy.shards import Part, Progress, Written, write_part, write_shards
from epitaxy.training.checkpoint import Model
from epitaxy.training.embed import (
    LAST,
    Reading,
    encoded,
    lone_atom,
    model_named,
    places,
    with_representations,
)
from epitaxy.training.finetune import Ancestor
from epitaxy.training.train import lineage

SHARD = 512  # crystals that are read, encoded and written at a time
EDGE_SHARD = 32  # where every edge is a row: an atom has fifty or more
ATOMS_AT_ONCE = 1000


def write_embeddings(
    model: Ancestor,
    structures: Any,
    out: str | os.PathLike[str],
    *,
    layer: str = LAST,
    level: str = "crystal",
    pooling: str = "mean",
    joined: bool = False,
    shard: int | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Written:
    """Write frozen representations to a Parquet file: the table of ``epitaxy.embed``, streamed.

    A Parquet or ``.arrow`` file in the exchange layout is streamed: memory is bounded by ``shard``.
    A call that was interrupted goes on where it stopped. Crystals that cannot be used are left out
    and reported; the column ``flag`` marks those unlike the model's training data.

    Args:
        model: a run, a model, or a checkpoint's folder.
        structures: whatever ``read_crystals`` reads, or ``"bundled"``.
        out: the file to write.
        layer, level, pooling, joined: as ``epitaxy.embed`` has them.
        shard: crystals held at a time; None for 512, or 32 where the rows are edges.
        overwrite: replace the file, and whatever else has been begun for it.
        progress: called with the crystals done and their total.

    Raises InputError for what the model's backbone does not have, CheckpointError, and
    RunFolderError where the file is there already or another one has been begun in its place.
    """
    loaded = model_named(model, "embed")
    reading = Reading(layer, level, pooling, joined).checked(loaded.backbone)
    size = shard or (EDGE_SHARD if level == "edge" else SHARD)
    task = _Task(loaded, reading)
    return write_shards(task, structures, out, shard=size, overwrite=overwrite, progress=progress)


def write_with_representations(
    model: Ancestor,
    structures: Any,
    out: str | os.PathLike[str],
    layer: str = LAST,
    overwrite: bool = False,
) -> str:
    """Write crystals, with their targets and the frozen rows of their atoms, and say how to use it.

    The file is ``.arrow``, to be mapped, or Parquet. Raises as ``write_embeddings`` does.
    """
    path = Path(out)
    if path.suffix not in (".arrow", ".parquet"):
        raise InputError(f"crystals are written as .arrow or .parquet, not as '{path.name}'.")
    if path.exists() and not overwrite:
        raise RunFolderError(f"{path} is there already: name another file, or give --overwrite.")
    crystals = with_representations(model, structures, layer)
    write = write_arrow if path.suffix == ".arrow" else write_parquet
    write(crystals, path)
    name = list(crystals.inputs)[-1]
    return (
        f"{path}: {len(crystals)} crystals. A network starts from these rows with\n"
        f"  --set backbone.inputs='[\"{name}\", {crystals.inputs[name].shape[1]}]'"
    )


@dataclass(frozen=True)
class _Task:
    """What is to be done with each shard."""

    model: Model
    reading: Reading

    @property
    def plan(self) -> Mapping[str, Any]:
        """The settings, and which weights."""
        return {**vars(self.reading), "model": lineage(self.model)}

    def write(self, rows: pa.Table, part: Path) -> None:
        """Write the representations of some crystals."""
        crystals, skipped = self._usable(from_arrow(rows, ()))
        flags = dict(zip(crystals.ids, self.model.coverage.flags(crystals), strict=True))
        tables = [
            self._table(graph, encoding, flags)
            for graph, encoding in encoded(self.model.backbone, crystals, ATOMS_AT_ONCE)
        ]
        if not tables:
            alone = next(encoded(self.model.backbone, lone_atom(self.model.backbone)))
            tables = [self._table(*alone, {"0": ""}).slice(0, 0)]
        flagged = sum(flag != "" for flag in flags.values())
        counts = {"crystals are flagged as unlike the training data": flagged}
        whole = pa.concat_tables(tables)
        write_part(self, Part(whole, len(crystals), crystals.atom_total, skipped, counts), part)

    def _table(self, graph: Graph, encoding: Encoding, flags: Mapping[str, str]) -> pa.Table:
        where = places(graph, self.reading.level)
        where["flag"] = pa.array([flags[one] for one in where["id"]], pa.string())
        names = self.reading.columns(self.model.backbone)
        values = self.reading.of(graph, encoding).cpu().T.contiguous().numpy()
        return pa.table(where | dict(zip(names, values, strict=True)))

    def _usable(self, crystals: Crystals) -> tuple[Crystals, dict[str, str]]:
        """Return the crystals that can be encoded, and why the others cannot."""
        faults = dict(screen(crystals).faults)
        elements = self.model.backbone.elements
        known = (crystals.numbers >= 1) & (crystals.numbers < elements)
        for place in torch.unique(crystals.crystal_of_atom[~known]).tolist():
            faults.setdefault(place, f"an atomic number lies outside 1–{elements - 1}.")
        kept = [place for place in range(len(crystals)) if place not in faults]
        skipped = {crystals.ids[place]: reason for place, reason in sorted(faults.items())}
        return crystals[torch.tensor(kept, dtype=torch.int64)], skipped
