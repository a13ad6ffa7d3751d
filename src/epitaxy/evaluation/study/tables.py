"""Tables as papers print them, out of tidy records: Markdown, CSV and LaTeX."""

import csv
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from epitaxy.evaluation.named_baselines import FROZEN, features_of
from epitaxy.evaluation.statistics import rounded
from epitaxy.evaluation.study.grids import in_words
from epitaxy.evaluation.study.plan import Plan
from epitaxy.evaluation.study.records import Records
from epitaxy.evaluation.study.rows import Row
from epitaxy.training.files import write_atomically

HOLE = "–"


@dataclass(frozen=True)
class PaperTable:
    """Headings and rows of text; a cell in asterisks is bold."""

    caption: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()

    def markdown(self) -> str:
        """Return the table for a page."""
        lines = [f"**{self.caption}**", "", _line(self.headings), "|---" * len(self.headings) + "|"]
        lines += [_line(row) for row in self.rows]
        lines += ["", *(f"{note}  " for note in self.notes)] if self.notes else []
        return "\n".join(lines) + "\n"

    def csv(self) -> str:
        """Return the table for a spreadsheet."""
        out = io.StringIO()
        plain = [[cell.replace("**", "") for cell in row] for row in self.rows]
        csv.writer(out, lineterminator="\n").writerows([self.headings, *plain])
        return out.getvalue()

    def latex(self) -> str:
        """Return the table for a paper that uses the package booktabs."""
        columns = "l" * 2 + "r" * (len(self.headings) - 2)
        body = [" & ".join(map(_latex, row)) + r" \\" for row in self.rows]
        notes = [rf"\par\footnotesize {_latex(note)}" for note in self.notes]
        head = " & ".join(map(_latex, self.headings)) + r" \\"
        return "\n".join(
            [
                r"\begin{table}",
                rf"\caption{{{_latex(self.caption)}}}",
                rf"\begin{{tabular}}{{{columns}}}",
                r"\toprule",
                head,
                r"\midrule",
                *body,
                r"\bottomrule",
                r"\end{tabular}",
                *notes,
                r"\end{table}",
                "",
            ]
        )


def paper_tables(plan: Plan, found: Records) -> dict[str, PaperTable]:
    """Return the tables of a study by name.

    ``errors-SIZE`` and ``improvements-SIZE`` have a row per contender and a column per task;
    ``sizes`` a row per task and a column per size, for every contender, with the number of wins;
    ``by-KEY`` a row per contender and a column per value of a grid's key, the mean over tasks;
    ``ranges`` a row for all layers, or combinations of them, that frozen representations are read
    from; ``published`` what others report.
    """
    tables: dict[str, PaperTable] = {}
    for asked in _asked(plan):
        tables[f"errors-{asked}"] = _by_task(plan, found, asked, _error, "Test MAE", False)
        tables[f"improvements-{asked}"] = _by_task(
            plan, found, asked, _gain, "Lower test MAE than the reference, in %", True
        )
    if len(_asked(plan)) * len(plan.tasks) > 1:
        tables["sizes"] = _sizes(plan, found)
    keys = dict.fromkeys(key for row in plan.rows for key in row.values)
    for key in keys:
        tables[f"by-{key}"] = _by_key(plan, found, key)
    frozen = [row for row in plan.rows if row.baseline and features_of(row.baseline) == FROZEN]
    if frozen:
        tables["ranges"] = _ranges(plan, found, frozen)
    if len(found.published):
        tables["published"] = _published(plan, found)
    return tables


def write_tables(folder: Path, tables: Mapping[str, PaperTable]) -> None:
    """Write every table in its three forms."""
    for name, table in tables.items():
        for suffix, text in (("md", table.markdown), ("csv", table.csv), ("tex", table.latex)):
            write_atomically(folder / "tables" / f"{name}.{suffix}", text().encode())


