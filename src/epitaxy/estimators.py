"""Epitaxy behind the interface of scikit-learn."""

import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, TransformerMixin
from sklearn.exceptions import DataConversionWarning
from sklearn.utils import Tags
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from epitaxy.crystals.crystals import Crystals, cat
from epitaxy.crystals.targets import Target
from epitaxy.datasets.read_report import ReadLog
from epitaxy.datasets.readers import read_crystals
from epitaxy.datasets.sources import read_objects, read_structure_files
from epitaxy.datasets.tables import Request
from epitaxy.descriptors.base import Descriptor, described
from epitaxy.errors import InputError
from epitaxy.nn.statistics import Statistics, statistic_names, statistics_over_atoms
from epitaxy.objectives.property import Task
from epitaxy.registry import build
from epitaxy.training.embed import LAST, Reading, encoded, model_named
from epitaxy.training.finetune import finetune
from epitaxy.training.predict import predict_probabilities, predict_values
from epitaxy.training.recipe import load_recipe
from epitaxy.units import parse_target

Fitted = TypeVar("Fitted", bound="_PropertyEstimator")


class CrystalEncoder(TransformerMixin, BaseEstimator):
    """Turns crystals into rows of a network's frozen representation.

    Whatever is given is encoded as it stands: a crystal that cannot be used raises InputError, for
    a row left out would shift the others against their targets.

    Args:
        model: a run, a model, or the folder of a checkpoint.
        layer: ``"last"``, a layer (``"0"``, ``"1"`` …) or layers from the elements' own on, side
            by side (``"01"``, ``"012"`` …).
        level: ``"crystal"``, ``"atom"``, ``"edge"`` or ``"state"``: what a row is of.
        pooling: from atoms to crystals, as in ``DescriptorTransformer``, or ``"min"``, ``"max"``.
        joined: at crystal level, nodes, edges and state side by side.
    """

    def __init__(
        self,
        model: Any,
        *,
        layer: str = LAST,
        level: Literal["crystal", "atom", "edge", "state"] = "crystal",
        pooling: Statistics = "mean",
        joined: bool = False,
    ) -> None:
        self.model = model
        self.layer = layer
        self.level = level
        self.pooling = pooling
        self.joined = joined

    def __sklearn_clone__(self) -> "CrystalEncoder":
        """Weights are frozen, so a clone shares them."""
        return type(self)(**self.get_params(deep=False))

    def fit(self, X: Any, y: Any = None) -> "CrystalEncoder":  # noqa: N803, scikit-learn's name
        """Load the model and check the arguments; nothing is learned from the crystals."""
        self.model_ = model_named(self.model, type(self).__name__)
        self.reading_ = Reading(self.layer, self.level, self.pooling, self.joined).checked(
            self.model_.backbone
        )
        self.n_features_out_ = len(self.get_feature_names_out())
        return self

    def transform(self, X: Any) -> np.ndarray:  # noqa: N803
        """Return the rows of crystals: Crystals, Atoms, Structures, or a path to read."""
        check_is_fitted(self, "reading_")
        rows = [
            self.reading_.of(graph, encoding).cpu()
            for graph, encoding in encoded(self.model_.backbone, _crystals(X))
        ]
        return torch.cat(rows).numpy() if rows else np.zeros((0, self.n_features_out_), np.float32)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names of the columns."""
        check_is_fitted(self, "reading_")
        return np.array(self.reading_.columns(self.model_.backbone), dtype=object)


class DescriptorTransformer(TransformerMixin, BaseEstimator):
    """Turns crystals into rows of a structural fingerprint.

    Whatever is given is described as it stands: a crystal that cannot be used raises InputError,
    for a row left out would shift the others against their targets.

    >>> from epitaxy.datasets.bundled import bundled
    >>> rows = DescriptorTransformer("wacsf", preset="set2").fit_transform(bundled()[:3])
    >>> rows.shape
    (3, 20)

    Args:
        descriptor: a descriptor's name; its settings, ``{"name": "gmp", "sigmas": [0.5]}``; or one.
        preset: a preset of the named descriptor; None for its defaults.
        level: ``"crystal"``, one row per crystal, or ``"atom"``, one row per atom.
        pooling: from atoms to crystals: ``"mean"``, ``"sum"``, ``"extremes"`` (least and greatest)
            or ``"cumulants"`` (mean, variance, third central moment). At atom level unused.
        dtype: floating-point type in which is calculated, ``"float32"`` or ``"float64"``.
    """

    def __init__(
        self,
        descriptor: Any = "wacsf",
        *,
        preset: str | None = None,
        level: Literal["crystal", "atom"] = "crystal",
        pooling: Statistics = "mean",
        dtype: Literal["float32", "float64"] = "float32",
    ) -> None:
        self.descriptor = descriptor
        self.preset = preset
        self.level = level
        self.pooling = pooling
        self.dtype = dtype

    def fit(self, X: Any, y: Any = None) -> "DescriptorTransformer":  # noqa: N803, scikit-learn's name
        """Check the arguments; nothing is learned from the crystals."""
        if self.level not in ("crystal", "atom"):
            raise InputError(f"level is 'crystal' or 'atom', not '{self.level}'.")
        if self.dtype not in ("float32", "float64"):
            raise InputError(f"dtype is 'float32' or 'float64', not '{self.dtype}'.")
        self.descriptor_ = _built(self.descriptor, self.preset)
        statistic_names(self.pooling, ())
        self.n_features_out_ = len(self.get_feature_names_out())
        return self

    def transform(self, X: Any) -> np.ndarray:  # noqa: N803
        """Return the rows of crystals: Crystals, Atoms, Structures, or a path to read."""
        check_is_fitted(self, "descriptor_")
        crystals = _crystals(X).to("cpu", getattr(torch, self.dtype))
        rows = [
            values
            if self.level == "atom"
            else statistics_over_atoms(values, graph.crystals, self.pooling)
            for graph, values in described(self.descriptor_, crystals)
        ]
        return torch.cat(rows).numpy() if rows else np.zeros((0, self.n_features_out_), self.dtype)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names of the columns."""
        check_is_fitted(self, "descriptor_")
        names = self.descriptor_.feature_names
        if self.level == "crystal":
            names = statistic_names(self.pooling, names)
        return np.array(names, dtype=object)


