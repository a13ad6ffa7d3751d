"""Representations in two dimensions, as tidy records for a figure: PCA, t-SNE and UMAP."""

import warnings
from importlib import metadata
from itertools import pairwise

import numpy as np
import pandas as pd
from jaxtyping import Float
from numpy import ndarray

from epitaxy.crystals.crystals import Crystals
from epitaxy.crystals.elements import electronegativity, period_and_group
from epitaxy.evaluation.regressions import standardized

MOST_ROWS = 1500  # of a map; t-SNE takes minutes beyond
FAMILIES = (
    "groups 1–2",
    "transition metals",
    "f block",
    "groups 13–14",
    "pnictogens",
    "chalcogens",
    "halogens",
    "H, noble gases",
)


def family(number: int) -> str:
    """Return a chemical family; one of ``FAMILIES``.

    >>> family(26), family(60), family(8), family(1)
    ('transition metals', 'f block', 'chalcogens', 'H, noble gases')
    """
    _, group = period_and_group(number)
    if number == 1 or group == 18:
        return "H, noble gases"
    if 57 <= number <= 70 or 89 <= number <= 102:
        return "f block"
    if group <= 2:
        return "groups 1–2"
    if group <= 12:
        return "transition metals"
    return {15: "pnictogens", 16: "chalcogens", 17: "halogens"}.get(group, "groups 13–14")


def most_negative(crystals: Crystals) -> list[int]:
    """Return the most electronegative element of every crystal: its anion, if it has one."""
    numbers = crystals.numbers.tolist()
    parts = (numbers[first:last] for first, last in pairwise(crystals.offsets.tolist()))
    return [max(part, key=lambda number: electronegativity(number) or 0.0) for part in parts]


def mapped(
    contender: str,
    rows: Float[ndarray, "rows width"],
    families: list[str],
    truth: Float[ndarray, " rows"],
    seed: int = 0,
) -> pd.DataFrame:
    """Return contender, method, x, y, family and truth of at most ``MOST_ROWS`` rows.

    See ``planes`` for what the places mean.
    """
    chosen = np.arange(len(rows))
    if len(rows) > MOST_ROWS:
        chosen = np.sort(np.random.default_rng(seed).choice(len(rows), MOST_ROWS, replace=False))
    tables = [
        pd.DataFrame(
            {
                "contender": contender,
                "method": method,
                "x": places[:, 0],
                "y": places[:, 1],
                "family": [families[place] for place in chosen],
                "truth": truth[chosen],
            }
        )
        for method, places in planes(rows[chosen], seed).items()
    ]
    return pd.concat(tables, ignore_index=True)


def planes(
    rows: Float[ndarray, "rows width"], seed: int = 0
) -> dict[str, Float[ndarray, "rows 2"]]:
    """Return the rows' places in a plane: method → x and y.

    Features are standardized. Axes of ``PCA`` are the first two components; those of ``t-SNE``
    (on the first 50 components, perplexity 30 or a fifth of the rows) and of ``UMAP`` (on the
    same, where the package umap-learn is installed) mean nothing.
    """
    values, _ = standardized(rows, rows[:1])
    left, scale, _ = np.linalg.svd(values - values.mean(axis=0), full_matrices=False)
    components = (left * scale)[:, :50]
    plane = np.zeros((len(rows), 2))
    plane[:, : min(2, components.shape[1])] = components[:, :2]
    found = {"PCA": plane, "t-SNE": _neighbors_kept(components, seed)}
    if _has_umap():
        found["UMAP"] = _manifold_kept(components, seed)
    return found


def _neighbors_kept(
    components: Float[ndarray, "rows width"], seed: int
) -> Float[ndarray, "rows 2"]:
    from sklearn.manifold import TSNE

    if components.shape[1] < 2 or len(components) < 5:
        return np.zeros((len(components), 2))
    few = min(30.0, len(components) / 5)
    return TSNE(perplexity=few, init="pca", random_state=seed).fit_transform(components)


def _has_umap() -> bool:
    try:
        metadata.distribution("umap-learn")
    except metadata.PackageNotFoundError:
        return False
    return True


def _manifold_kept(components: Float[ndarray, "rows width"], seed: int) -> Float[ndarray, "rows 2"]:
    from umap import UMAP

    if components.shape[1] < 2 or len(components) < 5:
        return np.zeros((len(components), 2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a seed leaves it one core
        near = min(15, len(components) - 1)
        found = UMAP(n_neighbors=near, init="pca", random_state=seed).fit_transform(components)
    return np.asarray(found, dtype=float)
