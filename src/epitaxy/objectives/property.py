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
from epitaxy.heads.joined import JoinedHead
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
    """y = m + s · o, or N (m + s · o) where y is extensive or summed over the crystal's N atoms.

    o is the mean over atoms of the head's outputs, or its output for what another pooling made of
    them; m and s are the mean and the standard deviation of the target on the training split, per
    atom where there is an N. Missing targets carry no loss.

    Attributes:
        target: name of the target.
        loss_kind: ``"l1"``, ``"l2"`` or ``"huber"``, on standardized targets.
        pooling: from atoms to the crystal: ``"mean"``, ``"sum"``, ``"attention"``, ``"set2set"`` or
            ``"cumulants"``; ``"set2set_joined"`` reads edges and state too. None takes the sum
            where the target is extensive and the mean where it is not. All keep the size law of
            the target but ``"sum"``, whose predictions always grow with the cell.
        standardize: whether targets are brought to mean zero and variance one.
        hidden: widths of the head's hidden layers; None takes two of the backbone's width.
    """

    target: str = ""
    loss_kind: Literal["l1", "l2", "huber"] = "l1"
    pooling: Pooling | Literal["set2set_joined"] | None = None
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
        if _per_atom(target.level, target.extensive, pooling):
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
        """Return what reads the property from the representations."""
        declared = self.declaration
        if declared["pooling"] == "set2set_joined" and declared["level"] == "crystal":
            return JoinedHead(
                width=backbone.width,
                edge_width=backbone.edge_width,
                state_width=backbone.state_width,
                hidden=self.hidden,
                extensive=declared["extensive"],
            )
        return ScalarHead(
            width=backbone.width,
            hidden=self.hidden,
            level=declared["level"],
            pooling=declared["pooling"] if declared["level"] == "crystal" else "mean",
            extensive=declared["extensive"],
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
        declared = self.declaration
        if _per_atom(declared["level"], declared["extensive"], declared["pooling"]):
            return crystals.atom_counts
        return 1.0


def _per_atom(level: str, extensive: bool, pooling: str) -> bool:
    """Return whether the head's output is the number of atoms times what is learned."""
    return level == "crystal" and (extensive or pooling == "sum")
