"""Ridge, kernel ridge and Gaussian processes: one decomposition gives every regularization.

All standardize features and center targets by the rows that they are fitted on, and predict the
other rows for a whole grid of settings at once. Penalties are per row: with n rows,

    ridge          min_w  (1/n) ‖y − Z w‖² + α ‖w‖²
    kernel ridge   c = (K + α n I)⁻¹ y,   K_ij = exp(−γ/d ‖z_i − z_j‖²) or exp(−γ/d ‖z_i − z_j‖₁)

with d features of unit variance, so that a setting means the same for few rows and many, for
narrow representations and wide ones.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.spatial.distance import cdist

from epitaxy.errors import InputError, did_you_mean

ALPHAS = tuple(10.0**power for power in range(-10, 4))
GAMMAS = tuple(10.0 ** (power / 2) for power in range(-5, 2))
EXACT_ROWS = 2000  # a kernel of more rows is taken in Nyström's approximation
LANDMARKS = 500
LEAST_SPREAD = 1e-8  # a feature that varies less, relative to its size, is constant

Kernel = Literal["rbf", "laplacian"]
Rows = Float[ndarray, "rows width"]
Others = Float[ndarray, "others width"]
Values = Float[ndarray, " rows"]
Paths = Float[ndarray, "settings others"]


@runtime_checkable
class Learner(Protocol):
    """What a probe is fitted with."""

    @property
    def settings(self) -> tuple[str, ...]:
        """The grid's settings in words."""

    def predictions(self, rows: Rows, truth: Values, others: Others) -> Paths:
        """Return what every setting predicts for the other rows."""


def bounded_predictions(
    learner: Learner, rows: Rows, truth: Values, others: Others, beyond: float = 0.0
) -> Paths:
    """Return what every setting predicts, within the range of the values learned from.

    A row unlike all of them would otherwise be far outside, which says more of straight lines than
    of the features. ``beyond`` widens the range at both ends, in its own length.
    """
    room = beyond * np.ptp(truth)
    found = learner.predictions(rows, truth, others)
    return np.clip(found, truth.min() - room, truth.max() + room)


@dataclass(frozen=True)
class Ridge:
    """Linear in the standardized features."""

    alphas: tuple[float, ...] = ALPHAS

    @property
    def settings(self) -> tuple[str, ...]:
        """The grid's settings in words."""
        return tuple(f"alpha={alpha:g}" for alpha in self.alphas)

    def predictions(self, rows: Rows, truth: Values, others: Others) -> Paths:
        """Return what every setting predicts for the other rows."""
        rows, others = standardized(rows, others)
        middle = truth.mean()
        return middle + linear_path(rows, truth - middle, others, self.alphas)


@dataclass(frozen=True)
class KernelRidge:
    """Kernel ridge regression; beyond ``exact_rows`` on ``landmarks`` of the rows (Nyström)."""

    kernel: Kernel = "rbf"
    gammas: tuple[float, ...] = GAMMAS
    alphas: tuple[float, ...] = ALPHAS
    exact_rows: int = EXACT_ROWS
    landmarks: int = LANDMARKS

    @property
    def settings(self) -> tuple[str, ...]:
        """The grid's settings in words."""
        return tuple(f"gamma={g:g}, alpha={a:g}" for g in self.gammas for a in self.alphas)

    def predictions(self, rows: Rows, truth: Values, others: Others) -> Paths:
        """Return what every setting predicts for the other rows."""
        rows, others = standardized(rows, others)
        middle = truth.mean()
        return middle + np.concatenate(
            [
                self._path(between, beyond, truth - middle)
                for between, beyond in self._kernels(rows, others)
            ]
        )

    def _kernels(self, rows: Rows, others: Others) -> Iterator[tuple[ndarray, ndarray]]:
        """Yield for every γ the kernel among the rows and that to the other rows.

        With landmarks, features of both whose products are Nyström's kernels.
        """
        exact = len(rows) <= self.exact_rows
        chosen = np.arange(len(rows))
        if not exact:
            chosen = np.random.default_rng(0).choice(len(rows), self.landmarks, replace=False)
        within = distances(rows[chosen], rows[chosen], self.kernel)
        beyond = distances(others, rows[chosen], self.kernel)
        inner = None if exact else distances(rows, rows[chosen], self.kernel)
        for gamma in self.gammas:
            kernel, to_others = np.exp(-gamma * within), np.exp(-gamma * beyond)
            if inner is None:
                yield kernel, to_others
            else:
                root = _inverse_root(kernel)
                yield np.exp(-gamma * inner) @ root, to_others @ root

    def _path(self, between: Rows, beyond: Others, truth: Values) -> Paths:
        if len(truth) > self.exact_rows:
            return linear_path(between, truth, beyond, self.alphas)
        values, vectors = _spectrum(between)
        coefficients = (vectors.T @ truth)[:, None] / (
            values[:, None] + len(truth) * np.array(self.alphas)
        )
        return ((beyond @ vectors) @ coefficients).T


