"""Every objective on every backbone: speed, whether the loss falls, whether gradients arrive.

``python benchmarks/matrix.py`` takes 32 of the crystals that come with the package and the preset
``small`` of every backbone, and prints a table. ``steps/s`` is views made anew, forward, backward
and AdamW on one thread; a pre-training makes views that do not depend on chance only once.
``loss`` is that of one view, before and after ``--steps`` steps on it. ``idle`` counts the arrays
of weights that the loss does not depend on; ``--idle`` names them. ``--processor`` counts processor
time, which other programs on a busy machine disturb less.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from epitaxy.datasets.bundled import bundled
from epitaxy.registry import build, names
from epitaxy.testing.objectives import Lesson, learn, without_gradient

Clock = Callable[[], float]
NEEDED = {"property": {"target": "bulk_modulus"}}
VARIANTS = {
    "denoise": {"head": {}, "derivative": {"mode": "derivative"}},
    "energy_forces": {"1:0:0": {"preset": "1:0:0"}, "1:1:1": {}},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--crystals", type=int, default=32, help="batch size")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--rate", type=float, default=1e-3, help="learning rate")
    parser.add_argument("--rounds", type=int, default=7, help="steps that are timed")
    parser.add_argument("--idle", action="store_true", help="name weights without a gradient")
    parser.add_argument("--processor", action="store_true", help="count processor time, not wall")
    choices = parser.parse_args()
    clock = time.process_time if choices.processor else time.perf_counter
    torch.set_num_threads(1)
    every = bundled()
    order = torch.randperm(len(every), generator=torch.Generator().manual_seed(0))
    crystals = every[torch.sort(order[: choices.crystals]).values]
    print(f"{len(crystals)} crystals, {crystals.atom_total} atoms a batch\n")
    print("| objective | backbone | steps/s | loss before | after | idle |")
    print("|---|---|---|---|---|---|")
    for objective in names("objectives"):
        for variant, settings in VARIANTS.get(objective, {"": {}}).items():
            for backbone in names("backbones"):
                torch.manual_seed(0)
                asked = {"name": objective, **NEEDED.get(objective, {}), **settings}
                network = build("backbones", {"name": backbone, "preset": "small"})
                lesson = Lesson.of(build("objectives", asked), network.train(), crystals)
                speed = 1.0 / seconds(lesson.copy(), choices.rounds, clock)
                before, after = learn(lesson.copy(), choices.steps, choices.rate)
                idle = without_gradient(lesson.copy())
                figures = f"{speed:.1f} | {before:.3f} | {after:.3f} | {len(idle)}"
                name = f"{objective} {variant}".strip()
                print(f"| {name} | {backbone} | {figures} |", flush=True)
                if choices.idle and idle:
                    print(f"  {', '.join(idle)}")


def seconds(lesson: Lesson, rounds: int, clock: Clock) -> float:
    """Return the median seconds of a training step, its view included, after one not counted."""
    optimizer = torch.optim.AdamW(lesson.parameters().values(), lr=1e-5)
    taken = []
    for step in range(rounds + 1):
        start = clock()
        view = lesson.view(step)
        optimizer.zero_grad()
        lesson.figures(view)["loss"].backward()
        optimizer.step()
        taken.append(clock() - start)
    return statistics.median(taken[1:])


if __name__ == "__main__":
    main()
