"""The front of the page: who is better where, what controls show, what failed."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from epitaxy.evaluation.statistics import FEWEST_SEEDS, rounded
from epitaxy.report.page import Cell, Fold, Items, Section, Table, Text, table_of
from epitaxy.report.study import Study
from epitaxy.report.tables import MISSING, rows

MEAN_OF_TASKS = (
    " The mean of tasks is the plain mean of the percentages, without an interval, and is left "
    "out where a task is missing."
)
MOST_OPEN = 2  # tables of sizes that are shown unfolded
REASON_LENGTH, MOST_REASON = 160, 600  # characters in a cell; in the list of failures


def sections(study: Study) -> list[Section]:
    """Return the sections before the tasks; those with nothing in them are left out."""
    blocks: list[Any] = []
    matrices = _matrices(study) if study.references and study.kind == "study" else []
    blocks += matrices[:MOST_OPEN]
    if matrices[MOST_OPEN:]:
        blocks.append(Fold("Other training sizes", matrices[MOST_OPEN:]))
    if blocks:
        blocks.insert(
            0,
            Text(
                "Percent by which the error is lower than the reference's, with its 95 % interval "
                "over test crystals and seeds. Shaded and named better or worse where the interval "
                "leaves out zero over at least three seeds; no correction is made for the number "
                "of comparisons."
            ),
        )
    found = [Section("Who is better, where", "overview", blocks)] if blocks else []
    if len(study.verdicts) > 1 and len(study.tasks) > 1:
        told = [_with_task(one) for one in study.verdicts]
        found.append(Section("Verdicts", "verdicts", [_folded(told)]))
    if control_sentences := controls(study):
        found.append(Section("Controls", "controls", control_sentences))
    if lost := holes(study):
        found.append(Section("What is missing", "holes", lost))
    return found


def _matrices(study: Study) -> list[Table]:
    """Return a table for each size that several tasks share, and one at every task's largest."""
    sizes = {task: study.sizes(task) for task in study.tasks}
    sizes = {task: found for task, found in sizes.items() if found}
    largest = {task: found[-1] for task, found in sizes.items()}
    tables = []
    if len(set(largest.values())) > 1:
        headings = {task: f"{task} ({size:,})" for task, size in largest.items()}
        tables.append(matrix(study, largest, "each task's largest training set", headings))
    for size in sorted({one for found in sizes.values() for one in found}, reverse=True):
        having = {task: size for task, found in sizes.items() if size in found}
        if len(having) > 1 or len(sizes) == 1:
            tables.append(matrix(study, having, f"{size:,} training crystals"))
    return tables


def matrix(
    study: Study, sizes: Mapping[str, int], where: str, headings: Mapping[str, str] | None = None
) -> Table:
    """Return contenders against tasks, each at a size, with the reason where nothing is."""
    tasks = list(sizes)
    results = {(row["task"], row["size"], row["contender"]): row for row in rows(study.results)}
    lines = []
    for contender in study.contenders:
        label = study.label(contender)
        tag = "reference" if contender in study.references else label
        cells = [Cell(contender, tag=tag)]
        gains: list[float] = []
        for task in tasks:
            size = sizes[task]
            if (task, size, contender) not in results:
                cells.append(_hole(study, task, size, contender))
                continue
            row = results[task, size, contender]
            cells.append(_gain(row, _lost_seeds(study, task, size, contender)))
            gains.append(float(row["improvement_percent"]))
        whole = len(gains) == len(tasks) and all(map(math.isfinite, gains))
        if len(tasks) > 1:
            cells.append(Cell(f"{sum(gains) / len(gains):.1f}" if gains and whole else MISSING))
        lines.append(cells)
    mean = ["mean of tasks"] if len(tasks) > 1 else []
    return Table(
        f"Improvement over the reference [%], {where}",
        ["contender", *(headings[task] if headings else task for task in tasks), *mean],
        lines,
        [False, *(True for _ in tasks), *(True for _ in mean)],
        "The reference's cells are its MAE." + (MEAN_OF_TASKS if mean else ""),
    )


def _gain(row: Mapping[str, Any], lost: str) -> Cell:
    value, low, high = (
        float(row[name]) for name in ("improvement_percent", "improvement_low", "improvement_high")
    )
    if not math.isfinite(value):
        unit = f" {row['unit']}" if row["unit"] else ""
        return Cell(f"{float(row['mae']):.3g}", tag=lost, under=unit.strip())
    if not (math.isfinite(low) and math.isfinite(high)):
        return Cell(f"{value:.1f}", tag=lost)
    middle, lower, upper = rounded(value, low, high, width=high - low)
    tone, said = judged(low, high, float(row["seeds"]))
    tag = ", ".join(word for word in (said, lost) if word)
    return Cell(middle, tone, tag, f"{lower} to {upper}")


def judged(low: float, high: float, seeds: float) -> tuple[str, str]:
    """Return the shade and the word for an interval of an improvement.

    >>> judged(1.0, 9.0, 5.0), judged(1.0, 9.0, 2.0), judged(-1.0, 9.0, 5.0)
    (('better', 'better'), ('', 'too few seeds'), ('', ''))
    """
    word = "better" if low > 0.0 else "worse" if high < 0.0 else ""
    if word and seeds < FEWEST_SEEDS:
        return "", "too few seeds"
    return word, word


