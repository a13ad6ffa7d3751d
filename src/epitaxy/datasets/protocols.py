"""How crystals are drawn into parts: by groups, by elements, by time, as MatBench does."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from epitaxy.crystals.crystals import Crystals
from epitaxy.datasets.grouping import containing
from epitaxy.datasets.matbench import MatbenchTask, matbench_folds, rows_in_file
from epitaxy.datasets.partition import cuts_of, folds_of, parts_of, size_of
from epitaxy.datasets.splits import random_state
from epitaxy.errors import InputError

Rows = Int[ndarray, " _"]
FIFTH = 0.2  # papers A and B: 60 / 20 / 20


@dataclass(frozen=True)
class Asked:
    """The sizes and repetitions asked for, of ``count`` crystals.

    Attributes:
        train: crystals to train on; None for all that the other parts leave.
        test: None where the protocol itself says it.
        seeds: one round of splits each.
    """

    count: int
    train: int | None
    validation: int
    test: int | None
    seeds: range
    folds: int | None

    @classmethod
    def of(
        cls,
        count: int,
        train: float | int | None,
        validation: float | int | None,
        test: float | int | None,
        seeds: range,
        folds: int | None,
    ) -> "Asked":
        """Return what fractions and numbers come to; raises InputError for more than there is."""
        sizes = {
            name: None if share is None else size_of(share, count, name)
            for name, share in (("train", train), ("validation", validation), ("test", test))
        }
        for name, share in (("validation", validation), ("test", test)):
            if share and sizes[name] == 0:
                raise InputError(f"{share} of {count} crystals is no crystal to keep for {name}.")
        shares = (train, validation, test)
        if all(isinstance(share, float) for share in shares) and abs(sum(shares) - 1) < 1e-9:  # type: ignore[arg-type]
            sizes["train"] = None  # rounding must leave no crystal over
        total = sum(size or 0 for size in sizes.values())
        if total > count or (sizes["train"] is None and total == count):
            raise InputError(
                f"parts of {', '.join(f'{n} {s}' for n, s in sizes.items() if s is not None)} "
                f"leave nothing to train on, or are more than the {count} crystals: ask for less."
            )
        if not len(seeds):
            raise InputError("at least one seed is needed: seeds = 1.")
        return cls(count, sizes["train"], sizes["validation"] or 0, sizes["test"], seeds, folds)


@dataclass(frozen=True, eq=False)
class Drawn:
    """The rows of three parts, the sizes that they were to have, and what tells them apart.

    A size is None where nothing was asked for.
    """

    label: Mapping[str, Any]
    parts: tuple[Rows, Rows, Rows]
    wanted: tuple[int | None, int | None, int | None]


def by_groups(groups: Int[ndarray, " crystals"], asked: Asked) -> Iterator[Drawn]:
    """Yield parts of whole groups, for every seed and fold; groups are numbered from 0."""
    sizes = np.bincount(groups)
    for seed in asked.seeds:
        if asked.folds is None:
            test = asked.test or 0
            drawn = parts_of(
                sizes, asked.train, asked.validation, test, random_state(seed, "parts")
            )
            wanted = _wanted(asked, test, asked.count)
            yield Drawn({"seed": seed}, _members(groups, drawn), wanted)
            continue
        folds = folds_of(sizes, asked.folds, random_state(seed, "folds"))
        for number, tested in enumerate(folds):
            rest = np.setdiff1d(np.arange(len(sizes)), tested)
            generator = random_state(seed, "validation", number)
            train, validation, _ = parts_of(
                sizes[rest], asked.train, asked.validation, 0, generator
            )
            parts = _members(groups, [rest[train], rest[validation], tested])
            wanted = _wanted(asked, round(asked.count / asked.folds), asked.count)
            yield Drawn({"seed": seed, "fold": number}, parts, wanted)


def by_element(
    crystals: Crystals,
    left_out: Sequence[str],
    groups: Int[ndarray, " crystals"],
    asked: Asked,
) -> Iterator[Drawn]:
    """Yield parts where the test part is all crystals with an element; ``"Co-Ni"`` is either."""
    if not left_out:
        raise InputError("name the element to leave out: left_out = 'Fe', or several.")
    for text in left_out:
        tested = containing(crystals, text.split("-"))
        rest = np.flatnonzero(~tested)
        for seed in asked.seeds:
            generator = random_state(seed, "parts", text)
            inside = merged_numbers(groups[rest])
            train, validation, _ = parts_of(
                np.bincount(inside), asked.train, asked.validation, 0, generator
            )
            kept, held, _ = _members(inside, [train, validation, validation[:0]])
            label = {"left_out": text, "seed": seed}
            wanted = _wanted(asked, None, len(rest))
            yield Drawn(label, (rest[kept], rest[held], np.flatnonzero(tested)), wanted)


def by_time(groups: Int[ndarray, " crystals"], asked: Asked) -> Iterator[Drawn]:
    """Yield parts where everything to train on is older than what is validated on and tested.

    ``groups`` are numbers from 0 that rise with time; what was found at one time stays together.
    """
    sizes = np.bincount(groups)
    cuts: list[tuple[int | None, list[Rows], int, int]] = []
    if asked.folds is None:
        test = asked.test or 0
        cuts = [(None, cuts_of(sizes, (asked.train, asked.validation, test)), test, asked.count)]
    else:
        share = round(asked.count / (asked.folds + 1))
        blocks = cuts_of(sizes, (None, *[share] * asked.folds))
        for number, tested in enumerate(blocks[1:]):
            before = np.arange(tested[0])
            train, validation = cuts_of(sizes[before], (asked.train, asked.validation))
            seen = int(sizes[before].sum()) + share
            cuts.append((number, [train, validation, tested], share, seen))
    for seed in asked.seeds:
        for fold, parts, test, seen in cuts:
            label = {"seed": seed} if fold is None else {"seed": seed, "fold": fold}
            yield Drawn(label, _members(groups, parts), _wanted(asked, test, seen))


def by_matbench(
    crystals: Crystals, task: MatbenchTask | None, classes: str | None, asked: Asked
) -> Iterator[Drawn]:
    """Yield MatBench's five folds; what is validated on is drawn from their training part."""
    rows = np.arange(len(crystals)) if task is None else rows_in_file(task, crystals.ids)
    count = len(crystals) if task is None else task.rows
    if task is not None and task.classification and classes is None:
        raise InputError(f"{task.name} has classes: name the target that holds them, as column.")
    labels = None
    if classes is not None:
        if len(rows) < count:
            raise InputError(f"the folds depend on all {count} classes; {len(rows)} are given.")
        labels = np.empty(count)
        labels[rows] = crystals.target(classes).values.numpy()
    place = np.full(count, -1)
    place[rows] = np.arange(len(rows))
    folds = matbench_folds(count, labels)
    for seed in asked.seeds:
        for number, (train, test) in enumerate(folds):
            train, test = (some[some >= 0] for some in (place[train], place[test]))
            generator = random_state(seed, "validation", number)
            ones = np.ones(len(train), dtype=np.int64)
            kept, held, _ = parts_of(ones, asked.train, asked.validation, 0, generator)
            label = {"seed": seed, "fold": number}
            yield Drawn(label, (train[kept], train[held], test), (None, None, None))


def merged_numbers(labels: ndarray) -> Int[ndarray, " crystals"]:
    """Return labels as numbers from 0, in the labels' order."""
    return np.unique(labels, return_inverse=True)[1].reshape(-1)


def _wanted(asked: Asked, test: int | None, count: int) -> tuple[int | None, int, int | None]:
    left = None if test is None else count - asked.validation - test
    return left if asked.train is None else asked.train, asked.validation, test


def _members(groups: Int[ndarray, " crystals"], parts: Sequence[Rows]) -> tuple[Rows, Rows, Rows]:
    """Return the crystals of the groups of every part."""
    owner = np.full(int(groups.max(initial=-1)) + 1, -1)
    for number, some in enumerate(parts):
        owner[some] = number
    of_row = owner[groups]
    return np.flatnonzero(of_row == 0), np.flatnonzero(of_row == 1), np.flatnonzero(of_row == 2)
