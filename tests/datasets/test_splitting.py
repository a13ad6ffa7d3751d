"""Every protocol keeps its promise about what is on both sides."""

import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.model_selection import KFold, StratifiedKFold

import epitaxy as ep
from epitaxy.crystals.crystals import cat
from epitaxy.crystals.exchange import to_ase, write_parquet
from epitaxy.crystals.targets import Target
from epitaxy.datasets.bundled import bundled
from epitaxy.datasets.grouping import chemical_systems, prototypes, reduced_formulas
from epitaxy.datasets.matbench import matbench_folds
from epitaxy.errors import InputError


@pytest.fixture(scope="module")
def some():
    return bundled()[::8].with_targets({})


def sides(split, crystals, labels):
    labels = np.array(labels)
    return [set(labels[rows]) for rows in split.rows(crystals)]


@pytest.mark.parametrize("folds", [None, 4])
@pytest.mark.parametrize(
    ("protocol", "labels_of"),
    [
        ("random", lambda crystals: crystals.ids),
        ("formula", reduced_formulas),
        ("chemical_system", chemical_systems),
    ],
)
def test_no_group_is_on_two_sides_and_sizes_are_as_asked(some, protocol, labels_of, folds):
    made = ep.split(some, protocol, validation=0.1, seeds=2, folds=folds)
    count = len(some)
    for split in made:
        train, validation, test = sides(split, some, labels_of(some))
        assert not train & validation
        assert not (train | validation) & test
        wanted = count * (0.2 if folds is None else 0.25)
        assert split.sizes[2] == pytest.approx(wanted, abs=1)
        assert split.sizes[1] == round(0.1 * count)
        assert sum(split.sizes) == count
    if folds:
        for seed in (0, 1):
            tested = [name for one in made if one.label["seed"] == seed for name in one.test]
            assert sorted(tested) == sorted(some.ids)


def test_prototypes_are_not_on_two_sides(crystals):
    labels = prototypes(crystals)
    assert len(set(labels)) < len(labels)
    (split,) = ep.split(crystals, "prototype", validation=0)
    train, _, test = sides(split, crystals, labels)
    assert not train & test


def test_the_seed_decides_and_is_all_that_does(some):
    one, same, other = (ep.split(some, "formula", seed=seed)[0] for seed in (3, 3, 4))
    assert one == same
    assert one.test != other.test
    assert ep.split(some, "formula", seed=3, seeds=2)[1].test == other.test


def test_sizes_of_the_papers():
    crystals = bundled()[:1000]
    assert ep.split(crystals)[0].sizes == (600, 200, 200)
    pretraining = ep.split(crystals, train=0.8, validation=0.05, test=0.15)
    assert pretraining[0].sizes == (800, 50, 150)
    assert ep.split(crystals, train=30, validation=20, test=0.1)[0].sizes == (30, 20, 100)


def test_one_huge_group_is_warned_of():
    crystals = bundled()[:40]
    times = [2001] * 30 + list(range(2002, 2012))
    with pytest.warns(UserWarning, match="30 of 40 crystals"):
        made = ep.split(crystals, "time", times=times, test=0.5, validation=0)
    assert made[0].sizes == (30, 0, 10)
    assert made.notes


def test_the_element_left_out_is_in_no_training(some):
    made = ep.split(some, "element", left_out=["Fe", "O-S"], validation=0.1, seeds=2)
    assert [one.label for one in made] == [
        {"left_out": out, "seed": seed} for out in ("Fe", "O-S") for seed in (0, 1)
    ]
    for split in made:
        left_out = {26} if split.label["left_out"] == "Fe" else {8, 16}
        train, validation, test = split.of(some)
        for part in (train, validation):
            assert not left_out & set(part.numbers.tolist())
        assert all(left_out & set(test[index].numbers.tolist()) for index in range(len(test)))
        assert sum(split.sizes) == len(some)
    assert made[0].train != made[1].train
    with pytest.raises(InputError, match="no crystal contains He"):
        ep.split(some, "element", left_out="He")


def test_the_future_is_tested_and_never_trained_on(some):
    years = np.random.default_rng(0).integers(1990, 2020, len(some))
    (split,) = ep.split(some, "time", times=years)
    train, validation, test = (years[rows] for rows in split.rows(some))
    assert train.max() < validation.min()
    assert validation.max() < test.min()
    days = np.random.default_rng(0).permutation(len(some))
    folds = ep.split(some, "time", times=days, folds=3, validation=0)
    for earlier, later in pairwise(folds):
        assert set(earlier.train) | set(earlier.test) == set(later.train)


def test_dates_are_read_from_a_column_or_a_target(tmp_path):
    crystals = bundled()[:12].with_targets({})
    dates = [f"20{10 + row}-0{1 + row % 9}-11" for row in range(12)]
    lines = ["id,file,found"]
    for name, atoms, date in zip(crystals.ids, to_ase(crystals), dates, strict=True):
        atoms.write(tmp_path / f"{name}.cif")
        lines.append(f"{name},{name}.cif,{date}")
    (tmp_path / "table.csv").write_text("\n".join(lines))
    from_table = ep.split(tmp_path / "table.csv", "time", column="found", validation=0)
    years = Target(torch.arange(2010.0, 2022.0))
    from_target = ep.split(crystals.with_targets({"y": years}), "time", column="y", validation=0)
    assert from_table[0] == from_target[0]
    assert from_table[0].test == tuple(crystals.ids[10:])
    with pytest.raises(InputError, match=r"no column 'foud'.*found"):
        ep.split(tmp_path / "table.csv", "time", column="foud")
    with pytest.raises(InputError, match=f"1 crystals have no year.*'{crystals.ids[3]}'"):
        ep.split(crystals, "time", times=[*dates[:3], None, *dates[4:]])


