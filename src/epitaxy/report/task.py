"""Everything about one task: errors, where they are, whether their size is known beforehand."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import nan
from typing import Any

import pandas as pd

from epitaxy.report.calibration import Calibration, calibration
from epitaxy.report.charts.calibration import calibrations
from epitaxy.report.charts.elements import elements
from epitaxy.report.charts.frame import Look
from epitaxy.report.charts.lines import by_epoch, by_size, forest
from epitaxy.report.charts.parity import parity
from epitaxy.report.findings import found_by_audit
from epitaxy.report.overview import judged
from epitaxy.report.page import Cell, Charts, Fold, Items, Section, Table, Text, table_of
from epitaxy.report.residuals import by_crystal, by_element, outliers
from epitaxy.report.study import Study
from epitaxy.report.tables import rows

MOST_LINES = 6  # contenders in a chart of curves against the epoch
ENDS = ("percent", "low", "high")


@dataclass(frozen=True, eq=False)
class Task:
    """One task's share of a study, with its test crystals worked out for every contender.

    Attributes:
        name: the task; ``target`` and ``unit`` are those of its property.
        size: the largest number of training crystals, which the crystals belong to.
        crystals: contender → a table from ``by_crystal``.
        best: the contender with the lowest error that is no baseline.
        beside: what the best is shown with: its reference.
        calibrations: contender → how its spread over seeds relates to its errors.
    """

    name: str
    target: str
    unit: str
    size: int | None
    results: pd.DataFrame
    curves: pd.DataFrame
    crystals: Mapping[str, pd.DataFrame]
    best: str
    beside: str
    calibrations: Mapping[str, Calibration]


def task_of(study: Study, name: str) -> Task:
    """Work out one task of a study."""
    target, unit = study.target(name)
    results = study.results[study.results["task"] == name]
    predictions = study.predictions[study.predictions["task"] == name]
    known = [int(size) for size in predictions["size"].dropna().unique()]
    size = max(known, default=None)
    if size is not None:
        predictions = predictions[predictions["size"] == size]
        at_size = results[results["size"] == size]
    else:
        at_size = results
    every = {
        str(contender): by_crystal(own)
        for contender, own in predictions.groupby("contender", sort=False)
    }
    crystals = {one: every[one] for one in study.contenders if one in every and len(every[one])}
    ranked = at_size.dropna(subset=["mae"]).sort_values("mae")["contender"]
    order = [one for one in ranked if one in crystals] or list(crystals)
    order.sort(key=lambda one: study.label(one) == "baseline")  # told beside, never the best
    best = order[0] if order else ""
    beside = study.reference_of(best) or next((one for one in order if one != best), best)
    if best in study.references:
        beside = order[1] if len(order) > 1 else best
    shown = dict.fromkeys(one for one in (beside, best) if one in crystals)
    spreads = {one: calibration(crystals[one]) for one in shown}
    curves = study.curves[study.curves["task"] == name]
    sizes = curves["size"].dropna()
    return Task(
        name=name,
        target=target,
        unit=unit,
        size=size,
        results=results,
        curves=curves[curves["size"] == sizes.max()] if len(sizes) else curves,
        crystals=crystals,
        best=best,
        beside=beside if beside in crystals else best,
        calibrations={one: found for one, found in spreads.items() if found is not None},
    )


def sections(
    study: Study, task: Task, place: int, look: Mapping[str, Look], most: int
) -> list[Section]:
    """Return a task's sections; what there is nothing for is left out or said."""
    name = f"task-{place}"
    tags = {one: study.label(one) for one in study.contenders}
    tags |= dict.fromkeys(study.references, "reference")
    unit = task.unit
    blocks: list[Any] = []
    sentences = [str(v.get("sentence", "")) for v in study.verdicts if v["task"] == task.name]
    if sentences and study.kind == "study":
        blocks.append(
            Items(sentences) if len(sentences) <= 3 else Fold("Verdicts", [Items(sentences)])
        )
    if len(task.results):
        blocks.append(_test_errors(task, tags))
        blocks.append(_error_charts(task, name, look, tags))
    title = f"Task: {task.name}" if study.kind == "study" else "Results"
    found = [Section(title, name, blocks, short=task.name if study.kind == "study" else "")]
    if task.crystals:
        size = f", {task.size:,} training crystals" if task.size else ""
        charts = parity(
            f"{name}-parity",
            task.crystals,
            list(dict.fromkeys([task.beside, task.best, *_third(study, task)])),
            task.target,
            unit,
            look,
            most,
        )
        caption = (
            f"{charts[0].caption} Dots are means over seeds, lines a standard deviation over "
            "seeds. Below: the residuals' median and the range of their middle 80 %, along the "
            "predicted value."
        )
        plain = [type(one)(**{**vars(one), "caption": ""}) for one in charts]
        title = f"Predicted against true{size}"
        found.append(Section(title, f"{name}-parity", [Charts(plain, caption=caption)], 3))
        found += _by_element(task, name)
        found.append(_calibrated(task, name, look))
    found += _training(task, name, look, tags)
    if task.crystals:
        found.append(
            Section("Crystals with the largest errors", f"{name}-out", [_outliers(task)], 3)
        )
    found += _beside(study, task, name)
    if task.name in study.audit:
        audit = found_by_audit(study.audit[task.name])
        found.append(Section("What the audit found", f"{name}-audit", audit, 3))
    return found


