"""Scratch against pre-trained on the same splits, with the same tuning, in every detail."""

import json
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from epitaxy.crystals.arrow import open_arrow, write_arrow
from epitaxy.crystals.crystals import Crystals
from epitaxy.crystals.fingerprint import fingerprint
from epitaxy.errors import EpitaxyError, InputError, TrainingError
from epitaxy.evaluation.metrics import mean_absolute_error
from epitaxy.evaluation.protocol import Protocol, make_protocol, setting_name, settings_grid
from epitaxy.evaluation.statistics import PairedDifference, verdict
from epitaxy.evaluation.summary import compare_contenders, summarize
from epitaxy.registry import settings_of
from epitaxy.training.checkpoint import CARD_FILE, Model, load_model, save_model
from epitaxy.training.files import write_atomically, write_json
from epitaxy.training.finetune import (
    Ancestor,
    as_model,
    finetune_recipe,
    lineage,
    warn_of_new_elements,
    with_target_only,
)
from epitaxy.training.predict import formulas, predict_values
from epitaxy.training.pretrain import load_crystals
from epitaxy.training.recipe import Recipe, load_recipe
from epitaxy.training.run import claim_folder
from epitaxy.training.train import probes, train
from epitaxy.units import parse_target

SCRATCH, PRETRAINED, DUMMY = "scratch", "pre-trained", "dummy"
GRID: Mapping[str, Sequence[Any]] = {
    "training.learning_rate": (5e-4, 1e-3, 2e-3),
    "training.epochs": (30, 60),
}
RESULT_FILE = "result.json"


@dataclass(frozen=True, eq=False)
class Comparison:
    """What a comparison found.

    Attributes:
        sentence: what the interval says, in one sentence.
        difference: the paired difference of pre-trained against scratch.
        results: one row per contender.
        predictions: contender, seed, id, formula, target, unit, truth, value; test crystals only.
        curves: contender, seed, epoch, split, metric, value of the chosen settings.
        tuning: contender, seed, setting, validation error, chosen or not.
        folder: where all of it is written.
        notes: what was read, skipped, and what to know about it.
    """

    sentence: str
    difference: PairedDifference
    results: pd.DataFrame
    predictions: pd.DataFrame
    curves: pd.DataFrame
    tuning: pd.DataFrame
    folder: Path
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.sentence


@dataclass(frozen=True, eq=False)
class Job:
    """One fine-tuning of a comparison: everything that a worker process needs."""

    folder: Path
    crystals: Path
    ancestor: Path | None
    contender: str
    seed: int
    setting: Mapping[str, Any]
    recipe: Recipe
    train: tuple[int, ...]
    validation: tuple[int, ...]
    test: tuple[int, ...]


def run_comparison(
    data: Any,
    target: str,
    *,
    from_: Ancestor,
    train_size: int | None = None,
    test_size: int | None = None,
    seeds: int = 5,
    grid: Mapping[str, Sequence[Any]] | None = None,
    recipe: str | Path | Recipe = "finetune",
    extensive: bool | Sequence[str] = (),
    split_seed: int = 0,
    out: str | Path | None = None,
    overwrite: bool = False,
    strict: bool = False,
    jobs: int | None = None,
    progress: bool = True,
) -> Comparison:
    """Fine-tune a pre-trained model and the same model from scratch, and compare their test errors.

    Both contenders get, for every seed, the same training and validation crystals and the same
    grid of settings; each takes the setting with the lowest validation error. The test crystals
    are the same for all seeds and are looked at once. A finished fit is not made again when the
    same command is given.
    """
    ancestor = as_model(from_)
    if ancestor is None:
        raise InputError("a comparison needs pre-trained weights: name a run with --from.")
    name, _ = parse_target(target)
    base = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    grows = (name,) if extensive is True else extensive or ()
    crystals, notes = load_crystals(
        base.data, data, base.seed, strict, targets=(target,), extensive=grows
    )
    crystals, missing = with_target_only(crystals, name)
    _require_crystal_level(crystals, name)
    if missing:
        notes.append(f"{missing} crystals have no value of '{name}': left out.")
    if warning := warn_of_new_elements(ancestor, crystals):
        notes.append(warning)
    protocol = make_protocol(len(crystals), seeds, train_size, test_size, split_seed=split_seed)
    settings = settings_grid(GRID if grid is None else grid)
    base = finetune_recipe(base, name, None, {"backbone": {}})
    identity = {
        "kind": "compare",
        "recipe": base.model_dump(mode="json"),
        "grid": settings,
        "data": {"fingerprint": fingerprint(crystals), "crystals": len(crystals)},
        "sizes": {"train": protocol.train_size, "test": len(protocol.test), "seeds": seeds},
        "split_seed": split_seed,
        "ancestor": lineage(ancestor)["sha256"],
    }
    path = Path(out or Path("runs") / f"compare-{name}-{ancestor.name}")
    folder = claim_folder(path, identity, overwrite)
    began = time.monotonic()
    folder.begin()
    protocol.write(path / "splits.json", crystals.ids)
    todo = list(_jobs(path, crystals, ancestor, protocol, settings, base))
    _run_jobs(todo, jobs, progress)
    comparison = _collect(path, crystals, name, todo, protocol, tuple(notes))
    folder.end(time.monotonic() - began, comparison.sentence)
    return comparison


