"""Forces and stresses: their unit, their sign, and whether they belong to their frames."""

from collections.abc import Mapping
from itertools import compress

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.stats import spearmanr

from epitaxy.crystals.crystals import Crystals
from epitaxy.crystals.targets import Target
from epitaxy.datasets.audits.facts import Facts
from epitaxy.datasets.audits.findings import Finding, examples
from epitaxy.datasets.audits.repulsion import deviator, pair_repulsion, typical_slope
from epitaxy.errors import InputError
from epitaxy.units import conversion_factor

_MOST_FRAMES = 1500  # enough for a correlation to 0.01; chosen evenly
_FELT = 0.1  # eV/Å of pair repulsion: with less, attraction decides
_CLEAR = 0.3
"""Rank correlation with the pair repulsion from which it speaks of sign and unit. Distorted frames
have 0.6 to 0.8, relaxed ones less than 0.1."""
_STRENGTH = (0.08, 8.0)
"""Forces and stresses over those of the pair repulsion: 0.8 to 0.9 for distorted inorganic
crystals, a factor ten to either side."""
_RELAXED = 0.05  # eV/Å; what relaxations stop at
_NET = (
    0.1  # eV/Å, and a twentieth of the sum of sizes: more than the grid of a plane-wave code makes
)
_HUGE_FORCE = 50.0  # eV/Å; a bond breaks at 5
_HUGE_PRESSURE = 1.25  # eV/Å³ = 200 GPa, more than the Earth's mantle has
_FORCES = {"meV/Å": 1e3, "Ha/Bohr": 1 / 51.42207, "Ry/Bohr": 1 / 25.71104, "kJ/(mol Å)": 96.48533,
           "kcal/(mol Å)": 23.06055}  # fmt: skip
_STRESSES = {"GPa": 160.21766, "kbar": 1602.1766, "Ha/Bohr³": 1 / 183.6315, "MPa": 160217.66}


def mechanics_findings(facts: Facts, wanted: set[str]) -> list[Finding]:
    """Return what is wrong with forces (atoms, 3) and stresses (3, 3) among the columns wanted."""
    forces, stresses = _columns(facts.crystals, wanted)
    findings: list[Finding] = []
    if forces is None and stresses is None:
        return []
    crystals = facts.crystals
    chosen = torch.from_numpy(
        np.unique(np.linspace(0, len(crystals) - 1, _MOST_FRAMES).round().astype(np.int64))
    )
    some = crystals[chosen]
    model = pair_repulsion(some)
    if forces is not None:
        name, target = forces
        scale = _factor(target.unit, "eV/Å")
        sampled = some.targets[name].values.numpy().astype(np.float64) * scale
        use = np.linalg.norm(model.forces, axis=1) > _FELT
        frame = some.crystal_of_atom.numpy()[use]
        findings += _compared(
            name,
            target.unit or "eV/Å",
            _by_frame(model.forces[use], frame, len(some)),
            _by_frame(sampled[use], frame, len(some)),
            _FORCES,
            len(crystals),
            "forces",
        )
        findings += _of_forces(crystals, name, target.values.numpy().astype(np.float64) * scale)
    if stresses is not None:
        name, target = stresses
        scale = _factor(target.unit, "eV/Å^3")
        sampled = some.targets[name].values.numpy().astype(np.float64) * scale
        model_stress, sampled = model.deviatoric, deviator(sampled)
        solid = facts.dense[chosen.numpy()]
        findings += _compared(
            name,
            target.unit or "eV/Å³",
            list(model_stress[solid].reshape(-1, 9)),
            list(sampled[solid].reshape(-1, 9)),
            _STRESSES,
            len(crystals),
            "stresses",
        )
        wrong = {one.check for one in findings if one.target == name}
        if not wrong & {"unit"}:
            findings += _of_stresses(
                crystals, name, target.values.numpy().astype(np.float64) * scale
            )
    return findings


def _columns(
    crystals: Crystals, wanted: set[str]
) -> tuple[tuple[str, Target] | None, tuple[str, Target] | None]:
    named: Mapping[str, Target] = {n: t for n, t in crystals.targets.items() if n in wanted}
    forces = [
        (n, t)
        for n, t in named.items()
        if "force" in n.lower() and t.level == "atom" and t.values.shape[1:] == (3,)
    ]
    stresses = [
        (n, t)
        for n, t in named.items()
        if ("stress" in n.lower() or "virial" in n.lower())
        and t.level == "crystal"
        and t.values.shape[1:] == (3, 3)
    ]
    return next(iter(forces), None), next(iter(stresses), None)


def _factor(unit: str, wanted: str) -> float:
    try:
        return conversion_factor(unit, wanted) if unit not in ("", "1") else 1.0
    except InputError:
        return 1.0


def _by_frame(
    vectors: Float[np.ndarray, "atoms 3"], frame: Int[np.ndarray, " atoms"], frames: int
) -> list[np.ndarray]:
    """Return the components of each frame's vectors in one row."""
    ends = np.cumsum(np.bincount(frame, minlength=frames))[:-1]
    return [one.ravel() for one in np.split(vectors, ends)]


