"""Overlaps and isolated atoms are those of the neighbor list, whatever the cell looks like."""

import numpy as np
import pytest
import torch

from epitaxy.crystals.crystals import Crystals, cat
from epitaxy.crystals.neighbors import build_graph
from epitaxy.datasets.screening import LONELY, OVERLAP, screen


def random_crystal(generator: np.random.Generator, name: str, wide: bool) -> Crystals:
    """Draw a skewed cell, periodic in some directions, with a few atoms in and around it."""
    while True:
        cell = generator.normal(size=(3, 3))
        cell *= (
            generator.uniform(0.6, 12 if wide else 4, (3, 1))
            / np.linalg.norm(cell, axis=1)[:, None]
        )
        if abs(np.linalg.det(cell / np.linalg.norm(cell, axis=1)[:, None])) > 0.15:
            break
    pbc = generator.random(3) < 0.7
    count = int(generator.integers(1, 8))
    positions = generator.uniform(-1, 2, (count, 3)) @ cell
    return Crystals(
        numbers=torch.full((count,), 6),
        positions=torch.from_numpy(positions),
        cell=torch.from_numpy(np.where(pbc[:, None] | (generator.random() < 0.5), cell, 0.0))[None],
        pbc=torch.from_numpy(pbc)[None],
        offsets=torch.tensor([0, count]),
        ids=[name],
    )


@pytest.mark.parametrize("wide", [False, True])
def test_screening_agrees_with_the_neighbor_list(wide):
    generator = np.random.default_rng(5)
    singles = [random_crystal(generator, str(k), wide) for k in range(150)]
    screening = screen(cat(singles))
    overlapping, isolated = set(), {}
    for k, one in enumerate(singles):
        graph = build_graph(one, LONELY)
        if graph.edge_total and float(graph.distances().min()) < OVERLAP:
            overlapping.add(k)
        elif len(graph.isolated):
            isolated[k] = len(graph.isolated)
    assert set(screening.faults) == overlapping
    assert screening.isolated == isolated
    assert 5 < len(overlapping) < 145
    assert isolated or not wide


def test_atoms_on_both_sides_of_the_middle_of_the_cell_are_near():
    generator = np.random.default_rng(0)
    cell = np.array([[4.0, 0, 0], [1.9, 3.5, 0], [-1.8, 1.0, 3.6]])
    middle = cell.sum(0) / 2
    step = generator.normal(size=3)
    step *= 0.15 / np.linalg.norm(step)
    crystal = Crystals(
        numbers=torch.tensor([6, 6]),
        positions=torch.from_numpy(np.stack([middle - step, middle + step])),
        cell=torch.from_numpy(cell)[None],
        pbc=torch.ones(1, 3, dtype=torch.bool),
        offsets=torch.tensor([0, 2]),
    )
    assert "atoms 0 and 1 are 0.30 Å apart" in screen(crystal).faults[0]
