"""Weighted atom-centered symmetry functions (Gastegger et al., J. Chem. Phys. 148, 241709)."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from annotated_types import Ge, Gt, MinLen
from jaxtyping import Float
from torch import Tensor

from epitaxy.crystals.graph import Graph
from epitaxy.crystals.segments import gather
from epitaxy.descriptors.base import Descriptor
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
        chunk: edges that are expanded at a time; it bounds the memory, not the result.
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
        distances = graph.distances()
        weight = cosine_envelope(distances, self.cutoff)
        if self.weight == "number":
            weight = weight * gather(graph.crystals.numbers, graph.neighbor).to(weight.dtype)
        total = distances.new_zeros((graph.crystals.atom_total, self.size))
        for first in range(0, len(distances), self.chunk):
            edges = slice(first, first + self.chunk)
            terms = self._gaussians(distances[edges]) * weight[edges].unsqueeze(-1)
            total = total.index_add(0, graph.center[edges], terms)
        return total

    def _gaussians(self, distances: Float[Tensor, " edges"]) -> Float[Tensor, "edges size"]:
        eta = distances.new_tensor(self.eta)
        r_s = distances.new_tensor(self.r_s)
        squares = (distances.unsqueeze(-1) - r_s) ** 2
        return torch.exp(-eta.unsqueeze(-1) * squares.unsqueeze(-2)).flatten(1)
