"""What every way of building graphs promises, as checks that anyone can call on theirs."""

import itertools
from collections.abc import Callable, Collection

import torch
from torch import Tensor

from epitaxy.crystals.crystals import Crystals, cat
from epitaxy.crystals.graph import Graph
from epitaxy.errors import did_you_mean
from epitaxy.testing import examples

BuildGraph = Callable[[Crystals], Graph]
TOLERANCE = 1e-9  # Å


def check_graphs(build_graph: BuildGraph, skip: Collection[str] = ()) -> None:
    """Raise AssertionError that says which promise a way of building graphs breaks.

    ``skip`` names checks of ``GRAPH_CHECKS`` to leave out: a list cut to the nearest neighbors is
    neither ``complete`` nor ``mutual``.
    """
    for name in skip:
        if name not in GRAPH_CHECKS:
            raise ValueError(f"no check '{name}'. {did_you_mean(name, GRAPH_CHECKS)}")
    for name, check in GRAPH_CHECKS.items():
        if name not in skip:
            check(build_graph)


def check_indices(build_graph: BuildGraph) -> None:
    """Edges are sorted by center, stay within their crystal, have a length and are not repeated."""
    graph = build_graph(_all_examples())
    _require(bool((graph.center[1:] >= graph.center[:-1]).all()), "edges are not sorted by center")
    crystal = graph.crystals.crystal_of_atom
    same = crystal[graph.center] == crystal[graph.neighbor]
    _require(bool(same.all()), "an edge leaves its crystal")
    _require(bool((graph.distances() > 1e-6).all()), "an edge has no length")
    rows = torch.cat([graph.center[:, None], graph.neighbor[:, None], graph.shift], dim=1)
    _require(len(rows.unique(dim=0)) == len(rows), "an edge is there twice")


def check_complete(build_graph: BuildGraph) -> None:
    """Every pair up to the cutoff is an edge, an atom's own images included, and no other."""
    for index in range(len(_all_examples())):
        crystal = _all_examples()[index]
        graph = build_graph(crystal)
        expected = _pairs_by_force(crystal, graph.cutoff)
        found = torch.sort(graph.distances()).values
        _require(len(found) == len(expected), f"{len(found)} edges instead of {len(expected)}")
        _require_near(found, expected, "the edges are not the pairs up to the cutoff")


def check_mutual(build_graph: BuildGraph) -> None:
    """If an atom sees another's image, it is seen from there."""
    graph = build_graph(_all_examples())
    there = torch.cat([graph.center[:, None], graph.neighbor[:, None], graph.shift], dim=1)
    back = torch.cat([graph.neighbor[:, None], graph.center[:, None], -graph.shift], dim=1)
    _require(torch.equal(there.unique(dim=0), back.unique(dim=0)), "an edge has no way back")


def check_motion(build_graph: BuildGraph) -> None:
    """Neighbors do not change as the crystal is turned, mirrored or moved."""
    crystals = _all_examples()
    expected = _neighborhoods(build_graph(crystals))
    for matrix, what in (
        (examples.rotation(), "a rotation"),
        (-examples.rotation(1), "a reflection"),
    ):
        found = _neighborhoods(build_graph(examples.turned(crystals, matrix)))
        _require_same(found, expected, what)
    moved = _neighborhoods(build_graph(examples.translated(crystals)))
    _require_same(moved, expected, "a translation")


def check_description(build_graph: BuildGraph) -> None:
    """Neighbors depend on no choice of atom order, periodic images, unit cell or its size."""
    crystals = _all_examples()
    expected = _neighborhoods(build_graph(crystals))
    images = _neighborhoods(build_graph(examples.other_images(crystals)))
    _require_same(images, expected, "the choice of periodic images")
    oblique = _neighborhoods(build_graph(examples.other_cell(crystals)))
    _require_same(oblique, expected, "the choice of the unit cell")
    for (other, sources), what in (
        (examples.reordered(crystals), "the order of the atoms"),
        (examples.supercell(crystals), "the size of the cell"),
    ):
        repeated = [expected[source] for source in sources.tolist()]
        _require_same(_neighborhoods(build_graph(other)), repeated, what)


def check_batching(build_graph: BuildGraph) -> None:
    """A crystal in a batch has the neighbors that it has alone."""
    crystals = _all_examples()
    expected = _neighborhoods(build_graph(crystals))
    alone = [_neighborhoods(build_graph(crystals[index])) for index in range(len(crystals))]
    _require_same(list(itertools.chain(*alone)), expected, "the rest of the batch")


GRAPH_CHECKS: dict[str, Callable[[BuildGraph], None]] = {
    "indices": check_indices,
    "complete": check_complete,
    "mutual": check_mutual,
    "motion": check_motion,
    "description": check_description,
    "batching": check_batching,
}


def _all_examples() -> Crystals:
    parts = (
        examples.low_symmetry_crystals(),
        examples.one_atom_crystals(),
        examples.symmetric_crystals(),
    )
    return cat(parts)


def _neighborhoods(graph: Graph) -> list[Tensor]:
    """Return each atom's neighbors as sorted numbers, 1000 × element + distance."""
    marks = graph.crystals.numbers[graph.neighbor] * 1000.0 + graph.distances()
    pieces = torch.tensor_split(marks, graph.atom_offsets[1:-1].cpu())
    return [torch.sort(piece).values for piece in pieces]


def _pairs_by_force(crystal: Crystals, cutoff: float) -> Tensor:
    """Return the distances of all pairs up to the cutoff, from all images that could matter."""
    cell, positions = crystal.cell[0], crystal.positions
    heights = 1.0 / torch.linalg.vector_norm(torch.linalg.inv(cell), dim=0)
    spread = torch.linalg.vector_norm(positions[:, None] - positions[None], dim=-1).max()
    reach = torch.ceil((cutoff + spread) / heights).to(torch.int64).tolist()
    shifts = torch.tensor(list(itertools.product(*(range(-n, n + 1) for n in reach))))
    images = shifts.to(cell.dtype) @ cell
    apart = positions[None, :, None] + images - positions[:, None, None]
    lengths = torch.linalg.vector_norm(apart, dim=-1).flatten()
    return torch.sort(lengths[(lengths > 1e-6) & (lengths <= cutoff)]).values


def _require_same(found: list[Tensor], expected: list[Tensor], what: str) -> None:
    _require(len(found) == len(expected), f"the number of atoms depends on {what}")
    for one, other in zip(found, expected, strict=True):
        _require(len(one) == len(other), f"an atom's number of neighbors depends on {what}")
        close = (one - other).abs() <= TOLERANCE
        _require(bool(close.all()), f"an atom's neighbors depend on {what}")


def _require_near(found: Tensor, expected: Tensor, complaint: str) -> None:
    _require(bool(((found - expected).abs() <= TOLERANCE).all()), complaint)


def _require(holds: bool, complaint: str) -> None:
    if not holds:
        raise AssertionError(complaint)
