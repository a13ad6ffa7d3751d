"""One file from the net: streamed, resumed, retried, verified; there as a whole or not at all."""

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import urllib.error
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from epitaxy.datasets.servers import (
    ChecksumError,
    DiskFullError,
    DownloadError,
    InterruptedTransferError,
    NoConnectionError,
    Patience,
    Say,
    in_words,
    patiently,
    request,
)

MIRROR_VARIABLE = "EPITAXY_MIRROR"
_BLOCK = 1 << 18  # bytes
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

Progress = Callable[[int, int | None], None]  # bytes that are there, bytes in all


@dataclass(frozen=True)
class Fetched:
    """A file that is there: its hash, whence it came, and how many bytes of it came just now."""

    path: Path
    sha256: str
    address: str
    size: int
    received: int


@dataclass
class _Part:
    """The part of a file that has come, and what tells whether the rest still belongs to it."""

    path: Path
    address: str = ""
    validator: str = ""
    total: int | None = None
    joined: bool = False
    received: int = field(default=0, compare=False)

    @property
    def _notes(self) -> Path:
        return self.path.with_name(f"{self.path.name}.json")

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    @classmethod
    def found(cls, path: Path) -> "_Part":
        part = cls(path)
        try:
            notes = json.loads(part._notes.read_text())
            part.address, part.validator = str(notes["address"]), str(notes["validator"])
            part.total, part.joined = notes["total"], bool(notes["joined"])
        except (OSError, ValueError, KeyError, TypeError):
            part.discard()
        return part

    def remember(self) -> None:
        notes = {name: getattr(self, name) for name in ("address", "validator", "total", "joined")}
        self._notes.write_text(json.dumps(notes))

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)
        self._notes.unlink(missing_ok=True)
        self.address, self.validator, self.total, self.joined = "", "", None, False

    def forget(self) -> None:
        self._notes.unlink(missing_ok=True)


def fetch(
    addresses: Sequence[str],
    destination: Path,
    *,
    sha256: str = "",
    patience: Patience | None = None,
    progress: Progress | None = None,
    say: Say | None = None,
) -> Fetched:
    """Bring a file from the first address that has it; the caller sees to it that nobody else does.

    It grows as ``NAME.part`` beside its place. What has come before is gone on from, where the
    server vouches (ETag or date) or the hash will (``sha256``) that it is the same file. With
    ``EPITAXY_MIRROR`` that server is asked in place of the addresses' own. Proxies are those of
    ``HTTP_PROXY`` and ``HTTPS_PROXY``.

    Raises NoConnectionError, ChecksumError, DiskFullError or DownloadError that name what was
    tried.
    """
    patience, say = patience or Patience.from_environment(), say or (lambda text: None)
    destination.parent.mkdir(parents=True, exist_ok=True)
    part = _Part.found(destination.with_name(f"{destination.name}.part"))
    failures: list[DownloadError] = []
    for address in mirrored(addresses):
        try:
            with _room_for(part):
                _complete(part, address, sha256, patience, progress, say)
                found = _verified(part, address, sha256, patience, progress, say)
        except DiskFullError:
            raise
        except DownloadError as error:
            failures.append(error)
            continue
        size = part.size
        with part.path.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(part.path, destination)
        part.forget()
        return Fetched(destination, found, address, size, part.received)
    raise _worst(failures, destination)