class _PropertyEstimator(BaseEstimator):
    """What learning a value and learning a class share: the arguments, and how they are trained."""

    _task: ClassVar[Task]

    def __init__(
        self,
        pretrained: Any = None,
        *,
        target: str = "property",
        extensive: bool = False,
        epochs: int | None = None,
        learning_rate: float | None = None,
        batch_size: int | None = None,
        recipe: str | Path = "finetune",
        changes: Mapping[str, Any] | None = None,
        seed: int = 0,
        out: str | Path | None = None,
        overwrite: bool = False,
    ) -> None:
        self.pretrained = pretrained
        self.target = target
        self.extensive = extensive
        self.epochs = epochs
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.recipe = recipe
        self.changes = changes
        self.seed = seed
        self.out = out
        self.overwrite = overwrite

    @classmethod
    def from_pretrained(cls: type[Fitted], pretrained: Any) -> Fitted:
        """Return an estimator that starts from a run, a model or the folder of a checkpoint."""
        return cls(pretrained)

    def __sklearn_clone__(self: Fitted) -> Fitted:
        """Pre-trained weights are never changed, so a clone shares them."""
        return type(self)(**self.get_params(deep=False))

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.target_tags.required = True
        return tags

    def _train(self, X: Any, values: np.ndarray, made: Mapping[str, Any]) -> None:  # noqa: N803
        """Fine-tune on screened crystals and numbers, and keep the model."""
        crystals = _screened(X)
        if len(values) != len(crystals):
            raise InputError(f"y has {len(values)} values for {len(crystals)} crystals.")
        name, unit = parse_target(self.target)
        label = Target(torch.from_numpy(values), unit=unit or "", extensive=self.extensive)
        training = {
            f"training.{key}": getattr(self, key)
            for key in ("epochs", "learning_rate", "batch_size")
            if getattr(self, key) is not None
        }
        with tempfile.TemporaryDirectory() as temporary:
            run = finetune(
                crystals.with_targets({name: label}),
                self.target,
                task=self._task,
                from_=self.pretrained,
                recipe=self.recipe,
                changes={**training, **made, **(self.changes or {})},
                seed=self.seed,
                out=Path(temporary) / "run" if self.out is None else self.out,
                overwrite=self.overwrite,
                progress=False,
            )
        self.model_ = replace(run.model, folder=None) if self.out is None else run.model
        self.report_ = run.report

    def _predicted(self, X: Any) -> np.ndarray:  # noqa: N803
        check_is_fitted(self, "model_")
        values, _ = predict_values(self.model_, _screened(X))[parse_target(self.target)[0]]
        return values.numpy()


