"""What crystals have in common: formula, elements, prototype, structure."""

import string
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import gcd
from typing import Any

import numpy as np
from jaxtyping import Int
from numpy import ndarray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from epitaxy.crystals.crystals import Crystals
from epitaxy.crystals.elements import atomic_number, formula, symbol
from epitaxy.crystals.exchange import to_pymatgen
from epitaxy.errors import InputError

SYMMETRY_PRECISION = 0.01  # Å; how far atoms may be from where the symmetry wants them
VOLUME_WINDOW = 1.2  # ratio of volumes per atom beyond which structures are not the same
LENGTH_WINDOW = 0.1  # Å; how far distances in the same molecule may differ


def reduced_formulas(crystals: Crystals) -> list[str]:
    """Return every crystal's reduced formula, ``"CaTiO3"``."""
    return [formula(numbers) for numbers in _numbers(crystals)]


def chemical_systems(crystals: Crystals) -> list[str]:
    """Return every crystal's elements in alphabetical order, ``"Ca-O-Ti"``."""
    return ["-".join(sorted(map(symbol, set(numbers)))) for numbers in _numbers(crystals)]


def anonymous_formula(numbers: Sequence[int]) -> str:
    """Return the reduced formula without the elements' names, the smallest amount first.

    >>> anonymous_formula([20, 22, 8, 8, 8])
    'ABC3'
    """
    counts = sorted(Counter(numbers).values())
    divisor = gcd(*counts)
    letters = [*string.ascii_uppercase, *(f"({k})" for k in range(27, 120))]
    amounts = (count // divisor for count in counts)
    return "".join(
        letter if amount == 1 else f"{letter}{amount}"
        for letter, amount in zip(letters, amounts, strict=False)
    )


def prototypes(crystals: Crystals, symprec: float = SYMMETRY_PRECISION) -> list[str]:
    """Return every crystal's anonymous formula and space group, ``"ABC3 221"``.

    Coarser than a prototype of a database, whose Wyckoff positions differ too: what is one
    prototype is always one group here. Crystals that are not periodic in all directions, or whose
    symmetry is not found, are grouped by the anonymous formula and that fact.
    """
    spglib = _spglib()
    labels = []
    offsets = crystals.offsets.tolist()
    positions, cells = crystals.positions.double().numpy(), crystals.cell.double().numpy()
    for row, numbers in enumerate(_numbers(crystals)):
        directions = int(crystals.pbc[row].sum())
        if directions < 3:
            label = f"periodic in {directions} directions"
        else:
            inside = positions[offsets[row] : offsets[row + 1]] @ np.linalg.inv(cells[row])
            label = _space_group(spglib, (cells[row], inside, numbers), symprec)
        labels.append(f"{anonymous_formula(numbers)} {label}")
    return labels


def containing(crystals: Crystals, elements: Sequence[str]) -> ndarray:
    """Return a mask, shape (crystals,): which contain one of the elements.

    Raises InputError for an element that none contains, naming those that are there.
    """
    found = np.zeros(len(crystals), dtype=bool)
    present = Counter(number for numbers in _numbers(crystals) for number in set(numbers))
    for name in elements:
        number = atomic_number(name)
        if not present[number]:
            common = ", ".join(f"{symbol(z)} ({n})" for z, n in present.most_common(12))
            raise InputError(f"no crystal contains {name}. The most common elements: {common}.")
        found |= np.array([number in numbers for numbers in _numbers(crystals)])
    return found


def equal_structures(crystals: Crystals) -> list[str]:
    """Return a label of every crystal, equal for those that are the same structure.

    Crystals are the same where pymatgen's StructureMatcher, with its own tolerances, maps one on
    the other; only those with one reduced formula and volumes per atom within 20 % of each other
    are held against each other. Molecules are the same where their sorted interatomic distances
    are within 0.1 Å. Slabs and chains count as crystals with the cell that they have; without a
    volume they are the same as none.
    """
    pairs: list[tuple[int, int]] = []
    by_formula: dict[str, list[int]] = {}
    for row, text in enumerate(reduced_formulas(crystals)):
        by_formula.setdefault(text, []).append(row)
    for rows in by_formula.values():
        if len(rows) > 1:
            pairs.extend(_equal_pairs(crystals[rows], rows))
    return [str(label) for label in _connected(len(crystals), pairs)]


def merged(*labels: Sequence[Any]) -> Int[ndarray, " crystals"]:
    """Return a number of every crystal, equal for those that share a label of any kind.

    >>> merged(["a", "a", "b", "c"], [1, 2, 2, 3]).tolist()
    [0, 0, 0, 1]
    """
    pairs = []
    for kind in labels:
        first: dict[Any, int] = {}
        pairs += [(first.setdefault(label, row), row) for row, label in enumerate(kind)]
    return _connected(len(labels[0]), pairs)


def _numbers(crystals: Crystals) -> Iterator[list[int]]:
    numbers = crystals.numbers.tolist()
    return (numbers[first:last] for first, last in pairwise(crystals.offsets.tolist()))


def _spglib() -> Any:
    try:
        import spglib
    except ImportError as error:
        raise InputError(
            f"space groups are found with spglib, which cannot be imported ({error}): pip install "
            "spglib."
        ) from error
    return spglib


def _space_group(spglib: Any, cell: Any, symprec: float) -> str:
    with warnings.catch_warnings():
        # spglib either returns None or raises, and says meanwhile which of them is the older way
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            found = spglib.get_symmetry_dataset(cell, symprec=symprec)
        except spglib.SpglibError:
            found = None
    return "without a space group" if found is None else str(found.number)


def _connected(count: int, pairs: Sequence[tuple[int, int]]) -> Int[ndarray, " crystals"]:
    first, second = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    graph = coo_array((np.ones(len(first), dtype=bool), (first, second)), shape=(count, count))
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)


