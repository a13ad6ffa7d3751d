"""The report of whatever a folder holds: a study, a comparison, a probe or a run."""

import json
from pathlib import Path
from typing import Any

from epitaxy.errors import InputError
from epitaxy.report.comparison import MANIFEST_FILE, read_comparison
from epitaxy.report.run import write_run
from epitaxy.report.study import is_study, read_study
from epitaxy.report.study_page import write_study


def report_folder(folder: Path | str, figures: bool = True) -> Path:
    """Write the page of a folder, and beside it figures and tables; return the page's path.

    Nothing is trained or predicted: the page is made from the tables that are there, so it may be
    written at any time, while a study is under way too.

    Args:
        folder: what ``benchmark``, ``compare``, ``pretrain`` or ``finetune`` wrote.
        figures: whether figures are written as PNG and SVG files as well.

    Raises InputError where the folder holds none of these.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder: give the one that a run or a study wrote.")
    if is_study(folder):
        return write_study(folder, read_study(folder), figures)
    file = folder / MANIFEST_FILE
    if not file.is_file():
        raise InputError(
            f"{folder} holds no run and no study (neither {MANIFEST_FILE} nor study.json): give "
            "the folder that `epitaxy benchmark`, `compare`, `pretrain` or `finetune` wrote."
        )
    manifest: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    if manifest.get("kind") == "probe":
        raise InputError(
            f"{folder} holds a probe, whose page is written with it: {folder / 'index.html'}."
        )
    if manifest.get("kind") != "compare":
        return write_run(folder, manifest)
    if not (folder / "results.csv").is_file():
        raise InputError(
            f"the comparison in {folder} has not ended: give its command again, it goes on."
        )
    return write_study(folder, read_comparison(folder), figures)
