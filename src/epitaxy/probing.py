"""A whole probe: predictions, tables, figures and a page in a folder."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from epitaxy.errors import InputError
from epitaxy.evaluation.probes import Probed, named_models, refuse_repeats, run_probe
from epitaxy.nn.statistics import Statistics
from epitaxy.report.probe import write_probe
from epitaxy.training.files import write_atomically
from epitaxy.training.finetune import Ancestor, source_name
from epitaxy.training.run import claim_folder
from epitaxy.training.train import lineage
from epitaxy.units import parse_target


def probe(
    data: Any,
    target: str,
    *,
    from_: Ancestor | Sequence[Ancestor],
    descriptors: Sequence[str | Mapping[str, Any]] = (),
    learner: str = "ridge",
    pooling: Statistics | None = None,
    folds: int = 5,
    inner_folds: int = 4,
    repeats: int = 1,
    untrained: bool = True,
    extensive: bool | Sequence[str] = (),
    seed: int = 0,
    out: str | Path | None = None,
    overwrite: bool = False,
    strict: bool = False,
    progress: bool = True,
) -> Probed:
    """Say how well frozen representations predict a property, and from which layers.

    Writes ``results.csv``, ``ranges.csv``, ``choices.csv``, ``predictions.csv``, ``maps.csv``, PNG
    and SVG figures and ``index.html`` into ``out``; ``runs/probe-<target>-<run>`` unless told.
    Everything else is as ``epitaxy.evaluation.probes.run_probe`` says.
    """
    refuse_repeats(repeats)
    models = named_models(from_)
    name, _ = parse_target(target)
    identity = {
        "kind": "probe",
        "target": target,
        "data": {"source": source_name(data)},
        "models": {label: lineage(model)["sha256"] for label, model in models.items()},
        "descriptors": [one if isinstance(one, str) else dict(one) for one in descriptors],
        "learner": learner,
        "pooling": pooling,
        "folds": [folds, inner_folds],
        "repeats": repeats,
        "untrained": untrained,
        "seed": seed,
    }
    path = Path(out or Path("runs") / f"probe-{name}-{next(iter(models))}")
    if any(path.resolve() == (model.folder or Path()).resolve() for model in models.values()):
        raise InputError(f"{path} holds the weights that are probed: choose another --out.")
    began = time.monotonic()
    folder = claim_folder(path, identity, overwrite)
    with folder.held():
        folder.begin()
        found = run_probe(
            data,
            target,
            from_=[*models.values()],
            descriptors=descriptors,
            learner=learner,
            pooling=pooling,
            folds=folds,
            inner_folds=inner_folds,
            repeats=repeats,
            untrained=untrained,
            extensive=extensive,
            seed=seed,
            strict=strict,
            progress=progress,
        )
        for file in ("results", "ranges", "choices", "predictions", "maps"):
            table = getattr(found, file)
            write_atomically(path / f"{file}.csv", table.to_csv(index=False).encode())
        folder.end(time.monotonic() - began, found.sentence)
        write_probe(
            path,
            f"What is known of {name}",
            found.sentence,
            found.results,
            found.ranges,
            found.choices,
            found.predictions,
            found.maps,
            found.notes,
        )
    return found
