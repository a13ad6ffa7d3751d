"""Each check fails when the promise it stands for is broken on purpose."""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from epitaxy.backbones.torchmd_et import TorchMDET
from epitaxy.crystals.graph import Graph
from epitaxy.crystals.neighbors import GraphBuilder, build_graph
from epitaxy.crystals.segments import sum_over_neighbors
from epitaxy.testing import backbones as backbone_checks
from epitaxy.testing import check_backbone, check_descriptor, check_graphs, examples
from epitaxy.testing import descriptors as descriptor_checks
from epitaxy.testing import graphs as graph_checks

SMALL = {"width": 8, "layers": 2, "heads": 2, "radial": 6, "cutoff": 4.0}
CUTOFF = 4.0


class Whole(TorchMDET):
    """A backbone to be broken: nothing is changed yet."""


class SeesOrientation(TorchMDET):
    def embed(self, graph):
        embedding = super().embed(graph)
        return replace(embedding, nodes=embedding.nodes + embedding_shift(graph.vectors(), graph))


def embedding_shift(vectors, graph):
    sums = sum_over_neighbors(vectors.abs(), graph.center, graph.crystals.atom_total)
    return sums[:, :1]


class SeesHandedness(TorchMDET):
    def embed(self, graph):
        embedding = super().embed(graph)
        volumes = torch.linalg.det(graph.crystals.cell)[graph.crystals.crystal_of_atom]
        return replace(embedding, nodes=embedding.nodes + 0.1 * torch.sign(volumes).unsqueeze(-1))


class SeesOrigin(TorchMDET):
    def embed(self, graph):
        embedding = super().embed(graph)
        lengths = graph.crystals.positions.norm(dim=-1, keepdim=True)
        return replace(embedding, nodes=embedding.nodes + 0.1 * lengths)


class SeesImages(TorchMDET):
    def embed(self, graph):
        embedding = super().embed(graph)
        steps = graph.shift.abs().sum(-1, keepdim=True).to(embedding.edges.dtype)
        return replace(embedding, edges=embedding.edges * (1 + 0.1 * steps))


class SeesOrder(TorchMDET):
    def embed(self, graph):
        embedding = super().embed(graph)
        first = torch.zeros_like(embedding.nodes)
        first[graph.crystals.offsets[:-1]] = 1.0
        return replace(embedding, nodes=embedding.nodes + first)


class CutsThroughShells(TorchMDET):
    def graph_builder(self, reach=0.0):
        return GraphBuilder(self.cutoff, 7, "strict", reach)


class DropsOwnImages(TorchMDET):
    def graph_builder(self, reach=0.0):
        return lambda crystals: without_own_images(build_graph(crystals, self.cutoff))


def without_own_images(graph: Graph) -> Graph:
    keep = graph.center != graph.neighbor
    return replace(
        graph, center=graph.center[keep], neighbor=graph.neighbor[keep], shift=graph.shift[keep]
    )


class LeaksAcrossTheBatch(TorchMDET):
    def propagate(self, graph, embedding):
        encoding = super().propagate(graph, embedding)
        return replace(encoding, nodes=encoding.nodes + encoding.nodes.mean(0))


class ChangesItsInput(TorchMDET):
    def embed(self, graph):
        embedding = super().embed(graph)
        graph.crystals.positions.add_(1.0)
        return embedding


class ReadsAtomsLate(TorchMDET):
    def propagate(self, graph, embedding):
        encoding = super().propagate(graph, embedding)
        return replace(encoding, nodes=encoding.nodes + self.element_table(graph.crystals.numbers))


class ForgetsAConstant(TorchMDET):
    def __init__(self, width=8, scale=1.0):
        super().__init__(**{**SMALL, "width": width})
        self.factor, self.scale = scale, 1.0

    def propagate(self, graph, embedding):
        encoding = super().propagate(graph, embedding)
        return replace(encoding, nodes=encoding.nodes * self.factor)


class TurnsVectorsWrongly(TorchMDET):
    def propagate(self, graph, embedding):
        encoding = super().propagate(graph, embedding)
        return replace(encoding, vectors=encoding.vectors.flip(1))


class HidesLayers(TorchMDET):
    def propagate(self, graph, embedding):
        encoding = super().propagate(graph, embedding)
        return replace(encoding, layers=encoding.layers[1:])


