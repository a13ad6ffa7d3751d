"""Who trains on what in a study: nested subsets, the same test crystals for everybody."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from epitaxy.crystals.crystals import Crystals
from epitaxy.datasets.splits import Split, read_splits
from epitaxy.datasets.splitting import split_crystals
from epitaxy.datasets.times import column_of_times
from epitaxy.errors import InputError
from epitaxy.evaluation.protocol import LARGEST_TEST, SMALLEST, TEST_FRACTION
from epitaxy.evaluation.study.specification import Size, Study, Task
from epitaxy.training.loader import seeded_generator

UNGROUPED = ("random", "matbench")  # any crystal of the training side may be validated on
Rows = Sequence[int]


@dataclass(frozen=True)
class Part:
    """Rows of one fit: to train on, to choose settings by, and to test the chosen on."""

    train: tuple[int, ...]
    validation: tuple[int, ...]
    test: tuple[int, ...]


@dataclass(frozen=True)
class Splits:
    """The parts of one task.

    Attributes:
        parts: (size, seed, fold) → rows; the fold is None where there is one test set.
        sizes: training crystals, from few to many, and the sizes that were asked for.
        folds: numbers of the folds, or None alone.
        notes: what did not come out as asked for.
    """

    parts: Mapping[tuple[int, int, int | None], Part]
    sizes: Mapping[int, Size]
    folds: tuple[int | None, ...]
    notes: tuple[str, ...] = ()

    @property
    def tested(self) -> int:
        """Test crystals, of all folds together."""
        size = next(iter(self.sizes))
        return sum(len(self.parts[size, 0, fold].test) for fold in self.folds)

    def to_json(self, ids: Sequence[str]) -> dict[str, Any]:
        """Return the ids of every split, to travel with the results."""
        return {
            "splits": [
                {
                    "size": size,
                    "seed": seed,
                    "fold": fold,
                    **{name: [ids[row] for row in rows] for name, rows in vars(part).items()},
                }
                for (size, seed, fold), part in self.parts.items()
            ]
        }


@dataclass(frozen=True)
class Sides:
    """One test set, what may be trained on, and what may be validated on; they may be the same."""

    test: Rows
    pool: Rows
    held: Rows


def split_task(study: Study, task: Task, crystals: Crystals, source: str, home: Path) -> Splits:
    """Split one task's crystals as the study says.

    The test crystals, or those of every fold, are drawn by the split seed alone. What they leave is
    put into an order of its own for every seed: validation crystals are its first ones, training
    crystals the first of the others. So a smaller subset is part of every larger one. Where
    crystals belong together (by formula, say), those to validate on are drawn with their likes.

    Raises InputError where the sizes do not fit, saying what there is.
    """
    split_seed = study.split_seed if task.split_seed is None else task.split_seed
    validation = task.validation or study.validation
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        if task.splits is None:
            drawn = _drawn(study, task, crystals, source, validation, split_seed)
        else:
            file = home / task.splits if (home / task.splits).is_file() else Path(task.splits)
            drawn = _of_one_seed(read_splits(file, crystals), file)
    places = {text: row for row, text in enumerate(crystals.ids)}
    free = task.splits is None and task.protocol in UNGROUPED
    sides = {}
    for number, split in enumerate(drawn):
        train, held, test = (
            sorted(places[text] for text in part)
            for part in (split.train, split.validation, split.test)
        )
        fold = None if len(drawn) == 1 else number
        sides[fold] = Sides(test, train, train if free or not held else held)
    sizes, at_most = task.sizes or study.sizes, task.at_most or study.at_most
    found = nested_splits(sides, study.seeds, sizes, at_most, validation, split_seed)
    return Splits(found.parts, found.sizes, found.folds, tuple(str(one.message) for one in told))


def nested_splits(
    sides: Mapping[int | None, Sides],
    seeds: int,
    sizes: Sequence[Size],
    at_most: float | None = None,
    validation: int | float = 0.2,
    split_seed: int = 0,
) -> Splits:
    """Return nested subsets of what every test set leaves."""
    shared = [side for side in sides.values() if side.pool is side.held]
    room = min(len(side.pool) for side in sides.values())
    count = max(len({*side.pool, *side.held, *side.test}) for side in sides.values())
    chosen = _sizes(sizes, room, count, at_most, validation, bool(shared))
    most = max(chosen)
    largest = validation_size(most, validation)
    if most + (largest if shared else 0) > room:
        raise InputError(
            f"{most} crystals to train on and {largest} to validate on are more than the {room} "
            f"that {count} crystals leave beside the test set: lower sizes, or set at_most."
        )
    parts = {}
    for seed in range(seeds):
        for fold, side in sides.items():
            if len(side.test) < SMALLEST:
                raise InputError(f"{len(side.test)} test crystals of {count} are too few.")
            stages = ("seed", seed) if fold is None else ("seed", seed, fold)
            pool, held = _shuffled(side.pool, split_seed, *stages), list(side.held)
            if side.pool is side.held:
                held, pool = pool[:largest], pool[largest:]
            else:
                held = _shuffled(held, split_seed, "held", *stages)
            for size in chosen:
                parts[size, seed, fold] = Part(
                    train=tuple(sorted(pool[:size])),
                    validation=tuple(sorted(held[: validation_size(size, validation)])),
                    test=tuple(side.test),
                )
    return Splits(parts, chosen, tuple(sides))


def validation_size(size: int, validation: int | float) -> int:
    """Return the number of validation crystals beside so many training crystals.

    >>> validation_size(500, 0.2), validation_size(500, 80), validation_size(20, 0.2)
    (100, 80, 10)
    """
    return validation if isinstance(validation, int) else max(SMALLEST, round(validation * size))


def _drawn(
    study: Study,
    task: Task,
    crystals: Crystals,
    source: str,
    validation: int | float,
    split_seed: int,
) -> Sequence[Split]:
    held: int | float = 0
    if task.protocol not in UNGROUPED:  # with as much as the largest size may want
        rest = 1.0 - TEST_FRACTION
        held = validation if isinstance(validation, int) else rest * validation / (1 + validation)
    test: int | float | None = task.test or study.test
    if task.folds is not None or task.protocol in ("element", "matbench"):
        test = None
    elif test is None:
        test = min(LARGEST_TEST, round(TEST_FRACTION * len(crystals)))
    times = None
    if task.protocol == "time" and task.column is not None:
        times = column_of_times(source, task.column, crystals.ids)
    return split_crystals(
        crystals,
        task.protocol,
        validation=held,
        test=test,
        seed=split_seed,
        folds=task.folds,
        left_out=() if task.left_out is None else task.left_out,
        times=times,
        task=task.matbench,
    )


def _of_one_seed(splits: Sequence[Split], file: Path) -> Sequence[Split]:
    """Return the splits of the first seed and the largest training part that a file holds.

    A study draws the training crystals of its seeds itself, and tests all on the same crystals.
    """
    first = splits[0].label.get("seed")
    mine = [one for one in splits if one.label.get("seed") == first]
    largest: dict[tuple[str, ...], Split] = {}
    for one in mine:
        if one.test not in largest or len(one.train) > len(largest[one.test].train):
            largest[one.test] = one
    found = list(largest.values())
    tested = [text for one in found for text in one.test]
    if len(set(tested)) < len(tested):
        raise InputError(f"{file}: a crystal is in the test part of two folds.")
    return found


def _shuffled(rows: Rows, split_seed: int, *stages: str | int) -> list[int]:
    order = torch.randperm(len(rows), generator=seeded_generator(split_seed, *stages))
    return [rows[place] for place in order.tolist()]


def _sizes(
    sizes: Sequence[Size],
    room: int,
    count: int,
    at_most: float | None,
    validation: int | float,
    shared: bool,
) -> dict[int, Size]:
    """Return the training crystals, from few to many, with the size that was asked for."""
    everything = room
    if shared and isinstance(validation, int):
        everything = room - validation
    elif shared:
        everything = room - validation_size(round(room / (1.0 + validation)), validation)
        while everything + validation_size(everything, validation) > room:  # by rounding
            everything -= 1
    most = everything if at_most is None else min(everything, int(at_most * count))
    found: dict[int, Size] = {}
    for size in sizes:
        number = everything if size == "all" else size
        found.setdefault(number if at_most is None else min(number, most), size)
    if min(found) < SMALLEST:
        raise InputError(
            f"{min(found)} training crystals are too few: {count} crystals have this target, and "
            f"every part needs at least {SMALLEST}."
        )
    return dict(sorted(found.items()))
