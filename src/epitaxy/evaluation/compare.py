"""Scratch against pre-trained on the same splits, with the same tuning, in every detail."""

import math
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from epitaxy.crystals.arrow import write_arrow
from epitaxy.crystals.crystals import Crystals
from epitaxy.datasets.splits import Split
from epitaxy.errors import TrainingError
from epitaxy.evaluation.baselines import BaselineResult, baseline_names
from epitaxy.evaluation.comparison_baselines import (
    baseline_verdict,
    prediction_records,
    run_baselines,
    tuning_rows,
)
from epitaxy.evaluation.comparison_task import (
    ComparisonTask,
    pretrained_weights,
    read_comparison,
)
from epitaxy.evaluation.fits import Job, available_cores, run_fits
from epitaxy.evaluation.metrics import mean_absolute_error
from epitaxy.evaluation.named_baselines import DUMMY, DUMMY_MEAN
from epitaxy.evaluation.protocol import Protocol, setting_name
from epitaxy.evaluation.published import published_figures, recognized_task, task_named
from epitaxy.evaluation.statistics import PairedDifference, verdict
from epitaxy.evaluation.summary import compare_contenders, summarize
from epitaxy.registry import settings_of
from epitaxy.training.checkpoint import CARD_FILE, load_model, save_model
from epitaxy.training.files import write_atomically
from epitaxy.training.finetune import Ancestor, source_name
from epitaxy.training.predict import predict_values
from epitaxy.training.pretrain import READ_FILE
from epitaxy.training.recipe import Recipe
from epitaxy.training.run import claim_folder
from epitaxy.training.train import probes
from epitaxy.units import parse_target

SCRATCH, PRETRAINED = "scratch", "pre-trained"
GRID: Mapping[str, Sequence[Any]] = {
    "training.learning_rate": (5e-4, 1e-3, 2e-3),
    "training.epochs": (30, 60),
}


@dataclass(frozen=True, eq=False)
class Comparison:
    """What a comparison found.

    Attributes:
        sentence: what the interval says, in one sentence.
        difference: the paired difference of pre-trained against scratch.
        results: one row per contender.
        predictions: contender, seed, id, formula, target, unit, truth, value; test crystals only.
        curves: contender, seed, epoch, split, metric, value, unit of the chosen settings.
        tuning: contender, seed, setting, validation error, chosen or not.
        folder: where all of it is written.
        notes: what was read, skipped, and what to know about it.
        published: what others reported for this task, by their own protocols; empty where the
            task is not known.
    """

    sentence: str
    difference: PairedDifference
    results: pd.DataFrame
    predictions: pd.DataFrame
    curves: pd.DataFrame
    tuning: pd.DataFrame
    folder: Path
    notes: tuple[str, ...] = ()
    published: pd.DataFrame = field(default_factory=pd.DataFrame)

    def __str__(self) -> str:
        return self.sentence


