"""What a network has to beat: simple regressions on features that need no training of their own.

A baseline is named by its features and its regression, ``composition-forest``, ``wacsf-ridge``,
``frozen-ridge``, besides ``dummy`` and ``dummy-mean``. Everything that is chosen, the regression's
setting and how atoms are pooled or which layer is read, is chosen by the error on held-out
crystals, as the networks' settings are.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray

from epitaxy.crystals.crystals import Crystals
from epitaxy.descriptors.base import Descriptor, described
from epitaxy.errors import InputError, did_you_mean
from epitaxy.evaluation.composition_features import composition_features
from epitaxy.evaluation.nested import Representation
from epitaxy.evaluation.probe_task import WHOLE, network_representation
from epitaxy.evaluation.regressions import ALPHAS, KernelRidge, Learner, Ridge, bounded_predictions
from epitaxy.evaluation.tree_regressions import Boosting, Forest
from epitaxy.nn.statistics import statistics_over_atoms
from epitaxy.registry import build, names
from epitaxy.training.checkpoint import Model

DUMMY, DUMMY_MEAN = "dummy", "dummy-mean"
COMPOSITION, FROZEN = "composition", "frozen"
REGRESSIONS = ("ridge", "kernel", "forest", "boosting")
DEFAULT_BASELINES = (
    DUMMY,
    DUMMY_MEAN,
    "composition-forest",
    "composition-boosting",
    "wacsf-ridge",
    "frozen-ridge",
)
ALL_BASELINES = (
    DUMMY,
    DUMMY_MEAN,
    *(f"{COMPOSITION}-{one}" for one in REGRESSIONS),
    *(f"{name}-{one}" for name in ("wacsf", "ead", "gmp") for one in ("ridge", "kernel")),
    *(f"{FROZEN}-{one}" for one in ("ridge", "kernel")),
)
SETS: Mapping[str, tuple[str, ...]] = {
    "default": DEFAULT_BASELINES,
    "all": ALL_BASELINES,
    "none": (DUMMY,),
}
WORDS = {
    "ridge": "ridge regression",
    "kernel": "kernel ridge regression",
    "forest": "a random forest",
    "boosting": "gradient boosting",
}

Values = Float[ndarray, " crystals"]
Paths = Float[ndarray, "settings others"]


@runtime_checkable
class Fitted(Protocol):
    """A regression at every setting of its grid."""

    def predict(self, others: Float[ndarray, "others width"]) -> Paths:
        """Return what every setting predicts."""


@runtime_checkable
class Regression(Protocol):
    """What is fitted to features."""

    @property
    def settings(self) -> tuple[str, ...]:
        """The grid's settings in words."""

    def fit(self, rows: Float[ndarray, "rows width"], truth: Float[ndarray, " rows"]) -> Fitted:
        """Fit every setting."""


@dataclass(frozen=True, eq=False)
class _Rows:
    """Rows that a learner without a fit of its own predicts others from."""

    learner: Learner
    rows: ndarray
    truth: ndarray

    def predict(self, others: Float[ndarray, "others width"]) -> Paths:
        return bounded_predictions(self.learner, self.rows, self.truth, others)


@dataclass(frozen=True)
class FromLearner:
    """Ridge or kernel ridge as a regression, within the range of the training values."""

    learner: Learner

    @property
    def settings(self) -> tuple[str, ...]:
        """The grid's settings in words."""
        return self.learner.settings

    def fit(self, rows: Float[ndarray, "rows width"], truth: Float[ndarray, " rows"]) -> Fitted:
        """Keep the rows: one decomposition gives every setting."""
        return _Rows(self.learner, rows, truth)


@dataclass(frozen=True)
class Middle:
    """The mean or the median of the training targets, whatever the features."""

    statistic: str = "median"

    @property
    def settings(self) -> tuple[str, ...]:
        """The one setting."""
        return (self.statistic,)

    def fit(self, rows: Float[ndarray, "rows width"], truth: Float[ndarray, " rows"]) -> Fitted:
        """Keep the number; of an even count the median is the lower of the middle two."""
        method = partial(np.quantile, q=0.5, method="lower")
        return _Constant(float(truth.mean() if self.statistic == "mean" else method(truth)))


