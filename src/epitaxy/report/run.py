"""The page of a run: what a training did, epoch by epoch."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from epitaxy.errors import InputError
from epitaxy.report.charts.frame import looks
from epitaxy.report.charts.lines import by_epoch
from epitaxy.report.findings import manifest_pairs
from epitaxy.report.page import Charts, Fold, Items, Section, Text, render, table_of, write_page
from epitaxy.report.plots.learning_curves import learning_curves
from epitaxy.report.plots.style import save

METRICS_FILE = "metrics.jsonl"
KINDS = {"pretrain": "pre-training", "finetune": "fine-tuning"}
NO_METRICS = ("epoch", "step", "split", "seconds")


def write_run(folder: Path, manifest: Mapping[str, Any]) -> Path:
    """Write the page of a pre-training or fine-tuning, and its curves as PNG and SVG."""
    curves = _curves(folder, manifest)
    sections = []
    if len(curves):
        look = looks(list(dict.fromkeys(curves["contender"])))
        charts = [
            by_epoch(f"curve-{place}", own, look, {})
            for place, (_, own) in enumerate(curves.groupby("metric", sort=False))
        ]
        charts = [type(one)(**{**vars(one), "legend": (), "caption": ""}) for one in charts]
        caption = "Validation bold, training thin."
        sections.append(Section("During training", "curves", [Charts(charts, caption=caption)]))
        last = curves[curves["epoch"] == curves["epoch"].max()]
        final = last.pivot_table(index="metric", columns="split", values="value", sort=False)
        table = table_of("At the last epoch", final.reset_index().rename_axis(columns=None))
        sections.append(Section("Figures of merit", "merit", [table]))
        save(learning_curves(curves), folder / "learning_curves")
    else:
        words = "No epoch has ended yet: there is nothing to draw."
        sections.append(Section("During training", "curves", [Text(words, "quiet")]))
    card = _json(folder / "model.json")
    told = [str(line) for line in str(manifest.get("report", "")).splitlines() if line]
    made: list[Any] = [Items(told)] if told else []
    if card.get("coverage"):
        made.append(Text("Elements seen: " + " ".join(map(str, card["coverage"]))))
    made.append(Fold("Manifest", [manifest_pairs(manifest)]))
    sections.append(Section("How it was made", "made", made))
    kind = KINDS.get(str(manifest.get("kind")), "run")
    verdict = _verdict(manifest, curves)
    return write_page(folder, render(folder.resolve().name, verdict, sections, kind))


def _verdict(manifest: Mapping[str, Any], curves: pd.DataFrame) -> str:
    status = str(manifest.get("status", "unknown"))
    sentence = f"The run is {status}" if not status.startswith("stopped") else f"The run {status}"
    crystals = manifest.get("data", {}).get("crystals")
    sentence += f", on {crystals:,} crystals" if isinstance(crystals, int) else ""
    epochs = int(curves["epoch"].max()) if len(curves) else 0
    sentence += f", after {epochs} epochs" if epochs else ""
    seconds = manifest.get("seconds")
    sentence += f" and {seconds:,.0f} s" if isinstance(seconds, int | float) else ""
    return f"{sentence}. Whether it helps is for a comparison to say."


def _curves(folder: Path, manifest: Mapping[str, Any]) -> pd.DataFrame:
    """Return the metrics of every epoch; a line that a crash cut short is left out."""
    columns = ["contender", "seed", "epoch", "split", "metric", "value", "unit"]
    file = folder / METRICS_FILE
    rows = []
    for line in file.read_text(encoding="utf-8").splitlines() if file.is_file() else ():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if not isinstance(row, dict) or "epoch" not in row:
            continue
        for name, value in row.items():
            if name not in NO_METRICS and isinstance(value, int | float):
                at = (folder.resolve().name, 0, row["epoch"], row.get("split", "train"))
                rows.append((*at, name, float(value), ""))
    table = pd.DataFrame(rows, columns=columns)
    parts = [name for name in table["metric"].unique() if str(name).endswith("/loss")]
    if len(parts) == 1:  # the sum of one
        table = table[table["metric"] != parts[0]]
    table = table[np.isfinite(table["value"].astype(float))]
    own = _units(manifest, folder)
    return table.assign(unit=[own.get(str(name), "") for name in table["metric"]])


def _units(manifest: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """Return the unit of the MAE, where a single property is learned."""
    units = [
        (one.get("fitted") or {}).get("unit")
        for one in _json(folder / "model.json").get("objectives", [])
    ]
    known = [unit for unit in units if unit]
    return {"property/mae": str(known[0])} if len(known) == 1 else {}


def _json(file: Path) -> dict[str, Any]:
    try:
        return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    except ValueError as error:
        raise InputError(f"{file} is no JSON: {error}.") from error