def _runs(study: Study, task: str, size: int, contender: str) -> pd.DataFrame:
    records = study.records
    return records[
        (records["task"] == task)
        & (records["size"] == size)
        & (records["contender"] == contender)
        & (records["status"] != "")
    ]


def _lost_seeds(study: Study, task: str, size: int, contender: str) -> str:
    runs = _runs(study, task, size, contender)
    done = int((runs["status"] == "done").sum())
    return f"{done} of {len(runs)} runs" if done < len(runs) else ""


def _hole(study: Study, task: str, size: int, contender: str) -> Cell:
    runs = _runs(study, task, size, contender)
    failed = runs[runs["status"] == "failed"]
    if len(failed):
        return Cell(f"failed: {shortened(failed['reason'].iloc[0])}", "hole")
    return Cell("waiting" if len(runs) else "not run", "hole")


def shortened(text: str, most: int = REASON_LENGTH) -> str:
    """Return a text of at most so many characters.

    >>> shortened("too long a reason", 9)
    'too long…'
    """
    words = " ".join(str(text).split()) or "no reason given"
    return words if len(words) <= most else words[: most - 1].rstrip() + "…"


def _with_task(verdict: Any) -> str:
    size = verdict.get("size")
    where = f"{verdict['task']}, {int(size):,} crystals" if size is not None else verdict["task"]
    return f"{where}: {verdict.get('sentence', '')}"


def _folded(sentences: Sequence[str], most: int = 6) -> Any:
    if len(sentences) <= most:
        return Items(sentences)
    return Fold(
        f"All {len(sentences)} verdicts, one per task, size and contender", [Items(sentences)]
    )


def controls(study: Study) -> list[Any]:
    """Say for every task what its controls show beside the best pre-training, whatever it is."""
    names = [one for one in study.contenders if study.label(one) == "control"]
    lines: list[dict[str, Any]] = []
    notable: list[str] = []
    for _, own in study.results.groupby(["task", "size"], sort=False):
        task, size = str(own["task"].iloc[0]), int(own["size"].iloc[0])
        known = {str(row["contender"]): row for row in rows(own.dropna(subset=GAIN[0]))}
        for name in names:
            if name not in known:
                continue
            row = known[name]
            mates = [
                one
                for one in known
                if study.label(one) in ("ours", "paper")
                and known[one]["reference"] == row["reference"]
            ]
            best = max(mates, key=lambda one: known[one]["improvement_percent"], default=None)
            told: dict[str, Any] = {"task": task, "training crystals": size, "control": name}
            told |= {key: row[key] for key in GAIN}
            told["best pre-training"] = best or ""
            told["its improvement [%]"] = (
                round(float(known[best]["improvement_percent"]), 1) if best else math.nan
            )
            lines.append(told)
            gain = (float(row[end]) for end in ("improvement_low", "improvement_high", "seeds"))
            if judged(*gain)[0] == "better":
                notable.append(
                    f"{task}, {size:,} crystals: {name} is better than {row['reference']} by "
                    f"{row['improvement_percent']:.1f} %. "
                    "That much of a gain is not owed to what the control leaves out."
                )
    if not lines:
        return []
    intro = (
        "A control has the same network, crystals and tuning as a pre-training, but its lesson "
        "lacks what the pre-training is meant to teach. What it gains, it gains without that."
    )
    quiet = "No control is better than the reference beyond its interval."
    return [
        Text(intro),
        Items(notable) if notable else Text(quiet),
        table_of("Controls beside the best pre-training of ours or a paper's", pd.DataFrame(lines)),
    ]


GAIN = ("improvement_percent", "improvement_low", "improvement_high")


def holes(study: Study) -> list[Any]:
    """List the runs that failed, with their reasons, and count those that wait."""
    records = study.records
    failed = records[records["status"] == "failed"]
    waiting = int((records["status"] == "waiting").sum())
    blocks: list[Any] = []
    if len(failed):
        lines = [
            [
                Cell(row["task"]),
                Cell(f"{row['size']:,.0f}"),
                Cell(row["contender"]),
                Cell(f"{row['seed']:.0f}"),
                Cell(row["setting"]),
                Cell(shortened(row["reason"], MOST_REASON), "long"),
            ]
            for row in rows(failed)
        ]
        headings = ["task", "training crystals", "contender", "seed", "setting", "reason"]
        numeric = [False, True, False, True, False, False]
        many = f"{len(failed)} of {len(records)} runs failed"
        blocks.append(Table(many, headings, lines, numeric))
    if waiting:
        blocks.append(Text(f"{waiting} of {len(records)} runs are not done yet.", "warning"))
    return blocks


def under_verdict(study: Study) -> list[str]:
    """Return what is said right below the verdict: how much there is, and what is missing."""
    records = study.records
    runs = records[records["status"] != ""]
    lines = []
    if len(runs):
        failed = int((runs["status"] == "failed").sum())
        waiting = int((runs["status"] == "waiting").sum())
        line = f"{_many(study.tasks, 'task')}, {_many(study.contenders, 'contender')}, "
        line += f"{runs['seed'].nunique()} seeds; {int((runs['status'] == 'done').sum()):,} of "
        line += f"{len(runs):,} runs done"
        line += f", {failed} failed" if failed else ""
        line += f", {waiting} waiting" if waiting else ""
        lines.append(line + ".")
    return lines


def _many(things: Sequence[str], name: str) -> str:
    return f"{len(things)} {name}{'' if len(things) == 1 else 's'}"