def _equal_pairs(crystals: Crystals, rows: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield the pairs of equal structures among crystals of one formula, each joined once."""
    molecules = [place for place in range(len(rows)) if not bool(crystals.pbc[place].any())]
    yield from _equal_molecules(crystals, rows, molecules)
    volumes = (crystals.volumes / crystals.atom_counts).tolist()
    rest = [
        place
        for place in range(len(rows))
        if bool(crystals.pbc[place].any()) and volumes[place] > 1e-6
    ]
    if len(rest) < 2:
        return
    from pymatgen.analysis.structure_matcher import StructureMatcher

    matcher = StructureMatcher()
    rest.sort(key=lambda place: volumes[place])
    structures = dict(zip(rest, to_pymatgen(crystals[rest].with_targets({})), strict=True))
    owner = {place: place for place in rest}
    for number, place in enumerate(rest):
        for other in rest[number + 1 :]:
            if volumes[other] > VOLUME_WINDOW * volumes[place]:
                break
            if owner[other] != owner[place] and matcher.fit(structures[place], structures[other]):  # type: ignore[arg-type]
                lost, kept = owner[other], owner[place]
                owner = {p: kept if o == lost else o for p, o in owner.items()}
                yield rows[place], rows[other]


def _equal_molecules(
    crystals: Crystals, rows: Sequence[int], molecules: Sequence[int]
) -> Iterator[tuple[int, int]]:
    distances = {place: _sorted_distances(crystals[place]) for place in molecules}
    for number, place in enumerate(molecules):
        for other in molecules[number + 1 :]:
            one, two = distances[place], distances[other]
            if one.shape == two.shape and np.abs(one - two).max(initial=0.0) < LENGTH_WINDOW:
                yield rows[place], rows[other]


def _sorted_distances(molecule: Crystals) -> ndarray:
    """Return the distances, Å, sorted within every pair of elements."""
    positions, numbers = molecule.positions.double().numpy(), molecule.numbers.numpy()
    first, second = np.triu_indices(len(numbers), k=1)
    lengths = np.linalg.norm(positions[first] - positions[second], axis=1)
    kinds = np.sort(np.stack([numbers[first], numbers[second]]), axis=0)
    return lengths[np.lexsort((lengths, kinds[1], kinds[0]))]
