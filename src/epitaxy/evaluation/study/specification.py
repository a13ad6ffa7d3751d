"""A study as one validated value: tasks, pre-trainings, contenders, and what is varied."""

import tomllib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, Field, ValidationError

from epitaxy.datasets.splitting import Protocol
from epitaxy.errors import RecipeError, did_you_mean
from epitaxy.training.recipe import Section

Positive = Annotated[int, Gt(0)]
Share = Annotated[float, Gt(0), Lt(1)]
Label = Literal["ours", "paper", "baseline", "control"]
Size = Positive | Literal["all"]
PLAIN_SECTIONS = ("data", "training")  # of a recipe: their values are plain, so tables are keys


class Published(Section):
    """What somebody else reports for a task.

    Attributes:
        who: the method.
        mae: its error, in the task's unit.
        protocol: what differs from ours.
        source: where it is reported.
    """

    who: str
    mae: Annotated[float, Ge(0)]
    protocol: str = ""
    source: str = ""


class Task(Section):
    """One property of one set of crystals.

    Attributes:
        source: anything that ``read_crystals`` reads, or ``"bundled"``; a path is looked for beside
            the study's file first.
        target: ``"name[unit]"``, or a name whose unit the data declare.
        name: what the tables call it; the target's name unless told.
        extensive: whether the target grows with the cell, where the data do not say.
        max_atoms, limit: as in a recipe's ``[data]``.
        protocol: how test crystals are drawn, as ``epitaxy.datasets.splitting`` names it.
        folds: so many test sets that hold every crystal once, in place of one test set.
        left_out: for ``protocol = "element"``, the element of the test crystals.
        column: for ``protocol = "time"``, the column of years or dates.
        matbench: for ``protocol = "matbench"``, the task that the crystals are all rows of.
        splits: a file that ``epitaxy data split`` wrote, in place of drawing.
        sizes, at_most, test, validation, split_seed: in place of the study's own.
        published: what others report: a list, or the name of a task that figures are known of.
    """

    source: str
    target: str
    name: str | None = None
    extensive: bool = False
    max_atoms: Positive | None = None
    limit: Positive | None = None
    protocol: Protocol = "random"
    folds: Annotated[int, Ge(2)] | None = None
    left_out: str | None = None
    column: str | None = None
    matbench: str | None = None
    splits: str | None = None
    split_seed: int | None = None
    sizes: tuple[Size, ...] | None = None
    at_most: Annotated[float, Gt(0), Le(1)] | None = None
    test: Positive | Share | None = None
    validation: Positive | Share | None = None
    published: tuple[Published, ...] | str = ()


class Pretraining(Section):
    """One way to pre-train, or a run that is there.

    Attributes:
        name: what the tables call it.
        recipe: name or path of a recipe.
        changes: keys of the recipe and their values.
        run: folder of a run in place of a recipe.
        epoch: which of the checkpoints kept (``training.keep_epochs``) is meant; the best weights
            of all unless told. Of a recipe, it is kept without being asked for.
        grid: keys of the recipe, or ``epoch``, and lists of values: one pre-training for each
            combination.
        label: of the rows that start from it.
    """

    name: str
    recipe: str = "pretrain"
    changes: dict[str, Any] = Field(default_factory=dict)
    run: str | None = None
    epoch: Positive | None = None
    grid: dict[str, Any] = Field(default_factory=dict)
    label: Label | None = None


class Contender(Section):
    """One row of the tables: from scratch, from a pre-training, or without a network.

    Attributes:
        name: what the tables call it; the pre-training's, the baseline's, or ``"scratch"``.
        pretraining: name of a pre-training; none trains from scratch.
        baseline: name of a baseline, in place of a network.
        recipe: of the fine-tuning, in place of the study's.
        changes: keys of that recipe and their values.
        backbone: of a network from scratch. Unless told there is one such row for every backbone
            that a pre-training has.
        grid: keys of the recipe and lists of values: one row for each combination.
        label: ``"paper"`` rows take their recipe's settings as published: they are not tuned.
        reference: the row that it is compared with; from scratch with the same backbone and the
            same recipe unless told.
    """

    name: str | None = None
    pretraining: str | None = None
    baseline: str | None = None
    recipe: str | None = None
    changes: dict[str, Any] = Field(default_factory=dict)
    backbone: dict[str, Any] | str | None = None
    grid: dict[str, Any] = Field(default_factory=dict)
    label: Label | None = None
    reference: str | None = None


