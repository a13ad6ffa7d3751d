"""Several fingerprints at once are several objectives: one head each, one neighbor list."""

import json

import pytest
import torch

from epitaxy.descriptors import EAD, GMP, WACSF
from epitaxy.objectives import Fingerprint
from epitaxy.registry import build, settings_of
from epitaxy.training.learner import Encoder
from epitaxy.training.loader import graph_builder

NARROW = GMP(sigmas=(0.5,), accuracy=1e-3)


@pytest.fixture
def prepared(crystals, tiny):
    backbone = build("backbones", tiny)
    objectives = [Fingerprint(descriptor=WACSF(cutoff=6.0)), Fingerprint(descriptor=NARROW)]
    builder = graph_builder(backbone, objectives)
    generator = torch.Generator()
    return backbone, builder, [one.prepare(crystals, builder, generator) for one in objectives]


def test_they_share_one_neighbor_list_and_one_encoding(crystals, prepared, monkeypatch):
    from epitaxy.crystals import neighbors

    backbone, builder, objectives = prepared
    lists, encodings = [], []
    real = neighbors.build_graph
    monkeypatch.setattr(neighbors, "build_graph", lambda *a: lists.append(a) or real(*a))
    backbone.register_forward_hook(lambda *_: encodings.append(1))
    batch = crystals[:6]
    views = [one.view(batch, builder, torch.Generator()) for one in objectives]
    encode = Encoder(backbone)
    for objective, view in zip(objectives, views, strict=True):
        head = objective.head(backbone)
        assert head.outputs == len(objective.scaler.alive)
        assert torch.isfinite(objective.loss(encode, head, view)["loss"])
    assert len(lists) == 1
    assert len(encodings) == 1


def test_the_transform_is_the_descriptors_unless_one_is_asked_for():
    assert Fingerprint(descriptor=WACSF()).transform == "none"
    assert Fingerprint(descriptor=EAD()).transform == "none"
    assert Fingerprint(descriptor=NARROW).transform == "asinh"
    assert Fingerprint(descriptor=NARROW, transform="sqrt").transform == "sqrt"


def test_settings_survive_json():
    objective = Fingerprint(descriptor=GMP(densities={8: [(1.0, 2.0)]}))
    again = build("objectives", json.loads(json.dumps(settings_of(objective))))
    assert again.describe == objective.describe
    assert again.transform == "asinh"
