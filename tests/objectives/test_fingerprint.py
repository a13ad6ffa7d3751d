import pytest
import torch

from epitaxy.descriptors import WACSF
from epitaxy.errors import RecipeError
from epitaxy.objectives import Fingerprint
from epitaxy.registry import build, settings_of
from epitaxy.training.learner import Encoder
from epitaxy.training.loader import graph_builder, seeded_generator


@pytest.fixture
def prepared(crystals, tiny):
    backbone = build("backbones", tiny)
    objective = Fingerprint(descriptor=WACSF.preset("set2", cutoff=6.0))
    builder = graph_builder(backbone, [objective])
    return backbone, builder, objective.prepare(crystals, builder, torch.Generator())


def test_labels_are_the_standardized_fingerprints_of_the_atoms(crystals, prepared):
    _, builder, objective = prepared
    view = objective.view(crystals, builder, torch.Generator())
    raw = WACSF.preset("set2", cutoff=6.0)(builder(crystals, cutoff=6.0))
    labels = view.labels["fingerprint"].values
    alive = raw[:, list(objective.scaler.alive)]
    expected = (alive - alive.mean(0)) / alive.std(0, unbiased=False)
    torch.testing.assert_close(labels, expected, rtol=1e-3, atol=1e-3)


def test_backbone_and_labels_share_one_neighbor_list(crystals, prepared, monkeypatch):
    from epitaxy.crystals import neighbors

    _, builder, objective = prepared
    calls = []
    real = neighbors.build_graph
    monkeypatch.setattr(neighbors, "build_graph", lambda *a: calls.append(a) or real(*a))
    objective.view(crystals[:8], builder, torch.Generator())
    assert len(calls) == 1


def test_channels_that_do_not_vary_are_dropped(crystals, tiny):
    backbone = build("backbones", tiny)
    # a shell 60 Å away is zero for every atom
    objective = Fingerprint(descriptor={"name": "wacsf", "eta": (1.0,), "r_s": (2.0, 60.0)})
    prepared = objective.prepare(crystals, graph_builder(backbone, [objective]), torch.Generator())
    assert prepared.scaler.alive == (0,)
    assert prepared.head(backbone).outputs == 1


def test_raw_labels_are_there_for_the_published_setting(crystals, tiny):
    backbone = build("backbones", tiny)
    objective = Fingerprint(standardize=False)
    builder = graph_builder(backbone, [objective])
    prepared = objective.prepare(crystals, builder, torch.Generator())
    view = prepared.view(crystals[:4], builder, torch.Generator())
    raw = WACSF()(builder(crystals[:4], cutoff=8.0))
    torch.testing.assert_close(view.labels["fingerprint"].values, raw)


def test_gradients_reach_backbone_and_head(crystals, prepared):
    backbone, builder, objective = prepared
    head = objective.head(backbone)
    view = objective.view(crystals[:8], builder, torch.Generator())
    objective.loss(Encoder(backbone), head, view)["loss"].backward()
    used = [p.grad for module in (backbone, head) for p in module.parameters()]
    reached = sum(grad is not None and bool(grad.abs().sum() > 0) for grad in used)
    assert reached > 0.8 * len(used)


def test_settings_build_the_same_objective_again(prepared):
    _, _, objective = prepared
    again = build("objectives", settings_of(objective)).with_fitted(objective.fitted)
    assert settings_of(again) == settings_of(objective)
    assert again.scaler == objective.scaler


def test_an_unknown_descriptor_is_named():
    with pytest.raises(RecipeError, match="Did you mean 'wacsf'"):
        Fingerprint(descriptor={"name": "wacfs"})


def test_shuffled_labels_are_the_same_labels_at_other_atoms(crystals, prepared):
    _, builder, objective = prepared
    control = Fingerprint(descriptor=objective.descriptor, shuffled=True)
    control = control.with_fitted(objective.fitted)

    def labels(one, seed):
        view = one.view(crystals[:12], builder, seeded_generator(seed))
        return view.labels["fingerprint"].values

    def rows(values):
        return sorted(map(tuple, values.tolist()))

    true, dealt = labels(objective, 0), labels(control, 0)
    assert rows(dealt) == rows(true)
    moved = (dealt != true).any(1)
    assert float(moved.double().mean()) > 0.5
    # across crystals, too: the labels of a crystal are no longer its own
    first = crystals[:12].crystal_of_atom == 0
    assert rows(dealt[first]) != rows(true[first])


def test_shuffled_labels_are_dealt_anew_at_every_step_and_alike_for_a_seed(crystals, prepared):
    _, builder, objective = prepared
    control = Fingerprint(descriptor=objective.descriptor, shuffled=True)
    control = control.with_fitted(objective.fitted)
    views = [control.view(crystals[:12], builder, seeded_generator(seed)) for seed in (1, 1, 2)]
    first, again, other = (view.labels["fingerprint"].values for view in views)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    # views that depend on chance are not kept by the loader
    assert control.chance
    assert not objective.chance
