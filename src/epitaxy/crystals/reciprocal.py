"""The electron density of periodic crystals as plane waves, seen through wide Gaussian probes."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from epitaxy.crystals.crystals import Crystals, ragged_rows, segment_of_rows
from epitaxy.crystals.harmonics import solid_harmonics

_BOX = 16384  # grid points to choose waves from; in larger cells neighbors are fewer than waves
_ATOMS = 100.0  # whose waves may all be in step


def longest_wave(sigma: float, orders: Sequence[int], fraction: float) -> float:
    """Return k in Å⁻¹ beyond which waves add less than a fraction of what one neighbor can.

    With q = σk, a hundred atoms in step have at most 80 ∫_q^∞ tⁿ⁺² exp(−t²/2) dt of the σⁿ⁻³ Z /
    (2π)^{3/2} that one atom of Z electrons has.
    """
    steps = np.linspace(0.0, 16.0, 3201)
    shells = steps ** (max(orders) + 2) * np.exp(-0.5 * steps**2) * steps[1]
    beyond = 0.8 * _ATOMS * np.cumsum(shells[::-1])[::-1]
    low = steps < math.sqrt(max(orders) + 2)  # where the integrand still rises
    return float(steps[np.argmax((beyond <= fraction) & ~low)]) / sigma


def box_of_waves(crystals: Crystals, longest: float) -> Int[Tensor, "crystals 3"]:
    """Return the largest |h|, |k|, |l| of waves up to ``longest`` (Å⁻¹): k · a = 2πh."""
    lengths = torch.linalg.vector_norm(crystals.cell.detach(), dim=-1)
    return torch.floor(longest / (2 * math.pi) * lengths).to(torch.int64)


def few_waves(crystals: Crystals, longest: float) -> Bool[Tensor, " crystals"]:
    """Return which crystals repeat in all directions and are small enough for sums over waves."""
    h, k, l = box_of_waves(crystals, longest).double().unbind(-1)  # noqa: E741
    box = (h + 1) * (2 * k + 1) * (2 * l + 1)
    return crystals.pbc.all(-1) & (box <= _BOX)


def half_of_waves(
    crystals: Crystals, longest: float
) -> tuple[Float[Tensor, "waves 3"], Int[Tensor, " boundaries"]]:
    """Return (h, k, l) of one of every ±k up to ``longest``, by crystal, and their offsets."""
    largest = box_of_waves(crystals, longest)
    sizes = 2 * largest + 1
    sizes[:, 0] = largest[:, 0] + 1
    offsets = torch.nn.functional.pad(torch.cumsum(sizes.prod(-1), 0), (1, 0))
    crystal = segment_of_rows(offsets, int(offsets[-1]))
    place = torch.arange(len(crystal), device=crystal.device) - offsets.index_select(0, crystal)
    columns = []
    for axis in (2, 1):
        size = sizes[:, axis].index_select(0, crystal)
        columns.append(place % size - largest[:, axis].index_select(0, crystal))
        place = place // size
    last, middle = columns
    half = (place > 0) | (middle > 0) | ((middle == 0) & (last >= 0))
    kept = torch.nonzero(half).flatten()
    crystal = crystal.index_select(0, kept)
    indices = torch.stack([place, middle, last], dim=-1).index_select(0, kept)
    lattice = torch.linalg.inv(crystals.cell.detach())
    metric = (lattice.mT @ lattice).reshape(-1, 9).index_select(0, crystal).unflatten(1, (3, 3))
    whole = indices.to(metric.dtype)
    squares = (torch.einsum("wi,wij->wj", whole, metric) * whole).sum(-1)
    kept = torch.nonzero(squares <= (longest / (2 * math.pi)) ** 2).flatten()
    counts = torch.bincount(crystal.index_select(0, kept), minlength=len(crystals))
    offsets = torch.nn.functional.pad(torch.cumsum(counts, 0), (1, 0))
    return whole.index_select(0, kept), offsets


class PlaneWaves:
    """ρ(r) = Σ_k ρ_k exp(ik·r) of some crystals, padded to the largest of them.

    ρ_k = Σ_j f_j(k) exp(−ik·r_j) / V, f(k) = Σ B (π/β)^{3/2} exp(−k²/4β) by element. Everything is
    differentiable in positions and cells.
    """

    def __init__(
        self,
        crystals: Crystals,
        indices: Float[Tensor, "crystals waves 3"],
        weights: Float[Tensor, "crystals waves"],
        amount: Float[Tensor, "rows elements"],
        beta: Float[Tensor, "rows elements"],
    ) -> None:
        inverse = torch.linalg.inv(crystals.cell)
        atoms, self.filled = _padded(crystals.offsets)
        fractions = crystals.positions[atoms] @ inverse
        turns = (fractions - torch.round(fractions.detach())) @ indices.mT
        angles = 2 * math.pi * (turns - torch.round(turns.detach()))
        self.cosines, self.sines = torch.cos(angles), torch.sin(angles)
        self.vectors = (2 * math.pi * indices @ inverse.mT).permute(2, 0, 1).contiguous()
        self.squares = (self.vectors * self.vectors).sum(0)
        kinds, kind_of_atom = _kinds(crystals)
        one_hot = torch.nn.functional.one_hot(kind_of_atom[atoms], kinds.shape[1])
        one_hot = (one_hot * self.filled.unsqueeze(-1)).to(angles.dtype).mT
        decay = (-0.25 / beta)[:, kinds].unsqueeze(-1)
        charge = (amount * (math.pi / beta) ** 1.5)[:, kinds].unsqueeze(-1)
        scattering = (charge * torch.exp(decay * self.squares.unsqueeze(1))).sum(0)
        scale = weights / crystals.volumes.unsqueeze(-1)
        self.even = (scattering * (one_hot @ self.cosines)).sum(1) * scale
        self.odd = (scattering * (one_hot @ self.sines)).sum(1) * scale

    def multipoles(
        self, sigmas: Sequence[float], orders: Sequence[int]
    ) -> Float[Tensor, "atoms components"]:
        """Return, up to signs, ∫ G_σ(r) h_nm(r) ρ(r_i + r) d³r; σ by σ, orders rising in each.

        The probe and the harmonic make (iσ²)ⁿ h_nm(k) exp(−σ²k²/2) of a wave.
        """
        by_cosines, by_sines = [], []
        for sigma in sigmas:
            seen = torch.exp(-0.5 * sigma**2 * self.squares)
            for order in orders:
                shape = solid_harmonics(self.vectors, order) * (seen * sigma ** (2 * order))
                by_cosines.append(shape * (self.even if order % 2 == 0 else -self.odd))
                by_sines.append(shape * (self.odd if order % 2 == 0 else self.even))
        found = self.cosines @ torch.cat(by_cosines).permute(1, 2, 0)
        found = found + self.sines @ torch.cat(by_sines).permute(1, 2, 0)
        return found[self.filled]


def multipoles_by_waves(
    crystals: Crystals,
    sigmas: Sequence[float],
    orders: Sequence[int],
    densities: tuple[Float[Tensor, "rows elements"], Float[Tensor, "rows elements"]],
    longest: float,
    slots: int,
) -> Float[Tensor, "atoms components"]:
    """Return the multipoles of every atom's surroundings, in groups of about ``slots`` phases.

    Args:
        crystals: those that ``few_waves`` allows.
        sigmas: of the probes, in Å.
        orders: of the multipoles, rising.
        densities: B in e/Å³ and β in Å⁻² of the Gaussians, by atomic number.
        longest: the largest k in Å⁻¹.
        slots: atoms times waves at a time; bounds the memory, not the result.
    """
    indices, offsets = half_of_waves(crystals, longest)
    waves, atoms = offsets[1:] - offsets[:-1], crystals.atom_counts
    order = torch.argsort(waves * atoms, descending=True, stable=True)
    found, places = [], []
    for group in _groups(waves[order].tolist(), atoms[order].tolist(), slots):
        chosen = order[group]
        own, own_offsets = ragged_rows(offsets, chosen)
        rows, filled = _padded(own_offsets)
        mine = indices[own[rows]]
        weights = torch.where((mine == 0).all(-1), 1.0, 2.0).to(mine.dtype) * filled
        some = crystals[chosen]
        found.append(PlaneWaves(some, mine, weights, *densities).multipoles(sigmas, orders))
        places.append(ragged_rows(crystals.offsets, chosen)[0])
    total = torch.cat(found)
    return torch.zeros_like(total).index_copy(0, torch.cat(places), total)


def _groups(waves: list[int], atoms: list[int], slots: int) -> Iterator[slice]:
    """Yield runs of crystals whose padded atoms × waves stay below a number, or of one crystal."""
    first, widest, most = 0, 0, 0
    for place in range(len(waves)):
        widest, most = max(widest, waves[place]), max(most, atoms[place])
        if place > first and (place + 1 - first) * widest * most > slots:
            yield slice(first, place)
            first, widest, most = place, waves[place], atoms[place]
    if waves:
        yield slice(first, len(waves))


def _padded(
    offsets: Int[Tensor, " boundaries"],
) -> tuple[Int[Tensor, "segments slots"], Bool[Tensor, "segments slots"]]:
    """Return the rows of each segment side by side, its first where a slot is empty, and which."""
    counts = offsets[1:] - offsets[:-1]
    steps = torch.arange(int(counts.max()), device=offsets.device)
    filled = steps < counts.unsqueeze(-1)
    return offsets[:-1].unsqueeze(-1) + steps * filled, filled


def _kinds(
    crystals: Crystals,
) -> tuple[Int[Tensor, "crystals kinds"], Int[Tensor, " atoms"]]:
    """Return the elements of each crystal, padded, and which of them each atom is."""
    keys = crystals.crystal_of_atom * 1000 + crystals.numbers
    unique, kind = torch.unique(keys, return_inverse=True)
    counts = torch.bincount(torch.div(unique, 1000, rounding_mode="floor"), minlength=len(crystals))
    offsets = torch.nn.functional.pad(torch.cumsum(counts, 0), (1, 0))
    rows, _ = _padded(offsets)
    return (unique % 1000)[rows], kind - offsets[crystals.crystal_of_atom]
