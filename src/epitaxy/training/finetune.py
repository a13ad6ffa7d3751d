"""Fine-tuning: a pre-trained model, or none and saying so, and crystals with a property."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from epitaxy.crystals.crystals import Crystals
from epitaxy.crystals.fingerprint import fingerprint
from epitaxy.errors import InputError, RecipeError
from epitaxy.objectives.property import Task
from epitaxy.training.checkpoint import Model, load_model
from epitaxy.training.pretrain import folder_for, load_crystals, train_in_folder, usable_only
from epitaxy.training.recipe import Recipe, load_recipe
from epitaxy.training.run import Run
from epitaxy.training.train import HeadStart, lineage, warn_of_new_elements
from epitaxy.units import parse_target

Ancestor = str | Path | Run | Model | None


def finetune(
    data: Any,
    target: str | Sequence[str],
    *,
    task: Task | None = None,
    from_: Ancestor = None,
    recipe: str | Path | Recipe = "finetune",
    extensive: bool | Sequence[str] = (),
    head: HeadStart = "new",
    changes: Mapping[str, Any] | None = None,
    seed: int | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    strict: bool = False,
    progress: bool = True,
) -> Run:
    """Fine-tune on one property of crystals or atoms, or on several at once.

    Args:
        data: crystals, or anything that ``read_crystals`` reads.
        target: ``"name[unit]"``, or a name whose unit the data declare; or several of them.
            Crystals that have some of the values are kept.
        task: ``"regression"``, or ``"classification"`` of targets that are whole numbers from 0;
            None leaves it to the recipe.
        from_: a pre-trained run, model, or checkpoint folder; None trains from scratch.
        extensive: whether the targets grow with the cell, or which do, where the data do not say.
        head: ``"new"``, or ``"taken"`` from the ancestor.

    The other arguments are those of ``pretrain``. Raises as it does, and CheckpointError.
    """
    targets = (target,) if isinstance(target, str) else tuple(target)
    names = tuple(parse_target(one)[0] for one in targets)
    ancestor = as_model(from_)
    recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    recipe = finetune_recipe(
        recipe, names, ancestor, {"data.source": source_name(data), **(changes or {})}, seed, task
    )
    grows = names if extensive is True else extensive or ()
    crystals, notes, read = load_crystals(
        recipe.data, data, recipe.seed, strict, targets=targets, extensive=grows
    )
    crystals, missing = with_target_only(crystals, *names)
    crystals = usable_only(crystals, recipe, notes)
    if missing:
        notes.append(f"{missing} crystals have no value of {_told(names)}: left out.")
    if ancestor is None:
        notes.append("trained from scratch: no pre-trained weights were given.")
    elif warning := warn_of_new_elements(ancestor, crystals):
        if strict:
            raise InputError(f"{warning} Without strict they are trained all the same.")
        notes.append(warning)
    identity = {
        "kind": "finetune",
        "recipe": recipe.model_dump(mode="json"),
        "data": {"fingerprint": fingerprint(crystals), "crystals": len(crystals)},
        "ancestor": None if ancestor is None else lineage(ancestor)["sha256"],
        "head": head,
    }
    default = Path("runs") / f"{'-'.join(names)}-{'scratch' if ancestor is None else ancestor.name}"
    kept = None if ancestor is None else ancestor.folder
    folder = folder_for(recipe, Path(out or default), identity, overwrite, kept)
    label = "fine-tuning" if progress else None
    return train_in_folder(folder, recipe, crystals, notes, read, ancestor, head, label)


def finetune_recipe(
    recipe: Recipe,
    target: str | Sequence[str],
    ancestor: Model | None,
    changes: Mapping[str, Any] | None = None,
    seed: int | None = None,
    task: Task | None = None,
) -> Recipe:
    """Return the recipe with its objective ``property`` set to a target, or to several.

    With an ancestor, the backbone is the ancestor's unless ``changes`` ask for one.
    """
    asked = dict(changes or {})
    if sum(one.get("name") == "property" for one in recipe.objectives) != 1:
        raise RecipeError(
            f"recipe '{recipe.name}' has no objective 'property', or several: one is needed."
        )
    several = [target] if isinstance(target, str) else list(target)
    told: dict[str, Any] = {"target": several[0] if len(several) == 1 else several}
    if task is not None:
        told["task"] = task
    settings = [
        {**one, **told} if one.get("name") == "property" else dict(one) for one in recipe.objectives
    ]
    made: dict[str, Any] = {"objectives": settings}
    if seed is not None:
        made["seed"] = seed
    if ancestor is not None and not any(key.startswith("backbone") for key in asked):
        made["backbone"] = {}
    return recipe.altered({**made, **asked})


def source_name(data: Any) -> str:
    """Return what a manifest calls the data: their path, or that they were given in Python."""
    return str(data) if isinstance(data, str | Path) else "given in Python"


def as_model(source: Ancestor) -> Model | None:
    """Return the model of a run, a checkpoint folder or a model; None stays None."""
    if source is None or isinstance(source, Model):
        return source
    if isinstance(source, Run):
        return source.model
    if isinstance(source, str | Path):
        return load_model(source)
    raise InputError(f"weights come from a run, a model or a folder, not from {source!r}.")


def with_target_only(crystals: Crystals, *names: str) -> tuple[Crystals, int]:
    """Return the crystals that have a value of a target named, and how many have not.

    Other targets are left out. Raises InputError where no crystal has a value.
    """
    targets = {name: crystals.target(name) for name in names}
    known = torch.zeros(len(crystals), dtype=torch.bool)
    for target in targets.values():
        present = target.present()
        known[crystals.crystal_of_atom[present] if target.level == "atom" else present] = True
    if not bool(known.any()):
        raise InputError(f"target {_told(names)} is missing in all {len(crystals)} crystals.")
    kept = crystals.with_targets(targets)[known]
    return kept, len(crystals) - len(kept)


def _told(names: Sequence[str]) -> str:
    return " or ".join(f"'{name}'" for name in names)
