"""Training and inference speed of backbones, some against the same equations edge by edge.

``python benchmarks/backbones.py [crystals.parquet]`` takes 32 crystals of the file, by default of
those that come with the package, and prints medians of interleaved steps: ``train``
is forward, backward and AdamW; ``forces`` is the same with a loss on energies and forces, their
derivatives; ``predict`` is forward in evaluation mode. ``--perturb 0.05`` moves
every atom by so many Å, so that no two edges are alike. ``--flush`` sets denormal numbers to zero
for both, as some programs do for a whole process: the plain one loses much time with them.
``held`` is what a forward pass keeps for the way back. ``--backbones cgcnn`` times one of them;
a preset that a backbone has not is passed over. ``--processor`` counts processor time, which other
programs on a busy machine disturb less.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from plain_cgcnn import PlainCGCNN
from plain_torchmd_et import PlainTorchMDET

import epitaxy
from epitaxy.backbones.base import Backbone
from epitaxy.crystals.arrow import read_parquet
from epitaxy.crystals.crystals import Crystals
from epitaxy.crystals.graph import Graph
from epitaxy.heads.potential import PotentialHead
from epitaxy.registry import find

BUNDLED = Path(epitaxy.__file__).parent / "datasets" / "bundled" / "crystals.parquet"
Clock = Callable[[], float]
RIVALS = {
    "torchmd_et": PlainTorchMDET,
    "cgcnn": PlainCGCNN,
    "megnet": None,  # there is no plain one
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parquet", nargs="?", type=Path, default=BUNDLED)
    parser.add_argument("--crystals", type=int, default=32, help="batch size")
    parser.add_argument("--atoms", type=int, default=40, help="largest cell")
    parser.add_argument("--perturb", type=float, default=0.0, help="Å")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--backbones", nargs="+", choices=RIVALS, default=list(RIVALS))
    parser.add_argument("--presets", nargs="+", default=["small", "paper"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--flush", action="store_true", help="set denormal numbers to zero")
    parser.add_argument("--processor", action="store_true", help="count processor time, not wall")
    choices = parser.parse_args()
    clock = time.process_time if choices.processor else time.perf_counter
    torch.set_num_threads(choices.threads)
    torch.set_flush_denormal(choices.flush)
    torch.manual_seed(0)
    crystals = batch(choices.parquet, choices.crystals, choices.atoms, choices.perturb)
    print(f"{choices.parquet.name}: {len(crystals)} crystals, {crystals.atom_total} atoms a batch")
    for name in choices.backbones:
        for preset in choices.presets:
            if preset in find("backbones", name).presets:
                compare(name, preset, crystals, choices.rounds, clock)


def batch(path: Path, count: int, atoms: int, perturb: float) -> Crystals:
    """Return crystals of a file, picked at random but the same every time."""
    crystals = read_parquet(path, targets=[]).to(dtype=torch.float32)
    order = torch.randperm(len(crystals), generator=torch.Generator().manual_seed(0))
    order = order[crystals.atom_counts[order] <= atoms]
    chosen = crystals[order[:count]]
    chosen.positions.add_(perturb * torch.randn_like(chosen.positions))
    return chosen


def compare(name: str, preset: str, crystals: Crystals, rounds: int, clock: Clock) -> None:
    """Print speed and memory of a backbone's preset, besides its plain rival if it has one."""
    backbones = {"ours": find("backbones", name).preset(preset)}
    graph = backbones["ours"].graph_builder()(crystals)
    title = f"{name} {preset}: {graph.edge_total / crystals.atom_total:.1f} edges per atom"
    if RIVALS[name] is not None:
        backbones["plain"] = RIVALS[name].preset(preset)
        backbones["plain"].load_state_dict(backbones["ours"].state_dict())
        with torch.no_grad():
            ours, plain = (backbone.eval()(graph).nodes for backbone in backbones.values())
        error = float((plain - ours).abs().max() / plain.abs().max())
        title += f", largest relative difference {error:.1e}"
    print(title)
    for step in (train, forces, predict):
        seconds = medians({key: step(one, graph) for key, one in backbones.items()}, rounds, clock)
        rates = "   ".join(
            f"{key} {1 / taken:6.2f} steps/s {len(crystals) / taken:7.1f} crystals/s "
            f"{crystals.atom_total / taken:8.1f} atoms/s"
            for key, taken in seconds.items()
        )
        if "plain" in seconds:
            rates += f"   ratio {seconds['plain'] / seconds['ours']:.2f}"
        print(f"  {step.__name__:8s} {rates}", flush=True)
    sizes = {key: held(backbone.train(), graph) for key, backbone in backbones.items()}
    print(
        "  held     "
        + "   ".join(
            f"{key} {size / 1e6:7.1f} MB {size / graph.edge_total:10.0f} bytes per edge"
            for key, size in sizes.items()
        )
    )


def train(backbone: Backbone, graph: Graph):
    """Return a training step."""
    backbone.train()
    optimizer = torch.optim.AdamW(backbone.parameters(), lr=1e-5)

    def step() -> None:
        optimizer.zero_grad()
        backbone(graph).nodes.square().mean().backward()
        optimizer.step()

    return step


def forces(backbone: Backbone, graph: Graph):
    """Return a training step on energies and forces."""
    backbone.train()
    head = PotentialHead(backbone.width)
    optimizer = torch.optim.AdamW([*backbone.parameters(), *head.parameters()], lr=1e-5)

    def step() -> None:
        optimizer.zero_grad()
        found = head.evaluate(backbone, graph)
        assert found.forces is not None
        (found.energy.square().mean() + found.forces.square().mean()).backward()
        optimizer.step()

    return step


def predict(backbone: Backbone, graph: Graph):
    """Return a prediction."""
    backbone.eval()

    def step() -> None:
        with torch.inference_mode():
            backbone(graph)

    return step


def medians(steps: dict, rounds: int, clock: Clock) -> dict[str, float]:
    """Return the median seconds of each step, taken in turns after one that is not counted."""
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds + 1):
        for name, step in steps.items():
            start = clock()
            step()
            taken[name].append(clock() - start)
    return {name: statistics.median(times[1:]) for name, times in taken.items()}


def held(backbone: Backbone, graph: Graph) -> int:
    """Return the bytes that a forward pass keeps for the way back, parameters not counted."""
    own = {parameter.untyped_storage().data_ptr() for parameter in backbone.parameters()}
    kept: dict[int, int] = {}

    def note(values: torch.Tensor) -> torch.Tensor:
        storage = values.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return values

    with torch.autograd.graph.saved_tensors_hooks(note, lambda values: values):
        encoding = backbone(graph)
    del encoding
    return sum(size for pointer, size in kept.items() if pointer not in own)


if __name__ == "__main__":
    main()
