"""Which transform of a fingerprint's channels makes the best labels to pre-train on?

Pre-trains the small TorchMD-ET on every descriptor × transform, fine-tunes each on the tasks and
prints the test errors, and their ratio to training from scratch, averaged over tasks and seeds.
Rows of a finished fit are kept in RECORDS; the same command goes on where it was.
"""

import argparse
import itertools
import json
import statistics
from pathlib import Path

import torch
from tuned_fits import small_cells

import epitaxy as ep
from epitaxy.crystals.crystals import Crystals
from epitaxy.training.loader import seeded_generator

DESCRIPTORS = ("wacsf", "ead", "gmp")
TRANSFORMS = ("none", "sqrt", "asinh")
SCRATCH = ("scratch", "–")


def split(source: str, target: str, train: int, test: int, seed: int) -> tuple[Crystals, Crystals]:
    """Return crystals to train and to test on; the test ones are the same for every seed."""
    crystals = ep.read_crystals(source)
    crystals = crystals.with_targets({target: crystals.target(target)})
    order = torch.randperm(len(crystals), generator=seeded_generator("test"))
    rest = order[test:]
    chosen = rest[torch.randperm(len(rest), generator=seeded_generator("train", seed))[:train]]
    return crystals[chosen], crystals[order[:test]]


def main() -> None:
    """Run what is missing; print the table of what is there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("crystals", help="crystals to pre-train on; no labels are read")
    parser.add_argument("--task", action="append", required=True, help="FILE:TARGET")
    parser.add_argument("--records", type=Path, default=Path("label_transforms"))
    parser.add_argument("--pretrain-size", type=int, default=4000)
    parser.add_argument("--pretrain-epochs", type=int, default=5)
    parser.add_argument("--max-atoms", type=int, default=12)
    parser.add_argument("--train-size", type=int, default=500)
    parser.add_argument("--test-size", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=3)
    asked = parser.parse_args()
    asked.records.mkdir(parents=True, exist_ok=True)
    file = asked.records / "records.jsonl"
    done = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    known = {(row["descriptor"], row["transform"], row["task"], row["seed"]) for row in done}
    cells = small_cells(asked.crystals, asked.pretrain_size, asked.max_atoms)
    encoders = {
        (descriptor, transform): ep.pretrain(
            data=cells,
            objectives={
                "name": "fingerprint",
                "descriptor": {"name": descriptor, "preset": "set1"},
                "transform": transform,
            },
            changes={"training.epochs": asked.pretrain_epochs},
            out=asked.records / f"{descriptor}-{transform}",
        )
        for descriptor, transform in itertools.product(DESCRIPTORS, TRANSFORMS)
    }
    for seed, task in itertools.product(range(asked.seeds), asked.task):
        source, target = task.split(":")
        train, test = split(source, target, asked.train_size, asked.test_size, seed)
        for who in (SCRATCH, *encoders):
            if (*who, target, seed) in known:
                continue
            out = asked.records / f"{'-'.join(who[:1] if who == SCRATCH else who)}-{target}-{seed}"
            run = ep.finetune(
                train,
                target,
                from_=encoders.get(who),
                changes={"training.epochs": asked.epochs},
                seed=seed,
                out=out,
                progress=False,
            )
            values = torch.tensor(ep.predict(run, test)["value"].to_numpy())
            error = float((values - test.target(target).values.double()).abs().mean())
            keys = dict(zip(("descriptor", "transform"), who, strict=True))
            row = {**keys, "task": target, "seed": seed, "mae": error}
            done.append(row)
            with file.open("a") as records:
                records.write(json.dumps(row) + "\n")
            print(json.dumps(row), flush=True)
    show(done)


def show(rows: list[dict]) -> None:
    """Print MAE per task, and the mean ratio to scratch over tasks and seeds with its error."""
    tasks = sorted({row["task"] for row in rows})
    found = {(r["descriptor"], r["transform"], r["task"], r["seed"]): r["mae"] for r in rows}
    print("| labels | transform | " + " | ".join(tasks) + " | ratio to scratch |")
    for who in dict.fromkeys((row["descriptor"], row["transform"]) for row in rows):
        keys = [key for key in found if key[:2] == who]
        ratios = [found[key] / found[(*SCRATCH, *key[2:])] for key in keys]
        means = [statistics.fmean([found[key] for key in keys if key[2] == task]) for task in tasks]
        mean = statistics.fmean(ratios)
        error = statistics.stdev(ratios) / len(ratios) ** 0.5 if len(ratios) > 1 else 0.0
        cells = " | ".join(f"{value:.4f}" for value in means)
        print(f"| {who[0]} | {who[1]} | {cells} | {mean:.3f} ± {error:.3f} |")


if __name__ == "__main__":
    main()
