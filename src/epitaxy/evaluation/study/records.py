"""Tidy records of a study: one row per fit, per prediction, per epoch, per setting tried."""

import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from epitaxy.evaluation.statistics import FEWEST_SEEDS, verdict
from epitaxy.evaluation.study.cells import Cell, Outcome
from epitaxy.evaluation.study.ledger import Ledger
from epitaxy.evaluation.study.mapping import collect_maps
from epitaxy.evaluation.study.plan import TaskData
from epitaxy.evaluation.summary import compare_contenders, summarize
from epitaxy.training.checkpoint import read_card
from epitaxy.training.files import write_atomically, write_json
from epitaxy.training.predict import formulas

BINARY = ("predictions", "maps")  # one row per crystal and more: Parquet, the others CSV
IMPROVEMENT = ("improvement_percent", "improvement_low", "improvement_high")
RESULT_COLUMNS = (
    "task",
    "size",
    "contender",
    "label",
    "mae",
    "mae_low",
    "mae_high",
    "reference",
    *IMPROVEMENT,
    "wins_percent",
    "seeds",
    "train",
    "test",
    "unit",
)


@dataclass(frozen=True, eq=False)
class Records:
    """All records of a study; every table is tidy and says which task, size and contender.

    Attributes:
        records: one row per task, size, contender, seed and fold, with status and reason.
        predictions: of test crystals, by the settings that were chosen.
        results: one row per task, size and contender.
        curves: epochs of the chosen fits.
        tuning: every setting tried, with its validation error.
        pretraining: one row per pre-training.
        published: what others report for the tasks.
        maps: places of crystals in a plane, by representations that are not fine-tuned.
        verdicts: what each interval says, in a sentence.
        sentence: what all of it says.
    """

    records: pd.DataFrame
    predictions: pd.DataFrame
    results: pd.DataFrame
    curves: pd.DataFrame
    tuning: pd.DataFrame
    pretraining: pd.DataFrame
    published: pd.DataFrame
    maps: pd.DataFrame
    verdicts: tuple[Mapping[str, Any], ...]
    sentence: str

    def tables(self) -> dict[str, pd.DataFrame]:
        """Return the tables by the names of their files."""
        kinds = (pd.DataFrame,)
        return {name: value for name, value in vars(self).items() if isinstance(value, kinds)}


def collect(ledger: Ledger) -> Records:
    """Return the records of what is done so far; the rest is there as waiting or failed."""
    found = {cell: ledger.outcome(cell) for cell in ledger.cells}
    predictions = _predictions(found)
    results, verdicts = _results(ledger, predictions)
    records = pd.DataFrame([_record(ledger, *pair) for pair in found.items()])
    return Records(
        records=records,
        predictions=predictions,
        results=results,
        curves=_curves(found),
        tuning=_tuning(found),
        pretraining=_pretraining(ledger),
        published=_published(ledger.plan.tasks),
        maps=collect_maps(ledger),
        verdicts=tuple(verdicts),
        sentence=_sentence(records, results),
    )


def write_records(ledger: Ledger, found: Records) -> None:
    """Write the records into the study's folder, each file as a whole."""
    folder = ledger.folder
    for name, table in found.tables().items():
        if name in BINARY:
            content = io.BytesIO()
            table.to_parquet(content, index=False)
            write_atomically(folder / f"{name}.parquet", content.getvalue())
        else:
            write_atomically(folder / f"{name}.csv", table.to_csv(index=False).encode())
    write_json(
        folder / "verdicts.json", {"sentence": found.sentence, "verdicts": list(found.verdicts)}
    )
    for task in ledger.plan.tasks:
        ids = task.data.crystals.ids
        write_json(folder / "splits" / f"{task.name}.json", task.splits.to_json(ids))


def complete(predictions: pd.DataFrame, count: int) -> pd.DataFrame:
    """Return the predictions of contenders and seeds that predict all ``count`` crystals."""
    if predictions.empty:
        return predictions
    counts = predictions.groupby(["contender", "seed"])["id"].transform("size")
    return predictions[counts == count]


