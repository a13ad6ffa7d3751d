"""What a comparison is about: crystals and weights read and checked, before anything is trained."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from epitaxy.crystals.crystals import Crystals
from epitaxy.crystals.fingerprint import fingerprint
from epitaxy.datasets.read_report import ReadReport
from epitaxy.datasets.splits import Split
from epitaxy.errors import InputError
from epitaxy.evaluation.protocol import (
    Protocol,
    checked_splits,
    given_protocol,
    make_protocol,
    refuse_double_ids,
    settings_grid,
    splits_digest,
)
from epitaxy.training.checkpoint import Model
from epitaxy.training.finetune import (
    Ancestor,
    as_model,
    finetune_recipe,
    lineage,
    source_name,
    warn_of_new_elements,
    with_target_only,
)
from epitaxy.training.pretrain import load_crystals
from epitaxy.training.recipe import Recipe, load_recipe
from epitaxy.training.train import labels_seen
from epitaxy.units import parse_target


@dataclass(frozen=True, eq=False)
class ComparisonTask:
    """Pre-trained weights, and the labelled crystals on which they are to help.

    Attributes:
        target: the name of the property, without its unit.
        crystals: those with a label, and no other target.
        protocol: who trains on what.
        settings: every setting of the grid.
        split_of: what else tells this task from others: the seed of the split, or the split given.
        notes: what was left out, and what to know about it.
    """

    ancestor: Model
    target: str
    crystals: Crystals
    protocol: Protocol
    settings: Sequence[Mapping[str, Any]]
    recipe: Recipe
    split_of: Mapping[str, Any]
    read: ReadReport
    notes: Sequence[str]

    @property
    def identity(self) -> dict[str, Any]:
        """What has to be equal for a folder to be gone on with."""
        return {
            "kind": "compare",
            "recipe": self.recipe.model_dump(mode="json"),
            "grid": self.settings,
            "data": {"fingerprint": fingerprint(self.crystals), "crystals": len(self.crystals)},
            "sizes": {"train": self.protocol.train_size, "test": len(self.protocol.test)},
            **self.split_of,
            "ancestor": lineage(self.ancestor)["sha256"],
        }


def pretrained_weights(ancestor: Ancestor, target: str) -> Model:
    """Return the weights; raises InputError where there are none, or they know the target."""
    found = as_model(ancestor)
    if found is None:
        raise InputError("a comparison needs pre-trained weights: name a run with --from.")
    if target in labels_seen(found):
        raise InputError(
            f"the weights of '{found.name}' were trained on labels of '{target}': test crystals "
            "may be among them. Compare weights that never read this target."
        )
    return found


def read_comparison(
    data: Any,
    target: str,
    ancestor: Model,
    *,
    train_size: int | None,
    test_size: int | None,
    seeds: int,
    grid: Mapping[str, Sequence[Any]],
    recipe: str | Path | Recipe,
    extensive: bool | Sequence[str],
    splits: str | Path | Split | Sequence[Split] | None,
    split_seed: int,
    strict: bool,
) -> ComparisonTask:
    """Read the crystals and say who trains on what; raises InputError before anything is written.

    The arguments are those of `run_comparison`.
    """
    name, _ = parse_target(target)
    base = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    grows = (name,) if extensive is True else extensive or ()
    crystals, notes, read = load_crystals(
        base.data, data, base.seed, strict, targets=(target,), extensive=grows
    )
    given = checked_splits(splits, crystals)
    crystals, missing = with_target_only(crystals, name)
    _require_crystal_level(crystals, name)
    if missing:
        notes.append(f"{missing} crystals have no value of '{name}': left out.")
    if warning := warn_of_new_elements(ancestor, crystals):
        notes.append(warning)
    if others := labels_seen(ancestor):
        notes.append(f"the pre-training read labels of {', '.join(others)}.")
    refuse_double_ids(crystals.ids)
    if given is None:
        protocol = make_protocol(len(crystals), seeds, train_size, test_size, split_seed=split_seed)
    elif test_size is not None:
        raise InputError("the split says what is tested: leave --test-size or --splits out.")
    else:
        protocol = given_protocol(given, crystals.ids, seeds, train_size, split_seed)
    settings = settings_grid(grid)
    base = finetune_recipe(base, name, None, {"backbone": {}, "data.source": source_name(data)})
    _require_regression(base)
    split_of: dict[str, Any] = {"split_seed": split_seed}
    if given is not None:
        split_of["splits"] = splits_digest(given)
    return ComparisonTask(ancestor, name, crystals, protocol, settings, base, split_of, read, notes)


def _require_crystal_level(crystals: Crystals, target: str) -> None:
    level = crystals.target(target).level
    if level != "crystal":
        raise InputError(f"'{target}' is a property of {level}s; compare takes one of crystals.")


def _require_regression(recipe: Recipe) -> None:
    if any(one.get("task") == "classification" for one in recipe.objectives):
        raise InputError(
            f"recipe '{recipe.name}' asks for a classification: compare takes regressions."
        )
    if any(one.get("absolute") for one in recipe.objectives):
        raise InputError(
            f"recipe '{recipe.name}' asks for absolute values, and a comparison is judged by the "
            "target as it stands: give the absolute values as a target of their own."
        )
