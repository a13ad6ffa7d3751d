"""What a study's folder holds, as tidy tables; what is not there yet is an empty table."""

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from epitaxy.errors import InputError

STUDY_FILE = "study.json"
TEXT: Mapping[str, tuple[str, ...]] = {
    "records": (
        *("task", "target", "unit", "contender", "label", "backbone", "pretraining", "setting"),
        *("status", "reason"),
    ),
    "predictions": ("task", "target", "unit", "contender", "id", "formula"),
    "results": ("task", "contender", "reference", "unit"),
    "curves": ("task", "contender", "split", "metric", "unit"),
    "tuning": ("task", "contender", "setting", "chosen"),
    "pretraining": ("name", "backbone", "objectives"),
    "published": ("task", "who", "unit", "protocol", "source"),
    "maps": ("pretraining", "task", "id", "formula", "method", "element"),
}
NUMBERS: Mapping[str, tuple[str, ...]] = {
    "records": ("size", "seed", "fold", "validation_mae", "test_mae", "seconds"),
    "predictions": ("size", "seed", "fold", "truth", "value"),
    "results": (
        *("size", "mae", "mae_low", "mae_high", "difference", "difference_low", "difference_high"),
        *("improvement_percent", "improvement_low", "improvement_high", "wins_percent"),
        *("seeds", "train", "test"),
    ),
    "curves": ("size", "seed", "epoch", "value"),
    "tuning": ("size", "seed", "validation_mae"),
    "pretraining": ("crystals", "atoms_seen", "seconds"),
    "published": ("mae",),
    "maps": ("x", "y", "value", "density"),
}


@dataclass(frozen=True, eq=False)
class Study:
    """A study, or a comparison as a study of one task and one size.

    Attributes:
        title: the heading of its page.
        sentence: the plain verdict of the whole.
        verdicts: one per contender, with ``task``, ``size`` and ``sentence``.
        records: one row per run, with its status and, where it failed, the reason.
        predictions: one row per test crystal of a run.
        results: one row per task, size and contender, with intervals.
        audit: task → what an audit of its crystals found.
        manifest: how the study was made.
    """

    title: str
    sentence: str
    verdicts: Sequence[Mapping[str, Any]]
    records: pd.DataFrame
    predictions: pd.DataFrame
    results: pd.DataFrame
    curves: pd.DataFrame
    tuning: pd.DataFrame
    pretraining: pd.DataFrame
    published: pd.DataFrame
    maps: pd.DataFrame
    audit: Mapping[str, Any] = field(default_factory=dict)
    manifest: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()
    kind: str = "study"

    @property
    def tasks(self) -> list[str]:
        """The tasks, in the order in which they were run."""
        named = [*self.records["task"], *self.results["task"], *self.predictions["task"]]
        return list(dict.fromkeys(named))

    @property
    def contenders(self) -> list[str]:
        """All contenders, the reference first; a contender has one color on the whole page."""
        named = [*self.records["contender"], *self.results["contender"]]
        names = list(dict.fromkeys([*named, *self.predictions["contender"]]))
        return sorted(names, key=lambda name: (name not in self.references, names.index(name)))

    @property
    def references(self) -> set[str]:
        """What contenders are compared with: scratch."""
        return {str(one) for one in self.results["reference"] if one}

    def reference_of(self, contender: str) -> str | None:
        """What this contender is compared with, where it is compared with anything."""
        rows = self.results[self.results["contender"] == contender]
        named = [str(one) for one in rows["reference"] if one and one != contender]
        return named[0] if named else None

    def label(self, contender: str) -> str:
        """Return ``ours``, ``paper``, ``baseline`` or ``control``; empty where nothing is said."""
        rows = self.records[self.records["contender"] == contender]
        return str(rows["label"].iloc[0]) if len(rows) else ""

    def target(self, task: str) -> tuple[str, str]:
        """Return the name and the unit of a task's target."""
        for table in (self.records, self.predictions):
            rows = table[table["task"] == task]
            if len(rows):
                return str(rows["target"].iloc[0]), str(rows["unit"].iloc[0])
        return task, ""

    def sizes(self, task: str) -> list[int]:
        """Return the numbers of training crystals of a task, the largest last."""
        found: set[int] = set()
        for table in (self.records, self.results):
            found |= {int(size) for size in table.loc[table["task"] == task, "size"].dropna()}
        return sorted(found)


