"""A softmax over the rows of each segment: atoms of a crystal, edges of a crystal."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from epitaxy.crystals.segments import gather, sum_over_atoms


def softmax_over(
    scores: Float[Tensor, " rows"], segment: Int[Tensor, " rows"], segments: int
) -> Float[Tensor, " rows"]:
    """Return exp(s_i) / Σ exp(s_j) over the rows j of i's segment.

    ``segment`` is each row's segment, in any order. Weights of a segment sum to one; n copies of
    all its rows have an n-th of the weight each. Large scores do not overflow.
    """
    start = scores.new_zeros(segments)
    largest = start.scatter_reduce(0, segment, scores.detach(), "amax", include_self=False)
    raised = torch.exp(scores - gather(largest, segment))
    return raised / gather(sum_over_atoms(raised, segment, segments), segment)
