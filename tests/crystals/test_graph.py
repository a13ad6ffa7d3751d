"""Edges are all pairs of atoms and images within the cutoff, whatever the cell looks like."""

import itertools

import numpy as np
import pytest
import torch

from epitaxy.crystals.crystals import Crystals, cat
from epitaxy.crystals.graph import Graph
from epitaxy.crystals.neighbors import GraphBuilder, build_graph
from epitaxy.errors import InputError


def crystal(positions, cell, pbc=(True, True, True), numbers=None, name="x") -> Crystals:
    positions = torch.as_tensor(np.asarray(positions), dtype=torch.float64)
    count = len(positions)
    return Crystals(
        numbers=torch.as_tensor(numbers if numbers is not None else [6] * count),
        positions=positions,
        cell=torch.as_tensor(np.asarray(cell), dtype=torch.float64)[None],
        pbc=torch.tensor([pbc]),
        offsets=torch.tensor([0, count]),
        ids=[name],
    )


def edges_by_brute_force(one: Crystals, cutoff: float) -> dict[tuple[int, ...], float]:
    """Look at every image that the planes of the lattice allow, without any neighbor library."""
    positions, cell, pbc = one.positions.numpy(), one.cell[0].numpy(), one.pbc[0].numpy()
    lattice = np.where(pbc[:, None], cell, 0.0)
    inverse = np.linalg.pinv(lattice)
    reach = [0, 0, 0]
    spread = np.abs((positions[:, None] - positions[None]) @ inverse).max((0, 1))
    for axis in range(3):
        if pbc[axis]:
            reach[axis] = int(np.ceil(cutoff * np.linalg.norm(inverse[:, axis]) + spread[axis]))
    shifts = np.array(list(itertools.product(*(range(-n, n + 1) for n in reach))))
    vectors = positions[None, :, None] + (shifts @ lattice)[None, None] - positions[:, None, None]
    distances = np.linalg.norm(vectors, axis=-1)
    same = np.eye(len(positions), dtype=bool)[:, :, None] & (shifts == 0).all(1)
    found = np.argwhere((distances <= cutoff) & ~same)
    return {(int(i), int(j), *map(int, shifts[s])): float(distances[i, j, s]) for i, j, s in found}


def edges_of(graph: Graph) -> list[tuple[int, ...]]:
    return [
        (i, j, *shift)
        for i, j, shift in zip(
            graph.center.tolist(), graph.neighbor.tolist(), graph.shift.tolist(), strict=True
        )
    ]


def random_lattice(kind: str, generator: np.random.Generator) -> np.ndarray:
    """Draw a cell that is skewed, tiny, long and thin, or left-handed, never flat."""
    while True:
        cell = generator.normal(size=(3, 3))
        cell /= np.linalg.norm(cell, axis=1, keepdims=True)
        if abs(np.linalg.det(cell)) > (0.12 if kind == "skewed" else 0.4):
            break
    edges = generator.uniform(2.5, 6.0, size=(3, 1))
    if kind == "tiny":
        edges = np.full((3, 1), 1.5)
    if kind == "long":
        edges = np.array([[2.1], [2.3], [25.0]])
    cell = cell * edges
    left = kind == "left-handed"
    return cell[[1, 0, 2]] if (np.linalg.det(cell) > 0) == left else cell


KINDS = ("skewed", "tiny", "long", "left-handed")
PERIODICITIES = (
    (True, True, True),
    (True, True, False),
    (False, True, True),
    (False, True, False),
    (True, False, False),
    (False, False, False),
)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pbc", PERIODICITIES)
def test_edges_are_those_of_brute_force(kind, pbc):
    generator = np.random.default_rng(KINDS.index(kind) * 10 + PERIODICITIES.index(pbc))
    cutoff, singles = 4.0, []
    for k in range(13):
        cell = random_lattice(kind, generator)
        count = 1 if kind == "tiny" else int(generator.integers(1, 5))
        fractional = generator.uniform(-1.5, 2.5, size=(count, 3))  # also outside the cell
        if k % 3 == 0:
            cell[~np.array(pbc)] = 0.0
            positions = fractional @ cell + generator.uniform(0, 3, size=(count, 3))
        else:
            positions = fractional @ cell
        singles.append(crystal(positions, cell, pbc, name=str(k)))
    graph = build_graph(cat(singles), cutoff)
    for k, one in enumerate(singles):
        expected = edges_by_brute_force(one, cutoff)
        found = edges_of(graph[k])
        assert len(found) == len(set(found)), "an edge stands there twice"
        assert set(found) == set(expected)
        oracle = torch.tensor([expected[edge] for edge in found], dtype=torch.float64)
        assert torch.allclose(graph[k].distances(), oracle, atol=1e-9)


