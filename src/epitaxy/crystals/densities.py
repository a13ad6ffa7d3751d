"""Electron densities of free atoms as sums of Gaussians, ρ(r) = Σ B exp(−β r²)."""

import functools
import json
import math
import os
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from epitaxy.crystals.elements import NUMBERS, SYMBOLS
from epitaxy.errors import InputError

Rows = tuple[tuple[float, float], ...]  # (B in e/Å³, β in Å⁻²)


def atom_densities(smearing: float) -> dict[int, Rows]:
    """Return the densities of the free atoms H to Cf, spread by their motion.

    The X-ray scattering factor f(s) = Σ a exp(−b s²) + c, s = sin θ / λ, is the Fourier transform
    of the density Σ a (4π / b)^{3/2} exp(−4π² r² / b), with the constant c a point at the nucleus.
    An atom that moves about its site with standard deviation u in each direction, as it does in
    every crystal, has b + 8π² u² in place of b: the point becomes a Gaussian of that width, and no
    term, however narrow (b down to 0.006 Å² in nitrogen, whose c is −11.5), is narrower than it.
    All electrons count, the core's too; c is Z − Σ a, so that they integrate to Z exactly.

    Source: International Tables for Crystallography, vol. C (1992), table 6.1.1.4.

    Args:
        smearing: u in Å; near room temperature it is 0.05 to 0.15 in most crystals.
    """
    if not smearing > 0:
        raise InputError(
            f"smearing is a positive length in Å, not {smearing}: the tabulated densities have a "
            "point charge at the nucleus, which must be spread."
        )
    spread = 8 * math.pi**2 * smearing**2
    densities = {}
    for symbol, factor in _scattering_factors().items():
        number = NUMBERS[symbol]
        amounts = [*factor["a"], number - sum(factor["a"])]
        widths = [b + spread for b in (*factor["b"], 0.0)]
        densities[number] = tuple(
            (amount * (4 * math.pi / width) ** 1.5, 4 * math.pi**2 / width)
            for amount, width in zip(amounts, widths, strict=True)
        )
    return densities


def electron_count(rows: Rows) -> float:
    """Return ∫ρ = Σ B (π / β)^{3/2}.

    >>> round(electron_count(atom_densities(0.1)[26]), 6)
    26.0
    """
    return sum(b * (math.pi / beta) ** 1.5 for b, beta in rows)


def read_gpsp(path: str | os.PathLike[str]) -> dict[int, Rows]:
    """Return the densities of a ``.gpsp`` file.

    Lines that begin with ``#`` or ``!`` are comments; blocks are separated by ``****``; a block is
    "symbol Z number-of-Gaussians" and then a row "B β" for each. A block of an unknown symbol or
    of Z = 0 (a dummy) is passed over. Raises InputError that names the file and the line.
    """
    try:
        lines = Path(path).read_text().splitlines()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error
    densities: dict[int, Rows] = {}
    number, missing = 0, 0
    rows: list[tuple[float, float]] = []
    for place, line in enumerate(lines, start=1):
        words = line.split()
        if not words or words[0][0] in "#!" or words[0].startswith("****"):
            continue
        try:
            if missing == 0:
                number, missing, rows = int(words[1]), int(words[2]), []
                if words[0] not in SYMBOLS:
                    number = 0
                continue
            rows.append((float(words[0]), float(words[1])))
        except (IndexError, ValueError):
            raise InputError(
                f"{path}, line {place}: '{line.strip()}' is neither 'symbol Z count' nor 'B β'."
            ) from None
        missing -= 1
        if missing == 0 and number:
            densities[number] = tuple(rows)
    if missing or not densities:
        raise InputError(f"{path} ends before its Gaussians do, or holds none.")
    return checked(densities)


def checked(densities: Mapping[int, object]) -> dict[int, Rows]:
    """Return densities as plain numbers; raises InputError that names the element that is wrong."""
    found: dict[int, Rows] = {}
    for key, given in densities.items():
        number = int(key)
        if not 1 <= number <= len(SYMBOLS):
            raise InputError(f"densities are given for Z = {key}, which is no element.")
        name = SYMBOLS[number - 1]
        try:
            rows = tuple((float(b), float(beta)) for b, beta in given)  # type: ignore[attr-defined]
        except (TypeError, ValueError):
            raise InputError(
                f"the density of {name} is {given!r}; rows (B in e/Å³, β in Å⁻²) belong there."
            ) from None
        finite = all(math.isfinite(b) and math.isfinite(beta) and beta > 0 for b, beta in rows)
        if not rows or not finite or not any(b for b, _ in rows):
            raise InputError(
                f"the density of {name}, {list(rows)}, needs finite rows (B, β) with β > 0 and a B "
                "other than zero."
            )
        found[number] = rows
    return dict(sorted(found.items()))


@functools.cache
def _scattering_factors() -> dict[str, dict]:
    text = (files("epitaxy.crystals") / "scattering_factors.json").read_text()
    return json.loads(text)
