"""Which of the processes that train one model together this one is, and what falls to it."""

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor


@dataclass(frozen=True)
class Rank:
    """One of ``of`` processes; each has a device and trains on its share of every batch.

    The first, number 0, writes the files.
    """

    number: int = 0
    of: int = 1

    @property
    def first(self) -> bool:
        """Whether it is the one that writes."""
        return self.number == 0

    @property
    def seed_parts(self) -> tuple[int, ...]:
        """What chance depends on besides seed and step: nothing on the first rank."""
        return () if self.first else (self.number,)

    def share(self, chosen: Int[Tensor, " batch"]) -> Int[Tensor, " share"]:
        """Return this rank's crystals of a batch: shares are equal up to one crystal.

        Where a batch has fewer crystals than there are ranks, some get one that others have too.
        """
        own = chosen[self.number :: self.of]
        return own if len(own) else chosen[self.number % len(chosen)].reshape(1)

    def total(self, value: Tensor) -> Tensor:
        """Return the sum over all ranks, each of which must ask for it."""
        if self.of == 1:
            return value
        device = "cuda" if torch.distributed.get_backend() == "nccl" else "cpu"
        summed = value.detach().to(device, copy=True)
        torch.distributed.all_reduce(summed)
        return summed.to(value.device)
