"""Are frozen representations a better start than the element embedding?

The question of arXiv:2211.03563. A CGCNN is pre-trained by masking. A second one is then trained
from scratch on each task, and starts from the element embedding; from the first one's frozen
representations in its place; or from both, joined. Which layers are taken (NE1, NE2, …, side by
side) and the learning rate are chosen on the validation crystals of the first seed. A control takes
the same layers of an untrained network.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tuned_fits import Setting, small_cells, tuned_errors

import epitaxy as ep
from epitaxy.crystals.crystals import Crystals
from epitaxy.evaluation.statistics import mae_interval, paired_difference

BACKBONE = {"name": "cgcnn", "preset": "small"}
RANGES = ("1", "2", "3", "0123")


def encoder(asked: argparse.Namespace, epochs: int) -> Path:
    """Return the folder of the masked pre-training; after no epoch to speak of, of the control."""
    out = asked.records / ("masked" if epochs else "untrained")
    changes = {"training.epochs": epochs or 1}
    if not epochs:
        changes |= {"training.learning_rate": 1e-12, "data.limit": 100}
    ep.pretrain(
        data=small_cells(asked.crystals, asked.pretrain_size, asked.max_atoms),
        backbone=BACKBONE,
        objectives={"name": "masked"},
        changes=changes,
        out=out,
    )
    return out


def settings(
    crystals: Crystals, weights: Path | None, mode: str, asked: argparse.Namespace
) -> Iterator[tuple[str, Setting]]:
    """Yield what a row of the table may choose from."""
    for layer in RANGES if weights else ("element",):
        given, backbone = crystals, dict(BACKBONE)
        if weights:
            given = ep.with_representations(weights, crystals, layer)
            ((name, rows),) = given.inputs.items()
            backbone |= {"inputs": [name, rows.shape[1]], "inputs_mode": mode}
        for rate in asked.rates:
            changes = {"training.learning_rate": rate, "training.epochs": asked.epochs}
            yield f"{layer},{rate:g}", Setting(given, backbone, changes)


def main() -> None:
    """Fit what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("crystals", help="crystals to pre-train on; no labels are read")
    parser.add_argument("--task", action="append", required=True, help="FILE:TARGET")
    parser.add_argument("--records", type=Path, default=Path("node_embedding_networks"))
    parser.add_argument("--pretrain-size", type=int, default=9000)
    parser.add_argument("--pretrain-epochs", type=int, default=10)
    parser.add_argument("--max-atoms", type=int, default=12)
    parser.add_argument("--train-size", type=int, default=500)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--rates", type=float, nargs="+", default=[1e-3, 3e-3])
    parser.add_argument("--seeds", type=int, default=5)
    asked = parser.parse_args()
    masked, untrained = encoder(asked, asked.pretrain_epochs), encoder(asked, 0)
    rows = {
        "element embedding": (None, ""),
        "replaced": (masked, "replace"),
        "concatenated": (masked, "concatenate"),
        "control: replaced, untrained": (untrained, "replace"),
        "control: concatenated, untrained": (untrained, "concatenate"),
    }
    print("| task | start | range, rate | test MAE | lower than the element embedding's by |")
    for task in asked.task:
        source, target = task.split(":")
        crystals = ep.read_crystals(source)
        crystals = crystals.with_targets({target: crystals.target(target)})
        reference = None
        for name, (weights, mode) in rows.items():
            folder = asked.records / "".join(c if c.isalnum() else "_" for c in name)
            choices = dict(settings(crystals, weights, mode, asked))
            found = tuned_errors(folder, target, choices, asked.train_size, asked.seeds)
            errors = np.array(found["errors"])
            low, high = mae_interval(errors, 0)
            value = f"{errors.mean():.4g} ({low:.4g} to {high:.4g})"
            told = f"| {target} | {name} | {found['chosen']} | {value} |"
            reference = errors if reference is None else reference
            if errors is not reference:
                gain = paired_difference(errors, reference, 0)
                percent = [
                    100 * one for one in (gain.relative, gain.relative_low, gain.relative_high)
                ]
                told += " {:+.1f} % ({:+.1f} to {:+.1f}) |".format(*percent)
            print(told, flush=True)


if __name__ == "__main__":
    main()
