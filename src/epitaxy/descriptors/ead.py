"""Embedded-atom densities (Zhang, Hu and Jiang, J. Phys. Chem. Lett. 10, 4962)."""

import itertools
import math
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from annotated_types import Ge, Gt, Le, MinLen
from jaxtyping import Float
from torch import Tensor

from epitaxy.crystals.graph import Graph
from epitaxy.crystals.neighborhoods import edges_side_by_side, neighborhoods, vectors_by_axis
from epitaxy.crystals.segments import gather
from epitaxy.descriptors.base import Descriptor, bell
from epitaxy.nn.envelope import cosine_envelope
from epitaxy.nn.scaling import Transform

_LARGEST_EXPONENT = 30.0  # of what a block adds; e^30 times bell's smallest value is nothing
_LONGEST_BLOCK = 16

Shells = tuple[float, ...]


def shells(end: float, spacing: float = 0.05) -> Shells:
    """Return R_s = 0, spacing, 2 spacing, … below ``end`` (Å)."""
    return tuple(round(step * spacing, 10) for step in range(round(end / spacing)))


@dataclass(frozen=True)
class EAD(Descriptor):
    """ρ_{l,η,R_s} = Σ_{a+b+c=l} l!/(a! b! c!) [ Σ_j w(Z_j) xᵃ yᵇ zᶜ e^{−η(r−R_s)²} f_c(r) ]².

    (x, y, z) is the vector to neighbor j, r its length, f_c(r) = ½ [cos(π r / R_c) + 1]; the sum
    runs over all periodic images. Columns run over l = 0 … l_max, then η, then R_s. An isolated
    atom has zeros.

    ``mode="strict"`` is that equation, equation 6 of arXiv:2503.01227. ``mode="cumulative"`` is
    what public implementations compute: block l sums the monomials of every degree ≤ l, each with
    l!/(a! b! c!), and is divided by R_c^{2l}; at an inversion center its block 1 is block 0 / R_c².

    The presets are the sets of table 3 there, with 960, 1920 and 1280 columns. The table says 1920,
    3840 and 2560, each exactly twice as many: so long is a crystal's vector in a public
    implementation that sets the least and the greatest value over the atoms side by side. An atom's
    labels are half as many.

    Attributes:
        l_max: largest l.
        eta: widths in Å⁻².
        r_s: shell radii in Å.
        cutoff: R_c in Å.
        mode: ``"strict"`` or ``"cumulative"``.
        weight: w(Z): the atomic number, or one for every element.
        chunk: slots for edges that are expanded at a time; bounds the memory, not the result.
    """

    l_max: Annotated[int, Ge(0), Le(8)] = 2
    eta: Annotated[tuple[Annotated[float, Ge(0)], ...], MinLen(1)] = (1.0, 5.0)
    r_s: Annotated[tuple[Annotated[float, Ge(0)], ...], MinLen(1)] = shells(8.0)
    cutoff: Annotated[float, Gt(0)] = 8.0
    mode: Literal["strict", "cumulative"] = "strict"
    weight: Literal["number", "one"] = "number"
    chunk: Annotated[int, Gt(0)] = 8192

    label_transform: ClassVar[Transform] = "none"
    presets: ClassVar[dict] = {
        "set1": {},
        "set2": {"l_max": 1, "eta": (1.0, 2.0, 5.0, 10.0), "r_s": shells(12.0), "cutoff": 12.0},
        "set3": {"l_max": 1, "eta": (1.0, 2.0, 3.0, 5.0)},
    }

    @property
    def feature_names(self) -> tuple[str, ...]:
        """One name per column, such as ``ead[l=1,eta=5.0,r_s=2.35]``."""
        return tuple(
            f"ead[l={degree},eta={float(eta)},r_s={float(r_s)}]"
            for degree in range(self.l_max + 1)
            for eta in self.eta
            for r_s in self.r_s
        )

    def __call__(self, graph: Graph) -> Float[Tensor, "atoms size"]:
        """Return the squared densities of every atom."""
        graph = self.neighborhood(graph)
        vectors = vectors_by_axis(graph)
        weight = cosine_envelope(torch.sqrt((vectors * vectors).sum(0)), self.cutoff)
        if self.weight == "number":
            weight = weight * gather(graph.crystals.numbers, graph.neighbor).to(weight.dtype)
        edges = torch.cat([vectors, weight.unsqueeze(0)])
        atoms, described = [], []
        for hood in neighborhoods(graph.atom_offsets, self.chunk):
            atoms.append(hood.atoms)
            of_slots = edges_side_by_side(edges, hood)
            described.append(self._of_atoms(of_slots[:3], of_slots[3] * hood.filled))
        total = vectors.new_zeros((graph.crystals.atom_total, self.size))
        if not atoms:
            return total
        return total.index_copy(0, torch.cat(atoms), torch.cat(described))

    def _of_atoms(
        self, vectors: Float[Tensor, "3 atoms slots"], weight: Float[Tensor, "atoms slots"]
    ) -> Float[Tensor, "atoms size"]:
        distances = torch.sqrt((vectors * vectors).sum(0))
        powers = _monomials(self.l_max)
        moments = torch.stack([weight * _monomial(vectors, power) for power in powers], dim=1)
        shares = distances.new_tensor(self._shares(powers))
        blocks = []
        for eta in self.eta:
            density = self._densities(eta, moments, distances)
            blocks.append(torch.einsum("lm,ams->als", shares, density * density))
        return torch.stack(blocks, dim=2).flatten(1)

    def _shares(self, powers: list[tuple[int, ...]]) -> np.ndarray:
        """Return what each monomial's square counts for in each l."""
        shares = np.zeros((self.l_max + 1, len(powers)))
        for degree in range(self.l_max + 1):
            for column, power in enumerate(powers):
                if sum(power) == degree or (self.mode == "cumulative" and sum(power) < degree):
                    shares[degree, column] = math.factorial(degree) / math.prod(
                        math.factorial(one) for one in power
                    )
            if self.mode == "cumulative":
                shares[degree] /= self.cutoff ** (2 * degree)
        return shares

    def _densities(
        self,
        eta: float,
        moments: Float[Tensor, "atoms monomials slots"],
        distances: Float[Tensor, "atoms slots"],
    ) -> Float[Tensor, "atoms monomials shells"]:
        """Return Σ_j m_j exp(−η (r_j − R_s)²), for equally spaced R_s = C + F by blocks.

        The exponent is −η (r − C)² + 2η (r − R_c/2) F − η F (2C − R_c + F), whose last part is the
        same for all neighbors, so that the sum over them is the product of a matrix of C and one
        of F; neither grows beyond what single precision holds.
        """
        offsets = self._offsets(eta)
        centers = np.array(self.r_s[:: len(offsets)]) - offsets[0]
        middle = self.cutoff / 2
        away = distances.unsqueeze(1)
        coarse = bell(-eta * (away - _column(distances, centers)) ** 2)
        fine = torch.exp((away - middle) * _column(distances, 2 * eta * offsets))
        left = (moments.unsqueeze(2) * coarse.unsqueeze(1)).flatten(1, 2)
        product = torch.bmm(left, fine.transpose(1, 2))
        rest = np.exp(-eta * offsets * (2 * (centers[:, None] - middle) + offsets))
        sums = product.unflatten(1, (-1, len(centers))) * distances.new_tensor(rest)
        return sums.flatten(2)[:, :, : len(self.r_s)]

    def _offsets(self, eta: float) -> np.ndarray:
        """Return F, a block of R_s about its middle; only zero unless R_s are equally spaced."""
        steps = np.diff(self.r_s)
        if len(steps) == 0 or np.ptp(steps) > 1e-13 * max(self.r_s) or steps[0] <= 0:
            return np.zeros(1)
        farthest = max(self.cutoff, self.r_s[-1])
        width = _LARGEST_EXPONENT / max(eta * farthest, 1e-9)
        block = int(min(width / steps[0] + 1, _LONGEST_BLOCK, len(self.r_s)))
        return steps[0] * (np.arange(block) - (block - 1) / 2)


def _monomials(degree: int) -> list[tuple[int, ...]]:
    """Return the powers (a, b, c) with a + b + c ≤ degree."""
    every = itertools.product(range(degree + 1), repeat=3)
    return sorted((power for power in every if sum(power) <= degree), key=sum)


def _monomial(vectors: Float[Tensor, "3 *rows"], power: tuple[int, ...]) -> Tensor:
    factors = [axis for axis, times in zip(vectors, power, strict=True) for _ in range(times)]
    product = torch.ones_like(vectors[0])
    for factor in factors:
        product = product * factor
    return product


def _column(like: Tensor, values: np.ndarray) -> Tensor:
    return like.new_tensor(values).reshape(1, -1, 1)
