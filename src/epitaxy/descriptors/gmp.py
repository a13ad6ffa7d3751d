"""Gaussian multipole fingerprints (Lei and Medford, J. Phys. Chem. Lett. 13, 7911)."""

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
import torch
from annotated_types import Ge, Gt, Le, MinLen
from jaxtyping import Float
from torch import Tensor

from epitaxy.crystals.densities import Rows, atom_densities, checked, read_gpsp
from epitaxy.crystals.elements import symbol
from epitaxy.crystals.graph import Graph
from epitaxy.crystals.harmonics import solid_harmonics
from epitaxy.crystals.neighborhoods import edges_side_by_side, neighborhoods, vectors_by_axis
from epitaxy.crystals.segments import gather
from epitaxy.descriptors.base import Descriptor, bell, require_sound
from epitaxy.errors import InputError
from epitaxy.nn.scaling import Transform

DENSEST = 0.2  # atoms per Å³; diamond has 0.18
BOND = 3.0  # Å; most atoms have a neighbor nearer than this
_NEGLIGIBLE = 80.0  # e^−80 of anything is nothing


@dataclass(frozen=True)
class GMP(Descriptor):
    """φ_{n,σ} = [ n! (2n−1)!! Σ_m |Σ_j w_{n,σ}(r_j) h_{nm}(r_j)|² ]^{1/2}: multipoles of density.

    The electron density is a sum of free atoms, ρ_j(r) = Σ_k B_k exp(−β_k r²), and is seen through
    a Gaussian probe of width σ on the atom times the Maxwell–Cartesian harmonics of order n. The
    integral over space has a closed form: with α = 1/(2σ²),

        w_{n,σ}(r) = Σ_k A B_k (π / (α + β_k))^{3/2} (β_k / (α + β_k))ⁿ exp(−α β_k r² / (α + β_k)),

    A = (σ √(2π))⁻³, h_{nm} the real solid harmonics, Σ_m h_{nm}(u) h_{nm}(v) = |u|ⁿ |v|ⁿ P_n. The
    sum runs over all atoms and images, the atom itself included. Order −1 has no probe: it is the
    density at the nucleus in e/Å³. An isolated atom has its own density in orders −1 and 0, and
    zeros. At a feature that is zero the square root's derivative is taken as zero.

    Columns run over the orders, rising, then σ; order −1 is one column. The presets are the sets of
    table 3 in arXiv:2503.01227 (13, 10 and 31 columns); the paper does not say which densities it
    took. The default ones are those of all electrons of the free atoms H to Cf
    (``epitaxy.crystals.densities``), spread by ``smearing``.

    Atoms farther than a radius that depends on their element and on σ are left out, such that what
    they can add is below ``accuracy``: in the orders −1 and 0, as a fraction of what the element's
    own atom has there, with up to 0.2 atoms per Å³ beyond; in higher orders, as a fraction of what
    a single neighbor can add at most. Higher orders of symmetric sites are far smaller than that.

    Attributes:
        orders: n, from −1.
        sigmas: σ in Å.
        densities: {Z: rows (B in e/Å³, β in Å⁻²)}; the path of a ``.gpsp`` file, which is read
            into such a table; or None for the default.
        accuracy: fraction of a channel's scale that may be cut off.
        smearing: standard deviation of an atom's motion in Å, in the default densities.
        chunk: slots for edges that are expanded at a time; bounds the memory, not the result.
    """

    orders: Annotated[tuple[Annotated[int, Ge(-1), Le(8)], ...], MinLen(1)] = (-1, 0, 1, 2)
    sigmas: Annotated[tuple[Annotated[float, Gt(0)], ...], MinLen(1)] = (0.5, 1.0, 1.5, 2.0)
    densities: Mapping[int, Sequence[Sequence[float]]] | str | Path | None = None
    accuracy: Annotated[float, Gt(0), Le(0.1)] = 1e-5
    smearing: Annotated[float, Gt(0)] = 0.1
    chunk: Annotated[int, Gt(0)] = 8192

    label_transform: ClassVar[Transform] = "sqrt"
    presets: ClassVar[dict] = {
        "set1": {},
        "set2": {"sigmas": (0.1, 0.2, 0.3)},
        "set3": {"orders": (-1, 0, 1, 2, 3, 4), "sigmas": (0.167, 0.333, 0.5, 0.667, 0.833, 1.0)},
    }

    def __post_init__(self) -> None:
        given = self.densities
        if isinstance(given, Mapping):
            object.__setattr__(self, "densities", checked(given))
        elif given is not None:
            object.__setattr__(self, "densities", read_gpsp(given))
        object.__setattr__(self, "orders", tuple(sorted(set(self.orders))))

    @functools.cached_property
    def table(self) -> dict[int, Rows]:
        """The densities in use, default or given."""
        return atom_densities(self.smearing) if self.densities is None else self.densities  # type: ignore[return-value]

    @property
    def feature_names(self) -> tuple[str, ...]:
        """One name per column, such as ``gmp[n=1,sigma=0.5]``; ``gmp[n=-1]`` has no σ."""
        return tuple(
            "gmp[n=-1]" if order < 0 else f"gmp[n={order},sigma={float(sigma)}]"
            for order in self.orders
            for sigma in (self.sigmas if order >= 0 else (0.0,))
        )

    @functools.cached_property
    def cutoff(self) -> float:  # type: ignore[override]
        """How far it looks in Å for the given accuracy, whatever the elements."""
        return self.cutoff_for(self.table)

    def cutoff_for(self, numbers: Iterable[int]) -> float:
        """Return how far it looks in Å where these are all of the elements.

        Raises InputError for an element without a density.
        """
        present = sorted({int(number) for number in numbers})
        missing = [number for number in present if number not in self.table]
        if missing:
            known = ", ".join(symbol(number) for number in self.table)
            raise InputError(
                f"GMP has no electron density for {symbol(missing[0])} (Z = {missing[0]}): give "
                f"its Gaussians in densities. It has them for {known}."
            )
        return max(float(probe.radii[number]) for number in present for probe in self._probes)

    def neighborhood(self, graph: Graph) -> Graph:
        """Return the graph if it is long enough for the elements in it, else raise InputError."""
        require_sound(graph)
        numbers = torch.unique(graph.crystals.numbers).tolist()
        wanted = self.cutoff_for(numbers) if numbers else 0.0
        if graph.cutoff < wanted:
            raise InputError(
                f"GMP sees {wanted:.4g} Å far for accuracy={self.accuracy:g} and these elements, "
                f"but the graph's edges end at {graph.cutoff:g} Å: build the graph with "
                f"cutoff={math.ceil(wanted * 100) / 100:g}, or allow a larger accuracy."
            )
        return graph

    def __call__(self, graph: Graph) -> Float[Tensor, "atoms size"]:
        """Return the multipoles of every atom.

        Raises InputError for an element without a density and for a graph that ends too early.
        """
        graph = self.neighborhood(graph)
        vectors = vectors_by_axis(graph)
        squares = (vectors * vectors).sum(0).detach()
        columns: dict[tuple[int, float], Tensor] = {}
        for probe in self._probes:
            columns |= probe.multipoles(graph, vectors, squares, self.chunk)
        return torch.stack(
            [
                columns[order, sigma]
                for order in self.orders
                for sigma in (self.sigmas if order >= 0 else (0.0,))
            ],
            dim=-1,
        )

    @functools.cached_property
    def _probes(self) -> "list[_Probe]":
        probed = tuple(order for order in self.orders if order >= 0)
        probes = [_probe(sigma, probed, self.table, self.accuracy) for sigma in self.sigmas]
        bare = [_probe(0.0, (-1,), self.table, self.accuracy)] if -1 in self.orders else []
        return bare + (probes if probed else [])


