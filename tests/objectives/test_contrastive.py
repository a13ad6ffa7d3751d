from dataclasses import replace

import ase
import pytest
import torch

from epitaxy.crystals.crystals import cat
from epitaxy.crystals.exchange import from_ase
from epitaxy.crystals.neighbors import GraphBuilder
from epitaxy.errors import InputError
from epitaxy.objectives import Contrastive
from epitaxy.objectives.contrastive import nt_xent, retrieval
from epitaxy.testing.examples import low_symmetry_crystals, one_atom_crystals, rotation, turned
from epitaxy.training.learner import Encoder
from epitaxy.training.loader import seeded_generator
from epitaxy.training.rank import Rank
from epitaxy.training.recipe import load_recipe
from epitaxy.training.train import train

CUTOFF = 4.0


def plain_nt_xent(first, second, temperature, positive_below):
    copies = [*first, *second]
    count, total = len(first), 0.0
    for i, one in enumerate(copies):
        partner = i + count if i < count else i - count
        below = 0.0
        for k, other in enumerate(copies):
            if k == i or (k == partner and not positive_below):
                continue
            below += torch.exp(torch.cosine_similarity(one, other, dim=0) / temperature)
        above = torch.exp(torch.cosine_similarity(one, copies[partner], dim=0) / temperature)
        total -= torch.log(above / below)
    return total / len(copies)


@pytest.mark.parametrize("positive_below", [True, False])
def test_nt_xent_is_what_a_plain_loop_says(positive_below):
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, 5, 7, generator=generator, dtype=torch.float64)
    vectors = torch.nn.functional.normalize(torch.cat([first, second]), dim=-1)
    found = nt_xent(vectors @ vectors.T / 0.3, positive_below)
    torch.testing.assert_close(found, plain_nt_xent(first, second, 0.3, positive_below))


def test_crystals_told_apart_perfectly_are_retrieved_at_no_loss():
    vectors = torch.eye(6).repeat(2, 1)
    assert float(retrieval(vectors @ vectors.T)) == 1.0
    assert nt_xent(vectors @ vectors.T / 0.01) < 1e-6


def test_copies_of_another_crystal_are_not_retrieved():
    vectors = torch.cat([torch.eye(6), torch.eye(6).roll(1, 0)])
    assert float(retrieval(vectors @ vectors.T)) == 0.0


def test_equal_vectors_cost_the_logarithm_of_the_choices():
    logits = torch.ones(8, 8)
    assert float(nt_xent(logits)) == pytest.approx(float(torch.log(torch.tensor(7.0))))
    published = float(nt_xent(logits, positive_below=False))
    assert published == pytest.approx(float(torch.log(torch.tensor(6.0))))


def test_copies_are_supercells_of_one_two_four_or_eight_cells():
    crystals = cat([low_symmetry_crystals()[0]] * 200)
    view = Contrastive(most_atoms=16).view(crystals, GraphBuilder(2.5), seeded_generator(0))
    for graph in view.graphs:
        cells = graph.crystals.atom_counts // 2
        often = torch.bincount(cells, minlength=9)[[1, 2, 4, 8]]
        assert int(often.sum()) == 200
        assert int(often.min()) > 30
        density = graph.crystals.atom_counts / graph.crystals.volumes
        torch.testing.assert_close(density, (crystals.atom_counts / crystals.volumes))


def test_supercells_stay_small_and_within_periodic_directions():
    slab = ase.Atoms("Fe2", [[0, 0, 0], [0, 0, 2.2]], cell=[2.8, 2.9, 0], pbc=[1, 1, 0])
    molecule = ase.Atoms("CO", [[0, 0, 0], [0, 0, 1.1]])
    crystals = cat(
        [from_ase([slab, molecule]).to(dtype=torch.float64), low_symmetry_crystals()[2]] * 40
    )
    view = Contrastive(most_atoms=12).view(crystals, GraphBuilder(2.5), seeded_generator(0))
    counts = torch.stack([graph.crystals.atom_counts for graph in view.graphs])
    assert set(counts[:, 0::3].flatten().tolist()) == {2, 4, 8}
    assert set(counts[:, 1::3].flatten().tolist()) == {2}
    assert set(counts[:, 2::3].flatten().tolist()) == {5, 10}


def test_a_fraction_of_the_atoms_is_masked_but_never_all_of_them(crystals):
    view = Contrastive(ratio=0.5).view(crystals, GraphBuilder(CUTOFF), seeded_generator(0))
    for graph in view.graphs:
        masked = graph.crystals.inputs["masked"]
        sizes = graph.crystals.atom_counts
        found = torch.zeros(len(sizes)).index_add(0, graph.crystals.crystal_of_atom, masked)
        assert torch.equal(found, torch.minimum((0.5 * sizes + 0.5).floor(), sizes - 1.0))
        assert bool((graph.crystals.numbers[masked > 0] == 1).all())
    lone = Contrastive(ratio=0.9, most_atoms=1)
    view = lone.view(one_atom_crystals(), GraphBuilder(CUTOFF), seeded_generator(0))
    assert float(view.graphs[0].crystals.inputs["masked"].sum()) == 0.0


