"""Crystals to and from ASE and pymatgen; the functions for Arrow are handed on from here."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from epitaxy.crystals.arrow import from_arrow as from_arrow
from epitaxy.crystals.arrow import is_mapped_form as is_mapped_form
from epitaxy.crystals.arrow import open_arrow as open_arrow
from epitaxy.crystals.arrow import read_parquet as read_parquet
from epitaxy.crystals.arrow import to_arrow as to_arrow
from epitaxy.crystals.arrow import write_arrow as write_arrow
from epitaxy.crystals.arrow import write_parquet as write_parquet
from epitaxy.crystals.crystals import Crystals
from epitaxy.crystals.elements import atomic_number, symbol
from epitaxy.crystals.fingerprint import fingerprint as fingerprint
from epitaxy.crystals.targets import Level, Target
from epitaxy.errors import InputError, did_you_mean

if TYPE_CHECKING:
    import ase
    import pymatgen.core

# What ASE and its readers keep beside the properties of a structure.
_KEPT = """
    epitaxy epitaxy_cell id numbers positions tags momenta masses initial_magmoms initial_charges
    spacegroup spacegroup_kinds spacegroup_setting unit_cell occupancy pbc cell Lattice move_mask
    charge step castep_labels castep_custom_species isotope_mass selective_dynamics
"""
_NO_TARGETS = frozenset(_KEPT.split())


@dataclass(frozen=True)
class TargetDeclaration:
    """What a target's values mean: level, unit and whether they grow with the cell."""

    level: Level = "crystal"
    unit: str = ""
    extensive: bool = False


_CALCULATED = {  # what ASE's calculators return, in ASE's units
    "energy": TargetDeclaration("crystal", "eV", extensive=True),
    "free_energy": TargetDeclaration("crystal", "eV", extensive=True),
    "forces": TargetDeclaration("atom", "eV/Å"),
    "stress": TargetDeclaration("crystal", "eV/Å^3"),
    "magmom": TargetDeclaration("crystal", "μB", extensive=True),
    "magmoms": TargetDeclaration("atom", "μB"),
}


@dataclass(frozen=True)
class _Record:
    numbers: np.ndarray
    positions: np.ndarray
    cell: np.ndarray
    pbc: np.ndarray
    id: str
    values: Mapping[str, np.ndarray]
    atom_values: Mapping[str, np.ndarray]
    declared: Mapping[str, TargetDeclaration] = field(default_factory=dict)
    inputs: Sequence[str] = ()
    dtype: str = "float64"


def from_ase(
    atoms: "ase.Atoms | Sequence[ase.Atoms]",
    targets: Mapping[str, TargetDeclaration] | None = None,
) -> Crystals:
    """Return crystals with the targets found in ``atoms.info``, ``atoms.arrays`` and calculators.

    ``targets`` chooses and declares them; by default they are all numeric entries, declared as
    ``to_ase`` or ASE's calculators say, else without a unit and intensive. ``info["id"]`` names a
    structure. Raises InputError where a chosen target stands in no structure.
    """
    from ase import Atoms

    several = [atoms] if isinstance(atoms, Atoms) else list(atoms)
    return _assembled([_record_of_atoms(one, str(row)) for row, one in enumerate(several)], targets)


def to_ase(crystals: Crystals) -> "list[ase.Atoms]":
    """Return one Atoms per crystal; ``from_ase`` gets everything back.

    Targets stand in ``info`` and ``arrays``, their declarations as JSON in ``info["epitaxy"]``.
    """
    from ase import Atoms

    several = []
    for record in _records(crystals):
        one = Atoms(
            numbers=record.numbers, positions=record.positions, cell=record.cell, pbc=record.pbc
        )
        one.info |= {"id": record.id, "epitaxy": _declarations_as_json(record)}
        one.info |= {name: _plain(value) for name, value in record.values.items()}
        for name, values in record.atom_values.items():
            one.set_array(name, values)
        several.append(one)
    return several


def from_pymatgen(
    structures: "pymatgen.core.SiteCollection | Sequence[pymatgen.core.SiteCollection]",
    targets: Mapping[str, TargetDeclaration] | None = None,
) -> Crystals:
    """Return crystals with the targets found in ``properties`` and ``site_properties``.

    A Molecule has no periodic direction. ``targets`` is as in ``from_ase``. Raises InputError that
    names the site where a site is partly occupied or shared by several elements.
    """
    from pymatgen.core import SiteCollection

    several = [structures] if isinstance(structures, SiteCollection) else list(structures)
    records = [_record_of_structure(one, str(row)) for row, one in enumerate(several)]
    return _assembled(records, targets)


