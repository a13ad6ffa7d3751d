"""What every objective promises, as checks that anyone can call on theirs."""

import copy
import json
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

from epitaxy.backbones.base import Backbone
from epitaxy.crystals.crystals import Crystals
from epitaxy.crystals.neighbors import GraphBuilder
from epitaxy.crystals.targets import Target
from epitaxy.datasets.bundled import bundled
from epitaxy.errors import did_you_mean
from epitaxy.objectives.base import Objective, View
from epitaxy.testing import examples
from epitaxy.testing.backbones import shaken_copy
from epitaxy.training.learner import Encoder
from epitaxy.training.loader import graph_builder, seeded_generator

TOLERANCE = 1e-8  # of the loss, and of the largest label, in double precision
STEPS, RATE = 10, 5e-3  # of the training in which a loss has to fall
LEAST_FALL = 0.01  # of the loss


@dataclass(frozen=True, eq=False)
class Lesson:
    """A backbone, a prepared objective with its head, and crystals to learn from.

    ``unreached`` are patterns of weights that the loss need not depend on.
    """

    backbone: Backbone
    objective: Objective
    head: nn.Module
    crystals: Crystals
    build_graph: GraphBuilder
    unreached: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        objective: Objective,
        backbone: Backbone,
        crystals: Crystals,
        unreached: Collection[str] = (),
    ) -> "Lesson":
        """Return the objective prepared on the crystals, and a head; all follow from a seed."""
        dtype = next(backbone.parameters()).dtype
        crystals = replace(
            crystals,
            positions=crystals.positions.to(dtype),
            cell=crystals.cell.to(dtype),
            targets={
                name: target.with_values(target.values.double())
                for name, target in crystals.targets.items()
            },
        )
        builder = graph_builder(backbone, [objective])
        objective = objective.prepare(crystals, builder, seeded_generator("prepare"))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            head = objective.head(backbone).to(dtype)
        return cls(backbone, objective, head, crystals, builder, tuple(unreached))

    def copy(self) -> "Lesson":
        """Return the same with weights of its own."""
        return replace(self, backbone=copy.deepcopy(self.backbone), head=copy.deepcopy(self.head))

    def view(self, seed: int = 0, crystals: Crystals | None = None) -> View:
        """Return the view that belongs to a seed; labels take the weights' type."""
        given = self.crystals if crystals is None else crystals
        view = self.objective.view(given, self.build_graph, seeded_generator("view", seed))
        dtype = next(self.backbone.parameters()).dtype
        labels = {
            name: label.with_values(label.values.to(dtype)) for name, label in view.labels.items()
        }
        return replace(view, labels=labels)

    def figures(self, view: View) -> dict[str, Tensor]:
        """Return the loss and what is logged besides."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return self.objective.loss(Encoder(self.backbone), self.head, view)

    def judged(self, view: View) -> dict[str, float]:
        """Return the figures in evaluation mode, as validation takes them."""
        for module in (self.backbone, self.head):
            module.eval()
        with torch.set_grad_enabled(self.objective.derivatives):
            found = {name: float(value.detach()) for name, value in self.figures(view).items()}
        for module in (self.backbone, self.head):
            module.train()
        return found

    def parameters(self) -> dict[str, nn.Parameter]:
        """Return all weights, as ``backbone.…`` and ``head.…``."""
        parts = {"backbone": self.backbone, "head": self.head}
        return {
            f"{part}.{name}": parameter
            for part, module in parts.items()
            for name, parameter in module.named_parameters()
        }


def check_objective(
    objective: Objective | Callable[[], Objective],
    backbone: Backbone | Callable[[], Backbone],
    crystals: Crystals | None = None,
    unreached: Collection[str] = (),
    skip: Collection[str] = (),
) -> None:
    """Raise AssertionError that says which promise an objective breaks on a backbone.

    Args:
        objective: one, not prepared, or what makes one.
        backbone: one, or what makes one; a copy is used, in double precision, its parameters
            shaken so that none is zero.
        crystals: with the labels that the objective needs; some of the bundled ones unless given.
        unreached: weights that the loss need not depend on, as ``"backbone.blocks.2.*"`` or
            ``"head.…"``. Each has to name some that it really does not depend on.
        skip: names of checks of ``OBJECTIVE_CHECKS`` to leave out.
    """
    for name in skip:
        if name not in OBJECTIVE_CHECKS:
            raise ValueError(f"no check '{name}'. {did_you_mean(name, OBJECTIVE_CHECKS)}")
    made = objective if isinstance(objective, Objective) else objective()
    network = shaken_copy(backbone if isinstance(backbone, Backbone) else backbone()).train()
    given = some_crystals() if crystals is None else crystals
    lesson = Lesson.of(made, network, given, unreached)
    for name, check in OBJECTIVE_CHECKS.items():
        if name not in skip:
            check(lesson)


def some_crystals(count: int = 5) -> Crystals:
    """Return small bundled crystals of two to five atoms, with all their labels.

    An odd number unless told: an L1 loss with as many values above as below has no slope.
    """
    first = bundled()[:64]
    fitting = (first.atom_counts > 1) & (first.atom_counts < 6)
    return first[torch.nonzero(fitting).flatten()[:count]]


def check_view(lesson: Lesson) -> None:
    """The graphs are of the same number of crystals, and every label has a row for each of them."""
    view = lesson.view()
    _require(len(view.graphs) > 0, "the view has no graph")
    _require(len({len(graph) for graph in view.graphs}) == 1, "graphs hold unequal crystals")
    for name, label in view.labels.items():
        crystals = view.graphs[0].crystals
        rows = len(crystals) if label.level == "crystal" else crystals.atom_total
        _require(len(label.values) == rows, f"'{name}' has not one row per {label.level}")
    for skipped in view.skipped:
        _require(skipped in lesson.crystals.ids, f"'{skipped}' is skipped and was never there")


def check_constants(lesson: Lesson) -> None:
    """Constants and fitted numbers, written as JSON and read again, make the same objective."""
    ours = lesson.objective
    try:
        numbers = json.loads(json.dumps(ours.fitted))
    except TypeError as error:
        raise AssertionError(f"the fitted numbers cannot be written as JSON: {error}") from None
    again = type(ours)(**ours.constants()).with_fitted(numbers)
    _require(again.constants() == ours.constants(), "the constants do not make it again")
    other = replace(lesson, objective=again)
    _same_views(lesson.view(), other.view(), "being saved and loaded")
    _require(
        lesson.judged(lesson.view()) == other.judged(other.view()),
        "the loss depends on being saved and loaded",
    )


def check_seed(lesson: Lesson) -> None:
    """Chance is the seed's alone, and ``chance`` says whether there is any."""
    first = lesson.view(1)
    _same_views(first, lesson.view(1), "something besides the seed")
    _require(
        lesson.judged(first) == lesson.judged(lesson.view(1)),
        "the loss depends on something besides the seed",
    )
    differs = lesson.judged(first) != lesson.judged(lesson.view(2))
    _require(differs <= bool(lesson.objective.chance), "views differ, though there is no chance")
    _require(differs >= bool(lesson.objective.chance), "views of two seeds are the same")
    ends = [learn(lesson.copy(), 2, RATE) for _ in range(2)]
    _require(ends[0] == ends[1], "two trainings from one seed differ")


