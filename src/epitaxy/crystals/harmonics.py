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
    They are the real and imaginary parts of (x + iy)ᵐ, each times a polynomial in z and r² that
    follows from the recurrence of the associated Legendre polynomials in their degree.
    """
    if degree == 0:
        return torch.ones_like(vectors[:1])
    if degree == 1:
        return vectors
    x, y, z = vectors
    square = x * x + y * y + z * z
    found = [_polar_part(z, square, degree, 0)]
    real, imaginary = x, y
    for m in range(1, degree + 1):
        if m > 1:
            real, imaginary = x * real - y * imaginary, x * imaginary + y * real
        polar = _polar_part(z, square, degree, m)
        found += [real * polar, imaginary * polar]
    return torch.stack(found)  # type: ignore[arg-type]


def _polar_part(z: Tensor, square: Tensor, degree: int, m: int) -> Tensor | float:
    """Return r^{n−m} dᵐP_n(z/r) of z and r², normalized."""
    norm = math.sqrt((2 if m else 1) * math.factorial(degree - m) / math.factorial(degree + m))
    first = norm * math.prod(range(2 * m - 1, 0, -2))
    if m == degree:
        return first
    before, current = torch.full_like(z, first), z * ((2 * m + 1) * first)
    for n in range(m + 1, degree):
        following = (2 * n + 1) / (n + 1 - m) * z * current - (n + m) / (n + 1 - m) * (
            square * before
        )
        before, current = current, following
    return current
