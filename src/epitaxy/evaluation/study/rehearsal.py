"""One step of every training of a study, on a few crystals, before the first of them begins."""

from collections.abc import Iterator

import torch

from epitaxy.crystals.crystals import Crystals
from epitaxy.errors import EpitaxyError, InputError
from epitaxy.evaluation.study.ledger import Ledger
from epitaxy.evaluation.study.plan import task_recipe
from epitaxy.evaluation.study.works import digest, what_counts
from epitaxy.training.learner import NotFiniteError
from epitaxy.training.recipe import Recipe
from epitaxy.training.train import train

FEW = 4  # crystals


def rehearse(ledger: Ledger) -> None:
    """Train a step of every recipe that is not done yet, each kind once.

    Raises InputError with one line for each that cannot be trained: an objective that needs what
    the backbone has not, say.
    """
    problems: list[str] = []
    seen: set[str] = set()
    for name, recipe, crystals in _trainings(ledger):
        step = recipe.altered(
            {
                "training.epochs": 1,
                "training.batch_size": FEW,
                "training.atoms_per_batch": None,
                "training.accelerator": "cpu",
                "training.precision": "32-true",
                "training.devices": 1,
                "training.nodes": 1,
                "training.workers": 0,
                "training.keep_epochs": (),
                "seed": 0,
            }
        )
        kind = digest(what_counts(step))
        if kind in seen:
            continue
        seen.add(kind)
        try:
            few = _few(crystals)
            train(step, few, few)
        except NotFiniteError:  # that a training diverges is a result, and no fault of the study
            continue
        except EpitaxyError as error:
            problems.append(f"{name}: {error}")
        except Exception as error:  # whatever it is, it would be the same after hours
            problems.append(f"{name}: {type(error).__name__}: {error}")
    if problems:
        count = "one training does" if len(problems) == 1 else f"{len(problems)} trainings do"
        raise InputError(f"{count} not make its first step:\n" + "\n".join(problems))


def _trainings(ledger: Ledger) -> Iterator[tuple[str, Recipe, Crystals]]:
    """Yield every training that is left, by name; of a row's, one task's stand for all."""
    plan = ledger.plan
    for origin, work in ledger.pretrainings():
        if work is not None and not ledger.done(work):
            yield work.name, work.recipe, plan.pretraining_data[origin.name].crystals
    task = plan.tasks[0]
    for row in plan.rows:
        if row.recipe is not None:
            setting = plan.settings_of(row)[0]
            yield f"contender {row.name}", task_recipe(row, task, 0, setting), task.data.crystals


def _few(crystals: Crystals) -> Crystals:
    """Return a few crystals with labels, the least and the greatest among them, else not large.

    Crystals that lack a label are taken only where too few have all: labels may be rare, and four
    crystals of one class, or without any label, would say nothing of a training on all.
    """
    chosen = torch.argsort(crystals.atom_counts, stable=True)
    ends: list[int] = []
    for target in crystals.targets.values():
        there = target.present()
        if target.level == "atom":
            there = torch.zeros(len(crystals)).index_add(0, crystals.crystal_of_atom, there.float())
        labelled = chosen[there[chosen] > 0]
        chosen = labelled if len(labelled) >= FEW else chosen
        if target.level == "crystal" and target.values.ndim == 1 and len(labelled):
            values = target.values[labelled]
            ends += [int(labelled[values.argmin()]), int(labelled[values.argmax()])]
    start = min(len(chosen) // 4, max(0, len(chosen) - FEW))
    taken = dict.fromkeys([*ends[:FEW], *chosen[start : start + FEW].tolist()])
    return crystals[list(taken)[:FEW]]
