"""What a Gaussian probe sees of an atom at a distance, and of all atoms beyond a radius."""

import functools
import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from epitaxy.crystals.densities import Rows

DENSEST = 0.2  # atoms per Å³ beyond a radius; diamond has 0.18
SHELL = 24  # atoms that may lie right behind it, all at one distance
BOND = 3.0  # Å; most atoms have a neighbor nearer than this
STEP = 1e-2  # from one level of accuracy to the next
LEAST = 1e-19  # fractions below are nothing in double precision
_MARGIN = 0.2  # of what a neighbor adds; few crystals have less in orders above 0
_NEGLIGIBLE = 80.0  # e^−80 of anything is nothing
_POINTS = 1000


@dataclass(frozen=True, eq=False)
class ProbeWeights:
    """w_n(r) = Σ_k strength_k ratio_kⁿ exp(−decay_k r²) of one probe, and where it may be cut.

    Rows are Gaussians, columns are atomic numbers. σ = 0 stands for no probe.

    Attributes:
        sigma: width of the probe in Å.
        orders: n, rising, from 0.
        accuracy: fraction of a channel's largest value that may be cut off.
    """

    sigma: float
    orders: tuple[int, ...]
    accuracy: float
    strength: Float[np.ndarray, "rows elements"]
    ratio: Float[np.ndarray, "rows elements"]
    decay: Float[np.ndarray, "rows elements"]

    @functools.cached_property
    def spacing(self) -> float:
        """Distance in Å between the points of the tables below."""
        return math.sqrt(_NEGLIGIBLE / self.decay[self.strength != 0].min()) / (_POINTS - 1)

    @functools.cached_property
    def distances(self) -> Float[np.ndarray, " points"]:
        """The points in Å."""
        return self.spacing * np.arange(_POINTS)

    @functools.cached_property
    def most(self) -> Float[np.ndarray, "orders elements points"]:
        """The most that one neighbor of an element adds to a component, not nearer than r."""
        return np.maximum.accumulate(self._single()[:, :, ::-1], axis=2)[:, :, ::-1].copy()

    @functools.cached_property
    def beyond(self) -> Float[np.ndarray, "orders elements points"]:
        """What all atoms beyond r add, in step: a shell there and ∫ 4πr² ρ |w_n| rⁿ."""
        single = self._single()
        shells = DENSEST * 4 * math.pi * self.distances**2 * self.spacing
        rest = np.cumsum((shells * single)[:, :, ::-1], axis=2)[:, :, ::-1]
        return (SHELL * single + rest).astype("f4")

    def cut(
        self, level: int
    ) -> tuple[Float[np.ndarray, " elements"], Float[np.ndarray, "orders elements"]]:
        """Return radii in Å at a level of accuracy, and the most that is left out beyond them.

        At level 0 that is the accuracy, as a fraction of the element's own atom in order 0 and of a
        fifth of what a neighbor at 3 Å or beyond adds in higher orders. There, each further level
        leaves out a hundredth.
        """
        if level not in self._cuts:
            self._cuts[level] = self._cut(level)
        return self._cuts[level]

    @functools.cached_property
    def _cuts(self) -> dict[int, tuple[np.ndarray, np.ndarray]]:
        return {}

    def _cut(self, level: int) -> tuple[np.ndarray, np.ndarray]:
        own = np.abs(self.strength.sum(0))
        bonded = self.most[:, :, round(BOND / self.spacing)]
        wanted = [
            self.accuracy * own
            if order == 0
            else max(self.accuracy * STEP**level, LEAST) * _MARGIN * bonded[row]
            for row, order in enumerate(self.orders)
        ]
        place = (self.beyond > np.stack(wanted)[:, :, None]).sum(2).max(0).clip(max=_POINTS - 1)
        left = np.take_along_axis(self.beyond, place[None, :, None], axis=2)[:, :, 0]
        return self.distances[place], left.astype(float)

    def _single(self) -> Float[np.ndarray, "orders elements points"]:
        """Return |w_n(r)| rⁿ."""
        bells = np.exp(-self.decay.T[:, :, None] * self.distances**2)
        powers = np.array(self.orders)[:, None, None]
        weights = self.strength * self.ratio**powers
        single = np.abs(np.einsum("nke,kep->nep", weights, bells.transpose(1, 0, 2)))
        return (single * self.distances**powers).astype("f4")

    def last_level(self, rounding: float) -> int:
        """Return the level at which no more than accuracy × rounding of a neighbor is left out."""
        fraction = max(self.accuracy * rounding, LEAST)
        return max(math.ceil(math.log(self.accuracy / fraction) / -math.log(STEP)), 0)


def probe_weights(
    sigma: float, orders: tuple[int, ...], table: dict[int, Rows], accuracy: float
) -> ProbeWeights:
    """Return the weights of a probe of width σ (Å); σ = 0 is the density at the point itself."""
    amount, beta = density_arrays(table)
    if sigma == 0:
        return ProbeWeights(sigma, orders, accuracy, amount, np.ones_like(beta), beta)
    alpha = 0.5 / sigma**2
    norm = (sigma * math.sqrt(2 * math.pi)) ** -3
    strength = norm * amount * (math.pi / (alpha + beta)) ** 1.5
    ratio, decay = beta / (alpha + beta), alpha * beta / (alpha + beta)
    return ProbeWeights(sigma, orders, accuracy, strength, ratio, decay)


def density_arrays(
    table: dict[int, Rows],
) -> tuple[Float[np.ndarray, "rows elements"], Float[np.ndarray, "rows elements"]]:
    """Return B and β by Gaussian and atomic number; B = 0 where an element has fewer."""
    rows, size = max(len(gaussians) for gaussians in table.values()), max(table) + 1
    amount, beta = np.zeros((rows, size)), np.ones((rows, size))
    for number, gaussians in table.items():
        amount[: len(gaussians), number], beta[: len(gaussians), number] = zip(
            *gaussians, strict=True
        )
    return amount, beta
