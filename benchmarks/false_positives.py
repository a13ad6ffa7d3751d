"""How often the statistics cry wolf, and how often they see a real 10 % improvement.

Errors are simulated as crystals behave: a heavy-tailed difficulty of each crystal that seeds and
contenders share, an effect of the contender on the crystal, a residual of each run on each
crystal, and an effect of each run (seed × contender) on all of its crystals. In the null both
contenders have the same expected error.

    comparison   one task and size: the paired interval, and the textbook's beside it; five
                 scenarios have the parts of real errors (`real_errors.py`), the others are extremes
    folds        5-fold cross-validation, every fold and seed with a run of its own, and an effect
                 of the fold's training crystals that all seeds share; naive: folds not told. In
                 the measured scenarios that effect is as large as a run's
    wins         the lower error in more of 21 configurations (7 tasks × 3 sizes) than by chance; a
                 contender's effect on a crystal, and a run's, are partly the same at every size
    average      the mean improvement over the 7 tasks at one size, and without the noisiest task
    sizes        the sentence over 3 sizes of one task claims something at any of them
    groups       effects by group: a group's own interval, and any of the intervals for all of ten
                 groups together, as elements are (each crystal in two groups) or a group to a fold

Run: python benchmarks/false_positives.py [KIND …] [--comparisons 1500]
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from epitaxy.evaluation.configurations import Configuration, average_improvement, count_wins
from epitaxy.evaluation.effects import effects_by_group
from epitaxy.evaluation.learning_curves import verdict_over_sizes
from epitaxy.evaluation.statistics import paired_difference

FOLDS = 5
GROUPS = 10
SIZES = (100, 500, 2500)
DRAWS = 1000


@dataclass(frozen=True)
class Scenario:
    """The shares of variance in a signed error, and the spread of MAE between runs."""

    name: str
    run_spread: float  # standard deviation of the logarithm of a run's MAE
    contender_share: float = 0.25  # effect of the contender on a crystal
    residual_share: float = 0.16  # effect of a single run on a crystal
    training_share: float = 0.0  # part of it that both contenders of a seed have in common
    tail: float = 0.8  # standard deviation of the logarithm of a crystal's difficulty
    other_tail: float | None = None  # difficulty of its own for the second contender
    crystals: int = 300
    improvement: float = 0.0
    fold_spread: float = 0.0  # of the logarithm of MAE, by a fold's training crystals
    between_sizes: float = 0.5  # correlation of a contender's effects at two sizes

    def errors(self, seeds: int, generator: np.random.Generator) -> tuple[NDArray, NDArray]:
        """Return absolute errors (seeds, crystals) of the contender and its reference."""
        normal = generator.standard_normal
        shared, difficulty = normal(self.crystals), self._difficulty(self.tail, generator)
        trained = np.sqrt(self.training_share) * normal((seeds, self.crystals))
        pair = []
        for own in range(2):
            signed = (
                np.sqrt(1.0 - self.contender_share - self.residual_share) * shared
                + np.sqrt(self.contender_share) * normal(self.crystals)
                + np.sqrt(self.residual_share - self.training_share)
                * normal((seeds, self.crystals))
                + trained
            )
            if own and self.other_tail is not None:
                difficulty = self._difficulty(self.other_tail, generator)
            run = np.exp(self.run_spread * normal((seeds, 1)) - self.run_spread**2 / 2.0)
            pair.append(np.abs(signed) * difficulty * run)
        return (1.0 - self.improvement) * pair[0], pair[1]

    def folded_errors(
        self, seeds: int, generator: np.random.Generator
    ) -> tuple[NDArray, NDArray, NDArray]:
        """Return the errors of both in a cross-validation, and the fold of every crystal."""
        folds = np.arange(self.crystals) % FOLDS
        pair = replace(self, run_spread=0.0).errors(seeds, generator)
        logs = [
            self.run_spread * generator.standard_normal((seeds, FOLDS))
            + self.fold_spread * generator.standard_normal((1, FOLDS))
            for _ in pair
        ]
        ours, theirs = (one * np.exp(run)[:, folds] for one, run in zip(pair, logs, strict=True))
        return ours, theirs, folds

    def sized_errors(
        self, seeds: int, generator: np.random.Generator
    ) -> list[tuple[NDArray, NDArray]]:
        """Return the errors of both at every size, on the same crystals."""
        normal = generator.standard_normal
        shared, difficulty = normal(self.crystals), self._difficulty(self.tail, generator)
        found: list[list[NDArray]] = [[] for _ in SIZES]
        for _ in range(2):
            common, common_run = normal(self.crystals), normal((seeds, 1))
            for at in found:
                own = self._mixed(common, normal(self.crystals))
                signed = (
                    np.sqrt(1.0 - self.contender_share - self.residual_share) * shared
                    + np.sqrt(self.contender_share) * own
                    + np.sqrt(self.residual_share) * normal((seeds, self.crystals))
                )
                run = np.exp(self.run_spread * self._mixed(common_run, normal((seeds, 1))))
                at.append(np.abs(signed) * difficulty * run)
        return [((1.0 - self.improvement) * ours, theirs) for ours, theirs in found]

    def _mixed(self, common: NDArray, own: NDArray) -> NDArray:
        return np.sqrt(self.between_sizes) * common + np.sqrt(1.0 - self.between_sizes) * own

    def _difficulty(self, tail: float, generator: np.random.Generator) -> NDArray:
        return np.exp(tail * generator.standard_normal(self.crystals) - tail**2 / 2.0)


# As `real_errors.py` finds them in a study: fine-tuned on 100 and 500 crystals (the mean of both),
# a pre-trained network against the same from scratch.
MEASURED = (
    Scenario("perovskites", 0.045, 0.06, 0.47, 0.20, tail=0.28, crystals=757),
    Scenario("exfoliation energy", 0.035, 0.03, 0.12, 0.03, tail=1.07, crystals=127),
    Scenario("bulk modulus", 0.09, 0.16, 0.43, 0.17, tail=0.65, crystals=787),
    Scenario("refractive index", 0.045, 0.09, 0.22, 0.09, tail=1.0, crystals=211),
    Scenario("band gap", 0.06, 0.02, 0.28, 0.11, tail=0.93, crystals=1000),
)
# Beyond what was measured: no difference between runs at all, or nothing else.
SCENARIOS = (
    Scenario("no seed effect", 0.0),
    Scenario("small seed effect", 0.03),
    Scenario("seed like crystals", 0.06),
    Scenario("large seed effect", 0.1),
    Scenario("dominant seed effect", 0.3),
    Scenario("100 crystals", 0.06, crystals=100),
    Scenario("2000 crystals", 0.06, crystals=2000),
    Scenario("noisy runs", 0.06, 0.16, 0.36),
    Scenario("residual only", 0.0, 0.01, 0.64),
    Scenario("residual, seed effect", 0.06, 0.01, 0.64),
    Scenario("unequal tails", 0.06, tail=0.6, other_tail=1.0),
)
FOLD_SCENARIOS = (
    *(replace(one, fold_spread=one.run_spread) for one in MEASURED),
    Scenario("no fold effect", 0.06),
    Scenario("fold like run", 0.06, fold_spread=0.06),
    Scenario("large fold effect", 0.06, fold_spread=0.15),
    Scenario("noisy runs, no fold effect", 0.15),
    Scenario("2000 crystals", 0.06, fold_spread=0.06, crystals=2000),
)
# Seven tasks, from many test crystals and steady runs to few and noisy.
TASKS = (
    Scenario("a", 0.03, tail=0.6, crystals=300),
    Scenario("b", 0.04, tail=0.8, crystals=300),
    Scenario("c", 0.05, tail=0.8, crystals=250),
    Scenario("d", 0.06, tail=0.6, crystals=200),
    Scenario("e", 0.08, tail=1.0, crystals=150),
    Scenario("f", 0.10, tail=0.8, crystals=120),
    Scenario("g", 0.20, tail=1.2, crystals=100),
)
TASK_SCENARIOS: dict[str, Callable[[Scenario], Scenario]] = {
    "as they are": lambda task: task,
    "steady runs": lambda task: replace(task, run_spread=0.0),
    "noisy runs": lambda task: replace(task, run_spread=2.0 * task.run_spread),
    "sizes unrelated": lambda task: replace(task, between_sizes=0.0),
}


def corrected_detects(errors: NDArray, reference: NDArray, rng: np.random.Generator) -> bool:
    """Return whether the interval of `paired_difference` excludes zero."""
    found = paired_difference(errors, reference, rng, resamples=DRAWS)
    return found.low > 0.0 or found.high < 0.0


def textbook_detects(errors: NDArray, reference: NDArray, rng: np.random.Generator) -> bool:
    """Return whether the uncorrected crossed percentile bootstrap excludes zero."""
    differences = errors - reference
    seeds, crystals = differences.shape
    seed_weights = rng.multinomial(seeds, np.full(seeds, 1.0 / seeds), size=DRAWS) / seeds
    crystal_weights = rng.multinomial(crystals, np.full(crystals, 1.0 / crystals), size=DRAWS)
    means = ((seed_weights @ differences) * crystal_weights).sum(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return bool(low > 0.0 or high < 0.0)


def detection_rate(detects, scenario: Scenario, seeds: int, comparisons: int) -> float:
    """Return the share of simulated comparisons in which a difference is claimed."""
    rng = np.random.default_rng([7, seeds])
    return float(np.mean([detects(*scenario.errors(seeds, rng), rng) for _ in range(comparisons)]))


def fold_rates(scenario: Scenario, seeds: int, comparisons: int) -> tuple[float, float]:
    """Return the shares of claims with folds told, and with folds not told."""
    rng = np.random.default_rng([11, seeds])
    claims = np.zeros(2)
    for _ in range(comparisons):
        ours, theirs, folds = scenario.folded_errors(seeds, rng)
        for place, told in enumerate((folds, None)):
            found = paired_difference(ours, theirs, rng, resamples=DRAWS, folds=told)
            claims[place] += found.low > 0.0 or found.high < 0.0
    return float(claims[0] / comparisons), float(claims[1] / comparisons)


def task_rates(
    tasks: Sequence[Scenario], seeds: int, comparisons: int, kinds: Sequence[str]
) -> dict[str, float]:
    """Return the shares of claims over configurations, tasks and sizes."""
    rng = np.random.default_rng([13, seeds])
    claims: dict[str, float] = {}
    for number in range(comparisons):
        study = [
            Configuration(place, {"task": task.name, "size": size}, np.stack(pair))
            for place, task in enumerate(tasks)
            for size, pair in zip(SIZES, task.sized_errors(seeds, rng), strict=True)
        ]
        found: dict[str, bool] = {}
        if "wins" in kinds:
            wins = count_wins(study, "a", "b", resamples=DRAWS // 2, seed=number)
            found["wins"] = wins.p_value < 0.05
        if "average" in kinds:
            one_size = [one for one in study if one.keys["size"] == SIZES[0]]
            without = [one for one in one_size if one.keys["task"] != "g"]
            for kind, some in {"average": one_size, "average, without g": without}.items():
                average = average_improvement(some, DRAWS // 2, seed=number)
                found[kind] = average["low"] > 0.0 or average["high"] < 0.0
        if "sizes" in kinds:
            one_task = [one for one in study if one.keys["task"] == "d"]
            found["sizes"] = " by " in verdict_over_sizes(curve_of(one_task, rng), "a", "b")
        for kind, claimed in found.items():
            claims[kind] = claims.get(kind, 0.0) + claimed / comparisons
    return claims


def group_rates(
    scenario: Scenario, seeds: int, comparisons: int, folded: bool, within_folds: bool
) -> tuple[float, float]:
    """Return how often a group's own interval excludes zero, and how often any of the wide ones."""
    rng = np.random.default_rng([17, seeds])
    own, clear = 0.0, 0.0
    for number in range(comparisons):
        if folded:
            ours, theirs, folds = scenario.folded_errors(seeds, rng)
        else:
            (ours, theirs), folds = scenario.errors(seeds, rng), None
        crystals = np.arange(scenario.crystals)
        first = second = crystals % FOLDS + crystals // FOLDS % (GROUPS // FOLDS) * FOLDS
        if not within_folds:
            first, second = rng.integers(GROUPS, size=(2, scenario.crystals))
        groups = {str(one): (first == one) | (second == one) for one in range(GROUPS)}
        table = effects_by_group(
            np.stack([ours, theirs]),
            groups,
            resamples=DRAWS,
            seed=number,
            folds=folds,
        ).iloc[:-1]
        excluded = (table["improvement_low"] > 0.0) | (table["improvement_high"] < 0.0)
        own += float(excluded.mean()) / comparisons
        clear += bool(table["clear"].any()) / comparisons
    return own, clear


