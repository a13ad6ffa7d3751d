"""Crystals out of the entries of public files: with declared targets, screened, chunk by chunk."""

import contextlib
import hashlib
import math
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from epitaxy.crystals.crystals import Crystals, cat
from epitaxy.crystals.exchange import from_ase, from_pymatgen
from epitaxy.crystals.targets import Target
from epitaxy.datasets.cards import Card, CardTarget
from epitaxy.datasets.forms import Entry, structure_in, value_at
from epitaxy.datasets.read_report import ReadLog
from epitaxy.datasets.screening import screen
from epitaxy.datasets.structures import MissingPackageError, parsed_structure
from epitaxy.datasets.tables import MISSING
from epitaxy.errors import InputError
from epitaxy.units import canonical, conversion_factor

_VOIGT = [[0, 5, 4], [5, 1, 3], [4, 3, 2]]  # xx yy zz yz xz xy


@dataclass(frozen=True)
class _Row:
    crystal: Crystals
    values: Mapping[str, np.ndarray]
    entry: Entry


def crystals_of(
    entries: Iterable[Entry],
    card: Card,
    targets: Mapping[str, CardTarget],
    log: ReadLog,
    *,
    at_once: int = 512,
) -> Iterator[Crystals]:
    """Yield the crystals of entries in chunks; all chunks have all of the targets, NaN = missing.

    What cannot be read, overlaps, repeats an id or has an infinite value goes to the log. Ids are
    told apart by 64 bits of their hash, which take about 100 bytes each.
    """
    seen: set[int] = set()
    rows: list[_Row] = []
    for entry in entries:
        try:
            with _warnings_into(log, isinstance(entry.structure, str)):
                rows.append(_row(entry, card, targets))
        except MissingPackageError:
            raise
        except InputError as error:
            log.skip(entry.file, entry.row, entry.id, str(error))
        if len(rows) >= at_once:
            yield from _sound(rows, targets, seen, log)
            rows = []
    if rows:
        yield from _sound(rows, targets, seen, log)


@contextlib.contextmanager
def _warnings_into(log: ReadLog, there_may_be: bool) -> Iterator[None]:
    """Send what a CIF parser warns of to the log; other structures are not worth the time."""
    if not there_may_be:
        yield
        return
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    log.warnings.update(str(one.message).strip().splitlines()[0][:160] for one in caught)


def _row(entry: Entry, card: Card, targets: Mapping[str, CardTarget]) -> _Row:
    structure, _ = parsed_structure(structure_in(entry), Path())
    if card.reading.pbc is not None and hasattr(structure, "set_pbc"):
        structure.set_pbc(card.reading.pbc)
    convert = from_pymatgen if hasattr(structure, "site_properties") else from_ase
    crystal = convert([structure], {})
    values = {
        name: _value(name, value_at(entry.values, target.column), target, crystal.atom_total)
        for name, target in targets.items()
    }
    return _Row(crystal, values, entry)


def _value(name: str, found: Any, target: CardTarget, atoms: int) -> np.ndarray:
    """Return a value as numbers of the declared shape, in the declared unit; NaN where missing."""
    shape = (atoms, *target.shape) if target.level == "atom" else target.shape
    if found is None or (isinstance(found, str) and found.strip().lower() in MISSING):
        return np.full(shape, np.nan)
    try:
        numbers = np.asarray(_truth(found), dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"its '{target.column}' is no number: {str(found)[:40]!r}.") from error
    if shape == (3, 3) and numbers.shape == (6,):
        numbers = numbers[_VOIGT]
    flat = numbers.ndim <= 1 or numbers.shape == (*shape, 1) or (*numbers.shape, 1) == shape
    if numbers.shape != shape and flat and numbers.size == math.prod(shape):
        numbers = numbers.reshape(shape)
    if numbers.shape != shape:
        raise InputError(
            f"its '{target.column}' has the shape {numbers.shape}, where {shape} is declared for "
            f"'{name}'."
        )
    if np.isinf(numbers).any():
        raise InputError(f"its '{target.column}' is infinite.")
    factor = 1.0
    if target.source_unit is not None:
        factor = conversion_factor(target.source_unit, target.unit)
    return np.asarray(numbers * (factor * target.sign))


def _truth(found: Any) -> Any:
    """Return words for true and false as numbers; anything else as it is."""
    if isinstance(found, str):
        return {"true": 1.0, "false": 0.0}.get(found.strip().lower(), found)
    return found


def _sound(
    rows: list[_Row], targets: Mapping[str, CardTarget], seen: set[int], log: ReadLog
) -> Iterator[Crystals]:
    """Yield the crystals of rows that can be meant, as one chunk, if there are any."""
    crystals = cat([row.crystal for row in rows])
    faults = screen(crystals).faults
    kept: list[int] = []
    for position, row in enumerate(rows):
        reason = faults.get(position)
        known = int.from_bytes(hashlib.blake2b(row.entry.id.encode(), digest_size=8).digest())
        if reason is None and known in seen:
            reason = "its id stands already before it: ids must differ."
        if reason is not None:
            log.skip(row.entry.file, row.entry.row, row.entry.id, reason)
            continue
        seen.add(known)
        kept.append(position)
    if not kept:
        return
    found: dict[str, Target] = {}
    for name, target in targets.items():
        pieces = [rows[position].values[name] for position in kept]
        joined = np.concatenate(pieces) if target.level == "atom" else np.stack(pieces)
        found[name] = Target(
            torch.from_numpy(joined), target.level, canonical(target.unit), target.extensive
        )
    chosen = cat([rows[position].crystal for position in kept])
    yield Crystals(
        numbers=chosen.numbers,
        positions=chosen.positions.to(torch.float64),
        cell=chosen.cell.to(torch.float64),
        pbc=chosen.pbc,
        offsets=chosen.offsets,
        targets=found,
        ids=[rows[position].entry.id for position in kept],
    )
