"""Prototypes and space groups are what the textbooks say, by spglib and by counting neighbors."""

import itertools
import random

import numpy as np
import pytest
import spglib
import torch

from epitaxy.crystals.crystals import Crystals
from epitaxy.crystals.neighbors import build_graph
from epitaxy.datasets.generate.near_pairs import near_pairs
from epitaxy.datasets.generate.prototypes import Prototype, prototypes
from epitaxy.datasets.generate.symmetry import random_lattice, space_group

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def group_of(cell, fractional, numbers) -> int:
    return spglib.get_symmetry_dataset((cell, fractional, numbers), symprec=1e-3).number


def test_prototypes_are_primitive_cells_of_the_space_groups_that_they_are_said_to_have():
    wrong = []
    for prototype in prototypes().values():
        structure = (prototype.cell, prototype.fractional, prototype.sublattice + 1)
        primitive = spglib.find_primitive(structure, symprec=1e-3)
        if group_of(*structure) != prototype.group or len(primitive[2]) != len(structure[2]):
            wrong.append(prototype.name)
    assert wrong == []
    assert len(prototypes()) > 150


def nearest_shells(prototype: Prototype) -> dict[tuple[int, int], int]:
    """Return how many neighbors of B an atom of A has in the nearest shell, for A and B."""
    cell = torch.from_numpy(prototype.cell) * 4.0 * len(prototype.sublattice) ** (1 / 3)
    crystals = Crystals(
        numbers=torch.from_numpy(prototype.sublattice + 1),
        positions=torch.from_numpy(prototype.fractional) @ cell,
        cell=cell[None],
        pbc=torch.ones((1, 3), dtype=torch.bool),
        offsets=torch.tensor([0, len(prototype.sublattice)]),
    )
    graph = build_graph(crystals, 6.0)
    kind, distances = torch.from_numpy(prototype.sublattice), graph.distances()
    found = {}
    for one, other in itertools.product(range(len(prototype.counts)), repeat=2):
        chosen = (kind[graph.center] == one) & (kind[graph.neighbor] == other)
        if chosen.any():
            near = distances[chosen] < distances[chosen].min() + 1e-3
            found[one, other] = int(near.sum()) // prototype.counts[one]
    return found


@pytest.mark.parametrize(
    ("name", "neighbors"),
    [
        ("fcc", {(0, 0): 12}),
        ("bcc", {(0, 0): 8}),
        ("diamond", {(0, 0): 4}),
        ("rocksalt", {(0, 1): 6, (1, 0): 6, (0, 0): 12}),
        ("cesium-chloride", {(0, 1): 8, (1, 0): 8}),
        ("zincblende", {(0, 1): 4, (1, 0): 4}),
        ("nickel-arsenide", {(0, 1): 6, (1, 0): 6}),
        ("fluorite", {(0, 1): 8, (1, 0): 4}),
        ("cadmium-iodide", {(0, 1): 6, (1, 0): 3}),
        ("rhenium-trioxide", {(0, 1): 6, (1, 0): 2}),
        ("perovskite", {(0, 2): 12, (1, 2): 6, (2, 1): 2, (0, 1): 8}),
        ("spinel", {(0, 2): 4, (1, 2): 6}),
        ("elpasolite", {(0, 3): 12, (1, 3): 6, (2, 3): 6}),
        ("full-heusler", {(0, 1): 4, (0, 2): 4, (1, 0): 8}),
        ("half-heusler", {(0, 1): 4, (0, 2): 4, (1, 2): 6}),
        ("L1_2", {(0, 1): 4, (1, 0): 12, (0, 0): 8}),
        ("A15", {(1, 0): 12, (0, 0): 2}),
        ("laves-C15", {(0, 1): 12, (1, 1): 6, (0, 0): 4}),
        ("aluminum-diboride", {(0, 1): 12, (1, 1): 3}),
        ("cuprite", {(0, 1): 2, (1, 0): 4}),
        ("delafossite", {(0, 2): 2, (1, 2): 6}),
        ("chalcopyrite", {(0, 2): 4, (1, 2): 4}),
        ("garnet", {(1, 3): 6, (2, 3): 4}),
    ],
)
def test_atoms_have_the_neighbors_of_the_textbooks(name, neighbors):
    found = nearest_shells(prototypes()[name])
    assert {pair: found[pair] for pair in neighbors} == neighbors


@pytest.mark.parametrize("number", [1, 2, 5, 12, 14, 15, 62, 63, 88, 139, 148, 166, 194, 205, 227])
def test_orbits_on_any_position_have_at_least_the_groups_symmetry(number):
    """The same points by spglib: its group of them contains the one that was asked for."""
    chance = random.Random(number)
    group = space_group(number)
    cell = group.primitive @ random_lattice(number, chance)
    size = len(group.turns)
    points = np.array([[0.123, 0.271, 0.417], [0.05, 0.33, 0.19], [0.41, 0.08, 0.66]])
    general = np.concatenate([group.positions[-1].orbit(point) for point in points])
    assert len(general) == 3 * size
    for position in group.positions:
        orbit = position.orbit(np.array([chance.random() for _ in range(3)]))
        assert len(orbit) == position.images
        every = np.concatenate([general, orbit])
        numbers = np.repeat([1, 2, 3, 4], [size, size, size, len(orbit)])
        operations = spglib.get_symmetry((cell, every, numbers), symprec=1e-4)
        assert len(operations["rotations"]) == size
    assert group_of(cell, general, np.repeat([1, 2, 3], size)) == number


def test_pairs_are_those_of_the_neighbor_list():
    """Distances and their number, against the search that everything else uses."""
    generator = torch.Generator().manual_seed(3)
    sizes = [1, 2, 5, 9]
    cell = 3.5 * torch.eye(3, dtype=torch.float64).expand(4, 3, 3)
    cell = cell + torch.randn((4, 3, 3), dtype=torch.float64, generator=generator)
    cell = cell * torch.tensor([0.6, 0.9, 1.2, 1.6])[:, None, None]
    offsets = torch.tensor([0, 1, 3, 8, 17])
    owner = torch.repeat_interleave(torch.arange(4), torch.tensor(sizes))
    inside = 3 * torch.rand((17, 3), dtype=torch.float64, generator=generator)
    positions = (inside[:, None] @ cell[owner])[:, 0]
    crystals = Crystals(
        numbers=torch.ones(17, dtype=torch.int64),
        positions=positions,
        cell=cell,
        pbc=torch.ones((4, 3), dtype=torch.bool),
        offsets=offsets,
    )
    cutoff = np.array([3.0, 3.5, 4.0, 3.0])
    center, neighbor, shift = near_pairs(positions.numpy(), cell.numpy(), offsets.numpy(), cutoff)
    vectors = positions.numpy()[neighbor] - positions.numpy()[center]
    vectors = vectors + np.einsum("pi,pij->pj", shift, cell.numpy()[owner.numpy()[center]])
    for place in range(4):
        graph = build_graph(crystals[place], float(cutoff[place]))
        mine = np.linalg.norm(vectors[owner.numpy()[center] == place], axis=1)
        expected = np.sort(graph.distances().numpy())[::2]  # a pair and its reverse
        assert np.allclose(np.sort(mine), expected)
