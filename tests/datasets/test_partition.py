"""Groups go to parts as near to the sizes asked for as whole groups allow."""

import itertools

import numpy as np
import pytest

from epitaxy.datasets.partition import _nearest, cuts_of, folds_of, parts_of, size_of
from epitaxy.errors import InputError


@pytest.mark.parametrize("seed", range(30))
def test_no_other_choice_of_groups_comes_nearer(seed):
    """Against all subsets of the groups that fit."""
    generator = np.random.default_rng(seed)
    sizes = generator.integers(1, 12, size=9)
    wanted = int(generator.integers(1, 20))
    order = generator.permutation(9)
    chosen = _nearest(sizes, wanted, order)
    assert len(set(chosen.tolist())) == len(chosen)
    fitting = [size for size in sizes.tolist() if size <= wanted] or [int(sizes.min())]
    sums = [
        sum(some) for k in range(1, len(fitting) + 1) for some in itertools.combinations(fitting, k)
    ]
    assert abs(int(sizes[chosen].sum()) - wanted) == min(abs(one - wanted) for one in sums)


def test_sizes_are_met_exactly_where_small_groups_allow():
    sizes = np.array([40, 17, 9, 5, 3, 2, *[1] * 24])
    for seed in range(10):
        train, validation, test = parts_of(sizes, None, 20, 20, np.random.RandomState(seed))
        assert (sizes[validation].sum(), sizes[test].sum()) == (20, 20)
        assert sorted([*train, *validation, *test]) == list(range(len(sizes)))


def test_one_huge_group_is_trained_on_and_the_rest_is_shared():
    sizes = np.array([90, *[1] * 10])
    train, validation, test = parts_of(sizes, None, 20, 20, np.random.RandomState(0))
    assert train.tolist() == [0]
    assert (len(validation), len(test)) == (5, 5)


def test_every_group_is_drawn_equally_often():
    counts = np.zeros(20)
    for seed in range(400):
        counts[parts_of(np.ones(20, dtype=int), None, 0, 5, np.random.RandomState(seed))[2]] += 1
    assert 60 < counts.min() <= counts.max() < 140  # 100 expected, deviation 8.7


def test_a_part_is_never_silently_empty():
    with pytest.raises(InputError, match="leave nothing for the validation part"):
        parts_of(np.array([50]), 0, 10, 10, np.random.RandomState(0))
    with pytest.raises(InputError, match="leave nothing for the training part"):
        parts_of(np.array([50, 50]), None, 10, 10, np.random.RandomState(0))


def test_folds_hold_every_group_once_and_are_as_equal_as_can_be():
    sizes = np.array([7, 7, 5, 4, 4, 3, 3, 2, 1])
    folds = folds_of(sizes, 3, np.random.RandomState(1))
    assert sorted(np.concatenate(folds)) == list(range(9))
    assert sorted(int(sizes[fold].sum()) for fold in folds) == [12, 12, 12]
    equal = folds_of(np.ones(11, dtype=int), 4, np.random.RandomState(1))
    assert sorted(len(fold) for fold in equal) == [2, 3, 3, 3]
    with pytest.raises(InputError, match="2 groups cannot make 3 folds"):
        folds_of(np.array([5, 5]), 3, np.random.RandomState(1))


def test_times_are_cut_where_the_sizes_are_nearest():
    sizes = np.array([10, 4, 3, 6, 5, 2])
    train, validation, test = cuts_of(sizes, (None, 6, 7))
    assert [some.tolist() for some in (train, validation, test)] == [[0, 1, 2], [3], [4, 5]]
    late, none, held = cuts_of(sizes, (5, 0, 2))
    assert [some.tolist() for some in (late, none, held)] == [[4], [], [5]]
    with pytest.raises(InputError, match="2 different times cannot make 3 parts"):
        cuts_of(np.array([5, 5]), (None, 1, 1))


@pytest.mark.parametrize(("share", "size"), [(0.25, 10), (7, 7), (0, 0), (1.0, 40), (1, 1)])
def test_fractions_and_numbers_are_told_apart(share, size):
    assert size_of(share, 40, "test") == size


@pytest.mark.parametrize("share", [1.5, -0.1, 41, -1, True, float("nan")])
def test_sizes_that_cannot_be_are_named(share):
    with pytest.raises(InputError, match="test = "):
        size_of(share, 40, "test")
