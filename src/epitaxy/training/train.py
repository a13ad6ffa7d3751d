"""From crystals and a recipe to a model, in memory: what pre-training and fine-tuning share."""

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch import LightningModule
from torch import nn

from epitaxy.backbones.base import Backbone
from epitaxy.crystals.crystals import Crystals
from epitaxy.crystals.elements import symbol
from epitaxy.errors import CheckpointError, InputError, RecipeError
from epitaxy.objectives.base import Objective
from epitaxy.registry import build, settings_of
from epitaxy.training.checkpoint import Model, save_model
from epitaxy.training.coverage import Coverage
from epitaxy.training.fit import Fitted, fit
from epitaxy.training.learner import Learner
from epitaxy.training.loader import (
    BatchPlan,
    Views,
    graph_builder,
    refuse_small_batches,
    seeded_generator,
)
from epitaxy.training.processes import devices_here, in_processes
from epitaxy.training.rank import Rank
from epitaxy.training.recipe import Recipe
from epitaxy.training.weights import name_of_weights

HeadStart = Literal["new", "taken"]
SHOWN = 6  # elements that a warning names
LABELS = "+"  # between an input's name and the targets whose labels its encoder has read
PROBES = 2  # crystals whose encoding is written into a checkpoint


@dataclass(frozen=True)
class Transfer:
    """What became of an ancestor's layers."""

    taken: tuple[str, ...]
    reinitialized: tuple[str, ...]
    dropped: tuple[str, ...]
    frozen: tuple[str, ...]

    def __str__(self) -> str:
        parts = {
            "taken": self.taken,
            "new": self.reinitialized,
            "dropped": self.dropped,
            "frozen": self.frozen,
        }
        return "layers: " + "; ".join(
            f"{name}: {', '.join(modules) or 'none'}" for name, modules in parts.items()
        )


@dataclass(frozen=True, eq=False)
class Trained:
    """A model in memory, how its training went, and what was taken from where."""

    model: Model
    fitted: Fitted
    transfer: Transfer