def mirrored(addresses: Sequence[str]) -> list[str]:
    """Return the addresses, or those on the server of ``EPITAXY_MIRROR`` with the same paths."""
    mirror = os.environ.get(MIRROR_VARIABLE, "").strip()
    if not mirror:
        return list(addresses)
    paths = [urllib.parse.urlsplit(address) for address in addresses]
    asked = [one.path.lstrip("/") + (f"?{one.query}" if one.query else "") for one in paths]
    return list(dict.fromkeys(f"{mirror.rstrip('/')}/{path}" for path in asked))


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _complete(
    part: _Part,
    address: str,
    sha256: str,
    patience: Patience,
    progress: Progress | None,
    say: Say,
) -> None:
    """Stream until the part is the whole file."""

    def once() -> bool:
        start = _start(part, address, sha256)
        if start and start == part.total:
            return True
        headers = {"Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
            if part.address == address and part.validator:
                headers["If-Range"] = part.validator
            say(f"going on from {in_words(start)}")
        try:
            with request(address, headers, patience.timeout) as response:
                _receive(part, address, start, response, progress)
        except urllib.error.HTTPError as error:
            if error.code != 416:
                raise
            error.close()
            part.discard()
            raise InterruptedTransferError("the server has no such part of the file") from error
        return True

    patiently(address, once, patience, say, lambda: part.size)


def _start(part: _Part, address: str, sha256: str) -> int:
    """Return from where to go on: the part's size if it belongs to this file, else 0."""
    if not part.size:
        return 0
    vouched = part.address == address and part.validator
    if vouched or sha256:
        return part.size
    part.discard()
    return 0


def _receive(
    part: _Part, address: str, start: int, response: Any, progress: Progress | None
) -> None:
    """Append what the server sends, or begin anew where it sends the whole file."""
    validator = _validator(response.headers)
    length = response.headers.get("Content-Length", "")
    length = int(length) if length.strip().isdigit() else None
    if start and response.status == 206:
        total = _rest_begins(response.headers, start)
        changed = part.address == address and part.validator != validator
        if total is None or changed or (part.total is not None and total != part.total):
            part.discard()
            raise InterruptedTransferError("the file has changed on the server")
        part.joined = True
    else:
        part.discard()
        total = length
    part.address, part.validator, part.total = address, validator, total
    part.remember()
    _require_room(part)
    with part.path.open("ab", buffering=0) as file:
        while block := response.read1(_BLOCK):
            _write(file, block)
            part.received += len(block)
            if progress:
                progress(part.size, total)
    if total is not None and part.size < total:
        raise InterruptedTransferError(
            f"the connection broke after {in_words(part.size)} of {in_words(total)}"
        )
    if total is not None and part.size > total:
        part.discard()
        raise InterruptedTransferError("the server sent more than it announced")


def _validator(headers: Any) -> str:
    """Return what tells one version of a file from another; a weak ETag does not."""
    etag = headers.get("ETag", "").strip()
    return etag if etag.startswith('"') else headers.get("Last-Modified", "").strip()


def _rest_begins(headers: Any, start: int) -> int | None:
    """Return the size of the whole file, if the answer is its rest from ``start`` on."""
    match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", headers.get("Content-Range", "").strip())
    if match is None or int(match[1]) != start or int(match[2]) + 1 != int(match[3]):
        return None
    return int(match[3])


def _verified(
    part: _Part,
    address: str,
    sha256: str,
    patience: Patience,
    progress: Progress | None,
    say: Say,
) -> str:
    """Return the hash of the part; fetch it anew if it was joined from pieces that do not fit."""
    found = sha256_of(part.path)
    if sha256 and found != sha256 and part.joined:
        say("the pieces do not fit together: fetching the file anew")
        part.discard()
        _complete(part, address, sha256, patience, progress, say)
        found = sha256_of(part.path)
    if sha256 and found != sha256:
        size = part.size
        part.discard()
        raise ChecksumError(
            f"{address}: what came ({in_words(size)}) has the sha256 {found}, not {sha256}. Either "
            "the file has changed, or something in between (a proxy's page) came in its place. "
            "Nothing of it is kept."
        )
    return found


def _write(file: BinaryIO, block: bytes) -> None:
    view = memoryview(block)
    while view:
        view = view[file.write(view) :]


def _require_room(part: _Part) -> None:
    if part.total is None:
        return
    wanted, free = part.total - part.size, shutil.disk_usage(part.path.parent).free
    if wanted > free:
        raise _no_room(part, f"{in_words(wanted)} are still to come, and {in_words(free)} are free")


@contextlib.contextmanager
def _room_for(part: _Part) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise DownloadError(f"{part.path} cannot be written: {error.strerror}.") from error
        raise _no_room(part, error.strerror or "the disk is full") from error


def _no_room(part: _Part, why: str) -> DiskFullError:
    kept = f" {in_words(part.size)} of it are kept in {part.path};" if part.size else ""
    return DiskFullError(
        f"there is no room for the file: {why}.{kept} make room, or set EPITAXY_CACHE to a folder "
        "on another disk; the same command then goes on. Delete the .part to give its room back."
    )


def _worst(failures: Sequence[DownloadError], destination: Path) -> DownloadError:
    """Return one error for all addresses: of no connection only where none could be reached."""
    offline = all(isinstance(one, NoConnectionError) for one in failures)
    wrong = next((one for one in failures if isinstance(one, ChecksumError)), None)
    kind = NoConnectionError if offline else ChecksumError if wrong else DownloadError
    told = "\n".join(f"  {one}" for one in failures)
    through = os.environ.get(MIRROR_VARIABLE)
    by = f" (EPITAXY_MIRROR is {through}; unset it to ask the original servers)" if through else ""
    return kind(f"{destination.name} could not be fetched{by}:\n{told}")
