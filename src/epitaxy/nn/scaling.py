"""Targets brought to mean zero and variance one, channel by channel."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from epitaxy.errors import InputError

Transform = Literal["none", "sqrt", "asinh"]
DEAD_BELOW = 1e-8  # standard deviation under which a channel carries nothing


def transformed(values: Tensor, transform: Transform) -> Tensor:
    """Return the values, their signed square root, or their inverse hyperbolic sine."""
    if transform == "sqrt":
        return torch.sign(values) * torch.sqrt(values.abs())
    if transform == "asinh":
        return torch.asinh(values)
    return values


@dataclass(frozen=True)
class ChannelScaler:
    """(t(y) − mean) / std of the channels that vary; dead ones are dropped.

    Attributes:
        transform: t, applied before anything else.
        mean, std: of the living channels.
        alive: their indices among ``channels`` channels.
    """

    transform: Transform
    mean: tuple[float, ...]
    std: tuple[float, ...]
    alive: tuple[int, ...]
    channels: int

    @classmethod
    def fit(
        cls,
        values: Float[Tensor, "rows channels"],
        transform: Transform = "none",
        standardize: bool = True,
    ) -> "ChannelScaler":
        """Fit on a sample; with ``standardize=False`` the channels keep their mean and scale."""
        if not len(values):
            raise InputError("a scaler cannot be fitted on an empty sample.")
        sample = transformed(values.double(), transform)
        mean, std = sample.mean(0), sample.std(0, unbiased=False)
        alive = torch.nonzero(std > DEAD_BELOW).flatten()
        if not len(alive):
            raise InputError(
                f"all {values.shape[1]} channels of the labels are the same for all {len(values)} "
                "atoms of the sample: there is nothing to learn. Are these isolated atoms?"
            )
        if not standardize:
            alive = torch.arange(values.shape[1])
            mean, std = torch.zeros_like(mean), torch.ones_like(std)
        return cls(
            transform=transform,
            mean=tuple(mean[alive].tolist()),
            std=tuple(std[alive].tolist()),
            alive=tuple(alive.tolist()),
            channels=values.shape[1],
        )

    @classmethod
    def from_json(cls, fitted: Mapping[str, Any]) -> "ChannelScaler":
        """Return a scaler from what ``vars(scaler)`` wrote."""
        return cls(
            transform=fitted["transform"],
            mean=tuple(fitted["mean"]),
            std=tuple(fitted["std"]),
            alive=tuple(fitted["alive"]),
            channels=fitted["channels"],
        )

    def __call__(self, values: Float[Tensor, "rows channels"]) -> Float[Tensor, "rows alive"]:
        """Return the scaled living channels."""
        mean = values.new_tensor(self.mean)
        std = values.new_tensor(self.std)
        if len(self.alive) < self.channels:
            values = values[:, list(self.alive)]
        return (transformed(values, self.transform) - mean) / std
