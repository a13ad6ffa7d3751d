"""What every backbone promises, as checks that anyone can call on theirs."""

import copy
import warnings
from collections.abc import Callable, Collection
from dataclasses import replace

import torch
from torch import Tensor

from epitaxy.backbones.base import Backbone, Encoding
from epitaxy.crystals.crystals import Crystals
from epitaxy.crystals.graph import Graph
from epitaxy.errors import did_you_mean
from epitaxy.testing import examples

TOLERANCE = 1e-10  # of the largest value, in double precision
Encoded = tuple[Encoding, Graph]


def check_backbone(backbone: Backbone | Callable[[], Backbone], skip: Collection[str] = ()) -> None:
    """Raise AssertionError that says which promise a backbone, or what a factory makes, breaks.

    ``skip`` names checks of ``BACKBONE_CHECKS`` to leave out, for promises that a published
    algorithm does not make. Works on a copy in double precision and evaluation mode, its
    parameters shaken so that none is zero.
    """
    for name in skip:
        if name not in BACKBONE_CHECKS:
            raise ValueError(f"no check '{name}'. {did_you_mean(name, BACKBONE_CHECKS)}")
    shaken = shaken_copy(backbone if isinstance(backbone, Backbone) else backbone())
    for name, check in BACKBONE_CHECKS.items():
        if name not in skip:
            check(shaken)


def shaken_copy(backbone: Backbone, seed: int = 0) -> Backbone:
    """Return a copy in double precision and evaluation mode, every parameter changed a little."""
    generator = torch.Generator().manual_seed(seed)
    shaken = copy.deepcopy(backbone).double().eval()
    with torch.no_grad():
        for parameter in shaken.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
            size = float(parameter.abs().mean()) or 1.0
            parameter.add_(0.1 * size * noise.to(parameter.device))
    return shaken


def check_declarations(backbone: Backbone) -> None:
    """The encoding has what the class declares, and every layer's node features from NE0 on."""
    graph = _graph(backbone, examples.low_symmetry_crystals())
    embedding = backbone.embed(graph)
    encoding = backbone.propagate(graph, embedding)
    atoms = graph.crystals.atom_total
    _require(encoding.nodes.shape == (atoms, backbone.width), "nodes are not (atoms, width)")
    _require(
        encoding.edges.shape == (graph.edge_total, backbone.edge_width),
        "edges are not (edges, edge_width)",
    )
    for name, part, declared in (
        ("vectors", encoding.vectors, backbone.has_vectors),
        ("crystals", encoding.crystals, backbone.has_state),
    ):
        _require((part is not None) == declared, f"{name} are there, or not, against declaration")
    if encoding.vectors is not None:
        _require(encoding.vectors.shape[:2] == (atoms, 3), "vectors are not (atoms, 3, width)")
    if encoding.crystals is not None:
        shape = (len(graph), backbone.state_width)
        _require(encoding.crystals.shape == shape, "crystals are not (crystals, state_width)")
    same = encoding.edges is embedding.edges or torch.equal(encoding.edges, embedding.edges)
    _require(same != backbone.has_edges, "edges are updated, or not, against declaration")
    _require(len(encoding.layers) > 1, "layers do not hold the nodes after every layer")
    _require(torch.equal(encoding.layers[0], embedding.nodes), "layers[0] is not NE0")
    for layer in encoding.layers:
        _require(layer.shape == (atoms, backbone.width), "a layer is not (atoms, width)")


def check_rotation(backbone: Backbone) -> None:
    """Scalars do not see a rotation; vectors rotate with the crystal."""
    _check_turned(backbone, examples.rotation(), "a rotation")


def check_reflection(backbone: Backbone) -> None:
    """Scalars do not see a reflection; vectors are reflected with the crystal."""
    _check_turned(backbone, -examples.rotation(1), "a reflection")


def check_symmetric_crystals(backbone: Backbone) -> None:
    """A rotation does not pick among the equal distances of a symmetric crystal."""
    crystals = examples.symmetric_crystals()
    turned = examples.turned(crystals, examples.rotation())
    same = _encode(backbone, examples.translated(turned))
    _compare(same, _encode(backbone, crystals), "the orientation of a symmetric crystal")


