"""What every backbone promises as a potential, as checks that anyone can call on theirs."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

import torch
from ase import units
from ase.data import atomic_masses
from torch import Tensor
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from epitaxy.backbones.base import Backbone
from epitaxy.crystals.crystals import Crystals, cat
from epitaxy.crystals.graph import Graph
from epitaxy.crystals.segments import sum_over_atoms
from epitaxy.errors import did_you_mean
from epitaxy.heads.potential import EnergyForcesStress, PotentialHead
from epitaxy.testing import examples
from epitaxy.testing.backbones import shaken_copy

SLOPE_TOLERANCE = 1e-6  # of the largest slope, against finite differences
TOLERANCE = 1e-10  # of the largest value, in double precision
SMALLEST = 1e-3  # eV, eV/Å or eV/Å³: smaller values count as this


@dataclass(frozen=True, eq=False)
class Potential:
    """A backbone and a potential head, ready to be asked about graphs or crystals."""

    backbone: Backbone
    head: PotentialHead

    def graph(self, crystals: Crystals) -> Graph:
        """Return the backbone's graph."""
        device = next(self.backbone.parameters()).device
        return self.backbone.graph_builder()(crystals.to(device))

    def __call__(self, graph: Graph | Crystals, derivatives: bool = True) -> EnergyForcesStress:
        """Return energies, and forces and stress unless they are not wanted."""
        graph = graph if isinstance(graph, Graph) else self.graph(graph)
        return self.head.evaluate(self.backbone, graph, forces=derivatives, stress=derivatives)


