"""Make the bundled demonstration crystals: decorate prototypes, relax and label with CHGNet."""

import argparse
import json
import time
import warnings
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import spglib
import torch
from ase.data import atomic_numbers, chemical_symbols, covalent_radii
from ase.neighborlist import primitive_neighbor_list
from chgnet.model import CHGNet
from chgnet.model.model import BatchedGraph
from prototypes import MOLECULAR, PROTOTYPES, Candidate, candidates, starting_structure
from pymatgen.core import Lattice, Structure

GPA_PER_EV_A3 = 160.21766208
FORCE_TOLERANCE = 0.005  # eV/Å
STRESS_TOLERANCE = 0.02 / GPA_PER_EV_A3
MAXIMUM_STEPS = 60
VOLUME_FACTORS = np.linspace(0.94, 1.06, 7)
MAXIMUM_FRAME_FORCE = 15.0  # eV/Å
MOLECULE_BOX = 10.0  # Å
ANGLES_PER_BATCH = 6000
OUTPUT = Path(__file__).resolve().parents[1] / "src" / "epitaxy" / "datasets" / "bundled"

PROPERTIES = {
    "energy": ("eV", "crystal", "true"),
    "forces": ("eV/Å", "atom", "false"),
    "stress": ("eV/Å^3", "crystal", "false"),
    "magmoms": ("μB", "atom", "false"),
    "formation_energy_per_atom": ("eV/atom", "crystal", "false"),
    "bulk_modulus": ("GPa", "crystal", "false"),
}


@dataclass
class Crystal:
    """One periodic structure: atomic numbers, Cartesian positions and cell rows in Å."""

    numbers: np.ndarray
    positions: np.ndarray
    cell: np.ndarray

    @property
    def volume(self) -> float:
        """Cell volume in Å^3."""
        return float(abs(np.linalg.det(self.cell)))

    def strained(self, strain: np.ndarray) -> "Crystal":
        """The crystal with every length mapped by 1 + strain."""
        deformation = np.eye(3) + strain
        return Crystal(self.numbers, self.positions @ deformation, self.cell @ deformation)

    def rounded(self) -> "Crystal":
        """The crystal exactly as the files store it, so that labels belong to what is stored."""
        positions = np.round(self.positions, 5).astype(np.float32).astype(float)
        return Crystal(self.numbers, positions, np.round(self.cell, 6))


class Labeler:
    """Energies and their derivatives from CHGNet, many small crystals per call."""

    def __init__(self) -> None:
        self.model = CHGNet.load(use_device="cpu", check_cuda_mem=False, verbose=False).eval()
        self.model.requires_grad_(False)
        self.model.graph_converter.set_isolated_atom_response("ignore")

    def _graph(self, crystal: Crystal):
        symbols = [chemical_symbols[z] for z in crystal.numbers]
        lattice = Lattice(crystal.cell)
        return self.model.graph_converter(
            Structure(lattice, symbols, crystal.positions, coords_are_cartesian=True)
        )

    def energies(self, crystals: list[Crystal]) -> np.ndarray:
        """Total energies in eV."""
        return np.array([label["energy"] for label in self.labels(crystals, derivatives=False)])

    def labels(self, crystals: list[Crystal], derivatives: bool = True) -> list[dict]:
        """Energy (eV) and, unless switched off, forces, stress (tension positive) and magmoms."""
        graphs = [self._graph(crystal) for crystal in crystals]
        order = sorted(range(len(graphs)), key=lambda k: len(graphs[k].bond_graph))
        found: list[dict] = [{} for _ in graphs]
        batch: list[int] = []
        load = 0
        for position, k in enumerate(order):
            batch.append(k)
            load += len(graphs[k].bond_graph) + 2 * len(graphs[k].atom_graph)
            if load > ANGLES_PER_BATCH or position == len(order) - 1:
                results = self._predict([graphs[k] for k in batch], derivatives)
                for index, result in zip(batch, results, strict=True):
                    found[index] = result
                batch, load = [], 0
        return found

    def _predict(self, graphs: list, derivatives: bool) -> list[dict]:
        """One forward pass and, for all derivatives together, one backward pass."""
        model = self.model
        with torch.set_grad_enabled(derivatives):
            batched = BatchedGraph.from_graphs(
                graphs,
                bond_basis_expansion=model.bond_basis_expansion,
                angle_basis_expansion=model.angle_basis_expansion,
                compute_stress=derivatives,
            )
            output = model._compute(batched, compute_magmom=derivatives)
            sizes = output["atoms_per_graph"]
            energies = output["e"] * sizes
        per_atom = output["e"].detach() + model.composition_model(graphs).detach()
        totals = per_atom.double() * sizes
        results = [{"energy": float(total)} for total in totals]
        if derivatives:
            places = len(graphs)
            gradients = torch.autograd.grad(
                energies.sum(), [*batched.atom_positions, *batched.strains]
            )
            for k, result in enumerate(results):
                result["forces"] = -gradients[k].double().numpy()
                stress = gradients[places + k].double().numpy() / float(batched.volumes[k])
                result["stress"] = (stress + stress.T) / 2
                result["magmoms"] = output["m"][k].detach().double().numpy()
        return results


