"""A run as one complete, validated value: data, backbone, objectives, training."""

import tomllib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from annotated_types import Ge, Gt, Lt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from epitaxy.errors import RecipeError, did_you_mean

Positive = Annotated[int, Gt(0)]
Fraction = Annotated[float, Ge(0), Lt(1)]


class Section(BaseModel):
    """A part of a recipe: unknown keys are errors, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class DataPlan(Section):
    """Which crystals.

    Attributes:
        source: ``"bundled"``, or anything that ``read_crystals`` reads.
        validation: fraction kept aside to choose the best weights.
        max_atoms: crystals with more atoms are left out.
        limit: at most so many crystals, chosen at random by the seed.
    """

    source: str = "bundled"
    validation: Fraction = 0.05
    max_atoms: Positive | None = None
    limit: Positive | None = None


class Plateau(Section):
    """When the learning rate falls under ``schedule = "plateau"``, judged once an epoch.

    Attributes:
        factor: what the rate is multiplied by.
        patience: so many epochs without a lower loss are put up with; the next lets the rate fall.
        threshold: a loss is lower if it is so by this fraction of the lowest.
        lowest: the rate does not fall below.
        loss: the one that is watched, ``"train"`` or ``"validation"``.
    """

    factor: Annotated[float, Gt(0), Lt(1)] = 0.8
    patience: Annotated[int, Ge(0)] = 10
    threshold: Annotated[float, Ge(0), Lt(1)] = 2e-4
    lowest: Annotated[float, Ge(0)] = 1e-6
    loss: Literal["train", "validation"] = "train"


class TrainingPlan(Section):
    """How long, how fast, and what is kept.

    Attributes:
        epochs: passes over the training crystals.
        batch_size: crystals per step; ``atoms_per_batch``, if given, takes its place.
        learning_rate: the largest one that the schedule reaches.
        encoder_rate: the backbone's learning rate, as a multiple of the head's.
        weights: of several objectives in their sum: ``"given"``, or ``"learned"`` besides, by
            which each is divided by the size of its own loss (see ``Learner``).
        schedule: ``"one_cycle"``, ``"cosine"`` (after a linear warm-up), ``"constant"``, or
            ``"plateau"``, which falls when a loss does not any more.
        plateau: how, for that schedule.
        warmup: fraction of the steps over which the rate rises.
        clip: largest gradient norm; None for no clipping.
        ema: decay of an exponential moving average of the weights; None for none.
        patience: validations without improvement before training stops; None to never stop.
        keep_epochs: epochs after which a checkpoint is kept besides, without averaging.
        resume_minutes: how often the state for resuming is written.
        cache_edges: graphs and labels that do not depend on chance are kept in memory if they
            have at most so many edges (about 60 bytes each); larger ones are made at every step.
        freeze: ``"none"``, or ``"encoder"`` to train the head alone.
        workers: processes that make graphs and labels ahead of the training, per device.
        devices: devices per machine, each with a process that takes its share of every batch:
            GPUs, or CPU processes where there is none; ``"auto"`` for all GPUs, or one CPU.
        nodes: machines; each is given the same command (see docs/recipes.md).
    """

    epochs: Positive = 40
    batch_size: Positive = 32
    atoms_per_batch: Positive | None = None
    learning_rate: Annotated[float, Gt(0)] = 1e-3
    encoder_rate: Annotated[float, Gt(0)] = 1.0
    weight_decay: Annotated[float, Ge(0)] = 0.01
    weights: Literal["given", "learned"] = "given"
    schedule: Literal["one_cycle", "cosine", "constant", "plateau"] = "one_cycle"
    plateau: Plateau = Field(default_factory=Plateau)
    warmup: Fraction = 0.3
    clip: Annotated[float, Gt(0)] | None = 10.0
    ema: Fraction | None = None
    patience: Positive | None = None
    keep_epochs: tuple[Positive, ...] = ()
    resume_minutes: Annotated[float, Gt(0)] = 2.0
    cache_edges: Annotated[int, Ge(0)] = 30_000_000
    freeze: Literal["none", "encoder"] = "none"
    workers: Annotated[int, Ge(0)] = 0
    accelerator: str = "auto"
    devices: Positive | Literal["auto"] = 1
    nodes: Positive = 1
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    loggers: tuple[Literal["csv", "tensorboard", "wandb", "mlflow"], ...] = ()


class Recipe(Section):
    """One complete run.

    ``backbone`` and each of ``objectives`` name a component and give its arguments; an
    objective may carry a ``weight`` in the sum.
    """

    name: str = "run"
    seed: int = 0
    data: DataPlan = Field(default_factory=DataPlan)
    backbone: dict[str, Any] = Field(
        default_factory=lambda: {"name": "torchmd_et", "preset": "small"}
    )
    objectives: tuple[dict[str, Any], ...] = Field(
        default_factory=lambda: ({"name": "fingerprint"},)
    )
    training: TrainingPlan = Field(default_factory=TrainingPlan)

    def altered(self, changes: Mapping[str, Any]) -> "Recipe":
        """Return the recipe with dotted keys replaced, such as ``{"training.epochs": 5}``.

        Raises RecipeError for a key that is not there or a value that does not fit.
        """
        values = self.model_dump()
        for key, value in changes.items():
            place: Any = values
            *path, last = key.split(".")
            for part in path:
                place = _step_into(place, part, key)
            if isinstance(place, list | tuple):
                raise RecipeError(f"'{key}' points into a list: name a position, as objectives.0.")
            place[last] = value
        return parse_recipe(values, "the changes given")


def recipe_names() -> list[str]:
    """Return the names of the recipes that come with the package."""
    root = Path(str(files("epitaxy.recipes")))
    return sorted(
        path.relative_to(root).with_suffix("").as_posix() for path in root.rglob("*.toml")
    )


def load_recipe(name: str | Path) -> Recipe:
    """Return a recipe by its name or by the path of a TOML file.

    Raises RecipeError for a missing file, broken TOML, an unknown key (it suggests the nearest),
    a wrong type.
    """
    path = Path(name)
    if str(name) in recipe_names():
        path = Path(str(files("epitaxy.recipes"))) / f"{name}.toml"
    elif not path.is_file():
        raise RecipeError(
            f"no recipe '{name}': it is neither a file nor one of ours. "
            f"{did_you_mean(str(name), recipe_names())}"
        )
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} is not valid TOML: {error}.") from None
    values.setdefault("name", path.stem)
    return parse_recipe(values, str(path))


def parse_recipe(values: Mapping[str, Any], origin: str) -> Recipe:
    """Return a validated recipe; errors name ``origin``, the key, the value and the nearest key."""
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise RecipeError(explain_problems(error, Recipe, origin)) from None


def explain_problems(error: ValidationError, model: type[BaseModel], origin: str) -> str:
    """Return one sentence for every key that pydantic found a problem with."""
    lines: list[str] = []
    misfits: dict[str, tuple[Any, list[str]]] = {}  # key → its value, and what it could be
    for problem in error.errors():
        where = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            known = _keys_at(model, problem["loc"][:-1])
            lines.append(
                f"{origin}: unknown key '{where}'. {did_you_mean(str(problem['loc'][-1]), known)}"
            )
        elif problem["type"] == "missing":
            lines.append(f"{origin}: the key '{where}' is missing.")
        else:
            key = _key_of(model, problem["loc"])
            misfits.setdefault(key, (problem["input"], []))[1].append(problem["msg"].lower())
    for key, (value, reasons) in misfits.items():
        lines.append(f"{origin}: {key} = {value!r} does not fit: {', or '.join(reasons)}.")
    return "\n".join(lines)


def _keys_at(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    for part in location:
        field = model.model_fields.get(str(part))
        if field is not None and isinstance(field.annotation, type):
            model = field.annotation
    return list(model.model_fields)


def _key_of(model: type[BaseModel], location: tuple[int | str, ...]) -> str:
    """Return the key that a problem is about, without the alternatives that were tried for it."""
    kept: list[str] = []
    fields: Mapping[str, Any] = model.model_fields
    for part in location:
        if isinstance(part, str) and part not in fields:
            break
        kept.append(str(part))
        if isinstance(part, str):
            fields = _fields_within(fields[part].annotation)
    return ".".join(kept)


def _fields_within(kind: Any) -> Mapping[str, Any]:
    """Return the fields of the sections that a type is made of: a section, or several of them."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return kind.model_fields
    return {name: field for one in get_args(kind) for name, field in _fields_within(one).items()}


def _step_into(place: Any, part: str, key: str) -> Any:
    if isinstance(place, list | tuple) and part.isdigit() and int(part) < len(place):
        return place[int(part)]
    if isinstance(place, dict) and part in place:
        return place[part]
    known = place if isinstance(place, dict) else ()
    raise RecipeError(f"the recipe has no '{part}' in '{key}'. {did_you_mean(part, known)}")
