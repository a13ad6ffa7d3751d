"""Splits are recorded by id, and read back against the data that they are used on."""

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

import epitaxy as ep
from epitaxy.crystals.targets import Target
from epitaxy.datasets.splits import Split, read_splits, unseen_elements
from epitaxy.errors import InputError


@pytest.fixture(scope="module")
def splits(crystals):
    return ep.split(crystals, "formula", folds=3, seeds=2, validation=0.1)


def test_what_is_written_is_read_back(splits, crystals, tmp_path):
    path = splits.write(tmp_path / "deep" / "split.json")
    found = read_splits(path, crystals)
    assert found == splits
    assert found[0].groups == splits[0].groups
    assert [one.label for one in found] == [
        {"seed": seed, "fold": fold} for seed in (0, 1) for fold in range(3)
    ]
    assert [file.name for file in path.parent.iterdir()] == ["split.json"]
    written = json.loads(path.read_text())
    assert written["protocol"] == "formula"
    assert written["settings"]["validation"] == 0.1
    assert set(written["splits"][0]["test"]) <= set(crystals.ids)


def test_numbers_of_numpy_are_written_as_numbers(splits, tmp_path):
    made = replace(splits, settings={"train": np.int64(20), "test": np.float32(0.5)})
    assert read_splits(made.write(tmp_path / "split.json")).settings == {"train": 20, "test": 0.5}


def test_the_fingerprint_is_of_structures_and_ids_not_of_targets(splits, crystals, tmp_path):
    path = splits.write(tmp_path / "split.json")
    labels = {"other": Target(torch.zeros(len(crystals)))}
    read_splits(path, crystals.with_targets(labels))
    moved = replace(crystals, positions=crystals.positions + 0.01)
    with pytest.warns(UserWarning, match="not exactly those that were split"):
        read_splits(path, moved)


def test_ids_that_are_not_there_are_named(splits, crystals, tmp_path):
    path = splits.write(tmp_path / "split.json")
    with pytest.raises(InputError, match=rf"split \(seed 0, fold 0\): 1 .*'{crystals.ids[5]}'"):
        read_splits(path, crystals[[i for i in range(len(crystals)) if i != 5]])
    twice = replace(crystals, ids=[crystals.ids[0], crystals.ids[0], *crystals.ids[2:]])
    with pytest.raises(InputError, match=f"more than once.*'{crystals.ids[0]}'"):
        read_splits(path, twice)


def test_no_id_stands_twice_in_a_split(splits, crystals, tmp_path):
    with pytest.raises(InputError, match="1 ids stand in it more than once: 'b'"):
        Split(("a", "b"), (), ("b",))
    path = splits.write(tmp_path / "split.json")
    damaged = json.loads(path.read_text())
    damaged["splits"][3]["train"].append(damaged["splits"][3]["test"][0])
    path.write_text(json.dumps(damaged))
    with pytest.raises(InputError, match=r"split.json: split \(seed 1, fold 0\): 1 ids"):
        read_splits(path)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "holds no splits, or is damaged"),
        ("[1]", "holds no splits"),
        ('{"format": "epitaxy splits 9"}', "format 'epitaxy splits 9'"),
        ('{"format": "epitaxy splits 1", "splits": []}', "KeyError: 'protocol'"),
    ],
)
def test_files_that_are_none_of_ours_are_refused(tmp_path, text, complaint):
    path = tmp_path / "split.json"
    path.write_text(text)
    with pytest.raises(InputError, match=complaint):
        read_splits(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_splits(tmp_path / "nowhere.json")


def test_parts_are_crystals_of_those_ids(splits, crystals):
    split = splits[0]
    train, validation, test = split.of(crystals)
    assert (tuple(train.ids), tuple(validation.ids)) == (split.train, split.validation)
    backwards = crystals[list(range(len(crystals)))[::-1]]
    again = split.of(backwards)[2]
    assert tuple(again.ids) == split.test
    torch.testing.assert_close(again.positions, test.positions)


def test_smaller_training_parts_lie_within_larger_ones(splits):
    split = splits[0]
    subsets = [split.subset(size, seed=3) for size in (5, 10, 0.5, 1.0)]
    sizes = [one.sizes[0] for one in subsets]
    assert sizes == [5, 10, round(0.5 * len(split.train)), len(split.train)]
    for smaller, larger in pairwise(subsets):
        assert set(smaller.train) < set(larger.train)
        assert (smaller.validation, smaller.test) == (split.validation, split.test)
    assert split.subset(5, seed=4).train != subsets[0].train
    for size in (0, len(split.train) + 1, 1.5, True):
        with pytest.raises(InputError, match="train_size = "):
            split.subset(size)


def test_elements_that_the_training_part_lacks_are_counted(crystals):
    (split,) = ep.split(crystals, "element", left_out="O", validation=0.0)
    missing = unseen_elements(split, crystals)
    assert next(iter(missing)) == "O"
    assert missing["O"] == len(split.test)
