"""Splits a data set: at random, by groups, by elements, by time, or as MatBench does."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from epitaxy.crystals.crystals import Crystals
from epitaxy.datasets.bundled import bundled
from epitaxy.datasets.grouping import (
    SYMMETRY_PRECISION,
    chemical_systems,
    equal_structures,
    merged,
    prototypes,
    reduced_formulas,
)
from epitaxy.datasets.matbench import matbench_task
from epitaxy.datasets.protocols import (
    FIFTH,
    Asked,
    Drawn,
    by_element,
    by_groups,
    by_matbench,
    by_time,
    merged_numbers,
)
from epitaxy.datasets.readers import read_crystals
from epitaxy.datasets.splits import (
    PARTS,
    Split,
    Splits,
    refuse_repeated_ids,
    structures_fingerprint,
)
from epitaxy.datasets.times import as_times, column_of_times
from epitaxy.errors import InputError, did_you_mean

Protocol = Literal[
    "random", "formula", "chemical_system", "prototype", "element", "time", "matbench"
]
TOLERANCE = 0.01  # of all crystals; a part that misses its size by more is worth a warning
_FOREIGN = {  # argument -> the protocols that it belongs to
    "left_out": ("element",),
    "column": ("time", "matbench"),
    "times": ("time",),
    "task": ("matbench",),
    "folds": ("random", "formula", "chemical_system", "prototype", "time"),
    "test": ("random", "formula", "chemical_system", "prototype", "time"),
    "keep_together": ("random", "formula", "chemical_system", "prototype", "element", "time"),
}


def split_crystals(
    crystals: Any,
    protocol: Protocol | str = "random",
    *,
    train: float | int | None = None,
    validation: float | int | None = None,
    test: float | int | None = None,
    seed: int = 0,
    seeds: int = 1,
    folds: int | None = None,
    train_sizes: Sequence[float | int] = (),
    left_out: Sequence[str] | str = (),
    column: str | None = None,
    times: Any = None,
    task: str | None = None,
    keep_together: str | None = None,
    symprec: float = SYMMETRY_PRECISION,
) -> Splits:
    """Return one split of the crystals, or one for every seed, fold, element and training size.

    No group is in two parts of a split, and the sizes are as near to those asked for as that
    allows; a warning says where they are not near. Sizes are fractions of all crystals (0.2) or
    numbers of them (200).

    Args:
        crystals: Crystals, or anything that ``read_crystals`` reads.
        protocol: ``"random"``; grouped by ``"formula"`` (reduced), ``"chemical_system"`` or
            ``"prototype"`` (anonymous formula and space group); ``"element"``: the test part is
            all crystals with an element; ``"time"``: the latest are tested; ``"matbench"``: its
            five folds.
        train: all that the other parts leave, unless told.
        validation: a fifth unless told; with ``"matbench"`` none, since its training part
            includes what is validated on.
        test: a fifth unless told; folds, elements and MatBench say it themselves.
        seed: of the first split; ``seeds`` of them follow each other.
        folds: so many test parts that hold every crystal once. By time, the crystals are cut into
            one more block, and each but the first is tested with all before it to train on.
        train_sizes: numbers, or fractions of the training part: one split for each, the smaller
            training parts within the larger ones, validation and test unchanged.
        left_out: for ``"element"``: ``"Fe"``, or ``["Fe", "Co-Ni"]`` for a split without Fe and
            one without Co and Ni.
        column: for ``"time"``, the target or the table's column of years or dates; for classes in
            ``"matbench"``, their target.
        times: for ``"time"``, a sequence of years or dates, one for each crystal.
        task: for ``"matbench"``, a structure task, ``"matbench_jdft2d"``; it is checked that the
            crystals are its rows. None makes MatBench's folds of any data.
        keep_together: ``"structure"`` keeps crystals of the same structure in one part. By time,
            all of them count as found when the first was.
        symprec: Å, for the space group of a prototype.

    Raises InputError for sizes that do not fit, a part that would stay empty, and arguments that
    do not belong to the protocol.
    """
    usual = 0 if protocol == "matbench" else FIFTH
    settings = {
        "train": train,
        "validation": usual if validation is None else validation,
        "test": FIFTH if test is None and folds is None and "test" in _own(protocol) else test,
        "seed": seed,
        "seeds": seeds,
        "folds": folds,
        "train_sizes": list(train_sizes),
        "left_out": [left_out] if isinstance(left_out, str) else list(left_out),
        "column": column,
        "task": task,
        "keep_together": keep_together,
        "symprec": symprec if protocol == "prototype" else None,
    }
    _refuse_foreign(protocol, {**settings, "test": test, "times": times})
    source, crystals = crystals, crystals_to_split(crystals, protocol, column)
    refuse_repeated_ids(crystals.ids)
    when = None
    if protocol == "time":
        when = as_times(_times(source, crystals, column, times), crystals.ids)
    groups = _groups(crystals, protocol, keep_together, symprec, when)
    splits, notes = [], []
    for one in _drawn(crystals, protocol, settings, groups):
        train_ids, held_ids, test_ids = (_ids(crystals, rows) for rows in one.parts)
        split = Split(train_ids, held_ids, test_ids, one.label)
        notes += _notes(split, one, groups)
        smaller = [split.subset(size, one.label["seed"]) for size in train_sizes]
        splits += [_with_groups(part, crystals, groups) for part in smaller or [split]]
    for note in notes:
        warnings.warn(note, stacklevel=2)
    return Splits(
        splits=tuple(splits),
        protocol=protocol,
        settings={name: value for name, value in settings.items() if value not in (None, [])},
        fingerprint=structures_fingerprint(crystals),
        crystals=len(crystals),
        groups=len(np.unique(groups)),
        notes=tuple(notes),
    )


def _is_empty(value: Any) -> bool:
    return isinstance(value, list) and not value


def crystals_to_split(source: Any, protocol: str, column: str | None) -> Crystals:
    """Return the crystals of a source with the one target, if any, that the protocol reads.

    ``"bundled"`` are the crystals of the package, unless there is a file or a folder of that name.
    """
    if isinstance(source, Crystals):
        return source
    if isinstance(source, str) and source == "bundled" and not Path(source).exists():
        return bundled()
    in_table = protocol == "time" and isinstance(source, str | Path)
    return read_crystals(source, targets=() if column is None or in_table else (column,))


def _own(protocol: str) -> list[str]:
    """Return the arguments that a protocol shares with some others only."""
    return [name for name, protocols in _FOREIGN.items() if protocol in protocols]


def _refuse_foreign(protocol: str, given: Mapping[str, Any]) -> None:
    """Raise InputError for an unknown protocol and for arguments that it does not know."""
    if protocol not in get_args(Protocol):
        raise InputError(f"no protocol '{protocol}'. {did_you_mean(protocol, get_args(Protocol))}")
    for name, protocols in _FOREIGN.items():
        if protocol not in protocols and given[name] is not None and not _is_empty(given[name]):
            raise InputError(
                f"{name} = {given[name]!r} does not belong to the protocol '{protocol}', but to "
                f"{', '.join(protocols)}."
            )
    if given["folds"] is not None and given["test"] is not None:
        raise InputError("folds say themselves what is tested: leave 'test' out.")
    if given["keep_together"] not in (None, "structure"):
        raise InputError(f"keep_together is 'structure', not '{given['keep_together']}'.")
    fixed = protocol == "time" or (protocol == "matbench" and not given["validation"])
    if given["seeds"] > 1 and fixed and not given["train_sizes"]:
        raise InputError(f"'{protocol}' leaves nothing to chance here: all seeds are one split.")


def _times(source: Any, crystals: Crystals, column: str | None, times: Any) -> Sequence[Any]:
    if times is not None:
        return list(times)
    if column is None:
        raise InputError("a split by time needs a column of years or dates, or times.")
    if column in crystals.targets or not isinstance(source, str | Path):
        return crystals.target(column).values.tolist()
    return column_of_times(source, column, crystals.ids)


def _groups(
    crystals: Crystals,
    protocol: str,
    keep_together: str | None,
    symprec: float,
    when: Float[ndarray, " crystals"] | None,
) -> Int[ndarray, " crystals"]:
    """Return the number of the group of every crystal."""
    labels: Sequence[Any] = range(len(crystals))
    if protocol == "formula":
        labels = reduced_formulas(crystals)
    elif protocol == "chemical_system":
        labels = chemical_systems(crystals)
    elif protocol == "prototype":
        labels = prototypes(crystals, symprec)
    same = [equal_structures(crystals)] if keep_together else []
    if when is None:
        return merged(labels, *same)
    if same:  # all are as old as the oldest
        of_row = merged(*same)
        oldest = np.full(len(of_row), np.inf)
        np.minimum.at(oldest, of_row, when)
        when = oldest[of_row]
    return merged_numbers(when)


def _drawn(
    crystals: Crystals,
    protocol: str,
    settings: Mapping[str, Any],
    groups: Int[ndarray, " crystals"],
) -> Iterator[Drawn]:
    train, validation, test = (settings[name] for name in PARTS)
    seeds = range(settings["seed"], settings["seed"] + settings["seeds"])
    asked = Asked.of(len(crystals), train, validation, test, seeds, settings["folds"])
    if protocol == "element":
        return by_element(crystals, settings["left_out"], groups, asked)
    if protocol == "time":
        return by_time(groups, asked)
    if protocol == "matbench":
        task = settings["task"] and matbench_task(settings["task"])
        return by_matbench(crystals, task, settings["column"], asked)
    return by_groups(groups, asked)


def _ids(crystals: Crystals, rows: Int[ndarray, " _"]) -> tuple[str, ...]:
    return tuple(crystals.ids[row] for row in np.sort(rows).tolist())


def _with_groups(split: Split, crystals: Crystals, groups: Int[ndarray, " crystals"]) -> Split:
    """Return the split with the number of groups in each part, unless every crystal is its own."""
    if len(np.unique(groups)) == len(groups):
        return split
    train, validation, test = (len(np.unique(groups[rows])) for rows in split.rows(crystals))
    return replace(split, groups=(train, validation, test))


def _notes(split: Split, drawn: Drawn, groups: Int[ndarray, " crystals"]) -> list[str]:
    """Return a sentence where a part is not near the size that was asked for."""
    far = [
        f"{name} {reached} instead of {wanted}"
        for name, reached, wanted in zip(PARTS, split.sizes, drawn.wanted, strict=True)
        if wanted is not None and abs(reached - wanted) > max(1, TOLERANCE * len(groups))
    ]
    if not far:
        return []
    return [
        f"{split}: the sizes asked for cannot be met with whole groups: {', '.join(far)}. The "
        f"largest of the {len(np.unique(groups))} groups has {int(np.bincount(groups).max())} of "
        f"{len(groups)} crystals."
    ]
