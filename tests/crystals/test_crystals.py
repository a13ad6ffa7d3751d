"""One crystal, a batch and a data set are the same type."""

import numpy as np
import pytest
import torch

from epitaxy.crystals.crystals import Crystals, cat, ragged_rows, segment_of_rows
from epitaxy.crystals.targets import Target
from epitaxy.errors import InputError


@pytest.fixture
def three() -> Crystals:
    counts = torch.tensor([2, 1, 3])
    return Crystals(
        numbers=torch.tensor([11, 17, 26, 22, 8, 8]),
        positions=torch.arange(18, dtype=torch.float64).reshape(6, 3),
        cell=torch.eye(3, dtype=torch.float64) * torch.tensor([4.0, 3.0, 5.0])[:, None, None],
        pbc=torch.tensor([[True] * 3, [True, True, False], [False] * 3]),
        offsets=torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)]),
        targets={
            "gap": Target(torch.tensor([1.0, float("nan"), 3.0]), unit="eV"),
            "forces": Target(torch.arange(18.0).reshape(6, 3), "atom", "eV/Å"),
        },
        inputs={"frozen": torch.arange(12).reshape(6, 2)},
        ids=["salt", "iron", "rutile"],
    )


@pytest.mark.parametrize(
    ("index", "ids"),
    [
        (1, ["iron"]),
        (-1, ["rutile"]),
        (slice(0, 2), ["salt", "iron"]),
        ([2, 0], ["rutile", "salt"]),
        (torch.tensor([True, False, True]), ["salt", "rutile"]),
        (torch.tensor([1, 1]), ["iron", "iron"]),
        ([], []),
        (np.int64(2), ["rutile"]),
        (np.array([2, 0]), ["rutile", "salt"]),
        (np.array([False, True, False]), ["iron"]),
    ],
)
def test_an_index_chooses_crystals(three, index, ids):
    chosen = three[index]
    assert list(chosen.ids) == ids
    assert len(chosen) == len(ids)
    for position, name in enumerate(ids):
        original = ["salt", "iron", "rutile"].index(name)
        here = slice(*chosen.offsets[position : position + 2].tolist())
        there = slice(*three.offsets[original : original + 2].tolist())
        assert torch.equal(chosen.numbers[here], three.numbers[there])
        assert torch.equal(chosen.positions[here], three.positions[there])
        assert torch.equal(chosen.inputs["frozen"][here], three.inputs["frozen"][there])
        forces = chosen.targets["forces"].values[here]
        assert torch.equal(forces, three.targets["forces"].values[there])
        assert torch.equal(chosen.cell[position], three.cell[original])
        assert torch.equal(chosen.pbc[position], three.pbc[original])
    assert chosen.numbers.dtype == torch.int64


def test_an_index_beyond_the_end_is_an_error(three):
    with pytest.raises(IndexError, match=r"out of range for 3"):
        three[[0, 3]]
    with pytest.raises(IndexError, match=r"mask of shape"):
        three[torch.tensor([True, False])]


def test_an_index_may_be_read_only_and_may_not_be_a_fraction(three):
    rows = np.array([2, 0])
    rows.setflags(write=False)
    assert list(three[rows].ids) == ["rutile", "salt"]
    with pytest.raises(IndexError, match="not by fractions"):
        three[np.array([1.7])]


def test_joined_parts_are_the_whole(three):
    whole = cat([three[0], three[[1, 2]]])
    assert list(whole.ids) == list(three.ids)
    assert torch.equal(whole.offsets, three.offsets)
    assert torch.equal(whole.positions, three.positions)
    gaps = whole.targets["gap"].values
    assert torch.equal(gaps.nan_to_num(-1), three.targets["gap"].values.nan_to_num(-1))


def test_a_target_that_a_part_lacks_is_missing_there(three):
    bare = three[1].with_targets({})
    joined = cat([three[0], bare])
    assert joined.targets["gap"].present().tolist() == [True, False]
    assert joined.targets["forces"].present().tolist() == [True, True, False]


def test_parts_that_declare_a_target_differently_do_not_join(three):
    other = three[1].with_targets({"gap": Target(torch.tensor([5.0]), unit="meV")})
    with pytest.raises(InputError, match=r"'gap' is declared differently.*'eV'.*'meV'"):
        cat([three[0], other])


def test_floating_arrays_change_precision_and_integers_do_not(three):
    single = three.to(dtype=torch.float32)
    assert single.positions.dtype == single.cell.dtype == torch.float32
    assert single.targets["gap"].values.dtype == torch.float32
    assert single.numbers.dtype == torch.int64
    assert single.pbc.dtype == torch.bool


def test_values_must_be_as_many_as_crystals_or_atoms(three):
    with pytest.raises(InputError, match=r"'gap' has 2 values for 3 crystals"):
        three.with_targets({"gap": Target(torch.zeros(2))})
    with pytest.raises(InputError, match=r"'magmoms' has 3 values for 6 atoms"):
        three.with_targets({"magmoms": Target(torch.zeros(3), "atom")})


def test_an_unknown_target_is_an_error_that_lists_the_known(three):
    with pytest.raises(InputError, match=r"no target 'bulk'.*gap, forces"):
        three.target("bulk")


def test_volumes_are_those_of_the_cells(three):
    assert three.volumes.tolist() == pytest.approx([64.0, 27.0, 125.0])


@pytest.mark.parametrize("counts", [[3, 0, 0, 2, 1], [0, 2], [], [4], [0], [1, 0]])
def test_every_row_knows_its_segment(counts):
    counts = torch.tensor(counts, dtype=torch.int64)
    offsets = torch.nn.functional.pad(counts.cumsum(0), (1, 0))
    expected = torch.repeat_interleave(torch.arange(len(counts)), counts)
    assert torch.equal(segment_of_rows(offsets, int(counts.sum())), expected)


def test_rows_of_chosen_segments_come_in_their_order():
    rows, offsets = ragged_rows(torch.tensor([0, 2, 2, 5]), torch.tensor([2, 1, 0, 2]))
    assert rows.tolist() == [2, 3, 4, 0, 1, 2, 3, 4]
    assert offsets.tolist() == [0, 3, 3, 5, 8]
