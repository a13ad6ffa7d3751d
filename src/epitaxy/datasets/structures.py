"""Single structures out of what people keep them in: files, CIF text, JSON dictionaries."""

import gzip
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from epitaxy.errors import InputError

FILE_FORMS = {  # suffix -> form
    ".cif": "cif",
    ".vasp": "vasp",
    ".poscar": "vasp",
    ".xyz": "extxyz",
    ".extxyz": "extxyz",
    ".db": "db",
    ".json": "json",
}
STRUCTURE_FORMS = ".cif, POSCAR, CONTCAR, .vasp, .xyz, .extxyz, .json"
_NO_STRUCTURES = ("atom_init.json",)  # CGCNN keeps its element vectors beside the CIFs
_Found = tuple[Any, str | None, Mapping[str, Any]]  # structure, id, values that belong to it


class MissingPackageError(InputError):
    """A package is not installed, so that no structure of this form can be read."""


def form_of_file(path: Path) -> str | None:
    """Return "cif", "vasp", "extxyz", "db" or "json"; None where the name says nothing."""
    if path.name.upper().startswith(("POSCAR", "CONTCAR")):
        return "vasp"
    name = path.name.removesuffix(".gz") if path.name.endswith(".json.gz") else path.name
    return FILE_FORMS.get(Path(name).suffix.lower())


def is_structure_file(path: Path) -> bool:
    """Return whether a file in a folder is one of its structures."""
    hidden = path.name.startswith(".") or path.name in _NO_STRUCTURES
    return not hidden and form_of_file(path) not in (None, "db") and path.is_file()


def file_named(text: str, folder: Path) -> Path | None:
    """Return the structure file that a table's cell names, its suffix given or not."""
    if not text or len(text) > 255 or "\n" in text:
        return None
    path = folder / text
    if form_of_file(path) is not None and path.is_file():
        return path
    with_suffix = (folder / f"{text}{suffix}" for suffix in FILE_FORMS if suffix != ".db")
    return next((candidate for candidate in with_suffix if candidate.is_file()), None)


def is_structure(cell: Any) -> bool:
    """Return whether a cell of a table holds a structure itself: an object, CIF text or JSON."""
    if isinstance(cell, str):
        return _is_cif_text(cell) or (cell.lstrip().startswith("{") and '"' in cell)
    if isinstance(cell, dict):
        return ("sites" in cell) or {"lattice_mat", "coords", "elements"} <= cell.keys()
    return hasattr(cell, "get_atomic_numbers") or hasattr(cell, "site_properties")


def parsed_structure(cell: Any, folder: Path) -> tuple[Any, str | None]:
    """Return the structure that a cell holds or names, and the file that it names.

    Raises InputError that says why there is none.
    """
    if hasattr(cell, "get_atomic_numbers") or hasattr(cell, "site_properties"):
        return cell, None
    if isinstance(cell, dict):
        return _from_dictionary(cell), None
    if not isinstance(cell, str) or not cell.strip():
        raise InputError(f"its structure is missing: the cell holds {cell!r}.")
    if _is_cif_text(cell):
        return _only(list(_structures_in_cif(cell)), "the CIF text"), None
    if cell.lstrip().startswith("{"):
        try:
            return _from_dictionary(json.loads(cell)), None
        except ValueError as error:
            raise InputError(f"its structure is no JSON: {error}.") from error
    path = file_named(cell, folder)
    if path is None:
        raise InputError(
            f"there is no structure file '{cell}' in {folder}, with or without a suffix "
            f"({STRUCTURE_FORMS}): add the file or remove the row."
        )
    return _only([found for found, _, _ in structures_in_file(path)], path.name), str(path)


