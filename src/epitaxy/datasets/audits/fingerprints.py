"""A vector per crystal that does not depend on how its structure is written down."""

import numpy as np
import torch
from jaxtyping import Float

from epitaxy.crystals.crystals import Crystals
from epitaxy.crystals.elements import SYMBOLS
from epitaxy.crystals.graph import Graph
from epitaxy.crystals.neighbors import build_graph
from epitaxy.datasets.audits.facts import covalent_radii

REACH = 3.6  # in units of (volume per atom)^⅓: about 195 neighbors, enough to tell polytypes apart
_KNOT_SPACING = 0.15
_KNOTS = int(REACH / _KNOT_SPACING) + 3
_CHANNELS = 4  # numbers that stand for an element
_ATOMS_AT_ONCE = 1024


def structure_fingerprints(crystals: Crystals) -> Float[np.ndarray, "crystals width"]:
    """Return one unit vector per crystal, the same for all descriptions of one structure.

    Lengths are divided by (volume per atom)^⅓, so crystals that differ by a uniform expansion have
    the same vector; where a cell does not repeat in three directions, by twice the mean covalent
    radius. Every atom has the sums h = Σ_j φ_m(r_ij) u(Z_j) over its neighbors, φ a cubic B-spline
    times a smooth cutoff and u four random numbers per element. The vector holds the means over
    atoms of u(Z_i) h and u(Z_i) h²: unchanged by rotation, reflection, translation, atom order and
    choice of cell, and continuous in the positions. Distances alone enter, so mirror images are
    equal.
    """
    scaled = _unit_density(crystals)
    parts = [_of_chunk(scaled[chunk]) for chunk in scaled.chunks(_ATOMS_AT_ONCE)]
    return np.concatenate([np.zeros((0, 2 * _CHANNELS * _CHANNELS * _KNOTS)), *parts])


def _unit_density(crystals: Crystals) -> Crystals:
    double = crystals.with_targets({}).to(dtype=torch.float64)
    radii = torch.from_numpy(covalent_radii())[double.numbers.long()]
    mean_radius = torch.zeros(len(double), dtype=torch.float64)
    mean_radius.index_add_(0, double.crystal_of_atom, radii)
    volume = double.volumes / double.atom_counts
    length = torch.where(
        double.pbc.all(1), volume.clamp(min=1e-6) ** (1 / 3), 2 * mean_radius / double.atom_counts
    )
    return Crystals(
        numbers=double.numbers,
        positions=double.positions / length[double.crystal_of_atom][:, None],
        cell=double.cell / length[:, None, None],
        pbc=double.pbc,
        offsets=double.offsets,
        ids=double.ids,
    )


def _of_chunk(scaled: Crystals) -> Float[np.ndarray, "crystals width"]:
    graph = build_graph(scaled, REACH)
    letters = np.random.default_rng(92).uniform(0.5, 1.5, (len(SYMBOLS) + 1, _CHANNELS))
    kind = letters[scaled.numbers.numpy()]
    flat = _radial_sums(graph, kind)
    moments = np.concatenate([flat, flat**2 / np.sqrt(1 + (flat**2).mean(1, keepdims=True))], 1)
    means = np.zeros((len(scaled), _CHANNELS, moments.shape[1]))
    first = scaled.offsets.numpy()[:-1]
    for channel in range(_CHANNELS):
        colored = kind[:, channel, None] * moments
        means[:, channel] = np.add.reduceat(colored, first, axis=0)
    vectors = means.reshape(len(scaled), -1)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def _radial_sums(
    graph: Graph, kind: Float[np.ndarray, "atoms channels"]
) -> Float[np.ndarray, "atoms flat"]:
    """Return h of every atom; an edge touches only the four splines that are not zero at it."""
    distances = graph.distances().numpy()
    knot = (distances / _KNOT_SPACING).astype(np.int64)
    t = distances / _KNOT_SPACING - knot
    fade = np.cos(np.pi / 2 * np.minimum(distances / REACH, 1.0)) ** 2 / 6
    splines = ((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3)
    atoms, size = len(kind), len(kind) * _KNOTS
    place = graph.center.numpy() * _KNOTS + knot
    sums = np.zeros((_CHANNELS, size))
    for step, spline in enumerate(splines):
        share = spline * fade
        for channel in range(_CHANNELS):
            weights = share * kind[graph.neighbor.numpy(), channel]
            sums[channel] += np.bincount(place + step, weights, minlength=size)[:size]
    return sums.reshape(_CHANNELS, atoms, _KNOTS).swapaxes(0, 1).reshape(atoms, -1)
