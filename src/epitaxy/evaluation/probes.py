"""Probes: how well a simple regression on frozen representations predicts a property.

The question is what a representation knows, so the regression is simple and the network is not
trained. Next to every network stands the same one untrained: random features are no weak baseline.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd
import torch

from epitaxy.backbones.base import Backbone
from epitaxy.descriptors.base import Descriptor
from epitaxy.errors import InputError
from epitaxy.evaluation.maps import mapped
from epitaxy.evaluation.nested import CHOSEN, OuterFold, Representation, grouped_folds, nested
from epitaxy.evaluation.probe_results import ranges_table, results_table, sentence
from epitaxy.evaluation.probe_task import DUMMY, ProbeTask
from epitaxy.evaluation.regressions import Learner, learner_named
from epitaxy.nn.statistics import Statistics
from epitaxy.registry import build, name_of, settings_of
from epitaxy.training.checkpoint import Model
from epitaxy.training.embed import model_named
from epitaxy.training.finetune import Ancestor, with_target_only
from epitaxy.training.pretrain import load_crystals
from epitaxy.training.recipe import DataPlan
from epitaxy.training.train import labels_seen, warn_of_new_elements
from epitaxy.units import parse_target

UNTRAINED = "untrained"
SINE, ORBITALS = "sine_matrix", "orbital_field_matrix"
MAPS = 3  # networks that are drawn


@dataclass(frozen=True, eq=False)
class Probed:
    """What a probe found.

    Attributes:
        sentence: what the intervals say.
        results: one row per contender, at the range that was chosen inside the folds.
        ranges: error of every contender at every range (layer, or layers side by side).
        choices: what was chosen for every contender, repetition and outer fold.
        predictions: contender, seed, fold, id, formula, atom (for atoms), target, unit, truth,
            value; every row is predicted by folds that do not hold its crystal.
        maps: contender, method, x, y, family, truth of some rows in two dimensions.
        notes: what was read, skipped, and what to know about it.
    """

    sentence: str
    results: pd.DataFrame
    ranges: pd.DataFrame
    choices: pd.DataFrame
    predictions: pd.DataFrame
    maps: pd.DataFrame
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.sentence


def run_probe(
    data: Any,
    target: str,
    *,
    from_: Ancestor | Sequence[Ancestor],
    descriptors: Sequence[str | Mapping[str, Any]] = (),
    learner: str | Learner = "ridge",
    pooling: Statistics | None = None,
    folds: int = 5,
    inner_folds: int = 4,
    repeats: int = 1,
    untrained: bool = True,
    draw: bool = True,
    extensive: bool | Sequence[str] = (),
    seed: int = 0,
    strict: bool = False,
    progress: bool = True,
) -> Probed:
    """Predict a property of crystals or atoms from frozen representations, by nested folds.

    All contenders have the same folds. The layers are chosen with the regression's constants,
    inside the outer folds. Each network is joined by the same network untrained; a dummy (the
    median), the composition (at atom level: the element) and descriptors stand beside.

    Args:
        data: crystals, anything that ``read_crystals`` reads, or ``"bundled"``.
        target: ``"name[unit]"``, or a name whose unit the data declare; of crystals or of atoms.
        from_: one or several runs, models or checkpoint folders.
        descriptors: names, or settings with a name; or ``"orbital_field_matrix"``, or
            ``"sine_matrix"``, of crystals only.
        learner: ``"ridge"``, ``"rbf"`` or ``"laplacian"`` (kernel ridge), or ``"gp"``.
        pooling: from atoms to crystals; None: sum for extensive targets, else mean.
        folds, inner_folds: for the error, and for the choices; whole crystals in each.
        repeats: how often everything is done, with other folds.
        untrained: whether the untrained networks take part.
        draw: whether maps in two dimensions are made.
        seed: of folds and of untrained weights.

    Raises InputError where the target is missing, is no single finite number, is the same
    everywhere, is of atoms and extensive, or was read in training by one of the models, and where
    there are fewer crystals than folds.
    """
    refuse_repeats(repeats)
    models = named_models(from_)
    name, _ = parse_target(target)
    _refuse_known_labels(models, name)
    built = [_descriptor(one) for one in descriptors if one not in (SINE, ORBITALS)]
    fitted = learner_named(learner) if isinstance(learner, str) else learner
    grows = (name,) if extensive is True else extensive or ()
    crystals, notes, _ = load_crystals(
        DataPlan(), data, seed, strict, targets=(target,), extensive=grows
    )
    crystals, missing = with_target_only(crystals, name)
    if missing:
        notes.append(f"{missing} crystals have no value of '{name}': left out.")
    for label, model in models.items():
        if warning := warn_of_new_elements(model, crystals):
            notes.append(f"{label}: {warning}")
    task = ProbeTask.of(crystals, name, pooling)
    grouped_folds(task.groups, folds, seed)
    networks = _networks(models, seed if untrained else None)
    sources: dict[str, Callable[[], Representation]] = {
        **{label: partial(task.network, one) for label, one in networks.items()},
        "composition" if task.level == "crystal" else "element": task.elements,
        **({SINE: task.sine_matrix} if SINE in descriptors else {}),
        **({ORBITALS: task.orbital_field_matrix} if ORBITALS in descriptors else {}),
        **{label: partial(task.descriptor, one) for label, one in _labeled(built).items()},
    }
    records: list[pd.DataFrame] = []
    choices: list[dict[str, Any]] = []
    maps: list[pd.DataFrame] = []
    for label, source in sources.items():
        if progress:
            print(f"probing {label}", file=sys.stderr)
        representation = source()
        for repeat in range(repeats):
            found = nested(
                representation, task.truth, task.groups, fitted, folds, inner_folds, seed + repeat
            )
            for fold, one in enumerate(found):
                choices.append(_choice(label, repeat, fold, one))
                records += [
                    task.records(label, repeat, fold, range_, one.test, values)
                    for range_, values in one.values.items()
                ]
        if draw and label in networks and len(maps) < MAPS:
            rows = representation.rows(representation.last_layer, slice(None))
            maps.append(mapped(label, rows, task.families, task.truth, seed))
    records += [task.dummy(folds, seed + repeat, repeat) for repeat in range(repeats)]
    everything = pd.concat(records, ignore_index=True)
    predictions = everything[everything["range"] == CHOSEN].drop(columns="range")
    reference = next((label for label in networks if label not in models), DUMMY)
    return Probed(
        sentence=sentence(predictions, [*models], [*networks]),
        results=results_table(predictions, choices, reference),
        ranges=ranges_table(everything),
        choices=pd.DataFrame(choices),
        predictions=predictions.reset_index(drop=True),
        maps=pd.concat(maps, ignore_index=True) if maps else pd.DataFrame(),
        notes=tuple(notes),
    )


def named_models(from_: Ancestor | Sequence[Ancestor]) -> dict[str, Model]:
    """Return the models by their names, which are made to differ."""
    given = from_ if isinstance(from_, Sequence) and not isinstance(from_, str) else [from_]
    models: dict[str, Model] = {}
    for one in given:
        model = model_named(one, "probe")
        label, count = model.name, 1
        while label in models:
            count += 1
            label = f"{model.name} ({count})"
        models[label] = model
    if not models:
        raise InputError("a probe needs a model: name a run with --from.")
    return models


def refuse_repeats(repeats: int) -> None:
    """Raise InputError where nothing would be done."""
    if repeats < 1:
        raise InputError(f"a probe is repeated at least once: repeats = {repeats} is too few.")


def untrained_twin(backbone: Backbone, seed: int) -> Backbone:
    """Return the same architecture with the weights that it starts from."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build("backbones", settings_of(backbone))


