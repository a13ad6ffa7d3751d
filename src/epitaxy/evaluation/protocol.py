"""Who trains on what: the same test crystals for everybody, never seen before the end."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from epitaxy.crystals.crystals import Crystals
from epitaxy.datasets.splits import Split, read_splits
from epitaxy.errors import InputError
from epitaxy.training.files import write_json
from epitaxy.training.loader import seeded_generator

LARGEST_TEST = 1000
TEST_FRACTION = 0.2
VALIDATION_FRACTION = 0.2
SMALLEST = 10  # crystals in any part


@dataclass(frozen=True)
class SeedSplit:
    """Rows to train on and to choose settings by, for one seed; both from the training side."""

    train: tuple[int, ...]
    validation: tuple[int, ...]


@dataclass(frozen=True)
class Protocol:
    """One test set for all seeds, and one split of the training side per seed.

    Attributes:
        test: rows that no training and no choice may touch.
        seeds: seed → its training and validation rows.
    """

    test: tuple[int, ...]
    seeds: Mapping[int, SeedSplit]

    @property
    def train_size(self) -> int:
        """Training crystals of every seed."""
        return len(next(iter(self.seeds.values())).train)

    def write(self, path: Path, ids: Sequence[str]) -> None:
        """Write the split by id, to travel with the results."""
        write_json(
            path,
            {
                "test": [ids[row] for row in self.test],
                "seeds": {
                    str(seed): {
                        "train": [ids[row] for row in split.train],
                        "validation": [ids[row] for row in split.validation],
                    }
                    for seed, split in self.seeds.items()
                },
            },
        )


def refuse_double_ids(ids: Iterable[str]) -> None:
    """Raise InputError where two crystals share an id: splits and predictions go by it."""
    seen: set[str] = set()
    for text in ids:
        if text in seen:
            raise InputError(f"two crystals have the id '{text}': every crystal needs its own.")
        seen.add(text)


def make_protocol(
    count: int,
    seeds: int,
    train_size: int | None = None,
    test_size: int | None = None,
    validation_size: int | None = None,
    split_seed: int = 0,
) -> Protocol:
    """Split ``count`` crystals.

    The test set, a fifth of the crystals and at most 1,000 unless told, is drawn by
    ``split_seed`` alone. From the rest every seed draws its training crystals and, besides them,
    its validation crystals: a fifth as many, at least 10. Without ``train_size`` all of the rest
    is used.

    Raises InputError where the sizes do not fit, saying what there is.
    """
    order = torch.randperm(count, generator=seeded_generator(split_seed, "test"))
    held = min(LARGEST_TEST, round(TEST_FRACTION * count)) if test_size is None else test_size
    rest = order[held:]
    if train_size is None:
        chosen = validation_size or max(SMALLEST, round(len(rest) * VALIDATION_FRACTION))
        train_size = len(rest) - chosen
    else:
        chosen = validation_size or max(SMALLEST, round(train_size * VALIDATION_FRACTION))
    parts = {"test": held, "training": train_size, "validation": chosen}
    for name, size in parts.items():
        if size < SMALLEST:
            raise InputError(
                f"{size} crystals for {name} are too few to compare anything: {count} crystals "
                f"have this target, and every part needs at least {SMALLEST}."
            )
    if train_size + chosen > len(rest):
        raise InputError(
            f"{train_size} crystals to train on and {chosen} to validate on are more than the "
            f"{len(rest)} that {count} crystals leave beside a test set of {held}: lower "
            "--train-size or --test-size."
        )
    splits = {}
    for seed in range(seeds):
        mine = rest[torch.randperm(len(rest), generator=seeded_generator(split_seed, "seed", seed))]
        splits[seed] = SeedSplit(
            train=tuple(sorted(mine[:train_size].tolist())),
            validation=tuple(sorted(mine[train_size : train_size + chosen].tolist())),
        )
    return Protocol(test=tuple(sorted(order[:held].tolist())), seeds=splits)


def checked_splits(
    splits: str | Path | Split | Sequence[Split] | None, crystals: Crystals
) -> Sequence[Split] | None:
    """Return splits out of a file or as they are; raises InputError for ids not among crystals."""
    if splits is None:
        return None
    if isinstance(splits, str | Path):
        return read_splits(splits, crystals)
    found = [splits] if isinstance(splits, Split) else splits
    for one in found:
        one.rows(crystals)
    return found


def splits_digest(splits: Sequence[Split]) -> str:
    """Return 16 hex digits that stand for the parts of splits."""
    parts = [sorted(part) for one in splits for part in (one.train, one.validation, one.test)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def given_protocol(
    splits: Sequence[Split],
    ids: Sequence[str],
    seeds: int,
    train_size: int | None = None,
    split_seed: int = 0,
) -> Protocol:
    """Return the protocol of a split that was made before, for the crystals with these ids.

    Its test part is the test set. Every seed draws its training crystals from the training part,
    ``train_size`` or all of them, and chooses settings by the validation part, or where that is
    empty by training crystals, a fifth as many. Crystals that are not among ``ids`` (they have no
    value of the target) are left out.

    Raises InputError for no split, for several test sets, or where a part is left with too few
    crystals.
    """
    tests = {frozenset(one.test) for one in splits}
    if not tests:
        raise InputError("there is no split: make one with `epitaxy data split` or ep.split.")
    if len(tests) > 1:
        raise InputError(
            f"the file holds {len(splits)} splits with {len(tests)} test sets: a comparison has "
            "one. Make a file with `epitaxy data split --seeds 1`; `epitaxy benchmark` takes folds."
        )
    places = {text: row for row, text in enumerate(ids)}
    widest = max(splits, key=lambda one: len(one.train))
    train, held, test = (
        sorted(places[text] for text in part if text in places)
        for part in (widest.train, widest.validation, widest.test)
    )
    wanted = len(train) if train_size is None else train_size
    drawn = 0 if held else max(SMALLEST, round(wanted * VALIDATION_FRACTION))
    size = len(train) - drawn if train_size is None else train_size
    parts = {"testing": len(test), "training": size, "validation": len(held) or drawn}
    for name, number in parts.items():
        if number < SMALLEST:
            raise InputError(f"the split has {number} crystals for {name}: {SMALLEST} are needed.")
    if size + drawn > len(train):
        raise InputError(
            f"{size} crystals to train on{f' and {drawn} to validate on' if drawn else ''} are "
            f"more than the {len(train)} of the split's training part: lower --train-size."
        )
    found = {}
    for seed in range(seeds):
        order = torch.randperm(len(train), generator=seeded_generator(split_seed, "seed", seed))
        mine = [train[place] for place in order.tolist()]
        found[seed] = SeedSplit(
            train=tuple(sorted(mine[:size])),
            validation=tuple(sorted(held or mine[size : size + drawn])),
        )
    return Protocol(test=tuple(test), seeds=found)


def settings_grid(grid: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Return every combination of a grid of recipe keys, ``{"training.epochs": (30, 60), …}``.

    >>> settings_grid({"a": (1, 2), "b": (3,)})
    [{'a': 1, 'b': 3}, {'a': 2, 'b': 3}]
    """
    combinations: list[dict[str, Any]] = [{}]
    for key, values in grid.items():
        if isinstance(values, str) or not isinstance(values, Iterable) or not list(values):
            raise InputError(f"the grid's {key} = {values!r} is no list of values to choose from.")
        plain = [value.item() if hasattr(value, "item") else value for value in values]
        distinct = [v for place, v in enumerate(plain) if v not in plain[:place]]
        combinations = [{**one, key: value} for one in combinations for value in distinct]
    return combinations


def setting_name(setting: Mapping[str, Any]) -> str:
    """Return a setting as a word that can name a folder.

    >>> setting_name({"training.learning_rate": 0.001, "training.epochs": 40})
    'learning_rate=0.001,epochs=40'
    """
    return ",".join(f"{key.rpartition('.')[2]}={json.dumps(v)}" for key, v in setting.items())
