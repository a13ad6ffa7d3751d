"""Tell what a crystal is made of: a control that learns nothing of structure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from annotated_types import Gt
from jaxtyping import Float
from torch import Tensor, nn

from epitaxy.backbones.base import Backbone
from epitaxy.crystals.crystals import Crystals
from epitaxy.crystals.elements import SYMBOLS
from epitaxy.crystals.neighbors import GraphBuilder
from epitaxy.crystals.targets import Target
from epitaxy.nn.perceptron import Perceptron
from epitaxy.nn.pooling import pool
from epitaxy.nn.start import begin_near
from epitaxy.objectives.base import Encode, Objective, View

LABEL = "composition"


@dataclass(frozen=True)
class Composition(Objective):
    """L = mean over crystals of Σ_e f_e log (f_e / p_e), p = softmax(MLP(mean over atoms of h_i)).

    f_e is the fraction of a crystal's atoms that are of element e. The input holds the answer, so
    nothing of structure need be learned: an objective that is said to teach structure should help
    more than this one does.

    Logged besides the loss (cross-entropy less the entropy of f, so that zero is perfect):
    ``skill`` = 1 − L / L(mean composition of the training crystals), and ``misplaced``, the
    fraction of atoms, ½ Σ_e |f_e − p_e|, given to the wrong element.

    Attributes:
        sample: crystals that the mean composition is fitted on, at most.
    """

    sample: Annotated[int, Gt(0)] = 2000

    chance: ClassVar[bool] = False

    @property
    def mean(self) -> Sequence[float]:
        """The mean composition; only a prepared objective has it."""
        if self.fitted is None:
            raise RuntimeError("call prepare before the objective is used")
        return self.fitted["mean"]

    def prepare(
        self, crystals: Crystals, build_graph: GraphBuilder, generator: torch.Generator
    ) -> "Composition":
        """Fit the mean composition on a random sample of the crystals; no element is impossible."""
        chosen = torch.randperm(len(crystals), generator=generator)[: self.sample]
        total = fractions(crystals[chosen]).double().sum(0) + 1.0 / len(SYMBOLS)
        return self.with_fitted(  # type: ignore[return-value]
            {"mean": (total / total.sum()).tolist()}
        )

    def view(
        self, crystals: Crystals, build_graph: GraphBuilder, generator: torch.Generator
    ) -> View:
        """Return the clean graph and the fractions of all elements."""
        return View(graphs=(build_graph(crystals),), labels={LABEL: Target(fractions(crystals))})

    def head(self, backbone: Backbone) -> nn.Module:
        """Return a perceptron from a crystal's mean representation to the elements.

        It begins near the mean composition.
        """
        head = Perceptron(backbone.width, (backbone.width,), len(SYMBOLS))
        begin_near(head, torch.log(torch.tensor(self.mean)))
        return head

    def loss(self, encode: Encode, head: nn.Module, view: View) -> dict[str, Tensor]:
        """Return the divergence, the skill, and the fraction of atoms misplaced."""
        graph, wanted = view.graphs[0], view.labels[LABEL].values
        logits = head(pool(encode(graph).nodes, graph.crystals, "mean"))
        loss = divergence(wanted, logits)
        with torch.no_grad():
            mean = torch.log(wanted.new_tensor(self.mean)).expand_as(wanted)
            skill = 1.0 - loss / divergence(wanted, mean).clamp(min=1e-12)
            misplaced = 0.5 * (wanted - logits.softmax(-1)).abs().sum(-1).mean()
        return {"loss": loss, "skill": skill, "misplaced": misplaced}


def fractions(crystals: Crystals) -> Float[Tensor, "crystals elements"]:
    """Return the fraction of each crystal's atoms that are of each element, 1 to 118."""
    counts = crystals.positions.new_zeros((len(crystals), len(SYMBOLS)))
    ones = counts.new_ones(crystals.atom_total)
    counts.index_put_((crystals.crystal_of_atom, crystals.numbers - 1), ones, accumulate=True)
    return counts / crystals.atom_counts.clamp(min=1).unsqueeze(-1)


def divergence(
    wanted: Float[Tensor, "crystals elements"], logits: Float[Tensor, "crystals elements"]
) -> Tensor:
    """Return Σ_e f_e log (f_e / p_e) in nats, mean over crystals, p = softmax(logits)."""
    surprise = torch.xlogy(wanted, wanted) - wanted * logits.log_softmax(-1)
    return surprise.sum(-1).mean()
