"""What components and graphs promise, as checks to call on one's own."""

from epitaxy.testing.backbones import check_backbone
from epitaxy.testing.descriptors import check_descriptor
from epitaxy.testing.graphs import check_graphs
from epitaxy.testing.objectives import check_objective
from epitaxy.testing.potentials import check_potential

__all__ = [
    "check_backbone",
    "check_descriptor",
    "check_graphs",
    "check_objective",
    "check_potential",
]
