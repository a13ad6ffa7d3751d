"""Test errors that others reported for a task, each with the protocol that it comes from.

They stand beside a comparison for orientation. Nobody's training sizes, folds and test crystals are
ours, so they are a table of their own and no contender.
"""

import functools
import re
import tomllib
from importlib.resources import files
from typing import Any

import pandas as pd

from epitaxy.errors import InputError, did_you_mean
from epitaxy.units import conversion_factor, is_known

COLUMNS = ("task", "who", "mae", "unit", "training", "protocol", "differs", "source")


def published_tasks() -> tuple[str, ...]:
    """Return the tasks that there are figures for.

    >>> "matbench_phonons" in published_tasks()
    True
    """
    return tuple(_read()["tasks"])


def published_figures(task: str, unit: str | None = None) -> pd.DataFrame:
    """Return task, who, mae, unit, training, protocol, differs, source; the lowest error first.

    Errors are converted into ``unit`` where that measures the same thing, and keep their own unit
    where it does not.

    >>> published_figures("matbench_jdft2d", "eV/atom")[["who", "mae", "unit"]].values[0].tolist()
    ['JMP-S (MatterTune)', 0.01942, 'eV/atom']
    """
    own = _read()["tasks"][task_named(task)]["unit"]
    unit, factor = _in_unit(own, unit)
    rows = []
    for source in _read()["sources"]:
        if task not in source["tasks"]:
            continue
        place = source["tasks"].index(task)
        for who, errors in source["mae"].items():
            told = {name: source[name] for name in ("training", "protocol", "differs", "source")}
            mae = float(f"{errors[place] * factor:.6g}")
            rows.append({"task": task, "who": who, "mae": mae, "unit": unit, **told})
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return table[table["mae"].notna()].sort_values("mae", kind="stable", ignore_index=True)


def published_aggregates() -> pd.DataFrame:
    """Return who, statement, percent, configurations, of and source: claims over many tasks."""
    return pd.DataFrame(_read()["aggregates"])


def recognized_task(data: str, target: str) -> str | None:
    """Return the task that the name of a data set and a target's name mean, if it is known.

    >>> recognized_task("data/matbench_mp_gap.json.gz", "band_gap")
    'matbench_mp_gap'
    >>> recognized_task("my_crystals/", "band_gap") is None
    True
    """
    folded = _folded(data)
    for task, facts in _read()["tasks"].items():
        if _folded(task) in folded and _folded(target) in map(_folded, facts["targets"]):
            return task
    return None


def task_named(name: str) -> str:
    """Return the name; raises InputError that lists the known tasks."""
    if name not in published_tasks():
        known = ", ".join(published_tasks())
        raise InputError(
            f"no published figures for '{name}'. {did_you_mean(name, published_tasks())} "
            f"There are some for {known}."
        )
    return name


def _in_unit(own: str, wanted: str | None) -> tuple[str, float]:
    if wanted is None or not (is_known(own) and is_known(wanted)):
        return own, 1.0
    try:
        return wanted, conversion_factor(own, wanted)
    except InputError:  # energy against energy per atom
        return own, 1.0


def _folded(text: str) -> str:
    """Return letters and digits alone, in lower case."""
    return re.sub(r"[^a-z0-9]", "", text.lower())


@functools.cache
def _read() -> dict[str, Any]:
    return tomllib.loads((files("epitaxy.evaluation") / "published.toml").read_text("utf-8"))
