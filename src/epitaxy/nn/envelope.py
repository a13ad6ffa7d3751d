"""Functions that take a message smoothly to zero at the cutoff."""

import math

import torch
from jaxtyping import Float
from torch import Tensor


def cosine_envelope(distances: Float[Tensor, " edges"], cutoff: float) -> Float[Tensor, " edges"]:
    """Return ½ [cos(π r / R_c) + 1], and zero beyond R_c (Behler, J. Chem. Phys. 134, 074106)."""
    inside = (distances < cutoff).to(distances.dtype)
    return 0.5 * (torch.cos(distances * (math.pi / cutoff)) + 1.0) * inside