@dataclass(frozen=True, eq=False)
class _Probe:
    """Everything that one σ needs; rows are Gaussians, columns are atomic numbers.

    w_n(r) = Σ_k strength_k ratio_kⁿ exp(−decay_k r²); order −1 has σ = 0 and is treated as n = 0.
    """

    sigma: float
    orders: tuple[int, ...]
    strength: np.ndarray
    ratio: np.ndarray
    decay: np.ndarray
    radii: np.ndarray  # Å, by atomic number

    def multipoles(
        self,
        graph: Graph,
        vectors: Float[Tensor, "3 edges"],
        squares: Float[Tensor, " edges"],
        slots: int,
    ) -> dict[tuple[int, float], Tensor]:
        """Return φ of every atom by order and σ."""
        numbers = graph.crystals.numbers
        kinds = gather(numbers, graph.neighbor)
        reach = gather(vectors.new_tensor(self.radii**2), kinds)
        kept = torch.nonzero(squares <= reach).flatten()
        counts = torch.bincount(gather(graph.center, kept), minlength=len(numbers))
        offsets = torch.nn.functional.pad(torch.cumsum(counts, 0), (1, 0))
        vectors, kinds = vectors.index_select(1, kept), gather(kinds, kept)
        atoms, sums = [], []
        for hood in neighborhoods(offsets, slots):
            of_slots = gather(kinds, hood.edges.flatten()).reshape(hood.edges.shape)
            atoms.append(hood.atoms)
            sums.append(self._sums(edges_side_by_side(vectors, hood), of_slots, hood.filled))
        total = vectors.new_zeros((len(numbers), sum(2 * max(n, 0) + 1 for n in self.orders)))
        if atoms:
            total = total.index_copy(0, torch.cat(atoms), torch.cat(sums, dim=1).T)
        own = gather(vectors.new_tensor(self.strength.sum(0)), numbers)
        return self._lengths(total, own)

    def _sums(
        self, vectors: Float[Tensor, "3 atoms slots"], kinds: Tensor, filled: Tensor
    ) -> Float[Tensor, "components atoms"]:
        """Return Σ_j w_n(r_j) h_nm(r_j) for every order and component."""

        def of_kinds(table: np.ndarray) -> Tensor:
            rows = vectors.new_tensor(table).index_select(1, kinds.flatten())
            return rows.reshape(-1, *kinds.shape)

        decay = of_kinds(-self.decay)
        terms = of_kinds(self.strength) * bell(decay * (vectors * vectors).sum(0))
        steps = -2.0 * self.sigma**2  # ratio = decay / α, so that one of them is enough
        sums, reached = [], 0
        for order in self.orders:
            while reached < order:
                terms, reached = terms * decay, reached + 1
            weight = terms.sum(0) * filled
            if reached == 0:
                sums.append(weight.sum(-1).unsqueeze(0))
            else:
                harmonics = solid_harmonics(vectors, reached)
                sums.append((harmonics * weight).sum(-1) * steps**reached)
        return torch.cat(sums)

    def _lengths(
        self, total: Float[Tensor, "atoms components"], own: Float[Tensor, " atoms"]
    ) -> dict[tuple[int, float], Tensor]:
        """Return φ from the sums over neighbors and what each atom adds for itself."""
        found, first = {}, 0
        for order in self.orders:
            degree = max(order, 0)
            part = total[:, first : first + 2 * degree + 1]
            part = part + own.unsqueeze(-1) if degree == 0 else part
            found[order, self.sigma] = _prefactor(degree) * _length(part)
            first += 2 * degree + 1
        return found


