"""Files that are either there as a whole or not at all."""

import contextlib
import io
import json
import os
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import CheckpointIO

from epitaxy.errors import RunFolderError


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file by way of a temporary one, fsync and rename; the old one survives a failure.

    Raises RunFolderError that names the file if the disk is full or cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        kept = " What it held before is kept." if path.exists() else ""
        raise RunFolderError(
            f"{path} could not be written ({error.strerror}).{kept} Make room or choose another "
            "folder, then give the same command again: it resumes."
        ) from error


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON, atomically."""
    write_atomically(path, (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode())


class AtomicCheckpointIO(CheckpointIO):
    """Resume state for the trainer: written atomically, read without unpickling code."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        """Write the state."""
        content = io.BytesIO()
        torch.save(checkpoint, content)
        write_atomically(Path(path), content.getvalue())

    def load_checkpoint(
        self,
        path: str | Path,
        map_location: Any | None = None,
        weights_only: bool | None = None,
    ) -> dict[str, Any]:
        """Read the state; only tensors and plain values are accepted, whatever is asked for."""
        return torch.load(path, map_location=map_location, weights_only=True)

    def remove_checkpoint(self, path: str | Path) -> None:
        """Remove the state."""
        Path(path).unlink(missing_ok=True)
