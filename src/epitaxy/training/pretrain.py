"""Pre-training: a recipe, crystals without labels, a folder with weights."""

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from epitaxy.crystals.crystals import Crystals
from epitaxy.crystals.fingerprint import fingerprint
from epitaxy.datasets.bundled import bundled
from epitaxy.datasets.generate.source import generated, is_generated
from epitaxy.datasets.read_report import ReadReport
from epitaxy.datasets.readers import read_with_report
from epitaxy.errors import InputError, RunFolderError
from epitaxy.training.checkpoint import Model, save_model
from epitaxy.training.files import write_atomically
from epitaxy.training.loader import seeded_generator
from epitaxy.training.processes import node_number
from epitaxy.training.recipe import DataPlan, Recipe, load_recipe
from epitaxy.training.run import Run, RunFolder, claim_folder
from epitaxy.training.skipped import told
from epitaxy.training.train import HeadStart, made_objectives, probes, split_off, train

READ_FILE = "read_report.json"


def pretrain(
    recipe: str | Path | Recipe = "pretrain",
    *,
    data: Any = None,
    backbone: Mapping[str, Any] | str | None = None,
    objectives: Sequence[Mapping[str, Any]] | Mapping[str, Any] | str | None = None,
    changes: Mapping[str, Any] | None = None,
    seed: int | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    strict: bool = False,
    progress: bool = True,
) -> Run:
    """Pre-train a recipe, by name or path, with what the keyword arguments replace in it.

    Args:
        recipe: name of one of ours, path of a TOML file, or a Recipe.
        data: crystals, or anything that ``read_crystals`` reads, in place of the recipe's source.
        backbone: settings, or a name.
        objectives: settings of one or several, or a name.
        changes: dotted keys and their values, ``{"training.epochs": 5}``.
        out: the run's folder; ``runs/<recipe's name>`` unless told. A folder that holds the
            same run, ended or not, is gone on from.
        strict: whether a structure that cannot be used ends the run instead of being skipped.

    Raises InputError, RecipeError, RunFolderError or TrainingError, each naming the way out.
    """
    recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    recipe = recipe.altered(_changes(data, backbone, objectives, changes, seed))
    needed = needed_targets(recipe)
    crystals, notes, read = load_crystals(recipe.data, data, recipe.seed, strict, targets=needed)
    crystals = usable_only(crystals, recipe, notes)
    identity = {
        "kind": "pretrain",
        "recipe": recipe.model_dump(mode="json"),
        "data": {"fingerprint": fingerprint(crystals), "crystals": len(crystals)},
    }
    folder = folder_for(recipe, Path(out or Path("runs") / recipe.name), identity, overwrite)
    return train_in_folder(
        folder, recipe, crystals, notes, read, label="pre-training" if progress else None
    )


def train_in_folder(
    folder: RunFolder,
    recipe: Recipe,
    crystals: Crystals,
    notes: Sequence[str],
    read: ReadReport,
    ancestor: Model | None = None,
    head: HeadStart = "new",
    label: str | None = None,
) -> Run:
    """Train, or go on training, and leave the model in the folder; return a finished run as it is.

    With a label, the notes are printed before the first step and progress after it.
    """
    if (run := folder.finished()) is not None:
        if label is not None:
            print(f"{folder.path} holds this run, finished: nothing to do.", file=sys.stderr)
        return run
    if node_number(recipe.training) > 0:
        return _train_along(folder, recipe, crystals, ancestor, head)
    for note in notes if label is not None else ():
        print(note, file=sys.stderr)
    with folder.held():
        if label is not None and folder.resume_file is not None:
            print(f"going on from the state in {folder.path}", file=sys.stderr)
        folder.begin()
        write_atomically(folder.path / READ_FILE, read.to_json().encode())
        chosen, held = split_off(len(crystals), recipe.data.validation, recipe.seed)
        trained = train(
            recipe, crystals[chosen], crystals[held], ancestor, head, folder.path, label
        )
        left = told(trained.fitted.skipped)
        for sentence in left if label is not None else ():
            print(sentence, file=sys.stderr)
        report = "\n".join([*notes, *left, str(trained.transfer)])
        sizes = {"training_crystals": len(chosen), "validation_crystals": len(held)}
        card = {**trained.model.card, "data": {**folder.identity["data"], **sizes}}
        model = save_model(replace(trained.model, card=card), folder.path, probes(crystals))
        folder.end(trained.fitted.seconds, report, {"skipped": trained.fitted.skipped})
    return Run(folder.path, model, report)


