"""The baselines of a comparison: the same rows, seeds and number of settings as its networks."""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from epitaxy.crystals.crystals import Crystals
from epitaxy.errors import InputError
from epitaxy.evaluation.baselines import BaselineResult, baseline_features, run_baseline
from epitaxy.evaluation.named_baselines import (
    DEFAULT_BASELINES,
    DUMMY,
    DUMMY_MEAN,
    baseline_in_words,
    features_of,
)
from epitaxy.evaluation.nested import Representation
from epitaxy.evaluation.protocol import Protocol
from epitaxy.evaluation.statistics import FEWEST_SEEDS, rounded
from epitaxy.evaluation.summary import compare_contenders, error_table
from epitaxy.training.checkpoint import Model
from epitaxy.training.files import write_json
from epitaxy.training.predict import formulas


def run_baselines(
    names: Sequence[str],
    folder: Path,
    crystals: Crystals,
    target: str,
    protocol: Protocol,
    ancestor: Model,
    at_least: int,
    threads: int,
    progress: bool,
) -> tuple[list[BaselineResult], list[str]]:
    """Return a result for every baseline and seed, and notes; what is in the folder is kept.

    A baseline of the default set that these crystals do not allow, such as a fingerprint that
    lacks one of their elements, is left out with a note; any other raises its InputError.
    """
    shared: dict[str, Representation] = {}
    results: list[BaselineResult] = []
    notes: list[str] = []
    for name in names:
        if progress and name != DUMMY:
            print(f"baseline {name}", file=sys.stderr)
        try:
            for seed, split in protocol.seeds.items():
                file = folder / f"{name}-seed{seed}.json"
                found = _finished(file, at_least)
                if found is None:
                    kind = features_of(name)
                    if kind not in shared:
                        shared = {kind: baseline_features(name, crystals, from_=ancestor)}
                    found = run_baseline(
                        name,
                        crystals,
                        target,
                        split.train,
                        split.validation,
                        protocol.test,
                        seed,
                        from_=ancestor,
                        at_least=at_least,
                        threads=threads,
                        features=shared[kind],
                    )
                    write_json(file, {"at_least": at_least, **found.to_json()})
                results.append(found)
        except InputError as error:
            if name not in DEFAULT_BASELINES:
                raise
            notes.append(f"the baseline {name} is left out: {error}")
            continue
        tried = len(results[-1].settings)
        if tried < at_least and name not in (DUMMY, DUMMY_MEAN):
            notes.append(f"{name} tried {tried} settings, and the networks {at_least}.")
    return results, notes


def tuning_rows(results: Sequence[BaselineResult]) -> Iterator[dict[str, object]]:
    """Yield contender, seed, setting, validation_mae and chosen."""
    for found in results:
        for setting, error in found.settings.items():
            yield {
                "contender": found.name,
                "seed": found.seed,
                "setting": setting,
                "validation_mae": error,
                "chosen": setting == found.setting,
            }


def prediction_records(
    crystals: Crystals,
    target: str,
    rows: Sequence[int],
    contender: str,
    seed: int,
    values: Sequence[float],
) -> pd.DataFrame:
    """Return contender, seed, id, formula, target, unit, truth and value of these rows."""
    part = crystals[list(rows)]
    declared = part.target(target)
    return pd.DataFrame(
        {
            "contender": contender,
            "seed": seed,
            "id": list(part.ids),
            "formula": formulas(part),
            "target": target,
            "unit": declared.unit,
            "truth": declared.values.double().tolist(),
            "value": list(values),
        }
    )


def baseline_verdict(predictions: pd.DataFrame, contender: str, baselines: Sequence[str]) -> str:
    """Say in one sentence how the contender stands to the best of these baselines.

    The interval is wider than 95 %, by Bonferroni, because the best of several was picked by its
    test error. Without baselines the sentence is empty.
    """
    tried = [name for name in baselines if name in set(predictions["contender"])]
    if not tried:
        return ""
    means = {name: error_table(predictions, name).to_numpy().mean() for name in tried}
    best = min(tried, key=lambda name: means[name])
    own = error_table(predictions, contender).to_numpy().mean()
    words = baseline_in_words(best)
    if own == 0.0:
        return f"{contender} makes no error at all on these test crystals."
    found = compare_contenders(predictions, best, contender, confidence=1.0 - 0.05 / len(tried))
    lower = found.difference > 0.0
    sign = 100.0 if lower else -100.0
    percent = [sign * one for one in (found.relative, found.relative_low, found.relative_high)]
    value, *ends = rounded(*percent, width=abs(percent[2] - percent[1]))
    low, high = ends if lower else reversed(ends)
    of = "" if len(tried) == 1 else f", widened for the best of {len(tried)} baselines"
    how = (
        f"its error is {value} % {'lower' if lower else 'higher'} than that of {contender} "
        f"({100 * found.confidence:.3g} % interval {low} to {high} %{of})"
    )
    if found.low > 0.0:
        text = f"{words} does better: {how}."
    elif found.high < 0.0:
        text = f"{words} does worse: {how}."
    else:
        text = f"{words} may do as well: {how}."
    if found.seeds < FEWEST_SEEDS:
        return f"Too few seeds to trust this either: {text}"
    return text[0].upper() + text[1:]


def _finished(file: Path, at_least: int) -> BaselineResult | None:
    """Return a result that was written for as many settings, if there is one."""
    if not file.is_file():
        return None
    values = json.loads(file.read_text(encoding="utf-8"))
    if values.pop("at_least") != at_least:
        return None
    return BaselineResult.from_json(values)
