"""Real solid harmonics: the polynomials of degree n that know directions and no more."""

import math

import torch
from jaxtyping import Float
from torch import Tensor


def solid_harmonics(
    vectors: Float[Tensor, "3 *rows"], degree: int
) -> Float[Tensor, "components *rows"]:
    """Return the 2n + 1 real solid harmonics of degree n with Σ_m h_m(u) h_m(v) = |u|ⁿ|v|ⁿ P_n.

    P_n is the Legendre polynomial of the cosine between u and v, so that Σ_m h_m(u)² = |u|²ⁿ.
    They follow from (x + iy)^m and the recurrence of the associated Legendre polynomials in degree.
    """
    x, y, z = vectors
    square = x * x + y * y + z * z
    real, imaginary = torch.ones_like(x), torch.zeros_like(x)  # of (x + iy)^m
    found = []
    for m in range(degree + 1):
        along = math.sqrt((2 if m else 1) * math.factorial(degree - m) / math.factorial(degree + m))
        polar = _polar_part(z, square, degree, m)
        scale = along if polar is None else polar * along
        found.append(real * scale)
        if m:
            found.append(imaginary * scale)
        real, imaginary = x * real - y * imaginary, x * imaginary + y * real
    return torch.stack(found)


def _polar_part(z: Tensor, square: Tensor, degree: int, m: int) -> Tensor | None:
    """Return r^{n−m} dᵐP_n(z/r) of z and r²."""
    before = torch.zeros_like(z)
    current = torch.full_like(z, math.prod(range(2 * m - 1, 0, -2)))
    for n in range(m, degree):
        following = ((2 * n + 1) * z * current - (n + m) * square * before) / (n + 1 - m)
        before, current = current, following
    return current
