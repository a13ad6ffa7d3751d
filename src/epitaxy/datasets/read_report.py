"""What happened while crystals were read: how many, which not and why, what was converted."""

import json
from collections import Counter
from dataclasses import asdict, dataclass, field

from epitaxy.errors import InputError

_SHOWN = 10


@dataclass(frozen=True)
class Skipped:
    """One structure or row that was not read, and the reason.

    ``row`` is the line in a text table (the header is line 1), else the position from 0.
    """

    file: str
    row: int | None
    id: str | None
    reason: str

    def __str__(self) -> str:
        places = [self.file] if self.file else []
        places += [f"row {self.row}"] if self.row is not None else []
        places += [f"id '{self.id}'"] if self.id is not None else []
        return f"{', '.join(places) or 'a structure'}: {self.reason}"


@dataclass(frozen=True)
class ReadReport:
    """What was read from a source, what was left out, and what the reader ought to know."""

    form: str
    source: str
    read: int
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()

    def summary(self) -> str:
        """Return the report as text for people; it names no more than ten of those skipped."""
        total = self.read + len(self.skipped)
        lines = [f"Read {self.read} of {total} crystals from {self.source} ({self.form})."]
        lines += [f"  note: {note}" for note in self.notes]
        if self.skipped:
            lines.append(f"  skipped {len(self.skipped)}:")
            lines += [f"    {skipped}" for skipped in self.skipped[:_SHOWN]]
        if len(self.skipped) > _SHOWN:
            lines.append(f"    and {len(self.skipped) - _SHOWN} more: see the report")
        return "\n".join(lines)

    def to_json(self) -> str:
        """Return the whole report as JSON text."""
        return json.dumps(asdict(self), ensure_ascii=False, indent=1)


@dataclass
class ReadLog:
    """Collects what a ReadReport says; with ``strict`` the first fault is an InputError."""

    strict: bool = False
    skipped: list[Skipped] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    warnings: Counter[str] = field(default_factory=Counter)

    def skip(self, file: str, row: int | None, id: str | None, reason: str) -> None:
        """Leave a structure out; raises InputError where the reading is strict."""
        skipped = Skipped(file, row, id, reason)
        if self.strict:
            raise InputError(f"{skipped} Without strict, such structures are left out.")
        self.skipped.append(skipped)

    def note(self, text: str) -> None:
        """Add a sentence to the report."""
        self.notes.append(text)

    def report(self, form: str, source: str, read: int) -> ReadReport:
        """Return what was collected."""
        warned = [
            f"warned {count} times while parsing: {text}" if count > 1 else f"warned: {text}"
            for text, count in self.warnings.most_common(_SHOWN)
        ]
        return ReadReport(form, source, read, tuple(self.skipped), (*self.notes, *warned))
