"""What tests of objectives start from."""

import inspect

import pytest
import torch

from epitaxy.registry import build, find, names
from epitaxy.training.learner import Encoder
from epitaxy.training.loader import graph_builder, seeded_generator

NARROW = {"width": 16, "layers": 2, "blocks": 2, "heads": 2, "radial": 8, "cutoff": 4.0}


@pytest.fixture(params=names("backbones"))
def every_backbone(request):
    """Settings of every backbone there is, each made small."""
    signature = inspect.signature(find("backbones", request.param)).parameters
    narrow = {name: value for name, value in NARROW.items() if name in signature}
    return {"name": request.param, "preset": "small", **narrow}


@pytest.fixture
def prepared():
    """Return backbone, objective with fitted numbers, head, and graph builder."""

    def made(settings, objective, crystals, dtype=torch.float32):
        torch.manual_seed(0)
        backbone = build("backbones", settings).to(dtype)
        builder = graph_builder(backbone, [objective])
        objective = objective.prepare(crystals.to(dtype=dtype), builder, seeded_generator("fit"))
        return backbone, objective, objective.head(backbone).to(dtype), builder

    return made


@pytest.fixture
def trained():
    """Return the figures of one fixed view before and after some steps on fresh views."""

    def figures_of(backbone, objective, head, builder, crystals, steps=25, rate=5e-3):
        fixed = objective.view(crystals, builder, seeded_generator("fixed"))
        parameters = [*backbone.parameters(), *head.parameters()]
        optimizer = torch.optim.AdamW(parameters, lr=rate)

        def judged():
            backbone.eval()
            with torch.no_grad():
                figures = objective.loss(Encoder(backbone), head, fixed)
            backbone.train()
            return {name: float(value) for name, value in figures.items()}

        before = judged()
        for step in range(steps):
            view = objective.view(crystals, builder, seeded_generator(step))
            optimizer.zero_grad()
            objective.loss(Encoder(backbone), head, view)["loss"].backward()
            optimizer.step()
        return before, judged()

    return figures_of