class Study(Section):
    """A whole study.

    Attributes:
        name: of the study and its folder.
        title: of its page.
        seeds: repetitions, with other training crystals, batch orders and new weights.
        sizes: training crystals; ``"all"`` are those that test and validation leave. A smaller
            subset is part of every larger one.
        at_most: share of a task's crystals that a size may take; larger sizes are lowered to it.
        test: test crystals, or their share; a fifth, at most 1,000, unless told.
        validation: crystals to choose settings by, or their number as a share of the training's.
        split_seed: seed of test sets and subsets.
        finetuning: name or path of the recipe of every fine-tuning.
        changes: keys of that recipe and their values.
        tuning: keys of that recipe and the values that every contender may choose from.
        tune: whether settings are chosen for ``"each"`` seed, or in every fold on the ``"first"``.
        grid: ``pretraining.…`` and ``finetuning.…`` keys of recipes and lists of values, for all
            pre-trainings and all fine-tunings; ``backbone`` for both.
        baselines: names of contenders without a network, or ``"default"``, ``"all"``.
        tasks, pretrainings, contenders: see there. Without contenders there are those from scratch
            and one for every pre-training.
        audit: whether the tasks' crystals are audited first.
        maps: whether crystals are drawn in the plane as every pre-training represents them.
    """

    name: str
    title: str = ""
    seeds: Positive = 5
    sizes: tuple[Size, ...] = ("all",)
    at_most: Annotated[float, Gt(0), Le(1)] | None = None
    test: Positive | Share | None = None
    validation: Positive | Share = 0.2
    split_seed: int = 0
    finetuning: str = "finetune"
    changes: dict[str, Any] = Field(default_factory=dict)
    tuning: dict[str, Any] = Field(default_factory=dict)
    tune: Literal["each", "first"] = "each"
    grid: dict[str, Any] = Field(default_factory=dict)
    baselines: tuple[str, ...] | str = ("dummy",)
    tasks: tuple[Task, ...]
    pretrainings: tuple[Pretraining, ...] = ()
    contenders: tuple[Contender, ...] = ()
    audit: bool = False
    maps: bool = True


def study_names() -> list[str]:
    """Return the names of the studies that come with the package."""
    root = Path(str(files("epitaxy.studies")))
    return sorted(path.stem for path in root.glob("*.toml"))


def study_file(name: str | Path) -> Path:
    """Return the file of a study: its path, or that of one of ours.

    Raises RecipeError where there is none.
    """
    path = Path(name)
    if path.is_file():
        return path
    if str(name) in study_names():
        return Path(str(files("epitaxy.studies"))) / f"{name}.toml"
    raise RecipeError(
        f"no study '{name}': it is neither a file (looked from {Path.cwd()}) nor one of ours. "
        f"{did_you_mean(str(name), study_names())}"
    )


def load_study(source: str | Path | Mapping[str, Any] | Study) -> tuple[Study, Path]:
    """Return a study and the folder that its paths are looked for in first.

    ``source`` is a TOML file, the name of one of ours, its values, or a study.

    Raises RecipeError with one line for every key that is unknown, missing or does not fit.
    """
    if isinstance(source, Study):
        return source, Path()
    if isinstance(source, Mapping):
        return parse_study(source, "the study"), Path()
    path = study_file(source)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} is not valid TOML: {error}.") from None
    values.setdefault("name", path.stem)
    return parse_study(values, str(path)), path.parent


def parse_study(values: Mapping[str, Any], origin: str) -> Study:
    """Return a validated study; errors name ``origin``, the key, the value, the nearest key."""
    try:
        return Study.model_validate(values)
    except ValidationError as error:
        raise RecipeError("\n".join(_explained(one, origin) for one in error.errors())) from None


def plain_keys(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return changes with dotted keys: ``{"training": {"epochs": 5}}`` as ``training.epochs``.

    >>> plain_keys({"training": {"epochs": 5}, "backbone": {"name": "cgcnn"}})
    {'training.epochs': 5, 'backbone': {'name': 'cgcnn'}}
    """
    plain: dict[str, Any] = {}
    for key, value in changes.items():
        if key in PLAIN_SECTIONS and isinstance(value, Mapping):
            plain |= {f"{key}.{inner}": one for inner, one in value.items()}
        else:
            plain[key] = value
    return plain


def grid_keys(grid: Mapping[str, Any], prefix: str = "") -> dict[str, list[Any]]:
    """Return a grid with dotted keys; tables are opened until there is a list.

    >>> grid_keys({"training": {"epochs": [5, 10]}})
    {'training.epochs': [5, 10]}
    """
    plain: dict[str, list[Any]] = {}
    for key, value in grid.items():
        where = f"{prefix}{key}"
        if isinstance(value, Mapping):
            plain |= grid_keys(value, f"{where}.")
        elif isinstance(value, list | tuple) and value:
            plain[where] = list(value)
        else:
            raise RecipeError(f"{where} = {value!r} is no list of values to choose from.")
    return plain


def _explained(problem: Any, origin: str) -> str:
    *path, last = problem["loc"] or ("",)
    where = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        known = did_you_mean(str(last), _section(path).model_fields)
        return f"{origin}: unknown key '{where}'. {known}"
    if problem["type"] == "missing":
        return f"{origin}: the key '{where}' is missing."
    reason = problem["msg"].lower()
    return f"{origin}: {where} = {problem['input']!r} does not fit: {reason}."


def _section(path: list[Any]) -> type[BaseModel]:
    """Return the section that a location of a problem lies in."""
    section: type[BaseModel] = Study
    for part in path:
        field = section.model_fields.get(str(part))
        inner = [one for one in get_args(field.annotation) if one is not ...] if field else []
        for one in inner:
            if isinstance(one, type) and issubclass(one, BaseModel):
                section = one
    return section