@pytest.fixture
def mixed() -> Crystals:
    generator = np.random.default_rng(3)
    parts = [
        crystal(generator.uniform(0, 5, size=(4, 3)), np.eye(3) * 5.0, name="cube"),
        crystal(generator.uniform(0, 3, size=(3, 3)), np.zeros((3, 3)), (False,) * 3, name="gas"),
        crystal([[0.0, 0, 0]], np.eye(3) * 50.0, name="lonely"),
        crystal(generator.uniform(0, 4, (5, 3)), random_lattice("skewed", generator), name="skew"),
        crystal([[0.0, 0, 0]], np.diag([2.5, 2.5, 0]), (True, True, False), name="sheet"),
    ]
    return cat(parts)


def test_edges_are_sorted_by_center(mixed):
    graph = build_graph(mixed, 5.0)
    assert (graph.center[1:] >= graph.center[:-1]).all()
    counts = graph.atom_offsets[1:] - graph.atom_offsets[:-1]
    assert torch.equal(torch.repeat_interleave(torch.arange(len(counts)), counts), graph.center)
    of_edge = mixed.crystal_of_atom[graph.center]
    assert torch.equal(of_edge, mixed.crystal_of_atom[graph.neighbor])
    assert torch.equal(graph.crystal_offsets.diff(), torch.bincount(of_edge, minlength=len(mixed)))


def test_every_edge_has_its_reverse(mixed):
    edges = edges_of(build_graph(mixed, 5.0))
    assert edges
    assert set(edges) == {(j, i, -a, -b, -c) for i, j, a, b, c in edges}


def test_an_atom_without_neighbors_is_isolated_and_has_no_edge(mixed):
    graph = build_graph(mixed, 5.0)
    lonely = int(mixed.offsets[2])
    assert lonely in graph.isolated.tolist()
    assert lonely not in graph.center.tolist()
    alone = build_graph(mixed[2], 5.0)
    assert alone.edge_total == 0
    assert alone.nearest(3).edge_total == 0
    assert alone.vectors().shape == (0, 3)


def test_no_crystals_make_an_empty_graph(mixed):
    graph = build_graph(mixed[[]], 5.0)
    assert len(graph) == 0
    assert graph.edge_total == 0
    assert graph.shift.shape == (0, 3)


def test_chosen_crystals_have_the_graph_that_they_would_have_alone(mixed):
    graph = build_graph(mixed, 5.0)
    for chosen in ([3, 0, 2], [4], [1, 1, 3], [-1, 0]):
        part, alone = graph[chosen], build_graph(mixed[chosen], 5.0)
        assert torch.equal(part.center, alone.center)
        assert sorted(edges_of(part)) == sorted(edges_of(alone))
        assert torch.equal(part.crystals.positions, alone.crystals.positions)


def test_a_shorter_cutoff_is_the_graph_built_with_it(mixed):
    longer, shorter = build_graph(mixed, 6.0), build_graph(mixed, 3.5)
    assert 0 < shorter.edge_total < longer.edge_total
    cut = longer.within(3.5)
    assert sorted(edges_of(cut)) == sorted(edges_of(shorter))
    assert cut.cutoff == 3.5
    with pytest.raises(InputError, match=r"beyond the graph's 3.5"):
        cut.within(6.0)


def rock_salt() -> Crystals:
    cell = np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) * 2.82
    return crystal([[0, 0, 0], [2.82, 2.82, 2.82]], cell, numbers=[11, 17])


def test_strict_keeps_exactly_k_nearest(mixed):
    graph = build_graph(mixed, 6.0)
    kept = graph.nearest(4, "strict")
    counts = torch.bincount(graph.center, minlength=mixed.atom_total)
    assert torch.equal(torch.bincount(kept.center, minlength=mixed.atom_total), counts.clamp(max=4))
    assert (kept.center[1:] >= kept.center[:-1]).all()
    for atom in range(mixed.atom_total):
        all_of_it = graph.distances()[graph.center == atom].sort().values[:4]
        assert torch.allclose(kept.distances()[kept.center == atom].sort().values, all_of_it)


@pytest.mark.parametrize(("k", "complete"), [(1, 6), (6, 6), (7, 18), (18, 18), (19, 26)])
def test_shells_keep_the_fewest_complete_shells(k, complete):
    kept = build_graph(rock_salt(), 6.0).nearest(k, "shells")
    assert torch.bincount(kept.center).tolist() == [complete, complete]


def chain(*distances: float) -> Crystals:
    """Return atoms on a line at these distances from the first one."""
    positions = [[0.0, 0, 0], *([distance, 0, 0] for distance in distances)]
    return crystal(positions, np.zeros((3, 3)), (False,) * 3)


