"""A run's folder: what it holds, whether it may be used, and what is written down about it."""

import contextlib
import json
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from epitaxy.errors import RunFolderError, TrainingError
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

    def check_under_way(self) -> None:
        """Raise TrainingError where the run, which another process leads, has been stopped."""
        status = (_read_manifest(self.path) or {}).get("status", "running")
        if status.startswith("stopped"):
            raise TrainingError(f"the run in {self.path} was {status}")

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keep the folder from other processes; raises RunFolderError where one has it."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.path / ".lock")
            lock.acquire(timeout=0)
        except Timeout:
            raise RunFolderError(
                f"another process is working in {self.path}: wait for it, or choose another --out."
            ) from None
        except OSError as error:
            raise RunFolderError(
                f"{self.path} cannot be written ({error.strerror}): choose another --out."
            ) from error
        try:
            yield
        except BaseException as error:
            self._note({"status": f"stopped: {str(error) or type(error).__name__}"})
            raise
        finally:
            lock.release()
            (self.path / ".lock").unlink(missing_ok=True)

    def begin(self, more: Mapping[str, Any] | None = None) -> None:
        """Write the manifest of a run under way, with ``more`` that is not its identity."""
        manifest = _read_manifest(self.path) or {"started": _now(), "seconds": 0.0}
        current = {**_as_json(self.identity), **(more or {}), "versions": versions()}
        write_json(self.path / MANIFEST_FILE, {**manifest, **current, "status": "running"})

    def end(self, seconds: float, report: str, more: Mapping[str, Any] | None = None) -> None:
        """Write the manifest of a finished run, with ``more``, and drop its resume state."""
        manifest = _read_manifest(self.path) or {}
        total = round(manifest.get("seconds", 0.0) + seconds, 2)
        closing = {
            "status": "finished",
            "ended": _now(),
            "seconds": total,
            "report": report,
            **(more or {}),
        }
        write_json(self.path / MANIFEST_FILE, {**manifest, **closing})
        (self.path / RESUME_FILE).unlink(missing_ok=True)

    def _note(self, closing: Mapping[str, Any]) -> None:
        with contextlib.suppress(RunFolderError):  # the error that brought us here matters more
            manifest = _read_manifest(self.path) or {}
            write_json(self.path / MANIFEST_FILE, {**manifest, **closing})


def claim_folder(
    path: Path,
    identity: Mapping[str, Any],
    overwrite: bool = False,
    needed: Path | None = None,
) -> RunFolder:
    """Return a folder for a run: new, or one that holds the same run, finished or not.

    Raises RunFolderError where it holds another run or foreign files. ``overwrite`` clears a run
    of ours first, never anything else, and never the folder that is ``needed``.
    """
    if overwrite and path.is_dir() and any(path.iterdir()):
        if not _is_ours(path):
            raise RunFolderError(f"{path} holds no run of ours: it will not be cleared.")
        if needed is not None and path.resolve() in (needed.resolve(), *needed.resolve().parents):
            raise RunFolderError(f"{path} holds the weights to start from: choose another --out.")
        shutil.rmtree(path)
    if path.is_file():
        raise RunFolderError(f"{path} is a file: name a folder for the run.")
    manifest = _read_manifest(path)
    if manifest is None:
        if path.is_dir() and any(
            entry.name not in (".gitignore", ".lock") for entry in path.iterdir()
        ):
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


def _is_ours(path: Path) -> bool:
    try:
        manifest = _read_manifest(path)
    except RunFolderError:
        return False
    return manifest is not None and {"kind", "status", "versions"} <= set(manifest)


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