@dataclass
class Descent:
    """Quasi-Newton search for one crystal, over atomic displacements and cell strain together."""

    crystal: Crystal
    hessian: np.ndarray = field(init=False)
    strain_length: float = field(init=False)
    gradient: np.ndarray | None = None
    step: np.ndarray | None = None

    def __post_init__(self) -> None:
        # Scales strain so that one starting curvature (25 eV/Å^2) suits both kinds of variable.
        self.strain_length = np.sqrt(self.crystal.volume / 25.0)
        self.hessian = 25.0 * np.eye(3 * len(self.crystal.numbers) + 9)

    def advance(self, label: dict) -> None:
        """Update the curvature by BFGS and take one bounded step."""
        virial = self.crystal.volume * label["stress"] / self.strain_length
        gradient = np.concatenate([-label["forces"].ravel(), virial.ravel()])
        if self.step is not None:
            change = gradient - self.gradient
            projected = self.hessian @ self.step
            slope = change @ self.step
            if abs(slope) > 1e-10:
                self.hessian += np.outer(change, change) / slope
                self.hessian -= np.outer(projected, projected) / (self.step @ projected)
        curvatures, modes = np.linalg.eigh(self.hessian)
        step = -modes @ ((gradient @ modes) / np.maximum(np.abs(curvatures), 1.0))
        moves = np.linalg.norm(step[:-9].reshape(-1, 3), axis=1)
        strain = step[-9:] / self.strain_length
        step /= max(1.0, moves.max() / 0.12, np.abs(strain).max() / 0.04)
        self.gradient, self.step = gradient, step
        deformed = self.crystal.strained(step[-9:].reshape(3, 3) / self.strain_length)
        deformed.positions = deformed.positions + step[:-9].reshape(-1, 3)
        self.crystal = deformed


def is_relaxed(label: dict) -> bool:
    """Whether forces and stress are below their tolerances."""
    calm = np.abs(label["forces"]).max() < FORCE_TOLERANCE
    return bool(calm and np.abs(label["stress"]).max() < STRESS_TOLERANCE)


def relax(labeler: Labeler, starts: list[Crystal]) -> list[Crystal | None]:
    """Relax all crystals in lockstep; None marks those that ran away or did not converge."""
    searches = {k: Descent(start) for k, start in enumerate(starts)}
    relaxed: list[Crystal | None] = [None] * len(starts)
    for _ in range(MAXIMUM_STEPS):
        labels = labeler.labels([search.crystal for search in searches.values()])
        for k, label in zip(list(searches), labels, strict=True):
            search = searches[k]
            if is_relaxed(label):
                relaxed[k] = search.crystal.rounded()
                del searches[k]
                continue
            search.advance(label)
            if not 0.5 < search.crystal.volume / starts[k].volume < 2.5:
                del searches[k]
        if not searches:
            break
    return relaxed


def has_sound_geometry(crystal: Crystal) -> bool:
    """Volume per atom within 3 to 200 Å^3 and no two atoms too near each other."""
    if not 3 < crystal.volume / len(crystal.numbers) < 200:
        return False
    if not (np.isfinite(crystal.positions).all() and np.isfinite(crystal.cell).all()):
        return False
    firsts, seconds, distances = primitive_neighbor_list(
        "ijd", (True,) * 3, crystal.cell, crystal.positions, 4.0
    )
    radii = covalent_radii[crystal.numbers]
    limits = np.maximum(0.9, 0.55 * (radii[firsts] + radii[seconds]))
    return bool((distances > limits).all())


