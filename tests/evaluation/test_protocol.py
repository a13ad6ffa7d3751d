import json

import pytest

from epitaxy.errors import InputError
from epitaxy.evaluation.protocol import make_protocol


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


def test_the_split_is_written_by_id(tmp_path):
    protocol = make_protocol(100, seeds=1)
    ids = [f"crystal-{row}" for row in range(100)]
    protocol.write(tmp_path / "splits.json", ids)
    written = json.loads((tmp_path / "splits.json").read_text())
    assert written["test"] == [ids[row] for row in protocol.test]
