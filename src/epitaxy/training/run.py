"""A run's folder: what it holds, whether it may be used, and what is written down about it."""

import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from epitaxy.errors import RunFolderError
from epitaxy.training.callbacks import RESUME_FILE
from epitaxy.training.checkpoint import CARD_FILE, Model, load_model, versions
from epitaxy.training.files import write_json

MANIFEST_FILE = "manifest.json"


@dataclass(frozen=True, eq=False)
class Run:
    """What a training left behind: its folder and its model.

    ``report`` says in words what was taken, made anew, frozen and skipped.
    """

    folder: Path
    model: Model
    report: str = ""

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r})"


@dataclass(frozen=True)
class RunFolder:
    """A folder that belongs to one run, told by its identity: recipe, data, ancestor."""

    path: Path
    identity: Mapping[str, Any]

    @property
    def resume_file(self) -> Path | None:
        """The state to go on from, if there is one."""
        file = self.path / RESUME_FILE
        return file if file.is_file() else None

    def finished(self) -> Run | None:
        """Return the run if it has ended here before."""
        manifest = _read_manifest(self.path)
        if manifest is None or manifest.get("status") != "finished":
            return None
        return Run(self.path, load_model(self.path), manifest.get("report", ""))

    def begin(self) -> None:
        """Write the manifest of a run under way."""
        manifest = _read_manifest(self.path) or {"started": _now(), "seconds": 0.0}
        write_json(
            self.path / MANIFEST_FILE,
            {**manifest, **_as_json(self.identity), "versions": versions(), "status": "running"},
        )

    def end(self, seconds: float, report: str) -> None:
        """Write the manifest of a finished run and drop its resume state."""
        manifest = _read_manifest(self.path) or {}
        total = round(manifest.get("seconds", 0.0) + seconds, 2)
        closing = {"status": "finished", "ended": _now(), "seconds": total, "report": report}
        write_json(self.path / MANIFEST_FILE, {**manifest, **closing})
        (self.path / RESUME_FILE).unlink(missing_ok=True)


def claim_folder(path: Path, identity: Mapping[str, Any], overwrite: bool = False) -> RunFolder:
    """Return a folder for a run: new, or one that holds the same run, finished or not.

    Raises RunFolderError where it holds another run or foreign files; ``overwrite`` clears it.
    """
    if overwrite and path.is_dir():
        if not (path / MANIFEST_FILE).is_file() and any(path.iterdir()):
            raise RunFolderError(f"{path} holds no run of ours: it will not be cleared.")
        shutil.rmtree(path)
    if path.is_file():
        raise RunFolderError(f"{path} is a file: name a folder for the run.")
    manifest = _read_manifest(path)
    if manifest is None:
        if path.is_dir() and any(entry.name != ".gitignore" for entry in path.iterdir()):
            raise RunFolderError(
                f"{path} is not empty and holds no run: choose another folder with --out."
            )
        return RunFolder(path, identity)
    wanted = _as_json(identity)
    differing = first_difference(wanted, {key: manifest.get(key) for key in wanted})
    if differing:
        raise RunFolderError(
            f"{path} holds another run: {differing}. Choose another folder with --out, or clear "
            "this one with --overwrite."
        )
    return RunFolder(path, identity)


def first_difference(ours: Any, theirs: Any, where: str = "") -> str:
    """Return in words where two nested values first differ, or an empty text."""
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        for key in sorted({*ours, *theirs}):
            found = first_difference(
                ours.get(key), theirs.get(key), f"{where}.{key}" if where else str(key)
            )
            if found:
                return found
        return ""
    return "" if ours == theirs else f"{where} is {theirs!r} there and {ours!r} here"


def has_checkpoint(path: Path) -> bool:
    """Return whether a folder holds a finished checkpoint."""
    return (path / CARD_FILE).is_file()


def _read_manifest(path: Path) -> dict[str, Any] | None:
    file = path / MANIFEST_FILE
    if not file.is_file():
        return None
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise RunFolderError(f"{file} is damaged ({error}): choose another folder.") from None


def _as_json(value: Any) -> Any:
    return json.loads(json.dumps(value))


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
