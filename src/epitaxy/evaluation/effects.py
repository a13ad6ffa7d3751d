"""For which crystals does it help: improvements by element and by range of the target.

Many groups are looked at, and some intervals exclude zero by chance. So every group has two
intervals: one of its own, and a wider one that covers in all groups together in 19 of 20 studies.
Groups overlap and share seeds, which Bonferroni would ignore: the wide interval is the own one
times a factor, the 95 % quantile over draws of the largest deviation in units of the own interval.
"""

import itertools
import re
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Shaped
from numpy import ndarray
from numpy.typing import NDArray

from epitaxy.errors import InputError
from epitaxy.evaluation.resampling import (
    LARGEST_SHIFT,
    drawn_counts,
    fold_shrinkage,
    seed_shrinkage,
    student_weights,
)
from epitaxy.evaluation.summary import one_target, paired_errors

FEWEST_CRYSTALS = 10  # in a group


def effects_by_element(
    predictions: pd.DataFrame,
    contender: str,
    reference: str = "scratch",
    *,
    fewest: int = FEWEST_CRYSTALS,
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Return a row per element, of the test crystals whose ``formula`` has it, and one of all.

    Columns as in `effects_by_group`. Elements of fewer than ``fewest`` crystals are left out.
    """
    pair, folds, ids = paired_errors(predictions, contender, reference)
    if "formula" not in predictions.columns:
        raise InputError("the predictions have no column 'formula' to read elements from.")
    formulas = predictions.drop_duplicates("id").set_index("id")["formula"].reindex(ids)
    elements = [set(re.findall("[A-Z][a-z]?", str(text))) for text in formulas]
    groups = {
        name: np.array([name in own for own in elements]) for name in sorted(set().union(*elements))
    }
    return effects_by_group(pair, groups, fewest, resamples, confidence, seed, folds)


def effects_by_range(
    predictions: pd.DataFrame,
    contender: str,
    reference: str = "scratch",
    *,
    edges: Sequence[float] | int = 5,
    fewest: int = FEWEST_CRYSTALS,
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Return a row per range of the true target, and one of all crystals.

    ``edges`` bound the ranges, or say into how many ranges with equally many crystals to divide.
    Columns as in `effects_by_group`, the group ``"1 to 2.5 eV"``.
    """
    pair, folds, ids = paired_errors(predictions, contender, reference)
    _, unit = one_target(predictions)
    known = predictions[predictions["truth"].notna()].drop_duplicates("id").set_index("id")
    truth = known["truth"].reindex(ids).to_numpy()
    if isinstance(edges, int):
        bounds = np.unique(np.quantile(truth, np.linspace(0.0, 1.0, edges + 1)))
    else:
        bounds = np.asarray(edges, dtype=np.float64)
    if len(bounds) < 2 or (np.diff(bounds) <= 0.0).any():
        raise InputError(f"ranges end at {list(bounds)}: give at least two rising numbers.")
    groups = {}
    for low, high in itertools.pairwise(bounds):
        inside = (truth >= low) & ((truth < high) | ((high == bounds[-1]) & (truth == high)))
        groups[f"{low:.4g} to {high:.4g} {unit}".rstrip()] = inside
    return effects_by_group(pair, groups, fewest, resamples, confidence, seed, folds)


def effects_by_group(
    pair: Float[ndarray, "2 seeds crystals"],
    groups: Mapping[str, Bool[ndarray, " crystals"]],
    fewest: int = FEWEST_CRYSTALS,
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
    folds: Shaped[ndarray, " crystals"] | None = None,
) -> pd.DataFrame:
    """Return improvements within groups of test crystals, which may overlap.

    In a cross-validation, ``folds`` says which fold each crystal was tested in.

    Columns: group; crystals; mae; reference_mae; improvement_percent; improvement_low and
    improvement_high, the group's own interval; all_low and all_high, for all groups together;
    clear, whether the latter excludes zero. A last row, ``"all"``, has all crystals and counts as
    no group.
    """
    crystals = pair.shape[2]
    chosen = {name: one for name, one in groups.items() if one.sum() >= max(2, fewest)}
    if not chosen:
        raise InputError(f"no group has {fewest} test crystals: lower `fewest`.")
    members = np.stack([*chosen.values(), np.ones(crystals, dtype=bool)])
    generator = np.random.default_rng(seed)
    drawn, middle = _group_draws(pair, members, generator, resamples, folds)
    tail = (1.0 - confidence) / 2.0
    low, high = np.nanquantile(drawn, [tail, 1.0 - tail], axis=0)
    below, above = np.maximum(middle - low, 1e-12), np.maximum(high - middle, 1e-12)
    apart = drawn - middle
    scaled = np.where(apart > 0.0, apart / above, -apart / below)[:, :-1]
    factor = max(1.0, float(np.quantile(np.nanmax(scaled, axis=1), confidence)))
    factors = np.array([factor] * len(chosen) + [1.0])
    all_low, all_high = middle - factors * below, middle + factors * above
    table = pd.DataFrame(
        {
            "group": [*chosen, "all"],
            "crystals": members.sum(axis=1),
            "mae": [pair[0][:, one].mean() for one in members],
            "reference_mae": [pair[1][:, one].mean() for one in members],
            "improvement_percent": -100.0 * np.expm1(-middle),
            "improvement_low": -100.0 * np.expm1(-low),
            "improvement_high": -100.0 * np.expm1(-high),
            "all_low": -100.0 * np.expm1(-all_low),
            "all_high": -100.0 * np.expm1(-all_high),
        }
    )
    table["clear"] = (table["all_low"] > 0.0) | (table["all_high"] < 0.0)
    return table


def effects_sentence(table: pd.DataFrame, contender: str, kind: str = "groups") -> str:
    """Say how many groups stand out, and how many would by chance."""
    groups = table[table["group"] != "all"]
    single = (groups["improvement_low"] > 0.0) | (groups["improvement_high"] < 0.0)
    helped = groups.loc[groups["clear"] & (groups["all_low"] > 0.0), "group"].tolist()
    hurt = groups.loc[groups["clear"] & ~(groups["all_low"] > 0.0), "group"].tolist()
    told = [f"{len(some)} ({', '.join(some)})" if some else "none" for some in (helped, hurt)]
    return (
        f"Of {len(groups)} {kind} {contender} helps with {told[0]} and hurts with {told[1]}, all "
        f"{kind} together considered; {int(single.sum())} intervals exclude zero one by one, where "
        f"{0.05 * len(groups):.1f} would by chance."
    )


def _group_draws(
    pair: NDArray,
    members: NDArray,
    generator: np.random.Generator,
    resamples: int,
    folds: NDArray | None = None,
) -> tuple[Float[ndarray, "draws groups"], Float[ndarray, " groups"]]:
    """Return draws of log(reference MAE / MAE) in every group, and what it is.

    The same crystals and the same weights of seeds and of folds are drawn for all groups.
    """
    _, seeds, crystals = pair.shape
    scale = pair.mean(axis=(1, 2), keepdims=True)
    smallest = max(float(scale.max()), np.finfo(float).tiny) * 1e-12
    counts = drawn_counts(crystals, generator, resamples)
    inside = members.T.astype(np.float64)
    totals = [counts @ (one.mean(axis=0)[:, None] * inside) for one in pair]
    logs = [np.log(np.maximum(one, smallest)) for one in totals]
    drawn = logs[1] - logs[0]
    drawn[counts @ inside == 0.0] = np.nan  # none of a group's crystals was drawn
    means = np.stack([[one[:, group].mean(axis=1) for group in members] for one in pair])
    overall = np.maximum(means.mean(axis=2), smallest)
    by_seed = student_weights(seeds, generator, resamples) if seeds > 1 else None
    names = np.unique(folds) if folds is not None else np.array([])
    by_fold = student_weights(len(names), generator, resamples) if len(names) > 1 else None
    whole = pair[0] / scale[0] - pair[1] / scale[1]
    for place, group in enumerate(members):
        relative = [one[:, group] / at for one, at in zip(pair, overall[:, place], strict=True)]
        apart = relative[0] - relative[1]
        if by_seed is not None:
            shift = by_seed @ (seed_shrinkage(apart) * apart.mean(axis=1))
            drawn[:, place] -= np.clip(shift, -LARGEST_SHIFT, LARGEST_SHIFT)
        if by_fold is not None and folds is not None:
            there = [int((folds[group] == name).sum()) for name in names]
            if min(there) > 1:
                effects = _fold_effects(apart, folds[group])
            else:  # of few folds: the spread of all crystals' folds, and fewer to average it out
                found = sum(count > 0 for count in there)
                effects = np.sqrt(len(names) / found) * _fold_effects(whole, folds)
            shift = by_fold @ effects
            drawn[:, place] -= np.clip(shift, -LARGEST_SHIFT, LARGEST_SHIFT)
    return drawn, np.log(overall[1] / overall[0])


def _fold_effects(
    apart: Float[ndarray, "seeds members"], folds: Shaped[ndarray, " members"]
) -> Float[ndarray, " folds"]:
    """Return how far every fold lies from the mean of them, shrunk."""
    means = np.array([apart[:, folds == name].mean() for name in np.unique(folds)])
    return fold_shrinkage(apart, folds) * (means - means.mean())