def check_rotation(lesson: Lesson) -> None:
    """Loss and labels do not see how the crystal lies in space.

    Without chance, the crystals are turned, with their targets, and looked at again. With chance,
    the view is turned as it is. What has three components, or 3 × 3, counts as a vector or tensor.
    The mean of |Δx|, |Δy| and |Δz| is no invariant: an L1 loss on components has to skip this.
    """
    matrix = examples.rotation()
    view = lesson.view()
    if lesson.objective.chance:
        graphs = tuple(
            replace(graph, crystals=examples.turned(graph.crystals, matrix))
            for graph in view.graphs
        )
        other = View(graphs, {name: _turned(one, matrix) for name, one in view.labels.items()})
    else:
        targets = {name: _turned(one, matrix) for name, one in lesson.crystals.targets.items()}
        turned = examples.turned(lesson.crystals, matrix).with_targets(targets)
        other = lesson.view(crystals=turned)
        for name, label in view.labels.items():
            found = other.labels[name].values
            fits = _near(found, label.values) or _near(found, _turned(label, matrix).values)
            _require(fits, f"the labels '{name}' depend on a rotation")
    before, after = lesson.judged(view)["loss"], lesson.judged(other)["loss"]
    fits = abs(after - before) <= TOLERANCE * max(1.0, abs(before))
    _require(fits, f"the loss depends on a rotation: {before} and {after}")


def check_figures(lesson: Lesson) -> None:
    """All figures are finite scalars, ``loss`` among them, in training and in evaluation."""
    view = lesson.view()
    figures = lesson.copy().figures(view)
    _require("loss" in figures, "there is no 'loss' among the figures")
    for name, value in figures.items():
        _require(value.ndim == 0, f"'{name}' is not a scalar")
        _require(bool(torch.isfinite(value)), f"'{name}' is not finite")
    _require(figures["loss"].requires_grad, "the loss depends on no weight")
    for name, number in lesson.judged(view).items():
        _require(number == number, f"'{name}' is not a number in evaluation")