def bulk_modulus(volumes: np.ndarray, energies: np.ndarray) -> float | None:
    """Birch-Murnaghan bulk modulus in GPa, or None where the fit is not to be trusted."""
    center = len(volumes) // 2
    below, above = np.diff(energies[: center + 1]), np.diff(energies[center:])
    if (below[:-1] >= 0).any() or (above[1:] <= 0).any():
        return None
    # Third-order Birch-Murnaghan is a cubic in x = (reference volume / volume)^(2/3).
    reference = volumes[center]
    fit = np.poly1d(np.polyfit((reference / volumes) ** (2 / 3), energies, 3))
    roots = fit.deriv().roots
    minima = [r.real for r in roots if abs(r.imag) < 1e-9 and fit.deriv(2)(r.real) > 0]
    volume = [reference * x ** (-3 / 2) for x in minima if x > 0]
    volume = [v for v in volume if volumes[0] < v < volumes[-1]]
    if len(volume) != 1:
        return None
    x = (reference / volume[0]) ** (2 / 3)
    modulus = fit.deriv(2)(x) * (2 / 3 * x) ** 2 / volume[0] * GPA_PER_EV_A3
    residuals = energies - fit((reference / volumes) ** (2 / 3))
    if modulus <= 0 or np.sqrt(np.mean(residuals**2)) > 0.03 * np.ptp(energies):
        return None
    return float(modulus)


def bulk_moduli(labeler: Labeler, crystals: list[Crystal]) -> list[float | None]:
    """Bulk moduli from uniform scaling of the relaxed cells, fractional coordinates held."""
    strains = [np.eye(3) * (factor ** (1 / 3) - 1) for factor in VOLUME_FACTORS]
    scaled = [crystal.strained(strain) for crystal in crystals for strain in strains]
    energies = labeler.energies(scaled).reshape(len(crystals), len(strains))
    return [
        bulk_modulus(crystal.volume * VOLUME_FACTORS, row)
        for crystal, row in zip(crystals, energies, strict=True)
    ]


def displaced(crystal: Crystal, name: str) -> Crystal | None:
    """A rattled and slightly strained copy for about half of the crystals, fixed by the name."""
    generator = np.random.default_rng(zlib.crc32(name.encode()))
    if generator.random() < 0.4 or len(crystal.numbers) > 10:
        return None
    repeats = np.array([1, 1, 1])
    if len(crystal.numbers) == 1:
        repeats = np.array([[2, 1, 1], [2, 2, 1], [2, 2, 2]])[generator.integers(3)]
    shifts = np.array(list(np.ndindex(*repeats))) @ crystal.cell
    positions = (shifts[:, None] + crystal.positions).reshape(-1, 3)
    numbers = np.tile(crystal.numbers, len(shifts))
    strain = generator.uniform(-0.03, 0.03, (3, 3))
    moved = Crystal(numbers, positions, crystal.cell * repeats[:, None])
    moved = moved.strained((strain + strain.T) / 2)
    moved.positions = moved.positions + generator.normal(
        0, generator.uniform(0.03, 0.15), positions.shape
    )
    moved = moved.rounded()
    return moved if has_sound_geometry(moved) else None


def as_row(name: str, crystal: Crystal, label: dict) -> dict:
    """One table row in the exchange layout."""
    return {
        "id": name,
        "numbers": crystal.numbers.tolist(),
        "positions": crystal.positions.ravel().tolist(),
        "cell": crystal.cell.ravel().tolist(),
        "pbc": [True, True, True],
        "energy": round(label["energy"], 6),
        "forces": np.round(label["forces"], 6).ravel().tolist(),
        "stress": np.round(label["stress"], 8).ravel().tolist(),
        "magmoms": np.round(label["magmoms"], 4).tolist(),
    }


def make_shard(labeler: Labeler, chosen: list[Candidate]) -> dict:
    """Relax and label one shard; returns its crystal rows, frame rows and a tally of drops."""
    starts = [Crystal(*starting_structure(candidate)) for candidate in chosen]
    relaxed = relax(labeler, starts)
    kept = [
        (candidate, crystal)
        for candidate, crystal in zip(chosen, relaxed, strict=True)
        if crystal is not None and has_sound_geometry(crystal)
    ]
    crystals = [crystal for _, crystal in kept]
    names = [candidate.id for candidate, _ in kept]
    rows = []
    moduli = bulk_moduli(labeler, crystals)
    for (candidate, crystal), label, modulus in zip(
        kept, labeler.labels(crystals), moduli, strict=True
    ):
        row = as_row(candidate.id, crystal, label)
        rows.append(row | {"prototype": candidate.prototype, "bulk_modulus": modulus})
    moved = {name: displaced(crystal, name) for name, crystal in zip(names, crystals, strict=True)}
    moved = {name: crystal for name, crystal in moved.items() if crystal is not None}
    labels = labeler.labels(list(moved.values()))
    frames = [
        as_row(f"{name}-displaced", crystal, label) | {"parent": name}
        for (name, crystal), label in zip(moved.items(), labels, strict=True)
    ]
    unconverged = [c.id for c, crystal in zip(chosen, relaxed, strict=True) if crystal is None]
    unsound = len(chosen) - len(unconverged) - len(kept)
    return {"crystals": rows, "frames": frames, "unconverged": unconverged, "unsound": unsound}


