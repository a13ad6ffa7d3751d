"""How much generated crystals are like real ones, and how fast they are made.

``python benchmarks/generator.py REAL.parquet [--count 5000] [--max-atoms 12]`` compares the
generator's stream with crystals of a file in the exchange layout that are no larger. It prints
distributions side by side with the Kolmogorov–Smirnov distance of the two, the shares of elements,
stoichiometries and space groups, volumes of the formulas that are in both, and repeated crystals.
"""

import argparse
import itertools
import time
import warnings
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import spglib
import torch
from scipy.stats import ks_2samp, spearmanr

from epitaxy.crystals.arrow import open_arrow, read_parquet
from epitaxy.crystals.crystals import Crystals
from epitaxy.crystals.elements import formula, symbol
from epitaxy.crystals.neighbors import build_graph
from epitaxy.datasets.generate.stream import CrystalStream

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("real", type=Path, help="Parquet or .arrow file of real crystals")
    parser.add_argument("--generated", type=Path, help="file of generated crystals to take instead")
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--max-atoms", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--groups-of", type=int, default=800, help="crystals given to spglib")
    choices = parser.parse_args()
    torch.set_num_threads(1)
    everything = sample(read(choices.real), choices.max_atoms, None)
    real = sample(everything, choices.max_atoms, choices.count)
    if choices.generated:
        made = sample(read(choices.generated), choices.max_atoms, choices.count)
    else:
        made = timed(CrystalStream(choices.seed, choices.max_atoms), choices.count)
    print(f"\nreal: {real}\ngenerated: {made}")
    compare("volume per atom (Å³)", volumes(real), volumes(made))
    compare("nearest distance (Å)", *map(nearest, (real, made)))
    compare("nearest distance / radii", *map(nearest_to_radii, (real, made)))
    compare("atoms in the cell", real.atom_counts.numpy(), made.atom_counts.numpy())
    shares("elements per crystal", *(map(elements_per_crystal, (real, made))))
    shares("stoichiometries", *(map(stoichiometries, (real, made))), most=16)
    elements(real, made)
    same_formulas(everything, made)
    groups(real, made, choices.groups_of)
    for name, crystals in (("real", real), ("generated", made)):
        print(f"repeated (formula, volume within 0.1 %), {name}: {100 * repeated(crystals):.2f} %")


def read(path: Path) -> Crystals:
    return open_arrow(path) if path.suffix == ".arrow" else read_parquet(path, targets=[])


def sample(crystals: Crystals, max_atoms: int, count: int | None) -> Crystals:
    small = torch.nonzero(crystals.atom_counts <= max_atoms).flatten()
    if count is not None:
        order = torch.randperm(len(small), generator=torch.Generator().manual_seed(0))
        small = small[order[:count]]
    return crystals[small].to(dtype=torch.float64)


def timed(stream: CrystalStream, count: int) -> Crystals:
    stream.crystals(range(count, count + 200))  # reads the space groups
    wall, processor = time.perf_counter(), time.process_time()
    crystals = stream.crystals(range(count))
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    print(
        f"{count / processor:.0f} crystals per second of one core, {count / wall:.0f} by the wall"
    )
    return crystals.to(dtype=torch.float64)


def compare(what: str, real: np.ndarray, made: np.ndarray) -> None:
    distance = ks_2samp(real, made).statistic
    print(f"\n{what}: Kolmogorov–Smirnov distance {distance:.3f}")
    print("quantile   " + " ".join(f"{100 * one:7.0f}%" for one in QUANTILES))
    for name, values in (("real", real), ("generated", made)):
        print(f"{name:10s} " + " ".join(f"{one:8.2f}" for one in np.quantile(values, QUANTILES)))


def volumes(crystals: Crystals) -> np.ndarray:
    return (crystals.volumes / crystals.atom_counts).numpy()


def nearest(crystals: Crystals) -> np.ndarray:
    """Return each crystal's shortest distance, Å."""
    return shortest(crystals, lambda distances, _one, _other: distances)


def nearest_to_radii(crystals: Crystals) -> np.ndarray:
    """Return each crystal's least ratio of a distance to the sum of two covalent radii."""
    from ase.data import covalent_radii

    radii = torch.from_numpy(covalent_radii)
    return shortest(crystals, lambda distances, one, two: distances / (radii[one] + radii[two]))


