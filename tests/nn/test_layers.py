"""Layers do what their equations say."""

import math

import pytest
import torch
from torch import nn

from epitaxy.crystals.segments import sum_over_neighbors
from epitaxy.nn.contacts import each_edge, merged, on_grid
from epitaxy.nn.edge_messages import attend
from epitaxy.nn.envelope import cosine_envelope
from epitaxy.nn.perceptron import Perceptron
from epitaxy.nn.pooling import pool
from epitaxy.nn.radial import ExpNormal
from epitaxy.testing import examples


def test_the_envelope_falls_from_one_to_zero_and_stays_there():
    distances = torch.tensor([0.0, 2.5, 5.0, 7.5], dtype=torch.float64)
    expected = torch.tensor([1.0, 0.5, 0.0, 0.0], dtype=torch.float64)
    torch.testing.assert_close(cosine_envelope(distances, 5.0), expected)


def test_the_envelope_has_no_slope_at_the_cutoff():
    distances = torch.tensor([5.0 - 1e-9], dtype=torch.float64, requires_grad=True)
    cosine_envelope(distances, 5.0).sum().backward()
    assert abs(float(distances.grad)) < 1e-8


def test_exp_normal_starts_with_the_published_means_and_widths():
    expansion = ExpNormal(count=50, cutoff=8.0)
    means = expansion.means.detach()
    assert float(means[0]) == pytest.approx(math.exp(-8.0))
    assert float(means[-1]) == pytest.approx(1.0)
    width = (2 / 50 * (1 - math.exp(-8.0))) ** -2
    assert float(expansion.betas.detach()[0]) == pytest.approx(width)


def test_exp_normal_is_one_where_the_decay_meets_a_mean():
    expansion = ExpNormal(count=5, cutoff=5.0).double()
    distance = -torch.log(expansion.means[2]).detach().reshape(1)
    assert float(expansion(distance).detach()[0, 2]) == pytest.approx(1.0)


def test_exp_normal_can_be_frozen():
    assert not list(filter(lambda p: p.requires_grad, ExpNormal(5, 5.0, False).parameters()))


def test_a_perceptron_has_an_activation_between_but_not_after_its_layers():
    kinds = [type(layer) for layer in Perceptron(4, [8, 6], 2)]
    assert kinds == [nn.Linear, nn.SiLU, nn.Linear, nn.SiLU, nn.Linear]
    assert [type(layer) for layer in Perceptron(4, [], 2)] == [nn.Linear]


def test_the_mean_ignores_the_size_of_the_cell_and_the_sum_grows_with_it():
    crystals = examples.low_symmetry_crystals()
    larger, sources = examples.supercell(crystals)
    values = torch.randn(crystals.atom_total, 2, dtype=torch.float64)
    mean, total = pool(values, crystals, "mean"), pool(values, crystals, "sum")
    torch.testing.assert_close(pool(values[sources], larger, "mean"), mean)
    torch.testing.assert_close(pool(values[sources], larger, "sum"), 2 * total)


def test_rounding_makes_nearly_equal_distances_equal_and_moves_none_by_more_than_its_noise():
    distances = torch.rand(1000) * 8
    rounded = on_grid(distances)
    assert float((rounded - distances).abs().max()) < 1.5e-6
    step = 16 * torch.finfo(torch.float32).eps
    assert float(on_grid(torch.tensor([100 * step + step / 10]))) == 100 * step


def edges_with_repeats():
    """Eight edges between three atoms; the first three differ by direction only."""
    center = torch.tensor([0, 0, 0, 0, 1, 1, 2, 2])
    neighbor = torch.tensor([1, 1, 1, 2, 0, 1, 2, 2])
    distances = torch.tensor([2.0, 2.0, 2.0, 2.0, 2.0, 3.0, 3.0, 3.5], dtype=torch.float64)
    features = torch.stack([distances.cos(), distances.sin()], dim=-1)
    directions = torch.randn(8, 3, dtype=torch.float64)
    return center, neighbor, features, cosine_envelope(distances, 5.0), directions


def test_edges_alike_but_for_their_direction_are_merged_and_no_others():
    edges = edges_with_repeats()
    contacts = merged(*edges)
    assert contacts.center.tolist() == [0, 0, 1, 1, 2, 2]
    assert contacts.count.flatten().tolist() == [3, 1, 1, 1, 1, 1]
    assert len(contacts.features) == 3
    torch.testing.assert_close(contacts.direction[0], edges[4][:3].sum(0))