def _networks(models: Mapping[str, Model], seed: int | None) -> dict[str, Backbone]:
    """Return the backbones by name, and of every architecture an untrained one."""
    networks = {label: model.backbone for label, model in models.items()}
    if seed is None:
        return networks
    kinds = {str(settings_of(model.backbone)): label for label, model in models.items()}
    for label in kinds.values():
        twin = untrained_twin(models[label].backbone, seed)
        networks[UNTRAINED if len(kinds) == 1 else f"{label}, {UNTRAINED}"] = twin
    return networks


def _descriptor(given: str | Mapping[str, Any]) -> Descriptor:
    return build("descriptors", {"name": given} if isinstance(given, str) else given)


def _labeled(descriptors: Sequence[Descriptor]) -> dict[str, Descriptor]:
    names = [name_of(one) for one in descriptors]
    return {
        name if names.count(name) == 1 else f"{name} ({names[: place + 1].count(name)})": one
        for place, (name, one) in enumerate(zip(names, descriptors, strict=True))
    }


def _choice(contender: str, repeat: int, fold: int, found: OuterFold) -> dict[str, Any]:
    return {
        "contender": contender,
        "seed": repeat,
        "fold": fold,
        "range": found.range,
        "setting": found.settings[found.range],
        "inner_mae": found.inner_errors[found.range],
    }


def _refuse_known_labels(models: Mapping[str, Model], target: str) -> None:
    for label, model in models.items():
        if target in labels_seen(model):
            raise InputError(
                f"the weights of '{label}' were trained on labels of '{target}': test crystals "
                "may be among them. Probe weights that never read this target."
            )