def check_translation(backbone: Backbone) -> None:
    """Nothing depends on the origin."""
    crystals = examples.low_symmetry_crystals()
    moved = _encode(backbone, examples.translated(crystals))
    _compare(moved, _encode(backbone, crystals), "a translation")


def check_permutation(backbone: Backbone) -> None:
    """Atoms in another order have their representations in that order."""
    crystals = examples.low_symmetry_crystals()
    other, order = examples.reordered(crystals)
    expected = _encode(backbone, crystals)
    _compare(_encode(backbone, other), expected, "the order of the atoms", order)


def check_images(backbone: Backbone) -> None:
    """Which image of an atom is stored, and which cell of the lattice, does not matter."""
    crystals = examples.low_symmetry_crystals()
    expected = _encode(backbone, crystals)
    moved, oblique = examples.other_images(crystals), examples.other_cell(crystals)
    _compare(_encode(backbone, moved), expected, "the choice of periodic images")
    _compare(_encode(backbone, oblique), expected, "the choice of the unit cell")


def check_supercell(backbone: Backbone) -> None:
    """Each atom of a supercell is represented like the atom that it repeats."""
    for crystals in (examples.low_symmetry_crystals(), examples.one_atom_crystals()):
        larger, sources = examples.supercell(crystals)
        expected = _encode(backbone, crystals)
        _compare(_encode(backbone, larger), expected, "the size of the cell", sources)


def check_one_atom_cells(backbone: Backbone) -> None:
    """A cell of one atom has finite representations that see its own images."""
    crystals = examples.one_atom_crystals()
    nodes = _encode(backbone, crystals)[0].nodes
    _require(bool(torch.isfinite(nodes).all()), "a one-atom cell is not finite")
    _require(not torch.allclose(nodes[0], nodes[1]), "a one-atom cell does not see its own images")


def check_batching(backbone: Backbone) -> None:
    """A crystal in a batch is represented as it is alone."""
    crystals = examples.low_symmetry_crystals()
    together, graph = _encode(backbone, crystals)
    for index in range(len(crystals)):
        alone = _encode(backbone, crystals[index])[0]
        atoms = slice(*crystals.offsets[index : index + 2].tolist())
        edges = slice(*graph.crystal_offsets[index : index + 2].tolist())
        _near(alone.nodes, together.nodes[atoms], "nodes depend on the rest of the batch")
        _near(alone.edges, together.edges[edges], "edges depend on the rest of the batch")
        if alone.crystals is not None and together.crystals is not None:
            state = together.crystals[index : index + 1]
            _near(alone.crystals, state, "the state depends on the rest of the batch")


def check_updates(backbone: Backbone) -> None:
    """Edges that are updated learn of their atoms; a state learns of all atoms and tells them."""
    graph = _graph(backbone, examples.low_symmetry_crystals())
    embedding = backbone.embed(graph)
    start = embedding.nodes.detach().requires_grad_()
    encoding = backbone.propagate(graph, replace(embedding, nodes=start))
    if backbone.has_edges:
        by_nodes = _sensitivity(encoding.edges, start)
        _require(bool((by_nodes != 0).any(1).all()), "edges do not depend on the atoms they join")
    if encoding.crystals is None:
        return
    by_nodes = _sensitivity(encoding.crystals, start)
    _require(bool((by_nodes != 0).any(1).all()), "the state does not depend on all atoms")
    if embedding.crystals is None:
        raise AssertionError("the embedding has no state to start from")
    other = replace(embedding, crystals=embedding.crystals + 1.0)
    nodes = backbone.propagate(graph, other).nodes
    _require(not torch.allclose(nodes, encoding.nodes), "nodes do not depend on the state")


