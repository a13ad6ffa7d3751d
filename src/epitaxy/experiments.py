"""Whole experiments: compare on the user's own data, and the quickstart."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from epitaxy.datasets.bundled import bundled
from epitaxy.datasets.splits import Split
from epitaxy.evaluation.compare import Comparison, run_comparison
from epitaxy.report.comparison import write_comparison
from epitaxy.training.finetune import Ancestor
from epitaxy.training.pretrain import pretrain
from epitaxy.training.recipe import Recipe

QUICKSTART_TARGET = "formation_energy_per_atom"
QUICKSTART_GRID: Mapping[str, Sequence[Any]] = {
    "training.learning_rate": (2e-3,),
    "training.epochs": (25,),
}
QUICKSTART_NOTE = (
    "The crystals and their labels come with the package, for demonstration and tests: the labels "
    "are computed with the CHGNet potential, and no claim about pre-training rests on them. The "
    "pre-training saw all bundled crystals, those of the test set included, but no label of any."
)


def compare(
    data: Any,
    target: str,
    *,
    from_: Ancestor,
    train_size: int | None = None,
    test_size: int | None = None,
    seeds: int = 5,
    grid: Mapping[str, Sequence[Any]] | None = None,
    baselines: str | Sequence[str] = "default",
    published: str | None = None,
    recipe: str | Path | Recipe = "finetune",
    extensive: bool | Sequence[str] = (),
    splits: str | Path | Split | Sequence[Split] | None = None,
    split_seed: int = 0,
    out: str | Path | None = None,
    overwrite: bool = False,
    strict: bool = False,
    jobs: int | None = None,
    progress: bool = True,
    title: str | None = None,
    notes: Sequence[str] = (),
) -> Comparison:
    """Say whether a pre-trained model beats the same model from scratch on these crystals.

    Writes ``results.csv``, ``predictions.csv``, ``curves.csv``, ``tuning.csv``, ``splits.json``,
    the fits with their weights, PNG and SVG figures and ``index.html`` into ``out``. Everything
    else is as ``epitaxy.evaluation.compare.run_comparison`` says.

    Args:
        data: crystals, or anything that ``read_crystals`` reads.
        target: ``"name[unit]"``, or a name whose unit the data declare.
        from_: the pre-trained run, model or checkpoint folder.
        train_size: training crystals per seed; all that test and validation leave unless told.
        test_size: test crystals; a fifth of all, at most 1,000, unless told.
        seeds: repetitions with other training crystals, batch orders and head weights.
        grid: recipe keys and the values to choose from on the validation crystals.
        baselines: ``"default"``, ``"all"``, ``"none"`` or names such as ``"composition-forest"``.
        published: the task whose published figures are shown beside; found by the names of data
            and target unless told.
        splits: a file of ``epitaxy data split``, or what ``ep.split`` returned, with one test set.
        jobs: fits at a time, one process each; as many as there are cores unless told.
    """
    found = run_comparison(
        data,
        target,
        from_=from_,
        train_size=train_size,
        test_size=test_size,
        seeds=seeds,
        grid=grid,
        baselines=baselines,
        published=published,
        recipe=recipe,
        extensive=extensive,
        splits=splits,
        split_seed=split_seed,
        out=out,
        overwrite=overwrite,
        strict=strict,
        jobs=jobs,
        progress=progress,
    )
    write_comparison(
        found.folder,
        title or f"Does pre-training help on {target}?",
        found.sentence,
        found.results,
        found.predictions,
        found.curves,
        found.tuning,
        [*found.notes, *notes],
    )
    return found


def quickstart(
    out: str | Path = "quickstart",
    *,
    overwrite: bool = False,
    jobs: int | None = None,
    progress: bool = True,
) -> Comparison:
    """Pre-train on the bundled crystals without labels, and see whether it helps on 300 labels.

    Leaves ``pretraining/`` and ``comparison/`` with its ``index.html`` in ``out``.
    """
    began = time.monotonic()
    out = Path(out)
    run = pretrain("quickstart", out=out / "pretraining", overwrite=overwrite, progress=progress)
    minutes = (time.monotonic() - began) / 60
    return compare(
        bundled(),
        QUICKSTART_TARGET,
        from_=run,
        train_size=300,
        seeds=3,
        grid=QUICKSTART_GRID,
        out=out / "comparison",
        overwrite=overwrite,
        jobs=jobs,
        progress=progress,
        title="Epitaxy quickstart",
        notes=[QUICKSTART_NOTE, f"The pre-training took {minutes:.1f} minutes."],
    )