def run_comparison(
    data: Any,
    target: str,
    *,
    from_: Ancestor,
    train_size: int | None = None,
    test_size: int | None = None,
    seeds: int = 5,
    grid: Mapping[str, Sequence[Any]] | None = None,
    baselines: str | Sequence[str] = "default",
    published: str | None = None,
    recipe: str | Path | Recipe = "finetune",
    extensive: bool | Sequence[str] = (),
    splits: str | Path | Split | Sequence[Split] | None = None,
    split_seed: int = 0,
    out: str | Path | None = None,
    overwrite: bool = False,
    strict: bool = False,
    jobs: int | None = None,
    progress: bool = True,
) -> Comparison:
    """Fine-tune a pre-trained model and the same model from scratch, and compare their test errors.

    Both contenders and the baselines get, for every seed, the same training and validation
    crystals; both contenders the same grid of settings, the baselines at least as many settings
    where they have so many. Each takes the setting with the lowest validation error. The test
    crystals are the same for all seeds; only what was chosen predicts them, at the end. A
    finished fit is not made again when the same command is given.

    Baselines are ``"default"``, ``"all"``, ``"none"`` (the median alone) or names; see
    ``epitaxy.evaluation.baselines``. Figures that others published for this task stand beside
    ours, as a table of their own, where the data set's name and the target's are known, or where
    ``published`` names the task.

    ``splits``, a file of ``epitaxy data split`` or what ``ep.split`` returned, says what is tested
    and what may be trained on, in place of a random test set; see
    ``epitaxy.evaluation.protocol.given_protocol``.

    Raises InputError where the pre-trained weights have seen labels of this very target, or where
    the split has several test sets or crystals that are not there.
    """
    name, _ = parse_target(target)
    ancestor = pretrained_weights(from_, name)
    simple = baseline_names(baselines)
    known = recognized_task(source_name(data), name) if published is None else task_named(published)
    task = read_comparison(
        data,
        target,
        ancestor,
        train_size=train_size,
        test_size=test_size,
        seeds=seeds,
        grid=GRID if grid is None else grid,
        recipe=recipe,
        extensive=extensive,
        splits=splits,
        split_seed=split_seed,
        strict=strict,
    )
    path = Path(out or Path("runs") / f"compare-{name}-{ancestor.name}")
    folder = claim_folder(path, task.identity, overwrite, ancestor.folder)
    began = time.monotonic()
    for note in task.notes if progress else ():
        print(note, file=sys.stderr)
    with folder.held():
        folder.begin({"seeds": seeds})
        write_atomically(path / READ_FILE, task.read.to_json().encode())
        task.protocol.write(path / "splits.json", task.crystals.ids)
        todo = list(_jobs(path, task))
        cores = jobs or available_cores()
        found, left_out = run_baselines(
            simple,
            path / "baselines",
            task.crystals,
            name,
            task.protocol,
            ancestor,
            len(task.settings),
            cores,
            progress,
        )
        run_fits(todo, jobs, progress)
        comparison = _collect(path, task, todo, found, (*task.notes, *left_out))
        comparison = _beside_published(comparison, known)
        folder.end(time.monotonic() - began, comparison.sentence)
    return comparison


def _jobs(path: Path, task: ComparisonTask) -> Iterator[Job]:
    """Write what the workers read, and yield the fits, seed by seed."""
    source = path / "crystals.arrow"
    write_arrow(task.crystals, source)
    own = path / "pretrained"
    if not (own / CARD_FILE).is_file():
        save_model(task.ancestor, own, probes(task.crystals))
    backbone = settings_of(task.ancestor.backbone)
    for seed, split in task.protocol.seeds.items():
        for setting in task.settings:
            for contender in (SCRATCH, PRETRAINED):
                changes = {"seed": seed, "backbone": backbone, **setting}
                if contender == SCRATCH:  # a random encoder must be free to learn
                    changes |= {"training.freeze": "none", "training.encoder_rate": 1.0}
                yield Job(
                    folder=path / "fits" / f"{contender}-seed{seed}-{setting_name(setting)}",
                    crystals=source,
                    ancestor=own if contender == PRETRAINED else None,
                    contender=contender,
                    seed=seed,
                    setting=setting,
                    recipe=task.recipe.altered(changes),
                    train=split.train,
                    validation=split.validation,
                )