def check_isolation(backbone: Backbone) -> None:
    """No derivative goes from one crystal to another."""
    crystals = examples.low_symmetry_crystals()
    positions = crystals.positions.clone().requires_grad_()
    graph = _graph(backbone, replace(crystals, positions=positions))
    embedding = backbone.embed(graph)
    start = embedding.nodes.detach().requires_grad_()
    encoding = backbone.propagate(graph, replace(embedding, nodes=start))
    first, first_edge = int(crystals.offsets[1]), int(graph.crystal_offsets[1])
    parts = [encoding.nodes[:first]]
    parts += [encoding.edges[:first_edge]] if backbone.has_edges else []
    parts += [] if encoding.crystals is None else [encoding.crystals[:1]]
    for part in parts:
        weights = torch.arange(part.shape[1], dtype=part.dtype, device=part.device).cos()
        gradients = torch.autograd.grad((part @ weights).sum(), [positions, start], None, True)
        for own, other in ((g[:first] != 0, g[first:] != 0) for g in gradients):
            _require(bool(own.any()), "a crystal does not depend on its own atoms")
            _require(not bool(other.any()), "a derivative reaches another crystal")


def check_inputs(backbone: Backbone) -> None:
    """Encoding changes neither crystals nor graph nor embedding."""
    graph = _graph(backbone, examples.low_symmetry_crystals())
    crystals = graph.crystals
    kept = (crystals.numbers, crystals.positions, crystals.cell, graph.center, graph.neighbor)
    before = [part.clone() for part in (*kept, graph.shift)]
    embedding = backbone.embed(graph)
    parts = [part for part in vars(embedding).values() if isinstance(part, Tensor)]
    before += [part.detach().clone() for part in parts]
    backbone.propagate(graph, embedding).nodes.sum().backward()
    backbone.zero_grad()
    for old, new in zip(before, (*kept, graph.shift, *parts), strict=True):
        _require(torch.equal(old, new), "an input has been changed in place")


def check_embedding_is_all(backbone: Backbone) -> None:
    """After ``embed`` nothing is read from numbers, positions or cell."""
    graph = _graph(backbone, examples.low_symmetry_crystals())
    embedding = backbone.embed(graph)
    crystals = replace(
        graph.crystals,
        numbers=torch.ones_like(graph.crystals.numbers),
        positions=torch.full_like(graph.crystals.positions, torch.nan),
        cell=torch.full_like(graph.crystals.cell, torch.nan),
    )
    expected = backbone.propagate(graph, embedding)
    spoiled = backbone.propagate(replace(graph, crystals=crystals), embedding)
    _compare((spoiled, graph), (expected, graph), "what the graph holds after embed")


def check_saving(backbone: Backbone) -> None:
    """Constants and ``state_dict`` are all that is needed to have the backbone again."""
    again = type(backbone)(**backbone.constants()).double().eval()
    again.load_state_dict(copy.deepcopy(backbone.state_dict()))
    crystals = examples.low_symmetry_crystals()
    same = _encode(again, crystals)
    _compare(same, _encode(backbone, crystals), "being saved and loaded")


def check_smoothness(backbone: Backbone) -> None:
    """Nothing jumps as an atom crosses the cutoff, if the backbone says it is smooth."""
    if not backbone.smooth:
        return
    inside, more = _encode(backbone, _pair_at(backbone.cutoff - 1e-7))
    outside, fewer = _encode(backbone, _pair_at(backbone.cutoff + 1e-7))
    _require(more.edge_total > fewer.edge_total, "the graph does not end at the cutoff")
    _near(inside.nodes, outside.nodes, "nodes jump at the cutoff", 1e-5)
    if inside.vectors is not None and outside.vectors is not None:
        _near(inside.vectors, outside.vectors, "vectors jump at the cutoff", 1e-5)
    if inside.crystals is not None and outside.crystals is not None:
        _near(inside.crystals, outside.crystals, "the state jumps at the cutoff", 1e-5)


def check_compilation(backbone: Backbone) -> None:
    """A compiled backbone encodes as it does uncompiled, if it says that it compiles.

    Traced and differentiated ahead of time, but run without a code generator.
    """
    if not backbone.compiles:
        return
    graph = _graph(backbone, examples.low_symmetry_crystals())
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = backbone(graph)
        found = torch.compile(backbone, backend="aot_eager", dynamic=True)(graph)
    _compare((found, graph), (expected, graph), "being compiled")


