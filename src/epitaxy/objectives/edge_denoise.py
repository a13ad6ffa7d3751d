"""Tell the clean crystal's distances from atoms that were moved at random (arXiv:2408.17255)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from annotated_types import Ge, Gt
from jaxtyping import Float
from torch import Tensor, nn

from epitaxy.backbones.base import Backbone
from epitaxy.crystals.crystals import Crystals
from epitaxy.crystals.neighbors import GraphBuilder
from epitaxy.crystals.segments import mean_over_atoms
from epitaxy.crystals.supercells import enlarged
from epitaxy.errors import InputError
from epitaxy.heads.edge import EdgeHead
from epitaxy.nn.start import begin_near
from epitaxy.objectives.base import Encode, Objective, View

MOST_DISTANCES = 2**16  # that the best constant is found from


@dataclass(frozen=True)
class EdgeDenoise(Objective):
    """L = mean over edges and channels of |ê_ij,k − exp(−(d_ij − μ_k)² / w²)|, or its square.

    The atoms of a crystal move by u_i less the crystal's mean ū, u ∼ N(0, σ²). The network reads
    the moved crystal along the edges of the clean one, and predicts for each the expansion of the
    clean distance d_ij in Gaussians, whose centers μ_k are spread evenly from 0 to the backbone's
    cutoff. The expansion is the objective's own and does not learn: one that learned could make
    its labels easy. An edge that the noise made longer than the cutoff is predicted like any other.
    The prediction is the same seen from either end (``heads.edge``); labels do not turn with the
    crystal, so every backbone can be taught.

    Cells of few atoms are enlarged first, since an atom does not move relative to its own images.
    Crystals that keep one atom, or have no edge, are skipped and counted.

    Expansions are sparse and the input is nearly the answer, so the loss alone says little. Logged
    besides it are two scores, 0 for learning nothing and 1 for perfection:

    * ``skill`` = 1 − L / L(c), c the best constant: the mean expansion Ē of the training crystals,
      or for ``"l1"`` the median, which is the constant that L1 rewards and would beat Ē untaught.
    * ``denoised`` = 1 − L / L(copy), the copy being the expansion of the moved distances.

    Of the paper, σ, the Gaussians and the kind of loss could not be established.

    Attributes:
        sigma: standard deviation of the displacements in Å, or the two ends of a range from which
            every crystal draws its own.
        gaussians: their number K.
        gaussian_width: w in Å.
        loss_kind: ``"l1"`` or ``"l2"``.
        smallest: cells with fewer atoms are doubled until they have as many.
        sample: crystals that c is fitted on, at most.
    """

    sigma: Annotated[float, Gt(0)] | tuple[Annotated[float, Gt(0)], Annotated[float, Gt(0)]] = 0.1
    gaussians: Annotated[int, Ge(2)] = 50
    gaussian_width: Annotated[float, Gt(0)] = 0.5
    loss_kind: Literal["l1", "l2"] = "l2"
    smallest: Annotated[int, Ge(2)] = 4
    sample: Annotated[int, Gt(0)] = 500

    chance: ClassVar[bool] = True

    @property
    def numbers(self) -> Mapping[str, Any]:
        """The cutoff and the best constant; only a prepared objective has them."""
        if self.fitted is None:
            raise RuntimeError("call prepare before the objective is used")
        return self.fitted

    def prepare(
        self, crystals: Crystals, build_graph: GraphBuilder, generator: torch.Generator
    ) -> "EdgeDenoise":
        """Fit the best constant on the edges of a random sample of the crystals."""
        chosen = torch.randperm(len(crystals), generator=generator)[: self.sample]
        sample = crystals[torch.sort(chosen).values]
        distances = torch.cat(
            [build_graph(sample[part]).distances() for part in torch.arange(len(sample)).split(64)]
        )
        if not len(distances):
            raise InputError(
                f"no two atoms of the crystals are within {build_graph.cutoff:g} Å of each other: "
                "there are no edges to denoise."
            )
        evenly = torch.linspace(0, len(distances) - 1, min(len(distances), MOST_DISTANCES))
        spread = torch.sort(distances.double()).values[evenly.long()]
        expanded = self.expansion(spread, build_graph.cutoff)
        constant = expanded.mean(0) if self.loss_kind == "l2" else expanded.median(0).values
        return self.with_fitted(  # type: ignore[return-value]
            {"cutoff": build_graph.cutoff, "constant": constant.tolist()}
        )

    def expansion(
        self, distances: Float[Tensor, " edges"], cutoff: float
    ) -> Float[Tensor, "edges gaussians"]:
        """Return exp(−(d − μ_k)² / w²), μ_k from 0 to the cutoff; the label of a distance (Å)."""
        centers = torch.linspace(
            0.0, cutoff, self.gaussians, dtype=distances.dtype, device=distances.device
        )
        return torch.exp(-(((distances.unsqueeze(-1) - centers) / self.gaussian_width) ** 2))

    def usable(self, crystals: Crystals) -> Tensor:
        """Leave out free atoms."""
        return (crystals.atom_counts >= 2) | crystals.pbc.any(1)

    def view(
        self, crystals: Crystals, build_graph: GraphBuilder, generator: torch.Generator
    ) -> View:
        """Return the moved graph and the clean one, which have the same edges."""
        clean = build_graph(enlarged(crystals, self.smallest, generator))
        edges = clean.crystal_offsets[1:] - clean.crystal_offsets[:-1]
        nothing = (clean.crystals.atom_counts < 2) | (edges == 0)
        ids = clean.crystals.ids
        skipped = tuple(ids[int(index)] for index in torch.nonzero(nothing).flatten())
        clean = clean[~nothing] if skipped else clean
        if not len(clean):
            raise InputError(
                f"crystals {', '.join(skipped[:5])} are free atoms, or have no two atoms within "
                f"{clean.cutoff:g} Å of each other: there are no edges to denoise."
            )
        large = clean.crystals
        noise = torch.randn(large.positions.shape, generator=generator).to(large.positions)
        mean = mean_over_atoms(noise, large.crystal_of_atom, large.atom_counts)
        noise = self._sigmas(large, generator) * (noise - mean[large.crystal_of_atom])
        return View(graphs=(clean.displaced(noise), clean), skipped=skipped)

    def head(self, backbone: Backbone) -> nn.Module:
        """Return a perceptron that reads both ends of an edge and the edge; it begins near c."""
        head = EdgeHead(backbone.width, self.gaussians, backbone.edge_width)
        begin_near(head, torch.tensor(self.numbers["constant"]))
        return head

    def loss(self, encode: Encode, head: nn.Module, view: View) -> dict[str, Tensor]:
        """Return the loss and its scores against the best constant and against a copy."""
        moved, clean = view.graphs
        cutoff = self.numbers["cutoff"]
        wanted = self.expansion(clean.distances(), cutoff)
        loss = self._size(head(encode(moved), moved) - wanted)
        with torch.no_grad():
            constant = self._size(wanted.new_tensor(self.numbers["constant"]) - wanted)
            copy = self._size(self.expansion(moved.distances(), cutoff) - wanted)
            skill = 1.0 - loss / constant.clamp(min=1e-12)
            denoised = 1.0 - loss / copy.clamp(min=1e-12)
        return {"loss": loss, "skill": skill, "denoised": denoised}

    def _size(self, error: Tensor) -> Tensor:
        return error.abs().mean() if self.loss_kind == "l1" else (error**2).mean()

    def _sigmas(self, crystals: Crystals, generator: torch.Generator) -> Tensor:
        """Return σ for every atom, shape (atoms, 1)."""
        low, high = self.sigma if isinstance(self.sigma, tuple) else (self.sigma, self.sigma)
        chance = torch.rand((len(crystals), 1), generator=generator)
        return (low + (high - low) * chance).to(crystals.positions)[crystals.crystal_of_atom]
