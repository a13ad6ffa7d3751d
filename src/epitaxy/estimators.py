"""Epitaxy behind the interface of scikit-learn."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from epitaxy.crystals.crystals import Crystals, cat
from epitaxy.datasets.readers import read_crystals
from epitaxy.descriptors.base import Descriptor, described
from epitaxy.errors import InputError
from epitaxy.nn.statistics import Statistics, statistic_names, statistics_over_atoms
from epitaxy.registry import build
from epitaxy.training.embed import LAST, Reading, encoded, model_named


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


def _crystals(given: Any) -> Crystals:
    if isinstance(given, Crystals):
        return given
    if isinstance(given, Sequence | np.ndarray) and len(given):
        if all(isinstance(one, Crystals) for one in given):  # what a splitter makes of Crystals
            return cat(list(given))
        given = list(given) if not isinstance(given, str) else given
    return read_crystals(given, targets=(), strict=True)
