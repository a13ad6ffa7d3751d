from dataclasses import replace

import ase
import pytest
import torch

from epitaxy.crystals.crystals import cat
from epitaxy.crystals.exchange import from_ase, to_ase
from epitaxy.crystals.neighbors import build_graph
from epitaxy.crystals.supercells import enlarged, supercells
from epitaxy.errors import InputError


def test_repeats_are_those_of_ase(crystals):
    some = crystals[:4].to(dtype=torch.float64).with_targets({})
    repeats = torch.tensor([[2, 1, 3], [1, 1, 1], [1, 2, 2], [3, 1, 1]])
    ours = supercells(some, repeats)
    for index, atoms in enumerate(to_ase(some)):
        theirs = atoms.repeat(repeats[index].tolist())
        mine = to_ase(ours[index])[0]
        assert (mine.numbers == theirs.numbers).all()
        assert abs(mine.positions - theirs.positions).max() < 1e-10
        assert abs(mine.cell[:] - theirs.cell[:]).max() < 1e-10


def test_atoms_keep_their_surroundings(crystals):
    one = crystals[5].to(dtype=torch.float64)
    large = supercells(one, torch.tensor([[2, 2, 1]]))
    few, many = build_graph(one, 5.0), build_graph(large, 5.0)
    assert many.edge_total == 4 * few.edge_total
    counts = few.atom_offsets.diff()
    assert torch.equal(many.atom_offsets.diff(), counts.repeat(4))


def test_small_cells_grow_and_others_stay(crystals):
    large = enlarged(crystals, 8, torch.Generator().manual_seed(0))
    assert int(large.atom_counts.min()) >= 8
    big = crystals.atom_counts >= 8
    assert torch.equal(large.atom_counts[big], crystals.atom_counts[big])
    density = large.volumes / large.atom_counts
    torch.testing.assert_close(density, crystals.volumes / crystals.atom_counts)


def test_a_slab_grows_in_its_plane_and_a_molecule_not_at_all():
    slab = from_ase(ase.Atoms("C", cell=[2.5, 2.5, 20.0], pbc=[True, True, False]))
    molecule = from_ase(ase.Atoms("CO", positions=[[0, 0, 0], [0, 0, 1.1]]))
    both = enlarged(cat([slab, molecule]), 6, torch.Generator().manual_seed(1))
    assert both.atom_counts.tolist() == [8, 2]
    assert both.cell[0, 2, 2] == 20.0


def test_repeating_where_nothing_repeats_is_refused(crystals):
    slab = replace(crystals[0], pbc=torch.tensor([[True, True, False]]))
    with pytest.raises(InputError, match=slab.ids[0]):
        supercells(slab, torch.tensor([[1, 1, 2]]))
