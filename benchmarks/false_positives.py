"""How often the paired interval cries wolf, and how often it sees a real 10 % improvement.

Errors are simulated as crystals behave: a heavy-tailed difficulty of each crystal that seeds and
contenders share, an effect of the contender on the crystal, a residual of each run on each
crystal, and an effect of each run (seed × contender) on all of its crystals. In the null both
contenders have the same expected error. Run: python benchmarks/false_positives.py
"""

import argparse
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from epitaxy.evaluation.statistics import paired_difference


@dataclass(frozen=True)
class Scenario:
    """The shares of variance in a signed error, and the spread of MAE between runs."""

    name: str
    run_spread: float  # standard deviation of the logarithm of a run's MAE
    contender_share: float = 0.25  # effect of the contender on a crystal
    residual_share: float = 0.16  # effect of a single run on a crystal
    tail: float = 0.8  # standard deviation of the logarithm of a crystal's difficulty
    other_tail: float | None = None  # difficulty of its own for the second contender
    crystals: int = 300
    improvement: float = 0.0

    def errors(self, seeds: int, generator: np.random.Generator) -> tuple[NDArray, NDArray]:
        """Return absolute errors (seeds, crystals) of the contender and its reference."""
        normal = generator.standard_normal
        shared, difficulty = normal(self.crystals), self._difficulty(self.tail, generator)
        pair = []
        for own in range(2):
            signed = (
                np.sqrt(1.0 - self.contender_share - self.residual_share) * shared
                + np.sqrt(self.contender_share) * normal(self.crystals)
                + np.sqrt(self.residual_share) * normal((seeds, self.crystals))
            )
            if own and self.other_tail is not None:
                difficulty = self._difficulty(self.other_tail, generator)
            run = np.exp(self.run_spread * normal((seeds, 1)) - self.run_spread**2 / 2.0)
            pair.append(np.abs(signed) * difficulty * run)
        return (1.0 - self.improvement) * pair[0], pair[1]

    def _difficulty(self, tail: float, generator: np.random.Generator) -> NDArray:
        return np.exp(tail * generator.standard_normal(self.crystals) - tail**2 / 2.0)


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


def corrected_detects(errors: NDArray, reference: NDArray, rng: np.random.Generator) -> bool:
    """Return whether the interval of `paired_difference` excludes zero."""
    found = paired_difference(errors, reference, rng, resamples=1000)
    return found.low > 0.0 or found.high < 0.0


def textbook_detects(errors: NDArray, reference: NDArray, rng: np.random.Generator) -> bool:
    """Return whether the uncorrected crossed percentile bootstrap excludes zero."""
    differences = errors - reference
    seeds, crystals = differences.shape
    seed_weights = rng.multinomial(seeds, np.full(seeds, 1.0 / seeds), size=1000) / seeds
    crystal_weights = rng.multinomial(crystals, np.full(crystals, 1.0 / crystals), size=1000)
    means = ((seed_weights @ differences) * crystal_weights).sum(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return bool(low > 0.0 or high < 0.0)


def detection_rate(detects, scenario: Scenario, seeds: int, comparisons: int) -> float:
    """Return the share of simulated comparisons in which a difference is claimed."""
    rng = np.random.default_rng([7, seeds])
    return float(np.mean([detects(*scenario.errors(seeds, rng), rng) for _ in range(comparisons)]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--comparisons", type=int, default=200)
    comparisons = parser.parse_args().comparisons
    table = Table(title=f"Claims at nominal 5 %, {comparisons} comparisons each, in percent")
    columns = ("scenario", "seeds", "false positives", "power at 10 %", "textbook false positives")
    for column in columns:
        table.add_column(column, justify="left" if column == "scenario" else "right")
    for scenario in SCENARIOS:
        for seeds in (3, 5):
            real = replace(scenario, improvement=0.1)
            rates = (
                detection_rate(corrected_detects, scenario, seeds, comparisons),
                detection_rate(corrected_detects, real, seeds, comparisons // 3),
                detection_rate(textbook_detects, scenario, seeds, comparisons // 3),
            )
            table.add_row(scenario.name, str(seeds), *(f"{100 * rate:.1f}" for rate in rates))
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
