"""Scalars of pairs of atoms, read from both ends and, where there is one, from the edge."""

from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import silu

from epitaxy.crystals.graph import Graph
from epitaxy.crystals.segments import gather


@runtime_checkable
class EdgeRepresentations(Protocol):
    """What the head reads of an encoding."""

    @property
    def nodes(self) -> Tensor:
        """The representation of every atom, shape (atoms, width)."""

    @property
    def edges(self) -> Tensor:
        """The representation of every edge, shape (edges, edge_width)."""


class EdgeHead(nn.Module):
    """y_ij = W₂ silu(W₁ silu(A (h_i + h_j) + B e_ij)), the same for an edge and its reverse.

    A sum knows no order, so what is predicted of i seen from j is what is predicted of j seen
    from i, as long as the backbone's e_ij is symmetric. With ``edge_width=0`` nothing but the two
    ends is read: the head for edges that the backbone has not seen.
    """

    def __init__(self, width: int, outputs: int, edge_width: int = 0) -> None:
        super().__init__()
        self.width, self.outputs, self.edge_width = width, outputs, edge_width
        self.ends = nn.Linear(width, width)
        self.edge = nn.Linear(edge_width, width, bias=False) if edge_width else None
        self.middle = nn.Linear(width, width)
        self.last = nn.Linear(width, outputs)

    def forward(
        self, encoding: EdgeRepresentations, graph: Graph
    ) -> Float[Tensor, "edges outputs"]:
        """Return one row per edge of the graph."""
        of_atoms = self.ends(encoding.nodes)
        both = gather(of_atoms, graph.center) + gather(of_atoms, graph.neighbor)
        if self.edge is not None:
            both = both + self.edge(encoding.edges)
        return self.last(silu(self.middle(silu(both))))
