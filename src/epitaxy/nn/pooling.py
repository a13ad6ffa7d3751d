"""From the atoms of a crystal to the crystal."""

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from epitaxy.crystals.crystals import Crystals
from epitaxy.crystals.segments import gather, mean_over_atoms, sum_over_atoms
from epitaxy.nn.set2set import Set2Set
from epitaxy.nn.softmax import softmax_over

Additive = Literal["mean", "sum"]
Pooling = Literal["mean", "sum", "attention", "set2set", "cumulants"]


def pool(
    atom_values: Float[Tensor, "atoms *width"], crystals: Crystals, pooling: Additive
) -> Float[Tensor, "crystals *width"]:
    """Return the mean or the sum over each crystal's atoms.

    The mean is independent of the choice of cell, as an intensive property is; the sum grows with
    it, as an extensive one does.
    """
    if pooling == "mean":
        return mean_over_atoms(atom_values, crystals.crystal_of_atom, crystals.atom_counts)
    return sum_over_atoms(atom_values, crystals.crystal_of_atom, len(crystals))


class CumulantPooling(nn.Module):
    """κ₁ = h̄, κ₂ = (1/n) Σ_i (h_i − h̄)², κ₃ = (1/n) Σ_i (h_i − h̄)³, channel by channel.

    The first three cumulants, as in ``statistics_over_atoms``. The variance and the third central
    moment are polynomials, so that their derivatives are finite, and zero, where all atoms are
    equal; a standard deviation and a skewness have none there. Atom representations are of order
    one, so neither power runs away.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.outputs = 3 * width

    def forward(
        self,
        values: Float[Tensor, "rows width"],
        segment: Int[Tensor, " rows"],
        counts: Int[Tensor, " segments"],
    ) -> Float[Tensor, "segments outputs"]:
        """Return mean ‖ variance ‖ third central moment of each segment."""
        mean = mean_over_atoms(values, segment, counts)
        apart = values - gather(mean, segment)
        higher = [mean_over_atoms(apart**power, segment, counts) for power in (2, 3)]
        return torch.cat([mean, *higher], dim=-1)


class AttentionPooling(nn.Module):
    """Σ_i a_i h_i, a_i = softmax_i wᵀ(tanh(V h_i) ⊙ σ(U h_i)).

    Gated attention (Ilse, Tomczak and Welling, ICML 2018, equation 9), over the atoms of each
    crystal. Independent of the size of the cell, since copies of an atom share its weight.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.outputs = width
        self.content = nn.Linear(width, width)
        self.gate = nn.Linear(width, width)
        self.score = nn.Linear(width, 1, bias=False)

    def forward(
        self,
        values: Float[Tensor, "rows width"],
        segment: Int[Tensor, " rows"],
        counts: Int[Tensor, " segments"],
    ) -> Float[Tensor, "segments width"]:
        """Return the weighted mean over each segment; zero where it has no rows."""
        scores = self.score(torch.tanh(self.content(values)) * torch.sigmoid(self.gate(values)))
        segments = int(counts.shape[0])
        weights = softmax_over(scores.squeeze(-1), segment, segments).unsqueeze(-1)
        return sum_over_atoms(weights * values, segment, segments)


Reader = AttentionPooling | Set2Set | CumulantPooling
READERS: dict[str, type[Reader]] = {
    "attention": AttentionPooling,
    "set2set": Set2Set,
    "cumulants": CumulantPooling,
}
