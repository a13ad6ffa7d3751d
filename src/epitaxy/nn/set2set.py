"""Set2Set, a set read in several glances (Vinyals, Bengio and Kudlur, ICLR 2016)."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from epitaxy.crystals.segments import gather, sum_over_atoms
from epitaxy.nn.softmax import softmax_over


class Set2Set(nn.Module):
    """q_t = LSTM(q_{t−1} ‖ r_{t−1}), a_i = softmax_i ⟨h_i, q_t⟩, r_t = Σ_i a_i h_i; q_T ‖ r_T.

    Starts from q = r = 0 and reads ``steps`` times (equations 3–7 of arXiv:1511.06391). It depends
    neither on the order of the rows nor on how often the whole set is repeated. A segment without
    rows has r = 0.
    """

    def __init__(self, width: int, steps: int = 3) -> None:
        super().__init__()
        self.width, self.steps, self.outputs = width, steps, 2 * width
        self.query = nn.LSTMCell(2 * width, width)

    def forward(
        self,
        values: Float[Tensor, "rows width"],
        segment: Int[Tensor, " rows"],
        counts: Int[Tensor, " segments"],
    ) -> Float[Tensor, "segments outputs"]:
        """Return one row of twice the width per segment."""
        segments = int(counts.shape[0])
        read = values.new_zeros(segments, self.outputs)
        query, memory = (values.new_zeros(segments, self.width) for _ in range(2))
        for _ in range(self.steps):
            query, memory = self.query(read, (query, memory))
            scores = (values * gather(query, segment)).sum(-1)
            weights = softmax_over(scores, segment, segments).unsqueeze(-1)
            seen = sum_over_atoms(weights * values, segment, segments)
            read = torch.cat([query, seen], dim=-1)
        return read