def _by_task(
    plan: Plan,
    found: Records,
    asked: int | str,
    cell: Callable[[pd.Series], str],
    caption: str,
    mean: bool,
) -> PaperTable:
    headings = ["contender", "label"]
    notes = []
    for task in plan.tasks:
        size = _size(plan, task.name, asked)
        headings.append(f"{task.name} [{task.unit}]" if task.unit and not mean else task.name)
        if size is not None and size != asked:
            notes.append(f"{task.name}: {size:,} training crystals.")
    if mean:
        headings.append("mean")
    rows = []
    for row in plan.rows:
        if mean and row.reference is None:
            continue
        lines = [
            _line_of(found, task.name, _size(plan, task.name, asked), row.name)
            for task in plan.tasks
        ]
        cells = [HOLE if line is None else cell(line) for line in lines]
        if mean:
            cells.append(_mean([line for line in lines if line is not None], len(plan.tasks)))
        rows.append((row.name, row.label, *cells))
    notes += _holes(found, asked, plan)
    seeds = "seed" if plan.study.seeds == 1 else "seeds"
    told = "all" if asked == "all" else f"{asked:,}"
    return PaperTable(
        f"{caption}; {told} training crystals, {plan.study.seeds} {seeds}, 95 % intervals",
        tuple(headings),
        tuple(rows),
        tuple(notes),
    )


def _sizes(plan: Plan, found: Records) -> PaperTable:
    """Sizes × data sets, with the number of configurations that improve."""
    asked = _asked(plan)
    rows = []
    notes = []
    for row in plan.rows:
        if row.reference is None:
            continue
        lines = []
        for task in plan.tasks:
            mine = [
                _line_of(found, task.name, _size(plan, task.name, one), row.name) for one in asked
            ]
            rows.append(
                (
                    row.name,
                    row.label,
                    task.name,
                    *(HOLE if line is None else _gain(line) for line in mine),
                )
            )
            lines += [line for line in mine if line is not None and _known(line)]
        better = sum(line["improvement_percent"] > 0 for line in lines)
        sure = sum(line["improvement_low"] > 0 for line in lines)
        worse = sum(line["improvement_high"] < 0 for line in lines)
        notes.append(
            f"{row.name} ({row.label}): lower error than {row.reference} in {better} of "
            f"{len(lines)} configurations; the interval excludes zero in {sure} of them, and in "
            f"{worse} it says worse."
        )
    headings = ("contender", "label", "task", *(f"{one}" for one in asked))
    return PaperTable(
        "Lower test MAE than the reference, in %, by number of training crystals",
        headings,
        tuple(rows),
        tuple(notes),
    )


def _by_key(plan: Plan, found: Records, key: str) -> PaperTable:
    """One row per contender, one column per value of a key: mean improvement over tasks."""
    mine = [row for row in plan.rows if key in row.values]
    values = list(dict.fromkeys(in_words(key, row.values[key]) for row in mine))
    rows: dict[tuple[str, ...], dict[str, str]] = {}
    for asked in _asked(plan):
        for row in mine:
            if row.reference is None:
                continue
            rest = {k: v for k, v in row.values.items() if k != key}
            base = ", ".join([row.base, *(in_words(k, v) for k, v in rest.items())])
            lines = [
                _line_of(found, task.name, _size(plan, task.name, asked), row.name)
                for task in plan.tasks
            ]
            cells = rows.setdefault((base, row.label, f"{asked}"), {})
            cells[in_words(key, row.values[key])] = _mean(
                [line for line in lines if line is not None], len(plan.tasks)
            )
    return PaperTable(
        f"Lower test MAE than the reference, in %, mean over {len(plan.tasks)} tasks, by {key}",
        ("contender", "label", "training crystals", *values),
        tuple((*name, *(cells.get(one, HOLE) for one in values)) for name, cells in rows.items()),
    )


def _asked(plan: Plan) -> list[int | str]:
    """Return the sizes that were asked for in any task, from few to many."""
    found = {asked for task in plan.tasks for asked in task.splits.sizes.values()}
    return sorted(found, key=lambda one: math.inf if one == "all" else float(one))


def _size(plan: Plan, task: str, asked: int | str) -> int | None:
    sizes = plan.task(task).splits.sizes
    return next((size for size, one in sizes.items() if one == asked), None)