def test_edges_are_taken_out_with_their_reverses():
    crystals = low_symmetry_crystals()
    objective = Contrastive(most_atoms=1, edge_ratio=0.4)
    whole = GraphBuilder(CUTOFF)(crystals)
    view = objective.view(crystals, GraphBuilder(CUTOFF), seeded_generator(0))
    for graph in view.graphs:
        rows = zip(
            graph.center.tolist(), graph.neighbor.tolist(), graph.shift.tolist(), strict=True
        )
        held = {(c, n, tuple(s)) for c, n, s in rows}
        assert held == {(n, c, tuple(-x for x in s)) for c, n, s in held}
        assert len(held) / whole.edge_total == pytest.approx(0.6, abs=0.05)


def test_a_whole_copy_has_the_vector_of_its_crystal_whatever_the_supercell(tiny, prepared):
    crystals = low_symmetry_crystals()
    objective = Contrastive(ratio=0.0, edge_ratio=0.0)
    backbone, objective, head, builder = prepared(tiny, objective, crystals, torch.float64)
    view = objective.view(crystals, builder, seeded_generator(4))
    first, second = view.graphs
    assert not torch.equal(first.crystals.atom_counts, second.crystals.atom_counts)
    vectors = [head(Encoder(backbone), graph) for graph in view.graphs]
    torch.testing.assert_close(*vectors)
    assert float(objective.loss(Encoder(backbone), head, view)["retrieval"]) == 1.0


def test_other_elements_under_the_masks_change_nothing(crystals, tiny, prepared):
    backbone, objective, head, builder = prepared(tiny, Contrastive(), crystals)
    some = crystals[:6].with_targets({})
    view = objective.view(some, builder, seeded_generator(0))
    graph = view.graphs[0]
    masked = graph.crystals.inputs["masked"] > 0
    assert bool(masked.any())
    numbers = torch.where(masked, graph.crystals.numbers + 7, graph.crystals.numbers)
    other = replace(graph, crystals=replace(graph.crystals, numbers=numbers))
    assert torch.equal(head(Encoder(backbone), graph), head(Encoder(backbone), other))


def test_a_turned_batch_has_the_same_loss(tiny, prepared):
    crystals = low_symmetry_crystals()
    backbone, objective, head, builder = prepared(tiny, Contrastive(), crystals, torch.float64)
    view = objective.view(crystals, builder, seeded_generator(0))
    loss = objective.loss(Encoder(backbone), head, view)["loss"]
    graphs = tuple(
        replace(graph, crystals=turned(graph.crystals, rotation())) for graph in view.graphs
    )
    again = objective.loss(Encoder(backbone), head, replace(view, graphs=graphs))["loss"]
    torch.testing.assert_close(again, loss)


def test_the_same_seed_gives_the_same_view_and_another_seed_another(crystals):
    def views(seed):
        view = Contrastive().view(crystals[:6], GraphBuilder(CUTOFF), seeded_generator(seed))
        return [(graph.edge_total, graph.crystals.numbers.tolist()) for graph in view.graphs]

    assert views(1) == views(1)
    assert views(1) != views(2)
    assert views(1)[0] != views(1)[1]


def test_a_batch_of_one_crystal_is_refused_and_named(crystals):
    with pytest.raises(InputError, match=rf"batch of one crystal \('{crystals.ids[0]}'\)"):
        Contrastive().view(crystals[:1], GraphBuilder(CUTOFF), seeded_generator(0))


@pytest.mark.parametrize(
    ("training", "held", "changes", "told"),
    [
        (40, 1, {}, r"a validation batch has 1 \(1 crystals .*: raise data\.validation, or"),
        (40, 6, {"training.batch_size": 1}, r"training batch has 1: raise training\.batch_size\."),
        (
            40,
            6,
            {"training.atoms_per_batch": 1},
            r"training batch has 1: raise training\.atoms_per_batch\.",
        ),
        (40, 6, {"training.batch_size": 2, "training.devices": 2}, r"or take fewer devices"),
    ],
)
def test_batches_that_are_too_small_are_refused_before_the_first_step(
    training, held, changes, told, crystals, tiny, tmp_path
):
    settings = {"backbone": tiny, "objectives": [{"name": "contrastive"}], **changes}
    recipe = load_recipe("fingerprint").altered(settings)
    rank = Rank(0, 2) if "training.devices" in changes else Rank()
    with pytest.raises(InputError, match=told):
        train(recipe, crystals[:training], crystals[training:][:held], rank=rank, folder=tmp_path)
    assert not (tmp_path / "metrics.jsonl").exists()


def test_the_loss_falls_on_every_backbone(crystals, every_backbone, prepared, trained):
    parts = prepared(every_backbone, Contrastive(most_atoms=16), crystals)
    before, after = trained(*parts, crystals[:16], steps=15)
    assert after["loss"] < before["loss"]
    assert after["retrieval"] > 2 / 31
