"""Which pre-training helps on which task, with equal tuning and at the same number of atoms seen?

Every row of the table is a pre-training, or none. All of them see the same crystals equally often
(those that learn from labels see as many atoms of labelled frames), and every one is fine-tuned on
the same training crystals of the same tasks with the same grid of learning rates. The rate is
chosen on the validation crystals of the first seed, for every row and task on its own; the other
seeds take it over. Test crystals are the same for all seeds and are predicted at the end.

Each row is a process of its own, so several run at a time; whatever is finished is kept in
RECORDS, and the same command goes on where it was. ``--show`` prints the tables of what is there.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tuned_fits import Setting, small_cells, tuned_errors

import epitaxy as ep
from epitaxy.evaluation.statistics import mae_interval, paired_difference

FINGERPRINT = {"name": "fingerprint", "descriptor": {"name": "wacsf", "preset": "set1"}}
DENOISE = {"name": "denoise", "sigma": 0.1}
DERIVATIVE = {**DENOISE, "mode": "derivative"}
EDGES = {"name": "edge_denoise", "sigma": 0.1}
MASKED = {"name": "masked"}
FORCES = {"name": "energy_forces", "preset": "0:1:1"}
ET, CGCNN, MEGNET = (
    {"name": name, "preset": "small"} for name in ("torchmd_et", "cgcnn", "megnet")
)

ROWS: Mapping[str, tuple[Mapping[str, Any], list[dict]]] = {
    "scratch": (ET, []),
    "control: shuffled fingerprint": (ET, [{**FINGERPRINT, "shuffled": True}]),
    "fingerprint + denoise": (ET, [FINGERPRINT, DENOISE]),
    "denoise": (ET, [DENOISE]),
    "fingerprint": (ET, [FINGERPRINT]),
    "control: composition": (ET, [{"name": "composition"}]),
    "masked": (ET, [MASKED]),
    "energy_forces 0:1:1 (labels)": (ET, [FORCES]),
    "denoise, derivative": (ET, [DERIVATIVE]),
    "edge_denoise": (ET, [EDGES]),
    "contrastive": (ET, [{"name": "contrastive"}]),
    "fingerprint + denoise + masked": (ET, [FINGERPRINT, DENOISE, MASKED]),
    "fingerprint + edge_denoise": (ET, [FINGERPRINT, EDGES]),
    "CGCNN: scratch": (CGCNN, []),
    "CGCNN: denoise": (CGCNN, [DENOISE]),
    "CGCNN: denoise, derivative": (CGCNN, [DERIVATIVE]),
    "CGCNN: energy_forces 0:1:1 (labels)": (CGCNN, [FORCES]),
    "CGCNN: masked": (CGCNN, [MASKED]),
    "CGCNN: contrastive": (CGCNN, [{"name": "contrastive"}]),
    "MEGNet: scratch": (MEGNET, []),
    "MEGNet: edge_denoise": (MEGNET, [EDGES]),
}


def pretrained(name: str, asked: argparse.Namespace, folder: Path) -> Path | None:
    """Pre-train a row, and return the folder of its weights; None from scratch."""
    backbone, objectives = ROWS[name]
    if not objectives:
        return None
    crystals, epochs = (
        small_cells(asked.crystals, asked.pretrain_size, asked.max_atoms),
        asked.pretrain_epochs,
    )
    if "labels" in name:
        budget = int(crystals.atom_counts.sum()) * epochs
        crystals = ep.read_crystals(asked.frames)
        epochs = max(1, round(budget / int(crystals.atom_counts.sum())))
    began = time.monotonic()
    out = folder / "pretraining"
    ep.pretrain(
        data=crystals,
        backbone=dict(backbone),
        objectives=objectives,
        changes={"training.epochs": epochs},
        out=out,
    )
    told = folder / "pretraining.json"
    if not told.exists():
        seen = int(crystals.atom_counts.sum()) * epochs
        told.write_text(json.dumps({"seconds": time.monotonic() - began, "atoms": seen}))
    return out


def run_row(name: str, asked: argparse.Namespace) -> None:
    """Pre-train and fine-tune one row of the table; what is finished is not done again."""
    folder = asked.records / slug(name)
    folder.mkdir(parents=True, exist_ok=True)
    ancestor = pretrained(name, asked, folder)
    for task in asked.task:
        source, target = task.split(":")
        crystals = ep.read_crystals(source)
        crystals = crystals.with_targets({target: crystals.target(target)})
        settings = {
            f"rate,{rate:g}": Setting(
                crystals,
                ROWS[name][0],
                {"training.learning_rate": rate, "training.epochs": asked.epochs},
                ancestor,
            )
            for rate in asked.rates
        }
        found = tuned_errors(folder, target, settings, asked.train_size, asked.seeds)
        print(name, target, f"{np.mean(found['errors']):.4f}, {found['chosen']}", flush=True)


def slug(name: str) -> str:
    """Return a row's name as one of a folder."""
    return "".join(letter if letter.isalnum() else "_" for letter in name)