def molecule_energies(labeler: Labeler) -> dict[str, float]:
    """Energy per atom of the diatomic molecules, at their CHGNet bond length in a cubic box."""
    energies = {}
    for element, bond in MOLECULAR.items():
        numbers = np.array([atomic_numbers[element]] * 2)
        bonds = bond * np.linspace(0.85, 1.25, 41)
        boxed = [
            Crystal(numbers, np.array([[5, 5, 5], [5 + d, 5, 5]]), MOLECULE_BOX * np.eye(3))
            for d in bonds
        ]
        energies[element] = float(labeler.energies(boxed).min()) / 2
    return energies


def write_json(path: Path, content: dict) -> None:
    """Write through a temporary name, so that a file that exists is complete."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(content))
    partial.replace(path)


def plan_shards(seed: int, fraction: float, size: int) -> dict[str, list[Candidate]]:
    """Shards by name: the elements first, since they are everybody's reference."""
    chosen = candidates(seed, fraction)
    elements = [c for c in chosen if len(c.elements) == 1]
    compounds = [c for c in chosen if len(c.elements) > 1]
    shards = {}
    for stem, members in (("elements", elements), ("compounds", compounds)):
        for start in range(0, len(members), size):
            shards[f"{stem}-{start // size:02d}"] = members[start : start + size]
    return shards


def label_shards(work: Path, shards: dict[str, list[Candidate]], minutes: float) -> None:
    """Compute the shards that are not there yet, until the time is up."""
    start = time.monotonic()
    labeler = Labeler()
    if not (work / "molecules.json").exists():
        write_json(work / "molecules.json", molecule_energies(labeler))
    for name, members in shards.items():
        path = work / f"{name}.json"
        if path.exists():
            continue
        if time.monotonic() - start > 60 * minutes:
            print("time is up; run again to continue")
            return
        began = time.monotonic()
        shard = make_shard(labeler, members)
        write_json(path, shard)
        print(
            f"{name}: {len(shard['crystals'])} of {len(members)} crystals, "
            f"{len(shard['frames'])} frames, {time.monotonic() - began:.0f} s",
            flush=True,
        )


def energy_per_atom(row: dict) -> float:
    """Energy per atom in eV."""
    return row["energy"] / len(row["numbers"])


def reference_energies(rows: list[dict], molecules: dict[str, float]) -> dict[int, float]:
    """Energy per atom of each element's reference: a molecule, or its lowest crystal here."""
    references: dict[int, float] = {}
    for row in rows:
        kinds = set(row["numbers"])
        if len(kinds) == 1:
            z = kinds.pop()
            references[z] = min(references.get(z, np.inf), energy_per_atom(row))
    return references | {atomic_numbers[symbol]: e for symbol, e in molecules.items()}


def add_formation_energies(rows: list[dict], references: dict[int, float]) -> list[dict]:
    """Rows that have all references and a formation energy that is not absurd."""
    kept = []
    for row in rows:
        if all(z in references for z in row["numbers"]):
            formation = row["energy"] - sum(references[z] for z in row["numbers"])
            row["formation_energy_per_atom"] = round(formation / len(row["numbers"]), 6)
            if -5.0 < row["formation_energy_per_atom"] < 1.5:
                kept.append(row)
    return kept


def symmetry(row: dict) -> tuple[int, int]:
    """Space-group number and primitive-cell size of a relaxed row."""
    cell = np.reshape(row["cell"], (3, 3))
    fractional = np.reshape(row["positions"], (-1, 3)) @ np.linalg.inv(cell)
    dataset = spglib.get_symmetry_dataset((cell, fractional, row["numbers"]), symprec=0.1)
    return dataset.number, len(set(dataset.mapping_to_primitive.tolist()))


