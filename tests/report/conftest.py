"""A study's folder as `epitaxy benchmark` leaves it, with numbers that are made up."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from epitaxy.evaluation.summary import summarize

TASKS = {
    "formation_energy": ("eV/atom", 1.0, 0.08),
    "band_gap": ("eV", 1.6, 0.45),
    "log10_bulk_modulus": ("log10(GPa)", 0.35, 0.07),
    "phonon_peak": ("1/cm", 480.0, 90.0),
    "refractive_index": ("", 0.9, 0.4),
}
# contender: label, error relative to scratch, pre-training
CONTENDERS = {
    "scratch": ("ours", 1.0, ""),
    "fingerprint": ("ours", 0.84, "fingerprint"),
    "wACSF, as published": ("paper", 0.93, "wacsf"),
    "shuffled fingerprint": ("control", 0.97, "shuffled"),
    "random forest": ("baseline", 1.12, ""),
    "dummy": ("baseline", 3.5, ""),
}
FAILED = ("phonon_peak", 100, "wACSF, as published", 2)
LOST = ("refractive_index", "fingerprint")
CATIONS = "Li Na K Mg Ca Sr Ba Al Ga In Sc Ti V Cr Mn Fe Co Ni Cu Zn Y Zr Nb Mo La Ce Gd Hf W Pb Bi"
ANIONS = "O S Se Te F Cl Br I N P As"


def formulas(rng: np.random.Generator, count: int) -> list[str]:
    cations, anions = CATIONS.split(), ANIONS.split()
    weights = np.arange(len(anions), 0, -1.0) ** 2
    found = []
    for _ in range(count):
        first, second = rng.choice(cations, 2, replace=False)
        anion = rng.choice(anions, p=weights / weights.sum())
        found.append(f"{first}{second}{anion}{rng.integers(2, 5)}")
    return found


def write_study_folder(
    folder: Path, tasks=TASKS, crystals: int = 60, seeds: int = 3, sizes=(100, 400), seed: int = 0
) -> Path:
    """Write every table of a study: one run failed, one contender lost all runs of a task."""
    rng = np.random.default_rng(seed)
    records, predictions, results, curves, tuning, verdicts, points = ([] for _ in range(7))
    for task, (unit, scale, noise) in tasks.items():
        names = formulas(rng, crystals)
        ids = [f"{task[:3]}-{number:05d}" for number in range(crystals)]
        hard = np.array([1.8 if "Fe" in one or "Mn" in one else 1.0 for one in names])
        truth = scale * (rng.gamma(2.0, 0.6, crystals) - 0.3)
        common = rng.normal(size=crystals)
        for size in sizes:
            tables = []
            for contender, (label, worse, pretraining) in CONTENDERS.items():
                own = common + 0.5 * rng.normal(size=crystals)
                for number in range(seeds):
                    failed = (task, size, contender, number) == FAILED or (
                        (task, contender) == LOST
                    )
                    record = {
                        "task": task, "target": task, "unit": unit, "size": size,
                        "contender": contender, "label": label, "backbone": "torchmd_et",
                        "pretraining": pretraining, "seed": number, "fold": "",
                        "setting": "learning_rate=0.001", "seconds": rng.uniform(20, 60),
                        "status": "failed" if failed else "done",
                        "reason": "the loss is not finite at step 310" if failed else "",
                        "training.learning_rate": 0.001,
                    }  # fmt: skip
                    if failed:
                        records.append(record)
                        continue
                    error = noise * worse * (100.0 / size) ** 0.35 * hard
                    value = truth + error * (own + 0.5 * rng.normal(size=crystals))
                    record["test_mae"] = float(np.abs(value - truth).mean())
                    record["validation_mae"] = record["test_mae"] * rng.uniform(0.9, 1.1)
                    records.append(record)
                    tables.append(
                        pd.DataFrame(
                            {
                                "task": task, "target": task, "unit": unit, "size": size,
                                "contender": contender, "seed": number, "fold": None, "id": ids,
                                "formula": names, "truth": truth, "value": value,
                            }
                        )
                    )  # fmt: skip
                    if label != "baseline":
                        at = {"task": task, "size": size, "contender": contender, "seed": number}
                        for epoch in range(1, 13):
                            for split, over in (("train", 0.6), ("validation", 1.0)):
                                fall = record["test_mae"] * over * (1 + 4 * np.exp(-epoch / 5))
                                curves.append(
                                    {**at, "epoch": epoch, "split": split, "metric": "mae",
                                     "value": fall * rng.uniform(0.96, 1.04), "unit": unit}
                                )  # fmt: skip
                        for rate in (0.0005, 0.001):
                            tuning.append(
                                {**at, "setting": f"learning_rate={rate}", "chosen": rate == 0.001,
                                 "validation_mae": record["validation_mae"] * (1.2 - 200 * rate)}
                            )  # fmt: skip
            whole = pd.concat(tables, ignore_index=True)
            predictions.append(whole)
            summary = summarize(whole, train_size=size, resamples=50)
            summary.insert(0, "task", task)
            summary.insert(1, "size", size)
            results.append(summary.assign(reference="scratch"))
            for row in summary[summary["improvement_percent"].notna()].itertuples():
                low, high = row.improvement_low, row.improvement_high
                word = "helps" if low > 0 else "hurts" if high < 0 else "shows no evidence"
                verdicts.append(
                    {"task": task, "size": size, "contender": row.contender,
                     "reference": "scratch", "improvement_percent": row.improvement_percent,
                     "low": low, "high": high,
                     "sentence": f"{row.contender} {word}: its error is "
                     f"{row.improvement_percent:.0f} % lower ({low:.0f} to {high:.0f} %)."}
                )  # fmt: skip
        for place, pretraining in enumerate(("untrained", "fingerprint", "wacsf", "shuffled")):
            for method in ("pca", "tsne"):
                where = rng.normal(size=(crystals, 2)) * (1.0, 0.6) + np.outer(
                    truth / scale, (place, 1.0)
                )
                points.append(
                    pd.DataFrame(
                        {"pretraining": pretraining, "task": task, "id": ids, "formula": names,
                         "method": method, "x": where[:, 0], "y": where[:, 1], "value": truth,
                         "density": rng.uniform(2, 9, crystals),
                         "element": [one.rstrip("234")[-2:].lstrip("abdefgiklnortuv") or "O"
                                     for one in names]}
                    )
                )  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in {"records": records, "curves": curves, "tuning": tuning}.items():
        pd.DataFrame(rows).to_csv(folder / f"{name}.csv", index=False)
    pd.concat(results).to_csv(folder / "results.csv", index=False)
    pd.concat(predictions, ignore_index=True).to_parquet(folder / "predictions.parquet")
    pd.concat(points, ignore_index=True).to_parquet(folder / "maps.parquet")
    _write_texts(folder, verdicts, list(tasks), ids)
    return folder


def _write_texts(folder: Path, verdicts: list[dict], tasks: list[str], ids: list[str]) -> None:
    pd.DataFrame(
        [
            {"name": name, "backbone": "torchmd_et", "objectives": '[{"name": "fingerprint"}]',
             "crystals": 2378, "atoms_seen": 512000 + place, "seconds": 171.0 + 3 * place}
            for place, name in enumerate(("fingerprint", "wacsf", "shuffled"))
        ]
    ).to_csv(folder / "pretraining.csv", index=False)  # fmt: skip
    pd.DataFrame(
        [
            {"task": tasks[0], "who": "a published network", "mae": 0.0354, "unit": "eV/atom",
             "protocol": "60/20/20 split of 132,752 crystals, 5 seeds, sum pooling",
             "source": "arXiv 2503.01227, table 2"}
        ]
    ).to_csv(folder / "published.csv", index=False)  # fmt: skip
    sentence = "The fingerprint pre-training helps on 4 of 5 tasks; the control helps on none."
    texts = {
        "verdicts.json": {"verdicts": verdicts, "sentence": sentence},
        "study.json": {
            "name": "Does a fingerprint help?", "command": "epitaxy benchmark study.toml",
            "versions": {"epitaxy": "0.1.0", "torch": "2.13.0"}, "seeds": [0, 1, 2],
            "date": "2026-01-01", "wall_time": 5123.4, "cores": 2,
            "fingerprints": dict.fromkeys(tasks, "d7bb91b4368d358f"),
        },
        f"audit/{tasks[0]}.json": {
            "crystals": 120, "duplicates": [{"first": ids[0], "second": ids[1], "distance": 0.01}],
            "sentence": "1 pair of test and training crystals is the same crystal.",
        },
        f"splits/{tasks[0]}.json": {"test": ids},
    }  # fmt: skip
    for name, value in texts.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps(value, indent=1), encoding="utf-8")
    (folder / "study.toml").write_text('name = "Does a fingerprint help?"\n', encoding="utf-8")


@pytest.fixture(scope="session")
def study_folder(tmp_path_factory) -> Path:
    return write_study_folder(tmp_path_factory.mktemp("study"))
