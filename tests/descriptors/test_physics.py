"""The fingerprints keep the symmetries of space and know the limits that can be calculated."""

import json
import math
from dataclasses import replace

import pytest
import torch

from epitaxy.crystals.crystals import Crystals, cat
from epitaxy.crystals.densities import atom_densities, electron_count, read_gpsp
from epitaxy.crystals.harmonics import solid_harmonics
from epitaxy.crystals.neighborhoods import neighborhoods, vectors_by_axis
from epitaxy.crystals.neighbors import build_graph
from epitaxy.descriptors import EAD, GMP, WACSF
from epitaxy.registry import build, settings_of
from epitaxy.testing import check_descriptor, examples

SHORT = 5.0
SHELLS = tuple(0.5 * step for step in range(1, 10))
TESTED = {
    "wacsf": WACSF(eta=(0.1, 1.0), r_s=(0.0, 2.0, 3.0), cutoff=SHORT),
    "ead": EAD(l_max=3, eta=(1.0, 3.0), r_s=SHELLS, cutoff=SHORT),
    "ead, cumulative": EAD(
        l_max=2, eta=(1.0,), r_s=(0.0, 2.0, 3.5), cutoff=SHORT, mode="cumulative"
    ),
    "gmp": GMP(orders=(-1, 0, 1, 2, 3, 4), sigmas=(0.4, 0.8), accuracy=1e-12),
}
EVERY = pytest.mark.parametrize("descriptor", TESTED.values(), ids=TESTED)


@EVERY
def test_the_promises_of_every_descriptor_are_kept(descriptor):
    check_descriptor(descriptor)


@EVERY
def test_the_chunk_bounds_memory_and_changes_nothing(descriptor):
    graph = build_graph(examples.low_symmetry_crystals(), descriptor.cutoff)
    expected = descriptor(graph)
    found = replace(descriptor, chunk=50)(graph)
    assert (found - expected).abs().max() <= 1e-12 * expected.abs().max()


@EVERY
def test_settings_survive_json(descriptor):
    again = build("descriptors", json.loads(json.dumps(settings_of(descriptor))))
    assert again == descriptor


def test_given_densities_survive_json():
    descriptor = GMP(densities={11: [(0.06, 0.35), (5.5, 6.5)], 17: [(1.9, 1.6)]})
    again = build("descriptors", json.loads(json.dumps(settings_of(descriptor))))
    assert again == descriptor
    assert again.densities == {11: ((0.06, 0.35), (5.5, 6.5)), 17: ((1.9, 1.6),)}


@pytest.mark.parametrize(
    ("kind", "sizes"),
    [(WACSF, (48, 20, 140)), (EAD, (960, 1920, 1280)), (GMP, (13, 10, 31))],
)
def test_presets_have_the_sizes_of_the_paper(kind, sizes):
    assert tuple(kind.preset(name).size for name in ("set1", "set2", "set3")) == sizes


def test_columns_are_named_in_their_order():
    assert WACSF.preset("set1").feature_names[1] == "wacsf[eta=0.01,r_s=1.0]"
    assert EAD.preset("set1").feature_names[161] == "ead[l=0,eta=5.0,r_s=0.05]"
    names = GMP(orders=(2, -1), sigmas=(1.0, 0.5)).feature_names
    assert names == ("gmp[n=-1]", "gmp[n=2,sigma=1.0]", "gmp[n=2,sigma=0.5]")


def one_atom(number, length=100.0):
    return Crystals(
        numbers=torch.tensor([number]),
        positions=torch.zeros(1, 3, dtype=torch.float64),
        cell=length * torch.eye(3, dtype=torch.float64).unsqueeze(0),
        pbc=torch.ones(1, 3, dtype=torch.bool),
        offsets=torch.tensor([0, 1]),
    )


@pytest.mark.parametrize("descriptor", [WACSF(), EAD(r_s=SHELLS)])
def test_an_atom_alone_has_no_neighbors_to_describe(descriptor):
    assert not descriptor(build_graph(one_atom(26), descriptor.cutoff)).any()


def test_an_atom_alone_has_its_own_density():
    b, beta, sigma = 1.9, 1.6, 0.5
    descriptor = GMP(sigmas=(sigma,), densities={17: [(b, beta)]})
    values = descriptor(build_graph(one_atom(17), descriptor.cutoff))[0].tolist()
    alpha = 0.5 / sigma**2
    seen = b * (sigma * math.sqrt(2 * math.pi)) ** -3 * (math.pi / (alpha + beta)) ** 1.5
    assert values == pytest.approx([b, seen, 0.0, 0.0])


def test_a_batch_may_hold_atoms_alone():
    descriptor = TESTED["gmp"]
    crystals = examples.low_symmetry_crystals()
    together = descriptor(build_graph(cat([one_atom(26), crystals]), descriptor.cutoff))
    alone = descriptor(build_graph(crystals, descriptor.cutoff))
    torch.testing.assert_close(together[1:], alone, rtol=1e-12, atol=1e-12)


def test_a_wide_probe_sees_the_mean_density():
    crystals = examples.symmetric_crystals()[0]
    descriptor = GMP(orders=(0,), sigmas=(3.0,), accuracy=1e-9)
    values = descriptor(build_graph(crystals, descriptor.cutoff))
    mean = float(crystals.numbers.sum() / crystals.volumes[0])
    torch.testing.assert_close(values, torch.full_like(values, mean), rtol=1e-6, atol=0)


