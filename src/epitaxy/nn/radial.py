"""Distances expanded in radial basis functions."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn


class ExpNormal(nn.Module):
    """φ_k(r) = exp(−β_k (e^{−5r/R_c} − μ_k)²), without the cutoff factor.

    μ_k are spread evenly over [e^{−R_c}, 1] and β_k = ((2/K)(1 − e^{−R_c}))⁻² at the start (Thölke
    and De Fabritiis, ICLR 2022, after PhysNet).
    """

    def __init__(self, count: int, cutoff: float, trainable: bool = True) -> None:
        super().__init__()
        lowest = math.exp(-cutoff)
        self.alpha = 5.0 / cutoff
        self.means = nn.Parameter(torch.linspace(lowest, 1.0, count), requires_grad=trainable)
        width = (2.0 / count * (1.0 - lowest)) ** -2
        self.betas = nn.Parameter(torch.full((count,), width), requires_grad=trainable)

    def forward(self, distances: Float[Tensor, " edges"]) -> Float[Tensor, "edges radial"]:
        """Return the expansion of distances in Å."""
        decay = torch.exp(-self.alpha * distances).unsqueeze(-1)
        return torch.exp(-self.betas * (decay - self.means) ** 2)