def _prefactor(degree: int) -> float:
    """Return [n! (2n−1)!!]^{1/2}."""
    return math.sqrt(math.factorial(degree) * math.prod(range(2 * degree - 1, 0, -2)))


def _length(components: Float[Tensor, "atoms components"]) -> Float[Tensor, " atoms"]:
    """Return the length of vectors; where it is zero, its derivative is zero too, never NaN."""
    square = (components * components).sum(-1)
    positive = square > 0
    root = torch.sqrt(torch.where(positive, square, 1.0))
    return torch.where(positive, root, torch.zeros_like(root))


def _probe(
    sigma: float, orders: tuple[int, ...], table: dict[int, Rows], accuracy: float
) -> _Probe:
    size = max(table) + 1
    rows = max(len(gaussians) for gaussians in table.values())
    amount, beta = np.zeros((rows, size)), np.ones((rows, size))
    for number, gaussians in table.items():
        amount[: len(gaussians), number], beta[: len(gaussians), number] = zip(
            *gaussians, strict=True
        )
    strength, ratio, decay = amount, np.ones_like(beta), beta
    if sigma > 0:
        alpha = 0.5 / sigma**2
        norm = (sigma * math.sqrt(2 * math.pi)) ** -3
        strength = norm * amount * (math.pi / (alpha + beta)) ** 1.5
        ratio, decay = beta / (alpha + beta), alpha * beta / (alpha + beta)
    radii = np.zeros(size)
    for number in table:
        column = strength[:, number], ratio[:, number], decay[:, number]
        radii[number] = max(_radius(max(order, 0), *column, accuracy) for order in orders)
    return _Probe(sigma, orders, strength, ratio, decay, radii)


def _radius(
    degree: int, strength: np.ndarray, ratio: np.ndarray, decay: np.ndarray, accuracy: float
) -> float:
    """Return the distance beyond which the atoms of an element add less than the accuracy asks.

    Where n = 0 all of them add up; where n > 0 their directions are as good as random, so their
    squares do.
    """
    end = math.sqrt(_NEGLIGIBLE / decay[strength != 0].min())
    distances = np.linspace(0.0, end, 1000)
    bells = np.exp(-np.outer(decay, distances**2))
    one = np.abs((strength * ratio**degree) @ bells) * distances**degree
    shells = DENSEST * 4 * math.pi * distances**2 * distances[1]
    power = 1 if degree == 0 else 2
    beyond = np.cumsum((shells * one**power)[::-1])[::-1] ** (1 / power)
    scale = abs(strength.sum()) if degree == 0 else one[distances >= BOND].max()
    return float(distances[np.argmax(beyond <= accuracy * scale)])