def _test_errors(task: Task, tags: Mapping[str, str]) -> Table:
    """Return the results with a tag at every contender, better and worse shaded and named."""
    records = results_table(task.results)
    table = table_of("Test errors", records)
    gain = next((n for n, one in enumerate(table.headings) if one.endswith("[%]")), None)
    lines = []
    for cells, row in zip(table.rows, rows(records), strict=True):
        low, high = (
            next((row[name] for name in row if name.endswith(f"_{end}") and "mae" not in name), nan)
            for end in ("low", "high")
        )
        tone, word = judged(low, high, nan if pd.isna(row["seeds"]) else float(row["seeds"]))
        line = [Cell(cells[0].text, tag=tags.get(cells[0].text, "")), *cells[1:]]
        if gain is not None and word:
            line[gain] = Cell(cells[gain].text, tone, word)
        lines.append(line)
    return Table(table.caption, table.headings, lines, table.numeric, table.note)


def results_table(results: pd.DataFrame) -> pd.DataFrame:
    """Return the columns of the results that a reader wants, in the order to read them."""
    named = results.rename(columns={"size": "training crystals"})
    drop = [one for one in named if str(one).startswith("difference")]
    drop += [one for one in ("task", "train", "label") if one in named]
    if "target" in named and named["target"].nunique() == 1:
        drop.append("target")
    named = named.drop(columns=drop)
    for column in ("training crystals", "seeds", "test"):
        named[column] = named[column].round().astype("Int64")
    front = ["contender", "training crystals"]
    named = named[[*front, *(one for one in named if one not in front)]]
    if named["training crystals"].isna().all():
        named = named.drop(columns="training crystals")
    compared = [one for one in named["reference"].unique() if one]
    if len(compared) == 1:
        named = named.drop(columns="reference").rename(
            columns={f"improvement_{end}": f"lower than {compared[0]}'s by_{end}" for end in ENDS}
        )
    elif not compared:
        named = named.drop(columns="reference")
    keys = [one for one in ("training crystals", "mae") if one in named]
    return named.sort_values(keys, ascending=[one == "mae" for one in keys])


def _third(study: Study, task: Task) -> list[str]:
    """Return the best baseline to show beside, where it comes near."""
    scale = task.crystals[task.beside]["error"].mean()
    near = {
        one: float(own["error"].mean())
        for one, own in task.crystals.items()
        if study.label(one) == "baseline"
        and own["error"].mean() < 3.0 * scale
        and own["value"].std() > 0.05 * own["truth"].std()
    }
    return [min(near, key=lambda one: near[one])] if near else []


def _error_charts(
    task: Task, name: str, look: Mapping[str, Look], tags: Mapping[str, str]
) -> Charts:
    largest = task.results["size"].max()
    at = task.results if pd.isna(largest) else task.results[task.results["size"] == largest]
    charts = [forest(f"{name}-forest", at, task.unit, look, tags)]
    if task.results["size"].nunique() > 1:
        charts.append(by_size(f"{name}-sizes", task.results, task.unit, look, tags))
    return Charts(charts)


