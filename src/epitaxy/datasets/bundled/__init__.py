"""The small data sets that are installed with the package."""

from pathlib import Path
from typing import Literal, get_args

from epitaxy.crystals.arrow import read_parquet
from epitaxy.crystals.crystals import Crystals
from epitaxy.errors import InputError, did_you_mean

Kind = Literal["crystals", "frames"]


def bundled(kind: Kind = "crystals") -> Crystals:
    """Return the bundled crystals, or the bundled frames with energies, forces and stresses."""
    if kind not in get_args(Kind):
        raise InputError(f"no bundled data set '{kind}'. {did_you_mean(kind, get_args(Kind))}")
    return read_parquet(Path(__file__).with_name(f"{kind}.parquet"))
