"""Scalars of crystals, read from atoms, edges and state together."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from epitaxy.crystals.graph import Graph
from epitaxy.crystals.segments import gather
from epitaxy.heads.scalar import grown, started_at_zero
from epitaxy.nn.perceptron import Perceptron
from epitaxy.nn.set2set import Set2Set


@runtime_checkable
class WholeRepresentations(Protocol):
    """What the head reads of an encoding."""

    @property
    def nodes(self) -> Tensor:
        """The representation of every atom, shape (atoms, width)."""

    @property
    def edges(self) -> Tensor:
        """The representation of every edge, shape (edges, edge_width)."""

    @property
    def crystals(self) -> Tensor | None:
        """State features of every crystal, shape (crystals, state), or None."""


class JoinedHead(nn.Module):
    """y = MLP[Set2Set_i(x_i) ‖ Set2Set_ij(e_ij) ‖ u], the readout of MEGNet and of CDSSL.

    After Chen et al. (Chem. Mater. 31, 3564, 2019) and New et al. (arXiv:2408.17255). u is left out
    where ``state_width`` is 0; a backbone without edge representations hands on its distance
    features. Independent of the size of the cell; ``extensive``, one for all outputs or one for
    each, multiplies by the number of atoms.

    An edge at the cutoff still has a weight in its softmax, so y jumps a little as an atom crosses
    the cutoff: for properties of given crystals, not for a potential.
    """

    def __init__(
        self,
        width: int,
        edge_width: int,
        state_width: int = 0,
        outputs: int = 1,
        hidden: Sequence[int] | None = None,
        steps: int = 3,
        extensive: bool | Sequence[bool] = False,
    ) -> None:
        super().__init__()
        self.state_width = state_width
        self.extensive = extensive if isinstance(extensive, bool) else tuple(extensive)
        self.hidden = (width, width) if hidden is None else tuple(hidden)
        self.of_atoms, self.of_edges = Set2Set(width, steps), Set2Set(edge_width, steps)
        inputs = self.of_atoms.outputs + self.of_edges.outputs + state_width
        self.perceptron = started_at_zero(Perceptron(inputs, self.hidden, outputs))

    def forward(
        self, encoding: WholeRepresentations, graph: Graph
    ) -> Float[Tensor, "crystals outputs"]:
        """Return one row per crystal."""
        crystals, crystal_of_atom = graph.crystals, graph.crystals.crystal_of_atom
        crystal_of_edge = gather(crystal_of_atom, graph.center)
        edge_counts = torch.bincount(crystal_of_edge, minlength=len(crystals))
        parts = [
            self.of_atoms(encoding.nodes, crystal_of_atom, crystals.atom_counts),
            self.of_edges(encoding.edges, crystal_of_edge, edge_counts),
        ]
        if self.state_width:
            assert encoding.crystals is not None
            parts.append(encoding.crystals)
        return grown(self.perceptron(torch.cat(parts, dim=-1)), crystals, self.extensive)
