"""Objectives without labels in the real trainer."""

import math

import pytest

from epitaxy.training.recipe import load_recipe
from epitaxy.training.train import train

OBJECTIVES = {
    "edge_denoise": {"name": "edge_denoise", "gaussians": 10},
    "masked": {"name": "masked"},
    "contrastive": {"name": "contrastive", "most_atoms": 16},
    "composition": {"name": "composition"},
    "shuffled": {"name": "fingerprint", "shuffled": True},
}


@pytest.mark.parametrize("settings", OBJECTIVES.values(), ids=OBJECTIVES.keys())
def test_a_run_ends_with_finite_figures_and_repeats(crystals, tiny, settings):
    recipe = load_recipe("fingerprint").altered(
        {"backbone": tiny, "objectives": [settings], "training.epochs": 2}
    )
    runs = [train(recipe, crystals[:32], crystals[32:48]).fitted.rows for _ in range(2)]
    for row in runs[0]:
        assert all(math.isfinite(value) for name, value in row.items() if name != "split")
    figures = [[{**row, "seconds": 0} for row in rows] for rows in runs]
    assert figures[0] == figures[1]


def test_they_share_one_backbone_in_a_sum(crystals, tiny):
    recipe = load_recipe("fingerprint").altered(
        {"backbone": tiny, "objectives": list(OBJECTIVES.values()), "training.epochs": 1}
    )
    row = train(recipe, crystals[:32]).fitted.rows[-1]
    parts = [row[name] for name in row if name.endswith("/loss")]
    assert len(parts) == len(OBJECTIVES)
    assert row["loss"] == pytest.approx(sum(parts), rel=1e-5)
