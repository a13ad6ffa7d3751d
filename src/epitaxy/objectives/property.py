"""Predict a property of crystals or of their atoms: what fine-tuning minimizes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from epitaxy.backbones.base import Backbone
from epitaxy.crystals.crystals import Crystals
from epitaxy.crystals.graph import Graph
from epitaxy.crystals.neighbors import GraphBuilder
from epitaxy.crystals.targets import Target
from epitaxy.errors import InputError, RecipeError
from epitaxy.heads.scalar import ScalarHead
from epitaxy.nn.pooling import Pooling
from epitaxy.objectives.base import Encode, Objective, View

_LOSSES: dict[str, Callable[..., Tensor]] = {
    "l1": functional.l1_loss,
    "l2": functional.mse_loss,
    "huber": functional.huber_loss,
}


@dataclass(frozen=True)
class Property(Objective):
    """y = m + s · (mean over atoms of o_i), or Σ_i (m + s · o_i) where y is extensive.

    o_i is the head's output for atom i; m and s are the mean and the standard deviation of the
    target on the training split, per atom where it is extensive. Missing targets carry no loss.

    Attributes:
        target: name of the target.
        loss_kind: ``"l1"``, ``"l2"`` or ``"huber"``, on standardized targets.
        pooling: ``"mean"`` or ``"sum"`` over atoms; None takes the sum where the target is
            extensive and the mean where it is not.
        standardize: whether targets are brought to mean zero and variance one.
        hidden: widths of the head's hidden layers; None takes two of the backbone's width.
    """

    target: str = ""
    loss_kind: Literal["l1", "l2", "huber"] = "l1"
    pooling: Pooling | None = None
    standardize: bool = True
    hidden: tuple[int, ...] | None = None

    chance: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not self.target:
            raise RecipeError("the objective 'property' needs a target, such as 'band_gap'.")

    @property
    def needs(self) -> tuple[str, ...]:
        """The target."""
        return (self.target,)

    @property
    def declaration(self) -> Mapping[str, Any]:
        """Level, unit, size law, mean and scale of the target; only a prepared objective has it."""
        if self.fitted is None:
            raise RuntimeError("call prepare before the objective is used")
        return self.fitted

    def prepare(
        self, crystals: Crystals, build_graph: GraphBuilder, generator: torch.Generator
    ) -> "Property":
        """Fit the standardization on the training crystals; raises InputError without labels."""
        target = crystals.target(self.target)
        if target.values.ndim > 1:
            raise InputError(
                f"target '{self.target}' has {target.values[0].numel()} components per "
                f"{target.level}; the objective 'property' learns one."
            )
        values, present = target.values.double(), target.present()
        if not bool(present.any()):
            raise InputError(f"target '{self.target}' is missing in all {len(crystals)} crystals.")
        pooling = self.pooling or ("sum" if target.extensive else "mean")
        if pooling == "sum" and target.level == "crystal":
            values = values / crystals.atom_counts
        mean, std = values[present].mean(), values[present].std(unbiased=False)
        if not self.standardize:
            mean, std = torch.zeros(()), torch.ones(())
        return self.with_fitted(  # type: ignore[return-value]
            {
                "level": target.level,
                "unit": target.unit,
                "extensive": target.extensive,
                "pooling": pooling,
                "mean": float(mean),
                "std": float(std) if float(std) > 1e-12 else 1.0,
            }
        )

    def view(
        self, crystals: Crystals, build_graph: GraphBuilder, generator: torch.Generator
    ) -> View:
        """Return the graph and the standardized target."""
        target = crystals.target(self.target)
        declared = {"level": target.level, "unit": target.unit, "extensive": target.extensive}
        for key, value in declared.items():
            if self.declaration[key] != value:
                raise InputError(
                    f"target '{self.target}' has {key} {value!r} here, but {key} "
                    f"{self.declaration[key]!r} where the objective was prepared."
                )
        return View(
            graphs=(build_graph(crystals),), labels={self.target: self._scaled(target, crystals)}
        )

    def head(self, backbone: Backbone) -> nn.Module:
        """Return a perceptron from an atom's representation to its share of the property."""
        hidden = (backbone.width, backbone.width) if self.hidden is None else self.hidden
        return ScalarHead(
            width=backbone.width,
            outputs=1,
            hidden=hidden,
            level=self.declaration["level"],
            pooling=self.declaration["pooling"],
        )

    def loss(self, encode: Encode, head: nn.Module, view: View) -> dict[str, Tensor]:
        """Return the loss on standardized targets and the mean absolute error in the unit."""
        graph = view.graphs[0]
        wanted = view.labels[self.target].values
        present = view.labels[self.target].present()
        sizes = self._sizes(graph.crystals)
        error = torch.where(present, head(encode(graph), graph).squeeze(-1) / sizes - wanted, 0.0)
        count = present.sum().clamp(min=1)
        loss = _LOSSES[self.loss_kind](error, torch.zeros_like(error), reduction="sum") / count
        size = (error.detach() * sizes).abs().sum() / count
        return {"loss": loss, "mae": self.declaration["std"] * size}

    def predict(self, encode: Encode, head: nn.Module, graph: Graph) -> Float[Tensor, " rows"]:
        """Return the property of every crystal (or atom) in the target's unit."""
        output = head(encode(graph), graph).squeeze(-1).double()
        sizes = self._sizes(graph.crystals)
        return self.declaration["mean"] * sizes + self.declaration["std"] * output

    def label(self, values: Tensor) -> Target:
        """Return predicted values with the target's declaration."""
        declared = self.declaration
        return Target(values, declared["level"], declared["unit"], declared["extensive"])

    def _scaled(self, target: Target, crystals: Crystals) -> Target:
        """Return standardized labels, in double precision: large totals keep their digits."""
        values = target.values.double() / self._sizes(crystals)
        values = (values - self.declaration["mean"]) / self.declaration["std"]
        return Target(values, level=target.level)

    def _sizes(self, crystals: Crystals) -> Tensor | float:
        if self.declaration["pooling"] == "sum" and self.declaration["level"] == "crystal":
            return crystals.atom_counts
        return 1.0