def _line_of(found: Records, task: str, size: int | None, contender: str) -> pd.Series | None:
    table = found.results
    mine = table[
        (table["task"] == task) & (table["size"] == size) & (table["contender"] == contender)
    ]
    return None if mine.empty else mine.iloc[0]


def _known(line: pd.Series) -> bool:
    return not math.isnan(line["improvement_percent"])


def _error(line: pd.Series) -> str:
    low, high = line["mae_low"], line["mae_high"]
    value, below, above = rounded(line["mae"], low, high, width=high - low)
    return f"{value} ({below} to {above})"


def _gain(line: pd.Series) -> str:
    if not _known(line):
        return HOLE
    low, high = line["improvement_low"], line["improvement_high"]
    told = f"{line['improvement_percent']:+.1f} ({low:+.1f} to {high:+.1f})"
    return f"**{told}**" if low > 0 or high < 0 else told


def _mean(lines: Sequence[pd.Series], count: int) -> str:
    known = [line["improvement_percent"] for line in lines if _known(line)]
    return f"{sum(known) / count:+.1f}" if known and len(known) == count else HOLE


def _published(plan: Plan, found: Records) -> PaperTable:
    """What others report: a table of its own, for their splits and sizes are not ours."""
    table = found.published
    tasks = [task for task in plan.tasks if task.name in set(table["task"])]
    rows = []
    for who in dict.fromkeys(table["who"]):
        mine = table[table["who"] == who].drop_duplicates("task").set_index("task")["mae"]
        rows.append((str(who), *(f"{mine[t.name]:g}" if t.name in mine else HOLE for t in tasks)))
    units = table.drop_duplicates("task").set_index("task")["unit"]
    protocols = dict.fromkeys(str(one) for one in table["protocol"] if one)
    return PaperTable(
        "Test MAE that others report, with splits and training sizes of their own",
        ("method", *(f"{task.name} [{units[task.name]}]" for task in tasks)),
        tuple(rows),
        tuple(protocols),
    )


def _ranges(plan: Plan, found: Records, frozen: Sequence[Row]) -> PaperTable:
    """Validation error of frozen representations by the layers that are read, largest size."""
    table = found.tuning.assign(
        layers=[str(setting).partition(",")[0] for setting in found.tuning["setting"]]
    )
    rows = []
    for row in frozen:
        mine = table[table["contender"] == row.name]
        for layers in dict.fromkeys(mine["layers"]):
            cells = []
            for task in plan.tasks:
                here = mine[
                    (mine["task"] == task.name)
                    & (mine["layers"] == layers)
                    & (mine["size"] == max(task.splits.sizes))
                ]
                best = here.groupby(["seed", "fold"])["validation_mae"].min()
                cells.append(f"{best.mean():.4g}" if len(best) else HOLE)
            rows.append((row.name, row.label, layers, *cells))
    return PaperTable(
        "Validation MAE of frozen representations by the layers that are read, most crystals",
        ("contender", "label", "layers", *(task.name for task in plan.tasks)),
        tuple(rows),
    )


def _holes(found: Records, asked: int | str, plan: Plan) -> list[str]:
    sizes = {task.name: _size(plan, task.name, asked) for task in plan.tasks}
    table = found.records
    mine = table[(table["status"] == "failed") & (table["size"] == table["task"].map(sizes))]
    notes = [
        f"Failed: {one.task}, {one.contender}, seed {one.seed}: {one.reason}"
        for one in mine.itertuples()
    ]
    waiting = (table["status"] == "waiting") & (table["size"] == table["task"].map(sizes))
    return notes + ([f"{waiting.sum()} fits are still to be made."] if waiting.any() else [])


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _latex(text: str) -> str:
    bold = text.startswith("**") and text.endswith("**") and len(text) > 4
    text = text.replace("**", "")
    for sign in "\\&%$#_{}":
        text = text.replace(sign, rf"\{sign}" if sign != "\\" else r"\textbackslash ")
    text = text.replace("–", "--").replace("~", r"\textasciitilde ").replace("^", r"\^{}")
    return rf"\textbf{{{text}}}" if bold else text