@dataclass(frozen=True)
class _Constant:
    value: float

    def predict(self, others: Float[ndarray, "others width"]) -> Paths:
        return np.full((1, len(others)), self.value)


@dataclass(frozen=True, eq=False)
class Baseline:
    """Features of crystals and a regression on them.

    Attributes:
        name: what tables call it.
        features: from crystals to features, without anything learned from them.
        regression: fitted to the features.
    """

    name: str
    features: Callable[[Crystals], Representation]
    regression: Regression

    def fit(
        self,
        crystals: Crystals,
        values: Float[ndarray, " crystals"],
        held: Crystals,
        held_values: Float[ndarray, " held"],
    ) -> "FittedBaseline":
        """Fit every setting to the crystals, and take the one that is best on those held out."""
        rows, held_rows = self.features(crystals), self.features(held)
        both = Representation(
            [np.concatenate(pair) for pair in zip(rows.blocks, held_rows.blocks, strict=True)],
            rows.ranges,
        )
        order = np.arange(len(crystals) + len(held))
        tuned = tune(
            both,
            self.regression,
            np.concatenate([values, held_values]),
            order[: len(crystals)],
            order[len(crystals) :],
        )
        return FittedBaseline(self.features, tuned)


@dataclass(frozen=True, eq=False)
class Tuned:
    """What tuning found.

    Attributes:
        errors: setting → mean absolute error on the held-out rows.
        setting: the one with the lowest.
        range: the features that it reads.
        place: its place among the regression's settings.
        fitted: the regression, on those features.
    """

    errors: Mapping[str, float]
    setting: str
    range: str
    place: int
    fitted: Fitted


@dataclass(frozen=True, eq=False)
class FittedBaseline:
    """A baseline that predicts."""

    features: Callable[[Crystals], Representation]
    tuned: Tuned

    def predict(self, crystals: Crystals) -> Values:
        """Return one value per crystal."""
        rows = self.features(crystals).rows(self.tuned.range, slice(None))
        return self.tuned.fitted.predict(rows)[self.tuned.place]


def tune(
    features: Representation,
    regression: Regression,
    values: Values,
    train: Sequence[int] | ndarray,
    held: Sequence[int] | ndarray,
    weights: Values | None = None,
) -> Tuned:
    """Fit to the training rows, and choose features and setting by the held-out rows.

    No other row is looked at. Where there are weights, errors are multiplied by them: the number of
    atoms, where ``values`` are per atom and errors of whole crystals count.
    """
    train, held = np.asarray(train), np.asarray(held)
    scale = np.ones(len(held)) if weights is None else weights[held]
    errors: dict[str, float] = {}
    found: dict[str, tuple[str, int, Fitted]] = {}
    for name in features.ranges:
        fitted = regression.fit(features.rows(name, train), values[train])
        predicted = fitted.predict(features.rows(name, held))
        measured = (np.abs(predicted - values[held]) * scale).mean(axis=1)
        for place, (setting, error) in enumerate(zip(regression.settings, measured, strict=True)):
            full = setting if name == WHOLE else f"{name},{setting}"
            errors[full], found[full] = float(error), (name, place, fitted)
    best = min(errors, key=lambda one: errors[one])
    return Tuned(errors, best, *found[best])


def baseline_names(given: str | Sequence[str]) -> tuple[str, ...]:
    """Return the names of a set (``"default"``, ``"all"``, ``"none"``) or of a list.

    The dummy is always among them.

    >>> baseline_names("none"), baseline_names(["wacsf-ridge"])
    (('dummy',), ('dummy', 'wacsf-ridge'))
    """
    if isinstance(given, str):
        given = SETS[given] if given in SETS else [one.strip() for one in given.split(",")]
    for name in given:
        _parts(name)
    return tuple(dict.fromkeys((DUMMY, *given)))