def to_pymatgen(crystals: Crystals) -> "list[pymatgen.core.SiteCollection]":
    """Return a Structure per periodic crystal and a Molecule where no direction is periodic.

    Raises InputError for slabs and chains without a full cell: pymatgen's lattice has no place
    for a zero vector.
    """
    from pymatgen.core import Lattice, Molecule, Structure

    several: list[pymatgen.core.SiteCollection] = []
    for record in _records(crystals):
        species = [symbol(int(number)) for number in record.numbers]
        properties: dict[str, Any] = {"id": record.id, "epitaxy": _declarations_as_json(record)}
        properties |= {name: _plain(value) for name, value in record.values.items()}
        sites = {name: values.tolist() for name, values in record.atom_values.items()}
        if not record.pbc.any():
            if record.cell.any():
                properties["epitaxy_cell"] = record.cell.tolist()
            molecule = Molecule(species, record.positions, site_properties=sites)
            molecule.properties = properties
            several.append(molecule)
            continue
        if abs(np.linalg.det(record.cell)) < 1e-6:
            raise InputError(
                f"crystal '{record.id}' has no volume (a lattice vector is zero along a direction "
                "that is not periodic), and pymatgen needs three independent ones: give that "
                "direction a vector as long as the vacuum, or use to_ase."
            )
        structure = Structure(
            Lattice(record.cell, pbc=tuple(record.pbc.tolist())),
            species,
            record.positions,
            coords_are_cartesian=True,
            site_properties=sites,
            properties=properties,
        )
        several.append(structure)
    return several


def _records(crystals: Crystals) -> Iterable[_Record]:
    crystals = crystals.to("cpu")
    declared = {
        name: TargetDeclaration(target.level, target.unit, target.extensive)
        for name, target in crystals.targets.items()
    }
    arrays = {name: target.values.detach().numpy() for name, target in crystals.targets.items()}
    inputs = {name: values.detach().numpy() for name, values in crystals.inputs.items()}
    by_atom = inputs | {n: arrays[n] for n, target in declared.items() if target.level == "atom"}
    by_crystal = {n: arrays[n] for n, target in declared.items() if target.level == "crystal"}
    reserved = next((name for name in (*by_atom, *by_crystal) if name in _NO_TARGETS), None)
    if reserved is not None:
        raise InputError(f"ASE keeps '{reserved}' for itself: rename that target or input.")
    offsets = crystals.offsets.tolist()
    for row, name in enumerate(crystals.ids):
        atoms = slice(offsets[row], offsets[row + 1])
        yield _Record(
            numbers=crystals.numbers[atoms].numpy(),
            positions=crystals.positions[atoms].detach().numpy(),
            cell=crystals.cell[row].detach().numpy(),
            pbc=crystals.pbc[row].numpy(),
            id=name,
            values={name: np.asarray(values[row]) for name, values in by_crystal.items()},
            atom_values={name: values[atoms] for name, values in by_atom.items()},
            declared=declared,
            inputs=tuple(inputs),
            dtype=str(crystals.positions.dtype).removeprefix("torch."),
        )


def _record_of_atoms(atoms: "ase.Atoms", fallback: str) -> _Record:
    results = dict(getattr(atoms.calc, "results", None) or {})
    found = {**results, **atoms.info}
    declared = {name: _CALCULATED[name] for name in results if name in _CALCULATED}
    by_atom = {name: values for name, values in atoms.arrays.items() if name not in _NO_TARGETS}
    for name in ("forces", "magmoms"):
        if name in found:
            by_atom[name] = found.pop(name)
    return _Record(
        numbers=atoms.numbers,
        positions=atoms.positions,
        cell=np.asarray(atoms.cell),
        pbc=np.asarray(atoms.pbc),
        id=str(atoms.info.get("id", fallback)),
        values=_numeric(found),
        atom_values=_numeric(by_atom),
        **_remembered(atoms.info.get("epitaxy"), declared),
    )


def _record_of_structure(structure: "pymatgen.core.SiteCollection", fallback: str) -> _Record:
    properties: dict[str, Any] = dict(getattr(structure, "properties", {}))
    name = str(properties.get("id", fallback))
    lattice = getattr(structure, "lattice", None)
    cell = properties.get("epitaxy_cell", np.zeros((3, 3))) if lattice is None else lattice.matrix
    sites = {
        key: values
        for key, values in structure.site_properties.items()
        if key not in _NO_TARGETS and not any(value is None for value in values)
    }
    return _Record(
        numbers=np.array([_only_element(site, row, name) for row, site in enumerate(structure)]),
        positions=np.asarray(structure.cart_coords),
        cell=np.asarray(cell),
        pbc=np.zeros(3, dtype=bool) if lattice is None else np.array(lattice.pbc),
        id=name,
        values=_numeric(properties),
        atom_values=_numeric(sites),
        **_remembered(properties.get("epitaxy"), {}),
    )


def _only_element(site: Any, row: int, name: str) -> int:
    if not site.is_ordered:
        occupancy = ", ".join(f"{specie}: {amount:g}" for specie, amount in site.species.items())
        raise InputError(
            f"site {row} of structure '{name}' is disordered ({occupancy}): Epitaxy needs one "
            "whole atom per site; order the structure first, e.g. with pymatgen's "
            "OrderDisorderedStructureTransformation."
        )
    text = getattr(site.specie, "element", site.specie).symbol
    return 1 if text in ("D", "T") else atomic_number(text)


