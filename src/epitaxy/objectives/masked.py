"""Tell hidden elements and hidden distances from what is left (after arXiv:2211.03563)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Annotated, Any, ClassVar, Literal

import torch
from annotated_types import Ge, Gt, Lt
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from epitaxy.backbones.base import Backbone
from epitaxy.crystals.crystals import Crystals
from epitaxy.crystals.elements import SYMBOLS, period_and_group
from epitaxy.crystals.graph import Graph
from epitaxy.crystals.masking import Together, drawn, split_edges, without_elements
from epitaxy.crystals.neighbors import GraphBuilder
from epitaxy.crystals.targets import Target
from epitaxy.errors import RecipeError
from epitaxy.heads.edge import EdgeHead
from epitaxy.nn.masking import MaskTokens
from epitaxy.nn.perceptron import Perceptron
from epitaxy.nn.start import begin_near
from epitaxy.objectives.base import Encode, Objective, View

Fact = Literal["group", "period", "element"]
LABEL = "element"
CLASSES: Mapping[str, int] = {"group": 18, "period": 7, "element": len(SYMBOLS)}


@dataclass(frozen=True)
class Masked(Objective):
    """L = Σ over facts of CE(fact of a masked atom) + CE(distance bin of a hidden edge).

    Of a crystal's N atoms, min(N, ⌊0.15 N + 1⌋) are masked: a learned token takes the place of
    their element embeddings, and a perceptron tells group, period or element from what the network
    made of their surroundings. Lanthanides and actinides count as group 3. Besides, a fraction of
    the edges is hidden, each with its reverse: they are taken out of the network's graph, and the
    bin of their distance is told from the sum of their ends' representations. Each cross-entropy
    (nats) is a mean over the atoms or edges of the batch, and all weigh the same.

    What symmetry gives away: in a symmetric crystal other pairs of atoms are as far apart as a
    hidden pair, and stay visible; so do other images of the same two atoms unless whole shells are
    hidden (``together="shell"``). What cannot be told: two atoms have images at many distances,
    and the head, which reads only the two atoms, gives one answer for all that are hidden.

    Departures from the published code: there hidden edges stay in the graph with their exact
    distances, the edges to tell are every second of those that touch a masked atom (taking all of
    them out would leave masked atoms alone in the world), masked vectors are zero and not learned,
    and f elements have a group of their own.

    Logged for each fact and for ``distance``: ``…_accuracy``, and ``…_skill`` = 1 − CE / CE of the
    frequencies in the training crystals: 0 for learning nothing else, 1 for perfection.

    Attributes:
        ratio: fraction of the atoms to mask, 0.15 in the formula above.
        facts: what to tell of masked atoms.
        edge_ratio: fraction of a crystal's pairs, or shells, to hide; 0 for none.
        together: an edge is hidden with its ``"pair"``, the reverse, or with its ``"shell"``, all
            images of the same two atoms at the same distance.
        bin_width: of distances, Å; bins run from 0 to the backbone's cutoff.
        sample: crystals that frequencies are counted in, at most.
    """

    ratio: Annotated[float, Gt(0), Lt(1)] = 0.15
    facts: tuple[Fact, ...] = ("group", "period")
    edge_ratio: Annotated[float, Ge(0), Lt(1)] = 0.15
    together: Together = "shell"
    bin_width: Annotated[float, Gt(0)] = 0.2
    sample: Annotated[int, Gt(0)] = 500

    chance: ClassVar[bool] = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "facts", tuple(self.facts))
        if not self.facts or len(set(self.facts)) < len(self.facts):
            raise RecipeError(
                f"masked: facts = {list(self.facts)}; give some of {', '.join(CLASSES)}, each once."
            )

    @property
    def numbers(self) -> Mapping[str, Any]:
        """The cutoff and the frequencies of all classes; only a prepared objective has them."""
        if self.fitted is None:
            raise RuntimeError("call prepare before the objective is used")
        return self.fitted

    def prepare(
        self, crystals: Crystals, build_graph: GraphBuilder, generator: torch.Generator
    ) -> "Masked":
        """Count how frequent every class is in a random sample of the crystals."""
        chosen = torch.randperm(len(crystals), generator=generator)[: self.sample]
        sample = crystals[torch.sort(chosen).values]
        frequencies: dict[str, list[float]] = {
            fact: _frequencies(_class_of(fact, sample.numbers), CLASSES[fact])
            for fact in self.facts
        }
        if self.edge_ratio:
            parts = torch.arange(len(sample)).split(64)
            distances = torch.cat([build_graph(sample[part]).distances() for part in parts])
            bins = self.bins(build_graph.cutoff)
            frequencies["distance"] = _frequencies(self.bin_of(distances, bins), bins)
        return self.with_fitted(  # type: ignore[return-value]
            {"cutoff": build_graph.cutoff, "frequencies": frequencies}
        )

    def bins(self, cutoff: float) -> int:
        """Return the number of bins up to a cutoff (Å)."""
        return math.ceil(cutoff / self.bin_width - 1e-6)

    def bin_of(self, distances: Float[Tensor, " edges"], bins: int) -> Int[Tensor, " edges"]:
        """Return the bin of each distance (Å)."""
        return torch.floor(distances / self.bin_width).long().clamp(max=bins - 1)

    def view(
        self, crystals: Crystals, build_graph: GraphBuilder, generator: torch.Generator
    ) -> View:
        """Return the graph that the network may see, the graph of hidden edges, and the elements.

        The label is NaN where an atom is not masked.
        """
        counts = torch.floor(self.ratio * crystals.atom_counts.double() + 1.0).long()
        masked = drawn(crystals.crystal_of_atom, counts, generator)
        whole = build_graph(crystals)
        visible, hidden = split_edges(whole, self.edge_ratio, self.together, generator)
        blank = without_elements(crystals, masked)
        elements = torch.where(masked, crystals.numbers.to(crystals.positions.dtype), torch.nan)
        return View(
            graphs=(replace(visible, crystals=blank), replace(hidden, crystals=blank)),
            labels={LABEL: Target(elements, level="atom")},
        )

    def head(self, backbone: Backbone) -> nn.Module:
        """Return mask tokens, one perceptron per fact, and a head for edges.

        All begin near the frequencies of the training crystals.
        """
        return MaskedHead(backbone.width, self.numbers["frequencies"])

    def loss(self, encode: Encode, head: nn.Module, view: View) -> dict[str, Tensor]:
        """Return the sum of the cross-entropies, and accuracy and skill of each."""
        visible, hidden = view.graphs
        elements, masked = view.labels[LABEL].values, view.labels[LABEL].present()
        told: dict[str, Tensor] = head(encode, visible, hidden, masked)
        numbers = elements[masked].long()
        wanted: dict[str, Tensor] = {fact: _class_of(fact, numbers) for fact in self.facts}
        if self.edge_ratio:
            bins = self.bins(self.numbers["cutoff"])
            wanted["distance"] = self.bin_of(hidden.distances(), bins)
        figures: dict[str, Tensor] = {}
        entropies = []
        for name, classes in wanted.items():
            entropy, accuracy, skill = self._scores(name, told[name], classes)
            entropies.append(entropy)
            figures |= {f"{name}_accuracy": accuracy, f"{name}_skill": skill}
        return {"loss": torch.stack(entropies).sum(), **figures}

    def _scores(
        self, name: str, logits: Float[Tensor, "rows classes"], classes: Int[Tensor, " rows"]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return mean cross-entropy, accuracy and skill; all zero where there are no rows."""
        rows = max(len(classes), 1)
        entropy = functional.cross_entropy(logits, classes, reduction="sum") / rows
        with torch.no_grad():
            accuracy = (logits.argmax(-1) == classes).to(logits.dtype).sum() / rows
            frequencies = torch.tensor(self.numbers["frequencies"][name], device=classes.device)
            untaught = -torch.log(frequencies[classes]).sum() / rows
            skill = (untaught - entropy) / untaught.clamp(min=1e-12)
        return entropy, accuracy, skill


