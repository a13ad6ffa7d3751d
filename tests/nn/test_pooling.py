"""Poolings depend on the atoms of a crystal, not on how they are listed."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from epitaxy.crystals.crystals import cat
from epitaxy.nn.pooling import READERS
from epitaxy.nn.set2set import Set2Set
from epitaxy.nn.softmax import softmax_over
from epitaxy.testing import examples

WIDTH = 4


def reader(name):
    torch.manual_seed(0)
    return READERS[name](WIDTH).double()


def pooled(layer, values, crystals):
    return layer(values, crystals.crystal_of_atom, crystals.atom_counts)


def values_of(crystals):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(crystals.atom_total, WIDTH, generator=generator, dtype=torch.float64)


def repeated(crystals, times):
    offsets = crystals.offsets * times
    order = torch.cat([torch.arange(a, b).repeat(times) for a, b in ends(crystals)])
    numbers, positions = crystals.numbers[order], crystals.positions[order]
    return replace(crystals, numbers=numbers, positions=positions, offsets=offsets), order


def ends(crystals):
    return list(zip(crystals.offsets[:-1].tolist(), crystals.offsets[1:].tolist(), strict=True))


@pytest.mark.parametrize("name", READERS)
def test_they_ignore_the_order_of_the_atoms_and_the_size_of_the_cell(name):
    crystals, layer = examples.low_symmetry_crystals(), reader(name)
    values = values_of(crystals)
    expected = pooled(layer, values, crystals)
    assert expected.shape == (3, layer.outputs)
    other, order = examples.reordered(crystals)
    torch.testing.assert_close(pooled(layer, values[order], other), expected)
    larger, order = repeated(crystals, 3)
    torch.testing.assert_close(pooled(layer, values[order], larger), expected)


@pytest.mark.parametrize("name", READERS)
def test_a_crystal_is_read_alone_as_in_a_batch(name):
    crystals, layer = examples.low_symmetry_crystals(), reader(name)
    values = values_of(crystals)
    together = pooled(layer, values, crystals)
    for index, (first, last) in enumerate(ends(crystals)):
        alone = pooled(layer, values[first:last], crystals[index])
        torch.testing.assert_close(alone[0], together[index])


@pytest.mark.parametrize("name", READERS)
def test_they_tell_crystals_of_one_mean_apart_or_are_a_mean_with_weights(name):
    crystals = examples.low_symmetry_crystals()[0]
    apart = torch.tensor([[1.0], [-1.0]], dtype=torch.float64).expand(2, WIDTH)
    wide, narrow = (pooled(reader(name), size * apart, crystals) for size in (1.0, 0.1))
    assert float((wide - narrow).detach().abs().max()) > 1e-3


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("case", ["one atom", "equal atoms", "any atoms"])
def test_derivatives_are_finite_and_have_their_own_of_finite_differences(name, case):
    crystals = examples.one_atom_crystals() if case == "one atom" else repeated_pair()
    values = values_of(crystals)
    if case == "equal atoms":
        values = values[:1].expand(len(values), WIDTH)
    leaf, layer = values.clone().requires_grad_(), reader(name)

    def of(rows):
        return pooled(layer, rows, crystals)

    assert torch.autograd.gradcheck(of, leaf)
    assert torch.autograd.gradgradcheck(of, leaf)


def repeated_pair():
    return cat([examples.low_symmetry_crystals()[0], examples.low_symmetry_crystals()[1]])


def test_cumulants_are_mean_variance_and_third_central_moment():
    crystals = examples.low_symmetry_crystals()
    values = values_of(crystals)
    found = pooled(reader("cumulants"), values, crystals)
    for (first, last), row in zip(ends(crystals), found, strict=True):
        of = values[first:last]
        variance = of.var(0, unbiased=False)
        third = (of**3).mean(0) - 3 * of.mean(0) * variance - of.mean(0) ** 3
        torch.testing.assert_close(row, torch.cat([of.mean(0), variance, third]))


def test_attention_prefers_the_atoms_that_score_high():
    layer = reader("attention")
    with torch.no_grad():
        layer.content.weight.copy_(torch.eye(WIDTH))
        layer.gate.weight.zero_()
        layer.gate.bias.fill_(50.0)
        layer.content.bias.zero_()
        layer.score.weight.copy_(torch.tensor([[3.0, 0.0, 0.0, 0.0]]))
    crystals = examples.low_symmetry_crystals()[0]
    values = torch.tensor([[0.5, 1.0, 0.0, 0.0], [-0.5, 0.0, 1.0, 0.0]], dtype=torch.float64)
    weights = torch.softmax(3.0 * torch.tanh(values[:, 0]), 0)
    torch.testing.assert_close(pooled(layer, values, crystals)[0], weights @ values)


def test_set2set_is_what_the_equations_say_written_gate_by_gate():
    torch.manual_seed(1)
    layer, crystals = Set2Set(WIDTH, steps=2).double(), examples.low_symmetry_crystals()
    values = values_of(crystals)
    found = pooled(layer, values, crystals)
    cell = layer.query
    for (first, last), row in zip(ends(crystals), found, strict=True):
        of = values[first:last]
        read, query = torch.zeros(2 * WIDTH).double(), torch.zeros(WIDTH).double()
        memory = torch.zeros(WIDTH).double()
        for _ in range(2):
            gates = cell.weight_ih @ read + cell.bias_ih + cell.weight_hh @ query + cell.bias_hh
            enter, forget, change, leave = gates.chunk(4)
            memory = torch.sigmoid(forget) * memory + torch.sigmoid(enter) * torch.tanh(change)
            query = torch.sigmoid(leave) * torch.tanh(memory)
            read = torch.cat([query, torch.softmax(of @ query, 0) @ of])
        torch.testing.assert_close(row, read)


def test_set2set_of_nothing_is_finite():
    layer = Set2Set(WIDTH).double()
    nothing = torch.zeros(0, WIDTH, dtype=torch.float64)
    counts = torch.zeros(2, dtype=torch.int64)
    found = layer(nothing, torch.zeros(0, dtype=torch.int64), counts)
    assert torch.isfinite(found).all()
    assert not found[:, WIDTH:].any()


@pytest.mark.parametrize("size", [0.0, 1e3, -1e3])
def test_a_softmax_over_segments_in_any_order_is_a_softmax_of_each(size):
    segment = torch.tensor([1, 0, 1, 3, 1, 0])
    scores = torch.tensor([0.3, -1.0, 2.0, 0.5, -0.7, 0.1], dtype=torch.float64) + size
    found = softmax_over(scores, segment, 4)
    for number in (0, 1, 3):
        torch.testing.assert_close(
            found[segment == number], torch.softmax(scores[segment == number], 0)
        )


@pytest.mark.parametrize("name", READERS)
def test_they_work_in_mixed_precision(name):
    crystals = examples.low_symmetry_crystals()
    model = nn.Sequential(nn.Linear(WIDTH, WIDTH))
    layer = READERS[name](WIDTH)
    with torch.autocast("cpu", torch.bfloat16):
        found = pooled(layer, model(values_of(crystals).float()), crystals)
    assert torch.isfinite(found).all()
