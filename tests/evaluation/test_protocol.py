import json

import pytest

from epitaxy.datasets.splits import Split
from epitaxy.errors import InputError
from epitaxy.evaluation.protocol import given_protocol, make_protocol


def test_parts_never_overlap_and_the_test_set_is_the_same_for_all_seeds():
    protocol = make_protocol(500, seeds=4, train_size=120)
    test = set(protocol.test)
    assert len(test) == 100
    for split in protocol.seeds.values():
        train, validation = set(split.train), set(split.validation)
        assert (len(train), len(validation)) == (120, 24)
        assert not train & validation
        assert not (train | validation) & test


def test_seeds_draw_different_crystals_and_more_seeds_leave_the_first_as_they_were():
    few, many = (make_protocol(500, seeds=count, train_size=120) for count in (2, 4))
    assert few.seeds[0] == many.seeds[0]
    assert few.seeds[0] != few.seeds[1]
    assert few.test == many.test


def test_another_split_seed_draws_another_test_set():
    assert make_protocol(500, 2).test != make_protocol(500, 2, split_seed=1).test


def test_without_a_size_all_crystals_are_used():
    protocol = make_protocol(400, seeds=1)
    split = protocol.seeds[0]
    assert len(protocol.test) + len(split.train) + len(split.validation) == 400


@pytest.mark.parametrize(
    ("count", "sizes", "message"),
    [
        (20, {}, "too few to compare"),
        (400, {"train_size": 380}, "more than the 320"),
        (400, {"train_size": 3}, "for training are too few"),
    ],
)
def test_sizes_that_do_not_fit_say_what_there_is(count, sizes, message):
    with pytest.raises(InputError, match=message):
        make_protocol(count, 3, **sizes)


def test_a_given_split_is_kept_to():
    ids = tuple(f"crystal-{row}" for row in range(100))
    split = Split(train=ids[40:], validation=ids[20:40], test=ids[:20])
    protocol = given_protocol([split], ids, seeds=3, train_size=30)
    assert protocol.test == tuple(range(20))
    for part in protocol.seeds.values():
        assert part.validation == tuple(range(20, 40))
        assert len(part.train) == 30
        assert set(part.train) <= set(range(40, 100))
    assert protocol.seeds[0].train != protocol.seeds[1].train
    assert len(given_protocol([split], ids, seeds=1).seeds[0].train) == 60


def test_a_given_split_without_a_validation_part_chooses_by_training_crystals():
    ids = tuple(f"crystal-{row}" for row in range(100))
    split = Split(train=ids[20:], validation=(), test=ids[:20])
    part = given_protocol([split], ids, seeds=1).seeds[0]
    assert (len(part.train), len(part.validation)) == (64, 16)
    assert not set(part.train) & set(part.validation)
    assert not {*part.train, *part.validation} & set(range(20))


def test_crystals_without_the_target_leave_a_given_split():
    ids = tuple(f"crystal-{row}" for row in range(100))
    split = Split(train=ids[40:], validation=ids[20:40], test=ids[:20])
    protocol = given_protocol([split], ids[1:90], seeds=1)
    assert len(protocol.test) == 19
    assert len(protocol.seeds[0].train) == 50


def test_a_given_split_of_folds_is_refused_with_the_way_out():
    ids = tuple(f"crystal-{row}" for row in range(100))
    folds = [
        Split(train=ids[50:], validation=(), test=ids[:50]),
        Split(train=ids[:50], validation=(), test=ids[50:]),
    ]
    with pytest.raises(InputError, match="2 splits with 2 test sets: a comparison has one"):
        given_protocol(folds, ids, seeds=1)


@pytest.mark.parametrize(
    ("train", "message"), [(45, "more than the 40"), (5, "the split has 5 crystals for training")]
)
def test_sizes_that_do_not_fit_a_given_split_say_what_there_is(train, message):
    ids = tuple(f"crystal-{row}" for row in range(100))
    split = Split(train=ids[60:], validation=ids[20:60], test=ids[:20])
    with pytest.raises(InputError, match=message):
        given_protocol([split], ids, seeds=1, train_size=train)


def test_the_split_is_written_by_id(tmp_path):
    protocol = make_protocol(100, seeds=1)
    ids = [f"crystal-{row}" for row in range(100)]
    protocol.write(tmp_path / "splits.json", ids)
    written = json.loads((tmp_path / "splits.json").read_text())
    assert written["test"] == [ids[row] for row in protocol.test]
