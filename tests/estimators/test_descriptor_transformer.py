"""A fingerprint behaves as scikit-learn expects of a transformer."""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from epitaxy.crystals.exchange import to_ase, to_pymatgen, write_parquet
from epitaxy.crystals.neighbors import build_graph
from epitaxy.datasets.bundled import bundled
from epitaxy.descriptors import WACSF
from epitaxy.errors import InputError, RecipeError
from epitaxy.estimators import DescriptorTransformer
from epitaxy.nn.statistics import statistics_over_atoms
from epitaxy.testing import examples


@pytest.fixture(scope="module")
def crystals():
    return bundled()[:6].with_targets({})


@pytest.fixture(scope="module")
def rows(crystals):
    return DescriptorTransformer("wacsf", preset="set2").fit_transform(crystals)


def test_crystals_objects_and_files_give_the_same_rows(crystals, rows, tmp_path):
    path = tmp_path / "some.parquet"
    write_parquet(crystals, path)
    transformer = DescriptorTransformer("wacsf", preset="set2").fit(None)
    parts = [crystals[index] for index in range(len(crystals))]
    for source in (to_ase(crystals), to_pymatgen(crystals), path, str(path), parts):
        np.testing.assert_allclose(transformer.transform(source), rows, rtol=1e-5)


def test_atoms_are_described_one_by_one(crystals):
    transformer = DescriptorTransformer({"name": "wacsf"}, level="atom", dtype="float64")
    found = transformer.fit_transform(crystals)
    expected = WACSF()(build_graph(crystals.to(dtype=torch.float64), 8.0)).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("pooling", "blocks"), [("mean", 1), ("sum", 1), ("extremes", 2), ("cumulants", 3)]
)
def test_columns_are_named(crystals, pooling, blocks):
    transformer = DescriptorTransformer(WACSF.preset("set2"), pooling=pooling).fit(None)
    names = transformer.get_feature_names_out()
    assert len(set(names)) == len(names) == 20 * blocks
    assert transformer.transform(crystals).shape == (6, 20 * blocks)
    table = transformer.set_output(transform="pandas").transform(crystals)
    assert list(table.columns) == list(names)


@pytest.mark.parametrize("pooling", ["mean", "extremes", "cumulants"])
def test_statistics_do_not_depend_on_the_size_of_the_cell(pooling):
    crystals = examples.low_symmetry_crystals()
    larger, sources = examples.supercell(crystals)
    values = torch.randn(crystals.atom_total, 4, dtype=torch.float64)
    small = statistics_over_atoms(values, crystals, pooling)
    large = statistics_over_atoms(values[sources], larger, pooling)
    torch.testing.assert_close(small, large)


def test_cumulants_are_those_of_the_textbook():
    crystals = examples.low_symmetry_crystals()[2]
    values = torch.randn(crystals.atom_total, 1, dtype=torch.float64)
    mean = values.mean()
    expected = [mean, ((values - mean) ** 2).mean(), ((values - mean) ** 3).mean()]
    torch.testing.assert_close(
        statistics_over_atoms(values, crystals, "cumulants")[0], torch.stack(expected)
    )


def test_it_can_be_cloned_and_stand_in_a_pipeline(crystals, rows):
    transformer = DescriptorTransformer("wacsf", preset="set2")
    assert clone(transformer).get_params() == transformer.get_params()
    assert clone(DescriptorTransformer(WACSF())).descriptor == WACSF()
    pipeline = make_pipeline(transformer, StandardScaler(), Ridge())
    y = np.arange(6.0)
    expected = make_pipeline(StandardScaler(), Ridge()).fit(rows, y).predict(rows)
    np.testing.assert_allclose(pipeline.fit(crystals, y).predict(crystals), expected, rtol=1e-5)
    assert cross_val_predict(clone(pipeline), to_ase(crystals), y, cv=3).shape == (6,)


def test_wrong_arguments_are_named(crystals):
    for wrong, complaint in (
        ({"level": "bond"}, "level is 'crystal' or 'atom', not 'bond'"),
        ({"pooling": "median"}, "no pooling 'median'"),
        ({"dtype": "int8"}, "dtype is"),
    ):
        with pytest.raises(InputError, match=complaint):
            DescriptorTransformer().set_params(**wrong).fit(crystals)
    with pytest.raises(RecipeError, match="Did you mean 'wacsf'"):
        DescriptorTransformer("wacfs").fit(crystals)
    with pytest.raises(InputError, match="needs a descriptor's name"):
        DescriptorTransformer(WACSF(), preset="set1").fit(crystals)
