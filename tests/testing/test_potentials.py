"""The checks of potentials find what is broken."""

from dataclasses import replace

import pytest
import torch

from epitaxy.backbones.torchmd_et import TorchMDET
from epitaxy.testing import check_potential
from epitaxy.testing.potentials import POTENTIAL_CHECKS, shaken_potential

SMALL = {"width": 8, "layers": 2, "heads": 2, "radial": 6, "cutoff": 4.0}


class Jumps(TorchMDET):
    """Says that it is smooth, and lets vector messages end abruptly."""

    def __init__(self):
        super().__init__(**SMALL, vector_envelope=False)
        self.smooth = True


class Changed(TorchMDET):
    def __init__(self):
        super().__init__(**SMALL)

    def forward(self, graph):
        encoding = super().forward(graph)
        return replace(encoding, nodes=self.changed(encoding.nodes, graph))


class HidesDistances(Changed):
    def changed(self, nodes, graph):
        sums = graph.distances().detach().mean()
        return nodes * (1 + 0.1 * sums)


class HidesTheCell(TorchMDET):
    def __init__(self):
        super().__init__(**SMALL)

    def embed(self, graph):
        crystals = replace(graph.crystals, cell=graph.crystals.cell.detach())
        return super().embed(replace(graph, crystals=crystals))


class HidesAWeight(Changed):
    def changed(self, nodes, graph):
        return nodes * (1 + self.neighbor_filter.weight.detach().mean())


class SeesOrigin(Changed):
    def changed(self, nodes, graph):
        return nodes + 0.1 * graph.crystals.positions[:, :1]


class SeesSize(Changed):
    def changed(self, nodes, graph):
        counts = graph.crystals.atom_counts[graph.crystals.crystal_of_atom]
        return nodes / counts.unsqueeze(-1)


class SeesTheBatch(Changed):
    def changed(self, nodes, graph):
        return nodes + nodes.mean(0)


class DiffersWithoutDerivatives(Changed):
    def changed(self, nodes, graph):
        return nodes if graph.crystals.positions.requires_grad else 1.001 * nodes


class BreaksOnLoneAtoms(Changed):
    def changed(self, nodes, graph):
        ones = torch.ones_like(graph.center, dtype=nodes.dtype)
        seen = nodes.new_zeros(len(nodes)).index_add(0, graph.center, ones)
        return nodes / seen.unsqueeze(-1)


@pytest.mark.parametrize(
    ("cls", "check", "complaint"),
    [
        (HidesDistances, "forces", "forces are not the energy's slope"),
        (HidesTheCell, "stress", "the stress is not the energy's slope"),
        (SeesOrigin, "balance", "the forces in a crystal sum to"),
        (SeesOrigin, "rotation", "the energy depends on a rotation"),
        (SeesSize, "supercell", "the energy does not double"),
        (SeesTheBatch, "batching", "energy depends on the rest of the batch"),
        (DiffersWithoutDerivatives, "values", "whether its derivatives are wanted"),
        (BreaksOnLoneAtoms, "isolated_atoms", "the energy of an atom is not finite"),
        (Jumps, "smoothness", "the energy jumps by"),
        (HidesAWeight, "training", "gradients of a loss on derivatives are not its slope"),
    ],
)
def test_a_broken_potential_is_found(cls, check, complaint):
    torch.manual_seed(0)
    potential = shaken_potential(cls())
    with pytest.raises(AssertionError, match=complaint):
        POTENTIAL_CHECKS[check](potential)


def test_a_whole_one_passes_and_is_left_as_it_was():
    backbone = TorchMDET(**SMALL)
    before = {name: values.clone() for name, values in backbone.state_dict().items()}
    check_potential(backbone)
    assert all(torch.equal(before[name], new) for name, new in backbone.state_dict().items())
    assert backbone.training


def test_a_check_that_does_not_exist_cannot_be_skipped():
    with pytest.raises(ValueError, match="Did you mean 'forces'"):
        check_potential(TorchMDET(**SMALL), skip=["force"])
