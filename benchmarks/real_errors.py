"""What real errors are made of, and how often the statistics cry wolf over them.

    parts   of tidy predictions (`predictions.parquet` of a study, `predictions.csv` of a
            comparison): which shares of a signed error's variance the contenders have in common,
            are a contender's own, a single run's, or of the training crystals that both contenders
            of one seed saw; how far runs differ; how heavy the tail of difficulty is. The scenarios
            `false_positives.py` calls measured are taken from there.
    nulls   of predictions with 20 seeds and more: a few seeds and some test crystals are drawn,
            both with replacement. Two contenders are made equal by scaling the errors of one, so
            that their mean over all seeds and crystals is the same and all else is as it was; or
            one contender is set against itself with other seeds. Then the share of paired
            intervals that exclude zero, and the power where one is 10 % better.

Run: python benchmarks/real_errors.py predictions.csv … [--comparisons 1500] [--resamples 1000]
"""

import argparse
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from epitaxy.evaluation.statistics import paired_difference

REFERENCE = "scratch"
KEYS = ("task", "target", "size")
FEWEST_SEEDS = 20  # to draw three or five of them again and again
LARGEST = 4.0  # times the MAE; errors beyond count as that in the shares
TESTED = (100, 300, 1000)  # test crystals drawn


def signed_errors(predictions: pd.DataFrame, contender: str) -> pd.DataFrame:
    """Return prediction − truth, seeds as rows and test crystals as columns."""
    own = predictions[predictions["contender"] == contender]
    return own.assign(error=own["value"] - own["truth"]).pivot(
        index="seed", columns="id", values="error"
    )


def pairs(predictions: pd.DataFrame) -> Iterator[tuple[str, str, NDArray]]:
    """Yield what is compared, the contender, and errors (2, seeds, crystals) with a MAE of 1."""
    keys = [name for name in KEYS if name in predictions.columns]
    for values, own in predictions.groupby(keys, sort=False):
        where = ", ".join(map(str, values))
        reference = signed_errors(own, REFERENCE)
        for contender in own.loc[own["contender"] != REFERENCE, "contender"].unique():
            errors = signed_errors(own, contender)
            same = errors.index.equals(reference.index) and errors.columns.equals(reference.columns)
            if not same or errors.isna().any(axis=None):
                print(
                    f"{where}: {contender} has other seeds or crystals, left out", file=sys.stderr
                )
                continue
            both = np.stack([errors.to_numpy(), reference.to_numpy()])
            yield where, contender, both / np.abs(both).mean(axis=(1, 2), keepdims=True)


def parts(errors: NDArray) -> dict[str, float]:
    """Return the parts of the errors (2, seeds, crystals) of two contenders."""
    clipped = np.clip(errors, -LARGEST, LARGEST)
    total = np.square(clipped).mean()
    seeds = range(errors.shape[1])
    across = np.mean(
        [(one[s] * one[t]).mean() for one in clipped for s, t in itertools.combinations(seeds, 2)]
    )
    other = np.mean(
        [(clipped[0, s] * clipped[1, t]).mean() for s, t in itertools.permutations(seeds, 2)]
    )
    same = np.mean([(clipped[0, s] * clipped[1, s]).mean() for s in seeds])
    logs = np.log(np.abs(errors).mean(axis=2))
    by_crystal = np.square(errors).mean(axis=(0, 1))
    return {
        "crystals": errors.shape[2],
        "shared": other / total,
        "contender": (across - other) / total,
        "run": 1.0 - across / total,
        "of it by training crystals": (same - other) / total,
        "spread of runs": float(np.sqrt(logs.var(axis=1, ddof=1).mean())),
        "correlation": float(np.corrcoef(logs)[0, 1]),
        "tail": float(np.sqrt(max(0.0, np.log(2.0 / np.pi * by_crystal.mean())))),
    }


def drawn_pair(
    errors: NDArray, seeds: int, crystals: int, disjoint: bool, rng: np.random.Generator
) -> tuple[NDArray, NDArray]:
    """Return absolute errors (seeds, crystals) of two equal contenders."""
    tested = rng.integers(errors.shape[2], size=crystals)
    if disjoint:
        runs = rng.permutation(errors.shape[1])[: 2 * seeds]
        chosen = errors[0][runs][:, tested]
        return np.abs(chosen[:seeds]), np.abs(chosen[seeds:])
    runs = rng.integers(errors.shape[1], size=seeds)  # as if there were any number of seeds
    ours, theirs = errors[:, runs][:, :, tested]
    return np.abs(ours), np.abs(theirs)


def claims(
    errors: NDArray,
    *,
    seeds: int,
    crystals: int,
    comparisons: int,
    resamples: int,
    disjoint: bool = False,
    improvement: float = 0.0,
) -> float:
    """Return the share of comparisons whose interval excludes zero."""
    rng = np.random.default_rng([seeds, crystals])
    count = 0
    for _ in range(comparisons):
        ours, theirs = drawn_pair(errors, seeds, crystals, disjoint, rng)
        found = paired_difference((1.0 - improvement) * ours, theirs, rng, resamples=resamples)
        count += found.low > 0.0 or found.high < 0.0
    return count / comparisons


def parts_table(found: list[tuple[str, str, NDArray]]) -> Table:
    """Return a row for every pair."""
    table = Table(title=f"parts of the errors, against {REFERENCE}")
    for name in ("task", "contender", *parts(found[0][2])):
        table.add_column(name)
    for where, contender, errors in found:
        values = parts(errors)
        crystals = str(int(values.pop("crystals")))
        table.add_row(where, contender, crystals, *(f"{value:.2f}" for value in values.values()))
    return table


def null_table(found: list[tuple[str, str, NDArray]], comparisons: int, resamples: int) -> Table:
    """Return the shares of claims about equal contenders."""
    table = Table(title="claims at nominal 5 %, in percent")
    for name in ("task", "contender", "test crystals", "seeds"):
        table.add_column(name)
    for name in ("false positives", "against itself", "power at 10 %"):
        table.add_column(name, justify="right")
    for where, contender, errors in found:
        for crystals, seeds in itertools.product(TESTED, (3, 5)):
            asked = {"seeds": seeds, "crystals": crystals, "resamples": resamples}
            rates = (
                claims(errors, **asked, comparisons=comparisons),
                claims(errors, **asked, comparisons=comparisons, disjoint=True),
                claims(errors, **asked, comparisons=comparisons // 3, improvement=0.1),
            )
            shown = (f"{100.0 * rate:.1f}" for rate in rates)
            table.add_row(where, contender, str(crystals), str(seeds), *shown)
    return table


def read(path: Path) -> pd.DataFrame:
    """Return predictions, as studies and comparisons write them."""
    return pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("predictions", nargs="+", type=Path)
    parser.add_argument("--comparisons", type=int, default=1500)
    parser.add_argument("--resamples", type=int, default=1000)
    given = parser.parse_args()
    console = Console(width=190)
    found = [pair for path in given.predictions for pair in pairs(read(path))]
    found = [pair for pair in found if pair[2].shape[1] > 1 and "dummy" not in pair[1]]
    if not found:
        parser.error(f"nothing to compare with {REFERENCE} over two seeds or more")
    console.print(parts_table(found))
    many = [pair for pair in found if pair[2].shape[1] >= FEWEST_SEEDS]
    if many:
        console.print(null_table(many, given.comparisons, given.resamples))


if __name__ == "__main__":
    main()
