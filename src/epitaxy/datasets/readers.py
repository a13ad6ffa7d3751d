"""Crystals out of whatever people have: files, folders, tables, databases, objects."""

import math
import os
import sys
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from epitaxy.crystals.crystals import Crystals
from epitaxy.crystals.targets import Target
from epitaxy.datasets import sources
from epitaxy.datasets.cards import catalogue, is_in_catalogue, nearest_names
from epitaxy.datasets.read_report import ReadLog, ReadReport
from epitaxy.datasets.screening import LONELY, screen
from epitaxy.datasets.sources import Harvest
from epitaxy.datasets.structures import form_of_file
from epitaxy.datasets.tables import MISSING, Request
from epitaxy.errors import InputError, SkippedWarning, did_you_mean
from epitaxy.units import conversion_factor, is_known, parse_target

Source = Any  # a path, a folder, a DataFrame, structures of ASE or pymatgen, Crystals
Reader = Callable[[Any, Request, ReadLog], Harvest]

_KNOWN_FORMS = (
    "a CIF, POSCAR/CONTCAR/.vasp, (extended) .xyz, ASE .db, pymatgen .json or .json.gz, .parquet, "
    ".arrow or .csv file; a folder of structure files; a pandas DataFrame; ASE Atoms or pymatgen "
    "Structures, one or a list; Crystals; the name of a data set of `epitaxy data list`"
)
_WITHOUT_UNIT = ("", "1")


@dataclass(frozen=True)
class _Wanted:
    name: str
    unit: str | None


def read_crystals(
    source: Source,
    *,
    targets: Sequence[str] | str | None = None,
    extensive: Collection[str] | bool = (),
    strict: bool = False,
    id_column: str | None = None,
) -> Crystals:
    """Return the crystals of a source with their targets; see ``read_with_report``.

    Warns with a SkippedWarning that lists what was left out, and why.
    """
    crystals, report = read_with_report(
        source, targets=targets, extensive=extensive, strict=strict, id_column=id_column
    )
    if report.skipped:
        warnings.warn(report.summary(), SkippedWarning, stacklevel=2)
    return crystals


def read_with_report(
    source: Source,
    *,
    targets: Sequence[str] | str | None = None,
    extensive: Collection[str] | bool = (),
    strict: bool = False,
    id_column: str | None = None,
) -> tuple[Crystals, ReadReport]:
    """Return the crystals of a source, and what was left out, converted or worth knowing.

    Every structure is screened for overlaps and repeated ids, those in memory too; only an
    ``.arrow`` file of ours is mapped as it is, so that a million crystals open at once.

    Args:
        source: a CIF, POSCAR, extended XYZ, ASE database, JSON, Parquet, ``.arrow`` or CSV file; a
            folder of structure files, with ``id_prop.csv`` or ``targets.csv`` if there is one; a
            DataFrame; Atoms or Structures, one or a list; Crystals; where no such path is, the
            name of a public data set (``load_dataset``).
        targets: names, each with its unit if wished: ``"band_gap[eV]"``. A unit other than the one
            that the source declares is converted to. None takes every numeric column; an empty
            sequence takes none, and labels are not even looked at.
        extensive: the targets that grow with the size of the cell; True for all of them, False for
            none; by default as the source declares.
        strict: raise at the first structure or row that cannot be used, instead of skipping it.
        id_column: the column that names the crystals.

    Raises InputError for a source that is not there, of no known form or without one readable
    crystal, for a target that is not there, and for a unit that cannot be converted.
    """
    wanted = _wanted(targets)
    names = None if wanted is None else tuple(target.name for target in wanted)
    form, label, read = _recognized(source)
    log = ReadLog(strict=strict)
    harvest = read(source, Request(names, id_column), log)
    if not len(harvest.crystals):
        raise InputError(f"{label} holds no crystals.")
    crystals, keep = _with_columns(harvest, names, log)
    crystals = _declared(crystals, wanted, extensive, log)
    if not harvest.screened:
        keep = _without_faults(harvest, crystals, keep, log)
    if wanted:
        keep &= _with_a_target(harvest, crystals, keep, log)
    if not keep.any():
        raise InputError(f"nothing in {label} can be used.{sources.first_reasons(log)}")
    if not keep.all():
        crystals = crystals[torch.from_numpy(keep)]
    _note_periodicity(crystals, log)
    return crystals, log.report(form, label, len(crystals))


def _wanted(targets: Sequence[str] | str | None) -> list[_Wanted] | None:
    if targets is None:
        return None
    texts = [targets] if isinstance(targets, str) else list(targets)
    wanted = [_Wanted(*parse_target(text)) for text in texts]
    for position, target in enumerate(wanted):
        if any(other.name == target.name for other in wanted[:position]):
            raise InputError(f"target '{target.name}' is asked for twice.")
    return wanted


