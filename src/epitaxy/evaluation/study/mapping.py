"""Maps of a study's crystals: what each pre-training makes of them before any fine-tuning."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pandas as pd
from ase.data import atomic_masses
from jaxtyping import Float
from numpy import ndarray

from epitaxy.crystals.crystals import Crystals
from epitaxy.crystals.elements import symbol
from epitaxy.evaluation.probes import UNTRAINED
from epitaxy.evaluation.study.ledger import Ledger
from epitaxy.evaluation.study.origins import Origin
from epitaxy.evaluation.study.plan import TaskData
from epitaxy.evaluation.study.works import MapWork, digest, failure_of
from epitaxy.training.predict import formulas

MOST_CRYSTALS = 1000  # of a map
MOST_MAPS = 6  # of a task, side by side
METHODS = {"PCA": "pca", "t-SNE": "tsne", "UMAP": "umap"}
UNIT_MASS = 1.66053906892  # u/Å³ in g/cm³, CODATA 2022
COLUMNS = (
    *("pretraining", "task", "id", "formula", "method"),
    *("x", "y", "value", "density", "element"),
)


def map_works(ledger: Ledger) -> list[MapWork]:
    """Return a map for every task and pre-training, and one of the same network untrained.

    No more than six of a task, the first pre-trainings.
    """
    study = ledger.plan.study
    if not study.maps:
        return []
    taken = {origin.name for origin in ledger.plan.origins}
    twin = UNTRAINED if UNTRAINED not in taken else "random weights"
    found = []
    for task in ledger.plan.tasks:
        rows = chosen_rows(len(task.data.crystals))
        for origin, untrained in _contenders(ledger):
            label = twin if untrained else origin.name
            ancestor = ledger.ancestor(origin)
            assert ancestor is not None
            start = dict(origin.backbone) if untrained else ledger.start(origin)
            identity = ["map", start, task.data.fingerprint, rows]
            found.append(
                MapWork(
                    name=f"map of {task.name}, {label}",
                    folder=ledger.folder / "maps" / digest(identity),
                    cost=float(len(rows)),
                    group="map",
                    order={
                        "crystals": str(task.data.file(ledger.folder).absolute()),
                        "rows": rows,
                        "ancestor": str(ancestor.absolute()),
                        "untrained": untrained,
                    },
                    task=task.name,
                    label=label,
                    origin=origin,
                )
            )
    return found


def collect_maps(ledger: Ledger) -> pd.DataFrame:
    """Return the maps that are done: a row for each crystal, pre-training and method."""
    tables = []
    told: dict[str, pd.DataFrame] = {}
    for work in map_works(ledger):
        if not ledger.done(work):
            continue
        task = ledger.plan.task(work.task)
        if task.name not in told:
            told[task.name] = _crystals_told(task)
        for method, plane in work.result["places"].items():
            x, y = np.asarray(plane).T
            named = told[task.name].assign(pretraining=work.label, method=METHODS[method], x=x, y=y)
            tables.append(named[list(COLUMNS)])
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=list(COLUMNS))


def failed_maps(ledger: Ledger) -> list[str]:
    """Return a sentence for every map that failed when it was tried last."""
    told = [(work, failure_of(work)) for work in map_works(ledger) if not ledger.done(work)]
    return [f"{work.name}: {reason}" for work, reason in told if reason]


def chosen_rows(count: int) -> list[int]:
    """Return which of so many crystals a map shows: all, or a thousand drawn by a fixed seed."""
    if count <= MOST_CRYSTALS:
        return list(range(count))
    drawn = np.random.default_rng(0).choice(count, MOST_CRYSTALS, replace=False)
    return np.sort(drawn).tolist()


def mass_densities(crystals: Crystals) -> Float[ndarray, " crystals"]:
    """Return densities in g/cm³; NaN for what does not repeat along all three lattice vectors."""
    masses = np.zeros(len(crystals))
    owner = crystals.crystal_of_atom.numpy()
    np.add.at(masses, owner, atomic_masses[crystals.numbers.long().numpy()])
    periodic = crystals.pbc.all(1).numpy()
    volumes = np.where(periodic, crystals.volumes.double().numpy(), np.nan)
    return UNIT_MASS * masses / volumes


def _contenders(ledger: Ledger) -> list[tuple[Origin, bool]]:
    """Return the pre-trainings, and the first of them for its network untrained.

    One that no row starts from is never made, and has no map.
    """
    used = {row.origin.name for row in ledger.plan.rows if row.origin is not None}
    there = [
        origin for origin, work in ledger.pretrainings() if work is None or origin.name in used
    ]
    found = there[: MOST_MAPS - 1]
    return [*((origin, True) for origin in found[:1]), *((origin, False) for origin in found)]


def _crystals_told(task: TaskData) -> pd.DataFrame:
    chosen = chosen_rows(len(task.data.crystals))
    crystals = task.data.crystals[chosen]
    numbers = crystals.numbers.tolist()
    parts = [numbers[a:b] for a, b in pairwise(crystals.offsets.tolist())]
    return pd.DataFrame(
        {
            "task": task.name,
            "id": list(crystals.ids),
            "formula": formulas(crystals),
            "value": crystals.target(task.target).values.double().numpy(),
            "density": mass_densities(crystals),
            "element": [symbol(Counter(part).most_common(1)[0][0]) for part in parts],
        }
    )
