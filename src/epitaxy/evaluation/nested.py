"""Nested cross-validation: outer folds for the error, inner folds for every choice.

What is predicted of an outer fold rests on the other folds alone: features are standardized by
their rows, and layers, kernel widths and penalties are chosen by folds among them. Predictions
stay within the range of their values, widened by half of it at both ends. Rows of one
group, the atoms of a crystal, stay together in every split.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from epitaxy.errors import InputError
from epitaxy.evaluation.regressions import Learner, bounded_predictions

CHOSEN = "chosen"
BEYOND = 0.5  # of the range of the values learned from, that a prediction may lie outside of it


@dataclass(frozen=True, eq=False)
class Representation:
    """Some blocks of features of the same rows, and the ranges of blocks to choose among.

    Attributes:
        blocks: features, shape (rows, width) each.
        ranges: name → the blocks that stand side by side.
    """

    blocks: Sequence[Float[ndarray, "rows _"]]
    ranges: Mapping[str, tuple[int, ...]]

    @property
    def last_layer(self) -> str:
        """The range that a network ends with: ``"last"``, or the highest layer of its nodes."""
        if "last" in self.ranges:
            return "last"
        layers = [name for name, blocks in self.ranges.items() if len(blocks) == 1]
        return max((name for name in layers if name.isdigit()), key=int)

    def rows(
        self, name: str, chosen: Int[ndarray, " chosen"] | slice
    ) -> Float[ndarray, "chosen width"]:
        """Return some rows of a range."""
        return np.concatenate([self.blocks[block][chosen] for block in self.ranges[name]], axis=1)


@dataclass(frozen=True, eq=False)
class OuterFold:
    """What became of one outer fold.

    Attributes:
        test: its rows.
        values: range → what it predicts for them, at the penalty chosen inside; ``"chosen"`` is
            the range that was chosen inside.
        range: the range that was chosen.
        settings: range → its setting.
        inner_errors: range → its error on the inner folds, at that setting.
    """

    test: Int[ndarray, " test"]
    values: Mapping[str, Float[ndarray, " test"]]
    range: str
    settings: Mapping[str, str]
    inner_errors: Mapping[str, float]


def nested(
    representation: Representation,
    truth: Float[ndarray, " rows"],
    groups: Int[ndarray, " rows"],
    learner: Learner,
    outer: int = 5,
    inner: int = 4,
    seed: int = 0,
) -> Iterator[OuterFold]:
    """Yield the outer folds one by one; the same seed gives the same folds to everybody.

    A choice is the lowest mean absolute error over the inner folds, where every group counts the
    same.
    """
    folds = grouped_folds(groups, outer, seed)
    for number, test in enumerate(folds):
        train = np.concatenate([fold for place, fold in enumerate(folds) if place != number])
        inside = grouped_folds(groups[train], inner, seed + 1)
        values, settings, errors = {}, {}, {}
        for name in representation.ranges:
            measured = _inner_errors(
                representation.rows(name, train), truth[train], groups[train], inside, learner
            )
            best = int(measured.argmin())
            errors[name], settings[name] = float(measured[best]), learner.settings[best]
            paths = bounded_predictions(
                learner,
                representation.rows(name, train),
                truth[train],
                representation.rows(name, test),
                BEYOND,
            )
            values[name] = paths[best]
        chosen = min(errors, key=lambda name: errors[name])
        yield OuterFold(test, {**values, CHOSEN: values[chosen]}, chosen, settings, errors)


def grouped_folds(groups: Int[ndarray, " rows"], folds: int, seed: int) -> list[Int[ndarray, " _"]]:
    """Return the rows of each fold: whole groups, shuffled, as many in each fold as can be.

    Raises InputError where there are fewer groups than folds.
    """
    names = np.unique(groups)
    if folds < 2 or len(names) < folds:
        raise InputError(
            f"{len(names)} crystals cannot be split into {folds} folds: at least 2 folds, and a "
            "crystal in each. Lower --folds, or give more crystals."
        )
    shuffled = np.random.default_rng(seed).permutation(names)
    return [np.flatnonzero(np.isin(groups, part)) for part in np.array_split(shuffled, folds)]


def error_by_group(
    errors: Float[ndarray, "*settings rows"], groups: Int[ndarray, " rows"]
) -> Float[ndarray, "*settings groups"]:
    """Return the mean error of every group, in the order of the groups' numbers."""
    _, place, counts = np.unique(groups, return_inverse=True, return_counts=True)
    order = np.argsort(place, kind="stable")
    first = np.concatenate([[0], np.cumsum(counts)[:-1]])
    return np.add.reduceat(errors[..., order], first, axis=-1) / counts


def _inner_errors(
    rows: Float[ndarray, "rows width"],
    truth: Float[ndarray, " rows"],
    groups: Int[ndarray, " rows"],
    folds: Sequence[Int[ndarray, " _"]],
    learner: Learner,
) -> Float[ndarray, " settings"]:
    """Return the error of every setting, averaged over the groups that are held out in turn."""
    held = []
    for number, test in enumerate(folds):
        train = np.concatenate([fold for place, fold in enumerate(folds) if place != number])
        found = bounded_predictions(learner, rows[train], truth[train], rows[test], BEYOND)
        held.append(error_by_group(np.abs(found - truth[test]), groups[test]))
    return np.concatenate(held, axis=1).mean(axis=1)