def split_off(count: int, fraction: float, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the indices of a training and a validation part, by seed; both sorted.

    At least one crystal goes to validation where the fraction is not zero and there are two.
    """
    order = torch.randperm(count, generator=seeded_generator(seed, "validation"))
    held = 0 if fraction == 0 or count < 2 else min(count - 1, max(1, round(fraction * count)))
    return torch.sort(order[held:]).values, torch.sort(order[:held]).values


def train(
    recipe: Recipe,
    crystals: Crystals,
    validation: Crystals | None = None,
    ancestor: Model | None = None,
    head: HeadStart = "new",
    folder: Path | None = None,
    label: str | None = None,
    rank: Rank | None = None,
) -> Trained:
    """Train a recipe's backbone on its objectives; weights start from ``ancestor`` if given.

    ``recipe.data`` is not read: the crystals are given. With a folder the run can be resumed.
    Where the recipe asks for several devices, each has a process that does the same with its
    ``rank``; whoever calls gives none.
    """
    if not len(crystals):
        raise InputError("no crystals are left to train on.")
    if rank is None and devices_here(recipe.training) * recipe.training.nodes > 1:
        work = partial(train, recipe, crystals, validation, ancestor, head, folder, label)
        return in_processes(work, recipe.training, saves=folder is not None)
    rank = rank or Rank()
    crystals = single_precision(crystals)
    backbone = starting_backbone(recipe, ancestor)
    objectives, weights = made_objectives(recipe)
    builder = graph_builder(backbone, objectives)
    prepared = tuple(
        one.prepare(crystals, builder, seeded_generator(recipe.seed, "prepare", number))
        for number, one in enumerate(objectives)
    )
    if ancestor is not None and head == "taken":
        prepared = _with_fitted_of(ancestor, prepared)
    heads = _heads(backbone, prepared, recipe.seed)
    transfer = _transfer(recipe, prepared, heads, ancestor, head)
    views, held = _views(recipe, crystals, validation, prepared, builder, rank)
    refuse_small_batches(prepared, recipe.training, views, held)
    plan = recipe.training
    steps = plan.epochs * views.plan.per_epoch
    learner = Learner(backbone, prepared, heads, weights, plan, steps, recipe.seed, rank)
    coverage = Coverage.of(crystals)

    def model(card: Mapping[str, Any]) -> Model:
        return Model(learner.backbone, prepared, learner.heads, coverage, card, folder)

    def keep(_: LightningModule, epoch: int) -> Path | None:
        if folder is None:
            return None
        card = {"recipe": recipe.model_dump(mode="json"), "epoch": epoch}
        return save_model(model(card), folder / "epochs" / f"{epoch:04d}", probes(crystals)).folder

    fitted = fit(learner, views, held, plan, folder, label, keep)
    learner.eval()
    card = {
        "recipe": recipe.model_dump(mode="json"),
        "epoch": fitted.best_epoch,
        "figures": best_figures(fitted),
        "ancestor": None if ancestor is None else lineage(ancestor),
    }
    return Trained(model(card), fitted, transfer)


def starting_backbone(recipe: Recipe, ancestor: Model | None) -> Backbone:
    """Return a copy of the ancestor's backbone, or a new one whose weights follow from the seed.

    Raises CheckpointError where the recipe asks for another backbone than the ancestor's.
    """
    if ancestor is None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seeded_generator(recipe.seed, "backbone").initial_seed())
            return build("backbones", recipe.backbone)
    own = settings_of(ancestor.backbone)
    if recipe.backbone:
        asked = settings_of(build("backbones", recipe.backbone))
        for key, value in asked.items():
            if own.get(key) != value:
                raise CheckpointError(
                    f"the checkpoint '{ancestor.name}' has a backbone with {key} = "
                    f"{own.get(key)!r}, and the recipe asks for {value!r}: leave the recipe's "
                    "backbone out, or pre-train the one that it asks for."
                )
    return copy.deepcopy(ancestor.backbone).requires_grad_(True)


def warn_of_new_elements(ancestor: Model, crystals: Crystals) -> str:
    """Return a sentence on elements that the ancestor never saw, or an empty text."""
    missing = ancestor.coverage.missing_elements(crystals)
    if not missing:
        return ""
    listed = ", ".join(
        f"{symbol(number)} ({len(ids)} crystal{'s' if len(ids) > 1 else ''}, such as '{ids[0]}')"
        for number, ids in list(missing.items())[:SHOWN]
    )
    if len(missing) > SHOWN:
        listed += f" and {len(missing) - SHOWN} more"
    return f"elements that the pre-training never saw: {listed}. Their embeddings start untrained."


def best_figures(fitted: Fitted) -> dict[str, float]:
    """Return the validation figures (training figures without validation) of the best epoch."""
    split = "validation" if any(row["split"] == "validation" for row in fitted.rows) else "train"
    rows = [r for r in fitted.rows if r["split"] == split and r["epoch"] == fitted.best_epoch]
    kept = {key: value for key, value in rows[-1].items() if "/" in key} if rows else {}
    return {f"{split} {key}": value for key, value in kept.items()}


def probes(crystals: Crystals) -> Crystals:
    """Return the smallest crystals, for a checkpoint's golden values."""
    smallest = torch.argsort(crystals.atom_counts, stable=True)[:PROBES]
    return crystals[smallest].with_targets({})


def labels_seen(model: Model) -> list[str]:
    """Return the targets whose labels a model was trained on.

    Or any of its ancestors, or the encoder whose representations it starts from.
    """
    recipes = [model.card.get("recipe")]
    ancestor = model.card.get("ancestor")
    while ancestor:
        recipes.append(ancestor.get("recipe"))
        ancestor = ancestor.get("ancestor")
    made = [made_objectives(Recipe.model_validate(recipe))[0] for recipe in recipes if recipe]
    named = (name for objectives in made for one in objectives for name in one.needs)
    given = getattr(model.backbone, "inputs", None)
    behind = given[0].partition(LABELS)[2] if given else ""
    return list(dict.fromkeys([*model.targets, *named, *filter(None, behind.split(","))]))


def single_precision(crystals: Crystals) -> Crystals:
    """Return the crystals with geometry in float32; targets keep the digits they came with."""
    return replace(crystals, positions=crystals.positions.float(), cell=crystals.cell.float())


def lineage(model: Model) -> dict[str, Any]:
    """Return what a descendant writes down of its ancestor."""
    weights = model.card.get("weights", {})
    return {
        "folder": None if model.folder is None else name_of_weights(model.folder),
        "sha256": weights.get("sha256"),
        "recipe": model.card.get("recipe"),
        "ancestor": model.card.get("ancestor"),
    }


def made_objectives(recipe: Recipe) -> tuple[list[Objective], list[float]]:
    """Return a recipe's objectives and their weights."""
    if not recipe.objectives:
        raise RecipeError(
            f"recipe '{recipe.name}' has no objective: name one, such as fingerprint."
        )
    made, weights = [], []
    for settings in recipe.objectives:
        weights.append(_weight(settings))
        made.append(build("objectives", {k: v for k, v in settings.items() if k != "weight"}))
    if not sum(weights) > 0 or min(weights) < 0:
        told = ", ".join(f"{weight:g}" for weight in weights)
        raise RecipeError(
            f"recipe '{recipe.name}': the weights of the objectives are {told}; give none that is "
            "negative, and one at least that is not zero."
        )
    if recipe.training.weights == "learned" and len(made) < 2:
        raise RecipeError(
            f"recipe '{recipe.name}': training.weights = 'learned' balances several objectives, "
            "and there is one: leave it out."
        )
    return made, weights


def _weight(settings: Mapping[str, Any]) -> float:
    given = settings.get("weight", 1.0)
    if not isinstance(given, int | float) or not math.isfinite(given):
        raise RecipeError(f"the weight of '{settings.get('name')}' is {given!r}, and not a number.")
    return float(given)


def _with_fitted_of(ancestor: Model, objectives: Sequence[Objective]) -> tuple[Objective, ...]:
    """Return the objectives with the numbers that the ancestor's heads were trained with."""
    if len(objectives) != len(ancestor.objectives):
        raise CheckpointError(
            f"the checkpoint '{ancestor.name}' has {len(ancestor.objectives)} heads and this run "
            f"{len(objectives)}: take a new head."
        )
    for ours, theirs in zip(objectives, ancestor.objectives, strict=True):
        if settings_of(ours) != settings_of(theirs):
            raise CheckpointError(
                f"the head of the checkpoint '{ancestor.name}' was trained for "
                f"{settings_of(theirs)}, and this run is for {settings_of(ours)}: take a new head."
            )
    taken = (a.with_fitted(b.fitted) for a, b in zip(objectives, ancestor.objectives, strict=True))
    return tuple(taken)


def _heads(backbone: Backbone, objectives: Sequence[Objective], seed: int) -> list[nn.Module]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seeded_generator(seed, "heads").initial_seed())
        return [objective.head(backbone) for objective in objectives]


