"""Predict properties of crystals or of their atoms: what fine-tuning minimizes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from annotated_types import Ge
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from epitaxy.backbones.base import Backbone
from epitaxy.crystals.crystals import Crystals
from epitaxy.crystals.graph import Graph
from epitaxy.crystals.neighbors import GraphBuilder
from epitaxy.crystals.targets import Target
from epitaxy.errors import InputError, RecipeError
from epitaxy.heads.joined import JoinedHead
from epitaxy.heads.scalar import Readout, ScalarHead
from epitaxy.nn.classes import accuracies, cross_entropy
from epitaxy.nn.pooling import Pooling
from epitaxy.objectives.base import Encode, Objective, View

Task = Literal["regression", "classification"]

_LOSSES: dict[str, Callable[..., Tensor]] = {
    "l1": functional.l1_loss,
    "l2": functional.mse_loss,
    "huber": functional.huber_loss,
}
_MOST_CLASSES = 1000  # labels beyond are identifiers or measured values


@dataclass(frozen=True)
class Property(Objective):
    """y = m + s · o, or N (m + s · o) where y is extensive or summed over the crystal's N atoms.

    o is the mean over atoms of the head's outputs, or its output for what another pooling made of
    them; m and s are the mean and the standard deviation of the target on the training split, per
    atom where there is an N. Missing targets carry no loss.

    Several targets, all of crystals or all of atoms, share the head up to its last layer: each has
    its own o, m, s, unit and size law. L = (1/T) Σ_t L_t, where L_t is the mean over those of a
    batch whose target t is known.

    In a classification o are the logits of K classes, p = softmax(o), and L = −log p of the true
    class; two classes are no exception. A crystal's logits are the mean of its atoms', or what
    another pooling makes of them, so a class does not depend on the choice of cell.

    Attributes:
        target: name of the target, or names of several.
        loss_kind: ``"l1"``, ``"l2"`` or ``"huber"``, on standardized targets of a regression.
        pooling: from atoms to the crystal: ``"mean"``, ``"sum"``, ``"attention"``, ``"set2set"`` or
            ``"cumulants"``; ``"set2set_joined"`` reads edges and state too. None takes the sum
            where all targets are extensive and the mean where one is not. All keep the size laws of
            the targets but ``"sum"``, whose predictions always grow with the cell.
        readout: whether means and sums are of the head's outputs for the atoms (``"atoms"``) or,
            ahead of the head, of the atoms' representations (``"pooled"``), as the other poolings
            always are. ``"pooled"`` keeps the size laws of the targets too, but for
            ``pooling="sum"``, as published in arXiv:2503.01227: there y = m + s o is the value of
            the cell, whatever the target, it depends on the choice of cell in no simple way, and
            the loss is that of raw totals, not of values per atom. None means the mean then.
        standardize: whether targets of a regression are brought to mean zero and variance one.
        hidden: widths of the head's hidden layers; None takes two of the backbone's width.
        task: ``"regression"``, or ``"classification"`` of whole numbers 0, 1, …, K − 1.
        classes: K; None takes what the training split needs.
        absolute: whether |y| is learned and predicted: the sign of a magnetic moment is a
            convention, and opposite moments of equivalent atoms look the same to a network.
    """

    target: str | tuple[str, ...] = ""
    loss_kind: Literal["l1", "l2", "huber"] = "l1"
    pooling: Pooling | Literal["set2set_joined"] | None = None
    readout: Readout = "atoms"
    standardize: bool = True
    hidden: tuple[int, ...] | None = None
    task: Task = "regression"
    classes: Annotated[int, Ge(2)] | None = None
    absolute: bool = False

    chance: ClassVar[bool] = False

    def __post_init__(self) -> None:
        names = self.targets
        if not names or not all(names):
            raise RecipeError("the objective 'property' needs a target, such as 'band_gap'.")
        if len(set(names)) < len(names):
            raise RecipeError(f"'property' has a target twice: {', '.join(names)}.")
        # one name is one name, however it was written
        object.__setattr__(self, "target", names[0] if len(names) == 1 else names)
        if self.task == "classification" and self.pooling == "sum":
            raise RecipeError("pooling 'sum' would make classes depend on the size of the cell.")
        if self.task == "classification" and self.absolute:
            raise RecipeError("classes have no sign: leave 'absolute' out.")
        if self.task == "regression" and self.classes is not None:
            raise RecipeError("'classes' is for the task 'classification'.")

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the targets, one or several."""
        return (self.target,) if isinstance(self.target, str) else tuple(self.target)

    @property
    def needs(self) -> tuple[str, ...]:
        """The targets."""
        return self.targets

    @property
    def declarations(self) -> Mapping[str, Mapping[str, Any]]:
        """Target → level, unit, size law, pooling, and mean and scale or the number of classes.

        Only a prepared objective has them.
        """
        if self.fitted is None:
            raise RuntimeError("call prepare before the objective is used")
        return (
            self.fitted["targets"] if "targets" in self.fitted else {self.targets[0]: self.fitted}
        )

    @property
    def declaration(self) -> Mapping[str, Any]:
        """That of the first target."""
        return self.declarations[self.targets[0]]

    def prepare(
        self, crystals: Crystals, build_graph: GraphBuilder, generator: torch.Generator
    ) -> "Property":
        """Fit standardization or number of classes on the training crystals.

        Raises InputError without labels, and for labels that do not go together.
        """
        read = {name: self._read(name, crystals) for name in self.targets}
        levels = {name: target.level for name, target in read.items()}
        if len(set(levels.values())) > 1:
            told = ", ".join(f"'{name}' of {level}s" for name, level in levels.items())
            raise InputError(f"the targets of one 'property' must be of one level: {told}.")
        growing = all(target.extensive for target in read.values())
        pooling = self.pooling or ("sum" if growing and self.readout == "atoms" else "mean")
        fit = self._classes_of if self.task == "classification" else self._scale_of
        found = {
            name: {
                "level": target.level,
                "unit": target.unit,
                "extensive": target.extensive,
                "pooling": pooling,
                **fit(name, target, crystals, pooling),
            }
            for name, target in read.items()
        }
        alone = len(found) == 1
        return self.with_fitted(found[self.targets[0]] if alone else {"targets": found})  # type: ignore[return-value]

    def view(
        self, crystals: Crystals, build_graph: GraphBuilder, generator: torch.Generator
    ) -> View:
        """Return the graph and the standardized targets, or the classes."""
        labels = {name: self._label(name, crystals) for name in self.targets}
        return View(graphs=(build_graph(crystals),), labels=labels)

    def head(self, backbone: Backbone) -> nn.Module:
        """Return what reads the properties from the representations."""
        declared = self.declaration
        each = [self.declarations[name] for name in self.targets]
        grow = [one["extensive"] for one in each for _ in range(_outputs(one))]
        extensive = grow[0] if len(set(grow)) == 1 else grow
        if declared["pooling"] == "set2set_joined" and declared["level"] == "crystal":
            return JoinedHead(
                width=backbone.width,
                edge_width=backbone.edge_width,
                state_width=backbone.state_width,
                outputs=len(grow),
                hidden=self.hidden,
                extensive=extensive,
            )
        return ScalarHead(
            width=backbone.width,
            outputs=len(grow),
            hidden=self.hidden,
            level=declared["level"],
            pooling=declared["pooling"] if declared["level"] == "crystal" else "mean",
            extensive=extensive,
            readout=self.readout,
        )

    def loss(self, encode: Encode, head: nn.Module, view: View) -> dict[str, Tensor]:
        """Return the loss, and mean absolute errors in the targets' units or accuracies.

        Of several targets the figures bear the name: ``band_gap_mae``. A figure is NaN where a
        batch has no label of its target: it does not count.
        """
        graph = view.graphs[0]
        losses: list[Tensor] = []
        figures: dict[str, Tensor] = {}
        for name, outputs in self._read_off(encode, head, graph).items():
            wanted = view.labels[name].values
            if self.task == "classification":
                measured = _loss_of_classes(outputs, wanted)
            else:
                measured = self._loss_of_values(name, outputs.squeeze(-1), wanted, graph.crystals)
            losses.append(measured.pop("loss"))
            prefix = "" if len(self.targets) == 1 else f"{name}_"
            figures |= {f"{prefix}{figure}": value for figure, value in measured.items()}
        return {"loss": torch.stack(losses).mean(), **figures}

    def predict(self, encode: Encode, head: nn.Module, graph: Graph) -> Float[Tensor, " rows"]:
        """Return the first target of every crystal (or atom): in its unit, or the class."""
        return self.predict_all(encode, head, graph)[self.targets[0]]

    def predict_all(self, encode: Encode, head: nn.Module, graph: Graph) -> dict[str, Tensor]:
        """Return every target of every crystal (or atom): in its unit, or the likeliest class."""
        if self.task == "classification":
            found = self.probabilities(encode, head, graph)
            return {name: values.argmax(-1).double() for name, values in found.items()}
        values = {}
        for name, outputs in self._read_off(encode, head, graph).items():
            declared, sizes = self.declarations[name], self._sizes(name, graph.crystals)
            output = outputs.squeeze(-1).double()
            value = declared["mean"] * sizes + declared["std"] * output
            values[name] = value.clamp(min=0.0) if self.absolute else value
        return values

    def outputs(self, encode: Encode, head: nn.Module, graph: Graph) -> dict[str, Tensor]:
        """Return values in the targets' units, or probabilities of classes, by target."""
        read = self.probabilities if self.task == "classification" else self.predict_all
        return read(encode, head, graph)

    def probabilities(self, encode: Encode, head: nn.Module, graph: Graph) -> dict[str, Tensor]:
        """Return target → probabilities of its classes, shape (rows, classes); rows sum to one."""
        if self.task != "classification":
            raise InputError(f"'{self.targets[0]}' has values, not classes: no probabilities.")
        read = self._read_off(encode, head, graph)
        return {name: torch.softmax(logits.double(), dim=-1) for name, logits in read.items()}

    def label(self, values: Tensor) -> Target:
        """Return predicted values with the first target's declaration."""
        declared = self.declaration
        return Target(values, declared["level"], declared["unit"], declared["extensive"])

    def _read(self, name: str, crystals: Crystals) -> Target:
        """Return a target as it is learned; raises InputError where it is no single number."""
        target = crystals.target(name)
        if target.values.ndim > 1:
            raise InputError(
                f"target '{name}' has {target.values[0].numel()} components per {target.level}; "
                "the objective 'property' learns one."
            )
        if self.task == "classification":
            _refuse_what_is_no_class(name, target, crystals)
        return target.with_values(target.values.abs()) if self.absolute else target

    def _scale_of(
        self, name: str, target: Target, crystals: Crystals, pooling: str
    ) -> dict[str, Any]:
        values, present = target.values.double(), target.present()
        _refuse_nothing(name, target, crystals)
        if self._per_atom(target.level, target.extensive, pooling):
            values = values / crystals.atom_counts
        mean, std = values[present].mean(), values[present].std(unbiased=False)
        if not self.standardize:
            mean, std = torch.zeros(()), torch.ones(())
        return {"mean": float(mean), "std": float(std) if float(std) > 1e-12 else 1.0}

    def _classes_of(
        self, name: str, target: Target, crystals: Crystals, pooling: str
    ) -> dict[str, Any]:
        _refuse_nothing(name, target, crystals)
        if target.extensive:
            raise InputError(f"target '{name}' is declared extensive: a class does not grow.")
        found = target.values[target.present()].unique()
        if self.classes is not None:
            return {"classes": self.classes}
        if len(found) < 2:
            raise InputError(
                f"target '{name}' is {int(found[0])} in all training crystals that have it: there "
                "is nothing to tell apart."
            )
        if found.max() >= _MOST_CLASSES:
            raise InputError(
                f"target '{name}' goes up to {float(found.max()):g}: classes are the numbers 0, 1, "
                f"…, at most {_MOST_CLASSES - 1}. Number them anew, or learn a regression."
            )
        return {"classes": int(found.max()) + 1}

    def _label(self, name: str, crystals: Crystals) -> Target:
        """Return labels in double precision, in which large totals keep their digits."""
        target, known = self._read(name, crystals), self.declarations[name]
        declared = {"level": target.level, "unit": target.unit, "extensive": target.extensive}
        for key, value in declared.items():
            if known[key] != value:
                raise InputError(
                    f"target '{name}' has {key} {value!r} here, but {key} {known[key]!r} where the "
                    "objective was prepared."
                )
        values = target.values.double()
        if self.task == "regression":
            values = values / self._sizes(name, crystals)
            values = (values - known["mean"]) / known["std"]
        elif bool((values >= known["classes"]).any()):
            highest = int(values[target.present()].max())
            raise InputError(
                f"target '{name}' has the class {highest}, which is not among the "
                f"{known['classes']} that the training crystals have: give more examples, or "
                f"state the number of classes, classes = {highest + 1}."
            )
        return Target(values, level=target.level)

    def _read_off(self, encode: Encode, head: nn.Module, graph: Graph) -> dict[str, Tensor]:
        """Return each target's columns of the head's outputs, shape (rows, 1 or classes)."""
        widths = [_outputs(self.declarations[name]) for name in self.targets]
        columns = torch.split(head(encode(graph), graph), widths, dim=-1)
        return dict(zip(self.targets, columns, strict=True))

    def _loss_of_values(
        self, name: str, output: Tensor, wanted: Tensor, crystals: Crystals
    ) -> dict[str, Tensor]:
        """Return the loss on standardized targets and the mean absolute error in the unit."""
        present, sizes = ~torch.isnan(wanted), self._sizes(name, crystals)
        error = torch.where(present, output / sizes - wanted, 0.0)
        count = present.sum().clamp(min=1)
        loss = _LOSSES[self.loss_kind](error, torch.zeros_like(error), reduction="sum") / count
        size = (error.detach() * sizes).abs().sum() / present.sum()
        return {"loss": loss, "mae": self.declarations[name]["std"] * size}

    def _sizes(self, name: str, crystals: Crystals) -> Tensor | float:
        declared = self.declarations[name]
        if self._per_atom(declared["level"], declared["extensive"], declared["pooling"]):
            return crystals.atom_counts
        return 1.0

    def _per_atom(self, level: str, extensive: bool, pooling: str) -> bool:
        """Return whether the head's output is the number of atoms times what is learned."""
        if pooling == "sum" and self.readout == "pooled":
            return False
        return level == "crystal" and (extensive or pooling == "sum")


