"""Energies, forces and stress are one function and its derivatives, on every backbone."""

import re
from dataclasses import replace
from pathlib import Path

import ase
import numpy as np
import pytest
import torch
from ase.build import bulk
from ase.calculators.lj import LennardJones

from epitaxy.backbones.base import Encoding
from epitaxy.crystals.crystals import cat
from epitaxy.crystals.exchange import from_ase
from epitaxy.crystals.neighbors import build_graph
from epitaxy.errors import InputError
from epitaxy.heads.potential import PotentialHead, energy_forces_stress, fit_references
from epitaxy.registry import build
from epitaxy.testing import check_potential, examples
from epitaxy.testing.potentials import energy_drift, shaken_potential

BACKBONES = ("torchmd_et", "cgcnn", "megnet")
CUTOFF = 7.5


def small(name, **changes):
    torch.manual_seed(0)
    return build("backbones", {"name": name, "preset": "small", **changes})


def lennard_jones(graph):
    """E = ½ Σ 4 (r⁻¹² − r⁻⁶), cut, with a length of 2.5 Å."""
    inverse = (2.5 / graph.distances()) ** 6
    half = 2.0 * (inverse**2 - inverse)
    of_edge = graph.crystals.crystal_of_atom[graph.center]
    return half.new_zeros(len(graph)).index_add(0, of_edge, half)


def shaken_metal():
    atoms = bulk("Cu", cubic=True) * (2, 1, 1)
    atoms.rattle(0.1, seed=0)
    atoms.set_cell(atoms.cell @ (np.eye(3) + 0.03 * np.arange(9).reshape(3, 3) / 9), True)
    return atoms


@pytest.mark.parametrize("name", BACKBONES)
def test_a_potential_on_a_backbone_keeps_all_promises(name):
    check_potential(small(name))


@pytest.mark.slow
@pytest.mark.parametrize("name", BACKBONES)
def test_a_picosecond_of_dynamics_conserves_the_energy(name):
    potential = shaken_potential(small(name))
    drift, span = energy_drift(potential, examples.low_symmetry_crystals()[1], steps=2000)
    assert span > 0.05
    assert abs(drift) < 1e-4


@pytest.mark.slow
def test_dynamics_on_an_energy_that_jumps_at_the_cutoff_drifts():
    potential = shaken_potential(small("torchmd_et", vector_envelope=False))
    assert not potential.backbone.smooth
    assert abs(energy_drift(potential, examples.low_symmetry_crystals()[1], steps=2000)[0]) > 1e-3