def check_inputs(lesson: Lesson) -> None:
    """Neither the view nor the loss changes what it is given."""
    crystals = lesson.crystals
    kept = [crystals.numbers, crystals.positions, crystals.cell]
    kept += [target.values for target in crystals.targets.values()]
    before = [values.clone() for values in kept]
    view = lesson.view()
    made = [part for graph in view.graphs for part in (graph.center, graph.crystals.positions)]
    made += [label.values for label in view.labels.values()]
    before += [values.clone() for values in made]
    kept += made
    lesson.copy().figures(view)["loss"].backward()
    for old, new in zip(before, kept, strict=True):
        _require(torch.allclose(old, new, rtol=0, atol=0, equal_nan=True), "an input has changed")


def check_learning(lesson: Lesson) -> None:
    """The loss of one view falls as the weights follow its gradient."""
    before, after = learn(lesson.copy(), STEPS, RATE)
    _require(before - after > LEAST_FALL * abs(before), f"the loss went from {before} to {after}")


def check_gradients(lesson: Lesson) -> None:
    """The loss depends on every weight of backbone and head but the ones named."""
    without = without_gradient(lesson.copy())
    known = {name for one in lesson.unreached for name in without if fnmatchcase(name, one)}
    missing = [name for name in without if name not in known]
    _require(not missing, f"no gradient reaches {', '.join(missing)}")
    for pattern in lesson.unreached:
        idle = any(fnmatchcase(name, pattern) for name in without)
        _require(idle, f"'{pattern}' names nothing that no gradient reaches")


def learn(lesson: Lesson, steps: int, rate: float) -> tuple[float, float]:
    """Train on one view, and return its loss before and after, both in evaluation mode."""
    view = lesson.view()
    before = lesson.judged(view)["loss"]
    optimizer = torch.optim.AdamW(lesson.parameters().values(), lr=rate)
    for _ in range(steps):
        optimizer.zero_grad()
        lesson.figures(view)["loss"].backward()
        optimizer.step()
    return before, lesson.judged(view)["loss"]


def without_gradient(lesson: Lesson) -> list[str]:
    """Return the weights that the loss of a view does not depend on."""
    lesson.figures(lesson.view())["loss"].backward()
    found = {name: parameter.grad for name, parameter in lesson.parameters().items()}
    for name, gradient in found.items():
        sound = gradient is None or bool(torch.isfinite(gradient).all())
        _require(sound, f"the gradient of {name} is not finite")
    return [name for name, gradient in found.items() if gradient is None or not gradient.any()]


OBJECTIVE_CHECKS: dict[str, Callable[[Lesson], None]] = {
    "view": check_view,
    "constants": check_constants,
    "seed": check_seed,
    "rotation": check_rotation,
    "figures": check_figures,
    "inputs": check_inputs,
    "gradients": check_gradients,
    "learning": check_learning,
}


def _same_views(one: View, other: View, what: str) -> None:
    _require(len(one.graphs) == len(other.graphs), f"the view depends on {what}")
    for ours, theirs in zip(one.graphs, other.graphs, strict=True):
        same = torch.equal(ours.crystals.positions, theirs.crystals.positions)
        same = same and torch.equal(ours.crystals.numbers, theirs.crystals.numbers)
        same = same and torch.equal(ours.center, theirs.center)
        same = same and torch.equal(ours.neighbor, theirs.neighbor)
        _require(same, f"the graphs depend on {what}")
    for name, label in one.labels.items():
        values = other.labels[name].values
        same = torch.allclose(label.values, values, rtol=0, atol=0, equal_nan=True)
        _require(same, f"the labels '{name}' depend on {what}")


def _turned(target: Target, matrix: Tensor) -> Target:
    """Return vectors and tensors turned, and everything else as it is."""
    values = target.values
    turn = matrix.to(values)
    if values.shape[1:] == (3,):
        return target.with_values(values @ turn.T)
    if values.shape[1:] == (3, 3):
        return target.with_values(turn @ values @ turn.T)
    return target


def _near(found: Tensor, expected: Tensor) -> bool:
    size = float(expected.nan_to_num().abs().max()) if expected.numel() else 0.0
    return torch.allclose(found, expected, rtol=0, atol=TOLERANCE * max(1.0, size), equal_nan=True)


def _require(holds: bool, complaint: str) -> None:
    if not holds:
        raise AssertionError(complaint)