def test_odd_orders_vanish_at_inversion_centers():
    crystals = examples.symmetric_crystals()
    ead = EAD(l_max=2, eta=(1.0,), r_s=SHELLS, cutoff=SHORT)
    first = ead(build_graph(crystals, SHORT)).unflatten(1, (3, -1))
    assert first[:, 1].max() <= 1e-20 * first[:, 2].max()
    gmp = GMP(orders=(0, 1), sigmas=(0.5,), accuracy=1e-12)
    scalar, vector = gmp(build_graph(crystals, gmp.cutoff)).unbind(1)
    assert vector.max() <= 1e-12 * scalar.max()


def test_derivatives_are_finite_where_symmetry_makes_features_vanish():
    crystals = examples.symmetric_crystals()[0]
    descriptor = GMP(orders=(1, 2), sigmas=(0.5,))
    graph = build_graph(crystals, descriptor.cutoff)
    for change, apply in (
        (torch.zeros_like(crystals.positions), graph.displaced),
        (torch.zeros_like(crystals.cell), graph.strained),
    ):
        leaf = change.requires_grad_()
        (gradient,) = torch.autograd.grad(descriptor(apply(leaf)).sum(), leaf)
        assert torch.isfinite(gradient).all()


def test_a_feature_that_is_exactly_zero_has_the_derivative_zero():
    row = Crystals(
        numbers=torch.tensor([8, 26, 8]),
        positions=torch.tensor([[-2.0, 0, 0], [0, 0, 0], [2.0, 0, 0]], dtype=torch.float64),
        cell=torch.zeros(1, 3, 3, dtype=torch.float64),
        pbc=torch.zeros(1, 3, dtype=torch.bool),
        offsets=torch.tensor([0, 3]),
    )
    descriptor = GMP(orders=(1,), sigmas=(0.5,))
    leaf = torch.zeros_like(row.positions, requires_grad=True)
    middle = descriptor(build_graph(row, descriptor.cutoff).displaced(leaf))[1]
    assert middle == 0
    (gradient,) = torch.autograd.grad(middle.sum(), leaf)
    assert not gradient.any()


def test_what_is_cut_off_is_below_the_accuracy():
    crystals = examples.low_symmetry_crystals()
    exact = GMP(accuracy=1e-12)
    graph = build_graph(crystals, exact.cutoff)
    expected = exact(graph)
    for accuracy in (1e-3, 1e-5, 1e-7):
        error = (GMP(accuracy=accuracy)(graph) - expected).abs().amax(0) / expected.amax(0)
        assert error.max() <= accuracy


def test_a_graph_need_not_be_longer_than_its_elements_ask():
    crystals = examples.low_symmetry_crystals()
    descriptor = GMP()
    enough = descriptor.cutoff_for(crystals.numbers.unique().tolist())
    assert enough < descriptor.cutoff
    short, long = (descriptor(build_graph(crystals, r)) for r in (enough, descriptor.cutoff))
    torch.testing.assert_close(short, long, rtol=1e-12, atol=1e-12)


def test_the_default_densities_hold_all_electrons_of_every_atom():
    densities = atom_densities(0.1)
    assert list(densities) == list(range(1, 99))
    for number, rows in densities.items():
        assert electron_count(rows) == pytest.approx(number, rel=1e-12)
        assert max(beta for _, beta in rows) <= 50.0 + 1e-9
        distances = torch.linspace(0, 8, 200, dtype=torch.float64)
        density = sum(b * torch.exp(-beta * distances**2) for b, beta in rows)
        assert (density > 0).all()


def test_files_of_densities_are_read(tmp_path):
    path = tmp_path / "some.gpsp"
    path.write_text(
        "# title\n! 2 elements\nX 0 1\n1.0 1.0\n****\nNa 11 2\n0.06 0.35\n5.5 6.5\n****\n"
    )
    assert read_gpsp(path) == {11: ((0.06, 0.35), (5.5, 6.5))}
    assert GMP(densities=path).densities == read_gpsp(path)


def test_harmonics_obey_the_addition_theorem():
    u, v = torch.randn(2, 3, 50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    lengths = u.norm(dim=0), v.norm(dim=0)
    cosine = (u * v).sum(0) / (lengths[0] * lengths[1])
    for degree in range(9):
        product = (solid_harmonics(u, degree) * solid_harmonics(v, degree)).sum(0)
        legendre = torch.special.legendre_polynomial_p(cosine, degree)
        expected = (lengths[0] * lengths[1]) ** degree * legendre
        torch.testing.assert_close(product, expected, rtol=1e-10, atol=1e-10)


def test_every_edge_has_one_slot():
    graph = build_graph(examples.low_symmetry_crystals(), SHORT)
    hoods = list(neighborhoods(graph.atom_offsets, 200))
    assert len(hoods) > 1
    edges = torch.cat([hood.edges[hood.filled] for hood in hoods])
    centers = torch.cat(
        [hood.atoms.unsqueeze(1).expand_as(hood.edges)[hood.filled] for hood in hoods]
    )
    assert sorted(edges.tolist()) == list(range(graph.edge_total))
    assert torch.equal(graph.center[edges], centers)
    torch.testing.assert_close(vectors_by_axis(graph).T, graph.vectors())
