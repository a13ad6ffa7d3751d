"""Units and signs: a column against what it can be, and against the columns beside it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from epitaxy.crystals.crystals import Crystals
from epitaxy.datasets.audits.facts import Facts
from epitaxy.datasets.audits.findings import Finding, examples
from epitaxy.datasets.audits.quantities import (
    Quantity,
    is_logarithm,
    natural_values,
    quantity_named,
)
from epitaxy.datasets.audits.relations import broken_relations

Values = Float[np.ndarray, " crystals"]
_MOST = 0.5  # of the values on the impossible side of zero: the sign, not single rows


@dataclass(frozen=True, eq=False)
class Column:
    """A column whose quantity is known, as it stands and in the quantity's unit."""

    name: str
    quantity: Quantity
    unit: str
    stored: Values
    values: Values


def known_columns(facts: Facts) -> dict[str, Column]:
    """Return the crystal-level columns whose names say what they hold."""
    columns = {}
    for name, target in facts.crystals.targets.items():
        quantity = quantity_named(name)
        if quantity is None or target.level != "crystal" or target.values.ndim != 1:
            continue
        stored = target.values.numpy().astype(np.float64)
        values = natural_values(name, target, quantity, facts)
        columns[name] = Column(name, quantity, target.unit, stored, values)
    return columns


def unit_findings(facts: Facts, wanted: set[str]) -> list[Finding]:
    """Return wrong units, signs, impossible values and exchanged columns among those wanted."""
    columns = known_columns(facts)
    wrong = {name: _misfits(column, facts) for name, column in columns.items()}
    broken = broken_relations({n: (c.quantity.name, c.values) for n, c in columns.items()}, facts)
    findings: list[Finding] = []
    settled: set[str] = set()
    for one, other in _exchanged(columns, wrong, facts):
        settled |= {one, other}
        if wanted & {one, other}:
            findings.append(
                Finding(
                    "error",
                    "swapped columns",
                    f"'{one}' and '{other}' fit each other's name, not their own "
                    f"({'; '.join(_why(wrong, one, other, columns, facts))}).",
                    len(facts.crystals),
                    "look at how the columns were joined; exchange them.",
                    one,
                )
            )
    for name, column in columns.items():
        if name in wanted and name not in settled:
            findings += _of_column(column, wrong[name], facts)
            settled |= {name} if wrong[name] else set()
    for text, names in broken:
        if not settled & set(names) and wanted & set(names):
            findings.append(
                Finding(
                    "error",
                    "columns that contradict",
                    f"{text}.",
                    len(facts.crystals),
                    "one of them has another unit or meaning than its name says.",
                    names[0],
                )
            )
    return findings


def _misfits(column: Column, facts: Facts) -> list[str]:
    """Return in words which windows a column as a whole misses."""
    texts = []
    for window in column.quantity.windows:
        found = window.measure(column.values, facts)
        if found is not None and not window.low <= found <= window.high:
            expected = f"{window.low:.3g} to {window.high:.3g}"
            texts.append(f"{window.spoken} is {found:.3g} (expected: {expected})")
    below, above = _impossible(column)
    present = max(int(np.isfinite(column.values).sum()), 1)
    if (below | above).sum() > _MOST * present:
        texts.append(
            f"{(below | above).sum()} of {present} values are impossible for "
            f"{_article(column.quantity.name)}"
        )
    elif (below | above).sum() > 0.02 * present:  # too many to be single bad rows
        texts.append(
            f"{(below | above).sum()} of {present} values lie outside of "
            f"{column.quantity.lowest:g} to {column.quantity.highest:g}"
        )
    return texts


def _article(name: str) -> str:
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _impossible(column: Column) -> tuple[np.ndarray, np.ndarray]:
    with np.errstate(invalid="ignore"):
        return (column.values < column.quantity.lowest, column.values > column.quantity.highest)


def _of_column(column: Column, wrong: list[str], facts: Facts) -> list[Finding]:
    spoken = _article(column.quantity.name)
    unit = column.quantity.unit if column.unit in ("", "1") else column.unit
    findings = []
    if wrong:
        guesses = _guesses(column, facts)
        sign = guesses[:1] == ["of the other sign"]
        advice = (
            f"the values would fit if they were {' or '.join(guesses[:3])}: correct the column or "
            "the unit that is declared."
            if guesses
            else "look at where the column comes from."
        )
        findings.append(
            Finding(
                "error" if guesses else "warning",
                "sign" if sign else "unit",
                f"for {spoken}{' in ' * bool(unit)}{unit}, {'; '.join(wrong)}.",
                int(np.isfinite(column.values).sum()),
                advice,
                column.name,
            )
        )
    below, above = _impossible(column)
    rows = np.flatnonzero(below | above)
    if len(rows) and not wrong:
        worst = rows[np.argsort(-np.abs(column.values[rows]))]
        findings.append(
            Finding(
                "error",
                "impossible values",
                f"{len(rows)} values are none that {_article(column.quantity.name)} can have, e.g. "
                f"{column.stored[worst[0]]:.4g} {unit}.",
                len(rows),
                "correct or remove these rows.",
                column.name,
                examples(facts.crystals, worst),
            )
        )
    return findings


