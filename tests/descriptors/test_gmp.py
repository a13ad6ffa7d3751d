"""What is left out of GMP is below its accuracy in every channel of every crystal."""

from dataclasses import replace

import pytest
import torch

from epitaxy.crystals.crystals import Crystals, cat
from epitaxy.crystals.multipoles import probe_weights
from epitaxy.crystals.neighbors import build_graph
from epitaxy.crystals.reciprocal import few_waves, half_of_waves
from epitaxy.datasets.bundled import bundled
from epitaxy.descriptors import GMP
from epitaxy.testing import examples

ROUNDING = 1000 * torch.finfo(torch.float64).eps


def spread(crystals, amount, seed=0):
    generator = torch.Generator().manual_seed(seed)
    moves = torch.randn(crystals.positions.shape, generator=generator, dtype=torch.float64)
    return replace(crystals, positions=crystals.positions + amount * moves)


def stretched_fcc(number, half, strain):
    cell = half * torch.tensor([[[0.0, 1, 1], [1, 0, 1], [1, 1, 0]]], dtype=torch.float64)
    stretch = torch.diag(torch.tensor([1 + strain, 1.0, 1.0], dtype=torch.float64))
    return Crystals(
        numbers=torch.tensor([number]),
        positions=torch.zeros(1, 3, dtype=torch.float64),
        cell=cell @ stretch,
        pbc=torch.ones(1, 3, dtype=torch.bool),
        offsets=torch.tensor([0, 1]),
    )


def nearly_symmetric():
    distorted = [spread(examples.symmetric_crystals(), size) for size in (1e-4, 1e-3, 1e-2)]
    stretched = [
        stretched_fcc(number, half * scale, strain)
        for number, half in ((13, 2.02), (19, 2.7))
        for strain in (1e-4, 1e-3, 1e-2)
        for scale in (0.97, 1.0, 1.03)
    ]
    return cat([examples.symmetric_crystals(), *distorted, *stretched])


def real():
    crystals = bundled().with_targets({}).to(dtype=torch.float64)
    borides_and_iridides = [96, 210, 281, 1343, 1442, 1798, 2352]
    return crystals[[*range(0, len(crystals), 11), *borides_and_iridides]]


def largest_by_crystal(crystals, values):
    index = crystals.crystal_of_atom.unsqueeze(-1).expand_as(values)
    return values.new_zeros(len(crystals), values.shape[1]).scatter_reduce(0, index, values, "amax")


def described(descriptor, crystals):
    parts = [crystals[part] for part in crystals.chunks(300)]
    reaches = [descriptor.cutoff_for(part.numbers.unique().tolist()) for part in parts]
    graphs = [build_graph(part, reach) for part, reach in zip(parts, reaches, strict=True)]
    return torch.cat([descriptor(graph) for graph in graphs])


def most_of_a_neighbor(descriptor, crystals):
    """Return what one neighbor adds at most, from the weights' formula at the shortest distance."""
    graph = build_graph(crystals, 8.0)
    shortest = torch.full((len(crystals),), torch.inf, dtype=torch.float64).scatter_reduce(
        0, crystals.crystal_of_atom[graph.center], graph.distances(), "amin"
    )
    columns = []
    for order in descriptor.orders:
        for sigma in descriptor.sigmas if order >= 0 else (0.0,):
            probe = probe_weights(sigma, (max(order, 0),), descriptor.table, 1e-5)
            strength, ratio, decay = (
                torch.tensor(table)[:, crystals.numbers].unsqueeze(-1)
                for table in (probe.strength, probe.ratio, probe.decay)
            )
            beyond = torch.linspace(0, 4, 100, dtype=torch.float64)
            r = shortest[crystals.crystal_of_atom].unsqueeze(-1) + beyond
            weight = (strength * ratio ** max(order, 0) * torch.exp(-decay * r**2)).sum(0)
            columns.append((weight.abs() * r ** max(order, 0)).amax(-1))
    return largest_by_crystal(crystals, torch.stack(columns, dim=-1))


@pytest.mark.parametrize("crystals", [real, nearly_symmetric])
def test_every_channel_of_every_crystal_is_as_accurate_as_promised(crystals):
    crystals = crystals()
    found, exact = (described(GMP(accuracy=one), crystals) for one in (1e-5, 1e-12))
    largest = largest_by_crystal(crystals, exact)
    error = largest_by_crystal(crystals, (found - exact).abs())
    scale = most_of_a_neighbor(GMP(), crystals)
    promised = largest > ROUNDING * scale
    rounding = 50 * torch.finfo(torch.float64).eps * scale
    assert ((error - rounding)[promised] <= 1e-5 * largest[promised]).all()


@pytest.mark.parametrize("preset", ["set2", "set3"])
def test_other_sets_are_as_accurate(preset):
    crystals = nearly_symmetric()[2:14]
    found, exact = (described(GMP.preset(preset, accuracy=one), crystals) for one in (1e-5, 1e-12))
    largest = largest_by_crystal(crystals, exact)
    error = largest_by_crystal(crystals, (found - exact).abs())
    scale = most_of_a_neighbor(GMP.preset(preset), crystals)
    promised = largest > ROUNDING * scale
    rounding = 50 * torch.finfo(torch.float64).eps * scale
    assert ((error - rounding)[promised] <= 1e-5 * largest[promised]).all()