def show(asked: argparse.Namespace) -> None:
    """Print the test errors, and how much lower than from scratch they are, with intervals."""
    targets = [task.split(":")[1] for task in asked.task]
    print("| pre-training | seconds | " + " | ".join(targets) + " | mean |")
    print("|---" * (3 + len(targets)) + "|")
    for name in ROWS:
        folder = asked.records / slug(name)
        told = folder / "pretraining.json"
        seconds = f"{json.loads(told.read_text())['seconds']:.0f}" if told.exists() else ""
        prefix = f"{name.split(':')[0]}: " if name.startswith(("CGCNN", "MEGNet")) else ""
        reference = asked.records / slug(f"{prefix}scratch")
        cells, gains = [], []
        for target in targets:
            files = [one / f"{target}.json" for one in (folder, reference)]
            if not all(file.exists() for file in files):
                cells.append("")
                continue
            own, other = (np.array(json.loads(file.read_text())["errors"]) for file in files)
            if folder == reference:
                low, high = mae_interval(own, 0)
                cells.append(f"{own.mean():.4g} ({low:.4g} to {high:.4g})")
                continue
            found = paired_difference(own, other, 0)
            gains.append(100 * found.relative)
            low, high = 100 * found.relative_low, 100 * found.relative_high
            mark = "**" if low > 0 or high < 0 else ""
            cells.append(
                f"{own.mean():.4g}: {mark}{gains[-1]:+.1f} %{mark} ({low:+.1f} to {high:+.1f})"
            )
        mean = f"{np.mean(gains):+.1f} %" if len(gains) == len(targets) else ""
        print(f"| {name} | {seconds} | " + " | ".join(cells) + f" | {mean} |")


def main() -> None:
    """Run the rows that are not done, several at a time; print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("crystals", help="crystals to pre-train on; no labels are read")
    parser.add_argument("--frames", help="frames with forces and stresses")
    parser.add_argument("--task", action="append", required=True, help="FILE:TARGET")
    parser.add_argument("--records", type=Path, default=Path("does_pretraining_help"))
    parser.add_argument("--pretrain-size", type=int, default=9000)
    parser.add_argument("--pretrain-epochs", type=int, default=6)
    parser.add_argument("--max-atoms", type=int, default=12)
    parser.add_argument("--train-size", type=int, default=500)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--rates", type=float, nargs="+", default=[1e-3, 3e-3])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--row", help=argparse.SUPPRESS)
    parser.add_argument("--show", action="store_true")
    asked = parser.parse_args()
    if asked.row:
        run_row(asked.row, asked)
        return
    waiting, running = [] if asked.show else list(ROWS), []
    while waiting or running:
        while waiting and len(running) < asked.jobs:
            command = [sys.executable, *sys.argv, "--row", waiting.pop(0)]
            running.append(subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}))
        time.sleep(1.0)
        running = [process for process in running if process.poll() is None]
    show(asked)


if __name__ == "__main__":
    main()