def folder_for(
    recipe: Recipe,
    path: Path,
    identity: Mapping[str, Any],
    overwrite: bool,
    needed: Path | None = None,
) -> RunFolder:
    """Return the folder as ``claim_folder`` does; of several machines, only the first claims it."""
    if recipe.training.nodes > 1 and overwrite:
        raise RunFolderError("several machines do not clear a folder: remove it beforehand.")
    if node_number(recipe.training) > 0:
        return RunFolder(path, identity)
    return claim_folder(path, identity, overwrite, needed)


def _train_along(
    folder: RunFolder, recipe: Recipe, crystals: Crystals, ancestor: Model | None, head: HeadStart
) -> Run:
    """Take part in a run whose folder is another machine's; return it when that one has ended."""
    chosen, held = split_off(len(crystals), recipe.data.validation, recipe.seed)
    train(recipe, crystals[chosen], crystals[held], ancestor, head, folder.path)
    while (run := folder.finished()) is None:
        folder.check_under_way()
        time.sleep(1.0)
    return run


def needed_targets(recipe: Recipe) -> tuple[str, ...]:
    """Return the targets that a recipe's objectives read."""
    names = [name for objective in made_objectives(recipe)[0] for name in objective.needs]
    return tuple(dict.fromkeys(names))


def load_crystals(
    plan: DataPlan,
    given: Any,
    seed: int,
    strict: bool = False,
    targets: Sequence[str] = (),
    extensive: Sequence[str] | bool = (),
) -> tuple[Crystals, list[str], ReadReport]:
    """Return the crystals of a plan, notes for the user, and all that was skipped.

    ``given`` replaces the plan's source.

    Without ``targets`` the labels are not read at all. ``"bundled"`` are the crystals of the
    package, unless there is a file or a folder of that name; ``"generated:9000"`` are the first
    9000 of the generator's crystals of this seed.
    """
    source = bundled_or(plan.source if given is None else given)
    if is_generated(source):
        source = generated(source, seed, plan.max_atoms)
    crystals, report = read_with_report(source, targets=targets, extensive=extensive, strict=strict)
    notes = [] if isinstance(source, Crystals) and not report.skipped else [report.summary()]
    if not targets:
        crystals = crystals.with_targets({})
    if plan.max_atoms is not None:
        small = crystals.atom_counts <= plan.max_atoms
        notes.append(f"{int((~small).sum())} crystals have over {plan.max_atoms} atoms: left out.")
        crystals = crystals[small]
    if plan.limit is not None and plan.limit < len(crystals):
        order = torch.randperm(len(crystals), generator=seeded_generator(seed, "limit"))
        crystals = crystals[torch.sort(order[: plan.limit]).values]
        notes.append(f"{plan.limit} crystals were chosen at random by seed {seed}.")
    if not len(crystals):
        raise InputError("no crystals are left: raise max_atoms, or give other data.")
    return crystals, notes, report


def bundled_or(source: Any) -> Any:
    """Return the crystals of the package for ``"bundled"``, unless there is such a file."""
    if isinstance(source, str) and source == "bundled" and not Path(source).exists():
        return bundled()
    return source


def usable_only(crystals: Crystals, recipe: Recipe, notes: list[str]) -> Crystals:
    """Return the crystals that all of a recipe's objectives can learn from; note the others."""
    usable = torch.ones(len(crystals), dtype=torch.bool)
    for objective in made_objectives(recipe)[0]:
        usable &= objective.usable(crystals)
    if bool(usable.all()):
        return crystals
    ids = [crystals.ids[int(place)] for place in torch.nonzero(~usable).flatten()]
    if len(ids) == len(crystals):
        raise InputError("all crystals are free atoms: there is nothing to learn from them here.")
    named = ", ".join(f"'{one}'" for one in ids[:5]) + (" …" if len(ids) > 5 else "")
    notes.append(
        f"{len(ids)} crystals ({named}) are single atoms, nothing to learn from: left out."
    )
    return crystals[usable]


def _changes(
    data: Any,
    backbone: Mapping[str, Any] | str | None,
    objectives: Sequence[Mapping[str, Any]] | Mapping[str, Any] | str | None,
    changes: Mapping[str, Any] | None,
    seed: int | None,
) -> dict[str, Any]:
    made: dict[str, Any] = {}
    if data is not None:
        made["data.source"] = str(data) if isinstance(data, str | Path) else "given in Python"
    if backbone is not None:
        made["backbone"] = {"name": backbone} if isinstance(backbone, str) else dict(backbone)
    if objectives is not None:
        several = [objectives] if isinstance(objectives, str | Mapping) else list(objectives)
        made["objectives"] = [
            {"name": one} if isinstance(one, str) else dict(one) for one in several
        ]
    if seed is not None:
        made["seed"] = seed
    return {**made, **(changes or {})}