def test_waves_and_neighbors_give_the_same(monkeypatch):
    crystals = cat([examples.low_symmetry_crystals(), examples.symmetric_crystals()])
    descriptor = GMP(orders=(0, 1, 2, 3), sigmas=(1.5, 2.0), accuracy=1e-11)
    waves = descriptor(build_graph(crystals, descriptor.cutoff))
    monkeypatch.setattr(
        "epitaxy.descriptors.gmp.few_waves",
        lambda crystals, longest: torch.zeros(len(crystals), dtype=torch.bool),
    )
    neighbors = descriptor(build_graph(crystals, descriptor.cutoff))
    assert ((waves - neighbors).abs().amax(0) <= 1e-10 * neighbors.amax(0)).all()


def test_one_of_every_pair_of_waves_is_taken():
    crystals = examples.low_symmetry_crystals()
    longest = 6.0
    indices, offsets = half_of_waves(crystals, longest)
    steps = torch.arange(-12, 13)
    grid = torch.cartesian_prod(steps, steps, steps).double()
    for place, cell in enumerate(crystals.cell):
        k = 2 * torch.pi * grid @ torch.linalg.inv(cell).T
        expected = {tuple(row) for row in grid[k.norm(dim=-1) <= longest].int().tolist()}
        half = indices[offsets[place] : offsets[place + 1]].int()
        both = [tuple(row) for row in torch.cat([half, -half[(half != 0).any(-1)]]).tolist()]
        assert len(both) == len(expected)
        assert set(both) == expected


def test_wide_probes_reach_across_gaps_between_molecules_and_in_slabs():
    crystals = examples.low_symmetry_crystals()
    slabs = replace(crystals, pbc=torch.tensor([[True, True, False]] * 3))
    box = 60.0 * torch.eye(3, dtype=torch.float64).expand(3, 3, 3)
    free = replace(crystals, pbc=torch.zeros(3, 3, dtype=torch.bool))
    boxed = replace(crystals, cell=box)
    descriptor = GMP(accuracy=1e-9)
    assert not few_waves(cat([slabs, free, boxed]), 3.0).any()
    alone, in_a_box = described(descriptor, free), described(descriptor, boxed)
    torch.testing.assert_close(alone, in_a_box, rtol=1e-7, atol=1e-9)
    together = described(descriptor, cat([crystals, slabs, free]))
    parts = torch.cat([described(descriptor, one) for one in (crystals, slabs, free)])
    torch.testing.assert_close(together, parts, rtol=1e-10, atol=1e-12)


def test_two_atoms_that_hardly_see_each_other_are_not_taken_for_symmetric():
    pair = Crystals(
        numbers=torch.tensor([26, 26]),
        positions=torch.tensor([[0.0, 0, 0], [9.5, 0, 0]], dtype=torch.float64),
        cell=torch.zeros(1, 3, 3, dtype=torch.float64),
        pbc=torch.zeros(1, 3, dtype=torch.bool),
        offsets=torch.tensor([0, 2]),
    )
    found, exact = (described(GMP(orders=(1,), accuracy=one), pair) for one in (1e-5, 1e-12))
    assert (exact > 0).all()
    torch.testing.assert_close(found, exact, rtol=1e-5, atol=0)


def test_derivatives_pass_through_longer_graphs_and_waves():
    crystals = spread(examples.symmetric_crystals(), 1e-3)
    descriptor = GMP(accuracy=1e-11)
    graph = build_graph(crystals, descriptor.cutoff)
    weights = 1 / descriptor(graph).amax(0)
    generator = torch.Generator().manual_seed(1)
    for nothing, apply in (
        (torch.zeros_like(crystals.positions), graph.displaced),
        (torch.zeros_like(crystals.cell), graph.strained),
    ):
        along = torch.randn(nothing.shape, generator=generator, dtype=torch.float64)
        leaf = nothing.clone().requires_grad_()
        total = ((descriptor(apply(leaf)) * weights) ** 2).sum()
        (gradient,) = torch.autograd.grad(total, leaf, create_graph=True)
        step = 1e-6
        ahead, behind = (
            ((descriptor(apply(sign * step * along)) * weights) ** 2).sum() for sign in (1, -1)
        )
        slope = (gradient * along).sum()
        assert slope.item() == pytest.approx(float(ahead - behind) / (2 * step), rel=1e-4)
        (second,) = torch.autograd.grad(slope, leaf)
        assert torch.isfinite(second).all()
        assert second.any()


def test_exactly_symmetric_crystals_are_not_done_again(monkeypatch):
    def refuse(*_):
        raise AssertionError("a longer graph was asked for")

    for dtype in (torch.float32, torch.float64):
        crystals = examples.symmetric_crystals()[0].to(dtype=dtype)
        descriptor = GMP(orders=(1, 2), sigmas=(0.5, 1.0))
        graph = build_graph(crystals, descriptor.cutoff_for([8, 14]))
        with monkeypatch.context() as patch:
            patch.setattr("epitaxy.descriptors.gmp.build_graph", refuse)
            descriptor(graph)


def test_no_crystals_have_no_rows():
    none = examples.symmetric_crystals()[[]]
    assert GMP()(build_graph(none, 12.0)).shape == (0, 13)