def _by_element(task: Task, name: str) -> list[Section]:
    table = by_element(task.crystals[task.best])
    if table.empty:
        return []
    chart = elements(f"{name}-elements", table, task.best, task.unit)
    ordered = table.sort_values("mae", ascending=False).assign(unit=task.unit)
    listed = Fold("The same as a table", [table_of("Errors by element", ordered)])
    return [Section("Errors by element", f"{name}-elements", [Charts([chart]), listed], 3)]


def _calibrated(task: Task, name: str, look: Mapping[str, Look]) -> Section:
    title, place = "The spread over seeds as an uncertainty", f"{name}-calibration"
    if not task.calibrations:
        words = "Nothing can be said: it takes two seeds and twenty test crystals."
        return Section(title, place, [Text(words, "quiet")], 3)
    said = [f"{one}: {found}" for one, found in task.calibrations.items()]
    note = (
        "Intervals are Student's, as wide as so few seeds make them. The spread over seeds "
        "does not know what all seeds get wrong together."
    )
    charts = calibrations(place, task.calibrations, task.unit, look)
    return Section(title, place, [Items(said), Charts(charts, caption=note)], 3)


def _training(
    task: Task, name: str, look: Mapping[str, Look], tags: Mapping[str, str]
) -> list[Section]:
    if task.curves.empty:
        return []
    ranked = list(task.results.sort_values("mae")["contender"])
    there = set(task.curves["contender"])
    first = [one for one in (task.beside, task.best) if one in there]
    names = list(dict.fromkeys([*first, *(one for one in ranked if one in there), *sorted(there)]))
    shown = task.curves[task.curves["contender"].isin(names[:MOST_LINES])]
    charts = [
        by_epoch(f"{name}-epochs-{place}", own, look, tags)
        for place, (_, own) in enumerate(shown.groupby("metric", sort=False))
    ]
    left = len(names) - MOST_LINES
    caption = f"{left} more contenders are in curves.csv." if left > 0 else ""
    return [Section("During training", f"{name}-epochs", [Charts(charts, caption=caption)], 3)]


def _outliers(task: Task) -> Table:
    table = outliers(task.crystals[task.best], task.crystals[task.beside])
    unit = f" [{task.unit}]" if task.unit else ""
    named = {
        "truth": "true",
        "value": "predicted",
        "spread": "spread over seeds",
        "error_beside": f"error of {task.beside}",
    }
    if task.beside == task.best:
        table = table.drop(columns="error_beside")
    return table_of(f"Largest errors of {task.best}{unit}", table.rename(columns=named))


def _beside(study: Study, task: Task, name: str) -> list[Section]:
    published = study.published[study.published["task"] == task.name]
    if published.empty:
        return []
    ours = task.results[task.results["size"].isna() | (task.results["size"] == task.size)]
    lines = [
        {
            "who": f"here: {row['contender']}",
            "MAE": row["mae"],
            "unit": row["unit"],
            "what differs in protocol": f"{_count(row['train'])} training and "
            f"{_count(row['test'])} test crystals, {_count(row['seeds'])} seeds",
            "source": "this page",
        }
        for row in rows(ours.sort_values("mae"))
    ]
    lines += [
        {
            "who": row["who"],
            "MAE": row["mae"],
            "unit": row["unit"],
            "what differs in protocol": _protocol(row),
            "source": row["source"],
        }
        for row in rows(published)
    ]
    table = table_of("Ours and published, with what differs", pd.DataFrame(lines))
    wrapped = [
        [
            type(cell)(cell.text, "long") if place in (3, 4) else cell
            for place, cell in enumerate(row)
        ]
        if len(row) == 5
        else row
        for row in table.rows
    ]
    words = (
        "Figures from different protocols are no ranking: read the column that says what differs."
    )
    return [
        Section(
            "Published figures",
            f"{name}-published",
            [Text(words), Table(table.caption, table.headings, wrapped, table.numeric, table.note)],
            3,
        )
    ]


def _protocol(row: Mapping[str, Any]) -> str:
    """Return everything that is said of how a published figure was got."""
    told = [str(row.get(name, "")) for name in ("protocol", "training", "differs")]
    return "; ".join(dict.fromkeys(one.rstrip(".") for one in told if one and one != "nan"))


def _count(value: float) -> str:
    return "unknown" if pd.isna(value) else f"{int(value):,}"
