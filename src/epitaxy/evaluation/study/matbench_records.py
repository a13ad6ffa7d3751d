"""MatBench's own form of record, for the tasks of a study that are MatBench's."""

from pathlib import Path

import numpy as np
import pandas as pd

from epitaxy.datasets.matbench import matbench_task, rows_in_file
from epitaxy.evaluation.matbench import MatbenchResults, write_matbench
from epitaxy.evaluation.study.ledger import Ledger
from epitaxy.evaluation.study.plan import TaskData
from epitaxy.evaluation.study.rows import Row


def write_matbench_records(ledger: Ledger, predictions: pd.DataFrame) -> list[Path]:
    """Write ``matbench/CONTENDER/results.json.gz`` of every contender that has predicted all folds.

    A record holds the first seed and the most training crystals; MatBench asks for all of them,
    and the record says how many there were.
    """
    tasks = [task for task in ledger.plan.tasks if task.given.matbench is not None]
    written = []
    for row in ledger.plan.rows:
        mine = {}
        for task in tasks:
            found = _results(row, task, predictions)
            if found is not None:
                mine[str(task.given.matbench)] = found
        if mine:
            file = ledger.folder / "matbench" / folder_name(row.name) / "results.json.gz"
            write_matbench(file, mine, {"algorithm": row.name, "label": row.label})
            written.append(file)
    return written


def folder_name(name: str) -> str:
    """Return a name as a folder may have it.

    >>> folder_name("fp [epoch=5, mean]")
    'fp_epoch_5_mean'
    """
    parts = "".join(letter if letter.isalnum() or letter in "-." else " " for letter in name)
    return "_".join(parts.split())


def _results(row: Row, task: TaskData, predictions: pd.DataFrame) -> MatbenchResults | None:
    size = max(task.splits.sizes)
    known = matbench_task(str(task.given.matbench))
    mine = predictions[
        (predictions["task"] == task.name)
        & (predictions["contender"] == row.name)
        & (predictions["size"] == size)
        & (predictions["seed"] == 0)
    ]
    if len(mine) < known.rows:
        return None
    crystals = task.data.crystals
    truth, values = np.full(known.rows, np.nan), np.full(known.rows, np.nan)
    places = rows_in_file(known, crystals.ids)
    found = dict(zip(mine["id"], mine["value"], strict=True))
    truth[places] = crystals.target(task.target).values.double().numpy()
    values[places] = [found[text] for text in crystals.ids]
    return MatbenchResults(truth, values, {"training crystals": size, "seed": 0})