def _record(ledger: Ledger, cell: Cell, outcome: Outcome) -> dict[str, Any]:
    row, task = cell.row, cell.task
    truth = _truth(cell)
    errors = [abs(a - b) for a, b in zip(truth, outcome.values, strict=False)]
    keys = {key for one in ledger.plan.rows for key in one.values}
    return {
        "task": task.name,
        "target": task.target,
        "unit": task.unit,
        "size": cell.size,
        "contender": row.name,
        "label": row.label,
        "backbone": row.backbone.get("name", ""),
        "pretraining": "" if row.origin is None else row.origin.name,
        "seed": cell.seed,
        "fold": "" if cell.fold is None else cell.fold,
        "setting": outcome.setting,
        "validation_mae": outcome.validation_mae,
        "test_mae": sum(errors) / len(errors) if errors else math.nan,
        "seconds": outcome.seconds,
        "status": outcome.status,
        "reason": outcome.reason,
        **{key: _plain(row.values.get(key, "")) for key in sorted(keys)},
    }


def _plain(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, dict | list | tuple) else value


def _truth(cell: Cell) -> list[float]:
    target = cell.task.data.crystals.target(cell.task.target)
    return target.values.double()[list(cell.part.test)].tolist()


def _predictions(found: Mapping[Cell, Outcome]) -> pd.DataFrame:
    columns = ["task", "target", "unit", "size", "contender", "seed", "fold", "id", "formula"]
    columns += ["truth", "value"]
    tables = []
    named: dict[str, list[str]] = {}
    for cell, outcome in found.items():
        if not outcome.values:
            continue
        task = cell.task
        crystals = task.data.crystals
        names = named.setdefault(task.name, formulas(crystals))
        tables.append(
            pd.DataFrame(
                {
                    "task": task.name,
                    "target": task.target,
                    "unit": task.unit,
                    "size": cell.size,
                    "contender": cell.row.name,
                    "seed": cell.seed,
                    "fold": pd.array([cell.fold] * len(outcome.values), dtype="Int64"),
                    "id": [crystals.ids[row] for row in cell.part.test],
                    "formula": [names[row] for row in cell.part.test],
                    "truth": _truth(cell),
                    "value": outcome.values,
                }
            )
        )
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)


def _results(
    ledger: Ledger, predictions: pd.DataFrame
) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    """Return MAEs with intervals and, against each contender's reference, what they say."""
    tables, verdicts = [], []
    for task in ledger.plan.tasks:
        for size in task.splits.sizes:
            mine = predictions[(predictions["task"] == task.name) & (predictions["size"] == size)]
            mine = complete(mine, task.splits.tested)
            for row in ledger.plan.rows:
                own = mine[mine["contender"] == row.name]
                other = mine[mine["contender"] == row.reference]
                if own.empty:
                    continue
                shared = set(own["seed"]) & set(other["seed"])
                reference = row.reference if shared else None
                both = pd.concat([own, other]) if reference else own
                table = summarize(both, reference=reference, train_size=size)
                table = table[table["contender"] == row.name]
                table = table.assign(task=task.name, size=size, label=row.label)
                tables.append(table.assign(reference=row.reference or ""))
                if reference is not None:
                    verdicts.append(_verdict(task, size, row.name, reference, both))
    if not tables:
        return pd.DataFrame(columns=list(RESULT_COLUMNS)), []
    return pd.concat(tables, ignore_index=True)[list(RESULT_COLUMNS)], verdicts


def _verdict(
    task: TaskData, size: int, contender: str, reference: str, both: pd.DataFrame
) -> dict[str, Any]:
    found = compare_contenders(both, contender, reference)
    return {
        "task": task.name,
        "size": size,
        "contender": contender,
        "reference": reference,
        "sentence": verdict(found, contender, reference, task.unit, size),
        "improvement_percent": 100.0 * found.relative,
        "low": 100.0 * found.relative_low,
        "high": 100.0 * found.relative_high,
    }


