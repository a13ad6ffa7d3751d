"""Crystals with the pairs of atoms that see each other; geometry is derived, never stored."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from epitaxy.crystals.crystals import Crystals, Index, as_indices, ragged_rows
from epitaxy.errors import InputError

Ties = Literal["strict", "shells"]
SHELL_GAP = 1e-3  # Å; distances that differ by more belong to different shells


@dataclass(frozen=True, eq=False)
class Graph:
    """Directed edges between atoms and their periodic images, sorted by center.

    Attributes:
        crystals: the atoms.
        center: index of the atom that an edge belongs to; non-decreasing.
        neighbor: index of the atom that it sees.
        shift: whole cells from the neighbor's stored position to the image that is seen.
        cutoff: Å; every pair up to here is an edge unless ``nearest`` has cut the list.
    """

    crystals: Crystals
    center: Int[Tensor, " edges"]
    neighbor: Int[Tensor, " edges"]
    shift: Int[Tensor, "edges 3"]
    cutoff: float

    def __len__(self) -> int:
        return len(self.crystals)

    @property
    def edge_total(self) -> int:
        """Number of directed edges."""
        return int(self.center.shape[0])

    @cached_property
    def atom_offsets(self) -> Int[Tensor, " boundaries"]:
        """Edges ``atom_offsets[i]:atom_offsets[i + 1]`` have atom i as their center."""
        counts = torch.bincount(self.center, minlength=self.crystals.atom_total)
        return torch.nn.functional.pad(torch.cumsum(counts, 0), (1, 0))

    @cached_property
    def crystal_offsets(self) -> Int[Tensor, " boundaries"]:
        """Edges ``crystal_offsets[c]:crystal_offsets[c + 1]`` belong to crystal c."""
        return self.atom_offsets[self.crystals.offsets]

    @cached_property
    def isolated(self) -> Int[Tensor, " isolated"]:
        """Atoms without any neighbor."""
        return torch.nonzero(self.atom_offsets[1:] == self.atom_offsets[:-1]).flatten()

    def vectors(self) -> Float[Tensor, "edges 3"]:
        """Return r_neighbor + shift · cell − r_center (Å), differentiable in positions and cell."""
        crystals = self.crystals
        cell = crystals.cell[crystals.crystal_of_atom[self.center]]
        images = torch.einsum("ei,eij->ej", self.shift.to(cell.dtype), cell)
        return crystals.positions[self.neighbor] + images - crystals.positions[self.center]

    def distances(self) -> Float[Tensor, " edges"]:
        """Return the lengths of ``vectors`` in Å."""
        return torch.linalg.vector_norm(self.vectors(), dim=-1)

    def __getitem__(self, index: Index) -> "Graph":
        chosen = as_indices(index, len(self)).to(self.center.device)
        edges, offsets = ragged_rows(self.crystal_offsets, chosen)
        crystals = self.crystals[chosen]
        moved = crystals.offsets[:-1] - self.crystals.offsets[chosen]
        move = torch.repeat_interleave(moved, offsets[1:] - offsets[:-1], output_size=len(edges))
        return Graph(
            crystals=crystals,
            center=self.center[edges].to(torch.int64) + move,
            neighbor=self.neighbor[edges].to(torch.int64) + move,
            shift=self.shift[edges],
            cutoff=self.cutoff,
        )

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> "Graph":
        """Return the graph on a device and, if given, with floating-point arrays of a dtype."""
        return Graph(
            crystals=self.crystals.to(device, dtype),
            center=self.center.to(device),
            neighbor=self.neighbor.to(device),
            shift=self.shift.to(device),
            cutoff=self.cutoff,
        )

    def within(self, cutoff: float) -> "Graph":
        """Return the graph with the edges up to a shorter cutoff (Å)."""
        if cutoff > self.cutoff:
            raise InputError(
                f"a cutoff of {cutoff:g} Å lies beyond the graph's {self.cutoff:g} Å: "
                "build the graph with the larger cutoff."
            )
        if cutoff == self.cutoff:
            return self
        return replace(self._kept(self.distances().detach() <= cutoff), cutoff=cutoff)

    def nearest(self, k: int, ties: Ties = "shells") -> "Graph":
        """Return the graph with each atom's nearest neighbors only.

        ``"strict"`` keeps exactly k of them (which of several equally distant ones is arbitrary:
        it breaks the symmetry of the crystal, as published caps do); ``"shells"`` keeps the fewest
        complete shells that hold at least k. Shells lie more than 1e-3 Å apart.
        """
        if k < 1:
            raise InputError(f"an atom needs at least one neighbor to be kept, not {k}.")
        if ties not in ("strict", "shells"):
            raise InputError(f"ties are 'strict' or 'shells', not '{ties}'.")
        distances = self.distances().detach()
        order = _by_center_and_distance(self.center, distances)
        rank = torch.arange(len(order), device=order.device) - self.atom_offsets[self.center]
        if ties == "strict":
            return self._kept_in_order(order[rank < k])
        sorted_distances = distances[order]
        gap = torch.zeros_like(rank)
        gap[1:] = (sorted_distances[1:] - sorted_distances[:-1] > SHELL_GAP).to(gap.dtype)
        shell = torch.cumsum(gap, 0)
        counts = self.atom_offsets[1:] - self.atom_offsets[:-1]
        last = (self.atom_offsets[:-1] + torch.clamp(counts, max=k) - 1).clamp(min=0)
        if not len(order):
            return self
        last_shell = shell[last.clamp(max=len(order) - 1)]
        return self._kept_in_order(order[shell <= last_shell[self.center]])

    def displaced(self, by: Float[Tensor, "atoms 3"]) -> "Graph":
        """Return the same edges after the atoms moved by ``by`` (Å)."""
        return replace(
            self, crystals=replace(self.crystals, positions=self.crystals.positions + by)
        )

    def strained(self, strain: Float[Tensor, "crystals 3 3"]) -> "Graph":
        """Return the same edges after x → x (1 + ε) for positions and cell, ε as given."""
        crystals = self.crystals
        deform = torch.eye(3, dtype=strain.dtype, device=strain.device) + strain
        positions = torch.einsum("ai,aij->aj", crystals.positions, deform[crystals.crystal_of_atom])
        return replace(
            self, crystals=replace(crystals, positions=positions, cell=crystals.cell @ deform)
        )

    def _kept(self, keep: Tensor) -> "Graph":
        return replace(
            self, center=self.center[keep], neighbor=self.neighbor[keep], shift=self.shift[keep]
        )

    def _kept_in_order(self, edges: Tensor) -> "Graph":
        return self._kept(torch.sort(edges).values)


def _by_center_and_distance(center: Tensor, distances: Tensor) -> Tensor:
    by_distance = torch.argsort(distances, stable=True)
    return by_distance[torch.argsort(center[by_distance], stable=True)]
