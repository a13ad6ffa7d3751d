"""Every contender that a study's grids spell out: the rows of its tables."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from epitaxy.errors import RecipeError, did_you_mean
from epitaxy.evaluation.named_baselines import FROZEN, SETS, baseline_names, features_of
from epitaxy.evaluation.protocol import settings_grid
from epitaxy.evaluation.study.grids import (
    PAPERS,
    Problems,
    beside,
    cell_name,
    column,
    in_words,
    shared_grid,
)
from epitaxy.evaluation.study.origins import Origin
from epitaxy.evaluation.study.specification import (
    Contender,
    Label,
    Study,
    grid_keys,
    plain_keys,
)
from epitaxy.registry import build, settings_of
from epitaxy.training.recipe import Recipe, load_recipe, recipe_names
from epitaxy.training.train import made_objectives

SCRATCH = "scratch"
FREE = {"training.freeze": "none", "training.encoder_rate": 1.0}  # an encoder that must learn
NO_COUNTERPART = (
    "has no counterpart from scratch with its backbone and its recipe: add one, or name its "
    "reference."
)


@dataclass(frozen=True, eq=False)
class Row:
    """One contender: a row of every table.

    Attributes:
        name, base, label: of this one, and of the entry that its grid belongs to.
        origin: the pre-training it starts from, or whose weights a baseline reads.
        baseline: name of the baseline that it is, in place of a network.
        recipe: of its fine-tuning, backbone included; the target is still open.
        tuned: whether it chooses among the study's settings.
        reference: the row that it is compared with.
        values: its place in the grids.
    """

    name: str
    base: str
    label: Label
    origin: Origin | None = None
    baseline: str | None = None
    recipe: Recipe | None = None
    tuned: bool = True
    reference: str | None = None
    values: Mapping[str, Any] = field(default_factory=dict)

    @property
    def backbone(self) -> Mapping[str, Any]:
        """Settings of its backbone; empty without a network."""
        return {} if self.recipe is None else self.recipe.backbone

    @property
    def is_scratch(self) -> bool:
        """Whether it is a network that starts from nothing."""
        return self.baseline is None and self.origin is None


@dataclass(frozen=True, eq=False)
class _Spelling:
    """What all entries are spelled out with."""

    study: Study
    home: Path
    origins: Sequence[Origin]
    grid: Mapping[str, list[Any]]
    problems: Problems


def rows(study: Study, home: Path, found: Sequence[Origin], problems: Problems) -> list[Row]:
    """Return every row of a study's tables."""
    grid = shared_grid(study, "finetuning", problems)
    spelling = _Spelling(study, home, found, grid, problems)
    made: list[Row] = []
    for entry in _entries(study, problems):
        add = _network_rows if entry.baseline is None else _baseline_rows
        made += add(spelling, entry)
    names = [row.name for row in made]
    for name in sorted({name for name in names if names.count(name) > 1}):
        problems.append(f"two contenders are called '{name}': give each a name of its own.")
    return _with_references(made, problems)


def _entries(study: Study, problems: Problems) -> list[Contender]:
    usual = [Contender(), *(Contender(pretraining=one.name) for one in study.pretrainings)]
    given = study.baselines
    names = problems.check("baselines", lambda: baseline_names(given) if given else ()) or ()
    if isinstance(given, str) and given in SETS and not study.pretrainings:
        names = tuple(name for name in names if features_of(name) != FROZEN)
    return [*(study.contenders or usual), *(Contender(baseline=name) for name in names)]


def _baseline_rows(spelling: _Spelling, entry: Contender) -> list[Row]:
    """Return the row of a baseline; one that reads frozen weights has one per pre-training."""
    name, problems = str(entry.baseline), spelling.problems
    features = problems.check(f"baseline '{name}'", lambda: features_of(name))
    if features is None:
        return []
    if entry.recipe is not None or entry.changes or entry.grid or entry.backbone is not None:
        problems.append(f"baseline '{name}' takes no recipe, changes, grid or backbone.")
    starts: list[Origin | None] = [None]
    if features == FROZEN:
        known = [one.name for one in spelling.study.pretrainings]
        if not known or (entry.pretraining is not None and entry.pretraining not in known):
            told = did_you_mean(entry.pretraining or "", known)
            problems.append(f"baseline '{name}' reads a pre-training, which is not there. {told}")
        starts = [one for one in spelling.origins if entry.pretraining in (None, one.base)]
    elif entry.pretraining is not None:
        problems.append(f"baseline '{name}' takes no pre-training.")
    base = entry.name or name
    return [
        Row(
            name=base if origin is None else f"{base} of {origin.name}",
            base=base,
            label=entry.label or "baseline",
            origin=origin,
            baseline=name,
            tuned=False,
            reference=entry.reference,
            values={} if origin is None else origin.values,
        )
        for origin in starts
    ]


