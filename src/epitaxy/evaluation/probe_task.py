"""The rows that a probe predicts, and what every contender knows of them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from torch import Tensor

from epitaxy.backbones.base import Backbone
from epitaxy.crystals.crystals import Crystals
from epitaxy.descriptors.base import Descriptor, described
from epitaxy.errors import InputError
from epitaxy.evaluation.maps import family, most_negative
from epitaxy.evaluation.nested import CHOSEN, Representation, grouped_folds
from epitaxy.evaluation.orbital_field_matrix import orbital_fields
from epitaxy.evaluation.sine_matrix import sine_spectra
from epitaxy.nn.statistics import Statistics, statistics_over_atoms
from epitaxy.training.embed import LAST, Reading, encoded, layer_ranges
from epitaxy.training.predict import formulas

DUMMY, JOINED = "dummy", "joined"
WHOLE = "all"  # the one range of what has no layers


def network_representation(
    backbone: Backbone, crystals: Crystals, level: str, pooling: str
) -> Representation:
    """Return every layer of a network, as one block of features each, and their ranges.

    ``"last"`` is there where the encoder's result is not its last layer, and ``"joined"``, the
    nodes, edges and state of crystals, where it has edges.
    """
    parts: dict[str, list[ndarray]] = {}
    ranges: dict[str, tuple[int, ...]] = {}
    for graph, encoding in encoded(backbone, crystals):
        ranges = layer_ranges(len(encoding.layers) - 1)
        names = [name for name, layers in ranges.items() if len(layers) == 1] + [LAST]
        readings = {one: Reading(one, level, pooling) for one in names}
        if backbone.has_edges and level == "crystal":
            readings[JOINED] = Reading(LAST, level, pooling, joined=True)
        for one, reading in readings.items():
            parts.setdefault(one, []).append(reading.of(graph, encoding).cpu().numpy())
    blocks = {name: np.concatenate(rows) for name, rows in parts.items()}
    layers = len(ranges) and sum(len(chosen) == 1 for chosen in ranges.values())
    if layers and np.array_equal(blocks[LAST], blocks[str(layers - 1)]):
        del blocks[LAST]
    places = {name: place for place, name in enumerate(blocks)}
    extra = {name: (places[name],) for name in (LAST, JOINED) if name in places}
    return Representation(list(blocks.values()), {**ranges, **extra})


@dataclass(frozen=True, eq=False)
class ProbeTask:
    """The rows that are predicted: crystals, or their atoms whose value is known.

    Attributes:
        crystals: all of them, with the target.
        name, unit, level, extensive: of the target.
        pooling: from atoms to crystals.
        kept: which of all crystals, or of all atoms, are rows.
        truth: the target of every row.
        groups: the crystal of every row.
    """

    crystals: Crystals
    name: str
    unit: str
    level: str
    pooling: Statistics
    extensive: bool
    kept: Bool[Tensor, " whole"]
    truth: Float[ndarray, " rows"]
    groups: Int[ndarray, " rows"]

    @classmethod
    def of(cls, crystals: Crystals, name: str, pooling: Statistics | None = None) -> "ProbeTask":
        """Return the task of a target; pooling is a sum for extensive targets, else a mean.

        Raises InputError where the target is no single number, is of atoms and extensive, is
        infinite somewhere, or has the same value everywhere.
        """
        target = crystals.target(name)
        if target.values.ndim > 1:
            raise InputError(
                f"'{name}' has {tuple(target.values.shape[1:])} numbers per {target.level}; "
                "a probe predicts one."
            )
        if target.level == "atom" and target.extensive:
            raise InputError(
                f"'{name}' is of atoms and declared extensive: what an atom has does not grow with "
                "the cell. Declare it intensive."
            )
        kept = target.present()
        owner = torch.arange(len(crystals))
        if target.level == "atom":
            owner = crystals.crystal_of_atom
        _refuse_values(name, target.values[kept], [crystals.ids[int(row)] for row in owner[kept]])
        return cls(
            crystals=crystals,
            name=name,
            unit=target.unit,
            level=target.level,
            pooling=pooling or ("sum" if target.extensive else "mean"),
            extensive=target.extensive,
            kept=kept,
            truth=target.values[kept].double().numpy(),
            groups=owner[kept].numpy(),
        )

    @property
    def families(self) -> list[str]:
        """A chemical family for each row: the atom's, or that of the crystal's anion."""
        if self.level == "atom":
            return [family(number) for number in self.crystals.numbers[self.kept].tolist()]
        return [family(number) for number in most_negative(self.crystals)]

    def network(self, backbone: Backbone) -> Representation:
        """Return all layers of a network."""
        whole = network_representation(backbone, self.crystals, self.level, self.pooling)
        kept = self.kept.numpy()
        return Representation([block[kept] for block in whole.blocks], whole.ranges)

    def descriptor(self, descriptor: Descriptor) -> Representation:
        """Return a fingerprint."""
        found = described(descriptor, self.crystals.with_targets({}).to(dtype=torch.float32))
        return self._whole(torch.cat([self._pooled(rows, graph.crystals) for graph, rows in found]))

    def sine_matrix(self) -> Representation:
        """Return the spectra of the crystals' sine matrices."""
        if self.level == "atom":
            raise InputError("the sine matrix is of whole crystals, and the target of atoms.")
        return self._whole(torch.from_numpy(sine_spectra(self.crystals)))

    def orbital_field_matrix(self) -> Representation:
        """Return the orbital-field matrices of atoms, or what is pooled of a crystal's."""
        return self._whole(self._pooled(orbital_fields(self.crystals), self.crystals))

    def elements(self) -> Representation:
        """Return which element an atom is, or the composition of a crystal."""
        present, column = torch.unique(self.crystals.numbers, return_inverse=True)
        rows = torch.nn.functional.one_hot(column, len(present)).float()
        return self._whole(self._pooled(rows, self.crystals))

    def dummy(self, folds: int, seed: int, repeat: int) -> pd.DataFrame:
        """Return the median of the other folds as everybody's prediction."""
        sizes = np.ones(len(self.truth))
        if self.extensive:
            sizes = self.crystals.atom_counts[self.kept].double().numpy()
        parts = []
        for fold, test in enumerate(grouped_folds(self.groups, folds, seed)):
            train = np.setdiff1d(np.arange(len(self.truth)), test)
            value = np.median(self.truth[train] / sizes[train]) * sizes[test]
            parts.append(self.records(DUMMY, repeat, fold, CHOSEN, test, value))
        return pd.concat(parts)

    def records(
        self, contender: str, repeat: int, fold: int, range_: str, rows: ndarray, values: ndarray
    ) -> pd.DataFrame:
        """Return predictions of some rows as a tidy table."""
        owner = self.groups[rows]
        columns: dict[str, Any] = {
            "contender": contender,
            "seed": repeat,
            "fold": fold,
            "range": range_,
            "id": np.array(list(self.crystals.ids), dtype=object)[owner],
            "formula": np.array(formulas(self.crystals), dtype=object)[owner],
        }
        if self.level == "atom":
            atoms = torch.nonzero(self.kept).flatten().numpy()[rows]
            columns["atom"] = atoms - self.crystals.offsets.numpy()[owner]
        columns |= {"target": self.name, "unit": self.unit}
        return pd.DataFrame({**columns, "truth": self.truth[rows], "value": values})

    def _pooled(self, rows: Tensor, crystals: Crystals) -> Tensor:
        return rows if self.level == "atom" else statistics_over_atoms(rows, crystals, self.pooling)

    def _whole(self, rows: Tensor) -> Representation:
        return Representation([rows[self.kept].numpy()], {WHOLE: (0,)})


def _refuse_values(name: str, values: Tensor, ids: list[str]) -> None:
    """Raise InputError where values are infinite, or all the same."""
    infinite = torch.nonzero(torch.isinf(values)).flatten().tolist()
    if infinite:
        first = ", ".join(dict.fromkeys(f"'{ids[row]}'" for row in infinite[:5]))
        raise InputError(
            f"'{name}' is infinite in {first}{' …' if len(infinite) > 5 else ''}: correct these "
            "values, or leave them empty."
        )
    if len(values) and bool((values == values[0]).all()):
        raise InputError(
            f"'{name}' is {float(values[0]):g} in all {len(values)} rows: there is nothing to tell "
            "apart."
        )
