"""Energies of crystals as sums over atoms; forces and stress as their derivatives."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from epitaxy.crystals.crystals import Crystals
from epitaxy.crystals.graph import Graph
from epitaxy.errors import InputError
from epitaxy.heads.scalar import Readout, Representations, ScalarHead


@dataclass(frozen=True, eq=False)
class EnergyForcesStress:
    """What a potential says of crystals.

    Attributes:
        energy: eV, of all atoms of a crystal together.
        forces: −∂E/∂x in eV/Å, or None where not asked for.
        stress: (1/V) ∂E/∂ε in eV/Å³, positive in tension, or None where not asked for; NaN for
            crystals that do not repeat along all three lattice vectors: they have no volume.
    """

    energy: Float[Tensor, " crystals"]
    forces: Float[Tensor, "atoms 3"] | None = None
    stress: Float[Tensor, "crystals 3 3"] | None = None


class PotentialHead(nn.Module):
    """E = Σ_i (s · MLP(x_i) + m + ref(Z_i)).

    s is the ``scale`` and m the ``shift`` in eV per atom. ``references`` are energies in eV by
    atomic number, as ``fit_references`` gives them; zeros unless told. These are constants, not
    weights. They add up in double precision, so that large totals keep their digits. With
    ``readout="pooled"`` the first term is s · MLP(Σ_i x_i), as published in doi 10.1039/d3dd00214d:
    it does not double with the cell.
    """

    def __init__(
        self,
        width: int,
        hidden: Sequence[int] | None = None,
        scale: float = 1.0,
        shift: float = 0.0,
        references: Sequence[float] | None = None,
        readout: Readout = "atoms",
    ) -> None:
        super().__init__()
        self.scale, self.shift = scale, shift
        self.references = None if references is None else tuple(references)
        self.of_atoms = ScalarHead(width, hidden=hidden, pooling="sum", readout=readout)

    def forward(self, encoding: Representations, graph: Graph) -> Float[Tensor, " crystals"]:
        """Return total energies in eV, in double precision."""
        interaction = self.of_atoms(encoding, graph).squeeze(-1).double()
        return self.scale * interaction + self.offset(graph.crystals)

    def offset(self, crystals: Crystals) -> Float[Tensor, " crystals"]:
        """Return Σ_i (m + ref(Z_i)) in eV, the part that no network has to learn.

        Raises InputError that names the crystal if an element has no reference.
        """
        counts = crystals.atom_counts.double()
        if self.references is None:
            return self.shift * counts
        references = counts.new_tensor(self.references)
        unknown = crystals.numbers >= len(references)
        if bool(unknown.any()):
            atom = int(torch.nonzero(unknown)[0])
            raise InputError(
                f"crystal '{crystals.ids[int(crystals.crystal_of_atom[atom])]}' has an atom of "
                f"atomic number {int(crystals.numbers[atom])}, and the references end at "
                f"{len(references) - 1}."
            )
        totals = torch.zeros_like(counts)
        totals = totals.index_add(0, crystals.crystal_of_atom, references[crystals.numbers])
        return self.shift * counts + totals

    def evaluate(
        self,
        encode: Callable[[Graph], Representations],
        graph: Graph,
        forces: bool = True,
        stress: bool = False,
    ) -> EnergyForcesStress:
        """Return energies and what else is asked for, ready for a loss in training mode."""
        return energy_forces_stress(
            lambda moved: self(encode(moved), moved), graph, forces, stress, self.training
        )


def energy_forces_stress(
    energy: Callable[[Graph], Float[Tensor, " crystals"]],
    graph: Graph,
    forces: bool = True,
    stress: bool = False,
    differentiable: bool = False,
) -> EnergyForcesStress:
    """Return the energies of a graph's crystals, and their derivatives on its edges as they are.

    Forces are −∂E/∂x and stress is (1/V) ∂E/∂ε at ε = 0, where x → x (1 + ε) and the cell with it,
    ε symmetric (Knuth et al., Comput. Phys. Commun. 190, 33, 2015). Where neither is asked for, the
    graph goes to ``energy`` untouched. ``differentiable`` keeps the way back to all weights through
    both derivatives; without it the derivatives, and the energy they belong to, are plain numbers.
    Positions that need a gradient already keep it.
    """
    if not forces and not stress:
        return EnergyForcesStress(energy(graph))
    with torch.enable_grad():
        given = graph.crystals.positions
        positions = given if given.requires_grad else given.detach().requires_grad_(True)
        moved = replace(graph, crystals=replace(graph.crystals, positions=positions))
        leaves = [positions]
        if stress:
            strain = torch.zeros_like(graph.crystals.cell, requires_grad=True)
            moved = moved.strained((strain + strain.transpose(1, 2)) / 2)
            leaves.append(strain)
        energies = energy(moved)
        slopes = torch.autograd.grad(energies.sum(), leaves, create_graph=differentiable)
    return EnergyForcesStress(
        energy=energies if differentiable else energies.detach(),
        forces=-slopes[0] if forces else None,
        stress=_per_volume(slopes[1], graph.crystals) if stress else None,
    )


def fit_references(
    crystals: Crystals,
    energies: Float[Tensor, " crystals"],
    elements: int = 119,
    ridge: float = 1e-6,
) -> Float[Tensor, " elements"]:
    """Return the energies (eV) of atoms by atomic number that explain total energies best.

    Minimizes Σ_c (E_c / N_c − Σ_Z x_cZ ref_Z)² + λ Σ_Z (ref_Z − Ē)² with the fractions x of the
    elements and the mean energy per atom Ē. The ridge λ is small enough (of one crystal in a
    million of a pure element) to leave determined references alone. An element that is absent gets
    Ē; elements that come in one proportion only share what is theirs. Missing (NaN) energies are
    left out; raises InputError where all are.
    """
    fractions, per_atom, normal = _least_squares(crystals, energies, elements, ridge)
    mean = per_atom.mean()
    return mean + torch.linalg.solve(normal, fractions.T @ (per_atom - mean))


def unexplained_energy(
    crystals: Crystals,
    energies: Float[Tensor, " crystals"],
    elements: int = 119,
    ridge: float = 1e-6,
) -> float:
    """Return the root mean square (eV per atom) of what references leave of crystals not fitted on.

    Each crystal is left out in turn: r_c / (1 − h_c), with the residual r of the fit to all and the
    diagonal h of its projection. A fit to fewer crystals than elements leaves nothing of those that
    it saw, which says nothing of others.
    """
    fractions, per_atom, normal = _least_squares(crystals, energies, elements, ridge)
    centered = per_atom - per_atom.mean()
    solved = torch.linalg.solve(normal, fractions.T)
    residual = centered - fractions @ (solved @ centered)
    leverage = (fractions * solved.T).sum(1)
    left = (residual / (1.0 - leverage).clamp(min=1e-9)).abs()
    return float(torch.minimum(left, centered.abs().max()).square().mean().sqrt())


def _least_squares(
    crystals: Crystals, energies: Tensor, elements: int, ridge: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return fractions of elements, energies per atom, and the matrix of the normal equations."""
    present = torch.isfinite(energies)
    if not bool(present.any()):
        raise InputError(f"the energies of all {len(crystals)} crystals are missing.")
    place = crystals.crystal_of_atom * elements + crystals.numbers
    counts = torch.bincount(place, minlength=len(crystals) * elements).double()
    sizes = crystals.atom_counts.double()
    fractions = (counts.reshape(len(crystals), elements) / sizes.unsqueeze(1))[present]
    per_atom = (energies.double() / sizes)[present]
    normal = fractions.T @ fractions + ridge * torch.eye(elements).to(fractions)
    return fractions, per_atom, normal


def _per_volume(slope: Float[Tensor, "crystals 3 3"], crystals: Crystals) -> Tensor:
    """Return slope / V, NaN where there is no volume; the way back through NaN is zero."""
    bulk = crystals.pbc.all(1)
    volumes = torch.where(bulk, crystals.volumes.detach(), 1.0)
    return torch.where(bulk[:, None, None], slope / volumes[:, None, None], torch.nan)