def _network_rows(spelling: _Spelling, entry: Contender) -> list[Row]:
    """Return the rows of a network: from scratch, or one for every cell of a pre-training."""
    base, problems = entry.name or entry.pretraining or SCRATCH, spelling.problems
    where = f"contender '{base}'"
    grid = problems.check(where, lambda: grid_keys(entry.grid))
    if grid is None:
        return []
    known = [one.name for one in spelling.study.pretrainings]
    if entry.pretraining is not None and entry.pretraining not in known:
        told = did_you_mean(entry.pretraining, known)
        problems.append(f"{where}: no pre-training '{entry.pretraining}'. {told}")
        return []
    if entry.pretraining is not None and entry.backbone is not None:
        problems.append(f"{where}: the backbone is that of its pre-training.")
        return []
    starts: list[tuple[Origin | None, Mapping[str, Any] | None]]
    if entry.pretraining is None:
        starts = [(None, backbone) for backbone in _backbones(entry, spelling.origins)]
    else:
        mine = [one for one in spelling.origins if one.base == entry.pretraining]
        starts = [(origin, origin.backbone) for origin in mine]
    made = []
    for origin, backbone in starts:
        told_backbone = len(starts) > 1 and origin is None
        for cell in settings_grid({**spelling.grid, **grid}):
            row = problems.check(
                f"contender '{cell_name(base, cell)}'",
                lambda o=origin, b=backbone, c=cell, t=told_backbone: _network(  # type: ignore[misc]
                    spelling, entry, base, o, b, c, t
                ),
            )
            made += [] if row is None else [row]
    return made


def _backbones(entry: Contender, found: Sequence[Origin]) -> list[Mapping[str, Any] | None]:
    """Return the backbones of an entry from scratch: its own, or those of the pre-trainings."""
    if entry.backbone is not None:
        own = entry.backbone
        return [{"name": own} if isinstance(own, str) else own]
    distinct: list[Mapping[str, Any]] = []
    for origin in found:
        if origin.backbone not in distinct:
            distinct.append(origin.backbone)
    return list(distinct) or [None]


def _network(
    spelling: _Spelling,
    entry: Contender,
    base: str,
    origin: Origin | None,
    backbone: Mapping[str, Any] | None,
    cell: Mapping[str, Any],
    told_backbone: bool,
) -> Row:
    """Return one row with its recipe, checked to the last argument."""
    study = spelling.study
    chosen = entry.recipe or study.finetuning
    changes = {**plain_keys(study.changes), **plain_keys(entry.changes), **cell}
    recipe = load_recipe(beside(spelling.home, chosen))
    if backbone is not None:
        recipe = recipe.altered({"backbone": dict(backbone)})
    recipe = recipe.altered(changes)
    if origin is None:
        recipe = recipe.altered(FREE)
    recipe = recipe.altered({"backbone": settings_of(build("backbones", recipe.backbone))})
    if origin is not None and recipe.backbone != dict(origin.backbone):
        raise RecipeError("the backbone is that of its pre-training: leave it out of the changes.")
    made_objectives(recipe)
    faithful = (
        chosen.startswith(PAPERS) and chosen in recipe_names() and set(changes) <= {"data.source"}
    )
    label: Label = "paper" if faithful and (origin is None or origin.faithful) else "ours"
    label = entry.label or (origin.label if origin is not None else None) or label
    start = {} if origin is None else {k.partition(".")[2]: v for k, v in origin.values.items()}
    told = [*(in_words(key, value) for key, value in [*start.items(), *cell.items()])]
    if told_backbone:
        told.insert(0, _backbone_in_words(recipe.backbone, spelling.origins))
    values = {} if origin is None else dict(origin.values)
    return Row(
        name=f"{base} [{', '.join(told)}]" if told else base,
        base=base,
        label=label,
        origin=origin,
        recipe=recipe,
        tuned=label != "paper",
        reference=entry.reference,
        values={**values, **{column("finetuning", key): value for key, value in cell.items()}},
    )


def _backbone_in_words(backbone: Mapping[str, Any], found: Sequence[Origin]) -> str:
    """Return a backbone's name, and where another one has that name, how it differs from it."""
    alike = [one.backbone for one in found if one.backbone["name"] == backbone["name"]]
    differing = {k for one in alike for k, v in one.items() if backbone.get(k) != v}
    told = [in_words(key, backbone[key]) for key in sorted(differing)]
    return " ".join([str(backbone["name"]), *told])


def _with_references(made: Sequence[Row], problems: Problems) -> list[Row]:
    """Return the rows with the row that each is compared with."""
    names = [row.name for row in made]
    scratch = [row for row in made if row.is_scratch]
    found = []
    for row in made:
        reference = row.reference
        if reference is not None and reference not in names:
            told = did_you_mean(reference, names)
            problems.append(f"contender '{row.name}': no reference '{reference}'. {told}")
        elif reference == row.name:
            problems.append(f"contender '{row.name}' is its own reference: name another.")
        elif reference is None and not row.is_scratch:
            reference = _counterpart(row, scratch)
            if reference is None and row.baseline is None and scratch:
                problems.append(f"contender '{row.name}' {NO_COUNTERPART}")
        found.append(replace(row, reference=reference))
    return found


def _counterpart(row: Row, scratch: Sequence[Row]) -> str | None:
    """Return the row from scratch with the same backbone, recipe and tuning."""
    if row.recipe is None:
        return scratch[0].name if scratch else None
    same = [one for one in scratch if one.backbone == row.backbone and one.tuned == row.tuned]
    own = _what_is_trained(row.recipe.altered(FREE))
    exact = [one for one in same if one.recipe and _what_is_trained(one.recipe) == own]
    return exact[0].name if exact else None


def _what_is_trained(recipe: Recipe) -> dict[str, Any]:
    return recipe.model_dump(exclude={"name", "data", "seed"})
