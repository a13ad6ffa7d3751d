"""A study read, checked to the last cell, and spelled out: tasks, rows, and who trains on what."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from epitaxy.crystals.arrow import write_arrow
from epitaxy.crystals.crystals import Crystals
from epitaxy.crystals.elements import symbol
from epitaxy.crystals.fingerprint import fingerprint
from epitaxy.datasets.matbench import matbench_task
from epitaxy.errors import InputError
from epitaxy.evaluation.protocol import refuse_double_ids, settings_grid
from epitaxy.evaluation.published import published_figures, published_tasks, recognized_task
from epitaxy.evaluation.study.grids import Problems, beside
from epitaxy.evaluation.study.origins import Origin, origins
from epitaxy.evaluation.study.rows import Row, rows
from epitaxy.evaluation.study.specification import Study, Task, grid_keys, load_study
from epitaxy.evaluation.study.splits import Splits, split_task
from epitaxy.training.finetune import finetune_recipe, with_target_only
from epitaxy.training.pretrain import load_crystals, needed_targets, usable_only
from epitaxy.training.recipe import DataPlan, Recipe, load_recipe
from epitaxy.training.train import made_objectives
from epitaxy.units import parse_target


@dataclass(frozen=True, eq=False)
class Data:
    """Crystals that several runs read, by their fingerprint."""

    crystals: Crystals
    fingerprint: str

    @classmethod
    def of(cls, crystals: Crystals) -> "Data":
        """Return the crystals with their fingerprint."""
        return cls(crystals, fingerprint(crystals))

    def file(self, folder: Path) -> Path:
        """Return the file that the workers of a study in this folder read."""
        return folder / "data" / f"{self.fingerprint[:16]}.arrow"

    def write(self, folder: Path) -> None:
        """Write that file if it is not there."""
        file = self.file(folder)
        if not file.is_file():
            file.parent.mkdir(parents=True, exist_ok=True)
            write_arrow(self.crystals, file)


@dataclass(frozen=True, eq=False)
class TaskData:
    """A task with its crystals and their splits.

    Attributes:
        name, target, unit: what tables call it, its property and the property's unit.
        given: the task as the study states it.
        data: its crystals, with this one target.
        splits: who trains on what.
        published: what others report.
        notes: what was read, skipped, and what to know about it.
    """

    name: str
    target: str
    unit: str
    given: Task
    data: Data
    splits: Splits
    published: pd.DataFrame
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Plan:
    """Everything that a study will do.

    Attributes:
        study: as it was given.
        tasks, origins, rows: the tasks, the pre-trainings and the rows of the tables.
        settings: what every tuned row chooses from.
        pretraining_data: name of a pre-training → what it reads.
        notes: what to know about all of it.
    """

    study: Study
    tasks: tuple[TaskData, ...]
    origins: tuple[Origin, ...]
    rows: tuple[Row, ...]
    settings: tuple[Mapping[str, Any], ...]
    pretraining_data: Mapping[str, Data] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def settings_of(self, row: Row) -> Sequence[Mapping[str, Any]]:
        """Return the settings that a row chooses from; one that is not tuned has a single one."""
        return self.settings if row.tuned else ({},)

    def task(self, name: str) -> TaskData:
        """Return a task by its name."""
        return next(task for task in self.tasks if task.name == name)


def make_plan(source: str | Path | Mapping[str, Any] | Study) -> Plan:
    """Return the plan of a study, once everything in it has been found to fit.

    Recipes are built to their last argument, data are read, targets found and sizes tried.

    Raises InputError with one line for each thing that does not fit, or RecipeError where the
    study itself cannot be read.
    """
    study, home = load_study(source)
    problems = Problems()
    found = origins(study, home, problems)
    made = rows(study, home, found, problems)
    settings = _settings(study, home, made, problems)
    tasks = _tasks(study, home, problems)
    for task in tasks:
        _check_labels(task, made, problems)
    data, notes = _pretraining_data(found, home, problems)
    notes += [note for origin in found for note in _new_elements(origin, data, tasks)]
    if problems:
        count = "one thing does" if len(problems) == 1 else f"{len(problems)} things do"
        raise InputError(f"{count} not fit in the study '{study.name}':\n" + "\n".join(problems))
    return Plan(study, tuple(tasks), tuple(found), tuple(made), settings, data, tuple(notes))


def task_recipe(row: Row, task: TaskData, seed: int, setting: Mapping[str, Any]) -> Recipe:
    """Return the whole recipe of one fit."""
    assert row.recipe is not None
    source = {"data.source": task.given.source}
    recipe = finetune_recipe(row.recipe, task.target, None, source, seed)
    return recipe.altered(setting)


def _settings(
    study: Study, home: Path, made: Sequence[Row], problems: Problems
) -> tuple[Mapping[str, Any], ...]:
    """Return the tuning grid, each of its values tried on every recipe that is tuned."""
    grid = problems.check("tuning", lambda: grid_keys(study.tuning))
    if grid is None:
        return ()
    recipes = [row.recipe for row in made if row.recipe is not None and row.tuned]
    if not recipes and not any(
        row.recipe for row in made
    ):  # what is wrong with the rows is told; the grid may be wrong besides
        usual = problems.check("finetuning", lambda: load_recipe(beside(home, study.finetuning)))
        recipes = [] if usual is None else [usual]
    for key, values in grid.items():
        for value in values:
            for recipe in recipes:
                if _refused(f"tuning {key} = {value!r}", recipe, key, value, problems):
                    break
    return tuple(settings_grid(grid))


def _refused(where: str, recipe: Recipe, key: str, value: Any, problems: Problems) -> bool:
    if key == "seed" or key.startswith(("backbone", "data")):
        problems.append(f"{where}: seeds, backbones and data are not chosen by the validation.")
        return True
    made = problems.check(where, lambda: made_objectives(recipe.altered({key: value})))
    return made is None


def _tasks(study: Study, home: Path, problems: Problems) -> list[TaskData]:
    found: list[TaskData] = []
    for entry in study.tasks:
        name = entry.name or parse_target(entry.target)[0]
        task = problems.check(
            f"task '{name}'",
            lambda e=entry, n=name: _task(study, e, n, home),  # type: ignore[misc]
        )
        if task is not None and name in [one.name for one in found]:
            problems.append(f"two tasks are called '{name}': give each a name of its own.")
        elif task is not None:
            found.append(task)
    return found


def _task(study: Study, entry: Task, name: str, home: Path) -> TaskData:
    """Read one task's crystals and split them."""
    target, _ = parse_target(entry.target)
    split_seed = study.split_seed if entry.split_seed is None else entry.split_seed
    plan = DataPlan(source=beside(home, entry.source), max_atoms=entry.max_atoms, limit=entry.limit)
    grows = (target,) if entry.extensive else ()
    crystals, notes, _ = load_crystals(
        plan, None, split_seed, targets=(entry.target,), extensive=grows
    )
    crystals, missing = with_target_only(crystals, target)
    declared = crystals.target(target)
    if declared.level != "crystal" or declared.values.ndim != 1:
        raise InputError(f"'{target}' is not one number per crystal: a study takes those.")
    refuse_double_ids(crystals.ids)
    if missing:
        notes.append(f"{missing} crystals have no value of '{target}': left out.")
    splits = split_task(study, entry, crystals, plan.source, home)
    notes += splits.notes
    for size, asked in splits.sizes.items():
        if asked not in ("all", size):
            notes.append(f"{size} training crystals in place of {asked}.")
    data = Data.of(crystals)
    reported = _published(entry, name, target, declared.unit)
    return TaskData(name, target, declared.unit, entry, data, splits, reported, tuple(notes))


