"""``epitaxy data split`` writes a file and prints what is in it."""

import pytest
from typer.testing import CliRunner

from epitaxy.cli.data import data
from epitaxy.crystals.exchange import write_parquet
from epitaxy.datasets.bundled import bundled
from epitaxy.datasets.splits import read_splits
from epitaxy.errors import InputError


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("split") / "some.parquet"
    write_parquet(bundled()[::40], path)
    return path


def printed(*arguments):
    result = CliRunner().invoke(data, ["split", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


def test_sizes_groups_and_coverage_are_printed(source, tmp_path):
    out = tmp_path / "split.json"
    options = ["--protocol", "chemical_system", "--folds", "3", "--validation", "10%"]
    text = printed(source, "-o", out, *options)
    splits = read_splits(out, bundled()[::40])
    assert len(splits) == 3
    assert f"60 crystals in {splits.groups} groups" in text
    for split in splits:
        row = next(
            line
            for line in text.splitlines()
            if line.split()[:2] == ["0", str(split.label["fold"])]
        )
        assert row.split()[2:5] == [str(size) for size in split.sizes]
        assert " / ".join(map(str, split.groups)) in row
        assert split.sizes[1] == 6


def test_the_element_left_out_is_what_the_training_part_lacks(source, tmp_path):
    few = bundled()[::40]
    text = printed(source, "-o", tmp_path / "s.json", "-p", "element", "--left-out", "O")
    tested = sum(8 in one.numbers for one in (few[k] for k in range(len(few))))
    assert f"O ({tested})" in text


def test_training_sizes_are_numbers_or_fractions(source, tmp_path):
    out = tmp_path / "s.json"
    printed(source, "-o", out, "--train-size", "7", "--train-size", "50%", "--test", "12")
    assert [one.sizes for one in read_splits(out)] == [(7, 12, 12), (18, 12, 12)]


def test_a_size_that_is_none_is_named(source, tmp_path):
    with pytest.raises(InputError, match="a size of 'many' is not understood"):
        printed(source, "-o", tmp_path / "s.json", "--test", "many")
    assert not (tmp_path / "s.json").exists()
