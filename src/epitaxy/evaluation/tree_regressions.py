"""Forests and boosted trees on features, for a whole grid of settings at once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from epitaxy.evaluation.protocol import setting_name, settings_grid

Rows = Float[ndarray, "rows width"]
Others = Float[ndarray, "others width"]
Values = Float[ndarray, " rows"]
Paths = Float[ndarray, "settings others"]

EXACT_ROWS = 5000  # boosting of more rows sorts features into bins first
STEPS = (100, 200, 400)  # boosted trees at which a fit is a setting of its own
FOREST_GRID = {
    "splits": ("best", "random"),
    "max_features": (0.33, "sqrt"),
    "min_samples_leaf": (1, 3),
}
LARGER_FOREST_GRID = {
    "splits": ("best", "random"),
    "max_features": (0.33, "sqrt", 0.67, 1.0),
    "min_samples_leaf": (1, 2, 3, 5),
}
BOOSTING_GRID = {"learning_rate": (0.05, 0.1), "max_depth": (3, 5)}
LARGER_BOOSTING_GRID = {"learning_rate": (0.02, 0.05, 0.1, 0.2), "max_depth": (2, 3, 5, 7)}


@dataclass(frozen=True, eq=False)
class FittedTrees:
    """Trees at every setting of a grid.

    Attributes:
        predictors: each gives the predictions of one fit, at one setting or several.
    """

    predictors: Sequence[Callable[[ndarray], Paths]]

    def predict(self, others: Others) -> Paths:
        """Return what every setting predicts."""
        return np.concatenate([one(others) for one in self.predictors])


@dataclass(frozen=True)
class Forest:
    """Means over trees, each grown on a bootstrap sample, or on all rows with random splits.

    Breiman, Mach. Learn. 45, 5 (2001); random splits: Geurts, Ernst and Wehenkel, Mach. Learn. 63,
    3 (2006). Trees minimize squares.

    Attributes:
        trees: in each forest.
        at_least: settings to try; 8, and 32 where more than 8 are asked for.
        seed: of samples and splits.
        threads: that grow trees.
    """

    trees: int = 200
    at_least: int = 1
    seed: int = 0
    threads: int = 1

    @property
    def settings(self) -> tuple[str, ...]:
        """The grid's settings in words."""
        return tuple(setting_name(one) for one in self._grid())

    def fit(self, rows: Rows, truth: Values) -> FittedTrees:
        """Return a forest for every setting."""
        return FittedTrees([self._grown(one, rows, truth) for one in self._grid()])

    def _grid(self) -> list[dict[str, Any]]:
        small = settings_grid(FOREST_GRID)
        return small if self.at_least <= len(small) else settings_grid(LARGER_FOREST_GRID)

    def _grown(
        self, setting: dict[str, Any], rows: ndarray, truth: ndarray
    ) -> Callable[[ndarray], Paths]:
        from sklearn.ensemble import ExtraTreesRegressor, RandomForestRegressor

        kind = RandomForestRegressor if setting["splits"] == "best" else ExtraTreesRegressor
        forest = kind(
            self.trees,
            max_features=setting["max_features"],
            min_samples_leaf=setting["min_samples_leaf"],
            random_state=self.seed,
            n_jobs=self.threads,
        ).fit(rows, truth)
        return lambda others: forest.predict(others)[None]


@dataclass(frozen=True)
class Boosting:
    """Small trees, each fitted to what those before it left over of half of the rows.

    Friedman, Comput. Stat. Data Anal. 38, 367 (2002). A fit is read after 100, 200 and 400 trees,
    which are three settings. Beyond 5,000 rows, features are sorted into bins first and all rows
    are used.

    Attributes:
        at_least: settings to try; 12, and 48 where more than 12 are asked for.
        seed: of samples and of the features that a split looks at.
    """

    at_least: int = 1
    seed: int = 0

    @property
    def settings(self) -> tuple[str, ...]:
        """The grid's settings in words."""
        return tuple(
            f"{setting_name(one)},trees={trees}" for one in self._grid() for trees in STEPS
        )

    def fit(self, rows: Rows, truth: Values) -> FittedTrees:
        """Return boosted trees for every setting."""
        return FittedTrees([self._boosted(one, rows, truth) for one in self._grid()])

    def _grid(self) -> list[dict[str, Any]]:
        small = settings_grid(BOOSTING_GRID)
        enough = self.at_least <= len(small) * len(STEPS)
        return small if enough else settings_grid(LARGER_BOOSTING_GRID)

    def _boosted(
        self, setting: dict[str, Any], rows: ndarray, truth: ndarray
    ) -> Callable[[ndarray], Paths]:
        from sklearn.ensemble import GradientBoostingRegressor, HistGradientBoostingRegressor

        boosted: Any
        if len(rows) <= EXACT_ROWS:
            boosted = GradientBoostingRegressor(
                n_estimators=max(STEPS),
                subsample=0.5,
                max_features=0.2,
                random_state=self.seed,
                **setting,
            )
        else:
            boosted = HistGradientBoostingRegressor(
                max_iter=max(STEPS),
                max_features=0.2,
                early_stopping=False,
                random_state=self.seed,
                **setting,
            )
        boosted.fit(rows, truth)

        def read(others: ndarray) -> Paths:
            stages = enumerate(boosted.staged_predict(others), start=1)
            return np.stack([values for trees, values in stages if trees in STEPS])

        return read