def group_table(comparisons: int) -> Table:
    """Return the table of effects by group."""
    table = _table("groups", "groups are", "own interval", "any of all")
    by_name = {one.name: one for one in FOLD_SCENARIOS}
    chosen = [by_name[name] for name in ("bulk modulus", "refractive index", "large fold effect")]
    for scenario in chosen:
        for seeds in (3, 5):
            for kind, folded, within in (
                ("like elements", False, False),
                ("like elements, folds", True, False),
                ("a fold each", True, True),
            ):
                rates = group_rates(scenario, seeds, comparisons, folded, within)
                shown = (f"{100.0 * rate:.1f}" for rate in rates)
                table.add_row(scenario.name, str(seeds), kind, *shown)
    return table


def curve_of(study: Sequence[Configuration], rng: np.random.Generator) -> pd.DataFrame:
    """Return what `learning_curve` returns, as far as the sentence needs it."""
    rows = []
    for one in study:
        row = {"size": one.keys["size"], "contender": "a", "seeds": one.errors.shape[1]}
        for name, confidence in (("improvement", 0.95), ("all", 1.0 - 0.05 / len(study))):
            found = paired_difference(*one.errors, rng, resamples=DRAWS, confidence=confidence)
            row[f"{name}_low"] = 100.0 * found.relative_low
            row[f"{name}_high"] = 100.0 * found.relative_high
        rows.append({**row, "improvement_percent": 100.0 * found.relative})
    return pd.DataFrame(rows)


