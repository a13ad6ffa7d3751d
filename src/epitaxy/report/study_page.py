"""The page of a study or a comparison, and the figures and tables beside it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from epitaxy.report import overview, task
from epitaxy.report.charts.frame import Look, looks
from epitaxy.report.charts.maps import maps
from epitaxy.report.figures import write_figures
from epitaxy.report.findings import manifest_pairs
from epitaxy.report.page import Charts, Fold, Items, Section, Text, render, table_of, write_page
from epitaxy.report.study import Study
from epitaxy.report.tables import write_tables

LARGEST_PAGE = 5_000_000  # bytes
MOST_CRYSTALS = (1000, 500, 250, 100)  # in a chart; fewer until the page is small enough
MOST_DOTS = 80  # times the crystals: in all maps together
INTERVALS = (
    "Intervals are 95 % and cover the choice of test crystals and of seeds (a crossed bootstrap, "
    "paired between contenders). They do not cover what was the same in every run, such as the "
    "one pre-training that all fine-tunings start from."
)


def write_study(folder: Path, study: Study, figures: bool = True) -> Path:
    """Write ``index.html``, ``figures/`` and ``tables/`` into the folder; return the page's path.

    Charts hold fewer crystals, and say so, where the page would be larger than 5 MB.
    """
    tasks = [task.task_of(study, name) for name in study.tasks]
    look = looks(study.contenders)
    page = ""
    for most in MOST_CRYSTALS:
        page = study_page(study, tasks, look, most)
        if len(page.encode()) <= LARGEST_PAGE:
            break
    write_tables(folder / "tables", study.results)
    if figures:
        write_figures(folder / "figures", study, tasks)
    return write_page(folder, page)


def study_page(study: Study, tasks: Sequence[task.Task], look: dict[str, Look], most: int) -> str:
    """Return the page with at most so many crystals in a chart."""
    found = overview.sections(study)
    for place, one in enumerate(tasks):
        found += task.sections(study, one, place, look, most)
    found += _maps(study, most)
    found += _made(study)
    return render(study.title, study.sentence, found, study.kind, overview.under_verdict(study))


def _maps(study: Study, most: int) -> list[Section]:
    table = study.maps
    if table.empty:
        return []
    tasks = list(dict.fromkeys(table["task"]))
    panels = sum(
        len(own[["pretraining", "method"]].drop_duplicates()) for _, own in table.groupby("task")
    )
    share = max(50, min(most, MOST_DOTS * most // max(1, panels)))
    words = (
        "Every dot is a crystal, placed by a frozen representation that has not been fine-tuned. "
        "The same crystal is ringed in all panels of a task."
    )
    blocks: list[Any] = [Text(words)]
    found = [Section("What representations look like", "maps", blocks)]
    for place, name in enumerate(tasks):
        target, unit = study.target(name)
        charts = maps(f"map-{place}", table[table["task"] == name], target, unit, share)
        board = Charts(
            [type(one)(**{**vars(one), "controls": (), "caption": ""}) for one in charts],
            controls=[dict(one) for one in charts[0].controls],
            caption=charts[0].caption,
        )
        if len(tasks) == 1:
            blocks.append(board)
        else:
            found.append(Section(name, f"map-{place}", [board], 3))
    return found


def _made(study: Study) -> list[Section]:
    blocks: list[Any] = [Items([INTERVALS, *study.notes])]
    if len(study.pretraining):
        table = study.pretraining.copy()
        for column in ("crystals", "atoms_seen"):
            table[column] = table[column].round().astype("Int64")
        table["seconds"] = table["seconds"].round().astype("Int64")
        table["objectives"] = [_lessons(text) for text in table["objectives"]]
        named = table.drop(columns="folder", errors="ignore").rename(
            columns={"seconds": "wall time [s]", "atoms_seen": "atoms seen"}
        )
        blocks.append(table_of("Pre-trainings", named))
    chosen = study.tuning[study.tuning["chosen"].str.lower().isin(("true", "1", "1.0"))]
    if len(chosen):
        caption = "Settings chosen on the validation crystals"
        blocks.append(Fold(f"{caption} ({len(chosen)})", [table_of(caption, _tuned(chosen))]))
    if study.manifest:
        blocks.append(Fold("Manifest", [manifest_pairs(study.manifest)]))
    return [Section("How it was made", "made", blocks)]


def _lessons(text: str) -> str:
    """Return objectives in JSON as words.

    >>> _lessons('[{"name": "denoise", "sigma": 0.1}]')
    'denoise (sigma=0.1)'
    """
    try:
        lessons = json.loads(text)
    except ValueError:
        return text
    if not isinstance(lessons, list) or not all(isinstance(one, dict) for one in lessons):
        return text
    told = []
    for one in lessons:
        rest = ", ".join(
            f"{key}={value.get('name', '…') if isinstance(value, dict) else value}"
            for key, value in one.items()
            if key != "name" and value not in (None, False, "", [])
        )
        told.append(f"{one.get('name', '?')}{f' ({rest})' if rest else ''}")
    return " + ".join(told)


def _tuned(chosen: pd.DataFrame) -> pd.DataFrame:
    table = chosen.drop(columns=["chosen", "run", "fold"], errors="ignore").rename(
        columns={"size": "training crystals"}
    )
    for column in ("training crystals", "seed"):
        table[column] = table[column].round().astype("Int64")
    constant = [one for one in ("task",) if table[one].nunique() == 1]
    return table.drop(columns=constant)
