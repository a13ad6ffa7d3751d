"""Predictions as a table, with a flag where the model is on ground that it has not seen."""

import sys
from itertools import pairwise
from typing import Any

import pandas as pd
import torch

from epitaxy.crystals.crystals import Crystals
from epitaxy.crystals.elements import formula, symbol
from epitaxy.datasets.readers import read_with_report
from epitaxy.errors import InputError
from epitaxy.objectives.property import Property
from epitaxy.training.checkpoint import Model
from epitaxy.training.finetune import Ancestor, as_model
from epitaxy.training.learner import Encoder
from epitaxy.training.pretrain import bundled_or

ATOMS_AT_ONCE = 4000


def predict(model: Ancestor, data: Any, *, strict: bool = False) -> pd.DataFrame:
    """Return the columns id, formula, target, unit, value and flag, one row per target.

    Properties of atoms have a row per atom, with ``atom``, its place in the crystal from 0, and
    ``element`` after the id. The value of a classification is the likeliest class, and
    ``probability`` after it is that class's.

    ``flag`` is empty, or says which element or surroundings the training data did not hold.
    ``data`` is anything that ``read_crystals`` reads, or ``"bundled"``; what could not be read is
    said in ``table.attrs["report"]`` and on the standard error. With ``strict``, crystals that
    cannot be read and crystals with a flag are an InputError.
    """
    loaded = as_model(model)
    if loaded is None:
        raise InputError("predict needs a model: a fine-tuned run, or its folder.")
    if not any(isinstance(objective, Property) for objective in loaded.objectives):
        raise InputError(
            f"the model '{loaded.name}' predicts no property: it is pre-trained only. Fine-tune it "
            "first."
        )
    crystals, report = read_with_report(bundled_or(data), targets=(), strict=strict)
    crystals = crystals.with_targets({})
    if report.skipped:
        print(report.summary(), file=sys.stderr)
    flags = loaded.coverage.flags(crystals)
    if strict:
        _refuse_flagged(crystals, flags)
    outputs = _predicted(loaded, crystals)
    table = pd.concat(
        [_table(crystals, flags, name, *one) for name, one in outputs.items()], ignore_index=True
    )
    table.attrs["report"] = report.summary()
    return table


def predict_values(model: Model, crystals: Crystals) -> dict[str, tuple[torch.Tensor, dict]]:
    """Return target → (values per crystal or atom in the target's unit, its declaration).

    The values of a classification are the likeliest classes.
    """
    return {
        name: (values.argmax(-1).double() if values.ndim > 1 else values, declared)
        for name, (values, declared) in _predicted(model, crystals).items()
    }


def predict_probabilities(model: Model, crystals: Crystals) -> dict[str, torch.Tensor]:
    """Return target → probabilities, shape (crystals or atoms, classes), of classifications."""
    outputs = _predicted(model, crystals)
    return {name: values for name, (values, _) in outputs.items() if values.ndim > 1}


def formulas(crystals: Crystals) -> list[str]:
    """Return every crystal's reduced formula."""
    bounds = crystals.offsets.tolist()
    numbers = crystals.numbers.tolist()
    return [formula(numbers[first:last]) for first, last in pairwise(bounds)]


def _predicted(model: Model, crystals: Crystals) -> dict[str, tuple[torch.Tensor, dict]]:
    """Return target → (values, or probabilities of classes, and its declaration)."""
    crystals = crystals.to(dtype=torch.float32)
    parts: dict[str, list[torch.Tensor]] = {}
    declared: dict[str, dict] = {}
    device = next(model.backbone.parameters()).device
    builder = model.backbone.graph_builder()
    model.backbone.eval()
    with torch.no_grad():
        for chunk in crystals.chunks(ATOMS_AT_ONCE):
            graph = builder(crystals[chunk]).to(device)
            encode = Encoder(model.backbone)
            for objective, head in zip(model.objectives, model.heads, strict=True):
                if isinstance(objective, Property):
                    for name, values in objective.outputs(encode, head.eval(), graph).items():
                        parts.setdefault(name, []).append(values.cpu())
                        declared[name] = dict(objective.declarations[name])
    return {name: (torch.cat(some), declared[name]) for name, some in parts.items()}


def _table(
    crystals: Crystals, flags: list[str], name: str, values: torch.Tensor, declared: dict
) -> pd.DataFrame:
    per_crystal = pd.DataFrame(
        {
            "id": list(crystals.ids),
            "formula": formulas(crystals),
            "target": name,
            "unit": declared["unit"],
            "flag": flags,
        }
    )
    if declared["level"] == "atom":
        owners = crystals.crystal_of_atom
        table = per_crystal.iloc[owners.tolist()].reset_index(drop=True)
        table.insert(1, "atom", (torch.arange(len(owners)) - crystals.offsets[owners]).tolist())
        table.insert(2, "element", [symbol(number) for number in crystals.numbers.tolist()])
    else:
        table = per_crystal
    place = list(table.columns).index("flag")
    if values.ndim == 1:
        table.insert(place, "value", values.double().tolist())
        return table
    best = values.max(-1)
    table.insert(place, "value", best.indices.tolist())
    table.insert(place + 1, "probability", best.values.tolist())
    return table


def _refuse_flagged(crystals: Crystals, flags: list[str]) -> None:
    flagged = [(text, flag) for text, flag in zip(crystals.ids, flags, strict=True) if flag]
    if flagged:
        first = "; ".join(f"'{text}': {flag}" for text, flag in flagged[:3])
        raise InputError(
            f"{len(flagged)} of {len(crystals)} crystals lie outside the training data. {first}. "
            "Without strict they are predicted and flagged."
        )
