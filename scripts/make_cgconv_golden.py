"""Freeze what PyTorch Geometric's ``CGConv`` makes of a small crystal, for the tests of CGCNN.

``python scripts/make_cgconv_golden.py`` needs ``torch_geometric``. Weights, node features and edge
features are random; edges are those of a triclinic crystal of three atoms within 4 Å, images
included. The output holds all of them and the nodes after one ``CGConv`` (no batch norm) with
``aggr="add"`` and with ``aggr="mean"``, in double precision.
"""

import json
from pathlib import Path

import torch
import torch_geometric
from torch_geometric.nn import CGConv

from epitaxy.crystals.neighbors import build_graph
from epitaxy.testing import examples

OUT = Path(__file__).parents[1] / "tests" / "golden" / "cgconv.json"
WIDTH, CHANNELS, CUTOFF = 5, 4, 4.0


def main() -> None:
    torch.manual_seed(0)
    graph = build_graph(examples.low_symmetry_crystals()[1], CUTOFF)
    nodes = torch.randn(graph.crystals.atom_total, WIDTH, dtype=torch.float64)
    edges = torch.rand(graph.edge_total, CHANNELS, dtype=torch.float64)
    case = {
        "made_by": "scripts/make_cgconv_golden.py",
        "package": "torch_geometric.nn.CGConv",
        "version": torch_geometric.__version__,
        "torch": torch.__version__,
        "center": graph.center.tolist(),
        "neighbor": graph.neighbor.tolist(),
        "nodes": nodes.tolist(),
        "edges": edges.tolist(),
    }
    layer = CGConv(WIDTH, CHANNELS, aggr="add").double()
    case["weights"] = {name: value.tolist() for name, value in layer.state_dict().items()}
    for aggregation, name in (("sum", "add"), ("mean", "mean")):
        other = CGConv(WIDTH, CHANNELS, aggr=name).double()
        other.load_state_dict(layer.state_dict())
        # its messages go from edge_index[0] to edge_index[1]: from the neighbor to the center
        direction = torch.stack([graph.neighbor, graph.center])
        case[aggregation] = other(nodes, direction, edges).tolist()
    OUT.write_text(json.dumps(case) + "\n")
    print(f"{OUT}: {graph.edge_total} edges, torch_geometric {torch_geometric.__version__}")


if __name__ == "__main__":
    main()
