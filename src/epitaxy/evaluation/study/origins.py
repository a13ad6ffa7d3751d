"""Every pre-training that a study's grids spell out, checked to the last argument."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from epitaxy.errors import RecipeError
from epitaxy.evaluation.protocol import settings_grid
from epitaxy.evaluation.study.grids import (
    PAPERS,
    Problems,
    beside,
    column,
    named_cells,
    shared_grid,
)
from epitaxy.evaluation.study.specification import (
    Label,
    Pretraining,
    Study,
    grid_keys,
    plain_keys,
)
from epitaxy.registry import build, settings_of
from epitaxy.training.checkpoint import load_model
from epitaxy.training.finetune import lineage
from epitaxy.training.pretrain import needed_targets
from epitaxy.training.recipe import Recipe, load_recipe, recipe_names
from epitaxy.training.train import labels_seen, made_objectives
from epitaxy.training.weights import weights_folder


@dataclass(frozen=True, eq=False)
class Origin:
    """One pre-training.

    Attributes:
        name, base: of this one, and of the entry that its grid belongs to.
        backbone: settings of the whole backbone.
        reads: targets whose labels it has seen.
        recipe: what to train; None for a run that is there.
        run: folder of a run that is there, or of shipped weights.
        epoch: the checkpoint that is meant; None for the best.
        sha256: of the weights of a run that is there.
        label, values: as asked for, and its place in the grids.
        faithful: whether its recipe is one of a publication's, as it stands.
        elements: atomic numbers that a run that is there has seen.
    """

    name: str
    base: str
    backbone: Mapping[str, Any]
    reads: tuple[str, ...]
    recipe: Recipe | None = None
    run: Path | None = None
    epoch: int | None = None
    sha256: str | None = None
    label: Label | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    faithful: bool = False
    elements: tuple[int, ...] = ()


def origins(study: Study, home: Path, problems: Problems) -> list[Origin]:
    """Return every pre-training of a study."""
    found: list[Origin] = []
    shared = shared_grid(study, "pretraining", problems)
    for entry in study.pretrainings:
        where = f"pretraining '{entry.name}'"
        own = problems.check(where, lambda e=entry: grid_keys(e.grid)) or {}  # type: ignore[misc]
        grid = {**({} if entry.run else shared), **own}
        if entry.run is not None and (entry.changes or set(grid) - {"epoch"}):
            problems.append(
                f"{where}: a run that is there has no changes, and no grid but of 'epoch'."
            )
            continue
        for name, cell in named_cells(entry.name, settings_grid(grid)).items():
            make = _planned if entry.run is None else _existing
            origin = problems.check(
                f"pretraining '{name}'",
                lambda m=make, e=entry, n=name, c=cell: m(e, n, c, home),  # type: ignore[misc]
            )
            if origin is not None:
                found.append(origin)
    for name in {one.name for one in study.pretrainings}:
        if [one.name for one in study.pretrainings].count(name) > 1:
            problems.append(f"two pre-trainings are called '{name}': give each its own name.")
    return _with_kept_epochs(found)


def _planned(entry: Pretraining, name: str, cell: Mapping[str, Any], home: Path) -> Origin:
    """Return the pre-training of one cell of a grid."""
    epoch = cell.get("epoch", entry.epoch)
    changes = {**plain_keys(entry.changes), **{k: v for k, v in cell.items() if k != "epoch"}}
    recipe = load_recipe(beside(home, entry.recipe)).altered(changes)
    made_objectives(recipe)
    backbone = settings_of(build("backbones", recipe.backbone))
    if epoch is not None and not 1 <= epoch <= recipe.training.epochs:
        raise RecipeError(f"epoch {epoch} is none of the {recipe.training.epochs} of the recipe.")
    return Origin(
        name=name,
        base=entry.name,
        backbone=backbone,
        reads=needed_targets(recipe),
        recipe=recipe,
        epoch=epoch,
        label=entry.label,
        values={column("pretraining", key): value for key, value in cell.items()},
        faithful=entry.recipe.startswith(PAPERS)
        and entry.recipe in recipe_names()
        and set(changes) <= {"data.source"},
    )


def _existing(entry: Pretraining, name: str, cell: Mapping[str, Any], home: Path) -> Origin:
    """Return a run that is there."""
    assert entry.run is not None
    epoch = cell.get("epoch", entry.epoch)
    folder = weights_folder(beside(home, entry.run))
    model = load_model(folder if epoch is None else folder / "epochs" / f"{epoch:04d}")
    return Origin(
        name=name,
        base=entry.name,
        backbone=settings_of(model.backbone),
        reads=tuple(labels_seen(model)),
        run=folder,
        epoch=epoch,
        sha256=lineage(model)["sha256"],
        label=entry.label,
        values={column("pretraining", key): value for key, value in cell.items()},
        elements=tuple(model.coverage.elements),
    )


def _with_kept_epochs(found: Sequence[Origin]) -> list[Origin]:
    """Return the pre-trainings so that those that differ in the epoch alone are one run."""
    kept: dict[str, set[int]] = {}
    for origin in found:
        if origin.recipe is not None:
            epochs = kept.setdefault(origin.recipe.model_dump_json(), set())
            epochs |= {*origin.recipe.training.keep_epochs}
            epochs |= {origin.epoch} if origin.epoch is not None else set()
    made = []
    for origin in found:
        recipe = origin.recipe
        if recipe is not None:
            epochs = kept[recipe.model_dump_json()]
            recipe = recipe.altered({"training.keep_epochs": sorted(epochs)})
        made.append(replace(origin, recipe=recipe))
    return made
