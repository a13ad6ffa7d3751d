"""Speed of the fingerprints in µs per atom, the neighbor list by itself.

``python benchmarks/descriptors.py [crystals.parquet]`` takes crystals of the file, by default of
those that come with the package, in single precision, and prints medians of repeated calls, edges
per atom stated. Time is that of one thread's processor, which other programs disturb little;
``--wall`` takes the wall's, as it must be with ``--threads 2`` or ``--device cuda`` (where the
neighbor list is made on the CPU all the same).
"""

import argparse
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

import epitaxy
from epitaxy.crystals.arrow import read_parquet
from epitaxy.crystals.crystals import Crystals
from epitaxy.crystals.neighbors import build_graph
from epitaxy.descriptors.base import Descriptor
from epitaxy.registry import build

BUNDLED = Path(epitaxy.__file__).parent / "datasets" / "bundled" / "crystals.parquet"
SETS = tuple(
    f"{name}:{preset}" for name in ("wacsf", "ead", "gmp") for preset in ("set1", "set2", "set3")
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parquet", nargs="?", type=Path, default=BUNDLED)
    parser.add_argument("--crystals", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--wall", action="store_true", help="wall time")
    parser.add_argument("--sets", nargs="+", default=SETS)
    choices = parser.parse_args()
    torch.set_num_threads(choices.threads)
    crystals = read_parquet(choices.parquet, targets=[]).to(dtype=torch.float32)
    order = torch.randperm(len(crystals), generator=torch.Generator().manual_seed(0))
    crystals = crystals[order[: choices.crystals]]
    print(
        f"{choices.parquet.name}: {len(crystals)} crystals, {crystals.atom_total} atoms; "
        f"{choices.threads} threads, {choices.device}, {'wall' if choices.wall else 'CPU'} time\n"
        "set            cutoff  edges/atom   list µs/atom   fingerprint µs/atom   atoms/s"
    )
    for name in choices.sets:
        descriptor, _, preset = name.partition(":")
        built = build("descriptors", {"name": descriptor, "preset": preset})
        clock = time.perf_counter if choices.wall else time.process_time
        measure(name, built, crystals, choices.rounds, choices.device, clock)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory of the process: {peak:.0f} MB")


def measure(
    name: str,
    descriptor: Descriptor,
    crystals: Crystals,
    rounds: int,
    device: str,
    clock: Callable[[], float],
) -> None:
    listing = median(lambda: build_graph(crystals, descriptor.cutoff), min(rounds, 3), clock)
    graph = build_graph(crystals, descriptor.cutoff).to(device)
    with torch.no_grad():
        describing = median(lambda: settled(descriptor(graph)), rounds, clock)
    atoms = crystals.atom_total
    print(
        f"{name:12s} {descriptor.cutoff:6.2f} Å {graph.edge_total / atoms:10.0f} "
        f"{listing / atoms * 1e6:14.1f} {describing / atoms * 1e6:20.1f} "
        f"{atoms / describing:12.0f}",
        flush=True,
    )


def median(call: Callable[[], object], rounds: int, clock: Callable[[], float]) -> float:
    call()
    seconds = []
    for _ in range(rounds):
        start = clock()
        call()
        seconds.append(clock() - start)
    return statistics.median(seconds)


def settled(values: torch.Tensor) -> torch.Tensor:
    if values.is_cuda:
        torch.cuda.synchronize()
    return values


if __name__ == "__main__":
    main()
