"""Fine-tuning: a pre-trained model, or none and saying so, and crystals with a property."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from epitaxy.crystals.crystals import Crystals
from epitaxy.crystals.fingerprint import fingerprint
from epitaxy.errors import InputError, RecipeError
from epitaxy.training.checkpoint import Model, load_model
from epitaxy.training.pretrain import load_crystals, train_in_folder
from epitaxy.training.recipe import Recipe, load_recipe
from epitaxy.training.run import Run, claim_folder
from epitaxy.training.train import HeadStart, lineage, warn_of_new_elements
from epitaxy.units import parse_target

Ancestor = str | Path | Run | Model | None


def finetune(
    data: Any,
    target: str,
    *,
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
    """Fine-tune on one property of crystals or atoms.

    Args:
        data: crystals, or anything that ``read_crystals`` reads.
        target: ``"name[unit]"``, or a name whose unit the data declare.
        from_: a pre-trained run, model, or checkpoint folder; None trains from scratch.
        extensive: whether the target grows with the cell, where the data do not say.
        head: ``"new"``, or ``"taken"`` from the ancestor.

    The other arguments are those of ``pretrain``. Raises as it does, and CheckpointError.
    """
    name, _ = parse_target(target)
    ancestor = as_model(from_)
    recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    recipe = finetune_recipe(
        recipe, name, ancestor, {"data.source": source_name(data), **(changes or {})}, seed
    )
    grows = (name,) if extensive is True else extensive or ()
    crystals, notes, read = load_crystals(
        recipe.data, data, recipe.seed, strict, targets=(target,), extensive=grows
    )
    crystals, missing = with_target_only(crystals, name)
    if missing:
        notes.append(f"{missing} crystals have no value of '{name}': left out.")
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
    default = Path("runs") / f"{name}-{'scratch' if ancestor is None else ancestor.name}"
    folder = claim_folder(
        Path(out or default), identity, overwrite, None if ancestor is None else ancestor.folder
    )
    label = "fine-tuning" if progress else None
    return train_in_folder(folder, recipe, crystals, notes, read, ancestor, head, label)


def finetune_recipe(
    recipe: Recipe,
    target: str,
    ancestor: Model | None,
    changes: Mapping[str, Any] | None = None,
    seed: int | None = None,
) -> Recipe:
    """Return the recipe with its objective ``property`` set to a target.

    With an ancestor, the backbone is the ancestor's unless ``changes`` ask for one.
    """
    asked = dict(changes or {})
    if sum(one.get("name") == "property" for one in recipe.objectives) != 1:
        raise RecipeError(
            f"recipe '{recipe.name}' has no objective 'property', or several: one is needed."
        )
    settings = [
        {**one, "target": target} if one.get("name") == "property" else dict(one)
        for one in recipe.objectives
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


def with_target_only(crystals: Crystals, name: str) -> tuple[Crystals, int]:
    """Return the crystals that have a value of the target, with no other target, and how many not.

    Raises InputError where none has.
    """
    target = crystals.target(name)
    present = target.present()
    if target.level == "atom":
        owners = crystals.crystal_of_atom[present]
        present = torch.zeros(len(crystals), dtype=torch.bool)
        present[owners] = True
    if not bool(present.any()):
        raise InputError(f"target '{name}' is missing in all {len(crystals)} crystals.")
    kept = crystals.with_targets({name: target})[present]
    return kept, len(crystals) - len(kept)
