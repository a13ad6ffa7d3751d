"""Files of crystals that grow chunk by chunk, so that a data set need not fit into memory."""

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from epitaxy.crystals.arrow import to_arrow, write_arrow
from epitaxy.crystals.crystals import Crystals
from epitaxy.errors import InputError

_DTYPES = {  # what the mapped file keeps
    "numbers": torch.int16,
    "positions": torch.float64,
    "cell": torch.float64,
    "pbc": torch.bool,
}


class GrowingArrow:
    """The ``.arrow`` file that is mapped into memory; in use as a context.

    Chunks go to one raw file per column beside it; at the end these are mapped and written as the
    single record batch that ``open_arrow`` needs. In memory are one chunk, the ids and the sizes;
    on disk is twice the data set for a moment.
    """

    def __init__(self, destination: Path) -> None:
        self.destination = destination
        destination.parent.mkdir(parents=True, exist_ok=True)
        self._folder = Path(
            tempfile.mkdtemp(prefix=f".{destination.name}.", dir=destination.parent)
        )
        self._counts: list[Tensor] = []
        self._ids: list[str] = []
        self._shown: Crystals | None = None

    def __enter__(self) -> "GrowingArrow":
        return self

    def add(self, crystals: Crystals) -> None:
        """Append some crystals; all chunks have the same targets."""
        if self._shown is None:
            self._shown = crystals
        for name, values in _arrays(crystals).items():
            with (self._folder / _file_name(name)).open("ab") as file:
                file.write(values.contiguous().numpy().tobytes())
        self._counts.append(crystals.atom_counts)
        self._ids += crystals.ids

    def finish(self) -> None:
        """Write the file; it appears whole or not at all."""
        if self._shown is None:
            raise InputError("there are no crystals to be written.")
        mapped = {name: self._mapped(name, like) for name, like in _arrays(self._shown).items()}
        counts = torch.cat(self._counts)
        offsets = torch.cat([torch.zeros(1, dtype=torch.int64), torch.cumsum(counts, 0)])
        targets = {
            name: target.with_values(mapped[f"target {name}"])
            for name, target in self._shown.targets.items()
        }
        whole = Crystals(
            numbers=mapped["numbers"],
            positions=mapped["positions"],
            cell=mapped["cell"],
            pbc=mapped["pbc"],
            offsets=offsets,
            targets=targets,
            ids=self._ids,
        )
        write_arrow(whole, self.destination)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def _mapped(self, name: str, like: Tensor) -> Tensor:
        path = self._folder / _file_name(name)
        kind = torch.empty(0, dtype=like.dtype).numpy().dtype
        shape = tuple(like.shape[1:])
        rows = path.stat().st_size // (kind.itemsize * int(np.prod(shape, dtype=np.int64)))
        flat = np.memmap(path, dtype=kind, mode="c", shape=(rows, *shape))
        return torch.from_numpy(flat)


class GrowingParquet:
    """A Parquet file in the exchange layout, one row group per chunk; in use as a context."""

    def __init__(self, destination: Path) -> None:
        self.destination = destination
        destination.parent.mkdir(parents=True, exist_ok=True)
        self._part = destination.with_name(f".{destination.name}.{os.getpid()}.part")
        self._writer: pq.ParquetWriter | None = None

    def __enter__(self) -> "GrowingParquet":
        return self

    def add(self, crystals: Crystals) -> None:
        """Append some crystals; all chunks have the same targets."""
        table = to_arrow(crystals)
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._part, table.schema, compression="zstd")
        self._writer.write_table(table)

    def finish(self) -> None:
        """Put the file into its place."""
        if self._writer is None:
            raise InputError("there are no crystals to be written.")
        self._writer.close()
        self._writer = None
        os.replace(self._part, self.destination)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._writer is not None:
            try:
                self._writer.close()
            except (OSError, pa.ArrowException):
                if error is None:
                    raise
        self._part.unlink(missing_ok=True)


def _arrays(crystals: Crystals) -> Mapping[str, Tensor]:
    arrays = {name: getattr(crystals, name).to(kind) for name, kind in _DTYPES.items()}
    return arrays | {f"target {name}": one.values for name, one in crystals.targets.items()}


def _file_name(column: str) -> str:
    return column.encode().hex()
