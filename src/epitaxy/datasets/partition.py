"""Which groups go to which part: as near to the sizes asked for as whole groups allow."""

import heapq
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from epitaxy.errors import InputError


def size_of(share: float | int, count: int, name: str) -> int:
    """Return how many of ``count`` crystals a fraction (0.2) or a number (200) stands for.

    >>> size_of(0.2, 50, "test"), size_of(7, 50, "test")
    (10, 7)
    """
    whole = isinstance(share, int | np.integer) and not isinstance(share, bool)
    if whole and 0 <= share <= count:
        return int(share)
    if not whole and isinstance(share, float) and 0.0 <= share <= 1.0:
        return round(share * count)
    raise InputError(
        f"{name} = {share!r} does not fit {count} crystals: give a fraction from 0.0 to 1.0, or a "
        f"whole number up to {count}."
    )


def parts_of(
    sizes: Int[ndarray, " groups"],
    train: int | None,
    validation: int,
    test: int,
    generator: np.random.RandomState,
) -> list[Int[ndarray, " _"]]:
    """Return the groups of the training, validation and test part, drawn at random.

    The test part is drawn first, then the validation part; the training part has the rest, or, if
    ``train`` is given, as much of it as asked for. Where the groups that fit into them are too few
    to fill both, because a large group can only go to the training part, both get their share of
    what there is.

    Raises InputError where a part that was asked for would be empty.
    """
    small = int(sizes[sizes <= max(validation, test)].sum())
    if 0 < small < validation + test:
        validation, test = (
            max(1, round(part * small / (validation + test))) if part else 0
            for part in (validation, test)
        )
    rest = generator.permutation(len(sizes))
    chosen = []
    for wanted in (test, validation):
        drawn = _nearest(sizes, wanted, rest)
        rest = rest[~np.isin(rest, drawn)]
        chosen.append(drawn)
    kept = rest if train is None else _nearest(sizes, train, rest)
    parts = [kept, chosen[1], chosen[0]]
    asked = (1 if train is None else train, validation, test)
    for name, part, wanted in zip(("training", "validation", "test"), parts, asked, strict=True):
        if wanted and not len(part):
            largest = int(sizes.max())
            raise InputError(
                f"{len(sizes)} groups, the largest of {largest} crystals, leave nothing for the "
                f"{name} part: ask for smaller other parts, or split by something finer."
            )
    return parts


def folds_of(
    sizes: Int[ndarray, " groups"], folds: int, generator: np.random.RandomState
) -> list[Int[ndarray, " _"]]:
    """Return the groups of every fold, the folds as equal as can be.

    The groups are shuffled, and then, the largest first, each goes to the fold that is smallest so
    far. Raises InputError where there are fewer groups than folds.
    """
    if folds < 2 or len(sizes) < folds:
        raise InputError(
            f"{len(sizes)} groups cannot make {folds} folds: at least 2 folds, and a group in each."
        )
    order = generator.permutation(len(sizes))
    order = order[np.argsort(-sizes[order], kind="stable")]
    loads = [(0, fold) for fold in range(folds)]
    members: list[list[int]] = [[] for _ in range(folds)]
    for group in order.tolist():
        load, fold = heapq.heappop(loads)
        members[fold].append(group)
        heapq.heappush(loads, (load + int(sizes[group]), fold))
    return [np.array(sorted(some)) for some in members]


def cuts_of(
    sizes: Int[ndarray, " groups"], wanted: Sequence[int | None]
) -> list[Int[ndarray, " _"]]:
    """Return consecutive groups for every part, cut where the sizes are nearest to those wanted.

    The groups keep their order. The last part is cut off first, then the one before it; the first
    has the rest, or the latest of it. No part that is asked for stays empty.
    """
    asked = sum(size != 0 for size in wanted)
    if len(sizes) < asked:
        raise InputError(f"{len(sizes)} different times cannot make {asked} parts.")
    end, parts = len(sizes), []
    for place in range(len(wanted) - 1, -1, -1):
        size = wanted[place]
        before = sum(other != 0 for other in wanted[:place])
        if size is None:
            start = 0
        elif size == 0:
            start = end
        else:
            sums = np.cumsum(sizes[before:end][::-1])
            start = end - 1 - int(np.abs(sums - size).argmin())
        parts.append(np.arange(start, end))
        end = start
    return parts[::-1]


def _nearest(
    sizes: Int[ndarray, " groups"], wanted: int, order: Int[ndarray, " candidates"]
) -> Int[ndarray, " chosen"]:
    """Return candidates whose sizes add up to ``wanted``, or as near to it as they can.

    Subset sum by dynamic programming: ``last[s]`` is the candidate by which the sum s was reached
    first, so the first candidates in their random order are taken where possible. Groups larger
    than what is wanted are passed over, unless there are no others: then the smallest is taken.
    """
    if not wanted or not len(order):
        return order[:0]
    fitting = order[sizes[order] <= wanted]
    if not len(fitting):
        return order[[int(sizes[order].argmin())]]
    if int(sizes[fitting].sum()) <= wanted:
        return fitting
    largest = int(sizes[fitting].max())
    if largest == 1:
        return fitting[:wanted]
    last = np.full(min(2 * wanted, wanted + largest) + 1, -1)
    last[0] = len(fitting)
    for place, size in enumerate(sizes[fitting].tolist()):
        found = (last[size:] < 0) & (last[:-size] >= 0)
        last[size:][found] = place
        if last[wanted] >= 0:
            break
    sums = np.flatnonzero(last >= 0)[1:]
    left = int(sums[np.abs(sums - wanted).argmin()])
    chosen = []
    while left:
        chosen.append(int(last[left]))
        left -= int(sizes[fitting[last[left]]])
    return fitting[chosen]
