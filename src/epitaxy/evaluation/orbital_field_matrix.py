"""The orbital-field matrix, a fingerprint of atoms to compare with."""

import functools
import re

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray

from epitaxy.crystals.crystals import Crystals
from epitaxy.crystals.elements import symbol
from epitaxy.crystals.voronoi import voronoi_faces
from epitaxy.errors import InputError

ROOM = {"s": 2, "p": 6, "d": 10, "f": 14}
WIDTH = sum(ROOM.values())


def orbital_fields(crystals: Crystals) -> Float[torch.Tensor, "atoms 1024"]:
    """Return Σ_k (θ_k / θ_max) / r_k · o ⊗ o_k for every atom, over its Voronoi neighbors.

    o and o_k are the valence configurations of the atom and its neighbor (``configuration``), r_k
    their distance in Å, θ_k the solid angle of the face between them, θ_max the widest of the
    atom's (Lam Pham et al., Sci. Technol. Adv. Mater. 18, 756). Raises InputError where a crystal
    is not periodic in three directions.
    """
    found = np.zeros((crystals.atom_total, WIDTH, WIDTH), dtype=np.float32)
    numbers = crystals.numbers.tolist()
    for atom, faces in enumerate(voronoi_faces(crystals)):
        weights = faces.angles / faces.angles.max() / faces.distances
        around = weights @ np.stack([configuration(symbol(int(one))) for one in faces.numbers])
        found[atom] = np.outer(configuration(symbol(numbers[atom])), around)
    return torch.from_numpy(found.reshape(len(found), -1))


@functools.cache
def configuration(element: str) -> Float[ndarray, " 32"]:
    """Return one where an element's electrons beyond the noble gas before it stand in s1 … f14.

    >>> configuration("O").nonzero()[0].tolist()  # s2, and p4 after two places for s
    [1, 5]
    """
    from pymatgen.core import Element

    try:
        structure = Element(element).electronic_structure
    except KeyError:
        raise InputError(
            f"pymatgen does not know the electrons of {element}: leave the orbital-field matrix "
            "out."
        ) from None
    held = re.findall(r"\d([spdf])(\d+)", structure.split("]")[-1])
    row = np.zeros(WIDTH)
    for block, count in held:
        before = sum(
            room for name, room in ROOM.items() if "spdf".index(name) < "spdf".index(block)
        )
        row[before + int(count) - 1] = 1.0
    return row