def shaken_potential(backbone: Backbone, seed: int = 0) -> Potential:
    """Return an untrained potential in double precision and evaluation mode, parameters shaken.

    It is scaled so that forces in ``low_symmetry_crystals`` have a root mean square of 1 eV/Å.
    """
    shaken = shaken_copy(backbone, seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = PotentialHead(backbone.width, references=[-0.1 * z for z in range(119)])
        for parameter in head.parameters():
            torch.nn.init.normal_(parameter, std=parameter.shape[-1] ** -0.5)
    head = head.double().to(next(shaken.parameters()).device).eval()
    potential = Potential(shaken, head)
    forces = potential(examples.low_symmetry_crystals()).forces
    assert forces is not None
    head.scale = 1.0 / float(forces.square().mean().sqrt())
    return potential


def check_potential(
    backbone: Backbone | Callable[[], Backbone], skip: Collection[str] = ()
) -> None:
    """Raise AssertionError that says which promise a backbone under a potential head breaks.

    ``skip`` names checks of ``POTENTIAL_CHECKS`` to leave out. Works on a copy in double precision
    and evaluation mode, its parameters shaken so that none is zero.
    """
    for name in skip:
        if name not in POTENTIAL_CHECKS:
            raise ValueError(f"no check '{name}'. {did_you_mean(name, POTENTIAL_CHECKS)}")
    potential = shaken_potential(backbone if isinstance(backbone, Backbone) else backbone())
    for name, check in POTENTIAL_CHECKS.items():
        if name not in skip:
            check(potential)


def check_forces(potential: Potential) -> None:
    """Forces are the finite differences of the energy as atoms move, on the same edges."""
    graph = _away_from_the_cutoff(potential.graph(_examples()))
    forces, of_crystal = _forces(potential(graph)), graph.crystals.crystal_of_atom
    for direction in _directions(forces):
        slopes = _slope(lambda by: potential(graph.displaced(by), False).energy, direction)
        expected = -sum_over_atoms((forces * direction).sum(-1), of_crystal, len(graph))
        _near(slopes, expected, "forces are not the energy's slope", SLOPE_TOLERANCE)


def check_stress(potential: Potential) -> None:
    """Stress times volume is the finite difference of the energy under strain, and symmetric."""
    graph = _away_from_the_cutoff(potential.graph(_examples()))
    stress = _stress(potential(graph))
    _near(stress, stress.transpose(1, 2), "the stress is not symmetric")
    for direction in _directions(stress):
        slopes = _slope(lambda by: potential(graph.strained(by), False).energy, direction)
        expected = (stress * direction).sum((1, 2)) * graph.crystals.volumes
        _near(slopes, expected, "the stress is not the energy's slope", SLOPE_TOLERANCE)


def check_balance(potential: Potential) -> None:
    """The forces in a crystal sum to zero."""
    crystals = _examples()
    forces = _forces(potential(crystals))
    sums = sum_over_atoms(forces, crystals.crystal_of_atom.to(forces.device), len(crystals))
    rest = float(sums.abs().max())
    _require(rest <= TOLERANCE, f"the forces in a crystal sum to {rest:.1e} eV/Å")


def check_supercell(potential: Potential) -> None:
    """In a supercell the energy doubles; forces and stress stay."""
    for crystals in (_examples(), examples.one_atom_crystals()):
        larger, sources = examples.supercell(crystals)
        one, two = potential(crystals), potential(larger)
        _near(two.energy, 2 * one.energy, "the energy does not double with the cell")
        _near(_forces(two), _forces(one)[sources], "forces depend on the size of the cell")
        _near(_stress(two), _stress(one), "the stress depends on the size of the cell")


def check_rotation(potential: Potential) -> None:
    """Energies do not see a rotation or a reflection; forces and stress turn with the crystal."""
    crystals = cat([_examples(), examples.symmetric_crystals()])
    before = potential(crystals)
    for matrix, what in (
        (examples.rotation(), "a rotation"),
        (-examples.rotation(1), "a reflection"),
    ):
        after, turn = potential(examples.turned(crystals, matrix)), matrix.to(before.energy.device)
        _near(after.energy, before.energy, f"the energy depends on {what}")
        _near(_forces(after), _forces(before) @ turn.T, f"forces do not follow {what}")
        turned = turn @ _stress(before) @ turn.T
        _near(_stress(after), turned, f"the stress does not follow {what}")


def check_batching(potential: Potential) -> None:
    """A crystal in a batch has the energy, the forces and the stress that it has alone."""
    crystals = _examples()
    together = potential(crystals)
    alone = [potential(crystals[index]) for index in range(len(crystals))]
    for name in ("energy", "forces", "stress"):
        parts = torch.cat([getattr(one, name) for one in alone])
        _near(parts, getattr(together, name), f"{name} depends on the rest of the batch")


def check_values(potential: Potential) -> None:
    """The energy is the same whether derivatives are wanted or not."""
    crystals = cat([examples.symmetric_crystals(), _examples()])
    expected = potential(crystals).energy
    with torch.no_grad():
        found = potential(crystals, derivatives=False).energy
    _near(found, expected, "the energy depends on whether its derivatives are wanted")


def check_isolated_atoms(potential: Potential) -> None:
    """An atom without neighbors has a finite energy and neither force nor stress."""
    crystals = examples.one_atom_crystals()[1]
    alone = replace(crystals, cell=crystals.cell * potential.backbone.cutoff)
    found = potential(alone)
    _require(bool(torch.isfinite(found.energy).all()), "the energy of an atom is not finite")
    nothing = bool((_forces(found) == 0).all()) and bool((_stress(found) == 0).all())
    _require(nothing, "an isolated atom has a force or a stress")


def check_smoothness(potential: Potential) -> None:
    """Energies and forces do not jump as an atom crosses the cutoff, if the backbone is smooth."""
    if not potential.backbone.smooth:
        return
    cutoff = potential.backbone.cutoff
    inside, outside = (potential(stretched(cutoff + sign * 1e-9)) for sign in (-1.0, 1.0))
    jump = float((inside.energy - outside.energy).abs().max())
    _require(jump < 1e-8, f"the energy jumps by {jump:.1e} eV at the cutoff")
    jump = float((_forces(inside) - _forces(outside)).abs().max())
    _require(jump < 1e-5, f"forces jump by {jump:.1e} eV/Å at the cutoff")


def check_training(potential: Potential) -> None:
    """A loss on energies, forces and stress has the parameter gradients of finite differences."""
    graph = potential.graph(_examples())
    modules = torch.nn.ModuleList([potential.backbone, potential.head])
    trained = {name: p for name, p in modules.named_parameters() if p.requires_grad}

    def loss() -> Tensor:
        found = potential(graph)
        squares = _forces(found).square().mean() + 1e3 * _stress(found).square().mean()
        return squares + (found.energy / graph.crystals.atom_counts).square().mean()

    potential.head.train()
    found = torch.autograd.grad(loss(), list(trained.values()), allow_unused=True)
    potential.head.eval()
    gradients = []
    for (name, parameter), gradient in zip(trained.items(), found, strict=True):
        gradients.append(torch.zeros_like(parameter) if gradient is None else gradient)
        _require(bool(torch.isfinite(gradients[-1]).all()), f"the gradient of {name} is not finite")
    start = parameters_to_vector(trained.values()).detach()
    sizes = parameters_to_vector(p.abs().mean().expand_as(p) for p in trained.values()).detach()

    def loss_at(by: Tensor) -> Tensor:
        vector_to_parameters(start + by, trained.values())
        return loss().detach().reshape(1)

    for drawn in _directions(start):
        direction = drawn * sizes
        slope = _slope(loss_at, direction)
        expected = (parameters_to_vector(gradients) * direction).sum().reshape(1)
        complaint = "gradients of a loss on derivatives are not its slope"
        _near(slope, expected, complaint, SLOPE_TOLERANCE)
    vector_to_parameters(start, trained.values())


def energy_drift(
    potential: Potential, crystal: Crystals, steps: int = 2000, kelvin: float = 300.0
) -> tuple[float, float]:
    """Return the drift of the total energy, and the range of the potential one, in eV per atom.

    The drift is what a straight line through the total energy gains over the run. Velocity Verlet
    with steps of 0.5 fs, from velocities of a temperature; the neighbor list is built anew at
    every step.
    """
    masses = torch.tensor(atomic_masses[crystal.numbers.cpu().numpy()]).unsqueeze(-1)
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(crystal.positions.shape, generator=generator, dtype=torch.float64)
    velocities = drawn * torch.sqrt(units.kB * kelvin / masses)
    velocities = velocities - (masses * velocities).sum(0) / masses.sum()
    step, positions = 0.5 * units.fs, crystal.positions.cpu()
    totals, energies = [], []
    forces = None
    for _ in range(steps + 1):
        found = potential(replace(crystal, positions=positions))
        if forces is not None:
            velocities = velocities + 0.5 * step * _forces(found).cpu() / masses
        forces = _forces(found).cpu()
        energies.append(float(found.energy))
        totals.append(energies[-1] + 0.5 * float((masses * velocities**2).sum()))
        velocities = velocities + 0.5 * step * forces / masses
        positions = positions + step * velocities
    atoms, time = crystal.atom_total, torch.linspace(-0.5, 0.5, steps + 1).double()
    drift = float((time * torch.tensor(totals)).sum() / (time * time).sum())
    return drift / atoms, (max(energies) - min(energies)) / atoms


POTENTIAL_CHECKS: dict[str, Callable[[Potential], None]] = {
    "forces": check_forces,
    "stress": check_stress,
    "balance": check_balance,
    "supercell": check_supercell,
    "rotation": check_rotation,
    "batching": check_batching,
    "values": check_values,
    "isolated_atoms": check_isolated_atoms,
    "smoothness": check_smoothness,
    "training": check_training,
}


def _examples() -> Crystals:
    return examples.low_symmetry_crystals()


def stretched(distance: float) -> Crystals:
    """Return a molecule of three atoms, the last at a distance (Å) from the first."""
    positions = torch.tensor([[0.0, 0.0, 0.0], [0.4, 0.3, 0.1], [1.0, 0.0, 0.0]]).double()
    return Crystals(
        numbers=torch.tensor(examples.ELEMENTS[:3]),
        positions=positions * distance,
        cell=torch.zeros(1, 3, 3, dtype=torch.float64),
        pbc=torch.zeros(1, 3, dtype=torch.bool),
        offsets=torch.tensor([0, 3]),
    )


def _away_from_the_cutoff(graph: Graph) -> Graph:
    """Return the graph without edges at the cutoff, where a second derivative may jump."""
    keep = graph.distances() < graph.cutoff - 0.01
    center, neighbor, shift = graph.center[keep], graph.neighbor[keep], graph.shift[keep]
    return replace(graph, center=center, neighbor=neighbor, shift=shift)


def _forces(found: EnergyForcesStress) -> Tensor:
    assert found.forces is not None
    return found.forces


def _stress(found: EnergyForcesStress) -> Tensor:
    assert found.stress is not None
    return found.stress


def _directions(like: Tensor, count: int = 3) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    shape = (count, *like.shape)
    return list(torch.randn(shape, generator=generator, dtype=torch.float64).to(like.device))


def _slope(value: Callable[[Tensor], Tensor], direction: Tensor, step: float = 5e-4) -> Tensor:
    """Return the derivative at 0 along a direction, by central differences of fourth order."""
    with torch.no_grad():
        near, far = (value(n * step * direction) - value(-n * step * direction) for n in (1, 2))
    return (8 * near - far) / (12 * step)


def _near(found: Tensor, expected: Tensor, complaint: str, tolerance: float = TOLERANCE) -> None:
    _require(found.shape == expected.shape, f"{complaint}: shapes differ")
    largest = max(float(expected.detach().abs().max()), SMALLEST)
    error = float((found - expected).detach().abs().max()) / largest
    _require(error <= tolerance, f"{complaint}: relative difference {error:.1e}")


def _require(holds: bool, complaint: str) -> None:
    if not holds:
        raise AssertionError(complaint)
