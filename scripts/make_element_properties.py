"""Write the measured and computed facts about the elements that CGCNN's property vectors need.

``python scripts/make_element_properties.py`` needs ``mendeleev`` and ``pymatgen``. Of mendeleev are
the single-bond covalent radii of Pyykkö and Atsumi (Chem. Eur. J. 15, 186, 2009); of pymatgen the
first ionization energies (NIST), electron affinities and molar volumes at or near room temperature,
or of the solid or liquid where the element is a gas. A fact that pymatgen has not is null.
"""

import json
import warnings
from importlib.metadata import version
from pathlib import Path

from mendeleev import element
from pymatgen.core import Element

HERE = Path(__file__).parent
OUT = HERE.parent / "src" / "epitaxy" / "crystals" / "element_properties.json"
LAST = 103  # lawrencium


def main() -> None:
    warnings.simplefilter("ignore")
    table = {}
    for number in range(1, LAST + 1):
        facts = Element.from_Z(number).data
        table[Element.from_Z(number).symbol] = {
            "covalent_radius": rounded(element(number).covalent_radius_pyykko),  # pm
            "ionization_energy": rounded(facts["Ionization energies"][0]),  # eV
            "electron_affinity": rounded(facts.get("Electron affinity")),  # eV
            "molar_volume": rounded(facts.get("Molar volume")),  # cm³/mol
        }
    lines = ",\n".join(f'"{symbol}": {json.dumps(row)}' for symbol, row in table.items())
    OUT.write_text("{\n" + lines + "\n}\n")
    missing = {
        key: [symbol for symbol, row in table.items() if row[key] is None] for key in table["H"]
    }
    sources = ", ".join(f"{name} {version(name)}" for name in ("mendeleev", "pymatgen"))
    print(f"{OUT}: {len(table)} elements, from {sources}; missing: {missing}")


def rounded(value: object) -> float | None:
    """Return a number with four digits behind the point, None for what is none."""
    return round(float(value), 4) if isinstance(value, int | float) else None


if __name__ == "__main__":
    main()