def _recognized(source: Source) -> tuple[str, str, Reader]:
    """Return the form of a source in words, what to call it, and its reader."""
    if isinstance(source, Crystals):
        return (
            "Crystals",
            "Crystals in memory",
            lambda crystals, *_: Harvest(crystals, sources.Rows("", len(crystals))),
        )
    if isinstance(source, str | os.PathLike):
        if isinstance(source, str) and not Path(source).exists() and is_in_catalogue(source):
            from epitaxy.datasets.catalogue import read_named

            return "data set of the catalogue", source, read_named
        return _recognized_path(Path(source))
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(source, pandas.DataFrame):
        return "pandas DataFrame", "a DataFrame", sources.read_dataframe
    several = [source] if _is_object(source) else source
    if isinstance(several, Sequence | np.ndarray) and len(several):
        if all(_is_object(one) for one in several):
            return (
                "structures in memory",
                "structures in memory",
                lambda _, *rest: sources.read_objects(list(several), *rest),
            )
        if all(isinstance(one, str | os.PathLike) for one in several):
            paths = [_existing(Path(one)) for one in several]
            return (
                "structure files",
                f"{len(paths)} files",
                lambda _, *rest: sources.read_structure_files(paths, *rest),
            )
    raise InputError(
        f"an object of type {type(source).__name__} is no source of crystals that is known, or is "
        f"empty. Known: {_KNOWN_FORMS}."
    )


def _recognized_path(path: Path) -> tuple[str, str, Reader]:
    _existing(path)
    if path.is_dir():
        return "folder of structure files", str(path), _of_path(sources.read_folder)
    suffix = path.suffix.lower()
    tables: dict[str, tuple[str, Reader]] = {
        ".csv": ("CSV table", sources.read_csv),
        ".parquet": ("Parquet", sources.read_parquet_file),
        ".arrow": ("Arrow", sources.read_arrow_file),
    }
    if suffix in tables:
        form, read = tables[suffix]
        return form, str(path), _of_path(read)
    form = form_of_file(path) or ""
    spoken = {"cif": "CIF", "vasp": "POSCAR", "extxyz": "extended XYZ", "db": "ASE database"}
    if form == "json":
        return "pymatgen JSON", str(path), _of_path(sources.read_json)
    if form in spoken:
        return spoken[form], str(path), _of_path(sources.read_structure_file)
    raise InputError(f"the form of {path} is not known. Known: {_KNOWN_FORMS}.")


def _of_path(read: Reader) -> Reader:
    return lambda source, request, log: read(Path(source), request, log)


def _existing(path: Path) -> Path:
    if not path.exists():
        meant = ""
        if path.parent == Path() and not path.suffix:  # it might have been meant as a data set
            meant = (
                f" Nor is it a data set of the catalogue. {nearest_names(path.name, catalogue())}"
            )
        raise InputError(f"there is no file or folder {path} (looked from {Path.cwd()}).{meant}")
    return path


def _is_object(one: Any) -> bool:
    return hasattr(one, "get_atomic_numbers") or hasattr(one, "site_properties")


def _with_columns(
    harvest: Harvest, names: Sequence[str] | None, log: ReadLog
) -> tuple[Crystals, np.ndarray]:
    """Turn the raw columns of a table into targets; a value that is no number drops its row."""
    crystals = harvest.crystals
    keep = np.ones(len(crystals), dtype=bool)
    found = dict(crystals.targets)
    known = {*found, *(_name_and_unit(header)[0] for header in harvest.columns)}
    for name in names or ():
        if name not in known:
            why = "" if known else " ".join(("", *log.notes))
            raise InputError(
                f"there is no column or target '{name}'. {did_you_mean(name, known)}{why}"
            )
    for header, cells in harvest.columns.items():
        name, unit = _name_and_unit(header)
        if names is not None and name not in names:
            continue
        values, wrong = _as_numbers(cells)
        numeric = int(np.isfinite(values).sum())
        if names is None and numeric <= len(wrong):
            continue
        if numeric == 0 and wrong:
            first = next(iter(wrong.values()))
            raise InputError(
                f"column '{header}' holds no numbers but e.g. '{first}'. Classes are to be "
                "numbered: 0, 1, …"
            )
        for position, cell in wrong.items():
            if keep[position]:
                keep[position] = False
                _skip(
                    harvest,
                    position,
                    log,
                    f"column '{header}' holds '{cell}', which is no finite number: correct it, or "
                    "leave the cell empty where the value is missing.",
                )
        found[name] = Target(torch.from_numpy(values), unit=unit or "")
    return crystals.with_targets(found), keep


def _name_and_unit(header: str) -> tuple[str, str | None]:
    try:
        return parse_target(header)
    except InputError:  # brackets that enclose no unit belong to the name
        return header, None


def _as_numbers(cells: Sequence[Any]) -> tuple[np.ndarray, dict[int, str]]:
    """Return the cells as numbers, NaN where missing, and those that are something else."""
    values = np.full(len(cells), np.nan)
    wrong: dict[int, str] = {}
    truth = {"true": 1.0, "false": 0.0}
    for position, cell in enumerate(cells):
        if cell is None or (isinstance(cell, str) and cell.strip().lower() in MISSING):
            continue
        try:
            text = cell.strip().lower() if isinstance(cell, str) else ""
            value = truth[text] if text in truth else float(cell)
        except (TypeError, ValueError):
            wrong[position] = str(cell)[:60]
            continue
        if math.isinf(value):
            wrong[position] = str(cell)
        else:
            values[position] = value
    return values, wrong


