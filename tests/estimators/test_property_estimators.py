"""Fine-tuning behaves as scikit-learn expects of a regressor and of a classifier."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.exceptions import DataConversionWarning, NotFittedError
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import GridSearchCV, cross_val_score
from torch import nn

import epitaxy as ep
from epitaxy.backbones import TorchMDET
from epitaxy.crystals.exchange import to_ase, to_pymatgen
from epitaxy.errors import InputError, RunFolderError
from epitaxy.estimators import PropertyClassifier, PropertyRegressor
from epitaxy.training.checkpoint import Model, save_model
from epitaxy.training.coverage import Coverage

SHORT = {"epochs": 1, "learning_rate": 3e-3, "batch_size": 16}


@pytest.fixture(scope="module")
def some(crystals):
    small = [index for index in range(len(crystals)) if int(crystals.atom_counts[index]) <= 4]
    return crystals[small[:16]].with_targets({})


@pytest.fixture(scope="module")
def model(some):
    torch.manual_seed(0)
    backbone = TorchMDET(width=8, layers=1, heads=2, radial=6, cutoff=3.5).eval()
    return Model(backbone, (), nn.ModuleList(), Coverage.of(some))


@pytest.fixture(scope="module")
def y(some):
    return some.atom_counts.double().numpy() + np.arange(len(some)) / 10


@pytest.fixture(scope="module")
def kinds(some):
    return np.where(some.atom_counts.numpy() > 2, "large", "small")


@pytest.fixture(scope="module")
def fitted(model, some, y):
    return PropertyRegressor(model, **SHORT).fit(some, y)


def test_objects_files_and_crystals_give_the_same_predictions(fitted, some, y, tmp_path):
    expected = fitted.predict(some)
    assert expected.shape == (16,)
    files = []
    for row, atoms in enumerate(to_ase(some)):
        files.append(tmp_path / f"{row}.vasp")
        atoms.write(files[-1], format="vasp", sort=False)
    parts = [some[index] for index in range(16)]
    objects = np.empty(16, dtype=object)
    objects[:] = to_ase(some)
    series = pd.Series(to_pymatgen(some))
    for source in (to_ase(some), to_pymatgen(some), files, parts, objects, series):
        np.testing.assert_allclose(fitted.predict(source), expected, rtol=1e-3, atol=1e-3)
    one = fitted.predict(to_pymatgen(some[0])[0])
    np.testing.assert_allclose(one, expected[:1], rtol=1e-3, atol=1e-3)


def test_it_is_the_fine_tuning_of_the_house(fitted, model, some, y, tmp_path):
    """The same crystals, labels, seed and settings through ``ep.finetune``."""
    labelled = some.with_targets({"property": ep.Target(torch.from_numpy(y))})
    changes = {f"training.{key}": value for key, value in SHORT.items()}
    run = ep.finetune(
        labelled, "property", from_=model, changes=changes, out=tmp_path / "r", progress=False
    )
    np.testing.assert_allclose(fitted.predict(some), ep.predict(run, some)["value"], rtol=1e-5)


def test_training_lowers_the_error_and_the_seed_repeats_it(model, some, y):
    """Without a validation part, so that the last weights are those that are kept."""
    few, labels = some[:8], y[:8]
    settings = {"learning_rate": 2e-2, "batch_size": 8, "changes": {"data.validation": 0.0}}
    long = PropertyRegressor(model, epochs=12, **settings)
    first, second = (clone(long).fit(few, labels).predict(few) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert np.abs(first - labels).mean() < 0.8 * np.abs(np.median(labels) - labels).mean()
    other = clone(long).set_params(seed=1, epochs=1).fit(few, labels).predict(few)
    assert np.abs(other - first).max() > 1e-4


def test_pretrained_weights_are_taken_and_left_as_they_were(model, some, y, tmp_path):
    before = {name: value.clone() for name, value in model.backbone.state_dict().items()}
    folder = save_model(model, tmp_path / "mine", some[:1]).folder
    frozen = {"training.freeze": "encoder"}
    fitted = PropertyRegressor(model, **SHORT, changes=frozen).fit(some, y)
    for name, value in model.backbone.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)
        torch.testing.assert_close(fitted.model_.backbone.state_dict()[name], value)
    assert "taken: backbone" in fitted.report_
    named = PropertyRegressor.from_pretrained(str(folder)).set_params(**SHORT, changes=frozen)
    np.testing.assert_allclose(named.fit(some, y).predict(some), fitted.predict(some), rtol=1e-5)


def test_extensive_targets_grow_with_the_cell(model, some, y):
    fitted = PropertyRegressor(model, extensive=True, target="e[eV]", **SHORT).fit(some, y)
    silicon = to_ase(some[:1])[0]
    single, double = fitted.predict([silicon, silicon * (1, 1, 2)])
    assert double == pytest.approx(2 * single, rel=1e-3)


def test_classes_are_named_and_probabilities_sum_to_one(model, some, kinds):
    classifier = PropertyClassifier(model, epochs=3, learning_rate=1e-2, batch_size=8)
    classifier.fit(some, kinds)
    assert classifier.classes_.tolist() == ["large", "small"]
    probabilities = classifier.predict_proba(some)
    np.testing.assert_allclose(probabilities.sum(1), 1.0)
    found = classifier.predict(some)
    np.testing.assert_array_equal(classifier.classes_[probabilities.argmax(1)], found)
    assert classifier.score(some, kinds) == accuracy_score(kinds, found)
    truth = PropertyClassifier(model, epochs=1).fit(some[:8], kinds[:8] == "large")
    assert truth.predict(some).dtype == bool


def test_a_class_of_one_crystal_has_a_column(model, some):
    rare = np.array([5] * 8 + [2] * 7 + [9])
    fitted = PropertyClassifier(model, **SHORT).fit(some, rare)
    assert fitted.classes_.tolist() == [2, 5, 9]
    assert fitted.predict_proba(some).shape == (16, 3)


def test_scikit_learn_can_search_with_the_one_and_cross_validate_the_other(model, some, y, kinds):
    structures = to_ase(some)
    regressor = PropertyRegressor(model, epochs=1, batch_size=16)
    search = GridSearchCV(regressor, {"learning_rate": [1e-3, 1e-2]}, cv=2).fit(structures, y)
    assert search.best_params_["learning_rate"] in (1e-3, 1e-2)
    assert search.score(structures, y) == r2_score(y, search.predict(structures))
    classifier = PropertyClassifier(model, epochs=1, batch_size=16)
    scores = cross_val_score(classifier, structures, kinds, cv=2, scoring="roc_auc")
    assert ((scores >= 0) & (scores <= 1)).all()


def test_a_crystal_may_stand_twice(model, some, y):
    rows = [0, 0, 3, 3, 3, 5, 6, 7]
    twice = [to_ase(some)[row] for row in rows]
    found = PropertyRegressor(model, **SHORT).fit(twice, y[rows]).predict(twice)
    np.testing.assert_allclose(found[0], found[1], rtol=1e-6)


def test_nothing_is_printed_and_nothing_left_behind(model, some, y, capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    PropertyRegressor(model, **SHORT).fit(some, y).predict(some)
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")
    assert not list(tmp_path.iterdir())


def test_a_run_is_kept_where_it_is_asked_for(model, some, y, tmp_path):
    kept = PropertyRegressor(model, target="gap[eV]", **SHORT, out=tmp_path / "run").fit(some, y)
    table = ep.predict(tmp_path / "run", some)
    np.testing.assert_allclose(table["value"], kept.predict(some), rtol=1e-5)
    assert set(table["unit"]) == {"eV"}
    with pytest.raises(RunFolderError, match="holds another run"):
        kept.fit(some, y + 1)
    kept.set_params(overwrite=True).fit(some, y + 1)


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        (lambda y: np.where(np.arange(16) == 3, np.nan, y), r"NaN \(missing\) in 1 of 16 rows: 3"),
        (lambda y: np.where(np.arange(16) == 3, np.inf, y), "inf .* in row 3"),
        (lambda y: y[:-1], "15 values for 16 crystals"),
        (lambda y: np.stack([y, y], 1), r"1d array, got an array of shape \(16, 2\)"),
        (lambda y: ["high"] * 16, "no number: could not convert"),
        (lambda y: None, "requires y to be passed"),
    ],
)
def test_values_that_cannot_be_learned_are_named(model, some, y, wrong, complaint):
    with pytest.raises(InputError, match=complaint):
        PropertyRegressor(model, **SHORT).fit(some, wrong(y))


def test_classes_and_crystals_that_cannot_be_are_named(model, some, y):
    classifier = PropertyClassifier(model, **SHORT)
    with pytest.raises(InputError, match="one class only"):
        classifier.fit(some, ["a"] * 16)
    with pytest.raises(InputError, match=r"missing\) in 1 of 16 rows: 2"):
        classifier.fit(some, ["a", "b", None, *"abababababaab"])
    with pytest.raises(ValueError, match="continuous"):
        classifier.fit(some, y)
    overlapping = to_ase(some)
    overlapping[2] *= (1, 1, 2)
    overlapping[2].positions[1] = overlapping[2].positions[0] + 0.01
    with pytest.raises(InputError, match="closer than"):
        PropertyRegressor(model, **SHORT).fit(overlapping, y)
    with pytest.raises(NotFittedError):
        PropertyRegressor(model).predict(some)
    with pytest.warns(DataConversionWarning, match="column-vector"):
        PropertyRegressor(model, **SHORT).fit(some, y[:, None])


def test_it_is_known_for_what_it_is(model):
    assert is_regressor(PropertyRegressor())
    assert is_classifier(PropertyClassifier())
    copy = clone(PropertyRegressor(model, changes={"training.ema": 0.9}))
    assert copy.pretrained is model
    assert copy.changes == {"training.ema": 0.9}