class PropertyRegressor(RegressorMixin, _PropertyEstimator):
    """Learns a property of crystals from values, on top of pre-trained weights.

    ``PropertyRegressor.from_pretrained("runs/mine").fit(structures, y).predict(new)``. Structures
    are Crystals, Atoms, Structures, paths, or a list of them. One that cannot be used raises
    InputError, for a row left out would shift the others against their values.

    Args:
        pretrained: a pre-trained run, model or checkpoint folder; None trains from scratch.
        target: what the property is called, with its unit if there is one: ``"band_gap[eV]"``.
        extensive: whether the property grows with the cell.
        epochs, learning_rate, batch_size: as in a recipe; None leaves them to it.
        recipe: a fine-tuning recipe, by name or path. The part of the crystals that chooses the
            best weights is its ``data.validation``.
        changes: any other keys of the recipe: ``{"training.ema": 0.99}``.
        seed: of the head's weights, the batches and the crystals that are validated on.
        out: folder in which the run is kept; None keeps the model in memory alone. A search or a
            cross-validation fits often, and a folder holds one run.
        overwrite: whether another run in that folder is cleared.
    """

    _task = "regression"

    def fit(self, X: Any, y: Any) -> "PropertyRegressor":  # noqa: N803, scikit-learn's name
        """Fine-tune on crystals and one value for each; raises InputError for missing values."""
        self._train(X, _numbers(_one_column(self, y)), {})
        return self

    def predict(self, X: Any) -> np.ndarray:  # noqa: N803
        """Return a value for every crystal, in the unit of those that were learned from."""
        return self._predicted(X)


class PropertyClassifier(ClassifierMixin, _PropertyEstimator):
    """Learns classes of crystals, on top of pre-trained weights.

    Classes are numbers, texts or truth values, two or more of them; ``classes_`` names them in the
    order of the columns of ``predict_proba``. The arguments are those of ``PropertyRegressor``.
    """

    _task = "classification"

    def fit(self, X: Any, y: Any) -> "PropertyClassifier":  # noqa: N803, scikit-learn's name
        """Fine-tune on crystals and a class for each; raises InputError for missing classes."""
        labels = _one_column(self, y)
        check_classification_targets(labels)
        self.classes_, numbers = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise InputError(f"y has one class only, {self.classes_[0]!r}: nothing to tell apart.")
        objectives = load_recipe(self.recipe).objectives
        names = [one.get("name") for one in objectives]
        if "property" not in names:
            raise InputError(f"recipe '{self.recipe}' has no objective 'property': name another.")
        place = names.index("property")
        classes = {f"objectives.{place}.classes": len(self.classes_)}
        self._train(X, numbers.astype(np.float64), classes)
        return self

    def predict(self, X: Any) -> np.ndarray:  # noqa: N803
        """Return the likeliest class of every crystal."""
        return self.classes_[self._predicted(X).astype(np.int64)]

    def predict_proba(self, X: Any) -> np.ndarray:  # noqa: N803
        """Return probabilities, shape (crystals, classes); columns as in ``classes_``."""
        check_is_fitted(self, "model_")
        found = predict_probabilities(self.model_, _screened(X))
        return found[parse_target(self.target)[0]].numpy()


