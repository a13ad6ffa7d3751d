import torch

from epitaxy.objectives import Fingerprint, Property
from epitaxy.registry import build
from epitaxy.training.learner import Encoder
from epitaxy.training.loader import BatchPlan, Views, graph_builder


def test_every_crystal_is_in_exactly_one_batch_of_an_epoch(crystals):
    for plan in (
        BatchPlan(crystals.atom_counts, 0, 10),
        BatchPlan(crystals.atom_counts, 0, 10, atoms_per_batch=40),
    ):
        for epoch in range(2):
            steps = range(epoch * plan.per_epoch, (epoch + 1) * plan.per_epoch)
            seen = torch.cat([plan.crystals_of(step) for step in steps])
            assert sorted(seen.tolist()) == list(range(len(crystals)))


def test_atom_budgets_even_out_the_batches(crystals):
    plan = BatchPlan(crystals.atom_counts, 0, 1, atoms_per_batch=50)
    sizes = [
        int(crystals.atom_counts[plan.crystals_of(step)].sum()) for step in range(plan.per_epoch)
    ]
    share, largest = int(crystals.atom_counts.sum()) / plan.per_epoch, crystals.atom_counts.max()
    assert 50 <= share < 60
    assert all(abs(size - share) <= largest for size in sizes)


def test_a_crystal_larger_than_the_budget_leaves_no_batch_empty():
    counts = torch.tensor([4] * 60 + [320] + [4] * 20 + [90, 70])
    plan = BatchPlan(counts, 3, 1, atoms_per_batch=64)
    for step in range(3 * plan.per_epoch):
        assert len(plan.crystals_of(step)) > 0


def test_batches_follow_from_seed_and_step_alone(crystals):
    one, two = (BatchPlan(crystals.atom_counts, 7, 8) for _ in range(2))
    two.crystals_of(3)
    assert torch.equal(one.crystals_of(11), two.crystals_of(11))
    assert not torch.equal(one.crystals_of(0), BatchPlan(crystals.atom_counts, 8, 8).crystals_of(0))
    assert not torch.equal(one.crystals_of(0), one.crystals_of(one.per_epoch))


def test_kept_views_are_those_made_at_every_step(crystals, tiny):
    backbone = build("backbones", tiny)
    objective = Fingerprint()
    builder = graph_builder(backbone, [objective])
    prepared = [objective.prepare(crystals, builder, torch.Generator())]
    plan = BatchPlan(crystals.atom_counts, 0, 8)
    kept = Views(crystals, prepared, builder, plan, cache_edges=10**9)
    fresh = Views(crystals, prepared, builder, plan, cache_edges=0)
    for step in (0, 5):
        (ours,), (theirs,) = kept[step], fresh[step]
        assert torch.equal(ours.graphs[0].center, theirs.graphs[0].center)
        assert torch.equal(ours.graphs[0].shift, theirs.graphs[0].shift)
        torch.testing.assert_close(
            ours.labels["fingerprint"].values, theirs.labels["fingerprint"].values
        )


def test_objectives_on_clean_crystals_share_one_encoding(crystals, tiny):
    backbone = build("backbones", tiny)
    objectives = [Fingerprint(), Property(target="bulk_modulus")]
    builder = graph_builder(backbone, objectives)
    prepared = [one.prepare(crystals, builder, torch.Generator()) for one in objectives]
    plan = BatchPlan(crystals.atom_counts, 0, 8)
    for cache_edges in (0, 10**9):
        views = Views(crystals, prepared, builder, plan, cache_edges)[0]
        assert views[0].graphs[0] is views[1].graphs[0]
        encode = Encoder(backbone)
        assert encode(views[0].graphs[0]) is encode(views[1].graphs[0])
