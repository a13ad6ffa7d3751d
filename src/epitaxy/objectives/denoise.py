"""Find the way back of atoms that were moved at random (doi 10.1039/d3dd00214d; 2206.00133)."""

import warnings
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Ge, Gt, Lt
from jaxtyping import Bool, Float
from torch import Tensor, nn

from epitaxy.backbones.base import Backbone
from epitaxy.crystals.crystals import Crystals
from epitaxy.crystals.graph import Graph
from epitaxy.crystals.neighbors import GraphBuilder
from epitaxy.crystals.segments import gather, mean_over_atoms
from epitaxy.crystals.supercells import enlarged
from epitaxy.crystals.targets import Target
from epitaxy.errors import InputError
from epitaxy.heads.bond_vector import BondVectorHead
from epitaxy.heads.potential import energy_forces_stress
from epitaxy.heads.scalar import Readout, ScalarHead
from epitaxy.heads.vector import VectorHead
from epitaxy.objectives.base import Encode, Objective, View

LABEL = "way_back"
COLLISION = 0.5  # Å; no two atoms of a crystal are as near as this
RARE = 0.01  # fraction of crystals with a collision that is passed over in silence
TRIED = 200  # crystals that are moved once, to see whether atoms collide


@dataclass(frozen=True)
class Denoise(Objective):
    """L = mean over atoms and directions of |f_i + (u_i − ū) / σ|, u ∼ N(0, σ²).

    The atoms of a crystal move by u_i less the crystal's mean ū, which no network could tell;
    the neighbor list is that of the moved crystal, and the label points back, as a force does.
    f is the output of a vector head (``mode="head"``; where the backbone has no vectors, of one
    that weighs the directions to neighbors), or −∂E/∂x of a scalar one (``mode="derivative"``).
    Cells of few atoms are enlarged first: one atom alone would have nothing to find. What is left
    with one atom (a free atom) is skipped and counted.

    With ``strain`` s, positions and cell are deformed first, x → x (1 + ε), ε = s (G + Gᵀ) / 2,
    G ∼ N(0, 1): every diagonal element has the standard deviation s, and no direction is preferred.
    ε is not to be told, and the labels stay what they are: they point to where the atoms were in
    the strained cell. It shows the network crystals that are not at their equilibrium volume.

    The preset ``published`` is the published code: L = mean of |f_i − u_i|, where the label is the
    displacement itself, in Å, ū stays in it, −∂E/∂x points along it, E reads the sum of the
    atoms' representations, and no cell is enlarged. Cells of one atom are skipped, which the code
    leaves out of its data. ``sigma`` is 0.1 Å there.

    ``prepare`` moves some crystals once and warns if atoms come within 0.5 Å of each other in more
    than one crystal of a hundred: such a σ teaches of collisions.

    Attributes:
        mode: where the vectors come from.
        sigma: standard deviation of the displacements in Å, or the two ends of a range from which
            every crystal draws its own.
        relative: whether ``sigma`` is a fraction of the crystal's shortest distance instead, which
            must be within the backbone's cutoff.
        strain: s; 0 for none.
        label: ``"way_back"``, −(u − ū) / σ, or ``"displacement"``, u − ū in Å.
        centered: whether ū is taken off; where not, it is 0 in all of these equations.
        smallest: cells with fewer atoms are doubled until they have as many; 1 for never.
        loss_kind: ``"l1"`` or ``"l2"``, the means of absolute values or squares of x, y and z, or
            ``"norm"``, the mean over atoms of the lengths |f_i − t_i|₂, t the label. ``"l1"``
            depends a little on how the crystal lies in space, the others do not.
        readout: of ``mode="derivative"``, E = Σ_i MLP(h_i) (``"atoms"``) or E = MLP(Σ_i h_i)
            (``"pooled"``), which does not double when the cell does.
        hidden: of ``mode="derivative"``, widths of that perceptron's hidden layers; two of the
            backbone's unless told.
    """

    mode: Literal["head", "derivative"] = "head"
    sigma: Annotated[float, Gt(0)] | tuple[Annotated[float, Gt(0)], Annotated[float, Gt(0)]] = 0.1
    relative: bool = False
    strain: Annotated[float, Ge(0), Lt(0.5)] = 0.0
    label: Literal["way_back", "displacement"] = "way_back"
    centered: bool = True
    smallest: Annotated[int, Ge(1)] = 4
    loss_kind: Literal["l1", "l2", "norm"] = "l1"
    readout: Readout = "atoms"
    hidden: tuple[int, ...] | None = None

    chance: ClassVar[bool] = True
    presets: ClassVar[dict] = {
        # Jia et al., Digital Discovery 3, 586 (2024), and its code.
        "published": {
            "sigma": 0.1,
            "label": "displacement",
            "centered": False,
            "smallest": 1,
            "loss_kind": "l1",
            "readout": "pooled",
        },
    }

    @property
    def derivatives(self) -> bool:  # type: ignore[override]
        """Whether positions must be leaves."""
        return self.mode == "derivative"

    def prepare(
        self, crystals: Crystals, build_graph: GraphBuilder, generator: torch.Generator
    ) -> "Denoise":
        """Warn, with their share, if atoms of a random sample of the crystals collide."""
        chosen = torch.randperm(len(crystals), generator=generator)[:TRIED]
        sample = crystals[torch.sort(chosen).values]
        share = float(collided(self.view(sample, build_graph, generator).graphs[0]).double().mean())
        if share > RARE:
            warnings.warn(
                f"denoise: sigma = {self.sigma}{' (relative)' if self.relative else ''} brings "
                f"atoms of {share:.0%} of the crystals within {COLLISION:g} Å of each other: "
                "choose a smaller one.",
                RuntimeWarning,
                stacklevel=2,
            )
        return self

    def usable(self, crystals: Crystals) -> Tensor:
        """Leave out free atoms, and one-atom cells that are not enlarged."""
        several = crystals.atom_counts >= 2
        return several | crystals.pbc.any(1) if self.smallest >= 2 else several

    def view(
        self, crystals: Crystals, build_graph: GraphBuilder, generator: torch.Generator
    ) -> View:
        """Return the graph of the moved crystals and the label of every atom."""
        large = enlarged(crystals, self.smallest, generator)
        length = self._lengths(crystals, build_graph)
        nothing = (large.atom_counts < 2) | ~torch.isfinite(length)
        skipped = tuple(large.ids[int(index)] for index in torch.nonzero(nothing).flatten())
        if skipped:
            large, length = large[~nothing], length[~nothing]
        if not len(large):
            raise InputError(
                f"crystals {', '.join(skipped[:5])} are {self._why_nothing()}: there is nothing "
                "to denoise."
            )
        sigma = self._sigmas(large, generator) * length[large.crystal_of_atom].unsqueeze(-1)
        noise = torch.randn(large.positions.shape, generator=generator).to(large.positions)
        if self.centered:
            mean = mean_over_atoms(noise, large.crystal_of_atom, large.atom_counts)
            noise = noise - mean[large.crystal_of_atom]
        if self.strain:
            large = self._strained(large, generator)
        moved = replace(large, positions=large.positions + sigma * noise)
        label = -noise if self.label == "way_back" else sigma * noise
        return View(
            graphs=(build_graph(moved),),
            labels={LABEL: Target(label, level="atom")},
            skipped=skipped,
        )

    def head(self, backbone: Backbone) -> nn.Module:
        """Return a vector head that suits the backbone, or a scalar one to be differentiated."""
        if self.mode == "derivative":
            return ScalarHead(
                width=backbone.width, hidden=self.hidden, pooling="sum", readout=self.readout
            )
        if backbone.has_vectors:
            return VectorHead(backbone.width)
        return BondVectorHead(backbone.width, backbone.edge_width, backbone.cutoff)

    def loss(self, encode: Encode, head: nn.Module, view: View) -> dict[str, Tensor]:
        """Return the loss and the explained fraction of the labels' variance."""
        wanted = view.labels[LABEL].values
        find = self._by_derivative if self.mode == "derivative" else self._by_head
        error = find(encode, head, view.graphs[0]) - wanted
        explained = 1.0 - (error.detach() ** 2).mean() / (wanted**2).mean().clamp(min=1e-12)
        if self.loss_kind == "norm":
            loss = torch.linalg.vector_norm(error, dim=-1).mean()
        else:
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
        """Return ``sigma`` for every atom, shape (atoms, 1)."""
        low, high = self.sigma if isinstance(self.sigma, tuple) else (self.sigma, self.sigma)
        drawn = low + (high - low) * torch.rand((len(crystals), 1), generator=generator)
        return drawn.to(crystals.positions)[crystals.crystal_of_atom]

    def _lengths(self, crystals: Crystals, build_graph: GraphBuilder) -> Float[Tensor, " crystals"]:
        """Return what ``sigma`` is counted in, Å; not finite where there is no distance."""
        if self.relative:
            return shortest_distances(build_graph(crystals))
        return crystals.positions.new_ones(len(crystals))

    def _strained(self, crystals: Crystals, generator: torch.Generator) -> Crystals:
        drawn = torch.randn(crystals.cell.shape, generator=generator).to(crystals.cell)
        strain = self.strain * (drawn + drawn.transpose(1, 2)) / 2
        deform = torch.eye(3, dtype=strain.dtype, device=strain.device) + strain
        positions = torch.einsum("ai,aij->aj", crystals.positions, deform[crystals.crystal_of_atom])
        return replace(crystals, positions=positions, cell=crystals.cell @ deform)

    def _why_nothing(self) -> str:
        cells = "free atoms" if self.smallest > 1 else "cells of one atom"
        return f"{cells}, or have no two atoms within the cutoff" if self.relative else cells


def shortest_distances(graph: Graph) -> Float[Tensor, " crystals"]:
    """Return the length of each crystal's shortest edge in Å; infinity where it has none."""
    distances = graph.distances()
    owner = gather(graph.crystals.crystal_of_atom, graph.center)
    farthest = distances.new_full((len(graph),), torch.inf)
    return farthest.scatter_reduce(0, owner, distances, "amin")


def collided(graph: Graph) -> Bool[Tensor, " crystals"]:
    """Return where two atoms, images included, are nearer than 0.5 Å."""
    return shortest_distances(graph) < COLLISION
