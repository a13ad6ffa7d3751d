"""Whether crystals with equal fingerprints are one structure.

Fingerprints know distances alone, and there are structures that distances do not tell apart:
orders of two elements on one lattice, such as layered (R-3m) and spinel-like (Fd-3m) LiCoO₂ before
any atom relaxes, or long polytypes. So every pair goes through pymatgen's StructureMatcher (S. P.
Ong et al., Comput. Mater. Sci. 68, 314 (2013)), but for those that are written down alike.
"""

import itertools
from collections.abc import Sequence

import numpy as np
import torch

from epitaxy.crystals.crystals import Crystals
from epitaxy.crystals.exchange import to_pymatgen

WRITTEN_ALIKE = 1e-3  # Å: cells and positions rounded to three digits


def structure_classes(crystals: Crystals, groups: Sequence[np.ndarray]) -> np.ndarray:
    """Return a number for each crystal, equal for members of a group that are one structure.

    Every member is compared with one of each structure found in its group: n − 1 comparisons of n
    copies, up to k n where there are k structures. One takes about 10 ms where ten atoms match, and
    up to 0.4 s where 64 do not; none where crystals are written alike. Those that do not repeat in
    three directions are taken to be what their group says.
    """
    classes = np.arange(len(crystals))
    for group in groups:
        known: list[int] = []
        for member in map(int, group):
            alike = (one for one in known if _believed(crystals, one, member))
            matched = (one for one in known if _match(crystals, one, member))
            classes[member] = next(itertools.chain(alike, matched), member)
            if classes[member] == member:
                known.append(member)
    return classes


def _believed(crystals: Crystals, first: int, second: int) -> bool:
    one, other = crystals[first], crystals[second]
    return not bool(one.pbc.all() and other.pbc.all()) or _written_alike(one, other)


def _match(crystals: Crystals, first: int, second: int) -> bool:
    from pymatgen.analysis.structure_matcher import StructureMatcher
    from pymatgen.core import Structure

    structures = to_pymatgen(crystals[torch.tensor([first, second])].with_targets({}))
    left, right = (one for one in structures if isinstance(one, Structure))  # both are periodic
    whole = StructureMatcher(primitive_cell=False, attempt_supercell=True)
    try:  # nearly periodic cells may be reduced in two ways, and do not match then
        return bool(StructureMatcher().fit(left, right) or whole.fit(left, right))
    except ValueError:  # a cell that pymatgen cannot reduce; equal fingerprints stand
        return True


def _written_alike(first: Crystals, second: Crystals) -> bool:
    """Return whether cells, elements and positions agree line by line, up to lattice vectors."""
    if not torch.equal(first.numbers, second.numbers):
        return False
    cell = first.cell[0].double()
    if (cell - second.cell[0].double()).abs().max() > WRITTEN_ALIKE:
        return False
    apart = torch.linalg.solve(cell.T, (first.positions - second.positions).double().T).T
    apart = (apart - apart.round()) @ cell
    return bool(apart.abs().max() <= WRITTEN_ALIKE)
