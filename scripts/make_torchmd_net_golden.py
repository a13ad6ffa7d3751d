"""Write what the package ``torchmd-net`` computes, for the test of parity to compare with.

``python scripts/make_torchmd_net_golden.py`` needs ``torchmd-net`` (and through it ``torch`` and
``warp-lang``) and ``ase``, for the geometries of three molecules. Weights are not random but follow
from a formula, so that nobody needs to store them: ``ABOUT`` says which.
"""

import json
from importlib.metadata import version
from pathlib import Path

import ase.build
import torch
from torchmdnet.models.torchmd_et import TorchMD_ET

OUT = Path(__file__).parents[1] / "tests" / "golden" / "torchmd_net.json"
SIZES = {
    "hidden_channels": 8,
    "num_layers": 2,
    "num_rbf": 6,
    "num_heads": 2,
    "cutoff_upper": 5.0,
    "max_z": 10,
}
EDGE = 10.4  # Å, of the periodic box; the package wants twice the cutoff at least
ABOUT = {
    "program": "torchmd-net, class torchmdnet.models.torchmd_et.TorchMD_ET, on a CPU in float64",
    "weights": "tensor n of state_dict() (distance.box left out) has at its flat place i the "
    "number 0.4 cos(i*i + n), to which is added 1 in weights of layer norms, i / 5 in "
    "distance_expansion.means, 9 in distance_expansion.betas",
    "units": "positions in Å; edge: of a cubic periodic cell in Å, or null",
    "results": "by the package's argument vector_cutoff: nodes x (atoms, channels) and vectors "
    "v (atoms, 3, channels)",
}


def weights(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return the numbers that ``ABOUT`` describes, by the package's names."""
    state = {name: old for name, old in network.state_dict().items() if name != "distance.box"}
    made = {}
    for number, (name, old) in enumerate(state.items()):
        place = torch.arange(old.numel(), dtype=torch.float64)
        value = 0.4 * torch.cos(place * place + number)
        if name.endswith("norm.weight"):
            value = value + 1.0
        elif name.endswith("means"):
            value = value + place / 5.0
        elif name.endswith("betas"):
            value = value + 9.0
        made[name] = value.reshape(old.shape)
    return made


def encoded(network: TorchMD_ET, numbers: list, positions: list, edge: float | None) -> dict:
    """Return the package's node and vector features of one structure."""
    box = None if edge is None else edge * torch.eye(3, dtype=torch.float64)
    numbers_ = torch.tensor(numbers)
    with torch.no_grad():
        nodes, vectors, *_ = network.double()(
            numbers_,
            torch.tensor(positions, dtype=torch.float64),
            torch.zeros_like(numbers_),
            box=box,
        )
    return {"x": nodes.tolist(), "v": vectors.tolist()}


def main() -> None:
    structures = {
        "water": (ase.build.molecule("H2O"), None),
        "methane": (ase.build.molecule("CH4"), None),
        "ethanol": (ase.build.molecule("CH3CH2OH"), None),
        "ethanol in a periodic box": (ase.build.molecule("CH3CH2OH"), EDGE),
    }
    kept = {}
    for name, (atoms, edge) in structures.items():
        if edge is not None:
            atoms.positions += [edge - 0.3, 0.5 * edge, 0.2]  # across two faces of the box
            atoms.set_cell([edge] * 3)
            atoms.pbc = True
            atoms.wrap()
        structure = {
            "numbers": atoms.numbers.tolist(),
            "positions": atoms.positions.tolist(),
            "edge": edge,
        }
        results = {}
        for vector_cutoff in (False, True):
            network = TorchMD_ET(**SIZES, vector_cutoff=vector_cutoff)
            network.double().load_state_dict(weights(network), strict=False)
            results[str(vector_cutoff).lower()] = encoded(network, **structure)
        kept[name] = {**structure, "results": results}
    packages = ("torchmd-net", "warp-lang", "torch", "ase")
    content = {
        "about": {**ABOUT, "versions": {name: version(name) for name in packages}},
        "sizes": SIZES,
        "shapes": {name: list(value.shape) for name, value in weights(network).items()},
        "structures": kept,
    }
    lines = (
        f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}"
        for key, value in content.items()
    )
    OUT.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    print(f"{OUT}: {len(kept)} structures, {OUT.stat().st_size} bytes")


if __name__ == "__main__":
    main()