def is_study(folder: Path) -> bool:
    """Whether a folder holds a study."""
    return (folder / STUDY_FILE).is_file()


def read_study(folder: Path | str) -> Study:
    """Read what is there; a study under way has tables that are not there yet.

    Raises InputError where the folder holds no study, or a table lacks a column.
    """
    folder = Path(folder)
    if not is_study(folder):
        raise InputError(
            f"{folder} has no {STUDY_FILE}: give the folder that `epitaxy benchmark` wrote."
        )
    manifest = _json(folder / STUDY_FILE)
    verdicts = _json(folder / "verdicts.json")
    settings = _toml(folder / "study.toml")
    told = verdicts if isinstance(verdicts, dict) else {}
    listed = told.get("verdicts", []) if isinstance(verdicts, dict) else verdicts
    spoken = [one for one in listed if isinstance(one, dict)]
    overall = [one for one in spoken if not one.get("task")]
    sentence = told.get("sentence") or next((one["sentence"] for one in overall), "")
    tables: dict[str, Any] = {name: read_table(folder, name) for name in TEXT}
    named = [one.get(key) for key in ("title", "name") for one in (manifest, settings)]
    title = next((name for name in named if name), folder.resolve().name)
    return Study(
        title=str(title),
        sentence=str(sentence or _no_verdict(tables["records"])),
        verdicts=[one for one in spoken if one.get("task")],
        audit={file.stem: _json(file) for file in sorted((folder / "audit").glob("*.json"))},
        manifest=manifest,
        notes=[str(note) for note in manifest.get("notes", ())],
        **tables,
    )


def read_table(folder: Path, name: str) -> pd.DataFrame:
    """Read one table of a study; CSV or Parquet, whichever is there.

    Names stay text: a contender may be called ``None`` and a crystal ``007``.
    """
    parquet, csv = folder / f"{name}.parquet", folder / f"{name}.csv"
    try:
        if parquet.is_file():
            table = pd.read_parquet(parquet)
        elif csv.is_file() and csv.stat().st_size > 1:
            table = pd.read_csv(csv, dtype=str, keep_default_na=False)
        else:
            table = pd.DataFrame(columns=[*TEXT[name], *NUMBERS[name]])
    except (OSError, ValueError) as error:
        raise InputError(f"the table {name} of {folder} cannot be read: {error}") from error
    return typed(table, name, str(folder))


def typed(table: pd.DataFrame, name: str, where: str = "these records") -> pd.DataFrame:
    """Return a table with text where text is meant and numbers where numbers are.

    Columns that only some studies have (``fold``, ``reason``) are added empty. Raises InputError
    where one is missing that every study has.
    """
    needed = {"predictions": ("task", "contender", "id", "truth", "value")}.get(name, ())
    if missing := [column for column in needed if column not in table.columns]:
        raise InputError(f"the table {name} of {where} lacks {', '.join(missing)}.")
    text = {
        column: table[column].fillna("").astype(str).astype(object)
        if column in table
        else pd.Series("", index=table.index, dtype=object)
        for column in TEXT[name]
    }
    numbers = {
        column: pd.to_numeric(table[column], errors="coerce").astype(float)
        if column in table
        else pd.Series(float("nan"), index=table.index, dtype=float)
        for column in NUMBERS[name]
    }
    return table.assign(**text, **numbers)


def _no_verdict(records: pd.DataFrame) -> str:
    done = int((records["status"] == "done").sum())
    return f"No verdict yet: {done} of {len(records)} runs are done."


def _json(file: Path) -> Any:
    if not file.is_file():
        return {}
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{file} is no JSON: {error}. Run the study again to renew it.") from error


def _toml(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    try:
        found = tomllib.loads(file.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{file} is no TOML: {error}.") from error
    inner = found.get("study")
    return inner if isinstance(inner, dict) else found