@dataclass(frozen=True)
class GaussianProcess:
    """y ~ N(ȳ, s² (K + α n I)): γ and α from the rows that it is fitted on, by evidence.

    log p(y) = −(n/2) log s² − ½ Σ log(λ + α n) + constant, with s² = (1/n) yᵀ (K + α n I)⁻¹ y, is
    the largest over the grid; its mean is kernel ridge's. So there is one setting, and nothing is
    left to choose by other rows (Rasmussen and Williams, equation 5.8).
    """

    kernel: Kernel = "rbf"
    gammas: tuple[float, ...] = GAMMAS
    alphas: tuple[float, ...] = ALPHAS
    most_rows: int = EXACT_ROWS

    @property
    def settings(self) -> tuple[str, ...]:
        """The one setting."""
        return ("by evidence",)

    def predictions(self, rows: Rows, truth: Values, others: Others) -> Paths:
        """Return the mean at the other rows, as the one setting."""
        if len(rows) > self.most_rows:
            raise InputError(
                f"a Gaussian process of {len(rows)} rows is more than the {self.most_rows} that "
                "memory and patience allow: probe fewer crystals, or take 'rbf', which goes on "
                "with landmarks, or 'ridge'."
            )
        rows, others = standardized(rows, others)
        middle = truth.mean()
        centered, count = truth - middle, len(truth)
        within = distances(rows, rows, self.kernel)
        penalties = count * np.array(self.alphas)
        best, found = -math.inf, np.zeros(len(others))
        for gamma in self.gammas:
            values, vectors = _spectrum(np.exp(-gamma * within))
            shifted = values[:, None] + penalties
            along = vectors.T @ centered
            scale = np.maximum((along[:, None] ** 2 / shifted).mean(axis=0), 1e-300)
            evidence = -0.5 * (count * np.log(scale) + np.log(shifted).sum(axis=0))
            chosen = int(evidence.argmax())
            if evidence[chosen] > best:
                best = float(evidence[chosen])
                weights = vectors @ (along / shifted[:, chosen])
                beyond = distances(others, rows, self.kernel)
                found = np.exp(-gamma * beyond) @ weights
        return (middle + found)[None]


LEARNERS: dict[str, Learner] = {
    "ridge": Ridge(),
    "rbf": KernelRidge("rbf"),
    "laplacian": KernelRidge("laplacian"),
    "gp": GaussianProcess(),
}


def learner_named(name: str) -> Learner:
    """Return a learner; raises InputError that lists the known ones."""
    if name not in LEARNERS:
        raise InputError(f"no learner '{name}'. {did_you_mean(name, LEARNERS)}")
    return LEARNERS[name]


def standardized(
    rows: Rows, others: Others
) -> tuple[Float[ndarray, "rows kept"], Float[ndarray, "others kept"]]:
    """Return both by the mean and the standard deviation of the first; constant features leave.

    In double precision. Where all features are constant, one of zeros stays.
    """
    rows, others = rows.astype(np.float64), others.astype(np.float64)
    mean, spread = rows.mean(axis=0), rows.std(axis=0)
    varies = spread > LEAST_SPREAD * (1e-30 + np.abs(mean))
    if not varies.any():
        return np.zeros((len(rows), 1)), np.zeros((len(others), 1))
    mean, spread = mean[varies], spread[varies]
    return (rows[:, varies] - mean) / spread, (others[:, varies] - mean) / spread


def linear_path(rows: Rows, truth: Values, others: Others, alphas: tuple[float, ...]) -> Paths:
    """Return others · w for every α, from the smaller of ZᵀZ and ZZᵀ."""
    penalties = len(rows) * np.array(alphas)
    if rows.shape[1] <= len(rows):
        values, vectors = _spectrum(rows.T @ rows)
        along = vectors.T @ (rows.T @ truth)
        return ((others @ vectors) @ (along[:, None] / (values[:, None] + penalties))).T
    values, vectors = _spectrum(rows @ rows.T)
    coefficients = vectors @ ((vectors.T @ truth)[:, None] / (values[:, None] + penalties))
    return (others @ (rows.T @ coefficients)).T


def distances(rows: Rows, others: Others, kernel: Kernel) -> Float[ndarray, "rows others"]:
    """Return ‖·‖² (rbf) or ‖·‖₁ (laplacian), divided by the number of features."""
    width = rows.shape[1]
    if kernel == "laplacian":
        return cdist(rows, others, "cityblock") / width
    squares = np.square(rows).sum(axis=1)[:, None] + np.square(others).sum(axis=1)
    return np.maximum(squares - 2.0 * rows @ others.T, 0.0) / width


def _spectrum(
    symmetric: Float[ndarray, "size size"],
) -> tuple[Float[ndarray, " size"], Float[ndarray, "size size"]]:
    values, vectors = np.linalg.eigh(symmetric)
    return np.maximum(values, 0.0), vectors


def _inverse_root(kernel: Float[ndarray, "size size"]) -> Float[ndarray, "size kept"]:
    """Return K^(−1/2) on the directions that are not lost in rounding."""
    values, vectors = _spectrum(kernel)
    kept = values > 1e-10 * values.max()
    return vectors[:, kept] / np.sqrt(values[kept])
