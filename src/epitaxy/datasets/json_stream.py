"""JSON documents of any size, read piece by piece: only one record is in memory at a time."""

import bz2
import contextlib
import gzip
import io
import json
import lzma
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from epitaxy.errors import InputError

_PIECE = 1 << 20  # characters
_SPACE = " \t\n\r"
_OPENERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}


@contextlib.contextmanager
def opened(path: Path) -> Iterator[io.TextIOBase]:
    """Open a text file, compressed with gzip, bzip2 or xz, or alone in a zip archive.

    Raises InputError that names the file where it is damaged.
    """
    faults = (EOFError, OSError, zipfile.BadZipFile, lzma.LZMAError, UnicodeDecodeError)
    with contextlib.ExitStack() as stack:
        try:
            if path.suffix == ".zip":
                archive = stack.enter_context(zipfile.ZipFile(path))
                names = [name for name in archive.namelist() if not name.endswith("/")]
                names = [name for name in names if not name.startswith("__MACOSX")]
                if len(names) != 1:
                    raise InputError(f"{path} holds {len(names)} files; one is expected.")
                raw: Any = stack.enter_context(archive.open(names[0]))
            else:
                raw = stack.enter_context(_OPENERS.get(path.suffix, open)(path, "rb"))
            yield io.TextIOWrapper(raw, encoding="utf-8")
        except faults as error:
            raise InputError(f"{path} is damaged or no JSON: {error}") from error


class JsonStream:
    """A cursor in a JSON document.

    At each value either ``value()`` takes it whole, or ``entries()`` walks through its members,
    each of which is to be taken before the next. Raises InputError where the text is no JSON.
    """

    def __init__(self, file: io.TextIOBase, name: str) -> None:
        self._file, self._name = file, name
        self._text, self._at, self._ended = "", 0, False
        self._decoder = json.JSONDecoder()

    def peek(self) -> str:
        """Return the next character that is no space; "" at the end of the document."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in _SPACE:
                self._at += 1
            if self._at < len(self._text) or not self._more():
                return self._text[self._at : self._at + 1]

    def value(self) -> Any:
        """Return the value at the cursor, and go past it."""
        self.peek()
        wanted = _PIECE
        while True:
            try:
                found, end = self._decoder.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                if not self._more(wanted):
                    raise self._fault(str(error)) from error
            else:
                # a number may go on in the next piece, by ".", "e", "e+" or "e-" and a digit
                closed = self._text[end - 1] in '}]"' or end + 3 <= len(self._text)
                if closed or not self._more(wanted):
                    self._at = end
                    return found
            wanted *= 2  # a long value is not parsed again and again

    def entries(self) -> Iterator[str | int]:
        """Yield the keys of the object, or the positions in the array, at the cursor.

        After each, the cursor is at its value; a value that was not taken is skipped.
        """
        opening = self.peek()
        if opening not in ("{", "["):
            raise self._fault(f"an object or an array is expected, not '{opening}'")
        closing, position = {"{": "}", "[": "]"}[opening], 0
        self._at += 1
        while self.peek() != closing:
            if position:
                self._expect(",")
            key: str | int = position
            if opening == "{":
                key = self.value()
                self._expect(":")
            position += 1
            self.peek()
            before = self._place
            yield key
            if self._place == before:
                self.skip()
        self._at += 1

    def skip(self) -> None:
        """Go past the value at the cursor without keeping it."""
        if self.peek() in ("{", "["):
            for _ in self.entries():
                if self.peek() in ("{", "["):
                    self.value()
        else:
            self.value()

    _dropped = 0

    @property
    def _place(self) -> int:
        return self._dropped + self._at

    def _more(self, wanted: int = 0) -> bool:
        piece = "" if self._ended else self._file.read(wanted or _PIECE)
        self._ended = not piece
        if piece:
            self._dropped += self._at
            self._text, self._at = self._text[self._at :] + piece, 0
        return bool(piece)

    def _expect(self, character: str) -> None:
        if self.peek() != character:
            raise self._fault(f"'{character}' is expected, not '{self.peek()}'")
        self._at += 1

    def _fault(self, reason: str) -> InputError:
        return InputError(f"{self._name} is no JSON near character {self._place}: {reason}.")


def descend(stream: JsonStream, key: str) -> bool:
    """Put the cursor at the value of a key of the document's object; say whether it is there."""
    if stream.peek() != "{":
        return False
    return any(found == key for found in stream.entries())


def member(path: Path, key: str) -> Any:
    """Return the value of one key of a document's object; None where it is not there."""
    with opened(path) as file:
        stream = JsonStream(file, str(path))
        return stream.value() if descend(stream, key) else None