def _published(entry: Task, name: str, target: str, unit: str) -> pd.DataFrame:
    """Return what others report: as the study says, or what is known of a task of this name."""
    if entry.published and not isinstance(entry.published, str):
        rows = [{**one.model_dump(), "unit": unit} for one in entry.published]
        return pd.DataFrame(rows).assign(task=name)
    known = entry.published or recognized_task(entry.source, target)
    if not known and entry.matbench is not None:
        own = matbench_task(entry.matbench).name
        known = own if own in published_tasks() else None
    if not known:
        return pd.DataFrame(columns=["task", "who", "mae", "unit", "protocol", "source"])
    return published_figures(str(known), unit).assign(task=name)


def _pretraining_data(
    found: Sequence[Origin], home: Path, problems: Problems
) -> tuple[dict[str, Data], list[str]]:
    """Read what the pre-trainings read; those that read the same share it."""
    read: dict[str, tuple[Crystals, list[str]]] = {}
    data: dict[str, Data] = {}
    notes: list[str] = []
    for origin in found:
        if origin.recipe is not None:
            own = problems.check(
                f"pretraining '{origin.name}'",
                lambda o=origin: _crystals_of(o.recipe, home, read),  # type: ignore[misc]
            )
            if own is not None:
                data[origin.name], told = own
                notes += [one for one in told if one not in notes]
    return data, notes


def _crystals_of(recipe: Recipe, home: Path, read: dict[Any, Any]) -> tuple[Data, list[str]]:
    plan = recipe.data.model_copy(update={"source": beside(home, recipe.data.source)})
    targets = needed_targets(recipe)
    # what a limit draws depends on the seed; without one all seeds read the same
    key = (plan.source, plan.max_atoms, plan.limit, targets, recipe.seed if plan.limit else None)
    if key not in read:
        crystals, notes, _ = load_crystals(plan, None, recipe.seed, targets=targets)
        read[key] = (Data.of(crystals), notes)
    data, notes = read[key]
    told = list(notes)
    usable = usable_only(data.crystals, recipe, told)
    return (data if len(usable) == len(data.crystals) else Data.of(usable)), told


def _new_elements(origin: Origin, data: Mapping[str, Data], tasks: Sequence[TaskData]) -> list[str]:
    """Return a note for each task with elements that a pre-training never saw."""
    seen = set(origin.elements)
    if origin.name in data:
        seen = set(data[origin.name].crystals.numbers.unique().tolist())
    notes = []
    for task in tasks:
        new = sorted(set(task.data.crystals.numbers.unique().tolist()) - seen)
        if new:
            listed = ", ".join(symbol(number) for number in new)
            notes.append(f"{task.name} has elements that '{origin.name}' never saw: {listed}.")
    return notes


def _check_labels(task: TaskData, made: Sequence[Row], problems: Problems) -> None:
    """Refuse weights that have read labels of the task, and what is no regression of it."""
    seen = []
    for row in made:
        origin = row.origin
        if origin is not None and task.target in origin.reads and origin.name not in seen:
            seen.append(origin.name)
            problems.append(
                f"task '{task.name}': the weights of '{origin.name}' were trained on labels of "
                f"'{task.target}': test crystals may be among them."
            )
        if row.recipe is None:
            continue
        recipe = problems.check(
            f"contender '{row.name}'",
            lambda r=row: task_recipe(r, task, 0, {}),  # type: ignore[misc]
        )
        for one in recipe.objectives if recipe is not None else ():
            if one.get("task") == "classification" or one.get("absolute"):
                problems.append(f"contender '{row.name}': a study takes regressions as they stand.")
