"""What the metadata of a column in an Arrow table declare of a property."""

import json

import numpy as np
import pyarrow as pa
from torch import Tensor

from epitaxy.crystals.targets import Target
from epitaxy.errors import InputError
from epitaxy.units import canonical

_TRUTHS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def declarations(field: pa.Field) -> dict[str, str]:
    """Return a field's metadata as text; InputError for a level that is none."""
    found = {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
    if "level" in found:
        found["level"] = found["level"].strip().lower()
        if found["level"] not in ("crystal", "atom"):
            raise InputError(
                f"column '{field.name}' declares the level '{found['level']}': write crystal or "
                "atom there."
            )
    return found


def declared_shape(field: pa.Field) -> tuple[int, ...] | None:
    """Return the shape of one value, beyond scalars; None where it is not declared."""
    text = declarations(field).get("shape")
    return None if text is None else tuple(json.loads(text))


def inferred_level(name: str, lengths: np.ndarray, counts: np.ndarray) -> str | None:
    """Return the level that the lengths of a column's lists speak for; None where none is clear."""
    filled = lengths > 0
    if not filled.any():
        return None
    if any((lengths[filled] == width * counts[filled]).all() for width in (1, 3)):
        return "atom"
    return "crystal" if name == "stress" and (lengths[filled] == 9).all() else None


def declared_target(name: str, values: Tensor, described: dict[str, str]) -> Target:
    """Return values as the target that a column declares."""
    extensive = described.get("extensive", "false")
    if extensive.strip().lower() not in _TRUTHS:
        raise InputError(
            f"column '{name}' declares extensive as '{extensive}': write true or false there."
        )
    return Target(
        values=values,
        level="atom" if described["level"] == "atom" else "crystal",
        unit=canonical(described.get("unit", "")),
        extensive=_TRUTHS[extensive.strip().lower()],
    )