def _jobs(
    path: Path,
    crystals: Crystals,
    ancestor: Model,
    protocol: Protocol,
    settings: Sequence[Mapping[str, Any]],
    base: Recipe,
) -> Iterator[Job]:
    """Write what the workers read, and yield the fits, seed by seed."""
    source = path / "crystals.arrow"
    write_arrow(crystals, source)
    own = path / "pretrained"
    if not (own / CARD_FILE).is_file():
        save_model(ancestor, own, probes(crystals))
    backbone = settings_of(ancestor.backbone)
    for seed, split in protocol.seeds.items():
        for setting in settings:
            for contender in (SCRATCH, PRETRAINED):
                recipe = base.altered({"seed": seed, "backbone": backbone, **setting})
                yield Job(
                    folder=path / "fits" / f"{contender}-seed{seed}-{setting_name(setting)}",
                    crystals=source,
                    ancestor=own if contender == PRETRAINED else None,
                    contender=contender,
                    seed=seed,
                    setting=setting,
                    recipe=recipe,
                    train=split.train,
                    validation=split.validation,
                    test=protocol.test,
                )


def run_job(job: Job) -> None:
    """Fine-tune, predict the test crystals, and write both; does nothing if that is done."""
    if (job.folder / RESULT_FILE).is_file():
        return
    crystals = open_arrow(job.crystals)
    ancestor = None if job.ancestor is None else load_model(job.ancestor)
    training = crystals[list(job.train)]
    trained = train(
        job.recipe,
        training,
        crystals[list(job.validation)],
        ancestor,
        folder=job.folder,
    )
    save_model(trained.model, job.folder, probes(training))
    target = trained.model.targets[0]
    values = {
        part: predict_values(trained.model, crystals[list(rows)])[target][0].double().tolist()
        for part, rows in (("validation", job.validation), ("test", job.test))
    }
    result = {
        "values": values,
        "rows": trained.fitted.rows,
        "best_epoch": trained.fitted.best_epoch,
        "seconds": round(trained.fitted.seconds, 2),
    }
    write_json(job.folder / RESULT_FILE, result)
    (job.folder / "resume.ckpt").unlink(missing_ok=True)


