"""Sums over neighbors and over the atoms of a crystal, and the gathers that go the other way.

All are built on ``index_select`` and ``index_add``, each the other's derivative, so they can be
differentiated as often as an objective needs.
"""

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor


def sum_over_neighbors(
    edge_values: Float[Tensor, "edges *width"], center: Int[Tensor, " edges"], atoms: int
) -> Float[Tensor, "atoms *width"]:
    """Return Σ over the edges of each center; zero for an isolated atom."""
    empty = edge_values.new_zeros((atoms, *edge_values.shape[1:]))
    return empty.index_add(0, center, edge_values)


def sum_over_atoms(
    atom_values: Float[Tensor, "atoms *width"],
    crystal_of_atom: Int[Tensor, " atoms"],
    crystals: int,
) -> Float[Tensor, "crystals *width"]:
    """Return Σ over the atoms of each crystal."""
    empty = atom_values.new_zeros((crystals, *atom_values.shape[1:]))
    return empty.index_add(0, crystal_of_atom, atom_values)


def mean_over_atoms(
    atom_values: Float[Tensor, "atoms *width"],
    crystal_of_atom: Int[Tensor, " atoms"],
    atom_counts: Int[Tensor, " crystals"],
) -> Float[Tensor, "crystals *width"]:
    """Return the mean over the atoms of each crystal; zero for a crystal without atoms."""
    totals = sum_over_atoms(atom_values, crystal_of_atom, int(atom_counts.shape[0]))
    shape = (-1,) + (1,) * (totals.ndim - 1)
    return totals / atom_counts.clamp(min=1).to(totals.dtype).reshape(shape)


def gather(
    values: Shaped[Tensor, "rows *width"], index: Int[Tensor, " chosen"]
) -> Shaped[Tensor, "chosen *width"]:
    """Return ``values[index]``; several times faster than indexing on a CPU."""
    return torch.index_select(values, 0, index)
