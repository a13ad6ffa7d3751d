"""Learn energies, forces and stresses of labelled frames (doi 10.1039/d3dd00214d)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from annotated_types import Ge
from torch import Tensor, nn
from torch.nn import functional

from epitaxy.backbones.base import Backbone, Encoding
from epitaxy.crystals.crystals import Crystals
from epitaxy.crystals.graph import Graph
from epitaxy.crystals.neighbors import GraphBuilder
from epitaxy.crystals.targets import Target
from epitaxy.errors import InputError, RecipeError
from epitaxy.heads.potential import (
    PotentialHead,
    energy_forces_stress,
    fit_references,
    unexplained_energy,
)
from epitaxy.heads.scalar import Readout, ScalarHead
from epitaxy.objectives.base import Encode, Objective, View

_LOSSES: dict[str, Callable[..., Tensor]] = {
    "l1": functional.l1_loss,
    "l2": functional.mse_loss,
    "huber": functional.huber_loss,
}
_UNITS = {"forces": "eV/Å", "stress": "eV/Å^3"}
_SMALLEST = 1e-8  # a scale below is that of labels which do not vary

Weight = Annotated[float, Ge(0)]


@dataclass(frozen=True)
class EnergyForces(Objective):
    """L = (w_E L_E + w_F L_F + w_S L_S) / (w_E + w_F + w_S), all from one energy.

    E = Σ_i (ref(Z_i) + s o_i), f = −∂E/∂x and σ = (1/V) ∂E/∂ε, where o_i is the head's output for
    atom i, ref are the energies of the elements that explain the training energies best, and s is
    the size of what they leave of a crystal that they were not fitted on, in eV per atom. L_E
    compares energies per atom. Every term is divided by the size of its labels in the training set,
    so that 1:1:1 is balanced. A crystal without a label adds nothing to its term; a stress counts
    where all three lattice vectors repeat.

    The published code compares total energies without references, nothing is divided, and E is a
    perceptron of the sum over atoms: ``references=False``, ``per_atom=False``,
    ``standardize=False``, ``readout="pooled"``. Its ratios are the presets.

    Attributes:
        ratio: w_E, w_F and w_S.
        energy: name of the target, in eV or in eV per atom.
        forces: name of the target, in eV/Å.
        stress: name of the target, 3 × 3, positive in tension, in eV/Å³.
        moments: name of a target with the magnetic moment of every atom, or None. Its size is
            learned, from the atom's representation; the sign is a convention.
        moments_weight: weight of that term, beside the others' sum of one.
        loss_kind: ``"l1"``, ``"l2"`` or ``"huber"``, means over components, or ``"norm"``: the
            mean over atoms of |f_i − t_i|₂, over crystals of the Frobenius norm of the stress's
            error, and of |E − t_E|. It does not depend on how the crystal lies in space, as
            ``"l1"`` and ``"huber"`` do; a label's size is that of its length then.
        references: whether the elements' energies are taken off first.
        per_atom: whether L_E compares energies per atom, not of the cell.
        standardize: whether each term is divided by the size of its labels.
        hidden: widths of the hidden layers of E's perceptron; two of the backbone's unless told.
        readout: E from a sum of what atoms give (``"atoms"``), or a perceptron of the sum of their
            representations (``"pooled"``), which does not double with the cell.
    """

    ratio: tuple[Weight, Weight, Weight] = (1.0, 1.0, 1.0)
    energy: str = "energy"
    forces: str = "forces"
    stress: str = "stress"
    moments: str | None = None
    moments_weight: Weight = 0.1
    loss_kind: Literal["l1", "l2", "huber", "norm"] = "l1"
    references: bool = True
    per_atom: bool = True
    standardize: bool = True
    hidden: tuple[int, ...] | None = None
    readout: Readout = "atoms"

    chance: ClassVar[bool] = False
    presets: ClassVar[dict] = {
        f"{energy}:{forces}:{stress}": {"ratio": (energy, forces, stress)}
        for energy, forces, stress in ((1, 0, 0), (0, 1, 0), (0, 1, 1), (1, 1, 1), (1, 500, 500))
    }

    def __post_init__(self) -> None:
        if not sum(self.ratio) > 0:
            raise RecipeError(
                f"energy_forces: the ratio {':'.join(f'{w:g}' for w in self.ratio)} sums to zero: "
                "give at least one of energy, forces and stress a weight."
            )

    @property
    def derivatives(self) -> bool:  # type: ignore[override]
        """Whether forces or stress are wanted."""
        return self.ratio[1] > 0 or self.ratio[2] > 0

    @property
    def needs(self) -> tuple[str, ...]:
        """The targets whose weight is not zero."""
        named = (self.energy, self.forces, self.stress)
        wanted = tuple(name for name, w in zip(named, self.ratio, strict=True) if w > 0)
        return wanted if self.moments is None else (*wanted, self.moments)

    @property
    def scales(self) -> Mapping[str, float]:
        """Sizes of the labels by term, in eV per atom, eV/Å, eV/Å³ and μB."""
        return self._numbers["scales"]

    @property
    def _numbers(self) -> Mapping[str, Any]:
        if self.fitted is None:
            raise RuntimeError("call prepare before the objective is used")
        return self.fitted

    def prepare(
        self, crystals: Crystals, build_graph: GraphBuilder, generator: torch.Generator
    ) -> "EnergyForces":
        """Fit the elements' energies and the sizes of the labels; InputError without labels."""
        labels = self._labels(crystals)
        scales, references = {}, None
        if "energy" in labels:
            energies = labels["energy"].values
            if self.references:
                references = fit_references(crystals, energies).tolist()
                left = unexplained_energy(crystals, energies)
                scales["energy"] = left if left > _SMALLEST else 1.0
            else:
                per_atom = energies / crystals.atom_counts
                scales["energy"] = _size(per_atom, crystals, self.energy)
        for term in ("forces", "stress", "moments"):
            if term in labels:
                named = getattr(self, term)
                scales[term] = _size(labels[term].values, crystals, named)
        return self.with_fitted({"scales": scales, "references": references})  # type: ignore[return-value]

    def view(
        self, crystals: Crystals, build_graph: GraphBuilder, generator: torch.Generator
    ) -> View:
        """Return the graph and the labels; energies less the elements', in eV."""
        labels = self._labels(crystals)
        if "energy" in labels and self._numbers["references"] is not None:
            of_elements = torch.tensor(self._numbers["references"], dtype=torch.float64)
            rest = labels["energy"].values - _sums(of_elements[crystals.numbers], crystals)
            labels["energy"] = labels["energy"].with_values(rest)
        return View(graphs=(build_graph(crystals),), labels=labels)

    def head(self, backbone: Backbone) -> nn.Module:
        """Return a potential head, and one for moments where they are wanted."""
        unit = self.scales.get("energy", self.scales.get("forces", 1.0))
        heads = {
            "potential": PotentialHead(
                backbone.width,
                hidden=self.hidden,
                scale=unit if self.standardize else 1.0,
                references=self._numbers["references"],
                readout=self.readout,
            )
        }
        if self.moments is not None:
            heads["moments"] = ScalarHead(backbone.width, level="atom")  # type: ignore[assignment]
        return nn.ModuleDict(heads)

    def loss(self, encode: Encode, head: nn.Module, view: View) -> dict[str, Tensor]:
        """Return the loss and mean absolute errors in eV per atom, eV/Å, eV/Å³ and μB."""
        assert isinstance(head, nn.ModuleDict)
        potential, graph = head["potential"], view.graphs[0]
        assert isinstance(potential, PotentialHead)
        encodings: list[Encoding] = []

        def energy(moved: Graph) -> Tensor:
            encodings.append(encode(moved))
            return potential(encodings[0], moved)

        wanted_slopes = self.ratio[1] > 0, self.ratio[2] > 0
        found = energy_forces_stress(energy, graph, *wanted_slopes, potential.training)
        predicted: dict[str, Tensor | None] = {
            "energy": found.energy - potential.offset(graph.crystals),
            "forces": found.forces,
            "stress": found.stress,
        }
        weights = dict(zip(predicted, self.ratio, strict=True))
        total = sum(self.ratio)
        if self.moments is not None:
            predicted["moments"] = head["moments"](encodings[0], graph).squeeze(-1)
            weights["moments"] = self.moments_weight * total
        loss: Tensor = found.energy.new_zeros(())
        figures: dict[str, Tensor] = {}
        for term, target in view.labels.items():
            values, wanted = predicted[term], target.values
            assert values is not None
            if term == "energy" and self.per_atom:
                sizes = graph.crystals.atom_counts
                values, wanted = values / sizes, wanted / sizes
            if term == "stress":  # a network that fails must not look like a missing label
                wanted = torch.where(graph.crystals.pbc.all(1)[:, None, None], wanted, torch.nan)
            own, figures[term] = self._term(values, wanted.to(values.dtype), term)
            loss = loss + weights[term] / total * own
        return {"loss": loss, **figures}

    def _term(self, values: Tensor, wanted: Tensor, term: str) -> tuple[Tensor, Tensor]:
        """Return the loss over the labels that are there, and their mean absolute error."""
        there = torch.isfinite(wanted)
        error = torch.where(there, values - wanted, 0.0)
        count = there.sum().clamp(min=1)
        scaled = error / (self.scales[term] if self.standardize else 1.0)
        if self.loss_kind == "norm":
            loss = _mean_length(scaled, there)
            if self.standardize:
                loss = loss / scaled[0].numel() ** 0.5
        else:
            summed = _LOSSES[self.loss_kind](scaled, torch.zeros_like(scaled), reduction="sum")
            loss = summed / count
        return loss, error.detach().abs().sum() / there.sum()

    def _labels(self, crystals: Crystals) -> dict[str, Target]:
        """Return the labels in house units; raises InputError for a unit or a level that is off."""
        labels = {}
        for term, weight in zip(("energy", "forces", "stress"), self.ratio, strict=True):
            if weight > 0:
                labels[term] = self._label(crystals, term)
        if self.moments is not None:
            labels["moments"] = self._label(crystals, "moments")
        return labels

    def _label(self, crystals: Crystals, term: str) -> Target:
        name = getattr(self, term)
        target = crystals.target(name)
        shape = {"energy": (), "forces": (3,), "stress": (3, 3), "moments": ()}[term]
        level = "crystal" if term in ("energy", "stress") else "atom"
        if target.level != level or target.values.shape[1:] != shape:
            raise InputError(
                f"target '{name}' has {tuple(target.values.shape[1:]) or 'one'} components per "
                f"{target.level}; as {term} it needs {shape or 'one'} per {level}."
            )
        target = target.with_values(target.values.double())
        if term == "moments":
            return target.with_values(target.values.abs())
        if term != "energy":
            return target if target.unit == "" else target.converted(_UNITS[term])
        if target.unit.endswith("/atom") or not target.extensive:
            target = target if target.unit == "" else target.converted("eV/atom")
            return Target(target.values * crystals.atom_counts, "crystal", "eV", True)
        return target if target.unit == "" else target.converted("eV")


def _sums(of_atoms: Tensor, crystals: Crystals) -> Tensor:
    """Return sums over each crystal's atoms, shape (crystals,)."""
    zeros = of_atoms.new_zeros(len(crystals))
    return zeros.index_add(0, crystals.crystal_of_atom, of_atoms)


def _mean_length(errors: Tensor, there: Tensor) -> Tensor:
    """Return the mean of the rows' lengths, over the rows of which every component is there."""
    whole = there.reshape(len(there), -1).all(-1)
    lengths = torch.linalg.vector_norm(errors.reshape(len(errors), -1), dim=-1)
    return torch.where(whole, lengths, 0.0).sum() / whole.sum().clamp(min=1)


def _size(values: Tensor, crystals: Crystals, name: str) -> float:
    """Return the root mean square of the labels that are there; InputError where none is."""
    there = values[torch.isfinite(values)]
    if not there.numel():
        raise InputError(f"target '{name}' is missing in all {len(crystals)} crystals.")
    size = float(there.square().mean().sqrt())
    return size if size > _SMALLEST else 1.0
