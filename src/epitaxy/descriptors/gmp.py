"""Gaussian multipole fingerprints (Lei and Medford, J. Phys. Chem. Lett. 13, 7911)."""

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import torch
from annotated_types import Ge, Gt, Le, MinLen
from jaxtyping import Float, Int
from torch import Tensor

from epitaxy.crystals.crystals import ragged_rows
from epitaxy.crystals.densities import Rows, atom_densities, checked, read_gpsp
from epitaxy.crystals.elements import symbol
from epitaxy.crystals.graph import Graph
from epitaxy.crystals.harmonics import solid_harmonics
from epitaxy.crystals.multipoles import (
    BOND,
    LEAST,
    STEP,
    ProbeWeights,
    density_arrays,
    probe_weights,
)
from epitaxy.crystals.neighborhoods import edges_side_by_side, neighborhoods, vectors_by_axis
from epitaxy.crystals.neighbors import build_graph
from epitaxy.crystals.reciprocal import few_waves, longest_wave, multipoles_by_waves
from epitaxy.crystals.segments import gather
from epitaxy.descriptors.base import Descriptor, bell, require_sound
from epitaxy.errors import InputError
from epitaxy.nn.scaling import Transform

WIDE = 1.25  # Å; from here on plane waves are fewer than neighbors
SPARSE = 0.01  # atoms per Å³; crystals with fewer have gaps
_WAVES_PER_SLOT = 8  # phases are made for each edge that is expanded at a time


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

    What is left out of a channel is at most ``accuracy`` times its largest value in the crystal, in
    every crystal, wherever that value is more than rounding: 1000 machine epsilons of the most that
    a neighbor adds to it. Probes of 1.25 Å and wider are summed over plane waves, to rounding, in
    crystals that repeat in all directions and are not too large. Everything else is a sum over
    neighbors up to a radius by element; where the densest packing of atoms beyond it could add more
    than what is allowed, which few crystals have, it is done again with a longer one, on a graph
    made for it.

    Attributes:
        orders: n, from −1.
        sigmas: σ in Å.
        densities: {Z: rows (B in e/Å³, β in Å⁻²)}; the path of a ``.gpsp`` file, which is read
            into such a table; or None for the default.
        accuracy: fraction of a channel's largest value in a crystal that may be left out.
        smearing: standard deviation of an atom's motion in Å, in the default densities.
        chunk: slots for edges that are expanded at a time; bounds the memory, not the result.
    """

    orders: Annotated[tuple[Annotated[int, Ge(-1), Le(8)], ...], MinLen(1)] = (-1, 0, 1, 2)
    sigmas: Annotated[tuple[Annotated[float, Gt(0)], ...], MinLen(1)] = (0.5, 1.0, 1.5, 2.0)
    densities: Mapping[int, Sequence[Sequence[float]]] | str | Path | None = None
    accuracy: Annotated[float, Gt(0), Le(0.1)] = 1e-5
    smearing: Annotated[float, Gt(0)] = 0.1
    chunk: Annotated[int, Gt(0)] = 8192

    label_transform: ClassVar[Transform] = "asinh"
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
        """How long the edges must be in Å for the given accuracy, whatever the elements."""
        return self.cutoff_for(self.table)

    def cutoff_for(self, numbers: Iterable[int]) -> float:
        """Return how long the edges must be in Å where these are all of the elements.

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
        radii = [probe.cut(0)[0][present].max() for probe in self._probes if probe.sigma < WIDE]
        return float(max(radii, default=BOND))

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
        wide = [probe for probe in self._probes if probe.sigma >= WIDE]
        near = [probe for probe in self._probes if probe.sigma < WIDE]
        values = self._over_neighbors(near, graph, 0) if near else []
        values += self._of_wide_probes(wide, graph) if wide else []
        found = {
            (order if probe.sigma else -1, probe.sigma): column
            for probe, columns in zip(near + wide, values, strict=True)
            for order, column in zip(probe.orders, columns.unbind(-1), strict=True)
        }
        return torch.stack(
            [
                found[order, sigma]
                for order in self.orders
                for sigma in (self.sigmas if order >= 0 else (0.0,))
            ],
            dim=-1,
        )

    @functools.cached_property
    def _probes(self) -> list[ProbeWeights]:
        probed = tuple(order for order in self.orders if order >= 0)
        widths = sorted(set(self.sigmas)) if probed else []
        bare = [probe_weights(0.0, (0,), self.table, self.accuracy)] if -1 in self.orders else []
        return bare + [probe_weights(s, probed, self.table, self.accuracy) for s in widths]

    def _over_neighbors(
        self, probes: list[ProbeWeights], graph: Graph, level: int
    ) -> list[Float[Tensor, "atoms orders"]]:
        """Return φ of each probe from the neighbors within the radii of a level.

        Crystals that need a later level are done again at that.
        """
        around = _Surroundings(_reaching(graph, probes, level))
        values = [
            _lengths(_sums_over_neighbors(probe, around, level, self.chunk), probe.orders)
            for probe in probes
        ]
        deep = [place for place, probe in enumerate(probes) if probe.orders[-1] > 0]
        if not deep:
            return values
        needed = [_levels_needed(probes[place], around, values[place], level) for place in deep]
        later = torch.stack(needed).amax(0)
        for following in sorted(set(later.tolist()) - {level}):
            chosen = torch.nonzero(later == following).flatten().to(values[0].device)
            atoms, _ = ragged_rows(graph.crystals.offsets, chosen)
            again = self._over_neighbors(
                [probes[place] for place in deep], around.graph[chosen], following
            )
            for place, found in zip(deep, again, strict=True):
                values[place] = values[place].index_copy(0, atoms, found)
        return values

    def _of_wide_probes(
        self, probes: list[ProbeWeights], graph: Graph
    ) -> list[Float[Tensor, "atoms orders"]]:
        """Return φ of each probe, over plane waves in the crystals that allow it."""
        crystals = graph.crystals
        sigmas, orders = [probe.sigma for probe in probes], probes[0].orders
        fraction = max(self.accuracy * _rounding(crystals.cell.dtype), LEAST)
        longest = longest_wave(min(sigmas), orders, fraction)
        few = few_waves(crystals, longest)
        values = [crystals.cell.new_zeros((crystals.atom_total, len(orders))) for _ in probes]
        for chosen, by_waves in ((few, True), (~few, False)):
            index = torch.nonzero(chosen).flatten()
            if not len(index):
                continue
            atoms, _ = ragged_rows(crystals.offsets, index)
            if by_waves:
                some = crystals if len(index) == len(crystals) else crystals[index]
                slots = _WAVES_PER_SLOT * self.chunk
                amount, beta = map(crystals.cell.new_tensor, density_arrays(self.table))
                sums = multipoles_by_waves(some, sigmas, orders, (amount, beta), longest, slots)
                parts = [_lengths(part, orders) for part in sums.chunk(len(probes), dim=1)]
            else:
                parts = self._over_neighbors(probes, graph[index], 0)
            values = [v.index_copy(0, atoms, p) for v, p in zip(values, parts, strict=True)]
        return values


