"""Writes ``tests/golden/megnet.json``: what matgl's MEGNet makes of three crystals.

Run it where ``matgl`` 4 is installed; nothing of Epitaxy is imported. Every weight is drawn anew
and rounded, so that the file is short and holds all that the numbers depend on.
"""

import importlib.metadata
import itertools
import json
from pathlib import Path
from types import SimpleNamespace

import torch
from matgl.models import MEGNet

OUTPUT = Path(__file__).parents[1] / "tests" / "golden" / "megnet.json"
CUTOFF = 3.5
SIZES = {"element_width": 3, "hidden": 6, "width": 4, "radial": 8, "state": 2, "layers": 3}
ELEMENTS = {"H": 1, "O": 8, "Si": 14, "Fe": 26}
CRYSTALS = [
    {
        "name": "rock salt",
        "numbers": [14, 8],
        "positions": [[0.0, 0.0, 0.0], [2.1, 2.1, 2.1]],
        "cell": [[0.0, 2.1, 2.1], [2.1, 0.0, 2.1], [2.1, 2.1, 0.0]],
        "state": [0.0, 0.0],
    },
    {
        "name": "one atom, oblique",
        "numbers": [26],
        "positions": [[0.3, 0.1, -0.2]],
        "cell": [[2.6, 0.1, 0.2], [0.7, 2.9, -0.1], [-0.3, 0.5, 3.1]],
        "state": [0.4, -0.3],
    },
    {
        "name": "three atoms, triclinic",
        "numbers": [1, 8, 26],
        "positions": [[0.0, 0.0, 0.0], [1.5, 0.9, 1.1], [2.7, 3.0, 0.4]],
        "cell": [[4.1, 0.3, -0.2], [0.5, 3.8, 0.4], [-0.6, 0.7, 3.6]],
        "state": [-0.7, 0.2],
    },
]


def main() -> None:
    model = shaken_model()
    golden = {
        "about": {
            "made by": "scripts/make_megnet_golden.py",
            "package": f"matgl {importlib.metadata.version('matgl')}, double precision",
            "units": "positions and cell in Å (rows are lattice vectors)",
            "edges": "rows of center, neighbor, whole cells from neighbor to image",
            "features": "after the last block, before Set2Set; rows as atoms, edges, crystal",
        },
        "cutoff": CUTOFF,
        "last_center": CUTOFF + 1.0,
        **SIZES,
        "numbers": list(ELEMENTS.values()),
        "weights": {
            name: values.tolist()
            for name, values in model.named_parameters()
            if not name.startswith(("edge_s2s", "node_s2s", "output_proj", "bond_expansion"))
        },
        "crystals": with_features(model),
    }
    OUTPUT.write_text(json.dumps(golden, ensure_ascii=False, separators=(",", ":")) + "\n")


def shaken_model() -> MEGNet:
    """Return matgl's MEGNet in double precision with random weights of a few digits."""
    model = MEGNet(
        dim_node_embedding=SIZES["element_width"],
        dim_edge_embedding=SIZES["radial"],
        dim_state_embedding=SIZES["state"],
        nblocks=SIZES["layers"],
        hidden_layer_sizes_input=(SIZES["hidden"], SIZES["width"]),
        hidden_layer_sizes_conv=(SIZES["hidden"], SIZES["hidden"], SIZES["width"]),
        element_types=tuple(ELEMENTS),
        cutoff=CUTOFF,
        gauss_width=0.5,
    ).double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, values in model.named_parameters():
            if not name.startswith("bond_expansion"):
                noise = torch.randn(values.shape, generator=generator, dtype=values.dtype)
                values.copy_((noise * values.shape[-1] ** -0.5).mul(1e3).round().div(1e3))
    return model.eval()


def with_features(model: MEGNet) -> list[dict]:
    """Return the crystals with their edges and features, computed as one batch."""
    edges = [edges_of(crystal) for crystal in CRYSTALS]
    atoms = [len(crystal["numbers"]) for crystal in CRYSTALS]
    first = [0, *itertools.accumulate(atoms)]
    kinds = list(ELEMENTS.values())
    batch = SimpleNamespace(
        node_type=torch.tensor([kinds.index(z) for c in CRYSTALS for z in c["numbers"]]),
        pos=torch.tensor([p for c in CRYSTALS for p in c["positions"]], dtype=torch.float64),
        edge_index=torch.cat(
            [
                torch.tensor(rows)[:, :2].T + start
                for rows, start in zip(edges, first, strict=False)
            ],
            dim=1,
        ),
        pbc_offshift=torch.cat(
            [
                torch.tensor(rows, dtype=torch.float64)[:, 2:]
                @ torch.tensor(crystal["cell"], dtype=torch.float64)
                for rows, crystal in zip(edges, CRYSTALS, strict=True)
            ]
        ),
        batch=torch.repeat_interleave(torch.arange(len(CRYSTALS)), torch.tensor(atoms)),
        num_graphs=len(CRYSTALS),
    )
    state = torch.tensor([crystal["state"] for crystal in CRYSTALS], dtype=torch.float64)
    with torch.no_grad():
        model(batch, state)
    found = model.feature_dict[f"gc_{SIZES['layers']}"]
    nodes = found["node_feat"].split(atoms)
    edge_features = found["edge_feat"].split([len(rows) for rows in edges])
    return [
        {
            **crystal,
            "edges": edges[index],
            "node_features": nodes[index].tolist(),
            "edge_features": edge_features[index].tolist(),
            "state_features": found["state_feat"][index].tolist(),
        }
        for index, crystal in enumerate(CRYSTALS)
    ]


def edges_of(crystal: dict) -> list[list[int]]:
    """Return center, neighbor and shift of every pair within the cutoff, by brute force."""
    positions = torch.tensor(crystal["positions"], dtype=torch.float64)
    cell = torch.tensor(crystal["cell"], dtype=torch.float64)
    found = []
    for i, j in itertools.product(range(len(positions)), repeat=2):
        for shift in itertools.product(range(-4, 5), repeat=3):
            image = positions[j] + torch.tensor(shift, dtype=torch.float64) @ cell
            distance = float(torch.linalg.vector_norm(image - positions[i]))
            if 1e-6 < distance <= CUTOFF:
                found.append([i, j, *shift])
    return found


if __name__ == "__main__":
    main()