def baseline_in_words(name: str) -> str:
    """Return a baseline as a sentence calls it.

    >>> baseline_in_words("composition-forest")
    'a random forest on the composition'
    """
    if name in (DUMMY, DUMMY_MEAN):
        return "the median" if name == DUMMY else "the mean"
    features, regression = _parts(name)
    on = {
        COMPOSITION: "the composition",
        FROZEN: "the frozen pre-trained representation",
    }.get(features, f"{features} fingerprints")
    return f"{WORDS[regression]} on {on}"


def named_baseline(
    name: str, *, seed: int = 0, at_least: int = 1, threads: int = 1, from_: Model | None = None
) -> Baseline:
    """Return a baseline by its name.

    Args:
        name: ``dummy`` (the median), ``dummy-mean``, or features and a regression: features are
            ``composition``, ``frozen`` (of a pre-trained model) or a descriptor's name, regressions
            ``ridge``, ``kernel``, ``forest`` and ``boosting``.
        seed: of forests and boosting.
        at_least: settings to try.
        threads: that grow trees.
        from_: the model whose representations ``frozen`` reads.
    """
    features, regression = _parts(name)
    fitted: dict[str, Regression] = {
        DUMMY: Middle("median"),
        DUMMY_MEAN: Middle("mean"),
        "ridge": FromLearner(Ridge(_alphas(at_least))),
        "kernel": FromLearner(KernelRidge()),
        "forest": Forest(at_least=at_least, seed=seed, threads=threads),
        "boosting": Boosting(at_least=at_least, seed=seed),
    }
    return Baseline(name, features_named(features, from_), fitted[regression])


def _alphas(at_least: int) -> tuple[float, ...]:
    if at_least <= len(ALPHAS):
        return ALPHAS
    return tuple(np.geomspace(ALPHAS[0], ALPHAS[-1], at_least).tolist())


def features_of(name: str) -> str:
    """Return the name of the features that a baseline reads, which baselines may share.

    >>> features_of("composition-forest"), features_of("dummy")
    ('composition', '')
    """
    return _parts(name)[0]


def features_named(
    features: str, from_: Model | None = None
) -> Callable[[Crystals], Representation]:
    """Return what makes these features of crystals; nothing in it looks at a target."""
    if not features:
        return _nothing
    if features == COMPOSITION:
        return _composition
    if features == FROZEN:
        if from_ is None:
            raise InputError("baselines on a frozen representation need a pre-trained model.")
        return partial(_frozen, from_)
    return partial(_fingerprints, build("descriptors", {"name": features}))


def _parts(name: str) -> tuple[str, str]:
    """Return features and regression of a name; raises InputError that lists the known ones."""
    if name in (DUMMY, DUMMY_MEAN):
        return "", name
    features, _, regression = name.rpartition("-")
    known = (COMPOSITION, FROZEN, *names("descriptors"))
    if regression in REGRESSIONS and features in known:
        return features, regression
    raise InputError(
        f"no baseline '{name}'. {did_you_mean(name, ALL_BASELINES)} A name is features "
        f"({', '.join(known)}), a hyphen and a regression ({', '.join(REGRESSIONS)})."
    )


def _nothing(crystals: Crystals) -> Representation:
    return Representation([np.zeros((len(crystals), 1))], {WHOLE: (0,)})


def _composition(crystals: Crystals) -> Representation:
    return Representation([composition_features(crystals)], {WHOLE: (0,)})


def _fingerprints(descriptor: Descriptor, crystals: Crystals) -> Representation:
    """Return the mean over atoms, and mean, variance and third moment, as two ranges."""
    found = described(descriptor, crystals.with_targets({}).to(dtype=torch.float32))
    pooled = [statistics_over_atoms(rows, graph.crystals, "cumulants") for graph, rows in found]
    rows = torch.cat(pooled).numpy()
    mean, higher = np.split(rows, [rows.shape[1] // 3], axis=1)
    return Representation([mean, higher], {"mean": (0,), "cumulants": (0, 1)})


def _frozen(model: Model, crystals: Crystals) -> Representation:
    """Return every layer, pooled by the mean; which is read is chosen like a setting."""
    return network_representation(model.backbone, crystals, "crystal", "mean")