@pytest.mark.parametrize(("gap", "kept"), [(2e-3, 1), (0.5e-3, 2)])
def test_a_shell_ends_where_distances_differ_by_a_thousandth(gap, kept):
    graph = build_graph(chain(2.0, -2.0 - gap, 3.0), 6.0).nearest(1, "shells")
    assert int((graph.center == 0).sum()) == kept


@pytest.mark.parametrize("row", [[2.9, 0, 0], [1e-9, 0, 0], [300.0, 400.0, 0], [0, 0, 1e6]])
def test_what_stands_in_a_row_that_does_not_repeat_cannot_matter(row):
    positions = [[0.1, 0.2, 0.3], [1.5, 1.1, 2.0], [5.0, -7.0, 9.0]]
    cell = np.array([[2.9, 0, 0], [0.4, 3.1, 0], row])
    slab = crystal(positions, cell, (True, True, False))
    graph = build_graph(slab, 5.0)
    assert set(edges_of(graph)) == set(edges_by_brute_force(slab, 5.0))


def test_vectors_follow_positions_and_strain_differentiably():
    one = rock_salt()
    graph = build_graph(one, 4.5)
    generator = torch.Generator().manual_seed(0)
    by = 0.1 * torch.randn(2, 3, generator=generator, dtype=torch.float64)
    strain = 0.05 * torch.randn(1, 3, 3, generator=generator, dtype=torch.float64)

    def energy(by: torch.Tensor, strain: torch.Tensor) -> torch.Tensor:
        return torch.exp(-graph.displaced(by).strained(strain).distances()).sum()

    by.requires_grad_(), strain.requires_grad_()
    assert torch.autograd.gradcheck(energy, (by, strain))
    assert torch.autograd.gradgradcheck(energy, (by, strain))


def test_a_strained_graph_is_that_of_the_strained_crystal():
    one = rock_salt()
    strain = torch.tensor([[[0.02, 0.03, 0.0], [0.0, -0.01, 0.01], [0.0, 0.0, 0.04]]]).double()
    deform = torch.eye(3, dtype=torch.float64) + strain[0]
    by_hand = crystal((one.positions @ deform).numpy(), (one.cell[0] @ deform).numpy())
    strained = build_graph(one, 4.5).strained(strain)
    assert torch.allclose(strained.crystals.cell, by_hand.cell)
    vectors = build_graph(one, 4.5).vectors() @ deform
    assert torch.allclose(strained.vectors(), vectors)


def test_a_builder_cuts_short_and_long_graphs_from_one_list(mixed):
    builder = GraphBuilder(3.0, neighbors=4, ties="strict", reach=6.0)
    short, long = builder(mixed), builder(mixed, cutoff=5.5)
    assert sorted(edges_of(long)) == sorted(edges_of(build_graph(mixed, 5.5)))
    expected = build_graph(mixed, 3.0).nearest(4, "strict")
    assert sorted(edges_of(short)) == sorted(edges_of(expected))


@pytest.mark.parametrize(
    ("one", "says"),
    [
        (crystal([[0, 0, np.nan]], np.eye(3) * 4), "'x' has positions or a cell that are not fini"),
        (crystal([[0, 0, 0.0]], np.diag([4.0, 4.0, 0.0])), "'x' repeats along a lattice vector"),
        (crystal([[0, 0, 0.0]], [[4, 0, 0], [0, 4, 0], [4, 4, 0]]), "'x' repeats along"),
        (crystal([[0, 0, 0.0], [0, 0, 4.0]], np.eye(3) * 4), "'x' atoms . and . are .* top of"),
    ],
)
def test_what_has_no_graph_is_an_error_that_names_the_crystal(one, says):
    good = crystal([[0.0, 0, 0]], np.eye(3) * 4, name="good")
    with pytest.raises(InputError, match=says):
        build_graph(cat([good, one]), 5.0)


def test_a_cutoff_must_be_positive(mixed):
    with pytest.raises(InputError, match=r"positive length"):
        build_graph(mixed, 0.0)


def test_a_crystal_of_kilometers_is_refused_by_name():
    far = Crystals(
        numbers=torch.tensor([2, 2]),
        positions=torch.tensor([[0.0, 0.0, 0.0], [1e6, 0.0, 0.0]]),
        cell=torch.zeros(1, 3, 3),
        pbc=torch.zeros(1, 3, dtype=torch.bool),
        offsets=torch.tensor([0, 2]),
    )
    with pytest.raises(InputError, match="another unit of length"):
        build_graph(far, 4.0)
