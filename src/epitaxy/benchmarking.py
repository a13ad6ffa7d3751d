"""Whole studies: records, tables and a page out of one file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from epitaxy.evaluation.study.benchmark import Benchmark, describe_study, run_study
from epitaxy.evaluation.study.specification import Study
from epitaxy.report.folder import report_folder

__all__ = ["benchmark", "describe_study"]


def benchmark(
    study: str | Path | Mapping[str, Any] | Study,
    *,
    out: str | Path | None = None,
    jobs: int | None = None,
    run: bool = True,
    progress: bool = True,
) -> Benchmark:
    """Run a study, or go on with it, and write its records, tables and page.

    Everything is as ``epitaxy.evaluation.study.benchmark.run_study`` says.

    Args:
        study: a TOML file, the name of one of ours, its values, or a Study.
        out: the study's folder; ``runs/<name>`` unless told.
        jobs: works at a time, one process each; as many as there are cores unless told.
        run: False writes records and tables of what is there.
        progress: whether to tell on the standard error what has ended and what is left.
    """
    found = run_study(study, out=out, jobs=jobs, run=run, progress=progress)
    if len(found.records.predictions):
        report_folder(found.folder)
    return found