BACKBONE_CHECKS: dict[str, Callable[[Backbone], None]] = {
    "declarations": check_declarations,
    "rotation": check_rotation,
    "reflection": check_reflection,
    "symmetric_crystals": check_symmetric_crystals,
    "translation": check_translation,
    "permutation": check_permutation,
    "images": check_images,
    "supercell": check_supercell,
    "one_atom_cells": check_one_atom_cells,
    "batching": check_batching,
    "updates": check_updates,
    "isolation": check_isolation,
    "inputs": check_inputs,
    "embedding_is_all": check_embedding_is_all,
    "saving": check_saving,
    "smoothness": check_smoothness,
    "compilation": check_compilation,
}


def _graph(backbone: Backbone, crystals: Crystals) -> Graph:
    device = next(backbone.parameters()).device
    return backbone.graph_builder()(crystals.to(device))


def _encode(backbone: Backbone, crystals: Crystals) -> Encoded:
    graph = _graph(backbone, crystals)
    with torch.no_grad():
        return backbone(graph), graph


def _pair_at(distance: float) -> Crystals:
    """Return a molecule of three atoms, the first and the last at a distance (Å)."""
    positions = torch.zeros(3, 3, dtype=torch.float64)
    positions[1] = torch.tensor([0.4, 0.3, 0.1], dtype=torch.float64) * distance
    positions[2, 0] = distance
    return Crystals(
        numbers=torch.tensor(examples.ELEMENTS[:3]),
        positions=positions,
        cell=50.0 * torch.eye(3, dtype=torch.float64).unsqueeze(0),
        pbc=torch.zeros(1, 3, dtype=torch.bool),
        offsets=torch.tensor([0, 3]),
    )


def _check_turned(backbone: Backbone, matrix: Tensor, what: str) -> None:
    crystals = examples.low_symmetry_crystals()
    expected, graph = _encode(backbone, crystals)
    turned = _encode(backbone, examples.turned(crystals, matrix))
    _compare(turned, (expected, graph), what)
    vectors, before = turned[0].vectors, expected.vectors
    if vectors is None or before is None:
        return
    after = torch.einsum("xy,ayw->axw", matrix.to(before.device), before)
    _near(vectors, after, f"vectors do not follow {what}")


def _compare(found: Encoded, expected: Encoded, what: str, order: Tensor | None = None) -> None:
    """Compare all scalars: of atoms in an order, of edges as means over each crystal."""
    (new, new_graph), (old, old_graph) = found, expected
    rows = slice(None) if order is None else order.to(old.nodes.device)
    _near(new.nodes, old.nodes[rows], f"nodes depend on {what}")
    for one, other in zip(new.layers, old.layers, strict=True):
        _near(one, other[rows], f"a layer's nodes depend on {what}")
    if new.crystals is not None and old.crystals is not None:
        _near(new.crystals, old.crystals, f"the state depends on {what}")
    means = _edge_means(new, new_graph), _edge_means(old, old_graph)
    _near(*means, f"the edges of a crystal depend on {what}")


def _sensitivity(values: Tensor, start: Tensor) -> Tensor:
    """Return the derivative of the sum of ``values`` by ``start``, zero where there is none."""
    if not values.requires_grad:
        return torch.zeros_like(start)
    found = torch.autograd.grad(
        values.sum(), start, retain_graph=True, allow_unused=True, materialize_grads=True
    )
    return found[0]


def _edge_means(encoding: Encoding, graph: Graph) -> Tensor:
    crystal = graph.crystals.crystal_of_atom[graph.center]
    counts = torch.bincount(crystal, minlength=len(graph)).clamp(min=1).unsqueeze(-1)
    sums = encoding.edges.new_zeros(len(graph), encoding.edges.shape[1])
    return sums.index_add(0, crystal, encoding.edges) / counts


def _near(found: Tensor, expected: Tensor, complaint: str, tolerance: float = TOLERANCE) -> None:
    _require(found.shape == expected.shape, f"{complaint}: shapes differ")
    if not found.numel():
        return
    largest = max(float(expected.detach().abs().max()), 1e-30)
    error = float((found - expected).detach().abs().max()) / largest
    _require(error <= tolerance, f"{complaint}: relative difference {error:.1e}")


def _require(holds: bool, complaint: str) -> None:
    if not holds:
        raise AssertionError(complaint)