def test_signs_and_units_are_those_of_ase():
    atoms = shaken_metal()
    atoms.calc = LennardJones(sigma=2.5, epsilon=1.0, rc=CUTOFF, smooth=False)
    found = energy_forces_stress(lennard_jones, build_graph(from_ase(atoms), CUTOFF), stress=True)
    np.testing.assert_allclose(found.forces.numpy(), atoms.get_forces(), rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(
        found.stress[0].numpy(), atoms.get_stress(voigt=False), rtol=1e-8, atol=1e-12
    )


def test_the_stress_is_symmetric_to_the_last_bit():
    graph = build_graph(from_ase(shaken_metal()), CUTOFF)
    stress = energy_forces_stress(lennard_jones, graph, stress=True).stress
    assert torch.equal(stress, stress.transpose(1, 2))


def test_stretched_metal_pulls_back():
    """Positive in tension: the stress of a cell that is too large is positive."""
    atoms = bulk("Cu", a=4.4)
    found = energy_forces_stress(lennard_jones, build_graph(from_ase(atoms), CUTOFF), stress=True)
    assert (torch.diagonal(found.stress[0]) > 0).all()


def test_where_a_direction_does_not_repeat_there_are_forces_but_no_stress():
    slab = ase.Atoms("Cu2", [[0, 0, 0], [1.3, 1.3, 1.8]], cell=[2.6, 2.6, 0], pbc=(1, 1, 0))
    crystals = cat(
        [
            from_ase(slab),
            from_ase(shaken_metal()),
            from_ase(ase.Atoms("Cu2", [[0, 0, 0], [2.2, 0, 0]])),
        ]
    )
    found = energy_forces_stress(lennard_jones, build_graph(crystals, CUTOFF), stress=True)
    assert torch.isfinite(found.forces).all()
    assert torch.isfinite(found.stress).flatten(1).all(1).tolist() == [False, True, False]


def test_a_missing_stress_leaves_the_gradients_of_a_loss_finite():
    crystals = cat([examples.low_symmetry_crystals()[0], examples.low_symmetry_crystals()[0]])
    cell = crystals.cell.clone()
    cell[1, 2] = 0.0
    crystals = replace(crystals, cell=cell, pbc=torch.tensor([[True] * 3, [True, True, False]]))
    backbone = small("torchmd_et").double()
    head = PotentialHead(backbone.width).double()
    found = head.evaluate(backbone, backbone.graph_builder()(crystals), stress=True)
    there = torch.isfinite(found.stress.detach())
    torch.where(there, found.stress, 0.0).square().sum().backward()
    gradients = [p.grad for p in backbone.parameters() if p.grad is not None]
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
    assert any(gradient.any() for gradient in gradients)


def test_what_is_not_asked_for_is_not_made():
    seen = []

    def energy(graph):
        seen.append(graph)
        return lennard_jones(graph)

    graph = build_graph(from_ase(shaken_metal()), CUTOFF)
    found = energy_forces_stress(energy, graph, forces=False)
    assert seen[0] is graph
    assert found.forces is None
    assert found.stress is None
    found = energy_forces_stress(energy, graph, forces=False, stress=True)
    assert found.forces is None
    assert not graph.crystals.positions.requires_grad


def test_derivatives_are_there_where_gradients_are_switched_off_and_plain_numbers():
    graph = build_graph(from_ase(shaken_metal()), CUTOFF)
    with torch.no_grad():
        found = energy_forces_stress(lennard_jones, graph, stress=True)
    assert found.forces.abs().max() > 1e-3
    assert not any(part.requires_grad for part in vars(found).values())


def test_a_second_derivative_by_positions_is_that_of_the_forces():
    graph = build_graph(from_ase(shaken_metal()), CUTOFF)
    positions = graph.crystals.positions.clone().requires_grad_()
    free = replace(graph, crystals=replace(graph.crystals, positions=positions))
    forces = energy_forces_stress(lennard_jones, free, differentiable=True).forces
    (row,) = torch.autograd.grad(forces[0, 0], positions)
    step = torch.zeros_like(positions)
    step[3, 1] = 1e-4
    ends = [energy_forces_stress(lennard_jones, graph.displaced(s * step)).forces for s in (1, -1)]
    slope = float(ends[0][0, 0] - ends[1][0, 0]) / 2e-4
    assert float(row[3, 1]) == pytest.approx(slope, rel=1e-6)


def test_scale_shift_and_references_stand_where_the_equation_says():
    crystals = examples.low_symmetry_crystals()
    nodes = torch.randn(crystals.atom_total, 4, dtype=torch.float64)
    encoding = Encoding(nodes=nodes, edges=nodes.new_zeros(0, 1))
    graph = build_graph(crystals, 3.0)
    plain = PotentialHead(4).double()
    references = [0.5 * z for z in range(30)]
    head = PotentialHead(4, scale=3.0, shift=-2.0, references=references).double()
    head.load_state_dict(plain.state_dict())
    expected = 3.0 * plain(encoding, graph) - 2.0 * crystals.atom_counts
    for atom, number in enumerate(crystals.numbers.tolist()):
        expected[crystals.crystal_of_atom[atom]] += 0.5 * number
    torch.testing.assert_close(head(encoding, graph), expected)


def test_totals_keep_their_digits_in_single_precision():
    crystals = examples.low_symmetry_crystals()
    head = PotentialHead(4, references=[-1e5 - z / 3 for z in range(119)])
    encoding = Encoding(nodes=torch.randn(crystals.atom_total, 4), edges=torch.zeros(0, 1))
    graph = build_graph(crystals, 3.0).to(dtype=torch.float32)
    found = head(encoding, graph) - head.of_atoms(encoding, graph).squeeze(-1)
    expected = -1e5 * crystals.atom_counts.double()
    sums = torch.zeros(3, dtype=torch.float64)
    expected -= sums.index_add(0, crystals.crystal_of_atom, crystals.numbers.double()) / 3
    torch.testing.assert_close(found.detach(), expected, rtol=1e-14, atol=1e-9)


def test_an_element_without_a_reference_is_named():
    head = PotentialHead(4, references=[0.0] * 20)
    with pytest.raises(InputError, match=r"crystal '.*' has an atom of atomic number 2[26]"):
        head.offset(examples.low_symmetry_crystals())


def compositions(rows):
    numbers = torch.tensor([number for row in rows for number in row])
    counts = torch.tensor([0, *(len(row) for row in rows)])
    return replace(
        examples.low_symmetry_crystals()[[0] * len(rows)],
        numbers=numbers,
        positions=torch.zeros(len(numbers), 3).double(),
        offsets=torch.cumsum(counts, 0),
    )


def test_references_are_found_again():
    rows = [[8, 8, 22], [22], [8, 14, 14], [14], [26, 8], [26, 26, 22]]
    wanted = {8: -4.5, 14: -5.4, 22: -7.8, 26: -8.3}
    energies = torch.tensor([sum(wanted[z] for z in row) for row in rows])
    found = fit_references(compositions(rows), energies)
    assert found.shape == (119,)
    for number, energy in wanted.items():
        assert float(found[number]) == pytest.approx(energy, abs=1e-4)


def test_absent_elements_have_the_mean_and_inseparable_ones_share():
    rows = [[8, 14], [8, 8, 14, 14], [22, 22]]
    energies = torch.tensor([-10.0, -20.0, -14.0])
    found = fit_references(compositions(rows), energies)
    assert float(found[26]) == pytest.approx((-5 - 5 - 7) / 3, abs=1e-4)
    assert float(found[8] + found[14]) == pytest.approx(-10.0, abs=1e-4)
    assert float(found[8]) == pytest.approx(float(found[14]), abs=1e-6)


def test_missing_energies_are_left_out_of_the_references():
    rows = [[8, 8], [14], [14]]
    found = fit_references(compositions(rows), torch.tensor([-9.0, torch.nan, -5.0]))
    assert float(found[8]) == pytest.approx(-4.5, abs=1e-4)
    assert float(found[14]) == pytest.approx(-5.0, abs=1e-4)
    with pytest.raises(InputError, match="energies of all 3 crystals are missing"):
        fit_references(compositions(rows), torch.full((3,), torch.nan))


def test_the_documented_lines_run(capsys):
    page = (Path(__file__).parents[2] / "docs" / "heads.md").read_text()
    (lines,) = re.findall(r"```python\n(.*?)```", page, flags=re.S)
    exec(lines, {})
    assert "torch.Size([32, 3, 3])" in capsys.readouterr().out
