"""From the atoms of a crystal to the crystal."""

from typing import Literal

from jaxtyping import Float
from torch import Tensor

from epitaxy.crystals.crystals import Crystals
from epitaxy.crystals.segments import mean_over_atoms, sum_over_atoms

Pooling = Literal["mean", "sum"]


def pool(
    atom_values: Float[Tensor, "atoms *width"], crystals: Crystals, pooling: Pooling
) -> Float[Tensor, "crystals *width"]:
    """Return the mean or the sum over each crystal's atoms.

    The mean is independent of the choice of cell, as an intensive property is; the sum grows with
    it, as an extensive one does.
    """
    if pooling == "mean":
        return mean_over_atoms(atom_values, crystals.crystal_of_atom, crystals.atom_counts)
    return sum_over_atoms(atom_values, crystals.crystal_of_atom, len(crystals))