def _loss_of_classes(logits: Tensor, wanted: Tensor) -> dict[str, Tensor]:
    """Return the cross-entropy, and the accuracy with and without regard to the frequencies."""
    plain, balanced = accuracies(logits.detach(), wanted)
    return {
        "loss": cross_entropy(logits, wanted),
        "accuracy": plain,
        "balanced_accuracy": balanced,
    }


def _outputs(declared: Mapping[str, Any]) -> int:
    return declared.get("classes", 1)


def _refuse_nothing(name: str, target: Target, crystals: Crystals) -> None:
    if not bool(target.present().any()):
        raise InputError(f"target '{name}' is missing in all {len(crystals)} crystals.")


def _refuse_what_is_no_class(name: str, target: Target, crystals: Crystals) -> None:
    """Raise InputError that names the first label that is no whole number from 0 on."""
    values = target.values
    wrong = target.present() & ((values != values.round()) | (values < 0))
    if not bool(wrong.any()):
        return
    row = int(torch.nonzero(wrong)[0])
    owner = int(crystals.crystal_of_atom[row]) if target.level == "atom" else row
    raise InputError(
        f"target '{name}' is {float(values[row]):g} in '{crystals.ids[owner]}', which is no class: "
        "classes are the whole numbers 0, 1, …. Learn a regression, or number your classes."
    )