def test_the_same_structure_in_another_cell_is_kept_on_one_side(some):
    few = some[:10]
    twins = bundled()[::8].with_targets({})[:10]
    rotation = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))[0].to(few.cell.dtype)
    twins = type(few)(
        numbers=twins.numbers,
        positions=(twins.positions + 0.3) @ rotation,
        cell=twins.cell @ rotation,
        pbc=twins.pbc,
        offsets=twins.offsets,
        ids=[f"twin of {name}" for name in twins.ids],
    )
    both = cat([few, twins])
    split = ep.split(both, "random", keep_together="structure", seed=1)[0]
    for part in (split.train, split.validation, split.test):
        assert {f"twin of {name}" for name in part if name in few.ids} == {
            name for name in part if name not in few.ids
        }
    assert split.groups is not None
    apart = ep.split(both, "random", seed=1)[0]
    assert {f"twin of {name}" for name in apart.test if name in few.ids} != {
        name for name in apart.test if name not in few.ids
    }


def test_matbench_folds_are_those_of_scikit_learn():
    rows = np.arange(636)
    expected = KFold(n_splits=5, shuffle=True, random_state=18012019).split(rows)
    for (train, test), (right_train, right_test) in zip(matbench_folds(636), expected, strict=True):
        np.testing.assert_array_equal(train, right_train)
        np.testing.assert_array_equal(test, right_test)
    classes = np.arange(1000) % 7 == 0
    stratified = StratifiedKFold(n_splits=5, shuffle=True, random_state=18012019)
    for (train, test), (right_train, right_test) in zip(
        matbench_folds(1000, classes), stratified.split(np.zeros(1000), classes), strict=True
    ):
        np.testing.assert_array_equal(train, right_train)
        np.testing.assert_array_equal(test, right_test)


def test_matbench_protocol_yields_its_folds_and_draws_what_is_validated_on(some):
    made = ep.split(some, "matbench", validation=0.1, seeds=2)
    for split in made:
        train, test = matbench_folds(len(some))[split.label["fold"]]
        found = split.rows(some)
        np.testing.assert_array_equal(found[2], test)
        np.testing.assert_array_equal(np.sort(np.concatenate(found[:2])), train)
    assert made[0].validation != made[5].validation
    plain = ep.split(some, "matbench")
    assert [one.sizes[1] for one in plain] == [0] * 5


def test_matbench_rows_are_told_by_id_where_some_are_missing():
    row = bundled()[0].with_targets({})
    chosen = [5, 2, 630]
    some = cat([row] * 3)
    for ids in ([f"mb-jdft2d-{k + 1:03d}" for k in chosen], [str(k) for k in chosen]):
        given = type(some)(some.numbers, some.positions, some.cell, some.pbc, some.offsets, ids=ids)
        for fold, split in enumerate(ep.split(given, "matbench", task="jdft2d")):
            tested = matbench_folds(636)[fold][1]
            assert {ids[k] for k in range(3) if chosen[k] in tested} == set(split.test)
    with pytest.raises(InputError, match="has 636 rows, and 64 crystals"):
        ep.split(bundled()[:64], "matbench", task="matbench_jdft2d")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"protocol": "formual"}, "Did you mean 'formula'"),
        ({"protocol": "random", "left_out": "Fe"}, "left_out = .* does not belong to .*'random'"),
        ({"protocol": "element"}, "name the element"),
        ({"protocol": "element", "left_out": "Fe", "test": 0.2}, "test = 0.2 does not belong"),
        ({"protocol": "time"}, "needs a column"),
        ({"protocol": "time", "times": [1] * 64, "seeds": 2}, "leaves nothing to chance"),
        ({"protocol": "matbench", "seeds": 2}, "leaves nothing to chance"),
        ({"protocol": "matbench", "folds": 3}, "folds = 3 does not belong"),
        ({"folds": 4, "test": 0.2}, "leave 'test' out"),
        ({"test": 0.7, "validation": 0.3}, "leave nothing to train on"),
        ({"train": 0.7}, "more than the 64 crystals"),
        ({"keep_together": "formula"}, "keep_together is 'structure'"),
        ({"protocol": "formula", "folds": 100}, "groups cannot make 100 folds"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_way_out(crystals, arguments, complaint):
    with pytest.raises(InputError, match=complaint):
        ep.split(crystals, **arguments)


def test_a_file_gives_the_split_of_its_crystals(some, tmp_path):
    path = tmp_path / "some.parquet"
    write_parquet(some, path)
    assert ep.split(path, "formula") == ep.split(some, "formula")


def test_the_page_about_splits_runs_as_printed(tmp_path, monkeypatch):
    page = Path(__file__).parents[2] / "docs" / "splits.md"
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.S)
    assert len(blocks) == 3
    exec("".join(blocks), {})
    assert {path.name for path in tmp_path.iterdir()} == {"split.json", "results.json.gz"}
