"""What a network starts from at every atom: its element, or rows that came with the crystals."""

from typing import Annotated, Literal

import torch
from annotated_types import Gt
from jaxtyping import Float
from torch import Tensor, nn

from epitaxy.crystals.crystals import Crystals
from epitaxy.errors import InputError

GivenInputs = tuple[str, Annotated[int, Gt(0)]]  # name and columns of an atom-level input
InputsMode = Literal["replace", "concatenate"]


class GivenRows(nn.Module):
    """W · LayerNorm(input), or W · [element ‖ LayerNorm(input)], of an atom-level input.

    Node-embedding networks (arXiv:2211.03563) put the frozen representations of another encoder in
    the place of the element (``elements=None``), or join the two. How the paper joins them is not
    known, nor whether it brings them to one scale, as LayerNorm does here.
    """

    def __init__(self, name: str, columns: int, width: int, elements: nn.Module | None) -> None:
        super().__init__()
        self.name, self.columns = name, columns
        self.norm = nn.LayerNorm(columns, elementwise_affine=False)
        self.elements = elements
        self.mix = nn.Linear(columns + (width if elements is not None else 0), width)

    def forward(self, crystals: Crystals) -> Float[Tensor, "atoms width"]:
        """Return the row of every atom; raises InputError where the crystals lack the input."""
        given = crystals.inputs.get(self.name)
        if given is None or given.shape[1:] != (self.columns,):
            has = ", ".join(f"'{k}' {tuple(v.shape[1:])}" for k, v in crystals.inputs.items())
            raise InputError(
                f"this network starts from the atom-level input '{self.name}' of {self.columns} "
                f"columns, and the crystals have {has or 'no inputs'}: add it to them, as "
                "`epitaxy embed --as-input` does."
            )
        rows = self.norm(given.to(self.mix.weight.dtype))
        if self.elements is not None:
            rows = torch.cat([self.elements(crystals.numbers), rows], dim=-1)
        return self.mix(rows)


def atom_table(
    elements: nn.Module, width: int, inputs: GivenInputs | None, mode: InputsMode
) -> nn.Module:
    """Return ``elements``, which gives ``width`` numbers per atomic number, or what replaces it."""
    if inputs is None:
        return elements
    name, columns = inputs
    return GivenRows(name, columns, width, elements if mode == "concatenate" else None)


def atom_rows(table: nn.Module, crystals: Crystals) -> Float[Tensor, "atoms width"]:
    """Return what a table of ``atom_table`` has for every atom."""
    return table(crystals if isinstance(table, GivenRows) else crystals.numbers)
