"""The figures of a study as PNG and SVG files, for papers and slides."""

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from matplotlib.figure import Figure

from epitaxy.report.plots.calibration import calibrations
from epitaxy.report.plots.elements import periodic_table
from epitaxy.report.plots.learning_curves import learning_curves
from epitaxy.report.plots.maps import maps
from epitaxy.report.plots.results import against_size, improvements
from epitaxy.report.plots.spread import parity_with_spread
from epitaxy.report.plots.style import save
from epitaxy.report.residuals import by_element
from epitaxy.report.study import Study
from epitaxy.report.task import Task

MOST_LINES = 6  # contenders in a figure of curves
MOST_POINTS = 1500  # in a map


def write_figures(folder: Path, study: Study, tasks: Sequence[Task]) -> list[Path]:
    """Write every figure that there are records for; return the PNG files."""
    return [save(draw(), folder / name)[0] for name, draw in _figures(study, tasks)]


def _figures(study: Study, tasks: Sequence[Task]) -> Iterator[tuple[str, Callable[[], Figure]]]:
    if study.results["improvement_percent"].notna().any():
        yield "improvements", lambda: improvements(study.results)
    for task in tasks:
        yield from _of_task(study, task)
    for name, points in study.maps.groupby("task", sort=False):
        target, unit = study.target(str(name))
        renamed = points.rename(columns={"pretraining": "contender", "value": "truth"})
        renamed = renamed.assign(family=points["element"])
        renamed = renamed[renamed["truth"].notna()]
        for method, own in renamed.groupby("method"):
            kept = own.groupby("contender").head(MOST_POINTS)
            if len(kept):
                place = f"{slug(str(name))}_map_{slug(str(method))}"
                yield place, partial(maps, kept, str(method), target, unit)


def _of_task(study: Study, task: Task) -> Iterator[tuple[str, Callable[[], Figure]]]:
    name = slug(task.name)
    shown = {one: task.crystals[one] for one in (task.beside, task.best) if one in task.crystals}
    if shown:
        yield f"{name}_parity", lambda: parity_with_spread(shown, task.target, task.unit)
        table = by_element(task.crystals[task.best])
        if len(table):
            title = f"{task.name}, {task.best}"
            yield f"{name}_elements", lambda: periodic_table(table, title, task.unit)
    if task.results["size"].nunique() > 1:
        yield f"{name}_sizes", lambda: against_size(task.results, task.unit)
    if task.calibrations:
        yield f"{name}_calibration", lambda: calibrations(task.calibrations, task.unit)
    if len(task.curves):
        ranked = [*shown, *task.results.sort_values("mae")["contender"]]
        names = list(dict.fromkeys(ranked))[:MOST_LINES]
        own = task.curves[task.curves["contender"].isin(names)]
        if len(own):
            yield f"{name}_curves", lambda: learning_curves(own)


def slug(name: str) -> str:
    """Return a name as one of a file.

    >>> slug("band gap [eV]")
    'band_gap_eV'
    """
    return re.sub(r"[^A-Za-z0-9.-]+", "_", name).strip("_.") or "unnamed"
