"""Run a study: what is not done yet, several at a time, in the order that the tables fill."""

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from epitaxy.errors import RunFolderError
from epitaxy.evaluation.study.cells import Cell
from epitaxy.evaluation.study.ledger import Ledger, read_seconds
from epitaxy.evaluation.study.mapping import map_works
from epitaxy.evaluation.study.pool import Pool, workers_for
from epitaxy.evaluation.study.progress import Clock, Progress, spoken_time
from epitaxy.evaluation.study.works import (
    MapWork,
    PredictionWork,
    PretrainingWork,
    Work,
    note_failure,
)

POLL = 2.0  # seconds
WRITE_EVERY = 300.0  # seconds
MANIFEST = "study.json"
LAST = (2,)  # the urgency of what nothing else waits for


def run_works(
    ledger: Ledger,
    jobs: int | None = None,
    progress: bool = True,
    write: Callable[[], object] | None = None,
) -> None:
    """Do everything that is not done; what fails is written down, and the rest goes on.

    ``write`` is called every few minutes, so that there are tables while there are none at the end.
    An interrupt ends the workers; what had ended is kept, and trainings under way resume.
    """
    waiting = [cell for cell in ledger.cells if ledger.is_open(cell)]
    maps = map_works(ledger)
    if not waiting and not ledger.open_ones(maps):
        return
    _write_data(ledger)
    works = [*ledger.expected(), *maps]
    left = ledger.open_ones(works)
    clock = _learned(ledger, works)
    shown = Progress(total=len(_told(left)), shown=progress)
    if progress:
        workers = workers_for(jobs)
        total, done = len(_told(works)), len(_told(works)) - len(_told(left))
        print(f"{total} runs, {done} done before; {workers} at a time", file=sys.stderr)
    written = time.monotonic()
    with Pool(jobs) as pool:
        given: dict[str, Work] = {}
        answered = 0
        _submit(ledger, pool, waiting, maps, given)
        while answered < len(given):
            answer = pool.answer(POLL)
            if answer is None:
                shown.waiting(dict(pool.running), given)
                continue
            answered += 1
            work, reason = given[answer[0]], answer[1]
            note_failure(work, reason)
            ledger.ended(work, reason)
            if not reason and (seconds := read_seconds(work)):
                clock.learn(work, seconds)
            waiting = [cell for cell in waiting if ledger.is_open(cell)]
            _submit(ledger, pool, waiting, maps, given)
            left = ledger.open_ones([*ledger.expected(), *maps])
            shown.ended(work, reason, clock.left(left, pool.workers))
            if write is not None and time.monotonic() - written > WRITE_EVERY:
                write()
                written = time.monotonic()


def plan_in_words(ledger: Ledger, jobs: int | None = None) -> str:
    """Return what a study will do, how much of it is done, and how long the rest may take."""
    plan, works = ledger.plan, [*ledger.expected(), *map_works(ledger)]
    lines = [f"study {plan.study.name}"]
    for task in plan.tasks:
        sizes = ", ".join(f"{size:,}" for size in task.splits.sizes)
        folds = "" if task.splits.folds == (None,) else f" in {len(task.splits.folds)} folds"
        lines.append(
            f"  task {task.name}: {task.target} [{task.unit}] of {len(task.data.crystals):,} "
            f"crystals; train on {sizes}; test on {task.splits.tested:,}{folds}"
        )
        lines += [f"    {line.strip()}" for note in task.notes for line in note.splitlines()[:1]]
    for origin, work in ledger.pretrainings():
        rows = sum(row.origin is origin for row in plan.rows)
        lines.append(f"  pre-training {origin.name}: {_start_in_words(work, origin.run)}")
        if rows != 1:
            lines[-1] += f"; {rows} rows start from it"
    for row in plan.rows:
        against = "" if row.reference is None else f", against {row.reference}"
        lines.append(f"  contender {row.name} ({row.label}){against}")
    how = "for every seed" if plan.study.tune == "each" else "on the first seed"
    lines.append(
        f"  {len(plan.settings)} settings to choose from, {how}; {plan.study.seeds} seeds"
        if len(plan.settings) > 1
        else f"  nothing to choose; {plan.study.seeds} seeds"
    )
    lines += _counts(ledger, works)
    if left := ledger.open_ones(works):
        time_left = _learned(ledger, works).left(left, workers_for(jobs))
        hint = "" if time_left is not None else "; known once a few have ended"
        lines.append(f"  time for what is left: {spoken_time(time_left)}{hint}")
    return "\n".join(lines)


def study_folder(out: Path, name: str) -> Path:
    """Return the folder of a study: new, or one that holds the study of this name.

    Raises RunFolderError where it holds something else.
    """
    manifest = out / MANIFEST
    if manifest.is_file():
        held = json.loads(manifest.read_text(encoding="utf-8")).get("name")
        if held != name:
            raise RunFolderError(
                f"{out} holds the study '{held}', not '{name}': choose another folder with --out."
            )
    elif out.is_file() or (out.is_dir() and any(one.name != ".lock" for one in out.iterdir())):
        raise RunFolderError(f"{out} holds something else: choose another folder with --out.")
    return out


def _counts(ledger: Ledger, works: Sequence[Work]) -> list[str]:
    names = {
        "pretraining": "pre-trainings",
        "fit": "fits",
        "baseline": "baselines",
        "prediction": "test predictions",
        "map": "maps of representations",
    }
    lines = []
    for kind, name in names.items():
        mine = [work for work in works if work.kind == kind]
        done = sum(ledger.done(work) for work in mine)
        if mine:
            lines.append(f"  {len(mine)} {name}, {done} done")
    cells = len(ledger.cells)
    fits = sum(work.kind in ("fit", "baseline") for work in works)
    wanted = sum(
        1 if cell.row.baseline is not None else len(ledger.wanted_fits(cell)) or 1
        for cell in ledger.cells
    )
    if wanted > fits:
        lines.append(f"  {wanted - fits} fits are shared between the {cells} cells of the tables")
    return lines


def _start_in_words(work: PretrainingWork | None, run: Path | None) -> str:
    if work is None:
        return f"the run {run}"
    return " + ".join(str(one["name"]) for one in work.recipe.objectives)


def _told(works: Sequence[Work]) -> list[Work]:
    return [work for work in works if not isinstance(work, PredictionWork)]


def _submit(
    ledger: Ledger,
    pool: Pool,
    waiting: Sequence[Cell],
    maps: Sequence[MapWork],
    given: dict[str, Work],
) -> None:
    """Hand over what has become possible."""
    for cell in waiting:
        for work in ledger.next_works(cell):
            if work.key not in given:
                given[work.key] = work
                urgency = (0,) if isinstance(work, PretrainingWork) else cell.urgency
                pool.submit(urgency, work.key, work.write())
    for one in ledger.open_ones(maps):
        if one.key not in given and ledger.is_made(one.origin):
            given[one.key] = one
            pool.submit(LAST, one.key, one.write())


def _learned(ledger: Ledger, works: Sequence[Work]) -> Clock:
    clock = Clock()
    for work in works:
        if ledger.done(work) and (seconds := read_seconds(work)):
            clock.learn(work, seconds)
    return clock


def _write_data(ledger: Ledger) -> None:
    for task in ledger.plan.tasks:
        task.data.write(ledger.folder)
    for data in ledger.plan.pretraining_data.values():
        data.write(ledger.folder)
