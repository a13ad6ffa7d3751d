"""Every objective on every backbone."""

import pytest
import torch

from epitaxy.registry import build, names
from epitaxy.testing import check_objective
from epitaxy.testing.objectives import OBJECTIVE_CHECKS

L1 = {"skip": ["rotation"]}  # |Δx| + |Δy| + |Δz| is no invariant; L2 stands in for it
ROTATION = {"skip": [name for name in OBJECTIVE_CHECKS if name != "rotation"]}
DENOISE = {"name": "denoise", "strain": 0.01}
BULK_MODULUS = {"name": "property", "target": "bulk_modulus"}
MATRIX = {
    "composition": ({"name": "composition"}, {}),
    "contrastive": ({"name": "contrastive", "most_atoms": 10}, {}),
    "denoise": (DENOISE, L1),
    "denoise_l2": ({**DENOISE, "loss_kind": "l2"}, ROTATION),
    "derivative": ({**DENOISE, "mode": "derivative"}, L1),
    "derivative_l2": ({**DENOISE, "mode": "derivative", "loss_kind": "l2"}, ROTATION),
    "edge_denoise": ({"name": "edge_denoise"}, {}),
    "energy_forces": ({"name": "energy_forces"}, L1),
    "energy_forces_l2": ({"name": "energy_forces", "loss_kind": "l2"}, ROTATION),
    "fingerprint": ({"name": "fingerprint"}, {}),
    "masked": ({"name": "masked"}, {}),
    "property": (BULK_MODULUS, {}),
    "property_joined": ({**BULK_MODULUS, "pooling": "set2set_joined"}, {}),
}


def unreached(objective, backbone):
    """Return the weights that a loss cannot depend on, and why."""
    idle = {
        "torchmd_et": {
            # vectors are zero ahead of the first layer
            "backbone.attention.0.vector_mix.weight",
        },
        "megnet": {
            # the state starts from zeros
            "backbone.state_start.first.weight",
            # heads that read atoms and edges never ask for the last state
            "backbone.blocks.1.state_update.*",
        },
    }.get(backbone, set())
    if objective == "property_joined":
        idle = idle - {"backbone.blocks.1.state_update.*"}
    if objective.startswith("derivative"):
        idle = idle | {"head.perceptron.4.bias"}  # a constant energy has no derivative
    if objective in ("masked", "contrastive") and backbone != "torchmd_et":
        idle = idle | {"head.tokens.neighbor_node"}  # there is no second element embedding
    return sorted(idle)


def test_the_matrix_has_every_objective():
    assert set(names("objectives")) <= {settings["name"] for settings, _ in MATRIX.values()}


@pytest.mark.parametrize("name", MATRIX)
def test_every_objective_keeps_its_promises_on_every_backbone(name, every_backbone):
    settings, options = MATRIX[name]
    torch.manual_seed(0)
    check_objective(
        build("objectives", settings),
        build("backbones", every_backbone),
        unreached=unreached(name, every_backbone["name"]),
        **options,
    )
