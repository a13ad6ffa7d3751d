"""Pickled crystals without the danger: nothing is called but what this file allows."""

import pickle
from pathlib import Path
from typing import Any

from epitaxy.errors import InputError

_NUMPY = {  # what numpy's own arrays and numbers are rebuilt with; they run nothing else
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy.core.numeric", "_frombuffer"),
    ("numpy._core.numeric", "_frombuffer"),
}
_PLAIN = {("collections", "OrderedDict"), ("collections", "defaultdict")}
_INERT = ("pymatgen.",)


class Inert:
    """Stands in for an object of another house: keeps what it was made of, and does nothing."""

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments
        self.state: Any = {}

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        self.state = {**self.state, key: value}

    def __hash__(self) -> int:
        return hash(self.arguments)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Inert) and self.arguments == other.arguments

    def get(self, *names: str) -> Any:
        """Return the first of these attributes that the object had; None if it had none."""
        state = self.state
        if isinstance(state, tuple):  # of slots
            state = {key: value for part in state if part for key, value in part.items()}
        return next((state[name] for name in names if name in state), None)


class PlainUnpickler(pickle.Unpickler):
    """Reads numbers, texts, lists, dictionaries and arrays; pymatgen's objects become Inert.

    Raises UnpicklingError for every other class or function, before it is called.
    """

    def find_class(self, module: str, name: str) -> Any:
        """Return what a pickle may call by this name."""
        if (module, name) in _NUMPY | _PLAIN:
            return super().find_class(module, name)
        if module.startswith(_INERT):
            return Inert
        if (module, name) == ("_codecs", "encode"):  # bytes, up to protocol 2
            return _encoded
        if (module, name) in (("copyreg", "_reconstructor"), ("copy_reg", "_reconstructor")):
            return _reconstructed
        if (module, name) in (("builtins", "object"), ("__builtin__", "object")):
            return object
        raise pickle.UnpicklingError(
            f"it asks for {module}.{name}, which no file of crystals needs: such a pickle could "
            "run anything, so it is not read"
        )


def plain_pickle(path: Path) -> Any:
    """Return what a pickle holds; raises InputError where it asks for more than crystals need."""
    faults = (pickle.UnpicklingError, EOFError, AttributeError, IndexError, KeyError, TypeError)
    try:
        with path.open("rb") as file:
            return PlainUnpickler(file, encoding="latin1").load()
    except (*faults, ValueError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as a pickle of crystals: {error}.") from error


def plain_structure(structure: Any) -> dict[str, Any]:
    """Return pymatgen's dictionary of a structure that was read as Inert.

    Raises InputError where it is none, or where a site is shared by several elements.
    """
    if isinstance(structure, dict):
        return structure
    lattice = structure.get("_lattice", "lattice") if isinstance(structure, Inert) else None
    if lattice is None:
        raise InputError(f"a pickled structure is expected, not {type(structure).__name__}.")
    matrix = lattice.get("_matrix", "matrix")
    sites = structure.get("_sites", "sites")
    return {
        "lattice": {"matrix": [[float(x) for x in row] for row in matrix]},
        "sites": [
            {"species": [{"element": _element(site), "occu": 1}], "abc": _fractional(site)}
            for site in sites
        ],
    }


def _fractional(site: Inert) -> list[float]:
    return [float(x) for x in site.get("_frac_coords", "frac_coords")]


def _element(site: Inert) -> str:
    species = site.get("_species", "species")
    amounts = species.get("_data", "data") if isinstance(species, Inert) else None
    if not amounts or len(amounts) != 1 or abs(next(iter(amounts.values())) - 1) > 1e-6:
        raise InputError("a site is disordered: one whole atom per site is needed.")
    kind = next(iter(amounts))
    if isinstance(kind, Inert):
        symbol = kind.arguments[0] if kind.arguments else kind.get("_el", "_symbol", "symbol")
        return _symbol(symbol)
    return _symbol(kind)


def _symbol(found: Any) -> str:
    """Return an element's symbol, which a Species keeps as an Element."""
    while isinstance(found, Inert):
        found = found.arguments[0] if found.arguments else None
    if not isinstance(found, str):
        raise InputError(f"a site's element cannot be told from {found!r}.")
    return found


def _encoded(text: str, codec: str) -> bytes:
    """Stand in for what makes bytes of text; no other codec than Latin 1 is needed for that."""
    if codec != "latin1":
        raise pickle.UnpicklingError(f"it asks for the codec {codec!r}, which is not read")
    return text.encode("latin1")


def _reconstructed(kind: Any, base: Any, state: Any) -> Any:
    """Stand in for what makes objects of protocol 0 and 1; it makes Inert ones only."""
    if kind is not Inert:
        raise pickle.UnpicklingError(f"it makes an object of {kind!r}, which is not read")
    return Inert()