class _Surroundings:
    """A graph, where its neighbors are, and how near the nearest are in each crystal."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.vectors = vectors_by_axis(graph)
        self.squares = (self.vectors * self.vectors).sum(0).detach()

    @functools.cached_property
    def nearest(self) -> Float[Tensor, " crystals"]:
        """Å; infinite where no edge is."""
        crystal = gather(self.graph.crystals.crystal_of_atom, self.graph.center)
        none = self.squares.new_full((len(self.graph),), torch.inf)
        return torch.sqrt(none.scatter_reduce(0, crystal, self.squares, "amin")).cpu()


def _reaching(graph: Graph, probes: list[ProbeWeights], level: int) -> Graph:
    """Return the graph, or a longer one of the same crystals if the level's radii ask for it."""
    numbers = torch.unique(graph.crystals.numbers).tolist()
    reach = max(
        (float(probe.cut(level)[0][numbers].max()) for probe in probes if numbers), default=0.0
    )
    return graph if graph.cutoff >= reach else build_graph(graph.crystals, reach)


def _rounding(dtype: torch.dtype) -> float:
    """Return what is taken for rounding, as a fraction of the most that a neighbor adds."""
    return 1000 * torch.finfo(dtype).eps


def _levels_needed(
    probe: ProbeWeights, around: _Surroundings, values: Float[Tensor, "atoms orders"], level: int
) -> Int[Tensor, " crystals"]:
    """Return the level of radii that each crystal needs, by what may be left out at this one.

    A channel that is zero to rounding is so by symmetry, and remains so, unless there is so much
    room between the atoms that they may not have seen one another yet.
    """
    crystals = around.graph.crystals
    rounding = _rounding(values.dtype)
    last = probe.last_level(rounding)
    if level >= last or probe.orders[-1] == 0:
        return torch.full((len(crystals),), level)
    numbers, crystal = crystals.numbers.cpu(), crystals.crystal_of_atom.cpu()
    place = (around.nearest / probe.spacing).clamp(max=probe.distances[-1] / probe.spacing)
    place = place.to(torch.int64)[crystal]
    room = crystals.atom_counts < SPARSE * crystals.volumes.detach()
    apart = (room | ~crystals.pbc.all(-1)).cpu()
    first = 1 if probe.orders[0] == 0 else 0
    scale = values.new_tensor([_prefactor(order) for order in probe.orders[first:]])
    sizes = (values.detach()[:, first:] / scale).T.double().cpu()
    most = torch.from_numpy(probe.most[first:])[:, numbers, place].double()
    left = torch.from_numpy(probe.cut(level)[1][first:])[:, numbers]
    of_atoms = torch.stack([sizes, most, left])
    largest = torch.zeros(*of_atoms.shape[:2], len(crystals), dtype=torch.float64)
    size, most, left = largest.scatter_reduce(2, crystal.expand_as(of_atoms), of_atoms, "amax")
    floor = rounding * most
    allowed = probe.accuracy * torch.maximum(size, floor)
    excess = (left / allowed.clamp(min=1e-300)).clamp(min=1.0)
    steps = torch.ceil(torch.log(excess) / -math.log(STEP)).to(torch.int64)
    steps = (steps * ((size > floor) | apart)).amax(0)
    return (level + steps).clamp(max=last)