def test_an_edge_whose_features_were_changed_is_not_merged():
    center, neighbor, features, envelope, directions = edges_with_repeats()
    features[2] = 0.0
    contacts = merged(center, neighbor, features, envelope, directions)
    assert sorted(contacts.count.flatten().tolist()) == [1, 1, 1, 1, 1, 1, 2]


def messages(make, vectors: bool, heads: int = 2, width: int = 4):
    generator = torch.Generator().manual_seed(0)

    def leaf(*shape: int) -> torch.Tensor:
        values = torch.randn(shape, generator=generator, dtype=torch.float64)
        return values.requires_grad_()

    torch.manual_seed(0)
    contacts = make(*edges_with_repeats())
    parts = [leaf(3, width), leaf(3, 4 * width), leaf(3, 3, width), leaf(2, 4 * width)]
    filters = contacts.features @ parts[3]
    found = attend(*parts[:2], parts[2] if vectors else None, filters, contacts, heads, True)
    wanted = parts if vectors else [parts[0], parts[1], parts[3]]
    return found, wanted


@pytest.mark.parametrize("vectors", [True, False])
def test_merged_messages_equal_those_of_single_edges(vectors):
    (one, one_parts), (other, other_parts) = (messages(m, vectors) for m in (merged, each_edge))
    torch.testing.assert_close(one, other)
    sums = [(scalars.sin().sum() + pushed.cos().sum()) for scalars, pushed in (one, other)]
    gradients = [
        torch.autograd.grad(total, parts)
        for total, parts in zip(sums, (one_parts, other_parts), strict=True)
    ]
    torch.testing.assert_close(*gradients)


def test_messages_are_what_the_equations_say():
    (scalars, pushed), (query, sent, vectors, filters) = messages(each_edge, vectors=True)
    torch.manual_seed(0)
    center, neighbor, features, envelope, directions = edges_with_repeats()
    by_head = query.detach().new_zeros(8, 2)
    width, filtered = 4, sent[neighbor] * (features @ filters)
    key, value, along_vector, along_edge = filtered.split(width, dim=-1)
    for head in range(2):
        channels = slice(2 * head, 2 * head + 2)
        by_head[:, head] = (query[center] * key)[:, channels].sum(-1).detach()
    weights = torch.nn.functional.silu(by_head) * envelope.unsqueeze(-1)
    expected = sum_over_neighbors(value * weights.repeat_interleave(2, dim=-1), center, 3)
    torch.testing.assert_close(scalars, expected)
    steps = vectors[neighbor] * along_vector.unsqueeze(1)
    steps = steps + directions.unsqueeze(-1) * along_edge.unsqueeze(1)
    expected = sum_over_neighbors(steps * envelope.reshape(-1, 1, 1), center, 3)
    torch.testing.assert_close(pushed, expected)


def test_messages_cut_into_pieces_are_the_same(monkeypatch):
    whole, parts = messages(merged, vectors=True)
    gradients = torch.autograd.grad(whole[1].sin().sum(), parts)
    monkeypatch.setattr("epitaxy.nn.edge_messages.PIECE", 8)
    pieces, parts = messages(merged, vectors=True)
    torch.testing.assert_close(whole, pieces)
    torch.testing.assert_close(gradients, torch.autograd.grad(pieces[1].sin().sum(), parts))


@pytest.mark.parametrize("vectors", [True, False])
def test_messages_have_first_and_second_derivatives_of_finite_differences(vectors):
    torch.manual_seed(0)
    contacts = merged(*edges_with_repeats())
    shapes = [(3, 4), (3, 16), (3, 3, 4), (3, 16)]
    leaves = [torch.randn(s, dtype=torch.float64, requires_grad=True) for s in shapes]

    def summed(query, sent, pushed, filters):
        return attend(query, sent, pushed if vectors else None, filters, contacts, 2, True)

    assert torch.autograd.gradcheck(summed, leaves)
    assert torch.autograd.gradgradcheck(summed, leaves)


def test_an_unknown_pooling_is_an_error():
    from epitaxy.errors import InputError
    from epitaxy.nn.statistics import statistics_over

    values, segment = torch.ones(3, 2), torch.zeros(3, dtype=torch.int64)
    with pytest.raises(InputError, match="no pooling 'median'"):
        statistics_over.__wrapped__(values, segment, torch.tensor([3]), "median")