def _transfer(
    recipe: Recipe,
    objectives: Sequence[Objective],
    heads: Sequence[nn.Module],
    ancestor: Model | None,
    head: HeadStart,
) -> Transfer:
    """Copy the ancestor's heads if they are wanted and fit, and say what was done."""
    ours = [f"head of {type(one).__name__.lower()}" for one in objectives]
    frozen = ("backbone",) if recipe.training.freeze == "encoder" else ()
    if ancestor is None:
        return Transfer((), ("backbone", *ours), (), frozen)
    theirs = [f"head of {type(one).__name__.lower()}" for one in ancestor.objectives]
    if head == "new":
        return Transfer(("backbone",), tuple(ours), tuple(theirs), frozen)
    for ours_now, before in zip(heads, ancestor.heads, strict=True):
        try:
            ours_now.load_state_dict(before.state_dict())
        except RuntimeError as error:
            raise CheckpointError(
                f"the head of the checkpoint '{ancestor.name}' does not fit this run: {error}. "
                "Take a new head."
            ) from None
    return Transfer(("backbone", *ours), (), (), frozen)


def _views(
    recipe: Recipe,
    crystals: Crystals,
    validation: Crystals | None,
    objectives: Sequence[Objective],
    builder,
    rank: Rank,
) -> tuple[Views, Views | None]:
    plan = recipe.training

    def batches(some: Crystals, shuffle: bool) -> BatchPlan:
        size = plan.batch_size if shuffle else max(plan.batch_size, 64)
        return BatchPlan(some.atom_counts, recipe.seed, size, plan.atoms_per_batch, shuffle)

    views = Views(crystals, objectives, builder, batches(crystals, True), plan.cache_edges, rank)
    if validation is None or not len(validation):
        return views, None
    held = single_precision(validation)
    kept = batches(held, False)
    return views, Views(held, objectives, builder, kept, plan.cache_edges, rank)
