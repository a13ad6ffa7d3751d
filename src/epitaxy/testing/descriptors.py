"""What every descriptor promises, as checks that anyone can call on theirs."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from epitaxy.crystals.crystals import Crystals
from epitaxy.crystals.graph import Graph
from epitaxy.crystals.neighbors import build_graph
from epitaxy.errors import did_you_mean
from epitaxy.testing import examples

TOLERANCE = 1e-10  # of the largest value, in double precision
STEP = 1e-5  # Å, or strain, of finite differences


@runtime_checkable
class DescribesAtoms(Protocol):
    """What is asked of a descriptor; no base class is."""

    @property
    def cutoff(self) -> float:
        """Å."""

    @property
    def size(self) -> int:
        """Number of columns."""

    @property
    def feature_names(self) -> Sequence[str]:
        """One name per column."""

    def __call__(self, graph: Graph) -> Tensor:
        """Return shape (atoms, size)."""


def check_descriptor(descriptor: DescribesAtoms, skip: Sequence[str] = ()) -> None:
    """Raise AssertionError that says which promise a descriptor breaks.

    ``skip`` names checks of ``DESCRIPTOR_CHECKS`` to leave out.
    """
    for name in skip:
        if name not in DESCRIPTOR_CHECKS:
            raise ValueError(f"no check '{name}'. {did_you_mean(name, DESCRIPTOR_CHECKS)}")
    for name, check in DESCRIPTOR_CHECKS.items():
        if name not in skip:
            check(descriptor)


def check_declarations(descriptor: DescribesAtoms) -> None:
    """Cutoff, size, names and output fit one another."""
    _require(descriptor.cutoff > 0, "the cutoff is not a positive length")
    names = tuple(descriptor.feature_names)
    _require(len(names) == descriptor.size, f"{len(names)} names for {descriptor.size} features")
    _require(len(set(names)) == len(names), "two features have one name")
    crystals = examples.low_symmetry_crystals()
    described = _describe(descriptor, crystals)
    shape = (crystals.atom_total, descriptor.size)
    _require(tuple(described.shape) == shape, f"the shape is {tuple(described.shape)}, not {shape}")
    _require(bool(torch.isfinite(described).all()), "a value is not finite")


def check_motion(descriptor: DescribesAtoms) -> None:
    """Nothing depends on how the crystal is turned, mirrored or placed."""
    crystals = examples.low_symmetry_crystals()
    expected = _describe(descriptor, crystals)
    for other, what in (
        (examples.turned(crystals, examples.rotation()), "a rotation"),
        (examples.turned(crystals, -examples.rotation(1)), "a reflection"),
        (examples.translated(crystals), "a translation"),
    ):
        _near(_describe(descriptor, other), expected, f"values depend on {what}")


def check_description(descriptor: DescribesAtoms) -> None:
    """Nothing depends on atom order, periodic images, unit cell or its size."""
    for crystals in (examples.low_symmetry_crystals(), examples.one_atom_crystals()):
        expected = _describe(descriptor, crystals)
        same = torch.arange(crystals.atom_total)
        for (other, sources), what in (
            (examples.reordered(crystals), "the order of the atoms"),
            ((examples.other_images(crystals), same), "the choice of periodic images"),
            ((examples.other_cell(crystals), same), "the choice of the unit cell"),
            (examples.supercell(crystals), "the size of the cell"),
        ):
            found = _describe(descriptor, other)
            _near(found, expected[sources], f"values depend on {what}")


def check_symmetric_crystals(descriptor: DescribesAtoms) -> None:
    """A rotation does not pick among the equal distances of a symmetric crystal."""
    crystals = examples.symmetric_crystals()
    turned = examples.translated(examples.turned(crystals, examples.rotation()))
    expected = _describe(descriptor, crystals)
    _near(_describe(descriptor, turned), expected, "values depend on the orientation")


def check_batching(descriptor: DescribesAtoms) -> None:
    """A crystal in a batch is described as it is alone, and by a longer graph as by its own."""
    crystals = examples.low_symmetry_crystals()
    together = _describe(descriptor, crystals)
    for index, (first, last) in enumerate(itertools.pairwise(crystals.offsets.tolist())):
        alone = _describe(descriptor, crystals[index])
        _near(alone, together[first:last], "values depend on the rest of the batch")
    longer = descriptor(build_graph(crystals, descriptor.cutoff + 1.0))
    _near(longer, together, "values depend on edges beyond the cutoff")


def check_inputs(descriptor: DescribesAtoms) -> None:
    """Describing changes nothing in the graph."""
    graph = build_graph(examples.low_symmetry_crystals(), descriptor.cutoff)
    crystals = graph.crystals
    parts = [crystals.numbers, crystals.positions, crystals.cell]
    parts += [graph.center, graph.neighbor, graph.shift]
    before = [part.clone() for part in parts]
    descriptor(graph)
    unchanged = all(torch.equal(old, new) for old, new in zip(before, parts, strict=True))
    _require(unchanged, "an input has been changed in place")


def check_derivatives(descriptor: DescribesAtoms) -> None:
    """Derivatives by positions and strain are those of finite differences."""
    graph = build_graph(examples.low_symmetry_crystals(), descriptor.cutoff)
    described = descriptor(graph).detach()
    weights = _direction(described) / described.abs().amax(0).clamp(min=1e-30)
    moves = torch.zeros_like(graph.crystals.positions)
    strains = torch.zeros_like(graph.crystals.cell)
    for change, apply, what in (
        (moves, graph.displaced, "positions"),
        (strains, graph.strained, "strain"),
    ):
        leaf = change.clone().requires_grad_()
        along = _direction(change)
        (gradient,) = torch.autograd.grad((descriptor(apply(leaf)) * weights).sum(), leaf)
        ahead = (descriptor(apply(STEP * along)) * weights).sum()
        behind = (descriptor(apply(-STEP * along)) * weights).sum()
        slope = (gradient * along).sum()
        scale = (gradient * along).abs().sum()
        error = float((slope - (ahead - behind) / (2 * STEP)).abs() / scale.clamp(min=1e-30))
        _require(error < 1e-5, f"derivatives by {what} are off by {error:.1e}")


def check_precision(descriptor: DescribesAtoms) -> None:
    """The floating-point type of the positions is kept, and single precision is enough."""
    graph = build_graph(examples.low_symmetry_crystals(), descriptor.cutoff)
    single = descriptor(graph.to(dtype=torch.float32))
    _require(single.dtype == torch.float32, f"single precision became {single.dtype}")
    _near(single.double(), descriptor(graph), "single precision differs", 1e-4)


def check_isolated_atoms(descriptor: DescribesAtoms) -> None:
    """An atom without neighbors has finite values, and so has a derivative."""
    crystals = Crystals(
        numbers=torch.tensor([examples.ELEMENTS[0]]),
        positions=torch.zeros(1, 3, dtype=torch.float64),
        cell=torch.eye(3, dtype=torch.float64).unsqueeze(0) * (descriptor.cutoff * 3),
        pbc=torch.ones(1, 3, dtype=torch.bool),
        offsets=torch.tensor([0, 1]),
    )
    positions = crystals.positions.clone().requires_grad_()
    graph = build_graph(replace(crystals, positions=positions), descriptor.cutoff)
    described = descriptor(graph)
    _require(bool(torch.isfinite(described).all()), "an isolated atom is not finite")
    if described.requires_grad:
        (gradient,) = torch.autograd.grad(described.sum(), positions, allow_unused=True)
        finite = gradient is None or bool(torch.isfinite(gradient).all())
        _require(finite, "the derivative by an isolated atom is not finite")


DESCRIPTOR_CHECKS: dict[str, Callable[[DescribesAtoms], None]] = {
    "declarations": check_declarations,
    "motion": check_motion,
    "description": check_description,
    "symmetric_crystals": check_symmetric_crystals,
    "batching": check_batching,
    "inputs": check_inputs,
    "derivatives": check_derivatives,
    "precision": check_precision,
    "isolated_atoms": check_isolated_atoms,
}


def _describe(descriptor: DescribesAtoms, crystals: Crystals) -> Tensor:
    return descriptor(build_graph(crystals, descriptor.cutoff)).detach()


def _direction(like: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(like.shape, generator=generator, dtype=like.dtype)


def _near(found: Tensor, expected: Tensor, complaint: str, tolerance: float = TOLERANCE) -> None:
    _require(found.shape == expected.shape, f"{complaint}: shapes differ")
    largest = max(float(expected.detach().abs().max()), 1e-30)
    error = float((found - expected).detach().abs().max()) / largest
    _require(error <= tolerance, f"{complaint}: relative difference {error:.1e}")


def _require(holds: bool, complaint: str) -> None:
    if not holds:
        raise AssertionError(complaint)
