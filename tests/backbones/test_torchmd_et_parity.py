"""With the same weights TorchMDET has the features of torchmd-net (provenance: in the file)."""

import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

from epitaxy.backbones.torchmd_et import TorchMDET
from epitaxy.crystals.crystals import Crystals

ROOT = Path(__file__).parents[2]
GOLDEN = json.loads((ROOT / "tests" / "golden" / "torchmd_net.json").read_text(encoding="utf-8"))
SIZES = GOLDEN["sizes"]
WIDTH, HEADS = SIZES["hidden_channels"], SIZES["num_heads"]
TOLERANCE = {"rtol": 1e-10, "atol": 1e-10}
STRUCTURES = pytest.mark.parametrize("name", GOLDEN["structures"])
CUTOFFS = pytest.mark.parametrize("vector_cutoff", [False, True])


def golden_weights() -> dict[str, Tensor]:
    """The numbers that the golden file describes in words, by the package's names."""
    made = {}
    for number, (name, shape) in enumerate(GOLDEN["shapes"].items()):
        place = torch.arange(torch.Size(shape).numel(), dtype=torch.float64)
        value = 0.4 * torch.cos(place * place + number)
        if name.endswith("norm.weight"):
            value += 1
        if name.endswith("means"):
            value += place / 5
        if name.endswith("betas"):
            value += 9
        made[name] = value.reshape(shape)
    return made


def translated(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The package's weights under our names and in our order."""
    ours = {
        "element_table.weight": state["embedding.weight"],
        "neighbor_table.weight": state["neighbor_embedding.embedding.weight"],
        "expansion.means": state["distance_expansion.means"],
        "expansion.betas": state["distance_expansion.betas"],
    }
    for part in ("weight", "bias"):
        ours[f"neighbor_filter.{part}"] = state[f"neighbor_embedding.distance_proj.{part}"]
        ours[f"neighbor_mix.{part}"] = state[f"neighbor_embedding.combine.{part}"]
        ours[f"norm.{part}"] = state[f"out_norm.{part}"]
        for layer in range(SIZES["num_layers"]):
            theirs, here = f"attention_layers.{layer}", f"attention.{layer}"
            for name, one in (("norm", "layernorm"), ("query", "q_proj"), ("output", "o_proj")):
                ours[f"{here}.{name}.{part}"] = state[f"{theirs}.{one}.{part}"]
            for name, key, value in (
                ("key_and_value", "k_proj", "v_proj"),
                ("filters", "dk_proj", "dv_proj"),
            ):
                values = heads_last(state[f"{theirs}.{value}.{part}"])
                ours[f"{here}.{name}.{part}"] = torch.cat([state[f"{theirs}.{key}.{part}"], values])
            ours[f"{here}.vector_mix.weight"] = state[f"{theirs}.vec_proj.weight"]
    return ours


def heads_last(rows: Tensor) -> Tensor:
    """Rows by head, then by use (scalar, along vector, along edge), made rows by use, then head."""
    return rows.unflatten(0, (HEADS, 3, WIDTH // HEADS)).transpose(0, 1).flatten(0, 2)


def ours(state: Mapping[str, Tensor], vector_cutoff: bool, **changes) -> TorchMDET:
    settings = {
        "width": WIDTH,
        "layers": SIZES["num_layers"],
        "heads": HEADS,
        "radial": SIZES["num_rbf"],
        "cutoff": SIZES["cutoff_upper"],
        "elements": SIZES["max_z"],
        "vector_envelope": vector_cutoff,
        "self_attention": True,
    }
    backbone = TorchMDET(**{**settings, **changes}).double().eval()
    backbone.load_state_dict(translated(state))
    return backbone


def crystal(structure) -> Crystals:
    periodic = structure["edge"] is not None
    return Crystals(
        numbers=torch.tensor(structure["numbers"]),
        positions=torch.tensor(structure["positions"], dtype=torch.float64),
        cell=(structure["edge"] or 30.0) * torch.eye(3, dtype=torch.float64).unsqueeze(0),
        pbc=torch.full((1, 3), periodic),
        offsets=torch.tensor([0, len(structure["numbers"])]),
    )


def assert_equal(encoding, result) -> None:
    nodes, vectors = (torch.tensor(result[key], dtype=torch.float64) for key in ("x", "v"))
    assert float(vectors.abs().max()) > 0.1
    torch.testing.assert_close(encoding.nodes, nodes, **TOLERANCE)
    torch.testing.assert_close(encoding.vectors, vectors, **TOLERANCE)


@STRUCTURES
@CUTOFFS
def test_features_equal_the_package(name, vector_cutoff):
    structure = GOLDEN["structures"][name]
    backbone = ours(golden_weights(), vector_cutoff)
    encoding = backbone(backbone.graph_builder()(crystal(structure)))
    assert_equal(encoding, structure["results"][str(vector_cutoff).lower()])


@pytest.mark.parametrize("change", [{"self_attention": False}, {"vector_envelope": False}])
def test_each_switch_matters(change):
    structure = GOLDEN["structures"]["ethanol"]
    backbone = ours(golden_weights(), True, **change)
    encoding = backbone(backbone.graph_builder()(crystal(structure)))
    expected = torch.tensor(structure["results"]["true"]["x"], dtype=torch.float64)
    assert float((encoding.nodes.detach() - expected).abs().max()) > 1e-3


@STRUCTURES
@CUTOFFS
def test_features_equal_the_installed_package_with_random_weights(name, vector_cutoff):
    pytest.importorskip("torchmdnet", reason="torchmd-net is not installed")
    path = ROOT / "scripts" / "make_torchmd_net_golden.py"
    spec = importlib.util.spec_from_file_location("make_torchmd_net_golden", path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    torch.manual_seed(0)
    network = script.TorchMD_ET(**SIZES, vector_cutoff=vector_cutoff).double()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    structure = GOLDEN["structures"][name]
    backbone = ours(network.state_dict(), vector_cutoff)
    encoding = backbone(backbone.graph_builder()(crystal(structure)))
    place = {key: structure[key] for key in ("numbers", "positions", "edge")}
    assert_equal(encoding, script.encoded(network, **place))
