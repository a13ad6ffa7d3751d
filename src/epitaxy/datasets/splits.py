"""Splits as values: which crystals to train on, to validate on and to test, recorded by id."""

import json
import os
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, overload

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from epitaxy.crystals.crystals import Crystals
from epitaxy.crystals.elements import symbol
from epitaxy.crystals.fingerprint import fingerprint
from epitaxy.datasets.partition import size_of
from epitaxy.errors import InputError

FORMAT = "epitaxy splits 1"
PARTS = ("train", "validation", "test")
_SHOWN = 5


@dataclass(frozen=True)
class Split:
    """Ids of the crystals to train on, to validate on and to test; none stands twice.

    Attributes:
        label: what tells this split from others: ``{"seed": 0, "fold": 2}``; also ``left_out``,
            an element, and ``train_size``, where the training part is a subset of a larger one.
        groups: how many groups each part holds, where there are groups.
    """

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    label: Mapping[str, Any] = field(default_factory=dict)
    groups: tuple[int, int, int] | None = None

    def __post_init__(self) -> None:
        counts = Counter([*self.train, *self.validation, *self.test])
        if len(counts) < sum(self.sizes):
            twice = [name for name, count in counts.items() if count > 1]
            shown = ", ".join(f"'{name}'" for name in twice[:_SHOWN])
            raise InputError(f"{self}: {len(twice)} ids stand in it more than once: {shown}.")

    def __str__(self) -> str:
        told = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in self.label.items())
        return f"split ({told})" if told else "split"

    def __repr__(self) -> str:
        sizes = " / ".join(map(str, self.sizes))
        return f"Split({sizes}; {dict(self.label)})"

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Crystals in the training, validation and test part."""
        return len(self.train), len(self.validation), len(self.test)

    def rows(
        self, crystals: Crystals
    ) -> tuple[Int[ndarray, " _"], Int[ndarray, " _"], Int[ndarray, " _"]]:
        """Return the rows of the three parts in a data set; raises InputError for ids not there."""
        train, validation, test = _rows(self, _places(crystals.ids))
        return train, validation, test

    def of(self, crystals: Crystals) -> tuple[Crystals, Crystals, Crystals]:
        """Return the crystals of the three parts: ``train, validation, test = split.of(all)``."""
        train, validation, test = (crystals[rows.tolist()] for rows in self.rows(crystals))
        return train, validation, test

    def subset(self, size: int | float, seed: int = 0) -> "Split":
        """Return the split with fewer crystals to train on; the other parts stay as they are.

        ``size`` is a number, or a fraction of the training part. With one seed every smaller
        subset is contained in every larger one.
        """
        wanted = size_of(size, len(self.train), "train_size")
        if not wanted:
            raise InputError(f"train_size = {size!r} of {len(self.train)} is no crystal.")
        order = random_state(seed, "subset").permutation(len(self.train))
        chosen = np.sort(order[:wanted])
        train = tuple(self.train[place] for place in chosen.tolist())
        label = {**self.label, "train_size": wanted}
        return replace(self, train=train, label=label, groups=None)


@dataclass(frozen=True)
class Splits(Sequence[Split]):
    """Splits of one data set, and how they were made.

    Attributes:
        splits: one for every seed, fold, element left out and size of the training part.
        protocol: ``"random"``, ``"formula"`` …
        settings: what was asked for.
        fingerprint: SHA-256 of structures and ids that were split, in their order.
        crystals: how many there were.
        groups: how many groups they made; no group is in two parts.
        notes: what did not come out as asked for.
    """

    splits: tuple[Split, ...]
    protocol: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    fingerprint: str = ""
    crystals: int = 0
    groups: int | None = None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.splits)

    @overload
    def __getitem__(self, index: int) -> Split: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Split]: ...
    def __getitem__(self, index: int | slice) -> Split | Sequence[Split]:
        return self.splits[index]

    def __iter__(self) -> Iterator[Split]:
        return iter(self.splits)

    def write(self, path: str | os.PathLike[str]) -> Path:
        """Write the splits as JSON, by id, and return the path; the file is whole or not there."""
        destination = Path(path)
        header = {
            "format": FORMAT,
            "protocol": self.protocol,
            "settings": dict(self.settings),
            "data": {"fingerprint": self.fingerprint, "crystals": self.crystals},
            "groups": self.groups,
            "notes": list(self.notes),
        }
        each = [
            {"label": one.label, "groups": one.groups, **{p: getattr(one, p) for p in PARTS}}
            for one in self.splits
        ]
        lines = ",\n".join(json.dumps(one, ensure_ascii=False, default=dict) for one in each)
        text = json.dumps(header, indent=1, ensure_ascii=False, default=_plain).removesuffix("\n}")
        temporary = destination.with_name(f".{destination.name}.{os.getpid()}.part")
        try:
            destination.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(f'{text},\n "splits": [\n{lines}\n]\n}}\n', encoding="utf-8")
            os.replace(temporary, destination)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise InputError(f"{destination} could not be written ({error.strerror}).") from error
        return destination


def read_splits(path: str | os.PathLike[str], crystals: Crystals | None = None) -> Splits:
    """Return the splits that a file holds, checked against the crystals if they are given.

    Raises InputError for a file that is none of ours or damaged, for an id that stands twice, and
    for ids that the crystals do not have, naming them. Warns where all ids are there but the
    crystals are not those that were split: others were added, or structures changed.
    """
    file = Path(path)
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        if found["format"] != FORMAT:
            raise InputError(f"{file} has the format {found['format']!r}, not '{FORMAT}'.")
        splits = Splits(
            splits=tuple(_split_of(one) for one in found["splits"]),
            protocol=found["protocol"],
            settings=found["settings"],
            fingerprint=found["data"]["fingerprint"],
            crystals=found["data"]["crystals"],
            groups=found["groups"],
            notes=tuple(found["notes"]),
        )
    except InputError as error:
        raise InputError(f"{file}: {error}") from None
    except OSError as error:
        raise InputError(f"{file} cannot be read ({error.strerror}).") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{file} holds no splits, or is damaged ({type(error).__name__}: {error}). "
            "`epitaxy data split` writes such a file."
        ) from None
    if crystals is not None:
        _check(splits, crystals, file)
    return splits


def structures_fingerprint(crystals: Crystals) -> str:
    """Return the fingerprint of structures and ids alone, which targets do not change."""
    return fingerprint(replace(crystals, targets={}, inputs={}))


def refuse_repeated_ids(ids: Sequence[str]) -> None:
    """Raise InputError where two crystals have one id, which a split could not tell apart."""
    counts = Counter(ids)
    if len(counts) < len(ids):
        twice = [name for name, count in counts.items() if count > 1]
        shown = ", ".join(f"'{name}'" for name in twice[:_SHOWN])
        raise InputError(f"{len(twice)} ids stand more than once among the crystals: {shown}.")


def unseen_elements(split: Split, crystals: Crystals) -> dict[str, int]:
    """Return the elements of the test part that the training part lacks, and in how many crystals.

    The commonest stand first.
    """
    rows = split.rows(crystals)
    trained = set(crystals[rows[0].tolist()].numbers.tolist())
    found: Counter[str] = Counter()
    bounds, numbers = crystals.offsets.tolist(), crystals.numbers.tolist()
    for row in rows[2].tolist():
        missing = set(numbers[bounds[row] : bounds[row + 1]]) - trained
        found.update(symbol(number) for number in missing)
    return dict(found.most_common())


def random_state(seed: int, *stages: str | int) -> np.random.RandomState:
    """Return a generator that depends on these alone; numpy keeps its stream as it is for good."""
    text = "/".join(map(str, stages)).encode()
    return np.random.RandomState([seed & 0xFFFFFFFF, seed >> 32 & 0xFFFFFFFF, *text])


def _plain(value: Any) -> Any:
    """Return a number of numpy's as one of Python's."""
    return value.item()


def _split_of(values: Mapping[str, Any]) -> Split:
    parts = {part: tuple(values[part]) for part in PARTS}
    if not all(isinstance(name, str) for ids in parts.values() for name in ids):
        raise InputError("an id is no text.")
    groups = values["groups"]
    if not isinstance(values["label"], Mapping):
        raise InputError("its label is no table of names and values.")
    return Split(**parts, label=values["label"], groups=groups and tuple(groups))


def _places(ids: Sequence[str]) -> dict[str, int]:
    refuse_repeated_ids(ids)
    return {name: row for row, name in enumerate(ids)}


def _rows(split: Split, places: Mapping[str, int]) -> list[Int[ndarray, " _"]]:
    missing = [name for part in PARTS for name in getattr(split, part) if name not in places]
    if missing:
        shown = ", ".join(f"'{name}'" for name in missing[:_SHOWN])
        more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        raise InputError(
            f"{split}: {len(missing)} of its {sum(split.sizes)} ids are not among the "
            f"{len(places)} crystals given: {shown}{more}. It was made for other data, or some "
            "crystals could not be read."
        )
    return [
        np.array([places[name] for name in getattr(split, part)], dtype=np.int64) for part in PARTS
    ]


def _check(splits: Splits, crystals: Crystals, file: Path) -> None:
    places = _places(crystals.ids)
    for split in splits:
        try:
            _rows(split, places)
        except InputError as error:
            raise InputError(f"{file}: {error}") from None
    if splits.fingerprint and splits.fingerprint != structures_fingerprint(crystals):
        warnings.warn(
            f"{file}: all ids are there, but the crystals are not exactly those that were split "
            f"({splits.crystals} then, {len(crystals)} now; or their structures or order differ).",
            stacklevel=3,
        )
