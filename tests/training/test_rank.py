import pytest
import torch

from epitaxy.objectives import Denoise, Fingerprint, Property
from epitaxy.registry import build
from epitaxy.training.callbacks import History
from epitaxy.training.learner import Learner
from epitaxy.training.loader import BatchPlan, Views, graph_builder
from epitaxy.training.rank import Rank
from epitaxy.training.recipe import TrainingPlan


def views_of(crystals, tiny, objective, rank, batch_size=7):
    builder = graph_builder(build("backbones", tiny), [objective])
    prepared = [objective.prepare(crystals, builder, torch.Generator())]
    plan = BatchPlan(crystals.atom_counts, 0, batch_size)
    return Views(crystals, prepared, builder, plan, cache_edges=0, rank=rank)


@pytest.mark.parametrize("of", [1, 2, 3, 7])
def test_the_shares_of_a_batch_are_the_batch(of):
    batch = torch.randperm(20)
    shares = [Rank(number, of).share(batch) for number in range(of)]
    assert sorted(torch.cat(shares).tolist()) == sorted(batch.tolist())
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_no_rank_is_left_without_a_crystal():
    shares = [Rank(number, 5).share(torch.tensor([8, 9])).tolist() for number in range(5)]
    assert shares == [[8], [9], [8], [9], [8]]


def test_a_single_process_has_all_crystals_and_the_same_chance_as_ever(crystals, tiny):
    alone = views_of(crystals, tiny, Denoise(), None)
    first = views_of(crystals, tiny, Denoise(), Rank(0, 1))
    for step in (0, 11):
        ours, theirs = alone[step][0], first[step][0]
        assert torch.equal(ours.labels["way_back"].values, theirs.labels["way_back"].values)


def test_ranks_draw_different_noise_and_draw_it_again(crystals, tiny):
    one = crystals[:1]  # every rank gets this crystal
    ranks = Rank(0, 2), Rank(1, 2)
    noise = [views_of(one, tiny, Denoise(), r)[3][0].labels["way_back"].values for r in ranks]
    again = [views_of(one, tiny, Denoise(), r)[3][0].labels["way_back"].values for r in ranks]
    assert noise[0].shape == noise[1].shape
    assert not torch.allclose(noise[0], noise[1], atol=0.1)
    assert all(torch.equal(a, b) for a, b in zip(noise, again, strict=True))


class OneOf(Rank):
    """A rank that is told what the others counted, in place of asking them."""

    totals = torch.tensor([1.0])

    def total(self, value):
        return self.totals.to(value)


@pytest.mark.parametrize("objective", [Fingerprint(), Property(target="bulk_modulus")])
def test_the_mean_of_the_ranks_gradients_is_the_gradient_of_the_batch(objective, crystals, tiny):
    """Shares of unequal atoms and labels; the collective sum is the test's own."""
    kept = crystals.target("bulk_modulus").values.clone()
    kept[1::3] = torch.nan
    crystals = crystals.with_targets(
        {"bulk_modulus": crystals.target("bulk_modulus").with_values(kept)}
    )
    backbone = build("backbones", tiny).double()

    def gradient(rank, shared):
        views = views_of(crystals, tiny, objective, rank)
        head = views.objectives[0].head(backbone)
        with torch.no_grad():
            for weight in head.parameters():
                weight.copy_(torch.linspace(-1, 1, weight.numel()).reshape(weight.shape))
        learner = Learner(
            backbone, views.objectives, [head], [1.0], TrainingPlan(), 1, rank=rank
        ).double()
        batch = learner.transfer_batch_to_device(views[0], torch.device("cpu"), 0)
        learner.zero_grad()
        shares = learner._shares(batch) if shared else None
        learner.losses(batch, shares)["loss"].backward()
        return torch.cat([p.grad.flatten() for p in learner.parameters() if p.grad is not None])

    whole = views_of(crystals, tiny, objective, Rank())[0][0]
    (labels,) = whole.labels.values()
    OneOf.totals = labels.present().sum()[None]
    wanted = gradient(Rank(), shared=False)
    found = sum(gradient(OneOf(number, 3), shared=True) for number in range(3)) / 3
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-12)
    unweighted = sum(gradient(OneOf(number, 3), shared=False) for number in range(3)) / 3
    assert (unweighted - wanted).abs().max() > 1e-3 * wanted.abs().max()


def test_what_was_summed_over_all_ranks_is_taken_up_by_one():
    state = {"rows": "[]", "open": {"loss": [3.0, 4.0]}}
    histories = [History(None, 10, Rank(number, 2)) for number in range(2)]
    for history in histories:
        history.load_state_dict(state)
    taken = [history._train.sums["loss"].tolist() for history in histories]
    assert taken == [[3.0, 4.0], [0.0, 0.0]]