def _guesses(column: Column, facts: Facts) -> list[str]:
    """Return what the values may be instead, the likeliest first."""
    guesses: list[tuple[float, str]] = []
    if not _misfits(_mirrored(column, facts), facts):
        guesses.append((-1.0, "of the other sign"))
    if is_logarithm(column.name, column.unit):
        natural = replace(column, values=np.exp(np.clip(column.stored, -50, 50)))
        plain = replace(column, values=column.stored)
        if not _misfits(natural, facts):
            guesses.append((0.0, "natural logarithms"))
        if not _misfits(plain, facts):
            guesses.append((0.0, "no logarithms"))
    for unit, factor in column.quantity.mistakes.items():
        for sign, word in ((1, ""), (-1, ", of the other sign")):
            guess = replace(column, values=sign * column.values / factor)
            if not _misfits(guess, facts):
                guesses.append((_distance(guess, facts) + (sign < 0), f"in {unit}{word}"))
    if column.quantity.grows and not guesses:
        for law, word in ((facts.atom_counts, "per atom"), (1 / facts.atom_counts, "per cell")):
            if not _misfits(replace(column, values=column.values * law), facts):
                guesses.append((2.0, word))
    return [text for _, text in sorted(guesses)]


def _mirrored(column: Column, facts: Facts) -> Column:
    if is_logarithm(column.name, column.unit):
        return replace(column, values=1 / np.maximum(column.values, 1e-300))
    return replace(column, values=-column.values)


def _distance(column: Column, facts: Facts) -> float:
    """Return how far a column lies from the middle of its windows, in decades."""
    far = 0.0
    for window in column.quantity.windows:
        found = window.measure(column.values, facts)
        if found is not None and found > 0 and window.low > 1e-8:
            middle = np.sqrt(window.low * window.high)
            far = max(far, abs(np.log10(found / middle)))
    return far


def _exchanged(
    columns: Mapping[str, Column], wrong: Mapping[str, list[str]], facts: Facts
) -> list[tuple[str, str]]:
    """Return pairs of columns that have faults as named, and none when exchanged."""
    pairs = []
    names = list(columns)
    for position, one in enumerate(names):
        for other in names[position + 1 :]:
            if columns[one].quantity is columns[other].quantity:
                continue
            if not _both_suspect(columns, wrong, one, other, facts):
                continue
            swapped = {
                **columns,
                one: _holding(columns[one], columns[other]),
                other: _holding(columns[other], columns[one]),
            }
            if not _faults(swapped, one, other, facts):
                pairs.append((one, other))
    return pairs


def _both_suspect(
    columns: Mapping[str, Column],
    wrong: Mapping[str, list[str]],
    one: str,
    other: str,
    facts: Facts,
) -> bool:
    """Return whether both columns, or what they are to each other, are wrong.

    One wrong column beside a right one counts where no unit or sign mends it.
    """
    if wrong[one] and wrong[other]:
        return True
    pair = {name: (columns[name].quantity.name, columns[name].values) for name in (one, other)}
    if broken_relations(pair, facts):
        return True
    return any(wrong[name] and not _guesses(columns[name], facts) for name in (one, other))


def _holding(named: Column, held: Column) -> Column:
    """Return a column under its own name and size law with the stored values of another."""
    values = held.stored
    if is_logarithm(named.name, named.unit):
        values = 10.0 ** np.clip(values, -300, 300)
    finite = np.isfinite(named.stored) & (named.stored != 0)
    if not is_logarithm(named.name, named.unit) and finite.any():
        values = values * np.where(finite, named.values / np.where(finite, named.stored, 1), 1.0)
    return replace(named, stored=held.stored, values=values)


def _faults(columns: Mapping[str, Column], one: str, other: str, facts: Facts) -> list[str]:
    """Return all that is wrong with two columns, alone and beside the others."""
    known = {name: (column.quantity.name, column.values) for name, column in columns.items()}
    broken = [text for text, names in broken_relations(known, facts) if {one, other} & set(names)]
    return _misfits(columns[one], facts) + _misfits(columns[other], facts) + broken


def _why(
    wrong: Mapping[str, list[str]],
    one: str,
    other: str,
    columns: Mapping[str, Column],
    facts: Facts,
) -> list[str]:
    return (_faults(columns, one, other, facts) or wrong[one])[:2]


def quantity_notes(crystals: Crystals, wanted: set[str]) -> list[Finding]:
    """Return a note on the columns whose names say nothing, so that no range is known."""
    unknown = [
        name
        for name in crystals.targets
        if name in wanted
        and quantity_named(name) is None
        and name not in ("forces", "stress", "magmoms")
    ]
    if not unknown:
        return []
    return [
        Finding(
            "note",
            "unknown quantity",
            f"no range is known for {', '.join(unknown)}: judged by statistics alone.",
            len(crystals),
            "a name such as band_gap or bulk_modulus says what is held.",
        )
    ]