def structures_in_file(path: Path) -> Iterator[_Found]:
    """Yield every structure of a file with its id and values, where the file says them.

    Raises InputError that says why the file, or the rest of it, cannot be read.
    """
    form = form_of_file(path)
    count = 0
    try:
        if path.stat().st_size == 0:
            raise InputError("the file is empty.")
        for found in _found_in_file(path, form):
            count += 1
            yield found
    except InputError:
        raise
    except Exception as error:  # parsers of other houses raise whatever they meet
        raise InputError(f"it cannot be read as {form}: {_said(error)}") from error
    if not count:
        raise InputError(f"the file holds no structures in the form {form}.")


def _found_in_file(path: Path, form: str | None) -> Iterator[_Found]:
    if form == "cif":
        text = path.read_text(encoding="utf-8", errors="replace")
        yield from ((structure, None, {}) for structure in _structures_in_cif(text))
    elif form == "json":
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt") as file:
            yield _from_dictionary(json.load(file)), None, {}
    elif form == "db":
        yield from _rows_of_database(path)
    else:
        from ase.io import iread

        yield from ((atoms, None, {}) for atoms in iread(path, index=":", format=form))


def _require_pymatgen(form: str) -> None:
    try:
        import pymatgen.core  # noqa: F401
    except ImportError as error:
        raise MissingPackageError(
            f"{form} is read with pymatgen, which cannot be imported ({error}): pip install "
            "pymatgen."
        ) from error


def _structures_in_cif(text: str) -> Iterator[Any]:
    _require_pymatgen("CIF")
    from pymatgen.io.cif import CifParser

    if not text.strip():
        raise InputError("the CIF is empty.")
    try:
        parser = CifParser(io.StringIO(text), check_cif=False)
        structures = parser.parse_structures(primitive=False, on_error="raise")
    except Exception as error:  # the parser raises whatever it meets
        raise InputError(f"it cannot be read as a CIF: {_said(error)}") from error
    if not structures:
        raise InputError("the CIF has no atoms.")
    yield from structures


def _rows_of_database(path: Path) -> Iterator[_Found]:
    from ase.db import connect

    with path.open("rb") as file:
        if file.read(15) != b"SQLite format 3":  # ASE would make a new database in its place
            raise InputError("it is no ASE database (SQLite).")
    with connect(path) as database:
        names = [row.get("name") for row in database.select(include_data=False)]
        keys = ("material_id",) if repeats(names) else ("material_id", "name")
        for row in database.select():
            values = dict(row.key_value_pairs)
            named = (str(values[key]) for key in keys if key in values)
            yield row.toatoms(), next(named, str(row.id)), values


def repeats(names: Sequence[Any]) -> bool:
    """Return whether a name stands twice among those that are there."""
    there = [name for name in names if name is not None]
    return len(set(there)) < len(there)


def _from_dictionary(content: Any) -> Any:
    if not (isinstance(content, dict) and is_structure(content)):
        raise InputError("it holds no structure: 'lattice' and 'sites' are expected.")
    if "lattice_mat" not in content:
        _require_pymatgen("pymatgen's JSON")
    try:
        if "lattice_mat" in content:  # JARVIS
            from ase import Atoms

            where = "positions" if content.get("cartesian") else "scaled_positions"
            coordinates = {where: content["coords"]}
            return Atoms(content["elements"], cell=content["lattice_mat"], pbc=True, **coordinates)
        from pymatgen.core import Molecule, Structure

        return (Structure if "lattice" in content else Molecule).from_dict(content)
    except Exception as error:  # pymatgen raises whatever it meets
        raise InputError(f"it cannot be read as a structure: {_said(error)}") from error


def _only(structures: list[Any], where: str) -> Any:
    if len(structures) != 1:
        raise InputError(f"{where} holds {len(structures)} structures; a row of a table needs one.")
    return structures[0]


def _is_cif_text(text: str) -> bool:
    return "_cell_length_a" in text or (text.lstrip().startswith("data_") and "\n" in text)


def _said(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return f"{text[0][:200]} ({type(error).__name__})." if text else f"{type(error).__name__}."
