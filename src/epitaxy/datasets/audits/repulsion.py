"""A crude pair repulsion that knows which way forces and stresses point, and how large they are."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from epitaxy.crystals.crystals import Crystals
from epitaxy.crystals.neighbors import build_graph
from epitaxy.datasets.audits.facts import covalent_radii

_REACH = 5.0  # Å
_DECAY = 0.3  # Å; how fast the overlap of closed shells decays (Born and Mayer)
_DEEPEST = -1.0  # Å inside touching spheres; nearer, cores repel less steeply than closed shells
_ALIKE, _FEWEST = 0.6, 30
_ATOMS_AT_ONCE = 4096


@dataclass(frozen=True, eq=False)
class Repulsion:
    """Forces (eV/Å) and deviatoric stresses (eV/Å³, tension positive) of unit pair repulsions."""

    forces: Float[np.ndarray, "atoms 3"]
    deviatoric: Float[np.ndarray, "crystals 3 3"]


def pair_repulsion(crystals: Crystals) -> Repulsion:
    """Return what pairs that repel with exp(−(r − R_i − R_j) / 0.3 Å) eV/Å would feel.

    R are covalent radii. Near equilibrium bonds attract as much as they repel, but where a pair is
    nearer than its neighbors the repulsion wins, so forces and the anisotropic part of the stress
    correlate with these; the pressure does not, as the attraction is missing.
    """
    radii = covalent_radii()
    double = crystals.with_targets({}).to(dtype=torch.float64)
    forces, stresses = np.zeros((double.atom_total, 3)), np.zeros((len(double), 3, 3))
    offsets = double.offsets.numpy()
    for chunk in double.chunks(_ATOMS_AT_ONCE):
        some = double[chunk]
        graph = build_graph(some, _REACH)
        vectors, numbers = graph.vectors().numpy(), some.numbers.numpy()
        center, neighbor = graph.center.numpy(), graph.neighbor.numpy()
        lengths = np.linalg.norm(vectors, axis=1)
        gap = lengths - radii[numbers[center]] - radii[numbers[neighbor]]
        push = np.exp(-np.maximum(gap, _DEEPEST) / _DECAY) / lengths
        here = np.zeros((some.atom_total, 3))
        np.add.at(here, center, -push[:, None] * vectors)
        forces[offsets[int(chunk[0])] : offsets[int(chunk[-1]) + 1]] = here
        outer = push[:, None, None] * vectors[:, :, None] * vectors[:, None, :]
        virial = np.zeros((len(some), 3, 3))
        np.add.at(virial, some.crystal_of_atom.numpy()[center], outer)
        volumes = np.maximum(some.volumes.numpy(), 1e-6)[:, None, None]
        stresses[chunk.numpy()] = -virial / 2 / volumes
    return Repulsion(forces, deviator(stresses))


def deviator(stresses: Float[np.ndarray, "crystals 3 3"]) -> Float[np.ndarray, "crystals 3 3"]:
    """Return the stresses without their mean pressure."""
    mean = np.trace(stresses, axis1=1, axis2=2) / 3
    return stresses - mean[:, None, None] * np.eye(3)


def typical_slope(model: list[np.ndarray], found: list[np.ndarray]) -> float | None:
    """Return the median over frames of F·M / M·M, of frames in which F and M point alike.

    Alike is a cosine above 0.6. Relaxed frames point anywhere, so they do not lower the figure;
    None where fewer than 30 frames are left.
    """
    slopes = []
    for one, other in zip(model, found, strict=True):
        size, across, product = one @ one, other @ other, one @ other
        if size > 0 and product > _ALIKE * np.sqrt(size * across):
            slopes.append(product / size)
    return float(np.median(slopes)) if len(slopes) >= _FEWEST else None
