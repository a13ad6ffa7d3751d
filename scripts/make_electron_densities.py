"""Write the X-ray scattering factors from which GMP's default electron densities are made.

``python scripts/make_electron_densities.py`` needs ``gemmi``, which carries the coefficients of the
International Tables for Crystallography (vol. C, 1992, table 6.1.1.4): four Gaussians and a
constant for each neutral free atom, f(s) = Σ a exp(−b s²) + c with s = sin θ / λ in Å⁻¹. gemmi
stores them in single precision; they are written with the digits that were printed. An atom whose
f(0) is farther than 0.1 electrons from Z is refused.
"""

import json
from pathlib import Path

import gemmi

HERE = Path(__file__).parent
OUT = HERE.parent / "src" / "epitaxy" / "crystals" / "scattering_factors.json"
LAST = 98  # californium


def main() -> None:
    table = {}
    worst = (0.0, "")
    for number in range(1, LAST + 1):
        element = gemmi.Element(number)
        *pairs, constant = (float(f"{value:.6g}") for value in element.it92.get_coefs())
        a, b = pairs[:4], pairs[4:]
        missing = abs(sum(a) + constant - number)
        if missing > 0.1 or min(b) < 0:
            raise SystemExit(f"{element.name}: f(0) misses Z by {missing:.3f} electrons; b = {b}")
        worst = max(worst, (missing, element.name))
        table[element.name] = {"a": a, "b": b, "c": constant}
    lines = ",\n".join(f'"{name}": {json.dumps(row)}' for name, row in table.items())
    OUT.write_text("{\n" + lines + "\n}\n")
    print(f"{OUT}: {len(table)} elements; the farthest from Z is {worst[1]} ({worst[0]:.4f} e)")


if __name__ == "__main__":
    main()