def shortest(crystals: Crystals, measure) -> np.ndarray:
    least = torch.full((len(crystals),), torch.inf, dtype=torch.float64)
    for first in range(0, len(crystals), 500):
        part = crystals[first : first + 500]
        graph = build_graph(part, 6.0)
        numbers = part.numbers
        values = measure(graph.distances(), numbers[graph.center], numbers[graph.neighbor])
        owner = part.crystal_of_atom[graph.center]
        least[first : first + 500].scatter_reduce_(0, owner, values, "amin")
    return least[torch.isfinite(least)].numpy()


def numbers_of(crystals: Crystals) -> list[list[int]]:
    bounds = crystals.offsets.tolist()
    numbers = crystals.numbers.tolist()
    return [numbers[first:last] for first, last in itertools.pairwise(bounds)]


def elements_per_crystal(crystals: Crystals) -> list[int]:
    return [len(set(numbers)) for numbers in numbers_of(crystals)]


def stoichiometries(crystals: Crystals) -> list[str]:
    found = []
    for numbers in numbers_of(crystals):
        counts = sorted(Counter(numbers).values())
        found.append(":".join(str(count // np.gcd.reduce(counts)) for count in counts))
    return found


def shares(what: str, real: list, made: list, most: int = 9) -> None:
    one, other = Counter(real), Counter(made)
    common = sum(min(one[key] / len(real), other[key] / len(made)) for key in one)
    print(f"\n{what}: the two distributions overlap by {100 * common:.0f} %")
    for key, count in one.most_common(most):
        print(
            f"  {key!s:>10} {100 * count / len(real):5.1f} % {100 * other[key] / len(made):5.1f} %"
        )


def elements(real: Crystals, made: Crystals) -> None:
    one, other = (
        Counter(number for numbers in numbers_of(crystals) for number in set(numbers))
        for crystals in (real, made)
    )
    both = sorted(set(one) | set(other))
    rank = spearmanr([one[z] for z in both], [other[z] for z in both]).statistic
    missing = ", ".join(symbol(z) for z in one if z not in other) or "none"
    print(f"\nelements: {len(one)} real, {len(other)} generated; only real: {missing}")
    print(f"rank correlation of how often they occur: {rank:.2f}")
    print(
        "  " + " ".join(f"{symbol(z)} {100 * n / len(made):.1f}" for z, n in other.most_common(20))
    )


def formulas(crystals: Crystals) -> dict[str, list[float]]:
    found = defaultdict(list)
    for numbers, volume in zip(numbers_of(crystals), volumes(crystals).tolist(), strict=True):
        found[formula(numbers)].append(volume)
    return found


def same_formulas(real: Crystals, made: Crystals) -> None:
    one, other = formulas(real), formulas(made)
    both = sorted(set(one) & set(other))
    print(f"\nformulas: {len(other)} different of {len(made)}; {len(both)} are in the real set")
    if both:
        ratio = np.array([np.median(other[name]) / np.median(one[name]) for name in both])
        within = np.mean(np.abs(np.log(ratio)) < np.log(1.1))
        print(
            "volume, generated over real: "
            + " ".join(
                f"{100 * q:.0f}%: {value:.2f}"
                for q, value in zip(
                    QUANTILES[1:-1], np.quantile(ratio, QUANTILES[1:-1]), strict=True
                )
            )
            + f"; within a tenth: {100 * within:.0f} %"
        )


def groups(real: Crystals, made: Crystals, count: int) -> None:
    found = [space_groups(crystals[:count]) for crystals in (real, made)]
    print(f"\nspace groups (spglib, 0.05 Å): {', '.join(str(len(set(one))) for one in found)}")
    shares("space groups", found[0], found[1], most=20)
    systems = [[system(number) for number in one] for one in found]
    shares("crystal systems", systems[0], systems[1])


def space_groups(crystals: Crystals) -> list[int]:
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for place, numbers in enumerate(numbers_of(crystals)):
            one = crystals[place]
            cell = one.cell[0].numpy()
            fractional = np.linalg.solve(cell.T, one.positions.numpy().T).T
            dataset = spglib.get_symmetry_dataset((cell, fractional, numbers), symprec=0.05)
            found.append(dataset.number if dataset else 1)
    return found


def system(number: int) -> str:
    names = ("triclinic", "monoclinic", "orthorhombic", "tetragonal", "trigonal", "hexagonal")
    for last, name in zip((2, 15, 74, 142, 167, 194), names, strict=True):
        if number <= last:
            return name
    return "cubic"


def repeated(crystals: Crystals) -> float:
    """Return the share of crystals of whose formula and volume there was one before."""
    again = sum(
        int((np.diff(np.sort(np.log(values))) < 1e-3).sum())
        for values in formulas(crystals).values()
    )
    return again / len(crystals)


if __name__ == "__main__":
    main()