def _sums_over_neighbors(
    probe: ProbeWeights, around: _Surroundings, level: int, slots: int
) -> Float[Tensor, "atoms components"]:
    """Return Σ_j w_n(r_j) h_nm(r_j), the atom itself included, for every order and component."""
    graph, vectors, squares = around.graph, around.vectors, around.squares
    numbers = graph.crystals.numbers
    kinds = gather(numbers, graph.neighbor)
    reach = gather(vectors.new_tensor(probe.cut(level)[0] ** 2), kinds)
    kept = torch.nonzero(squares <= reach).flatten()
    counts = torch.bincount(gather(graph.center, kept), minlength=len(numbers))
    offsets = torch.nn.functional.pad(torch.cumsum(counts, 0), (1, 0))
    vectors, kinds = vectors.index_select(1, kept), gather(kinds, kept)
    tables = [vectors.new_tensor(table) for table in (probe.strength, -probe.decay)]
    atoms, sums = [], []
    for hood in neighborhoods(offsets, slots):
        of_slots = gather(kinds, hood.edges.flatten())
        strength, decay = (
            table.index_select(1, of_slots).reshape(-1, *hood.edges.shape) for table in tables
        )
        atoms.append(hood.atoms)
        sums.append(_sums(probe, edges_side_by_side(vectors, hood), strength, decay, hood.filled))
    total = vectors.new_zeros((len(numbers), sum(2 * order + 1 for order in probe.orders)))
    if atoms:
        total = total.index_copy(0, torch.cat(atoms), torch.cat(sums, dim=1).T)
    if probe.orders[0] > 0:
        return total
    own = gather(tables[0].sum(0), numbers).unsqueeze(-1)
    return torch.cat([total[:, :1] + own, total[:, 1:]], dim=1)


def _sums(
    probe: ProbeWeights,
    vectors: Float[Tensor, "3 atoms slots"],
    strength: Float[Tensor, "rows atoms slots"],
    decay: Float[Tensor, "rows atoms slots"],
    filled: Tensor,
) -> Float[Tensor, "components atoms"]:
    terms = strength * bell(decay * (vectors * vectors).sum(0))
    steps = -2.0 * probe.sigma**2  # ratio = decay / α, so that one of them is enough
    sums, reached = [], 0
    for order in probe.orders:
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
    total: Float[Tensor, "atoms components"], orders: tuple[int, ...]
) -> Float[Tensor, "atoms orders"]:
    """Return φ of every order from its components."""
    parts = total.split([2 * order + 1 for order in orders], dim=1)
    lengths = [_prefactor(n) * _length(part) for n, part in zip(orders, parts, strict=True)]
    return torch.stack(lengths, dim=-1)


def _prefactor(degree: int) -> float:
    """Return [n! (2n−1)!!]^{1/2}."""
    return math.sqrt(math.factorial(degree) * math.prod(range(2 * degree - 1, 0, -2)))


def _length(components: Float[Tensor, "atoms components"]) -> Float[Tensor, " atoms"]:
    """Return the length of vectors; where it is zero, its derivative is zero too, never NaN."""
    square = (components * components).sum(-1)
    positive = square > 0
    root = torch.sqrt(torch.where(positive, square, 1.0))
    return torch.where(positive, root, torch.zeros_like(root))