def _compared(
    name: str,
    unit: str,
    model: list[np.ndarray],
    found: list[np.ndarray],
    mistakes: Mapping[str, float],
    frames: int,
    what: str,
) -> list[Finding]:
    """Compare forces or stresses with those of a pair repulsion: sign, size, or no relation."""
    there = [bool(np.isfinite(one).all()) and len(one) > 0 for one in found]
    model, found = list(compress(model, there)), list(compress(found, there))
    if sum(map(len, found)) < 300:
        return []
    flat_model, flat = np.concatenate(model), np.concatenate(found)
    if flat.std() == 0:
        return []
    rank, slope = float(spearmanr(flat_model, flat)[0]), typical_slope(model, found)
    low, high = _STRENGTH
    typical = float(np.abs(flat).mean() / max(np.abs(flat_model).mean(), 1e-12))
    if rank < -_CLEAR:
        convention = "stress is positive in tension here; VASP's is positive in compression: "
        return [
            Finding(
                "error",
                "sign",
                f"the {what} point the wrong way: rank correlation {rank:.2f} with a pair "
                "repulsion, where right ones have +0.6 to +0.8.",
                frames,
                (convention if what == "stresses" else "forces are −dE/dr: ")
                + "multiply the column by −1.",
                name,
            )
        ]
    if rank > _CLEAR and slope is not None and not low <= slope <= high:
        fits = [other for other, factor in mistakes.items() if low <= slope / factor <= high]
        fits.sort(key=lambda other: abs(np.log(slope / mistakes[other] / np.sqrt(low * high))))
        guess = f"the values would fit if they were in {' or '.join(fits)}: " if fits else ""
        return [
            Finding(
                "error" if fits else "warning",
                "unit",
                f"{what} in {unit} are {slope:.3g} times those of a pair repulsion "
                f"(expected: {low:g} to {high:g}).",
                frames,
                guess + "correct the column or its unit.",
                name,
            )
        ]
    bound = 3.1 / np.sqrt(len(flat) / 9 if what == "stresses" else len(flat) / 3)
    if rank < bound and typical > low:
        return [
            Finding(
                "error",
                "labels do not follow",
                f"the {what} have nothing to do with their frames: rank correlation "
                f"{rank:.2f} with a pair repulsion.",
                frames,
                "were rows or atoms reordered, or is the unit another one?",
                name,
            )
        ]
    return []


def _of_forces(
    crystals: Crystals, name: str, forces: Float[np.ndarray, "atoms 3"]
) -> list[Finding]:
    offsets = crystals.offsets.numpy()[:-1]
    sizes = np.linalg.norm(forces, axis=1)
    largest = np.maximum.reduceat(sizes, offsets)
    net = np.linalg.norm(np.add.reduceat(forces, offsets, axis=0), axis=1)
    pushed = (net > _NET) & (net > 0.05 * np.add.reduceat(sizes, offsets))
    findings = []
    if pushed.any():
        rows = np.flatnonzero(pushed)[np.argsort(-net[pushed])]
        much = pushed.mean() > 0.2
        findings.append(
            Finding(
                "error" if much else "warning",
                "net force",
                f"the forces of {len(rows)} of {len(crystals)} frames do not sum to zero; up "
                f"to {net[rows[0]]:.3g} eV/Å.",
                len(rows),
                "atoms were reordered or left out, or a field or a constraint acts.",
                name,
                examples(crystals, rows),
            )
        )
    huge = np.flatnonzero(largest > _HUGE_FORCE)
    if len(huge):
        huge = huge[np.argsort(-largest[huge])]
        findings.append(
            Finding(
                "warning",
                "huge forces",
                f"{len(huge)} frames have forces beyond {_HUGE_FORCE:g} eV/Å, up to "
                f"{largest[huge[0]]:.4g}.",
                len(huge),
                "leave them out of training: squared errors see nothing else.",
                name,
                examples(crystals, huge),
            )
        )
    relaxed = int((largest < _RELAXED).sum())
    if relaxed > 0.1 * len(crystals):
        findings.append(
            Finding(
                "note",
                "relaxed frames",
                f"{relaxed} of {len(crystals)} frames have no force beyond {_RELAXED:g} eV/Å.",
                relaxed,
                "they teach minima, not forces: add distorted frames.",
                name,
            )
        )
    return findings


def _of_stresses(
    crystals: Crystals, name: str, stresses: Float[np.ndarray, "crystals 3 3"]
) -> list[Finding]:
    findings = []
    apart = np.abs(stresses - stresses.swapaxes(1, 2)).max((1, 2))
    size = np.abs(stresses).max((1, 2))
    twisted = np.flatnonzero((apart > 1e-4) & (apart > 0.02 * size))
    if len(twisted):
        findings.append(
            Finding(
                "warning",
                "asymmetric stress",
                f"{len(twisted)} stresses are not symmetric.",
                len(twisted),
                "look at the order of their nine components.",
                name,
                examples(crystals, twisted),
            )
        )
    pressure = np.abs(np.trace(stresses, axis1=1, axis2=2) / 3)
    huge = np.flatnonzero(pressure > _HUGE_PRESSURE)
    if len(huge):
        huge = huge[np.argsort(-pressure[huge])]
        findings.append(
            Finding(
                "warning",
                "huge stresses",
                f"{len(huge)} frames are under more than 200 GPa, up to "
                f"{pressure[huge[0]] * 160.2:.4g} GPa.",
                len(huge),
                "leave them out unless such pressures are wanted.",
                name,
                examples(crystals, huge),
            )
        )
    return findings
