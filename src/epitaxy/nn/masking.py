"""Learned tokens in the place of hidden elements."""

from dataclasses import replace
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Bool
from torch import Tensor, nn


@runtime_checkable
class ElementEmbeddings(Protocol):
    """What an embedding says of elements."""

    @property
    def nodes(self) -> Tensor:
        """The element embedding, shape (atoms, width)."""

    @property
    def neighbor_nodes(self) -> Tensor | None:
        """A second one that neighbors see, or None."""


Rows = TypeVar("Rows", bound=ElementEmbeddings)


class MaskTokens(nn.Module):
    """x_i = t for every masked atom i, in both element embeddings, each with a token of its own.

    Tokens start at zero, as an element vector that is blotted out, and are learned.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.node = nn.Parameter(torch.zeros(width))
        self.neighbor_node = nn.Parameter(torch.zeros(width))

    def forward(self, embedding: Rows, masked: Bool[Tensor, " atoms"]) -> Rows:
        """Return the embedding (a dataclass) with the masked atoms' rows replaced."""
        where = masked.unsqueeze(-1)
        rows: dict[str, Any] = {"nodes": torch.where(where, self.node, embedding.nodes)}
        if embedding.neighbor_nodes is not None:
            rows["neighbor_nodes"] = torch.where(
                where, self.neighbor_node, embedding.neighbor_nodes
            )
        changed: Any = embedding
        return replace(changed, **rows)
