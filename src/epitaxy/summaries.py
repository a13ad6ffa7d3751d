"""What a run, a recipe or some crystals hold, in words."""

import json
from pathlib import Path
from typing import Any

import torch

from epitaxy.crystals.crystals import Crystals
from epitaxy.crystals.elements import symbol
from epitaxy.datasets.readers import read_with_report
from epitaxy.registry import ROOMS, names
from epitaxy.training.checkpoint import CARD_FILE, read_card
from epitaxy.training.recipe import load_recipe, recipe_names
from epitaxy.training.run import MANIFEST_FILE
from epitaxy.training.weights import shipped_names, weights_folder


def describe(what: str | None) -> str:
    """Return a text on a run's folder, a recipe, or crystals; on nothing, on what is installed."""
    if what is None:
        return _installed()
    path = weights_folder(what)
    if (path / CARD_FILE).is_file() or path.name == CARD_FILE:
        return _of_checkpoint(path)
    if (path / MANIFEST_FILE).is_file():
        return _of_run(path)
    if what in recipe_names() or path.suffix == ".toml":
        return json.dumps(load_recipe(what).model_dump(mode="json"), indent=1, ensure_ascii=False)
    crystals, report = read_with_report(what)
    return f"{report.summary()}\n{describe_crystals(crystals)}"


def describe_crystals(crystals: Crystals) -> str:
    """Return sizes, elements, periodicity and every target's range."""
    counts = crystals.atom_counts
    elements = torch.unique(crystals.numbers).tolist()
    lines = [
        f"{len(crystals)} crystals, {crystals.atom_total} atoms "
        f"({int(counts.min())} to {int(counts.max())} per crystal), {len(elements)} elements: "
        + " ".join(symbol(number) for number in elements),
        f"periodic in three directions: {int(crystals.pbc.all(1).sum())}; in none: "
        f"{int((~crystals.pbc).all(1).sum())}",
    ]
    for name, target in crystals.targets.items():
        present = target.values[target.present()].double()
        size = "extensive" if target.extensive else "intensive"
        head = f"{name} [{target.unit or 'no unit'}], per {target.level}, {size}: "
        body = "all missing"
        if present.numel():
            body = (
                f"{len(present)} values, {float(present.min()):.4g} to {float(present.max()):.4g}, "
                f"mean {float(present.mean()):.4g}"
            )
        lines.append(head + body)
    return "\n".join(lines)


def _installed() -> str:
    lines = [f"{room}: {', '.join(names(room))}" for room in ROOMS]
    folders: dict[str, list[str]] = {}
    for name in recipe_names():
        folder, _, last = name.rpartition("/")
        folders.setdefault(folder, []).append(last)
    for folder, recipes in sorted(folders.items()):
        lines.append(f"recipes{f' {folder}/…' if folder else ''}: {', '.join(recipes)}")
    lines.append(f"weights: {', '.join(shipped_names())}")
    return "\n".join(lines)


def _of_checkpoint(path: Path) -> str:
    folder = path.parent if path.name == CARD_FILE else path
    card: dict[str, Any] = read_card(folder)
    backbone = ", ".join(f"{key}={value}" for key, value in card["backbone"].items())
    objectives = ", ".join(
        " ".join([one["settings"]["name"], str(one["settings"].get("target", ""))]).strip()
        for one in card["objectives"]
    )
    ancestor = card.get("ancestor")
    origin = "from scratch" if ancestor is None else f"from {ancestor['folder']}"
    data = card.get("data", {})
    lines = [
        f"checkpoint {folder} (Epitaxy {card['versions']['epitaxy']}, epoch {card.get('epoch')})",
        f"backbone: {backbone}",
        f"objectives: {objectives}",
        f"trained {origin} on {data.get('training_crystals', 'unknown')} crystals, "
        f"validated on {data.get('validation_crystals', 'unknown')}",
        f"elements: {' '.join(card['coverage'])}",
        *(f"{name}: {_with_unit(name, value, card)}" for name, value in _figures(card)),
    ]
    return "\n".join(lines)


def _figures(card: dict[str, Any]) -> list[tuple[str, float]]:
    return [item for item in card.get("figures", {}).items() if not item[0].endswith("/loss")]


def _with_unit(name: str, value: float, card: dict[str, Any]) -> str:
    fitted: dict[str, Any] = next(
        (one["fitted"] for one in card["objectives"] if "unit" in (one["fitted"] or {})), {}
    )
    unit = fitted.get("unit", "") if name.endswith("mae") else ""
    return f"{value:.4g} {unit}".strip()


def _of_run(path: Path) -> str:
    manifest = json.loads((path / MANIFEST_FILE).read_text(encoding="utf-8"))
    lines = [f"{manifest['kind']} run in {path}: {manifest['status']}"]
    if manifest["kind"] == "compare" and manifest["status"] == "finished":
        lines.append(f"Its page: {path / 'index.html'}; its models: {path / 'fits'}")
    elif manifest["status"] != "finished":
        lines.append("The command that began it goes on from what it saved.")
    if manifest.get("report"):
        lines.append(manifest["report"])
    return "\n".join(lines)
