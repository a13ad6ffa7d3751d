"""Recognize a crystal in two incomplete copies of it (after arXiv:2211.03563)."""

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import torch
from annotated_types import Ge, Gt, Lt
from jaxtyping import Float, Int
from torch import Tensor, nn

from epitaxy.backbones.base import Backbone
from epitaxy.crystals.crystals import Crystals
from epitaxy.crystals.graph import Graph
from epitaxy.crystals.masking import drawn, split_edges, without_elements
from epitaxy.crystals.neighbors import GraphBuilder
from epitaxy.crystals.supercells import supercells
from epitaxy.errors import InputError
from epitaxy.nn.masking import MaskTokens
from epitaxy.nn.perceptron import Perceptron
from epitaxy.nn.pooling import pool
from epitaxy.objectives.base import Encode, Objective, View

MASKED = "masked"  # the input of a view's graphs that is 1 where an atom is masked


@dataclass(frozen=True)
class Contrastive(Objective):
    """NT-Xent: L = mean over 2n copies of −log [exp(s_ii'/τ) / Σ_{k≠i} exp(s_ik/τ)].

    Every crystal of a batch of n is copied twice. A copy is a supercell, of 1, 2, 4 or 8 cells
    along random directions, in which a fraction of the atoms is masked and a fraction of the pairs
    of atoms loses its edges, both directions at once. s is the cosine between the copies' vectors
    MLP(mean over atoms of h), and i' is the other copy of i's crystal (Chen et al.,
    arXiv:2002.05709). A supercell alone changes no mean over atoms; it lets masks fall on single
    images instead of whole sublattices.

    Departures from the published code: masks are a learned token in the element embeddings and
    edges that are missing, where the code writes a mean vector into both; directions of supercells
    are random; the sum below the fraction includes the copy i', as in the definition
    (``positive_below``).

    The network is to find what tells a batch's crystals apart; composition does so nearly alone.

    Logged besides the loss: ``retrieval``, the fraction of copies whose nearest is the right one;
    1 / (2n − 1) by chance.

    Attributes:
        temperature: τ.
        ratio: fraction of the atoms to mask, rounded to a whole number below that of all atoms.
        edge_ratio: fraction of the pairs of atoms whose edges are taken out.
        most_atoms: supercells have no more atoms, unless the crystal does.
        projection: width of the vectors compared; None for that of the backbone.
        positive_below: whether k runs over i' too; the published code leaves it out.
    """

    temperature: Annotated[float, Gt(0)] = 0.1
    ratio: Annotated[float, Ge(0), Lt(1)] = 0.2
    edge_ratio: Annotated[float, Ge(0), Lt(1)] = 0.2
    most_atoms: Annotated[int, Gt(0)] = 64
    projection: Annotated[int, Gt(0)] | None = None
    positive_below: bool = True

    chance: ClassVar[bool] = True
    fewest: ClassVar[int] = 2

    def view(
        self, crystals: Crystals, build_graph: GraphBuilder, generator: torch.Generator
    ) -> View:
        """Return two graphs of incomplete copies; raises InputError for fewer than two crystals."""
        if len(crystals) < 2:
            raise InputError(
                f"a batch of one crystal ('{', '.join(crystals.ids)}') has nothing to be told "
                "from: contrastive training needs batches, for validation too, of two or more. "
                "Raise batch_size or atoms_per_batch, or data.validation if it holds one alone."
            )
        return View(
            graphs=tuple(self._copy(crystals, build_graph, generator) for _ in range(2)),
        )

    def head(self, backbone: Backbone) -> nn.Module:
        """Return mask tokens and the perceptron between crystals and what is compared."""
        return ContrastiveHead(backbone.width, self.projection or backbone.width)

    def loss(self, encode: Encode, head: nn.Module, view: View) -> dict[str, Tensor]:
        """Return NT-Xent and the fraction of copies that find their partner."""
        vectors = torch.cat([head(encode, graph) for graph in view.graphs])
        logits = vectors @ vectors.T / self.temperature
        loss = nt_xent(logits, self.positive_below)
        return {"loss": loss, "retrieval": retrieval(logits.detach())}

    def _copy(
        self, crystals: Crystals, build_graph: GraphBuilder, generator: torch.Generator
    ) -> Graph:
        large = supercells(crystals, self._repeats(crystals, generator))
        counts = torch.floor(self.ratio * large.atom_counts.double() + 0.5).long()
        counts = torch.minimum(counts, large.atom_counts - 1)
        masked = drawn(large.crystal_of_atom, counts, generator)
        graph, _ = split_edges(build_graph(large), self.edge_ratio, "pair", generator)
        inputs = {**large.inputs, MASKED: masked.to(large.positions)}
        return replace(graph, crystals=replace(without_elements(large, masked), inputs=inputs))

    def _repeats(self, crystals: Crystals, generator: torch.Generator) -> Int[Tensor, "crystals 3"]:
        """Return 1 or 2 per direction; as many are 2 as a uniform draw among the allowed says."""
        room = torch.log2(self.most_atoms / crystals.atom_counts.double()).floor()
        most = torch.minimum(room.clamp(min=0), crystals.pbc.sum(1))
        chance = torch.rand((len(crystals), 4), generator=generator, dtype=torch.float64)
        chance = chance.to(crystals.device)
        doubled = torch.floor(chance[:, 3] * (most + 1.0))
        order = (chance[:, :3] + (~crystals.pbc).double()).argsort(1).argsort(1)
        return torch.where(order < doubled.unsqueeze(1), 2, 1)


class ContrastiveHead(nn.Module):
    """Mask tokens, and the perceptron between crystals and the vectors that are compared."""

    def __init__(self, width: int, projection: int) -> None:
        super().__init__()
        self.tokens = MaskTokens(width)
        self.projector = Perceptron(width, (width,), projection)

    def forward(self, encode: Encode, graph: Graph) -> Float[Tensor, "crystals projection"]:
        """Return a vector of length one per crystal."""
        masked = graph.crystals.inputs[MASKED] > 0.5
        encoding = encode(graph, lambda embedding: self.tokens(embedding, masked))
        vectors = self.projector(pool(encoding.nodes, graph.crystals, "mean"))
        return nn.functional.normalize(vectors, dim=-1)


def nt_xent(logits: Float[Tensor, "copies copies"], positive_below: bool = True) -> Tensor:
    """Return −log [exp(l_ii') / Σ_k exp(l_ik)], mean over i, of 2n copies, i' = i ± n.

    k runs over all copies but i, and leaves out i' too unless ``positive_below``.
    """
    partner = _partners(logits)
    others = _without_self(logits)
    wanted = logits.gather(1, partner.unsqueeze(1)).squeeze(1)
    if not positive_below:
        others = others.scatter(1, partner.unsqueeze(1), -torch.inf)
    return (torch.logsumexp(others, dim=1) - wanted).mean()


def retrieval(logits: Float[Tensor, "copies copies"]) -> Tensor:
    """Return the fraction of copies for which the partner is the most alike of all others."""
    return (_without_self(logits).argmax(1) == _partners(logits)).to(logits.dtype).mean()


def _partners(logits: Float[Tensor, "copies copies"]) -> Int[Tensor, " copies"]:
    return torch.arange(len(logits), device=logits.device).roll(len(logits) // 2)


def _without_self(logits: Float[Tensor, "copies copies"]) -> Float[Tensor, "copies copies"]:
    own = torch.eye(len(logits), dtype=torch.bool, device=logits.device)
    return logits.masked_fill(own, -torch.inf)
