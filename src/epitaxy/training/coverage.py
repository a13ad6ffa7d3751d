"""Which elements and surroundings a model has seen, and which crystals lie outside of them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from epitaxy.crystals.crystals import Crystals
from epitaxy.crystals.elements import symbol
from epitaxy.crystals.graph import Graph
from epitaxy.crystals.neighbors import build_graph
from epitaxy.crystals.segments import sum_over_neighbors
from epitaxy.nn.envelope import cosine_envelope

REACH = 5.0  # Å
MARGIN = 0.05  # ranges are widened by this fraction on either side
ATOMS_AT_ONCE = 5000


@dataclass(frozen=True)
class ElementRange:
    """What was seen of one element.

    Attributes:
        atoms: how many.
        nearest: shortest and longest distance to the nearest neighbor, Å; inf where isolated.
        coordination: lowest and highest Σ_j f_c(r_ij) within 5 Å, a smooth neighbor count.
    """

    atoms: int
    nearest: tuple[float, float]
    coordination: tuple[float, float]


@dataclass(frozen=True)
class Coverage:
    """Elements by atomic number, each with the surroundings in which it was seen."""

    elements: Mapping[int, ElementRange]

    @classmethod
    def of(cls, crystals: Crystals) -> "Coverage":
        """Return what these crystals cover."""
        seen = [_surroundings(part) for part in _parts(crystals)]
        numbers = crystals.numbers
        nearest = torch.cat([one[0] for one in seen])
        coordination = torch.cat([one[1] for one in seen])
        elements = {}
        for number in torch.unique(numbers).tolist():
            mine = numbers == number
            elements[int(number)] = ElementRange(
                atoms=int(mine.sum()),
                nearest=(float(nearest[mine].min()), float(nearest[mine].max())),
                coordination=(float(coordination[mine].min()), float(coordination[mine].max())),
            )
        return cls(elements)

    def flags(self, crystals: Crystals) -> list[str]:
        """Return one text per crystal: empty, or what of it lies outside."""
        return [text for part in _parts(crystals) for text in self._flags_of_part(part)]

    def missing_elements(self, crystals: Crystals) -> dict[int, list[str]]:
        """Return atomic number → ids of the crystals that hold an element never seen."""
        missing: dict[int, list[str]] = {}
        unseen = [n for n in torch.unique(crystals.numbers).tolist() if n not in self.elements]
        for number in unseen:
            owners = torch.unique(crystals.crystal_of_atom[crystals.numbers == number])
            missing[int(number)] = [crystals.ids[int(owner)] for owner in owners]
        return missing

    def to_json(self) -> dict[str, dict]:
        """Return plain values, keyed by element symbol."""
        return {
            symbol(number): {
                "atoms": seen.atoms,
                "nearest": [_finite(value) for value in seen.nearest],
                "coordination": [round(value, 4) for value in seen.coordination],
            }
            for number, seen in sorted(self.elements.items())
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Mapping]) -> "Coverage":
        """Return the coverage that ``to_json`` wrote."""
        numbers = {symbol(number): number for number in range(1, 119)}
        return cls(
            {
                numbers[name]: ElementRange(
                    atoms=seen["atoms"],
                    nearest=_pair(seen["nearest"]),
                    coordination=_pair(seen["coordination"]),
                )
                for name, seen in values.items()
            }
        )

    def _flags_of_part(self, crystals: Crystals) -> list[str]:
        nearest, coordination = _surroundings(crystals)
        reasons: list[dict[str, None]] = [{} for _ in range(len(crystals))]
        owners = crystals.crystal_of_atom.tolist()
        rows = zip(owners, crystals.numbers.tolist(), nearest, coordination, strict=True)
        for owner, number, distance, count in rows:
            seen = self.elements.get(number)
            if seen is None:
                reasons[owner][f"element {symbol(number)} was not in the training data"] = None
            elif not _inside(float(distance), seen.nearest):
                low, high = seen.nearest
                reasons[owner][
                    f"{symbol(number)} has its nearest neighbor at {float(distance):.2f} Å "
                    f"(training: {low:.2f}–{high:.2f})"
                ] = None
            elif not _inside(float(count), seen.coordination):
                reasons[owner][f"{symbol(number)} is packed unlike in the training data"] = None
        return ["; ".join(one) for one in reasons]


def _inside(value: float, seen: Sequence[float]) -> bool:
    low, high = seen
    return value == low or low * (1 - MARGIN) <= value <= high * (1 + MARGIN)


def _parts(crystals: Crystals) -> list[Crystals]:
    return [crystals[part] for part in crystals.chunks(ATOMS_AT_ONCE)]


def _finite(value: float) -> float | None:
    return round(value, 4) if math.isfinite(value) else None


def _pair(values: Sequence[float | None]) -> tuple[float, float]:
    low, high = (math.inf if value is None else value for value in values)
    return low, high


def _surroundings(crystals: Crystals) -> tuple[Float[Tensor, " atoms"], Float[Tensor, " atoms"]]:
    graph = build_graph(crystals, REACH)
    distances = graph.distances()
    weight = cosine_envelope(distances, REACH)
    return _nearest(graph, distances), sum_over_neighbors(weight, graph.center, crystals.atom_total)


def _nearest(graph: Graph, distances: Tensor) -> Tensor:
    start = distances.new_full((graph.crystals.atom_total,), torch.inf)
    return start.scatter_reduce(0, graph.center, distances, "amin")