class MaskedHead(nn.Module):
    """Mask tokens, and what tells hidden facts of atoms and hidden distances of edges."""

    def __init__(self, width: int, frequencies: Mapping[str, Sequence[float]]) -> None:
        super().__init__()
        self.tokens = MaskTokens(width)
        told = {name: len(classes) for name, classes in frequencies.items()}
        bins = told.pop("distance", 0)
        self.facts = nn.ModuleDict(
            {fact: Perceptron(width, (width,), classes) for fact, classes in told.items()}
        )
        self.distance = EdgeHead(width, bins) if bins else None
        for name, classes in frequencies.items():
            teller = self.distance if name == "distance" else self.facts[name]
            assert teller is not None
            begin_near(teller, torch.log(torch.tensor(classes)))

    def forward(
        self, encode: Encode, visible: Graph, hidden: Graph, masked: Bool[Tensor, " atoms"]
    ) -> dict[str, Tensor]:
        """Return the logits of every fact of the masked atoms, and of the hidden edges' bins."""
        encoding = encode(visible, lambda embedding: self.tokens(embedding, masked))
        told = {fact: tell(encoding.nodes[masked]) for fact, tell in self.facts.items()}
        if self.distance is not None:
            told["distance"] = self.distance(encoding, hidden)
        return told


@cache
def _table(fact: str) -> tuple[int, ...]:
    """Return the class of every element, counted from 0, by atomic number less one."""
    places = [period_and_group(number) for number in range(1, len(SYMBOLS) + 1)]
    if fact == "element":
        return tuple(range(len(SYMBOLS)))
    return tuple(period - 1 if fact == "period" else group - 1 for period, group in places)


def _class_of(fact: str, numbers: Int[Tensor, " atoms"]) -> Int[Tensor, " atoms"]:
    return torch.tensor(_table(fact), device=numbers.device)[numbers - 1]


def _frequencies(classes: Int[Tensor, " rows"], count: int) -> list[float]:
    """Return how frequent every class is; each counts as seen once more than it was."""
    seen = torch.bincount(classes, minlength=count).double() + 1.0
    return (seen / seen.sum()).tolist()
