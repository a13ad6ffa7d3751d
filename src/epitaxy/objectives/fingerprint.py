"""Predict structural fingerprints of atoms, made on the fly (arXiv:2503.01227)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from annotated_types import Gt
from torch import Tensor, nn

from epitaxy.backbones.base import Backbone
from epitaxy.crystals.crystals import Crystals
from epitaxy.crystals.neighbors import GraphBuilder
from epitaxy.crystals.targets import Target
from epitaxy.descriptors.base import Descriptor
from epitaxy.heads.scalar import ScalarHead
from epitaxy.nn.scaling import ChannelScaler, Transform
from epitaxy.objectives.base import Encode, Objective, View
from epitaxy.registry import build, settings_of

LABEL = "fingerprint"


@dataclass(frozen=True)
class Fingerprint(Objective):
    """L = mean over atoms and channels of |head(h_i) − (t(d_i) − μ) / σ|.

    d_i is the descriptor of atom i, h_i its representation; μ and σ are the channels' mean and
    standard deviation on a sample of the training crystals. Channels that do not vary there are
    dropped. The published setting is ``transform="none"`` with ``standardize=False``: raw labels of
    very different scales.

    Logged besides the loss: ``explained``, the fraction of the (scaled) labels' variance within
    the batch that the prediction accounts for.

    Attributes:
        descriptor: settings of a descriptor, ``{"name": "wacsf", "preset": "set1"}``, or one.
        transform: t, applied to the labels first; None for the one that suits the descriptor.
        standardize: whether channels are brought to mean zero and variance one.
        loss_kind: ``"l1"`` or ``"l2"``.
        sample: crystals that μ and σ are fitted on, at most.
        shuffled: whether the labels of a batch are dealt out anew among all of its atoms, at every
            step: a control that keeps labels and loss but takes away what they say of an atom.
            What is left to learn is their distribution.
    """

    descriptor: Any = None
    transform: Transform | None = None
    standardize: bool = True
    loss_kind: Literal["l1", "l2"] = "l1"
    sample: Annotated[int, Gt(0)] = 2000
    shuffled: bool = False

    def __post_init__(self) -> None:
        given = {"name": "wacsf", "preset": "set1"} if self.descriptor is None else self.descriptor
        if isinstance(given, str):
            given = {"name": given}
        made = build("descriptors", given) if isinstance(given, Mapping) else given
        object.__setattr__(self, "descriptor", settings_of(made))
        object.__setattr__(self, "_describe", made)
        if self.transform is None:
            object.__setattr__(self, "transform", made.label_transform)

    @property
    def chance(self) -> bool:  # type: ignore[override]
        """Whether two views of the same crystals differ: only where labels are shuffled."""
        return self.shuffled

    @property
    def describe(self) -> Descriptor:
        """The descriptor itself."""
        return self.__dict__["_describe"]

    @property
    def reach(self) -> float:
        """The descriptor's cutoff in Å."""
        return self.describe.cutoff

    @property
    def scaler(self) -> ChannelScaler:
        """The fitted scaler; only a prepared objective has one."""
        if self.fitted is None:
            raise RuntimeError("call prepare before the objective is used")
        return ChannelScaler.from_json(self.fitted)

    def prepare(
        self, crystals: Crystals, build_graph: GraphBuilder, generator: torch.Generator
    ) -> "Fingerprint":
        """Fit the scaler on a random sample of the crystals."""
        chosen = torch.randperm(len(crystals), generator=generator)[: self.sample]
        sample = crystals[torch.sort(chosen).values]
        parts = [
            self.describe(build_graph(sample[part], cutoff=self.reach))
            for part in torch.split(torch.arange(len(sample)), 64)
        ]
        transform = self.transform or "none"
        scaler = ChannelScaler.fit(torch.cat(parts), transform, self.standardize)
        return self.with_fitted(vars(scaler))  # type: ignore[return-value]

    def view(
        self, crystals: Crystals, build_graph: GraphBuilder, generator: torch.Generator
    ) -> View:
        """Return the clean graph and the scaled fingerprints of its atoms."""
        with torch.no_grad():
            values = self.scaler(self.describe(build_graph(crystals, cutoff=self.reach)))
        if self.shuffled:
            dealt = torch.randperm(len(values), generator=generator)
            values = values[dealt.to(values.device)]
        return View(graphs=(build_graph(crystals),), labels={LABEL: Target(values, level="atom")})

    def head(self, backbone: Backbone) -> nn.Module:
        """Return a perceptron from an atom's representation to its living channels."""
        return ScalarHead(width=backbone.width, outputs=len(self.scaler.alive), level="atom")

    def loss(self, encode: Encode, head: nn.Module, view: View) -> dict[str, Tensor]:
        """Return the loss and the explained fraction of the variance."""
        predicted = head(encode(view.graphs[0]), view.graphs[0])
        wanted = view.labels[LABEL].values
        error = predicted - wanted
        with torch.no_grad():
            spread = ((wanted - wanted.mean(0)) ** 2).mean().clamp(min=1e-12)
            explained = 1.0 - (error**2).mean() / spread
        loss = error.abs().mean() if self.loss_kind == "l1" else (error**2).mean()
        return {"loss": loss, "explained": explained}
