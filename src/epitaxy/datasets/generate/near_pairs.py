"""Pairs of atoms nearer than a distance that differs from crystal to crystal, many at once."""

import functools

import numpy as np
from jaxtyping import Float, Int

_MOST_IMAGES = 6  # along a lattice vector, to either side
_AT_ONCE = 400_000  # pairs of images


def near_pairs(
    positions: Float[np.ndarray, "atoms 3"],
    cell: Float[np.ndarray, "crystals 3 3"],
    offsets: Int[np.ndarray, " crystals+1"],
    cutoff: Float[np.ndarray, " crystals"],
) -> tuple[Int[np.ndarray, " pairs"], Int[np.ndarray, " pairs"], Float[np.ndarray, "pairs 3"]]:
    """Return center, neighbor and whole-cell shift of all pairs up to each crystal's cutoff (Å).

    Of a pair and its reverse one is listed. Meant for cells of up to a hundred atoms, for which
    looking at all pairs is quicker than sorting atoms into boxes. Cells so flat that more than six
    images would be looked at are looked at as far as that.
    """
    inverse = np.linalg.inv(cell)
    reach = np.floor(cutoff[:, None] * np.sqrt((inverse**2).sum(1)) + 0.5 + 1e-9).astype(int)
    reach = np.minimum(reach, _MOST_IMAGES)
    counts = np.diff(offsets)
    found = []
    for images in np.unique(reach, axis=0).tolist():
        alike = np.flatnonzero((reach == images).all(1))
        shifts = _shifts(*images)
        work = np.cumsum(counts[alike] * (counts[alike] + 1) // 2 * len(shifts))
        for part in np.split(alike, np.flatnonzero(np.diff(work // _AT_ONCE)) + 1):
            found.append(_within(positions, cell, inverse, offsets, cutoff, part, shifts))
    center, neighbor, shift = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return center, neighbor, shift


def _within(
    positions: Float[np.ndarray, "atoms 3"],
    cell: Float[np.ndarray, "crystals 3 3"],
    inverse: Float[np.ndarray, "crystals 3 3"],
    offsets: Int[np.ndarray, " boundaries"],
    cutoff: Float[np.ndarray, " crystals"],
    chosen: Int[np.ndarray, " chosen"],
    shifts: Float[np.ndarray, "shifts 3"],
) -> tuple[Int[np.ndarray, " pairs"], Int[np.ndarray, " pairs"], Float[np.ndarray, "pairs 3"]]:
    counts = (offsets[chosen + 1] - offsets[chosen]).tolist()
    parts = [_upper(count) for count in counts]
    each = np.array([part.shape[1] for part in parts])
    owner = np.repeat(np.arange(len(chosen)), each)
    first = offsets[chosen][owner]
    center, neighbor = np.concatenate(parts, axis=1) + first
    apart = positions[neighbor] - positions[center]
    whole = -np.rint((apart[:, None, :] @ inverse[chosen][owner])[:, 0])
    apart += (whole[:, None, :] @ cell[chosen][owner])[:, 0]
    images = shifts @ cell[chosen]  # (chosen, shifts, 3)
    squares = (images**2).sum(2)[owner] + (apart**2).sum(1)[:, None]
    squares += 2 * (images[owner] @ apart[:, :, None])[:, :, 0]
    near = squares <= (cutoff[chosen] ** 2)[owner][:, None]
    own = center == neighbor
    near[np.ix_(own, _backward(shifts))] = False
    pair, image = np.nonzero(near)
    return center[pair], neighbor[pair], shifts[image] + whole[pair]


def _backward(shifts: Float[np.ndarray, "shifts 3"]) -> Int[np.ndarray, " backward"]:
    """Return the shifts that are zero or the reverse of one that is listed."""
    return np.flatnonzero(shifts @ np.array([961.0, 31.0, 1.0]) <= 0)


@functools.cache
def _shifts(first: int, second: int, third: int) -> Float[np.ndarray, "shifts 3"]:
    axes = [np.arange(-reach, reach + 1.0) for reach in (first, second, third)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)


@functools.cache
def _upper(count: int) -> Int[np.ndarray, "2 pairs"]:
    return np.stack(np.triu_indices(count))