def _run_jobs(todo: Sequence[Job], jobs: int | None, progress: bool) -> None:
    """Run the fits that are not done, several processes at a time, one core each."""
    waiting = [job for job in todo if not (job.folder / RESULT_FILE).is_file()]
    if not waiting:
        return
    cores = os.cpu_count() or 1
    workers = max(1, min(jobs or cores, len(waiting)))
    if progress:
        done = len(todo) - len(waiting)
        print(f"{len(todo)} fits, {done} done before; {workers} at a time", file=sys.stderr)
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(
        workers, context, initializer=_start_worker, initargs=(max(1, cores // workers),)
    )
    futures: dict[Future, Job] = {pool.submit(run_job, job): job for job in waiting}
    began = time.monotonic()
    try:
        for count, future in enumerate(as_completed(futures), start=1):
            _raise_with_name(future, futures[future])
            if progress:
                left = (time.monotonic() - began) / count * (len(waiting) - count)
                print(
                    f"fit {count}/{len(waiting)}: {futures[future].folder.name} · "
                    f"{left / 60:.1f} min left",
                    file=sys.stderr,
                    flush=True,
                )
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in list(getattr(pool, "_processes", {}).values()):
            process.terminate()
        raise
    pool.shutdown()


def _raise_with_name(future: Future, job: Job) -> None:
    try:
        future.result()
    except EpitaxyError as error:
        raise TrainingError(
            f"the fit {job.folder.name} failed: {error} Those that had ended are kept; the same "
            "command goes on from there."
        ) from error


def _start_worker(threads: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt means
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)


def _end_with_parent() -> None:
    """End this process when its parent has been killed: nobody would take its results."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _collect(
    path: Path,
    crystals: Crystals,
    target: str,
    todo: Sequence[Job],
    protocol: Protocol,
    notes: tuple[str, ...],
) -> Comparison:
    truth = crystals.target(target).values.double()
    results = {job: json.loads((job.folder / RESULT_FILE).read_text()) for job in todo}
    errors = {
        job: mean_absolute_error(truth[list(job.validation)].numpy(), found["values"]["validation"])
        for job, found in results.items()
    }
    chosen = _choose(errors)
    predictions = pd.concat(
        [
            *(_dummy(crystals, target, protocol, seed) for seed in protocol.seeds),
            *(_predictions(crystals, target, one, results[one]) for one in chosen),
        ],
        ignore_index=True,
    )
    tuning = pd.DataFrame(
        [
            {
                "contender": one.contender,
                "seed": one.seed,
                "setting": setting_name(one.setting),
                "validation_mae": error,
                "chosen": one in chosen,
            }
            for one, error in errors.items()
        ]
    )
    curves = pd.concat([_curves(one, results[one]) for one in chosen], ignore_index=True)
    table = summarize(predictions, reference=SCRATCH, train_size=protocol.train_size)
    difference = compare_contenders(predictions, PRETRAINED, SCRATCH)
    unit = crystals.target(target).unit
    sentence = verdict(difference, PRETRAINED, SCRATCH, unit, protocol.train_size)
    for name, records in {
        "results": table,
        "predictions": predictions,
        "curves": curves,
        "tuning": tuning,
    }.items():
        write_atomically(path / f"{name}.csv", records.to_csv(index=False).encode())
    return Comparison(sentence, difference, table, predictions, curves, tuning, path, notes)


def _choose(errors: Mapping[Job, float]) -> list[Job]:
    """Return, for every contender and seed, the fit with the lowest validation error."""
    groups: dict[tuple[str, int], list[Job]] = {}
    for one in errors:
        groups.setdefault((one.contender, one.seed), []).append(one)
    return [min(group, key=lambda one: errors[one]) for group in groups.values()]


def _predictions(
    crystals: Crystals, target: str, job: Job, result: Mapping[str, Any]
) -> pd.DataFrame:
    return _records(crystals, target, job.test, job.contender, job.seed, result["values"]["test"])


def _dummy(crystals: Crystals, target: str, protocol: Protocol, seed: int) -> pd.DataFrame:
    """Return the median of the seed's training targets as everybody's prediction.

    Where the target is extensive, it is the median per atom times the number of atoms.
    """
    declared = crystals.target(target)
    sizes = crystals.atom_counts.double() if declared.extensive else torch.ones(len(crystals))
    rows = list(protocol.seeds[seed].train)
    middle = (declared.values.double() / sizes)[rows].median()
    values = (middle * sizes[list(protocol.test)]).tolist()
    return _records(crystals, target, protocol.test, DUMMY, seed, values)


def _records(
    crystals: Crystals,
    target: str,
    rows: Sequence[int],
    contender: str,
    seed: int,
    values: Sequence[float],
) -> pd.DataFrame:
    part = crystals[list(rows)]
    declared = part.target(target)
    return pd.DataFrame(
        {
            "contender": contender,
            "seed": seed,
            "id": list(part.ids),
            "formula": formulas(part),
            "target": target,
            "unit": declared.unit,
            "truth": declared.values.double().tolist(),
            "value": list(values),
        }
    )


def _curves(job: Job, result: Mapping[str, Any]) -> pd.DataFrame:
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
            for row in result["rows"]
        ]
    )


def _require_crystal_level(crystals: Crystals, target: str) -> None:
    level = crystals.target(target).level
    if level != "crystal":
        raise InputError(f"'{target}' is a property of {level}s; compare takes one of crystals.")
