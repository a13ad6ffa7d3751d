"""What is known of crystals besides their structure: values with a level, a unit and a size law."""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from epitaxy.errors import InputError
from epitaxy.units import canonical, conversion_factor

Level = Literal["crystal", "atom"]


@dataclass(frozen=True, eq=False)
class Target:
    """One quantity of every crystal, or of every atom.

    Attributes:
        values: shape (crystals, …) or (atoms, …), by ``level``; NaN where the value is missing.
        level: ``"crystal"`` or ``"atom"``.
        unit: a spelling of ``epitaxy.units``, or any text; ``""`` where there is none.
        extensive: whether a crystal-level value grows with the size of the cell.
    """

    values: Float[Tensor, "rows *shape"]
    level: Level = "crystal"
    unit: str = ""
    extensive: bool = False

    def __post_init__(self) -> None:
        if self.level not in ("crystal", "atom"):
            raise InputError(f"a target's level is 'crystal' or 'atom', not '{self.level}'.")

    def present(self) -> Tensor:
        """Return a mask, shape (rows,): True where every component is there."""
        missing = torch.isnan(self.values)
        return ~missing.flatten(1).any(-1) if missing.ndim > 1 else ~missing

    def with_values(self, values: Tensor) -> "Target":
        """Return the same declaration with other values."""
        return replace(self, values=values)

    def converted(self, unit: str) -> "Target":
        """Return the target in another unit; raises InputError where no conversion is known."""
        factor = conversion_factor(self.unit, unit)
        return replace(self, values=self.values * factor, unit=canonical(unit))
