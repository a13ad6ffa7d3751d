"""The fingerprints equal those of other programs on five crystals (provenance: in the file)."""

import json
from pathlib import Path

import pytest
import torch

from epitaxy.crystals.crystals import Crystals
from epitaxy.crystals.neighbors import build_graph
from epitaxy.descriptors import EAD, GMP, WACSF

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "descriptors.json").read_text())
DENSITIES = {int(number): rows for number, rows in GOLDEN["gaussians"].items()}
QUARTERS = tuple(0.25 * step for step in range(32))
DESCRIPTORS = {
    "wacsf_set1_cutoff8": WACSF.preset("set1"),
    "wacsf_set2_cutoff8": WACSF.preset("set2"),
    "ead_strict_L2_eta1,5_Rs0:0.25:8_cutoff8": EAD(r_s=QUARTERS),
    "ead_cumulative_L2_eta1,5_Rs0:0.25:8_cutoff8": EAD(r_s=QUARTERS, mode="cumulative"),
    "gmp_set1": GMP.preset("set1", densities=DENSITIES, accuracy=1e-12),
    "gmp_set2": GMP.preset("set2", densities=DENSITIES, accuracy=1e-12),
    "gmp_set3": GMP.preset("set3", densities=DENSITIES, accuracy=1e-12),
}


@pytest.fixture(params=GOLDEN["structures"])
def structure(request):
    return GOLDEN["structures"][request.param]


def crystal(structure):
    return Crystals(
        numbers=torch.tensor(structure["numbers"]),
        positions=torch.tensor(structure["positions"], dtype=torch.float64),
        cell=torch.tensor([structure["cell"]], dtype=torch.float64),
        pbc=torch.ones(1, 3, dtype=torch.bool),
        offsets=torch.tensor([0, len(structure["numbers"])]),
    )


@pytest.mark.parametrize("name", DESCRIPTORS)
def test_double_precision_is_exact(structure, name):
    descriptor = DESCRIPTORS[name]
    expected = torch.tensor(structure[name], dtype=torch.float64)
    found = descriptor(build_graph(crystal(structure), descriptor.cutoff))
    allowed = 1e-9 * expected.abs() + 1e-11 * expected.abs().max() + 1e-14
    assert found.shape == expected.shape
    assert ((found - expected).abs() / allowed).max() <= 1


@pytest.mark.parametrize("name", DESCRIPTORS)
def test_single_precision_is_close(structure, name):
    descriptor = DESCRIPTORS[name]
    expected = torch.tensor(structure[name], dtype=torch.float64)
    graph = build_graph(crystal(structure), descriptor.cutoff).to(dtype=torch.float32)
    found = descriptor(graph)
    assert found.dtype == torch.float32
    assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()


def test_every_number_of_the_file_is_compared():
    for structure in GOLDEN["structures"].values():
        assert set(structure) - set(DESCRIPTORS) == {"numbers", "positions", "cell"}
