"""One baseline on one split, as a comparison and a study run it: tuned, then asked for the test."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from epitaxy.crystals.crystals import Crystals
from epitaxy.errors import InputError
from epitaxy.evaluation.named_baselines import (
    ALL_BASELINES,
    DEFAULT_BASELINES,
    FROZEN,
    baseline_in_words,
    baseline_names,
    features_of,
    named_baseline,
    tune,
)
from epitaxy.evaluation.nested import Representation
from epitaxy.training.finetune import Ancestor, as_model

__all__ = [
    "ALL_BASELINES",
    "DEFAULT_BASELINES",
    "BaselineResult",
    "baseline_features",
    "baseline_in_words",
    "baseline_names",
    "run_baseline",
]


@dataclass(frozen=True)
class BaselineResult:
    """What a baseline did with one split; plain numbers and texts, so that it can be JSON.

    Attributes:
        name, seed: which baseline, and which seed of the comparison.
        setting: the setting that was best on the validation rows.
        settings: setting → mean absolute error on the validation rows, in the target's unit.
        test: predictions of the test rows, in their order, in the target's unit.
        seconds: that fits and predictions took, features apart.
    """

    name: str
    seed: int
    setting: str
    settings: Mapping[str, float]
    test: Sequence[float]
    seconds: float

    @property
    def validation_mae(self) -> float:
        """The error on the validation rows, at the setting that was chosen."""
        return self.settings[self.setting]

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON's types."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "BaselineResult":
        """Return what ``to_json`` gave."""
        return cls(**values)


def baseline_features(name: str, crystals: Crystals, *, from_: Ancestor = None) -> Representation:
    """Return the features that a baseline reads, to be shared by its runs on other splits.

    They depend on the crystals alone, one by one: not on a target, and not on a split.
    """
    return named_baseline(name, from_=as_model(from_)).features(crystals.with_targets({}))


def run_baseline(
    name: str,
    crystals: Crystals,
    target: str,
    train_rows: Sequence[int],
    validation_rows: Sequence[int],
    test_rows: Sequence[int],
    seed: int = 0,
    *,
    from_: Ancestor = None,
    at_least: int = 1,
    threads: int = 1,
    features: Representation | None = None,
) -> BaselineResult:
    """Fit a baseline to training rows, choose its setting by validation rows, predict test rows.

    No target of a test row is read: they may all be missing. An extensive target is learned per
    atom and multiplied by the number of atoms; errors are of whole crystals.

    Args:
        name: as ``named_baseline`` takes it.
        crystals: all of them, with the target, of crystals and a single number.
        train_rows, validation_rows, test_rows: rows of ``crystals``.
        seed: of forests and boosting; recorded in the result.
        from_: the pre-trained model whose representations ``frozen-…`` reads.
        at_least: settings to try: as many as the networks of the comparison.
        threads: that grow trees.
        features: of all crystals, where ``baseline_features`` has made them before.

    Raises InputError where a target of the training or validation rows is missing.
    """
    began = time.monotonic()
    declared = crystals.target(target)
    train, held, test = (np.asarray(rows) for rows in (train_rows, validation_rows, test_rows))
    _require_apart(train, held, test)
    values = declared.values.double().numpy().copy()
    values[test] = math.nan
    if np.isnan(values[np.concatenate([train, held])]).any():
        raise InputError(f"'{target}' is missing in training or validation rows: leave them out.")
    sizes = np.ones(len(crystals))
    if declared.extensive:
        sizes = crystals.atom_counts.double().numpy()
    if features is None:
        features = baseline_features(name, crystals, from_=from_)
    model = as_model(from_) if features_of(name) == FROZEN else None
    baseline = named_baseline(name, seed=seed, at_least=at_least, threads=threads, from_=model)
    tuned = tune(features, baseline.regression, values / sizes, train, held, sizes)
    predicted = tuned.fitted.predict(features.rows(tuned.range, test))[tuned.place] * sizes[test]
    return BaselineResult(
        name=name,
        seed=seed,
        setting=tuned.setting,
        settings=tuned.errors,
        test=predicted.tolist(),
        seconds=round(time.monotonic() - began, 3),
    )


def _require_apart(*parts: np.ndarray) -> None:
    together = np.concatenate(parts)
    if len(np.unique(together)) < len(together):
        raise InputError("a row is in two of the training, validation and test rows, or twice.")
