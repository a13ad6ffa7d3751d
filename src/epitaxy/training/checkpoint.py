"""Checkpoints: safetensors beside one JSON, safe to take from strangers, strict when read."""

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from epitaxy.backbones.base import Backbone
from epitaxy.crystals.crystals import Crystals
from epitaxy.errors import CheckpointError, EpitaxyError
from epitaxy.objectives.base import Objective, Predicts
from epitaxy.registry import Component, build, name_of, package_of, settings_of
from epitaxy.training.coverage import Coverage
from epitaxy.training.files import write_atomically, write_json
from epitaxy.training.weights import shipped_names, weights_folder

CARD_FILE = "model.json"
FORMAT = "epitaxy-checkpoint"
FORMAT_VERSION = 1
GOLDEN_TOLERANCE = 1e-3  # relative; machines differ in the last float32 digits only


@dataclass(frozen=True, eq=False)
class Model:
    """A backbone with its objectives' heads, and what is known of how it came about.

    Attributes:
        backbone: the encoder.
        objectives: prepared objectives, in the order of ``heads``.
        heads: one module per objective.
        coverage: elements and surroundings of the training crystals.
        card: recipe, seed, data, ancestry, versions, figures.
        folder: where it was loaded from or saved to, if anywhere.
    """

    backbone: Backbone
    objectives: tuple[Objective, ...]
    heads: nn.ModuleList
    coverage: Coverage
    card: Mapping[str, Any] = field(default_factory=dict)
    folder: Path | None = None

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the properties that it predicts."""
        return tuple(name for objective in self.objectives for name in objective.needs)

    @property
    def name(self) -> str:
        """The folder's name, or the recipe's."""
        if self.folder is not None:
            return self.folder.name
        return str(self.card.get("recipe", {}).get("name", "model"))


def versions() -> dict[str, str]:
    """Return the versions of what a result depends on."""
    found = {"python": platform.python_version()}
    for package in ("epitaxy", "torch", "lightning", "numpy", "vesin"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def save_model(model: Model, folder: Path, probe: Crystals) -> Model:
    """Write the model into a folder and return it as saved; the JSON, written last, makes it valid.

    ``probe`` are a few crystals whose encoding is written down, for ``load_model`` to check.
    An earlier checkpoint in the folder is replaced only when the new one is complete.
    """
    content = save_tensors(_tensors(model))
    digest = hashlib.sha256(content).hexdigest()
    weights = folder / f"weights-{digest[:12]}.safetensors"
    if not weights.is_file():
        write_atomically(weights, content)
    card = {
        **model.card,
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "weights": {"file": weights.name, "sha256": digest},
        "backbone": settings_of(model.backbone),
        "objectives": [
            {"settings": settings_of(objective), "fitted": objective.fitted}
            for objective in model.objectives
        ],
        "coverage": model.coverage.to_json(),
        "golden": _golden(model, probe),
        "versions": versions(),
        "plug_ins": _plug_ins(model.backbone, *model.objectives),
    }
    write_json(folder / CARD_FILE, card)
    for old in folder.glob("weights-*.safetensors"):
        if old != weights:
            old.unlink()
    return replace(model, card=card, folder=folder)


def load_model(path: str | Path) -> Model:
    """Return the model of a checkpoint folder, of its ``model.json``, or of shipped weights.

    Raises CheckpointError where there is none, where it is truncated or altered, of a backbone
    that is not installed, or where it no longer gives the predictions that were written down.
    """
    folder = weights_folder(path)
    folder = folder.parent if folder.name == CARD_FILE else folder
    card = read_card(folder)
    tensors = _read_weights(folder, card)
    try:
        backbone = build("backbones", card["backbone"])
        objectives = tuple(
            build("objectives", one["settings"]).with_fitted(one["fitted"])
            for one in card["objectives"]
        )
        heads = nn.ModuleList(objective.head(backbone) for objective in objectives)
    except (EpitaxyError, KeyError) as error:
        plug_ins = "".join(
            f" and the plug-in {package}, which must be installed for '{name}'"
            for name, package in card.get("plug_ins", {}).items()
        )
        raise CheckpointError(
            f"the checkpoint in {folder} cannot be rebuilt: {error} It was written with "
            f"Epitaxy {card.get('versions', {}).get('epitaxy', 'unknown')}{plug_ins}."
        ) from error
    _fill(backbone, "backbone", tensors, folder)
    _fill(heads, "heads", tensors, folder)
    coverage = Coverage.from_json(card["coverage"])
    model = Model(backbone.eval(), objectives, heads.eval(), coverage, card, folder)
    _check_golden(model, card["golden"], folder)
    return model


def read_card(folder: str | Path) -> dict[str, Any]:
    """Return a checkpoint's JSON; raises CheckpointError where there is none of ours."""
    file = Path(folder) / CARD_FILE
    if not file.is_file():
        raise CheckpointError(f"no checkpoint in {folder}: {_reason_for_none(Path(folder))}")
    try:
        card = json.loads(file.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{file} is damaged: {error}.") from None
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        raise CheckpointError(f"{file} was not written by Epitaxy: its format is not '{FORMAT}'.")
    if card["format_version"] > FORMAT_VERSION:
        raise CheckpointError(f"{file} was written by a newer Epitaxy: update the package.")
    return card


def _reason_for_none(folder: Path) -> str:
    if not folder.exists():
        shipped = ", ".join(shipped_names())
        return f"it does not exist (looked from {Path.cwd()}). Installed weights: {shipped}."
    if not folder.is_dir():
        return "it is a file; name the folder of a run."
    if (folder / "tuning.csv").is_file():
        return "it is a comparison; its models are in its folder fits, the chosen in tuning.csv."
    if (folder / "manifest.json").is_file():
        return "a run was begun there and has not ended: give its command again, it resumes."
    return f"there is no {CARD_FILE}."


def _read_weights(folder: Path, card: Mapping[str, Any]) -> dict[str, Tensor]:
    file = folder / card["weights"]["file"]
    if not file.is_file():
        raise CheckpointError(f"the weights {file} are missing: copy the folder as a whole.")
    content = file.read_bytes()
    if hashlib.sha256(content).hexdigest() != card["weights"]["sha256"]:
        raise CheckpointError(
            f"the weights {file} are truncated or altered: their hash is not the one that "
            f"{CARD_FILE} states. Copy the folder again."
        )
    try:
        return load_tensors(content)
    except SafetensorError as error:
        raise CheckpointError(f"{file} is no safetensors file: {error}.") from None


def _plug_ins(*components: Component) -> dict[str, str]:
    """Return the packages of components that are not our own, by the components' names."""
    packages = {name_of(component): package_of(component) for component in components}
    return {name: package for name, package in packages.items() if package is not None}


def _tensors(model: Model) -> dict[str, Tensor]:
    parts = {"backbone": model.backbone, "heads": model.heads}
    return {
        f"{part}.{name}": value.detach().to("cpu").contiguous().clone()
        for part, module in parts.items()
        for name, value in module.state_dict().items()
    }


def _fill(module: nn.Module, part: str, tensors: Mapping[str, Tensor], folder: Path) -> None:
    own = {k.removeprefix(f"{part}."): v for k, v in tensors.items() if k.startswith(f"{part}.")}
    try:
        module.load_state_dict(own)
    except RuntimeError as error:
        raise CheckpointError(
            f"the weights in {folder} do not fit the {part} that its {CARD_FILE} describes: {error}"
        ) from None


def _golden(model: Model, probe: Crystals) -> dict[str, Any]:
    probe = probe.to("cpu", torch.float32)
    return {
        "crystals": [
            {
                "numbers": crystal.numbers.tolist(),
                "positions": crystal.positions.tolist(),
                "cell": crystal.cell[0].tolist(),
                "pbc": crystal.pbc[0].tolist(),
                "inputs": {name: rows.tolist() for name, rows in crystal.inputs.items()},
            }
            for crystal in (probe[index] for index in range(len(probe)))
        ],
        "values": _summary(model, probe),
    }


def _check_golden(model: Model, golden: Mapping[str, Any], folder: Path) -> None:
    entries: Sequence[Mapping[str, Any]] = golden["crystals"]
    if not entries:
        return
    counts = torch.tensor([0, *(len(one["numbers"]) for one in entries)])
    inputs = {
        name: torch.tensor([row for one in entries for row in one["inputs"][name]])
        for name in entries[0].get("inputs", {})
    }
    crystals = Crystals(
        numbers=torch.tensor([number for one in entries for number in one["numbers"]]),
        positions=torch.tensor([row for one in entries for row in one["positions"]]),
        cell=torch.tensor([one["cell"] for one in entries]),
        pbc=torch.tensor([one["pbc"] for one in entries]),
        offsets=counts.cumsum(0),
        inputs=inputs,
    )
    found, wanted = _summary(model, crystals), golden["values"]
    error = max(_relative_error(found[name], wanted[name]) for name in wanted)
    if not error < GOLDEN_TOLERANCE:
        raise CheckpointError(
            f"the model in {folder} gives other numbers here than where it was saved (relative "
            f"difference {error:.1e}): {model.card.get('versions')} then, {versions()} now."
        )


def _summary(model: Model, crystals: Crystals) -> dict[str, list[float]]:
    """Return node features and predicted properties of a few atoms, in float32 on the CPU."""
    if not len(crystals):
        return {}
    backbone, device = model.backbone, next(model.backbone.parameters()).device
    modes = [(module, module.training) for module in (backbone, model.heads)]
    for module, _ in modes:
        module.eval().to("cpu")
    with torch.no_grad():
        graph = backbone.graph_builder()(crystals)
        encoding = backbone(graph)
        values = {"nodes": encoding.nodes[:, :8].flatten().tolist()}
        for objective, head in zip(model.objectives, model.heads, strict=True):
            if isinstance(objective, Predicts):
                found = objective.outputs(lambda *_: encoding, head, graph)
                values |= {name: rows.flatten().tolist() for name, rows in found.items()}
    for module, mode in modes:
        module.train(mode).to(device)
    return values


def _relative_error(found: Sequence[float], wanted: Sequence[float]) -> float:
    difference = (torch.tensor(found) - torch.tensor(wanted)).abs().max()
    return float(difference / torch.tensor(wanted).abs().max().clamp(min=1e-6))
