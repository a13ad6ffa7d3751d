"""What many tests start from."""

import pytest
import torch

from epitaxy.crystals.crystals import Crystals
from epitaxy.datasets.bundled import bundled

TINY_BACKBONE = {
    "name": "torchmd_et",
    "width": 16,
    "layers": 2,
    "heads": 2,
    "radial": 8,
    "cutoff": 4.0,
}


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Small networks on two cores: threads cost more than they give, and results repeat."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def crystals() -> Crystals:
    """Sixty-four of the bundled crystals, with all their labels."""
    return bundled()[:64]


@pytest.fixture
def tiny() -> dict:
    """Settings of a backbone that trains in seconds."""
    return dict(TINY_BACKBONE)