BROKEN = [
    (SeesOrientation, "rotation", "nodes depend on a rotation"),
    (TurnsVectorsWrongly, "rotation", "vectors do not follow a rotation"),
    (SeesHandedness, "reflection", "nodes depend on a reflection"),
    (CutsThroughShells, "symmetric_crystals", "the orientation of a symmetric crystal"),
    (SeesOrigin, "translation", "nodes depend on a translation"),
    (SeesOrder, "permutation", "nodes depend on the order of the atoms"),
    (SeesImages, "images", "nodes depend on the choice of periodic images"),
    (DropsOwnImages, "supercell", "nodes depend on the size of the cell"),
    (DropsOwnImages, "one_atom_cells", "does not see its own images"),
    (LeaksAcrossTheBatch, "batching", "nodes depend on the rest of the batch"),
    (LeaksAcrossTheBatch, "isolation", "a derivative reaches another crystal"),
    (ChangesItsInput, "inputs", "an input has been changed in place"),
    (ReadsAtomsLate, "embedding_is_all", "nodes depend on what the graph holds after embed"),
    (HidesLayers, "declarations", "is not NE0"),
]


@pytest.mark.parametrize(("cls", "check", "complaint"), BROKEN)
def test_a_broken_backbone_is_found(cls, check, complaint):
    torch.manual_seed(0)
    shaken = backbone_checks.shaken_copy(cls(**SMALL))
    with pytest.raises(AssertionError, match=complaint):
        backbone_checks.BACKBONE_CHECKS[check](shaken)


def test_a_backbone_that_forgets_a_constant_is_found():
    backbone = ForgetsAConstant(scale=2.0)
    with pytest.raises(AssertionError, match="nodes depend on being saved and loaded"):
        backbone_checks.check_saving(backbone_checks.shaken_copy(backbone))


def test_a_whole_backbone_passes_and_is_left_as_it_was():
    backbone = Whole(**SMALL)
    before = {name: values.clone() for name, values in backbone.state_dict().items()}
    check_backbone(backbone)
    assert all(torch.equal(before[name], new) for name, new in backbone.state_dict().items())
    assert backbone.training


def test_a_factory_is_called():
    check_backbone(lambda: Whole(**SMALL), skip=["smoothness"])


def test_a_check_that_does_not_exist_cannot_be_skipped():
    with pytest.raises(ValueError, match="Did you mean 'rotation'"):
        check_backbone(Whole(**SMALL), skip=["rotatoin"])


def test_our_graphs_keep_their_promises():
    check_graphs(lambda crystals: build_graph(crystals, CUTOFF))


def test_a_cap_of_whole_shells_keeps_all_promises_but_completeness():
    check_graphs(GraphBuilder(CUTOFF, 8, "shells"), skip=["complete", "mutual"])


def unsorted(crystals):
    graph = build_graph(crystals, CUTOFF)
    order = torch.arange(graph.edge_total - 1, -1, -1)
    return replace(
        graph, center=graph.center[order], neighbor=graph.neighbor[order], shift=graph.shift[order]
    )


def only_near_images(crystals):
    graph = build_graph(crystals, CUTOFF)
    keep = graph.shift.abs().amax(-1) <= 1
    return graph._kept(keep)


def one_way(crystals):
    graph = build_graph(crystals, CUTOFF)
    return graph._kept(graph.center <= graph.neighbor)


def across_the_batch(crystals):
    graph = build_graph(crystals, CUTOFF)
    return replace(graph, neighbor=(graph.neighbor + 1) % crystals.atom_total)


def shorter_in_company(crystals):
    return build_graph(crystals, CUTOFF if len(crystals) == 1 else CUTOFF - 0.5)


def along_the_axes(crystals):
    graph = build_graph(crystals, CUTOFF)
    return graph._kept(graph.vectors().abs().amax(-1) < CUTOFF - 1.0)


@pytest.mark.parametrize(
    ("build", "check", "complaint"),
    [
        (unsorted, "indices", "not sorted by center"),
        (across_the_batch, "indices", "leaves its crystal"),
        (lambda c: without_own_images(build_graph(c, CUTOFF)), "complete", "edges instead of"),
        (one_way, "mutual", "no way back"),
        (along_the_axes, "motion", "depends? on a rotation"),
        (only_near_images, "description", "depends? on the choice of"),
        (GraphBuilder(CUTOFF, 7, "strict"), "description", "depends? on"),
        (shorter_in_company, "batching", "depends? on the rest of the batch"),
    ],
)
def test_a_broken_graph_is_found(build, check, complaint):
    with pytest.raises(AssertionError, match=complaint):
        graph_checks.GRAPH_CHECKS[check](build)


