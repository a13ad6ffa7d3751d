"""From the numbers of a crystal's atoms to numbers of the crystal."""

from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from epitaxy.crystals.crystals import Crystals
from epitaxy.crystals.segments import gather, mean_over_atoms, sum_over_atoms
from epitaxy.errors import InputError, did_you_mean

Statistics = Literal["mean", "sum", "extremes", "cumulants"]
_NAMES: dict[str, tuple[str, ...]] = {
    "mean": ("mean",),
    "sum": ("sum",),
    "extremes": ("min", "max"),
    "cumulants": ("mean", "variance", "third"),
}


def statistic_names(statistics: str, features: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of ``statistics_over_atoms``' columns.

    >>> statistic_names("extremes", ("a", "b"))
    ('min(a)', 'min(b)', 'max(a)', 'max(b)')
    """
    if statistics not in _NAMES:
        raise InputError(
            f"no pooling '{statistics}'. {did_you_mean(statistics, get_args(Statistics))}"
        )
    return tuple(f"{name}({feature})" for name in _NAMES[statistics] for feature in features)


def statistics_over_atoms(
    atom_values: Float[Tensor, "atoms width"], crystals: Crystals, statistics: Statistics
) -> Float[Tensor, "crystals columns"]:
    """Return statistics over each crystal's atoms, one block of columns after another.

    ``"mean"``; ``"sum"``; ``"extremes"``: least, greatest; ``"cumulants"``: mean, variance, third
    central moment. All but the sum are independent of the choice of cell.
    """
    of_atom, counts = crystals.crystal_of_atom, crystals.atom_counts
    if statistics == "sum":
        return sum_over_atoms(atom_values, of_atom, len(crystals))
    if statistics == "extremes":
        empty = atom_values.new_zeros((len(crystals), atom_values.shape[1]))
        index = of_atom.unsqueeze(-1).expand_as(atom_values)
        least, greatest = (
            empty.scatter_reduce(0, index, atom_values, reduce, include_self=False)
            for reduce in ("amin", "amax")
        )
        return torch.cat([least, greatest], dim=1)
    mean = mean_over_atoms(atom_values, of_atom, counts)
    if statistics == "mean":
        return mean
    apart = atom_values - gather(mean, of_atom)
    higher = [mean_over_atoms(apart**power, of_atom, counts) for power in (2, 3)]
    return torch.cat([mean, *higher], dim=1)