def _built(descriptor: Any, preset: str | None) -> Descriptor:
    if isinstance(descriptor, str):
        descriptor = {"name": descriptor}
    if isinstance(descriptor, Mapping):
        return build(
            "descriptors", descriptor if preset is None else {**descriptor, "preset": preset}
        )
    if preset is not None:
        raise InputError(f"preset '{preset}' needs a descriptor's name, not a descriptor.")
    return descriptor


def _one_column(estimator: BaseEstimator, y: Any) -> np.ndarray:
    """Return y as an array of one dimension; raises InputError that names rows without a value."""
    name = type(estimator).__name__
    if y is None:
        raise InputError(f"{name} requires y to be passed, but the target y is None.")
    values = np.asarray(y)
    if values.ndim == 2 and values.shape[1] == 1:
        message = "A column-vector y was passed when a 1d array was expected."
        warnings.warn(message, DataConversionWarning, stacklevel=3)
        values = values.ravel()
    if values.ndim != 1:
        raise InputError(f"y should be a 1d array, got an array of shape {values.shape} instead.")
    missing = np.flatnonzero(pd.isna(values))
    if len(missing):
        rows = ", ".join(map(str, missing[:5])) + (" …" if len(missing) > 5 else "")
        raise InputError(
            f"y is NaN (missing) in {len(missing)} of {len(values)} rows: {rows}. Leave these "
            "crystals out."
        )
    return values


def _numbers(values: np.ndarray) -> np.ndarray:
    """Return values as float64; raises InputError that names the first that is no finite number."""
    if np.iscomplexobj(values):
        raise InputError("Complex data not supported: y must be real.")
    try:
        numbers = values.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"y holds something that is no number: {error}.") from None
    wrong = np.flatnonzero(~np.isfinite(numbers))
    if len(wrong):
        raise InputError(f"y is inf (infinity) in row {wrong[0]}: values must be finite numbers.")
    return numbers


def _screened(given: Any) -> Crystals:
    """Return crystals without targets, all of them sound."""
    crystals = _crystals(given)
    if not len(crystals):
        raise InputError("no crystals were given.")
    return _sound(crystals.with_targets({}))


def _crystals(given: Any) -> Crystals:
    if isinstance(given, Crystals):
        return given
    if isinstance(given, pd.Series):
        given = list(given)
    if isinstance(given, Sequence | np.ndarray) and len(given) and not _is_structure(given):
        if all(isinstance(one, Crystals) for one in given):  # what a splitter makes of Crystals
            return cat(list(given))
        given = list(given) if not isinstance(given, str) else given
        if all(_is_structure(one) for one in given):
            return _sound(read_objects(given, Request(()), ReadLog(strict=True)).crystals)
        if isinstance(given, list) and all(isinstance(one, str | Path) for one in given):
            paths = [Path(one) for one in given]
            return _sound(read_structure_files(paths, Request(()), ReadLog(strict=True)).crystals)
    return read_crystals(given, targets=(), strict=True)


def _sound(crystals: Crystals) -> Crystals:
    """Return crystals that pass the screening; one may be there twice, as in a bootstrap."""
    if len(set(crystals.ids)) < len(crystals):
        names = [f"{name} (row {row})" for row, name in enumerate(crystals.ids)]
        crystals = replace(crystals, ids=names)
    return read_crystals(crystals, targets=(), strict=True)


def _is_structure(one: Any) -> bool:
    return hasattr(one, "get_atomic_numbers") or hasattr(one, "site_properties")
