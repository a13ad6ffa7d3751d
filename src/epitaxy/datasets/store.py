"""Where the files of public data sets lie on this computer, and how they get there."""

import contextlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from epitaxy.datasets.cards import Card, CardFile, card_named, catalogue
from epitaxy.datasets.downloads import Progress, fetch, sha256_of
from epitaxy.datasets.servers import (
    ChecksumError,
    DiskFullError,
    DownloadError,
    NoConnectionError,
    Patience,
    Say,
    in_words,
)
from epitaxy.errors import EpitaxyError

State = Literal["converted", "here", "partly", "by hand", "to get", "to ask"]


class LicenceError(EpitaxyError, ValueError):
    """A data set whose terms have not been accepted yet."""


class MissingFileError(DownloadError):
    """A file without an address, which nobody has put into its place yet."""


def cache_folder() -> Path:
    """Return ``$EPITAXY_CACHE``, by default ``~/.cache/epitaxy``."""
    return Path(os.environ.get("EPITAXY_CACHE") or Path.home() / ".cache" / "epitaxy")


def dataset_folder(name: str) -> Path:
    """Return the folder of a data set in the cache; it need not be there."""
    return cache_folder() / "datasets" / name


def files_folder(card: Card) -> Path:
    """Return the folder in which the files of a card lie."""
    return dataset_folder(card.files_of or card.name)


def get_dataset(
    name: str,
    *,
    accept_licence: bool = False,
    given: Sequence[str | os.PathLike[str]] = (),
    verify: bool = False,
    cards: str | os.PathLike[str] | None = None,
    patience: Patience | None = None,
    progress: Progress | None = None,
    say: Say | None = None,
) -> list[Path]:
    """Return the files of a data set, fetched if they are not here yet.

    Args:
        name: of the card.
        accept_licence: you accept the data set's terms, where the card asks for that.
        given: files that you have fetched yourself; they are checked and copied into the cache.
        verify: hash files that are here already, too; otherwise their size is compared.
        cards: a TOML file of further cards.
        patience: how often and how long to try.
        progress: called with the bytes that are there and those of the whole file.
        say: called with a sentence on what is waited for or begun anew.

    Raises CardError, LicenceError, MissingFileError, or an error of ``downloads``.
    """
    card = card_named(name, cards)
    if card.remote:
        raise DownloadError(
            f"'{name}' is asked for crystals, it has no files: load_dataset(\"{name}\", …), or "
            f"`epitaxy data convert {name}`."
        )
    say = say or (lambda text: None)
    if not given and not verify and (found := files_here(card)):
        return found
    with locked(card, say):
        _require_accepted(card, accept_licence)
        _take_in(card, [Path(path) for path in given])
        return [
            path
            for file in card.files
            for path in _files_of(card, file, verify, patience, progress, say)
        ]


def files_here(card: Card) -> list[Path]:
    """Return the card's files if all of them are here with their records, else none."""
    found: list[Path] = []
    for file in card.files:
        matching = _matching(card, file)
        if not matching or any(_agreeing_record(path, file) is None for path in matching):
            return []
        found += matching
    return found


def has_news(card: Card) -> bool:
    """Return whether a file lies there that was not recorded yet, or not as it is now."""
    return any(
        _agreeing_record(path, file) is None
        for file in card.files
        for path in _matching(card, file)
    )


def hashes_here(card: Card) -> list[str]:
    """Return the recorded hash of every file of the card that was ever here, in order."""
    folder = files_folder(card)
    names = [
        found.name.removesuffix(".record.json")
        for file in card.files
        for found in sorted(folder.glob(f"{file.name}.record.json"))
    ]
    records = [_record(folder / name) for name in names]
    return [str(record["sha256"]) for record in records if record]


def state_of(card: Card) -> State:
    """Return how far a data set has come on this computer."""
    folder = files_folder(card)
    if any(dataset_folder(card.name).glob(f"{card.name}-*.arrow")):
        return "converted"
    if card.remote:
        return "to ask"
    if files_here(card):
        return "here"
    if any(folder.glob("*.part")):
        return "partly"
    return "by hand" if card.by_hand else "to get"


def names_here(cards: str | os.PathLike[str] | None = None) -> list[str]:
    """Return the data sets that can be read without a network."""
    known = catalogue(cards).values()
    return [card.name for card in known if state_of(card) in ("converted", "here")]


@contextlib.contextmanager
def locked(card: Card, say: Say) -> Iterator[None]:
    """Keep other processes from fetching or converting the same data set meanwhile."""
    folder = files_folder(card)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            say(f"another process is busy with '{card.name}': waiting for it")
            lock.acquire()
    except OSError as error:
        raise DownloadError(
            f"the cache {folder} cannot be written ({error.strerror}): set EPITAXY_CACHE to a "
            "folder of yours."
        ) from error
    try:
        yield
    finally:
        lock.release()


def _require_accepted(card: Card, accept: bool) -> None:
    mark = files_folder(card) / "licence.json"
    if not card.accept_licence or (mark.is_file() and not accept):
        return
    if not accept:
        raise LicenceError(
            f"'{card.name}' has terms that you have to accept: {card.licence}. Give "
            "--accept-licence (accept_licence=True) once if you do."
        )
    _write_json(mark, {"licence": card.licence, "accepted": time.strftime("%Y-%m-%d")})


