"""What a user does with the example once it is installed; prints what came of it as JSON.

``python session.py FOLDER``, with the installed example on the path.
"""

import json
import sys
from pathlib import Path

import epitaxy_schnet
import torch
import torch_geometric.nn as pyg

import epitaxy as ep
from epitaxy import registry
from epitaxy.datasets.bundled import bundled
from epitaxy.testing import check_backbone, examples

BACKBONE = {"name": "schnet", "width": 8, "layers": 2, "radial": 6, "cutoff": 4.0}
RECIPE = """
[backbone]
name = "schnet"
preset = "small"
width = 16
layers = 1
cutoff = 4.0

[[objectives]]
name = "fingerprint"
descriptor = { name = "wacsf", preset = "set2" }

[[objectives]]
name = "denoise"
mode = "derivative"

[training]
epochs = 2
batch_size = 16
"""
SHORT = {"training.epochs": 2, "training.batch_size": 16}


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    backbone = registry.build("backbones", BACKBONE)
    check_backbone(backbone)
    check_backbone(registry.build("backbones", {**BACKBONE, "neighbors": 8}))

    crystals = bundled()[:48]
    recipe = folder / "schnet.toml"
    recipe.write_text(RECIPE)
    run = ep.pretrain(recipe, data=crystals, out=folder / "pretrained", progress=False)
    tuned = ep.finetune(
        crystals[:32],
        "bulk_modulus[GPa]",
        from_=folder / "pretrained",
        changes=SHORT,
        out=folder / "tuned",
        progress=False,
    )
    table = ep.predict(tuned, crystals[32:])
    again = ep.predict(ep.load(folder / "tuned"), crystals[32:])
    facts = {
        "names": registry.names("backbones"),
        "found": registry.find("backbones", "schnet") is epitaxy_schnet.SchNet,
        "home": epitaxy_schnet.__file__,
        "name_of": registry.name_of(backbone),
        "package": registry.package_of(backbone),
        "settings": registry.settings_of(backbone),
        "difference": difference_from_torch_geometric(backbone.double()),
        "figures": dict(run.model.card["figures"]),
        "report": tuned.report,
        "predictions": len(table),
        "same": table.equals(again),
    }
    print(json.dumps(facts))


def difference_from_torch_geometric(backbone) -> float:
    """The largest difference from torch_geometric's own forward on edges that it is handed."""
    graph = backbone.graph_builder()(examples.low_symmetry_crystals()).nearest(8)  # one-way edges

    def edges(*_):
        return torch.stack([graph.neighbor, graph.center]), graph.distances()

    def times_envelope(_, given, expanded):
        return expanded * (0.5 + 0.5 * torch.cos(torch.pi * given[0] / 4.0)).unsqueeze(-1)

    seen = []
    whole = pyg.SchNet(8, 8, 2, 6, 4.0, interaction_graph=edges).double()
    whole.embedding, whole.interactions = backbone.element_table, backbone.interactions
    whole.distance_expansion.register_forward_hook(times_envelope)
    whole.lin1.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    whole(graph.crystals.numbers, graph.crystals.positions, graph.crystals.crystal_of_atom)
    return float((seen[0] - backbone(graph).nodes).detach().abs().max())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
