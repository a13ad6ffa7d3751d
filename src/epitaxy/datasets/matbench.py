"""MatBench's structure tasks and their five folds.

Dunn et al., npj Comput. Mater. 6, 138 (2020). The folds are scikit-learn's
``KFold(n_splits=5, shuffle=True, random_state=18012019)`` over the rows in file order, and
``StratifiedKFold`` with the same arguments where the target is a class.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int
from numpy import ndarray
from numpy.typing import ArrayLike
from sklearn.model_selection import KFold, StratifiedKFold

from epitaxy.errors import InputError, did_you_mean

FOLDS = 5
SEED = 18012019


@dataclass(frozen=True)
class MatbenchTask:
    """One task: its name, rows, the column of its target and that target's unit."""

    name: str
    rows: int
    target: str
    unit: str = ""
    classification: bool = False

    def ids(self) -> list[str]:
        """Return MatBench's names of the rows, ``"mb-jdft2d-001"`` …, counted from one."""
        stem = self.name.replace("matbench", "mb").replace("_", "-")
        digits = len(str(self.rows))
        return [f"{stem}-{row:0{digits}d}" for row in range(1, self.rows + 1)]


TASKS = {
    task.name: task
    for task in (
        MatbenchTask("matbench_jdft2d", 636, "exfoliation_en", "meV/atom"),
        MatbenchTask("matbench_phonons", 1265, "last phdos peak", "1/cm"),
        MatbenchTask("matbench_dielectric", 4764, "n"),
        MatbenchTask("matbench_log_gvrh", 10987, "log10(G_VRH)", "log10(GPa)"),
        MatbenchTask("matbench_log_kvrh", 10987, "log10(K_VRH)", "log10(GPa)"),
        MatbenchTask("matbench_perovskites", 18928, "e_form", "eV/unit cell"),
        MatbenchTask("matbench_mp_gap", 106113, "gap pbe", "eV"),
        MatbenchTask("matbench_mp_is_metal", 106113, "is_metal", classification=True),
        MatbenchTask("matbench_mp_e_form", 132752, "e_form", "eV/atom"),
    )
}


def matbench_task(name: str) -> MatbenchTask:
    """Return a task by its name; ``"jdft2d"`` is enough."""
    full = name if name.startswith("matbench_") else f"matbench_{name}"
    if full not in TASKS:
        raise InputError(f"no structure task '{name}' in MatBench. {did_you_mean(full, TASKS)}")
    return TASKS[full]


def matbench_folds(
    count: int, classes: ArrayLike | None = None
) -> list[tuple[Int[ndarray, " train"], Int[ndarray, " test"]]]:
    """Return the rows to train on and to test, for each of the five folds.

    MatBench's training rows include those to validate on. ``classes``, one for each of the
    ``count`` rows, are given where the target is a class.
    """
    if count < FOLDS:
        raise InputError(f"{count} crystals cannot make MatBench's {FOLDS} folds.")
    if classes is None:
        plain = KFold(n_splits=FOLDS, shuffle=True, random_state=SEED)
        return list(plain.split(np.zeros(count)))
    labels = np.asarray(classes)
    if labels.shape != (count,):
        raise InputError(f"{labels.size} classes for {count} rows: give one for each.")
    if int(np.unique(labels, return_counts=True)[1].min()) < FOLDS:
        raise InputError(f"a class has fewer than {FOLDS} members: {FOLDS} folds need as many.")
    stratified = StratifiedKFold(n_splits=FOLDS, shuffle=True, random_state=SEED)
    return list(stratified.split(np.zeros(count), labels))


def rows_in_file(task: MatbenchTask, ids: Sequence[str]) -> Int[ndarray, " crystals"]:
    """Return the row of the task's file that each crystal is, told by its id or its position.

    Ids tell the row where all are MatBench's own (``mb-jdft2d-001``) or the file's index (``0``).
    Otherwise the crystals must be as many as the rows, in file order. Raises InputError if not.
    """
    own = {name: row for row, name in enumerate(task.ids())}
    if all(name in own for name in ids):
        return np.array([own[name] for name in ids])
    if all(re.fullmatch(r"\d+", name) and int(name) < task.rows for name in ids):
        return np.array([int(name) for name in ids])
    if len(ids) != task.rows:
        raise InputError(
            f"{task.name} has {task.rows} rows, and {len(ids)} crystals are given whose ids do not "
            f"say which: keep all rows in their order, or name them '{task.ids()[0]}' …."
        )
    return np.arange(task.rows)
