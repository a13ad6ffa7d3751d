"""Draw one sodium atom's fingerprints in rock salt, and how strain changes them.

``python scripts/draw_fingerprints.py`` writes docs/descriptors/{wacsf,ead,gmp}.png.
"""

from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch

from epitaxy.crystals.crystals import Crystals
from epitaxy.crystals.neighbors import build_graph
from epitaxy.descriptors import EAD, GMP, WACSF
from epitaxy.descriptors.base import Descriptor

mpl.use("Agg")
import matplotlib.pyplot as plt

OUT = Path(__file__).parents[1] / "docs" / "descriptors"
STRAINS = {
    "as it is": (0, 0, 0, "black"),
    "2 % longer in every direction": (0.02, 0.02, 0.02, "tab:blue"),
    "2 % longer along z": (0, 0, 0.02, "tab:orange"),
    "2 % longer along z, 2 % shorter along x": (-0.02, 0, 0.02, "tab:red"),
}


def main() -> None:
    plt.rcParams |= {"font.size": 8, "axes.spines.top": False, "axes.spines.right": False}
    draw_wacsf()
    draw_ead()
    draw_gmp()


def salt() -> Crystals:
    cell = 2.82 * torch.tensor([[[0, 1, 1], [1, 0, 1], [1, 1, 0]]], dtype=torch.float64)
    return Crystals(
        numbers=torch.tensor([11, 17]),
        positions=torch.tensor([[0.0, 0.0, 0.0], [2.82, 0.0, 0.0]], dtype=torch.float64),
        cell=cell,
        pbc=torch.ones(1, 3, dtype=torch.bool),
        offsets=torch.tensor([0, 2]),
    )


def sodium(descriptor: Descriptor) -> dict[str, np.ndarray]:
    """Return the fingerprint of sodium under every strain; edges are found beyond the cutoff."""
    graph = build_graph(salt(), descriptor.cutoff + 1.0)
    found = {}
    for name, (*diagonal, _) in STRAINS.items():
        strain = torch.diag(torch.tensor(diagonal, dtype=torch.float64)).unsqueeze(0)
        found[name] = descriptor(graph.strained(strain))[0].numpy()
    return found


def draw_wacsf() -> None:
    descriptor = WACSF.preset("set1")
    rows = {name: row.reshape(len(descriptor.eta), -1) for name, row in sodium(descriptor).items()}
    figure, axes = plt.subplots(1, 2, figsize=(7, 2.6), layout="constrained")
    start = rows["as it is"]
    for eta, values in zip(descriptor.eta, start, strict=True):
        axes[0].plot(descriptor.r_s, values, marker="o", markersize=3, label=f"η = {eta:g} Å⁻²")
    axes[0].set(xlabel="R_s / Å", ylabel="G", title="Na in NaCl")
    axes[0].set_xlim(right=15)
    axes[0].legend(frameon=False, fontsize=6, loc="right")
    column = descriptor.eta.index(1.0)
    for name, (*_, color) in [*STRAINS.items()][1:]:
        change = rows[name][column] - start[column]
        axes[1].plot(descriptor.r_s, change, marker="o", markersize=3, color=color, label=name)
    axes[1].axhline(0, color="black", linewidth=0.5)
    axes[1].set(xlabel="R_s / Å", ylabel="change of G at η = 1 Å⁻²", title="under strain")
    axes[1].set_ylim(bottom=-13)
    axes[1].legend(frameon=False, fontsize=6, loc="lower left")
    save(figure, "wacsf")


def draw_ead() -> None:
    descriptor = EAD(eta=(5.0,))
    rows = {name: np.sqrt(row.reshape(3, -1)) for name, row in sodium(descriptor).items()}
    figure, axes = plt.subplots(2, 2, figsize=(7, 3.6), layout="constrained", sharex=True)
    for degree, (above, below) in zip((0, 2), axes.T, strict=True):
        start = rows["as it is"][degree]
        above.plot(descriptor.r_s, start, color="black", linewidth=0.9)
        above.set_title(f"l = {degree}, Na in NaCl (l = 1: zero)")
        for name, (*_, color) in [*STRAINS.items()][1:]:
            change = rows[name][degree] - start
            below.plot(descriptor.r_s, change, color=color, linewidth=0.9, label=name)
        below.set_xlabel("R_s / Å")
    axes[0, 0].set_ylabel("√ρ at η = 5 Å⁻²")
    axes[1, 0].set_ylabel("change of √ρ under strain")
    axes[1, 1].legend(frameon=False, fontsize=6, loc="lower left")
    save(figure, "ead")


def draw_gmp() -> None:
    descriptor = GMP.preset("set1")
    rows = sodium(descriptor)
    names = [name.removeprefix("gmp[").removesuffix("]") for name in descriptor.feature_names]
    names = [name.replace("sigma", "σ") for name in names]
    figure, axes = plt.subplots(1, 2, figsize=(7, 2.8), layout="constrained")
    place = np.arange(len(names))
    start = np.where(rows["as it is"] > 1e-6, rows["as it is"], np.nan)
    axes[0].bar(place, start, color="gray")
    axes[0].set(yscale="log", ylabel="φ", title="Na in NaCl (orders 1 and 2: zero)")
    for name, (*_, color) in [*STRAINS.items()][1:]:
        change = np.abs(rows[name] - rows["as it is"])
        change = np.where(change > 1e-9, change, np.nan)
        axes[1].plot(place, change, "o", markersize=3, color=color, label=name)
    axes[1].set(yscale="log", ylabel="|change of φ|", title="under strain")
    axes[1].legend(frameon=False, fontsize=6)
    for axis in axes:
        axis.set_xticks(place, names, rotation=90, fontsize=6)
    save(figure, "gmp")


def save(figure: plt.Figure, name: str) -> None:
    path = OUT / f"{name}.png"
    figure.savefig(path, dpi=100)
    print(f"{path.relative_to(OUT.parents[1])}: {path.stat().st_size / 1024:.0f} kB")


if __name__ == "__main__":
    main()
