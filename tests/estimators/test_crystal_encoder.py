"""A frozen network behaves as scikit-learn expects of a transformer."""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from epitaxy.backbones import TorchMDET
from epitaxy.crystals.exchange import to_ase, to_pymatgen
from epitaxy.errors import InputError
from epitaxy.estimators import CrystalEncoder
from epitaxy.training.checkpoint import Model, save_model
from epitaxy.training.coverage import Coverage
from epitaxy.training.embed import embed


@pytest.fixture(scope="module")
def some(crystals):
    return crystals[:6].with_targets({})


@pytest.fixture(scope="module")
def model(some):
    torch.manual_seed(0)
    backbone = TorchMDET(width=8, layers=1, heads=2, radial=6, cutoff=3.5).eval()
    return Model(backbone, (), nn.ModuleList(), Coverage.of(some))


def test_rows_are_those_of_embed_from_any_kind_of_object(model, some):
    encoder = CrystalEncoder(model, layer="01", pooling="extremes").fit(None)
    table = embed(model, some, layer="01", pooling="extremes")
    names = list(encoder.get_feature_names_out())
    assert names == list(table.columns[2:])
    assert encoder.n_features_out_ == len(names) == 32
    for source in (some, to_ase(some), to_pymatgen(some)):
        np.testing.assert_allclose(encoder.transform(source), table[names], rtol=1e-3, atol=1e-4)
    framed = encoder.set_output(transform="pandas").transform(some)
    assert list(framed.columns) == names


def test_atoms_are_rows_and_nothing_has_no_rows(model, some):
    encoder = CrystalEncoder(model, level="atom").fit(None)
    assert encoder.transform(some).shape == (some.atom_total, 8)
    assert encoder.transform(some[:0]).shape == (0, 8)


def test_it_can_be_cloned_and_stand_in_a_pipeline(model, some, tmp_path):
    folder = save_model(model, tmp_path / "mine", some[:1]).folder
    encoder = CrystalEncoder(str(folder))
    assert clone(encoder).get_params() == encoder.get_params()
    assert clone(CrystalEncoder(model)).model is model
    pipeline = make_pipeline(encoder, StandardScaler(), Ridge())
    y = np.arange(6.0)
    rows = CrystalEncoder(model).fit_transform(some)
    expected = make_pipeline(StandardScaler(), Ridge()).fit(rows, y).predict(rows)
    np.testing.assert_allclose(pipeline.fit(some, y).predict(some), expected, rtol=1e-3)
    assert cross_val_predict(clone(pipeline), to_ase(some), y, cv=3).shape == (6,)


def test_what_it_lacks_is_named(model):
    for wrong, complaint in (({"layer": "7"}, "no layer '7'"), ({"level": "edge"}, "no represent")):
        with pytest.raises(InputError, match=complaint):
            CrystalEncoder(model).set_params(**wrong).fit(None)
