"""Find the way back of atoms that were moved at random (doi 10.1039/d3dd00214d; 2206.00133)."""

from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Ge, Gt
from torch import Tensor, nn

from epitaxy.backbones.base import Backbone
from epitaxy.crystals.crystals import Crystals
from epitaxy.crystals.graph import Graph
from epitaxy.crystals.neighbors import GraphBuilder
from epitaxy.crystals.segments import mean_over_atoms
from epitaxy.crystals.supercells import enlarged
from epitaxy.crystals.targets import Target
from epitaxy.errors import InputError
from epitaxy.heads.bond_vector import BondVectorHead
from epitaxy.heads.potential import energy_forces_stress
from epitaxy.heads.scalar import ScalarHead
from epitaxy.heads.vector import VectorHead
from epitaxy.objectives.base import Encode, Objective, View

LABEL = "way_back"


@dataclass(frozen=True)
class Denoise(Objective):
    """L = mean over atoms and directions of |f_i + (u_i − ū) / σ|, u ∼ N(0, σ²).

    The atoms of a crystal move by u_i less the crystal's mean ū, which no network could tell;
    the neighbor list is that of the moved crystal, and the label points back, as a force does.
    f is the output of a vector head (``mode="head"``; where the backbone has no vectors, of one
    that weighs the directions to neighbors), or −∂E/∂x of a scalar one (``mode="derivative"``).
    Cells of few atoms are enlarged first: one atom alone would have nothing to find. What is left
    with one atom (a free atom) is skipped and counted.

    The published code stores σ·u itself, keeps ū, and lets −∂E/∂x point along the displacement.

    Attributes:
        mode: where the vectors come from.
        sigma: standard deviation of the displacements in Å, or the two ends of a range from which
            every crystal draws its own.
        smallest: cells with fewer atoms are doubled until they have as many.
        loss_kind: ``"l1"`` or ``"l2"``.
    """

    mode: Literal["head", "derivative"] = "head"
    sigma: Annotated[float, Gt(0)] | tuple[Annotated[float, Gt(0)], Annotated[float, Gt(0)]] = 0.1
    smallest: Annotated[int, Ge(2)] = 4
    loss_kind: Literal["l1", "l2"] = "l1"

    chance: ClassVar[bool] = True

    @property
    def derivatives(self) -> bool:  # type: ignore[override]
        """Whether positions must be leaves."""
        return self.mode == "derivative"

    def view(
        self, crystals: Crystals, build_graph: GraphBuilder, generator: torch.Generator
    ) -> View:
        """Return the graph of the moved crystals and the scaled way back of every atom."""
        large = enlarged(crystals, self.smallest, generator)
        alone = large.atom_counts < 2
        skipped = tuple(large.ids[int(index)] for index in torch.nonzero(alone).flatten())
        large = large[~alone] if skipped else large
        if not len(large):
            raise InputError(
                f"crystals {', '.join(skipped[:5])} are free atoms: there is nothing to denoise."
            )
        sigma = self._sigmas(large, generator)
        noise = torch.randn(large.positions.shape, generator=generator).to(large.positions)
        mean = mean_over_atoms(noise, large.crystal_of_atom, large.atom_counts)
        noise = noise - mean[large.crystal_of_atom]
        moved = replace(large, positions=large.positions + sigma * noise)
        return View(
            graphs=(build_graph(moved),),
            labels={LABEL: Target(-noise, level="atom")},
            skipped=skipped,
        )

    def head(self, backbone: Backbone) -> nn.Module:
        """Return a vector head that suits the backbone, or a scalar one to be differentiated."""
        if self.mode == "derivative":
            return ScalarHead(width=backbone.width, level="crystal", pooling="sum")
        if backbone.has_vectors:
            return VectorHead(backbone.width)
        return BondVectorHead(backbone.width, backbone.edge_width, backbone.cutoff)

    def loss(self, encode: Encode, head: nn.Module, view: View) -> dict[str, Tensor]:
        """Return the loss and the explained fraction of the labels' variance."""
        wanted = view.labels[LABEL].values
        find = self._by_derivative if self.mode == "derivative" else self._by_head
        error = find(encode, head, view.graphs[0]) - wanted
        explained = 1.0 - (error.detach() ** 2).mean() / (wanted**2).mean().clamp(min=1e-12)
        loss = error.abs().mean() if self.loss_kind == "l1" else (error**2).mean()
        return {"loss": loss, "explained": explained}

    def _by_head(self, encode: Encode, head: nn.Module, graph: Graph) -> Tensor:
        return head(encode(graph), graph)

    def _by_derivative(self, encode: Encode, head: nn.Module, graph: Graph) -> Tensor:
        def energy(moved: Graph) -> Tensor:
            return head(encode(moved), moved).squeeze(-1)

        forces = energy_forces_stress(energy, graph, differentiable=head.training).forces
        assert forces is not None
        return forces

    def _sigmas(self, crystals: Crystals, generator: torch.Generator) -> Tensor:
        """Return σ for every atom, shape (atoms, 1)."""
        low, high = self.sigma if isinstance(self.sigma, tuple) else (self.sigma, self.sigma)
        drawn = low + (high - low) * torch.rand((len(crystals), 1), generator=generator)
        return drawn.to(crystals.positions)[crystals.crystal_of_atom]
