"""Each path equals what scikit-learn fits setting by setting."""

import numpy as np
import pytest
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.kernel_ridge import KernelRidge as Reference
from sklearn.linear_model import Ridge as LinearReference
from sklearn.preprocessing import StandardScaler

from epitaxy.errors import InputError
from epitaxy.evaluation.regressions import (
    GaussianProcess,
    KernelRidge,
    Ridge,
    learner_named,
    standardized,
)

RNG = np.random.default_rng(0)
ROWS, OTHERS = RNG.normal(size=(40, 6)) * 3 + 1, RNG.normal(size=(9, 6)) * 3 + 1
TRUTH = np.sin(ROWS[:, 0]) + ROWS[:, 1] + 5.0


@pytest.mark.parametrize("width", [6, 3, 60])
def test_ridge_is_that_of_the_textbook(width):
    rows = RNG.normal(size=(40, width)) * 2 + 3
    others = RNG.normal(size=(9, width)) * 2 + 3
    found = Ridge(alphas=(1e-3, 1.0)).predictions(rows, TRUTH, others)
    scaler = StandardScaler().fit(rows)
    for alpha, path in zip((1e-3, 1.0), found, strict=True):
        reference = LinearReference(alpha=40 * alpha).fit(scaler.transform(rows), TRUTH)
        np.testing.assert_allclose(path, reference.predict(scaler.transform(others)), rtol=1e-8)


@pytest.mark.parametrize("kernel", ["rbf", "laplacian"])
def test_kernel_ridge_is_that_of_the_textbook(kernel):
    learner = KernelRidge(kernel, gammas=(0.3, 2.0), alphas=(1e-4, 1e-1))
    scaler = StandardScaler().fit(ROWS)
    found = learner.predictions(ROWS, TRUTH, OTHERS)
    settings = [(g, a) for g in (0.3, 2.0) for a in (1e-4, 1e-1)]
    assert len(found) == len(learner.settings) == 4
    for (gamma, alpha), path in zip(settings, found, strict=True):
        reference = Reference(kernel=kernel, gamma=gamma / 6, alpha=40 * alpha)
        reference.fit(scaler.transform(ROWS), TRUTH - TRUTH.mean())
        expected = reference.predict(scaler.transform(OTHERS)) + TRUTH.mean()
        np.testing.assert_allclose(path, expected, rtol=1e-6)


def test_all_rows_as_landmarks_give_the_exact_kernel():
    exact = KernelRidge(gammas=(1.0,), alphas=(1e-2,))
    landmarks = KernelRidge(gammas=(1.0,), alphas=(1e-2,), exact_rows=10, landmarks=40)
    few = KernelRidge(gammas=(1.0,), alphas=(1e-2,), exact_rows=10, landmarks=30)
    one, two, three = (
        learner.predictions(ROWS, TRUTH, OTHERS) for learner in (exact, landmarks, few)
    )
    np.testing.assert_allclose(one, two, rtol=1e-5)
    assert 0 < np.abs(one - three).max() < 2.0


def test_the_gaussian_process_takes_the_setting_of_largest_evidence():
    gammas, alphas = (0.1, 1.0, 10.0), (1e-4, 1e-2, 1.0)
    found = GaussianProcess(gammas=gammas, alphas=alphas).predictions(ROWS, TRUTH, OTHERS)[0]
    rows, others = standardized(ROWS, OTHERS)
    middle = TRUTH.mean()
    best = (-np.inf, None)
    for gamma in gammas:
        for alpha in alphas:
            length = np.sqrt(6 / (2 * gamma))
            shape = RBF(length) + WhiteKernel(40 * alpha)
            bare = GaussianProcessRegressor(shape, optimizer=None, alpha=0).fit(
                rows, TRUTH - middle
            )
            scale = (TRUTH - middle) @ np.linalg.solve(shape(rows), TRUTH - middle) / 40
            full = ConstantKernel(scale) * RBF(length) + WhiteKernel(scale * 40 * alpha)
            regressor = GaussianProcessRegressor(full, optimizer=None, alpha=0)
            evidence = regressor.fit(rows, TRUTH - middle).log_marginal_likelihood_value_
            if evidence > best[0]:
                best = (evidence, bare.predict(others) + middle)
    np.testing.assert_allclose(found, best[1], rtol=1e-6)


def test_too_many_rows_for_a_gaussian_process_are_refused_with_a_way_out():
    with pytest.raises(InputError, match="take 'rbf'"):
        GaussianProcess(most_rows=10).predictions(ROWS, TRUTH, OTHERS)


def test_constant_features_leave():
    rows, others = ROWS.copy(), OTHERS.copy()
    rows[:, 2], others[:, 2] = 7.0, 1e9
    assert standardized(rows, others)[1].shape == (9, 5)
    found = Ridge().predictions(np.ones((40, 3)), TRUTH, np.zeros((9, 3)))
    np.testing.assert_allclose(found, TRUTH.mean())


def test_an_unknown_learner_is_named():
    with pytest.raises(InputError, match=r"no learner 'rigde'. Did you mean 'ridge'"):
        learner_named("rigde")
