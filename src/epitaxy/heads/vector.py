"""One vector per atom, turning with the crystal."""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from epitaxy.crystals.graph import Graph


@runtime_checkable
class AtomVectors(Protocol):
    """What the head reads of an encoding."""

    @property
    def nodes(self) -> Tensor:
        """Scalars of every atom, shape (atoms, width)."""

    @property
    def vectors(self) -> Tensor | None:
        """Vectors of every atom, shape (atoms, 3, width)."""


class VectorHead(nn.Module):
    """Two gated equivariant blocks (Schütt et al., ICML 2021) from (x, v) to one vector.

    In each, with n = ‖W₁v‖ over the three directions, (x', g) = MLP[x ‖ n] and v' = g ⊙ W₂v.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = GatedBlock(width, max(width // 2, 1))
        self.second = GatedBlock(max(width // 2, 1), 1)

    def forward(self, encoding: AtomVectors, graph: Graph) -> Float[Tensor, "atoms 3"]:
        """Return one vector per atom."""
        assert encoding.vectors is not None
        scalars, vectors = self.first(encoding.nodes, encoding.vectors)
        return self.second(nn.functional.silu(scalars), vectors)[1].squeeze(-1)


class GatedBlock(nn.Module):
    """Mixes scalars with the lengths of vectors, and scales vectors by what comes out."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.outputs = outputs
        self.lengths = nn.Linear(width, width, bias=False)
        self.mixed = nn.Linear(width, outputs, bias=False)
        self.gate = nn.Sequential(
            nn.Linear(2 * width, width), nn.SiLU(), nn.Linear(width, 2 * outputs)
        )

    def forward(
        self, scalars: Float[Tensor, "atoms width"], vectors: Float[Tensor, "atoms 3 width"]
    ) -> tuple[Float[Tensor, "atoms outputs"], Float[Tensor, "atoms 3 outputs"]]:
        """Return scalars and vectors of the block's output width."""
        # the small constant keeps the derivative of the length finite where a vector is zero
        lengths = torch.sqrt((self.lengths(vectors) ** 2).sum(1) + 1e-12)
        mixed, gate = self.gate(torch.cat([scalars, lengths], dim=-1)).split(self.outputs, dim=-1)
        return mixed, self.mixed(vectors) * gate.unsqueeze(1)