def _files_of(
    card: Card,
    file: CardFile,
    verify: bool,
    patience: Patience | None,
    progress: Progress | None,
    say: Say,
) -> list[Path]:
    found = _matching(card, file)
    if found:
        for path in found:
            _check(path, file, verify)
        return found
    folder = files_folder(card)
    if not file.addresses:
        raise MissingFileError(
            f"'{card.name}' has no address for {file.name}: it has to be fetched by hand. "
            f"{card.obtain} Then put it into {folder}, or name it: epitaxy data get {card.name} "
            f"--file {file.name.replace('*', '…')}"
        )
    path = folder / file.name
    before = _record(path)
    try:
        say(f"fetching {file.name}")
        got = fetch(
            file.addresses,
            path,
            sha256=file.sha256 or (before or {}).get("sha256", ""),
            patience=patience,
            progress=progress,
            say=say,
        )
    except NoConnectionError as error:
        here = ", ".join(names_here()) or "nothing"
        raise NoConnectionError(
            f"{error}\nWithout a network there is, in {cache_folder()}: {here}."
        ) from error
    except ChecksumError as error:
        if file.sha256 or not before:
            raise
        raise ChecksumError(
            f"{error}\nThe expected hash is the one recorded when the file first came, on "
            f"{before.get('when', 'an earlier day')}. If the change is meant, delete "
            f"{_record_path(path)}."
        ) from error
    _remember(path, got.sha256, got.address, bool(file.sha256))
    if not file.sha256:
        say(f"the card has no hash for {file.name}; recorded: {got.sha256}")
    return [path]


def _take_in(card: Card, given: Sequence[Path]) -> None:
    """Copy files of the user's into the cache, where they are what the card expects."""
    for path in given:
        if not path.is_file():
            raise DownloadError(f"there is no file {path}.")
        file = _file_for(card, path)
        hashed = sha256_of(path)
        if file.sha256 and hashed != file.sha256:
            raise ChecksumError(
                f"{path} has the sha256 {hashed}; the card of '{card.name}' expects {file.sha256}: "
                "it is another version of the file, or damaged."
            )
        place = files_folder(card) / (path.name if "*" in file.name else file.name)
        known = _record(place)
        if not file.sha256 and known is not None and known["sha256"] != hashed:
            raise ChecksumError(
                f"{path} has the sha256 {hashed}; the file of this name that was taken first had "
                f"{known['sha256']}: it is another version, or damaged. If it is meant to take the "
                f"other's place, remove {place.parent} first."
            )
        if place.exists() and place.samefile(path):
            _remember(place, hashed, str(path), bool(file.sha256))
            continue
        part = place.with_name(f"{place.name}.part")
        try:
            shutil.copyfile(path, part)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise DiskFullError(
                f"{path} ({in_words(path.stat().st_size)}) cannot be copied to {place}: "
                f"{error.strerror}."
            ) from error
        os.replace(part, place)
        _remember(place, hashed, str(path), bool(file.sha256))


def _file_for(card: Card, path: Path) -> CardFile:
    fitting = [file for file in card.files if Path(path.name).match(file.name)]
    if len(card.files) == 1 and "*" not in card.files[0].name:
        return card.files[0]
    if not fitting:
        names = ", ".join(file.name for file in card.files)
        raise DownloadError(f"{path.name} is none of the files of '{card.name}': {names}.")
    return fitting[0]


def _matching(card: Card, file: CardFile) -> list[Path]:
    folder = files_folder(card)
    ours = (".part", ".record.json", ".part.json", ".arrow", ".report.json")
    found = folder.glob(file.name) if "*" in file.name else [folder / file.name]
    return sorted(path for path in found if path.is_file() and not path.name.endswith(ours))


def _check(path: Path, file: CardFile, verify: bool) -> None:
    """Compare a file that is here with its record and the card; record it if it is new."""
    if not verify and _agreeing_record(path, file) is not None:
        return
    before = _record(path) or {}
    expected = file.sha256 or before.get("sha256", "")
    found = sha256_of(path)
    if expected and found != expected:
        known = "the card expects" if file.sha256 else "it had at first"
        keep = "" if file.sha256 else ", or delete its record to keep it"
        raise ChecksumError(
            f"{path} has the sha256 {found}; {known} {expected}: damaged, or another version. "
            f"Delete it to get it again{keep}."
        )
    _remember(path, found, before.get("address", "put there by hand"), bool(file.sha256))


def _agreeing_record(path: Path, file: CardFile) -> dict[str, Any] | None:
    """Return the record of a file whose size and time are still those that were recorded."""
    record, state = _record(path), path.stat()
    if record is None or (record["size"], record["changed"]) != (state.st_size, state.st_mtime_ns):
        return None
    return record if not file.sha256 or record["sha256"] == file.sha256 else None


def _record_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.record.json")


def _record(path: Path) -> dict[str, Any] | None:
    try:
        record = json.loads(_record_path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    complete = isinstance(record, dict) and {"sha256", "size", "changed"} <= record.keys()
    return record if complete else None


def _remember(path: Path, sha256: str, address: str, verified: bool) -> None:
    state = path.stat()
    content = {
        "sha256": sha256,
        "size": state.st_size,
        "changed": state.st_mtime_ns,
        "address": address,
        "verified": "by the card" if verified else "recorded at first use",
        "when": time.strftime("%Y-%m-%d"),
    }
    _write_json(_record_path(path), content)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    os.replace(part, path)