def _curves(found: Mapping[Cell, Outcome]) -> pd.DataFrame:
    columns = ["task", "size", "contender", "seed", "fold", "epoch", "split", "metric", "value"]
    rows = [
        {
            "task": cell.task.name,
            "size": cell.size,
            "contender": cell.row.name,
            "seed": cell.seed,
            "fold": "" if cell.fold is None else cell.fold,
            "epoch": row["epoch"],
            "split": row["split"],
            "metric": "mae",
            "value": row["property/mae"],
            "unit": cell.task.unit,
        }
        for cell, outcome in found.items()
        for row in outcome.curve
    ]
    return pd.DataFrame(rows, columns=[*columns, "unit"])


def _tuning(found: Mapping[Cell, Outcome]) -> pd.DataFrame:
    columns = ["task", "size", "contender", "seed", "fold", "setting", "validation_mae", "chosen"]
    rows = [
        {
            "task": cell.task.name,
            "size": cell.size,
            "contender": cell.row.name,
            "seed": cell.seed,
            "fold": "" if cell.fold is None else cell.fold,
            "setting": setting,
            "validation_mae": error,
            "chosen": setting == outcome.setting and outcome.folder is not None,
            "run": "" if outcome.folder is None else outcome.folder.name,
        }
        for cell, outcome in found.items()
        for setting, error in outcome.tried.items()
    ]
    return pd.DataFrame(rows, columns=[*columns, "run"])


def _pretraining(ledger: Ledger) -> pd.DataFrame:
    columns = ["name", "backbone", "objectives", "crystals", "atoms_seen", "seconds", "folder"]
    rows = []
    for origin, work in ledger.pretrainings():
        folder = origin.run if work is None else work.folder
        if work is not None and not ledger.done(work):
            continue
        assert folder is not None
        card = read_card(folder)
        manifest = folder / "manifest.json"
        told = json.loads(manifest.read_text(encoding="utf-8")) if manifest.is_file() else {}
        data = None if work is None else ledger.plan.pretraining_data[origin.name]
        epochs = origin.epoch or card.get("recipe", {}).get("training", {}).get("epochs", math.nan)
        rows.append(
            {
                "name": origin.name,
                "backbone": card["backbone"]["name"],
                "objectives": json.dumps([one["settings"] for one in card["objectives"]]),
                "crystals": told.get("data", card.get("data", {})).get("crystals", math.nan),
                "atoms_seen": math.nan if data is None else data.crystals.atom_total * epochs,
                "seconds": told.get("seconds", math.nan),
                "folder": str(folder),
            }
        )
    return pd.DataFrame(rows, columns=columns)


def _published(tasks: Sequence[TaskData]) -> pd.DataFrame:
    columns = ["task", "who", "mae", "unit", "protocol", "source"]
    known = [task.published for task in tasks if len(task.published)]
    return pd.concat(known, ignore_index=True) if known else pd.DataFrame(columns=columns)


def _sentence(records: pd.DataFrame, results: pd.DataFrame) -> str:
    """Return what the study says as a whole, contender by contender."""
    waiting, failed = ((records["status"] == one).sum() for one in ("waiting", "failed"))
    parts = []
    judged = results[results["improvement_percent"].notna() & (results["label"] != "baseline")]
    for name, group in judged.groupby("contender", sort=False):
        helps = int((group["improvement_low"] > 0).sum())
        hurts = int((group["improvement_high"] < 0).sum())
        mean = group["improvement_percent"].mean()
        reference = group["reference"].iloc[0]
        parts.append(
            f"{name} helps in {helps} and hurts in {hurts} of {len(group)} comparisons with "
            f"{reference}, on average {mean:+.1f} %"
        )
    if not parts:
        parts = ["No comparison yet"]
    if failed:
        parts.append(f"{failed} of {len(records)} fits failed")
    if waiting:
        parts.append(f"{waiting} of {len(records)} are still to be made")
    few = judged["seeds"].max() < FEWEST_SEEDS if len(judged) else False
    doubt = f"Too few seeds to trust (fewer than {FEWEST_SEEDS}): " if few else ""
    return f"{doubt}{'; '.join(parts)}."