class Counts:
    """A descriptor: neighbors' atomic numbers, summed by distance."""

    cutoff = CUTOFF
    size = 3
    feature_names = ("near", "middle", "far")

    def __call__(self, graph):
        graph = graph.within(self.cutoff)
        distances = graph.distances()
        centers = torch.tensor([2.0, 3.0, 4.0], dtype=distances.dtype)
        fall = (1 - (distances / self.cutoff) ** 2).clamp(min=0) ** 3
        weights = fall * graph.crystals.numbers[graph.neighbor] / 10
        values = torch.exp(-((distances.unsqueeze(-1) - centers) ** 2)) * weights.unsqueeze(-1)
        return sum_over_neighbors(values, graph.center, graph.crystals.atom_total)


class Misnamed(Counts):
    feature_names = ("near", "far")


class Oriented(Counts):
    def __call__(self, graph):
        return super().__call__(graph) + graph.crystals.positions[:, :1]


class Ordered(Counts):
    def __call__(self, graph):
        atoms = torch.arange(graph.crystals.atom_total, dtype=graph.crystals.positions.dtype)
        return super().__call__(graph) * (1 + atoms).unsqueeze(-1)


class Truncated(Counts):
    def __call__(self, graph):
        return super().__call__(graph.nearest(7, "strict"))


class Centered(Counts):
    def __call__(self, graph):
        values = super().__call__(graph)
        return values - values.mean(0)


class Detached(Counts):
    def __call__(self, graph):
        values = super().__call__(graph)
        return values + values.detach() ** 2


class Doubled(Counts):
    def __call__(self, graph):
        return super().__call__(graph).double()


class Normalized(Counts):
    def __call__(self, graph):
        values = super().__call__(graph)
        return values / values.sum(-1, keepdim=True)


class Spoils(Counts):
    def __call__(self, graph):
        values = super().__call__(graph)
        graph.shift.neg_()
        return values


def test_a_whole_descriptor_passes():
    check_descriptor(Counts())


@pytest.mark.parametrize(
    ("cls", "check", "complaint"),
    [
        (Misnamed, "declarations", "2 names for 3 features"),
        (Oriented, "motion", "values depend on a rotation"),
        (Ordered, "description", "values depend on the order of the atoms"),
        (Truncated, "symmetric_crystals", "values depend on the orientation"),
        (Centered, "batching", "values depend on the rest of the batch"),
        (Detached, "derivatives", "derivatives by positions are off"),
        (Doubled, "precision", "single precision became"),
        (Normalized, "isolated_atoms", "an isolated atom is not finite"),
        (Spoils, "inputs", "an input has been changed in place"),
    ],
)
def test_a_broken_descriptor_is_found(cls, check, complaint):
    with pytest.raises(AssertionError, match=complaint):
        descriptor_checks.DESCRIPTOR_CHECKS[check](cls())


def test_the_low_symmetry_examples_have_no_two_equal_distances_but_own_images_and_ways_back():
    graph = build_graph(examples.low_symmetry_crystals(), CUTOFF)
    others = graph._kept(graph.center < graph.neighbor)
    distances = torch.sort(others.distances()).values
    assert float((distances[1:] - distances[:-1]).min()) > 1e-6


COMPILED = """
from dataclasses import replace
import torch
from epitaxy.backbones.cgcnn import CGCNN
from epitaxy.testing.backbones import check_compilation

class Compiles(CGCNN):
    compiles = True

class Differs(Compiles):
    def forward(self, graph):
        encoding = super().forward(graph)
        scale = 2.0 if torch.compiler.is_compiling() else 1.0
        return replace(encoding, nodes=scale * encoding.nodes)

small = {"width": 8, "layers": 2, "radial": 6, "cutoff": 4.0}
check_compilation(Compiles(**small).double().eval())
try:
    check_compilation(Differs(**small).double().eval())
except AssertionError as error:
    print(error)
"""


@pytest.mark.slow
def test_a_backbone_that_compiles_is_compared_with_itself():
    """In a process of its own: checks of shapes at run time cannot be compiled."""
    command = [sys.executable, "-W", "ignore", "-c", COMPILED]
    told = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "nodes depend on being compiled" in told.stdout