def _assembled(
    records: Sequence[_Record], targets: Mapping[str, TargetDeclaration] | None
) -> Crystals:
    if not records:
        raise InputError("no structures were given.")
    inputs = dict.fromkeys(name for record in records for name in record.inputs)
    declared = _declarations(records, inputs) if targets is None else targets
    counts = np.array([len(record.numbers) for record in records])
    dtype = getattr(torch, records[0].dtype)
    return Crystals(
        numbers=torch.from_numpy(np.concatenate([r.numbers for r in records]).astype(np.int64)),
        positions=torch.from_numpy(np.concatenate([r.positions for r in records])).to(dtype),
        cell=torch.from_numpy(np.stack([r.cell for r in records])).to(dtype),
        pbc=torch.from_numpy(np.stack([r.pbc for r in records])),
        offsets=torch.from_numpy(np.concatenate([[0], np.cumsum(counts)])),
        targets={name: _joined(name, says, records, counts) for name, says in declared.items()},
        inputs={
            name: torch.from_numpy(np.concatenate([r.atom_values[name] for r in records]))
            for name in inputs
        },
        ids=[record.id for record in records],
    )


def _declarations(
    records: Sequence[_Record], inputs: Iterable[str]
) -> dict[str, TargetDeclaration]:
    declared: dict[str, TargetDeclaration] = {}
    for record in records:
        for name, says in record.declared.items():
            if declared.setdefault(name, says) != says:
                raise InputError(
                    f"target '{name}' is declared as {says} in structure '{record.id}' and as "
                    f"{declared[name]} before it."
                )
    for record in records:
        for name, values in record.values.items():
            if values.ndim == 0 or name == "stress":
                declared.setdefault(name, TargetDeclaration("crystal"))
        for name, values in record.atom_values.items():
            if name not in inputs and values.shape[1:] in ((), (3,)):
                declared.setdefault(name, TargetDeclaration("atom"))
    return declared


def _joined(
    name: str, says: TargetDeclaration, records: Sequence[_Record], counts: np.ndarray
) -> Target:
    by_atom = says.level == "atom"
    found = [(record.atom_values if by_atom else record.values).get(name) for record in records]
    shown = next((values for values in found if values is not None), None)
    if shown is None:
        known = {key for r in records for key in (r.atom_values if by_atom else r.values)}
        raise InputError(
            f"no structure has {says.level}-level '{name}'. {did_you_mean(name, known)}"
        )
    shape = shown.shape[1:] if by_atom else shown.shape
    pieces = []
    for record, values, count in zip(records, found, counts, strict=True):
        wanted = (int(count), *shape) if by_atom else shape
        piece = np.full(wanted, np.nan, dtype=shown.dtype) if values is None else values
        if piece.shape != wanted:
            raise InputError(
                f"'{name}' of structure '{record.id}' has shape {piece.shape}, not {wanted}."
            )
        pieces.append(piece)
    joined = np.concatenate(pieces) if by_atom else np.stack(pieces)
    return Target(torch.from_numpy(joined), says.level, says.unit, says.extensive)


def _numeric(entries: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Return the entries that are numbers as floating-point arrays; a stress as 3 × 3."""
    numbers: dict[str, np.ndarray] = {}
    for name, entry in entries.items():
        if name in _NO_TARGETS or entry is None or isinstance(entry, str | dict):
            continue
        try:
            values = np.asarray(entry)
        except ValueError:  # a ragged list is no target
            continue
        if values.dtype.kind not in "fiub":
            continue
        if values.dtype not in (np.float32, np.float64):
            values = values.astype(np.float64)
        if name == "stress" and values.shape == (6,):  # ASE's order: xx yy zz yz xz xy
            values = values[[0, 5, 4, 5, 1, 3, 4, 3, 2]]
        numbers[name] = values.reshape(3, 3) if name == "stress" and values.size == 9 else values
    return numbers


def _plain(value: np.ndarray) -> Any:
    return value if np.ndim(value) else value[()]


def _declarations_as_json(record: _Record) -> str:
    targets = {name: vars(says) for name, says in record.declared.items()}
    remembered = {"targets": targets, "inputs": list(record.inputs), "dtype": record.dtype}
    return json.dumps(remembered, ensure_ascii=False)


def _remembered(text: Any, declared: Mapping[str, TargetDeclaration]) -> dict[str, Any]:
    """Return a record's declarations: those of ``to_ase`` over those given here."""
    remembered = json.loads(text) if isinstance(text, str) else text or {}
    said = {name: TargetDeclaration(**says) for name, says in remembered.get("targets", {}).items()}
    return {
        "declared": {**declared, **said},
        "inputs": tuple(remembered.get("inputs", ())),
        "dtype": remembered.get("dtype", "float64"),
    }