def compare_table(comparisons: int) -> Table:
    """Return the table of single comparisons."""
    table = _table("comparison", "false positives", "power at 10 %", "textbook false positives")
    for scenario in (*MEASURED, *SCENARIOS):
        for seeds in (3, 5):
            real = replace(scenario, improvement=0.1)
            rates = (
                detection_rate(corrected_detects, scenario, seeds, comparisons),
                detection_rate(corrected_detects, real, seeds, comparisons // 3),
                detection_rate(textbook_detects, scenario, seeds, comparisons // 3),
            )
            _add(table, scenario.name, seeds, rates)
    return table


def fold_table(comparisons: int) -> Table:
    """Return the table of cross-validations."""
    table = _table("folds", "false positives", "power at 10 %", "naive false positives")
    for scenario in FOLD_SCENARIOS:
        for seeds in (1, 3, 5):
            told, naive = fold_rates(scenario, seeds, comparisons)
            real = replace(scenario, improvement=0.1)
            _add(
                table,
                scenario.name,
                seeds,
                (told, fold_rates(real, seeds, comparisons // 3)[0], naive),
            )
    return table


def task_table(comparisons: int, kinds: Sequence[str]) -> Table:
    """Return the table of claims over many tasks and sizes."""
    table = _table("tasks and sizes", "claim", "false positives", "power at 10 %")
    for name, changed in TASK_SCENARIOS.items():
        tasks = [changed(task) for task in TASKS]
        real = [replace(task, improvement=0.1) for task in tasks]
        for seeds in (3, 5):
            null = task_rates(tasks, seeds, comparisons, kinds)
            power = task_rates(real, seeds, comparisons // 5, kinds)
            for kind, rate in null.items():
                table.add_row(
                    name, str(seeds), kind, f"{100 * rate:.1f}", f"{100 * power[kind]:.0f}"
                )
    return table


def _table(name: str, *columns: str) -> Table:
    table = Table(title=f"{name}: claims at nominal 5 %, in percent")
    for column in ("scenario", "seeds", *columns):
        table.add_column(column, justify="left" if column in ("scenario", "claim") else "right")
    return table


def _add(table: Table, name: str, seeds: int, rates: Sequence[float]) -> None:
    table.add_row(name, str(seeds), *(f"{100 * rate:.1f}" for rate in rates))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    known = ("comparison", "folds", "wins", "average", "sizes", "groups")
    parser.add_argument("kinds", nargs="*", choices=[*known, []], help="all unless told")
    parser.add_argument("--comparisons", type=int, default=200)
    given = parser.parse_args()
    kinds = given.kinds or known
    console = Console(width=100)
    if "comparison" in kinds:
        console.print(compare_table(given.comparisons))
    if "folds" in kinds:
        console.print(fold_table(given.comparisons))
    if over := [kind for kind in kinds if kind in ("wins", "average", "sizes")]:
        console.print(task_table(given.comparisons, over))
    if "groups" in kinds:
        console.print(group_table(given.comparisons))


if __name__ == "__main__":
    main()
