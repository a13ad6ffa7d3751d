"""Small crystals, and fits with a setting that validation crystals choose, for scripts here."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

import epitaxy as ep
from epitaxy.crystals.arrow import write_arrow
from epitaxy.crystals.crystals import Crystals
from epitaxy.evaluation.fits import Job, run_job
from epitaxy.evaluation.metrics import mean_absolute_error
from epitaxy.evaluation.protocol import make_protocol
from epitaxy.training.checkpoint import load_model
from epitaxy.training.finetune import finetune_recipe
from epitaxy.training.loader import seeded_generator
from epitaxy.training.predict import predict_values
from epitaxy.training.recipe import load_recipe


def small_cells(source: str, count: int, atoms: int) -> Crystals:
    """Return so many crystals of at most so many atoms, without labels, drawn by a fixed seed."""
    crystals = ep.read_crystals(source, targets=())
    small = torch.nonzero(crystals.atom_counts <= atoms).flatten()
    order = torch.randperm(len(small), generator=seeded_generator("cells"))
    return crystals[small[order[:count]]]


@dataclass(frozen=True, eq=False)
class Setting:
    """One way to fit: crystals (with their inputs), changes of the recipe, weights to start from.

    ``crystals`` of all settings of a choice are the same but for their inputs.
    """

    crystals: Crystals
    backbone: Mapping[str, Any]
    changes: Mapping[str, Any] = field(default_factory=dict)
    ancestor: Path | None = None


def tuned_errors(
    folder: Path,
    target: str,
    settings: Mapping[str, Setting],
    train_size: int,
    seeds: int,
    validation_size: int = 100,
) -> dict[str, Any]:
    """Return the chosen setting and the absolute test errors, a list for every seed.

    The first seed tries all settings, the others take over the one with the lowest validation
    error. The test set, a fifth and at most 1,000, is the same for all seeds and predicted at the
    end. What is in ``folder`` is not done again.
    """
    result = folder / f"{target}.json"
    if result.exists():
        return json.loads(result.read_text())
    folder.mkdir(parents=True, exist_ok=True)
    crystals = next(iter(settings.values())).crystals
    truth = crystals.target(target).values.double()
    train_size = min(train_size, int(0.6 * len(crystals)))
    protocol = make_protocol(len(crystals), seeds, train_size, None, validation_size)

    def fit(name: str, seed: int) -> Job:
        setting = settings[name]
        arrow = folder / f"{target}-{name.split(',')[0]}.arrow"
        if not arrow.exists():
            write_arrow(setting.crystals, arrow)
        base = finetune_recipe(load_recipe("finetune"), target, None, setting.changes)
        job = Job(
            folder=folder / "fits" / f"{target}-{seed}-{name}",
            crystals=arrow,
            ancestor=setting.ancestor,
            contender=folder.name,
            seed=seed,
            setting=setting.changes,
            recipe=base.altered({"seed": seed, "backbone": dict(setting.backbone)}),
            train=protocol.seeds[seed].train,
            validation=protocol.seeds[seed].validation,
        )
        if not job.done:
            job.folder.mkdir(parents=True, exist_ok=True)
            run_job(job.write())
        return job

    def judged(job: Job) -> float:
        if "failed" in job.result:
            return float("inf")
        return mean_absolute_error(truth[list(job.validation)].numpy(), job.result["validation"])

    tried = {name: judged(fit(name, 0)) for name in settings}
    chosen = min(tried, key=lambda name: tried[name])
    rows, errors = list(protocol.test), []
    for seed in range(seeds):
        test = settings[chosen].crystals[rows].with_targets({})
        values = predict_values(load_model(fit(chosen, seed).folder), test)[target][0].double()
        errors.append((values - truth[rows]).abs().tolist())
    found = {"chosen": chosen, "tried": tried, "train": train_size, "errors": errors}
    result.write_text(json.dumps(found))
    return found
