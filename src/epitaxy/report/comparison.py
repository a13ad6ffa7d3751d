"""The page of a comparison: a study of one task and one size, from the same building blocks."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from epitaxy.report.plots.errors import errors
from epitaxy.report.plots.learning_curves import learning_curves
from epitaxy.report.plots.parity import parity
from epitaxy.report.plots.style import save
from epitaxy.report.study import NUMBERS, TEXT, Study, typed
from epitaxy.report.study_page import write_study

MANIFEST_FILE = "manifest.json"
OURS = ("scratch", "pre-trained")


def write_comparison(
    folder: Path,
    title: str,
    verdict: str,
    results: pd.DataFrame,
    predictions: pd.DataFrame,
    curves: pd.DataFrame,
    tuning: pd.DataFrame,
    notes: Sequence[str] = (),
    manifest: Mapping[str, Any] | None = None,
) -> Path:
    """Draw the figures, write ``index.html``, and return its path.

    Title and notes are kept in ``page.json``, so that ``epitaxy report`` writes the page again.
    Published figures are shown where ``published.csv`` lies in the folder.
    """
    save(parity(predictions), folder / "parity")
    save(errors(predictions, results), folder / "errors")
    save(learning_curves(curves), folder / "learning_curves")
    told = {"title": title, "sentence": verdict, "notes": list(notes)}
    text = json.dumps(told, indent=1, ensure_ascii=False) + "\n"
    (folder / "page.json").write_text(text, encoding="utf-8")
    tables = {
        "results": results, "predictions": predictions, "curves": curves, "tuning": tuning,
        **_published(folder),
    }  # fmt: skip
    made = _json(folder / MANIFEST_FILE) if manifest is None else manifest
    return write_study(folder, as_study(told, tables, made), figures=False)


def read_comparison(folder: Path) -> Study:
    """Read a comparison that has ended from its folder."""
    manifest = _json(folder / MANIFEST_FILE)
    told = {"title": folder.resolve().name, "sentence": manifest.get("report", ""), "notes": []}
    tables = {
        name: pd.read_csv(folder / f"{name}.csv", dtype=str, keep_default_na=False)
        for name in ("results", "predictions", "curves", "tuning")
    }
    tables |= _published(folder)
    return as_study({**told, **_json(folder / "page.json")}, tables, manifest)


def as_study(
    told: Mapping[str, Any], tables: Mapping[str, pd.DataFrame], manifest: Mapping[str, Any]
) -> Study:
    """Return a comparison's records as those of a study with one task."""
    results, predictions = tables["results"], tables["predictions"]
    task = str(predictions["target"].iloc[0])
    size = pd.to_numeric(results["train"], errors="coerce").max()
    compared = results["improvement_percent"].astype(str).str.lower().isin(("", "nan", "<na>"))
    gains = {str(c) for c, none in zip(results["contender"], compared, strict=True) if not none}
    reference = next((str(one) for one in results["contender"] if one in ("scratch",)), "")
    results = results.assign(
        task=task,
        size=size,
        reference=[reference if gains else "" for _ in range(len(results))],
    )
    runs = predictions.drop_duplicates(["contender", "seed"])
    labels = {name: "ours" if name in OURS else "baseline" for name in runs["contender"]}
    records = runs[["contender", "seed", "target", "unit"]].assign(
        label=[labels[name] for name in runs["contender"]], status="done"
    )
    empty = {name: pd.DataFrame(columns=[*TEXT[name], *NUMBERS[name]]) for name in TEXT}
    found: dict[str, pd.DataFrame] = {
        **empty,
        "records": records.assign(task=task, size=size),
        "results": results,
        **{
            name: tables[name].assign(task=task, size=size)
            for name in ("predictions", "curves", "tuning", "published")
            if name in tables
        },
    }
    tidy: dict[str, Any] = {name: typed(table, name) for name, table in found.items()}
    return Study(
        title=str(told["title"]),
        sentence=str(told["sentence"]),
        verdicts=(),
        manifest=manifest,
        notes=[str(note) for note in told["notes"]],
        kind="comparison",
        **tidy,
    )


def _published(folder: Path) -> dict[str, pd.DataFrame]:
    file = folder / "published.csv"
    if not file.is_file():
        return {}
    return {"published": pd.read_csv(file, dtype=str, keep_default_na=False)}


def _json(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