def _declared(
    crystals: Crystals,
    wanted: list[_Wanted] | None,
    extensive: Collection[str] | bool,
    log: ReadLog,
) -> Crystals:
    """Choose the targets and bring them to the units and the size law that the caller states."""
    if wanted is None:
        wanted = [_Wanted(name, None) for name in crystals.targets]
    found: dict[str, Target] = {}
    for target in wanted:
        found[target.name] = _in_unit(crystals.targets[target.name], target, log)
    return crystals.with_targets(_with_size_law(found, extensive))


def _in_unit(target: Target, wanted: _Wanted, log: ReadLog) -> Target:
    unit = wanted.unit
    if unit is None and target.unit in _WITHOUT_UNIT:
        log.note(f"no unit is known for '{wanted.name}': state it as '{wanted.name}[eV]', say.")
    if unit is None or unit == target.unit:
        return target
    if target.unit in _WITHOUT_UNIT:
        known = "" if is_known(unit) else f" (a unit that cannot be converted: '{unit}')"
        log.note(f"the source states no unit for '{wanted.name}': taken as {unit}{known}.")
        return replace(target, unit=unit)
    try:
        factor = conversion_factor(target.unit, unit)
    except InputError as error:
        raise InputError(
            f"the source declares '{wanted.name}' in '{target.unit}', not in '{unit}': {error} "
            f"Ask for '{wanted.name}[{target.unit}]'."
        ) from error
    log.note(f"'{wanted.name}' was converted from {target.unit} to {unit} (× {factor:.8g}).")
    return target.converted(unit)


def _with_size_law(
    targets: Mapping[str, Target], extensive: Collection[str] | bool
) -> dict[str, Target]:
    if isinstance(extensive, bool):
        return {
            name: replace(target, extensive=extensive) if target.level == "crystal" else target
            for name, target in targets.items()
        }
    named = {extensive} if isinstance(extensive, str) else set(extensive)
    for name in sorted(named):
        if name not in targets:
            raise InputError(f"no target '{name}' to be extensive. {did_you_mean(name, targets)}")
        if targets[name].level == "atom" or targets[name].unit.endswith("/atom"):
            raise InputError(
                f"target '{name}' is given per atom, so it does not grow with the cell: do not "
                "declare it extensive."
            )
    return {
        name: replace(target, extensive=True) if name in named else target
        for name, target in targets.items()
    }


def _without_faults(
    harvest: Harvest, crystals: Crystals, keep: np.ndarray, log: ReadLog
) -> np.ndarray:
    """Drop structures that cannot be meant, and the second of two with one id."""
    keep = keep.copy()
    screening = screen(crystals)
    first: dict[str, int] = {}
    for position, name in enumerate(crystals.ids):
        reason = screening.faults.get(position)
        if not keep[position]:
            continue
        if reason is None and name in first:
            where = harvest.origins[first[name]]
            reason = f"its id stands already at {where}: ids must differ; rename one."
        if reason is None:
            first[name] = position
            continue
        keep[position] = False
        _skip(harvest, position, log, reason)
    lonely = {c: atoms for c, atoms in screening.isolated.items() if keep[c]}
    if lonely:
        log.note(
            f"{sum(lonely.values())} atoms in {len(lonely)} crystals have no neighbor within "
            f"{LONELY:g} Å, e.g. in '{crystals.ids[next(iter(lonely))]}'."
        )
    return keep


def _with_a_target(
    harvest: Harvest, crystals: Crystals, keep: np.ndarray, log: ReadLog
) -> np.ndarray:
    """Drop crystals for which every target that was asked for is missing."""
    present = np.zeros(len(crystals), dtype=bool)
    for target in crystals.targets.values():
        there = target.present()
        if target.level == "atom":
            counts = torch.zeros(len(crystals), dtype=torch.int64)
            there = counts.index_add(0, crystals.crystal_of_atom, there.long()) > 0
        present |= there.numpy()
    for position in np.flatnonzero(keep & ~present).tolist():
        names = ", ".join(crystals.targets)
        _skip(harvest, position, log, f"no value is given for {names}: fill in one.")
    return present


def _skip(harvest: Harvest, position: int, log: ReadLog, reason: str) -> None:
    origin = harvest.origins[position]
    log.skip(origin.file, origin.row, harvest.crystals.ids[position], reason)


def _note_periodicity(crystals: Crystals, log: ReadLog) -> None:
    periodic = crystals.pbc.sum(1)
    molecules = int((periodic == 0).sum())
    partly = int(((periodic > 0) & (periodic < 3)).sum())
    if molecules:
        log.note(f"{molecules} structures are not periodic (molecules).")
    if partly:
        log.note(f"{partly} structures are periodic in one or two directions (chains, slabs).")
