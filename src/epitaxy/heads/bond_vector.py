"""One vector per atom from a network that has scalars only."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import silu

from epitaxy.crystals.graph import Graph
from epitaxy.crystals.segments import gather, sum_over_neighbors
from epitaxy.heads.scalar import Representations
from epitaxy.nn.envelope import cosine_envelope


class BondVectorHead(nn.Module):
    """f_i = Σ_j w_ij f_c(r_ij) r̂_ij, w_ij = bᵀ silu(W₁ x_i + W₂ x_j + W₃ e_ij + c).

    The weights see scalars, so f turns with the crystal, which a scalar head on top of an
    invariant network cannot do. f_c takes every term to zero at the cutoff: f is as smooth as the
    network. It is zero where the site's symmetry leaves no direction. Directions are read from the
    graph, edges from the encoding: a backbone without edge representations hands on its distance
    features.
    """

    def __init__(
        self, width: int, edge_width: int, cutoff: float, hidden: int | None = None
    ) -> None:
        super().__init__()
        self.cutoff, self.hidden = cutoff, width if hidden is None else hidden
        self.of_center = nn.Linear(width, self.hidden)
        self.of_neighbor = nn.Linear(width, self.hidden, bias=False)
        self.of_edge = nn.Linear(edge_width, self.hidden, bias=False)
        self.weight = nn.Linear(self.hidden, 1, bias=False)

    def forward(self, encoding: Representations, graph: Graph) -> Float[Tensor, "atoms 3"]:
        """Return one vector per atom."""
        vectors = graph.vectors()
        distances = torch.linalg.vector_norm(vectors, dim=-1)
        mixed = (
            gather(self.of_center(encoding.nodes), graph.center)
            + gather(self.of_neighbor(encoding.nodes), graph.neighbor)
            + self.of_edge(encoding.edges)
        )
        pull = self.weight(silu(mixed)).squeeze(-1).to(vectors.dtype)
        pull = pull * cosine_envelope(distances, self.cutoff) / distances
        return sum_over_neighbors(
            pull.unsqueeze(-1) * vectors, graph.center, graph.crystals.atom_total
        )
