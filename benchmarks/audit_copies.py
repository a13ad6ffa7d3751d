"""Where the audit's copies come from: distances, StructureMatcher, and digits that were lost.

    orders    random orders of two metals on an ideal lattice: pairs that distances alone call
              equal, and how many of them StructureMatcher calls different structures
    rounding  the bundled crystals, with cells and positions rounded: how many are found again

Run: python benchmarks/audit_copies.py [--crystals 200]
"""

import argparse
import time
from dataclasses import replace

import numpy as np
from ase.build import bulk

from epitaxy.crystals.crystals import Crystals, cat
from epitaxy.crystals.exchange import from_ase
from epitaxy.datasets.audits.facts import Facts
from epitaxy.datasets.audits.fingerprints import structure_fingerprints
from epitaxy.datasets.audits.identity import structure_classes
from epitaxy.datasets.audits.twins import SAME, Twins, find_twins
from epitaxy.datasets.bundled import bundled

LATTICES = (("fcc", (2, 2, 2), 4), ("fcc", (2, 2, 3), 6), ("bcc", (2, 2, 3), 6))
DIGITS = (4, 3, 2)


def random_orders(lattice: str, repeats: tuple[int, int, int], gold: int, count: int) -> Crystals:
    """Return copper on a lattice, with so many random atoms of gold."""
    rng, found = np.random.default_rng(0), []
    for _ in range(count):
        atoms = bulk("Cu", lattice, a=3.6).repeat(repeats)
        atoms.numbers[rng.choice(len(atoms), gold, replace=False)] = 79
        found.append(atoms)
    return from_ase(found)


def orders(count: int) -> None:
    """Print how often distances alone take two orders for one."""
    for lattice, repeats, gold in LATTICES:
        crystals = random_orders(lattice, repeats, gold, count)
        vectors = structure_fingerprints(crystals)
        first, second = np.triu_indices(count, 1)
        equal = np.linalg.norm(vectors[first] - vectors[second], axis=1) <= SAME
        first, second = first[equal], second[equal]
        began = time.perf_counter()
        groups = Twins(first, second, np.ones(len(first), dtype=bool)).groups(count, same=True)
        classes = structure_classes(crystals, groups)
        seconds = time.perf_counter() - began
        wrong = (classes[first] != classes[second]).mean()
        print(
            f"{lattice}, {int(np.prod(repeats))} sites: distances call {len(first)} pairs equal, "
            f"of which {100 * wrong:.0f} % are not; {seconds:.1f} s"
        )


def rounding(count: int) -> None:
    """Print how many crystals are found to be copies of themselves with fewer digits."""
    some = bundled()[:count].with_targets({})
    for digits in DIGITS:
        again = replace(
            some,
            positions=some.positions.double().round(decimals=digits).to(some.positions.dtype),
            cell=some.cell.double().round(decimals=digits).to(some.cell.dtype),
            ids=[f"again-{name}" for name in some.ids],
        )
        both = cat([some, again])
        part = np.repeat([0, 1], count)
        twins = find_twins(Facts(both), part == 0, part)
        across = part[twins.first] != part[twins.second]
        pairs = np.sort(np.stack([twins.first, twins.second])[:, across & twins.same], axis=0)
        own = pairs[1] - pairs[0] == count
        found = len(np.unique(pairs[0][own]))
        print(f"{digits} decimals in Å: {found} of {count} are copies of themselves")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--crystals", type=int, default=200)
    count = parser.parse_args().crystals
    orders(count)
    rounding(count)


if __name__ == "__main__":
    main()
