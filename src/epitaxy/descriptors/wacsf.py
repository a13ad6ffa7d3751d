"""Weighted atom-centered symmetry functions (Gastegger et al., J. Chem. Phys. 148, 241709)."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Ge, Gt, MinLen
from jaxtyping import Float
from torch import Tensor

from epitaxy.crystals.graph import Graph
from epitaxy.crystals.neighborhoods import edges_side_by_side, neighborhoods, vectors_by_axis
from epitaxy.crystals.segments import gather
from epitaxy.descriptors.base import Descriptor, bell
from epitaxy.nn.envelope import cosine_envelope


@dataclass(frozen=True)
class WACSF(Descriptor):
    """G_i(η, R_s) = Σ_j w(Z_j) exp(−η (r_ij − R_s)²) f_c(r_ij), over all periodic images.

    f_c(r) = ½ [cos(π r / R_c) + 1]. Columns run over η, then R_s. An isolated atom has zeros.

    The presets are the sets of table 3 in arXiv:2503.01227 (48, 20 and 140 columns); the paper
    does not state R_c, and 8 Å is its encoder's. Its equation 2 prints the weight outside the sum,
    where it would carry no index.

    Attributes:
        eta: widths in Å⁻².
        r_s: shell radii in Å.
        cutoff: R_c in Å.
        weight: w(Z): the atomic number, or one for every element.
        chunk: slots for edges that are expanded at a time; bounds the memory, not the result.
    """

    eta: Annotated[tuple[Annotated[float, Ge(0)], ...], MinLen(1)] = (0.01, 0.1, 0.4, 1.0, 3.5, 5.0)
    r_s: Annotated[tuple[Annotated[float, Ge(0)], ...], MinLen(1)] = (0, 1, 2, 3, 4, 6, 8, 10)
    cutoff: Annotated[float, Gt(0)] = 8.0
    weight: Literal["number", "one"] = "number"
    chunk: Annotated[int, Gt(0)] = 16384

    presets: ClassVar[dict] = {
        "set1": {},
        "set2": {"eta": (0.01, 0.1, 0.4, 1.0), "r_s": (0.0, 1.0, 2.0, 3.0, 4.0)},
        "set3": {
            "eta": (0.01, 0.06, 0.1, 0.2, 0.4, 0.7, 1.0, 2.0, 3.5, 5.0),
            "r_s": (0.0, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0),
        },
    }

    @property
    def feature_names(self) -> tuple[str, ...]:
        """One name per column, such as ``wacsf[eta=0.4,r_s=3.0]``."""
        return tuple(
            f"wacsf[eta={float(eta)},r_s={float(r_s)}]" for eta in self.eta for r_s in self.r_s
        )

    def __call__(self, graph: Graph) -> Float[Tensor, "atoms size"]:
        """Return the symmetry functions of every atom."""
        graph = self.neighborhood(graph)
        vectors = vectors_by_axis(graph)
        distances = torch.sqrt((vectors * vectors).sum(0))
        weight = cosine_envelope(distances, self.cutoff)
        if self.weight == "number":
            weight = weight * gather(graph.crystals.numbers, graph.neighbor).to(weight.dtype)
        edges = torch.stack([distances, weight])
        atoms, described = [], []
        for hood in neighborhoods(graph.atom_offsets, self.chunk):
            of_slots = edges_side_by_side(edges, hood)
            atoms.append(hood.atoms)
            described.append(self._sums(of_slots[0], of_slots[1] * hood.filled))
        total = distances.new_zeros((graph.crystals.atom_total, self.size))
        if not atoms:
            return total
        return total.index_copy(0, torch.cat(atoms), torch.cat(described))

    def _sums(
        self, distances: Float[Tensor, "atoms slots"], weight: Float[Tensor, "atoms slots"]
    ) -> Float[Tensor, "atoms size"]:
        r_s = distances.new_tensor(self.r_s).reshape(1, -1, 1)
        squares = (distances.unsqueeze(1) - r_s) ** 2
        weight = weight.unsqueeze(-1)
        return torch.cat([torch.bmm(bell(-eta * squares), weight) for eta in self.eta], 1).squeeze(
            -1
        )