def without_twins(rows: list[dict]) -> list[dict]:
    """Drop crystals that relaxed into the same structure as one of a simpler prototype."""
    rows = sorted(rows, key=lambda row: (len(row["numbers"]), -PROTOTYPES[row["prototype"]].group))
    seen: dict[tuple, list[tuple[float, float]]] = {}
    kept = []
    for row in rows:
        numbers, counts = np.unique(row["numbers"], return_counts=True)
        fractions = tuple((counts // np.gcd.reduce(counts)).tolist())
        structure = (tuple(numbers.tolist()), fractions, symmetry(row))
        volume = abs(np.linalg.det(np.reshape(row["cell"], (3, 3)))) / len(row["numbers"])
        others = seen.setdefault(structure, [])
        energy = energy_per_atom(row)
        if not any(abs(energy - e) < 0.002 and abs(volume / v - 1) < 0.01 for e, v in others):
            others.append((energy, volume))
            kept.append(row)
    return kept


def write_table(path: Path, rows: list[dict], text_columns: list[str]) -> None:
    """Write rows as one zstd parquet file with units in the field metadata."""
    types = {
        **dict.fromkeys(text_columns, pa.string()),
        "numbers": pa.list_(pa.uint8()),
        "positions": pa.list_(pa.float32()),
        "cell": pa.list_(pa.float64()),
        "pbc": pa.list_(pa.bool_()),
        "energy": pa.float64(),
        "forces": pa.list_(pa.float32()),
        "stress": pa.list_(pa.float32()),
        "magmoms": pa.list_(pa.float32()),
        "formation_energy_per_atom": pa.float64(),
        "bulk_modulus": pa.float64(),
    }
    fields = []
    for name, kind in types.items():
        metadata = None
        if name in PROPERTIES:
            metadata = dict(zip(("unit", "level", "extensive"), PROPERTIES[name], strict=True))
        if name in rows[0]:
            fields.append(pa.field(name, kind, metadata=metadata))
    table = pa.Table.from_pylist(rows, schema=pa.schema(fields))
    partial = path.with_suffix(".partial")
    pq.write_table(table, partial, compression="zstd", compression_level=19)
    partial.replace(path)
    print(f"{path.name}: {len(rows)} rows, {path.stat().st_size / 1e6:.2f} MB")


def collect(work: Path, output: Path, shards: dict[str, list[Candidate]], seed: int) -> None:
    """Build the two files from the shards that exist."""
    molecules = json.loads((work / "molecules.json").read_text())
    paths = [work / f"{name}.json" for name in shards]
    loaded = [json.loads(path.read_text()) for path in paths if path.exists()]
    found = [row for shard in loaded for row in shard["crystals"]]
    rows = add_formation_energies(found, reference_energies(found, molecules))
    unique = without_twins(rows)
    parents = {row["id"] for row in unique}
    frames = [
        frame
        for shard in loaded
        for frame in shard["frames"]
        if frame["parent"] in parents and np.abs(frame["forces"]).max() < MAXIMUM_FRAME_FORCE
    ]
    unconverged = sum(len(shard["unconverged"]) for shard in loaded)
    unsound = sum(shard["unsound"] for shard in loaded)
    print(
        f"{len(loaded)} of {len(shards)} shards; dropped {unconverged} unconverged, {unsound} "
        f"unsound, {len(found) - len(rows)} without a sane formation energy, "
        f"{len(rows) - len(unique)} twins"
    )
    if not unique:
        return
    generator = np.random.default_rng(seed)
    output.mkdir(parents=True, exist_ok=True)
    for name, table, columns in (
        ("crystals.parquet", unique, ["id", "prototype"]),
        ("frames.parquet", frames, ["id", "parent"]),
    ):
        shuffled = [table[k] for k in generator.permutation(len(table))]
        write_table(output / name, shuffled, columns)


def main() -> None:
    """Read the command line, then label shards or collect them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--work",
        type=Path,
        required=True,
        help="folder of finished shards, one per choice of fraction, shard size and seed",
    )
    parser.add_argument("--collect", action="store_true", help="only build the parquet files")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="folder of the parquet files")
    parser.add_argument("--fraction", type=float, default=0.8, help="share of the compounds")
    parser.add_argument("--shard-size", type=int, default=125, help="crystals in a shard")
    parser.add_argument("--seed", type=int, default=2026, help="seed of choice and order")
    parser.add_argument("--minutes", type=float, default=1e9, help="start no shard after this")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    options.work.mkdir(parents=True, exist_ok=True)
    shards = plan_shards(options.seed, options.fraction, options.shard_size)
    if not options.collect:
        label_shards(options.work, shards, options.minutes)
    collect(options.work, options.output, shards, options.seed)


if __name__ == "__main__":
    main()
