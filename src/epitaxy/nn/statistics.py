"""From the numbers of a crystal's atoms, or edges, to numbers of the crystal."""

from typing import Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from epitaxy.crystals.crystals import Crystals
from epitaxy.crystals.segments import gather, mean_over_atoms, sum_over_atoms
from epitaxy.errors import InputError, did_you_mean

Statistics = Literal["mean", "sum", "min", "max", "extremes", "cumulants"]
_NAMES: dict[str, tuple[str, ...]] = {
    "mean": ("mean",),
    "sum": ("sum",),
    "min": ("min",),
    "max": ("max",),
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
    """Return ``statistics_over`` the atoms of each crystal."""
    counts = crystals.atom_counts
    return statistics_over(atom_values, crystals.crystal_of_atom, counts, statistics)


def statistics_over(
    values: Float[Tensor, "rows width"],
    segment: Int[Tensor, " rows"],
    counts: Int[Tensor, " segments"],
    statistics: Statistics,
) -> Float[Tensor, "segments columns"]:
    """Return statistics over the rows of each segment, one block of columns after another.

    ``"mean"``; ``"sum"``; ``"min"``; ``"max"``; ``"extremes"``: least, greatest; ``"cumulants"``:
    mean, variance, third central moment. All but the sum are independent of the choice of cell.
    A segment without rows has zeros.
    """
    if statistics == "sum":
        return sum_over_atoms(values, segment, int(counts.shape[0]))
    if statistics in ("min", "max", "extremes"):
        chosen = {"min": ("amin",), "max": ("amax",)}.get(statistics, ("amin", "amax"))
        empty = values.new_zeros((int(counts.shape[0]), values.shape[1]))
        index = segment.unsqueeze(-1).expand_as(values)
        return torch.cat(
            [empty.scatter_reduce(0, index, values, one, include_self=False) for one in chosen],
            dim=1,
        )
    mean = mean_over_atoms(values, segment, counts)
    if statistics == "mean":
        return mean
    if statistics != "cumulants":
        raise InputError(f"no pooling '{statistics}'. {did_you_mean(statistics, _NAMES)}")
    apart = values - gather(mean, segment)
    higher = [mean_over_atoms(apart**power, segment, counts) for power in (2, 3)]
    return torch.cat([mean, *higher], dim=1)