def _collect(
    path: Path,
    task: ComparisonTask,
    todo: Sequence[Job],
    baselines: Sequence[BaselineResult],
    notes: tuple[str, ...],
) -> Comparison:
    crystals, target, protocol = task.crystals, task.target, task.protocol
    errors = {job: _validation_error(job, crystals, target) for job in todo}
    chosen = _choose(errors)
    predictions = pd.concat(
        [
            *(
                prediction_records(
                    crystals, target, protocol.test, found.name, found.seed, found.test
                )
                for found in baselines
            ),
            *(_predictions(crystals, target, protocol, job) for job in chosen),
        ],
        ignore_index=True,
    )
    tuning = pd.DataFrame(
        [
            {
                "contender": job.contender,
                "seed": job.seed,
                "setting": setting_name(job.setting),
                "validation_mae": error,
                "chosen": job in chosen,
            }
            for job, error in errors.items()
        ]
        + list(tuning_rows([one for one in baselines if one.name not in (DUMMY, DUMMY_MEAN)]))
    )
    diverged = sum(not math.isfinite(error) for error in errors.values())
    if diverged:
        notes = (*notes, f"{diverged} of {len(errors)} fits diverged; they were not chosen.")
    curves = pd.concat([_curves(job) for job in chosen], ignore_index=True)
    curves["unit"] = crystals.target(target).unit
    table = summarize(predictions, reference=SCRATCH, train_size=protocol.train_size)
    difference = compare_contenders(predictions, PRETRAINED, SCRATCH)
    unit = crystals.target(target).unit
    sentence = verdict(difference, PRETRAINED, SCRATCH, unit, protocol.train_size)
    simple = [
        name
        for name in dict.fromkeys(one.name for one in baselines)
        if name not in (DUMMY, DUMMY_MEAN)
    ]
    if beside := baseline_verdict(predictions, PRETRAINED, simple):
        sentence = f"{sentence} {beside}"
    for name, records in {
        "results": table,
        "predictions": predictions,
        "curves": curves,
        "tuning": tuning,
    }.items():
        write_atomically(path / f"{name}.csv", records.to_csv(index=False).encode())
    return Comparison(sentence, difference, table, predictions, curves, tuning, path, notes)


def _beside_published(comparison: Comparison, task: str | None) -> Comparison:
    """Return the comparison with what others reported for the task, written beside its results."""
    file = comparison.folder / "published.csv"
    if task is None:
        file.unlink(missing_ok=True)
        return comparison
    unit = str(comparison.results["unit"].iloc[0])
    figures = published_figures(task, unit)
    write_atomically(file, figures.to_csv(index=False).encode())
    note = (
        f"published figures for {task} are in published.csv. They come from other protocols, which "
        "each row names: they are for orientation, and no verdict rests on them."
    )
    return replace(comparison, published=figures, notes=(*comparison.notes, note))


def _validation_error(job: Job, crystals: Crystals, target: str) -> float:
    """Return a fit's mean absolute error on its validation crystals; infinite if it diverged."""
    found = job.result
    if "failed" in found:
        return math.inf
    truth = crystals.target(target).values.double()[list(job.validation)]
    return mean_absolute_error(truth.numpy(), found["validation"])


def _choose(errors: Mapping[Job, float]) -> list[Job]:
    """Return, for every contender and seed, the fit with the lowest validation error."""
    groups: dict[tuple[str, int], list[Job]] = {}
    for job in errors:
        groups.setdefault((job.contender, job.seed), []).append(job)
    best = [min(group, key=lambda job: errors[job]) for group in groups.values()]
    for job in best:
        if not math.isfinite(errors[job]):
            raise TrainingError(
                f"every setting of {job.contender}, seed {job.seed}, diverged: "
                f"{job.result['failed']} Give lower learning rates with --grid."
            )
    return best


def _predictions(crystals: Crystals, target: str, protocol: Protocol, job: Job) -> pd.DataFrame:
    """Return the test predictions of a chosen fit."""
    test = crystals[list(protocol.test)].with_targets({})
    values = predict_values(load_model(job.folder), test)[target][0].double().tolist()
    return prediction_records(crystals, target, protocol.test, job.contender, job.seed, values)


def _curves(job: Job) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "contender": job.contender,
                "seed": job.seed,
                "epoch": row["epoch"],
                "split": row["split"],
                "metric": "mae",
                "value": row["property/mae"],
            }
            for row in job.result["rows"]
        ]
    )
