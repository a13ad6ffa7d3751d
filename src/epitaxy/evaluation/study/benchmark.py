"""A whole study: from its file to its records and tables."""

import json
import os
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from epitaxy.datasets.audit import audit
from epitaxy.errors import RunFolderError
from epitaxy.evaluation.study.ledger import Ledger
from epitaxy.evaluation.study.mapping import failed_maps
from epitaxy.evaluation.study.matbench_records import write_matbench_records
from epitaxy.evaluation.study.plan import Plan, make_plan
from epitaxy.evaluation.study.records import Records, collect, write_records
from epitaxy.evaluation.study.rehearsal import rehearse
from epitaxy.evaluation.study.run import MANIFEST, plan_in_words, run_works, study_folder
from epitaxy.evaluation.study.specification import Study, study_file
from epitaxy.evaluation.study.tables import PaperTable, paper_tables, write_tables
from epitaxy.training.checkpoint import versions
from epitaxy.training.files import write_atomically, write_json


@dataclass(frozen=True, eq=False)
class Benchmark:
    """What a study found so far.

    Attributes:
        sentence: what all of it says.
        records: its tidy tables.
        tables: tables as papers print them, by name.
        folder: where all of it is written.
        plan: what was to be done.
    """

    sentence: str
    records: Records
    tables: Mapping[str, PaperTable]
    folder: Path
    plan: Plan

    def __str__(self) -> str:
        return self.sentence


def run_study(
    study: str | Path | Mapping[str, Any] | Study,
    *,
    out: str | Path | None = None,
    jobs: int | None = None,
    run: bool = True,
    progress: bool = True,
) -> Benchmark:
    """Do all of a study that is not done yet, and write its records and tables.

    The same study in the same folder goes on from where it was, however it ended; rows that were
    added to it are made, and nothing else. What fails is recorded with its reason.

    Args:
        study: a TOML file, the name of one of ours, its values, or a Study.
        out: the study's folder; ``runs/<name>`` unless told.
        jobs: works at a time, one process each; as many as there are cores unless told.
        run: False writes records and tables of what is there.
        progress: whether to tell on the standard error what has ended and what is left.

    Raises InputError or RecipeError, before the first run, where anything in the study does not
    fit, and RunFolderError where the folder holds something else or another process works there.
    """
    plan = make_plan(study)
    folder = study_folder(Path(out or Path("runs") / plan.study.name), plan.study.name)
    folder.mkdir(parents=True, exist_ok=True)
    ledger = Ledger(plan, folder)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise RunFolderError(
            f"another process is working in {folder}: wait for it, or choose another --out."
        ) from None
    began = time.monotonic()
    try:
        _write_manifest(ledger, study, 0.0)
        try:
            if run:
                _audit(ledger)
                rehearse(ledger)
                run_works(ledger, jobs, progress, lambda: _write_all(ledger))
            else:
                ledger.recall_failures()
        finally:
            _write_manifest(ledger, study, time.monotonic() - began)
            found = _write_all(ledger)
    finally:
        lock.release()
    return found


def describe_study(
    study: str | Path | Mapping[str, Any] | Study,
    *,
    out: str | Path | None = None,
    jobs: int | None = None,
) -> str:
    """Return what a study would do, without doing it: its plan, checked, in words."""
    plan = make_plan(study)
    folder = study_folder(Path(out or Path("runs") / plan.study.name), plan.study.name)
    ledger = Ledger(plan, folder)
    rehearse(ledger)
    return plan_in_words(ledger, jobs)


def _audit(ledger: Ledger) -> None:
    """Look the tasks' crystals through, as they are now, if the study asks for it."""
    for task in ledger.plan.tasks if ledger.plan.study.audit else ():
        file = ledger.folder / "audit" / f"{task.name}.json"
        read = [one.crystals for one in ledger.plan.pretraining_data.values()]
        largest = max(read, key=len, default=None)
        found = audit(task.data.crystals, task.target, pretraining=largest)
        write_atomically(file, found.to_json().encode())


def _write_all(ledger: Ledger) -> Benchmark:
    found = collect(ledger)
    write_records(ledger, found)
    write_matbench_records(ledger, found.predictions)
    tables = paper_tables(ledger.plan, found)
    write_tables(ledger.folder, tables)
    return Benchmark(found.sentence, found, tables, ledger.folder, ledger.plan)


def _write_manifest(ledger: Ledger, study: object, seconds: float) -> None:
    file = ledger.folder / MANIFEST
    before = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    plan = ledger.plan
    if isinstance(study, str | Path):
        write_atomically(ledger.folder / "study.toml", study_file(study).read_bytes())
    data = {task.name: task.data.fingerprint for task in plan.tasks}
    data |= {f"pre-training {name}": one.fingerprint for name, one in plan.pretraining_data.items()}
    write_json(
        file,
        {
            "kind": "study",
            "name": plan.study.name,
            "title": plan.study.title,
            "study": plan.study.model_dump(mode="json"),
            "versions": versions(),
            "seeds": plan.study.seeds,
            "started": before.get("started", time.strftime("%Y-%m-%dT%H:%M:%S%z")),
            "seconds": round(before.get("seconds", 0.0) + seconds, 1),
            "machine": {"cores": os.cpu_count(), "system": platform.platform()},
            "data": data,
            "notes": [f"{t.name}: {note}" for t in plan.tasks for note in t.notes]
            + [*plan.notes, *failed_maps(ledger)],
        },
    )
