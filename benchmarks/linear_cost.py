"""Does a backbone's cost grow with the edges alone, whatever the size of cells and batches?

Times training steps (forward, backward, AdamW) on crystals of about 5 and of 200 atoms, cut such
that a step has so many edges, and prints edges per second and bytes held per edge. Atoms are moved
at random, so that only the images of an atom itself, at R and −R, are alike: small cells have more
of them. ``--default-memory`` leaves the C library's memory as it is, which training does not.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext

import torch
from backbones import held, train

from epitaxy.backbones.base import Backbone
from epitaxy.crystals.crystals import Crystals
from epitaxy.crystals.graph import Graph
from epitaxy.registry import find
from epitaxy.training.memory import freed_memory_kept

EDGE = 4.0  # Å
HALF = 0.5
PEROVSKITE = [[0, 0, 0], [HALF] * 3, [HALF, HALF, 0], [HALF, 0, HALF], [0, HALF, HALF]]


def rattled(repeats: tuple[int, int, int], count: int, seed: int = 0) -> Crystals:
    """Return perovskites of so many cells of 5 atoms, every atom moved by 0.2 Å at random."""
    generator = torch.Generator().manual_seed(seed)
    cells = torch.cartesian_prod(*(torch.arange(side) for side in repeats)).float()
    atoms = (cells.unsqueeze(1) + torch.tensor(PEROVSKITE)).reshape(-1, 3) * EDGE
    moves = 0.2 * torch.randn(count * len(atoms), 3, generator=generator)
    return Crystals(
        numbers=torch.randint(1, 84, (count * len(atoms),), generator=generator),
        positions=atoms.repeat(count, 1) + moves,
        cell=torch.diag(torch.tensor(repeats).float() * EDGE).repeat(count, 1, 1),
        pbc=torch.ones(count, 3, dtype=torch.bool),
        offsets=torch.arange(0, count * len(atoms) + 1, len(atoms)),
    )


def graph_of(backbone: Backbone, repeats: tuple[int, int, int], edges: int) -> Graph:
    """Return a batch of nearly so many edges."""
    one = backbone.graph_builder()(rattled(repeats, 1)).edge_total
    return backbone.graph_builder()(rattled(repeats, max(1, round(edges / one))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbones", nargs="+", default=["torchmd_et", "cgcnn", "megnet"])
    parser.add_argument("--preset", default="small")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--processor", action="store_true", help="count processor time, not wall")
    parser.add_argument("--default-memory", action="store_true")
    chosen = parser.parse_args()
    clock = time.process_time if chosen.processor else time.perf_counter
    torch.set_num_threads(1)
    with nullcontext() if chosen.default_memory else freed_memory_kept():
        for name in chosen.backbones:
            measure(name, chosen.preset, chosen.rounds, clock)


def measure(name: str, preset: str, rounds: int, clock: Callable[[], float]) -> None:
    """Print a backbone's figures."""
    backbone = find("backbones", name).preset(preset)
    print(f"{name} {preset}")
    graphs = [
        graph_of(backbone, repeats, edges)
        for repeats in ((1, 1, 1), (5, 4, 2))
        for edges in (20_000, 60_000, 200_000)
    ]
    taken: list[list[float]] = [[] for _ in graphs]
    for _ in range(rounds + 1):
        for times, graph in zip(taken, graphs, strict=True):
            step = train(backbone, graph)
            start = clock()
            step()
            times.append(clock() - start)
    for times, graph in zip(taken, graphs, strict=True):
        seconds = statistics.median(times[1:])
        print(
            f"  cells of {graph.crystals.atom_total // len(graph):3d} atoms, "
            f"{graph.edge_total:7,d} edges: {graph.edge_total / seconds:9,.0f} edges/s, "
            f"{held(backbone, graph) / graph.edge_total:6,.0f} bytes held per edge"
        )


if __name__ == "__main__":
    main()
