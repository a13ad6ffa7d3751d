"""Training and inference speed of TorchMD-ET against the same equations written edge by edge.

``python benchmarks/backbones.py [crystals.parquet]`` takes 32 crystals of the file, by default of
those that come with the package, and prints medians of interleaved steps: ``train``
is forward, backward and AdamW; ``predict`` is forward in evaluation mode. ``--perturb 0.05`` moves
every atom by so many Å, so that no two edges are alike. ``--flush`` sets denormal numbers to zero
for both, as some programs do for a whole process: the plain one loses much time with them.
``held`` is what a forward pass keeps for the way back.
"""

import argparse
import statistics
import time
from pathlib import Path

import torch
from plain_torchmd_et import PlainTorchMDET

import epitaxy
from epitaxy.backbones.torchmd_et import TorchMDET
from epitaxy.crystals.arrow import read_parquet
from epitaxy.crystals.crystals import Crystals
from epitaxy.crystals.graph import Graph

BUNDLED = Path(epitaxy.__file__).parent / "datasets" / "bundled" / "crystals.parquet"
RIVALS = {"plain": PlainTorchMDET, "ours": TorchMDET}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parquet", nargs="?", type=Path, default=BUNDLED)
    parser.add_argument("--crystals", type=int, default=32, help="batch size")
    parser.add_argument("--atoms", type=int, default=40, help="largest cell")
    parser.add_argument("--perturb", type=float, default=0.0, help="Å")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--presets", nargs="+", default=["small", "paper"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--flush", action="store_true", help="set denormal numbers to zero")
    choices = parser.parse_args()
    torch.set_num_threads(choices.threads)
    torch.set_flush_denormal(choices.flush)
    torch.manual_seed(0)
    crystals = batch(choices.parquet, choices.crystals, choices.atoms, choices.perturb)
    print(f"{choices.parquet.name}: {len(crystals)} crystals, {crystals.atom_total} atoms a batch")
    for preset in choices.presets:
        compare(preset, crystals, choices.rounds)


def batch(path: Path, count: int, atoms: int, perturb: float) -> Crystals:
    """Return crystals of a file, picked at random but the same every time."""
    crystals = read_parquet(path, targets=[]).to(dtype=torch.float32)
    order = torch.randperm(len(crystals), generator=torch.Generator().manual_seed(0))
    order = order[crystals.atom_counts[order] <= atoms]
    chosen = crystals[order[:count]]
    chosen.positions.add_(perturb * torch.randn_like(chosen.positions))
    return chosen


def compare(preset: str, crystals: Crystals, rounds: int) -> None:
    backbones = {name: cls.preset(preset) for name, cls in RIVALS.items()}
    backbones["ours"].load_state_dict(backbones["plain"].state_dict())
    graph = backbones["ours"].graph_builder()(crystals)
    edges = graph.edge_total / crystals.atom_total
    with torch.no_grad():
        plain, ours = (backbone(graph).nodes for backbone in backbones.values())
    error = float((plain - ours).abs().max() / plain.abs().max())
    print(f"{preset}: {edges:.1f} edges per atom, largest relative difference {error:.1e}")
    for step in (train, predict):
        steps = {name: step(backbone, graph) for name, backbone in backbones.items()}
        seconds = medians(steps, rounds)
        ratio = seconds["plain"] / seconds["ours"]
        rates = "   ".join(
            f"{name} {len(crystals) / taken:7.1f} crystals/s {crystals.atom_total / taken:8.1f} "
            "atoms/s"
            for name, taken in seconds.items()
        )
        print(f"  {step.__name__:8s} {rates}   ratio {ratio:.2f}", flush=True)
    sizes = {name: held(backbone.train(), graph) for name, backbone in backbones.items()}
    print(
        "  held     "
        + "   ".join(
            f"{name} {size / 1e6:7.1f} MB {size / graph.edge_total:10.0f} bytes per edge"
            for name, size in sizes.items()
        )
    )


def train(backbone: TorchMDET, graph: Graph):
    """Return a training step."""
    backbone.train()
    optimizer = torch.optim.AdamW(backbone.parameters(), lr=1e-5)

    def step() -> None:
        optimizer.zero_grad()
        backbone(graph).nodes.square().mean().backward()
        optimizer.step()

    return step


def predict(backbone: TorchMDET, graph: Graph):
    """Return a prediction."""
    backbone.eval()

    def step() -> None:
        with torch.inference_mode():
            backbone(graph)

    return step


def medians(steps: dict, rounds: int) -> dict[str, float]:
    """Return the median seconds of each step, taken in turns after one that is not counted."""
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds + 1):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            taken[name].append(time.perf_counter() - start)
    return {name: statistics.median(times[1:]) for name, times in taken.items()}


def held(backbone: TorchMDET, graph: Graph) -> int:
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
