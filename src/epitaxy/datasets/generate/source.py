"""Generated crystals by name, where the name of a file might stand: ``"generated:9000"``."""

from epitaxy.crystals.crystals import Crystals, cat
from epitaxy.datasets.generate.stream import CrystalStream
from epitaxy.datasets.progress import with_progress
from epitaxy.errors import InputError

_WORD = "generated"
AT_ONCE = 1024  # crystals between two steps of the bar


def is_generated(source: object) -> bool:
    """Return whether a source names generated crystals.

    >>> is_generated("generated:9000"), is_generated("generated.parquet")
    (True, False)
    """
    return isinstance(source, str) and source.partition(":")[0] == _WORD


def generated(source: str, seed: int = 0, max_atoms: int | None = None) -> Crystals:
    """Return the crystals that ``"generated:COUNT"`` or ``"generated:COUNT:SEED"`` names.

    ``seed`` is for the first form; ``max_atoms`` is as in ``CrystalStream``, 40 unless told.
    Raises InputError where it is written otherwise.
    """
    words = source.split(":")
    numbers = [int(word) for word in words[1:] if word.isascii() and word.isdigit()]
    if words[0] != _WORD or len(numbers) != len(words) - 1 or not 1 <= len(numbers) <= 2:
        raise InputError(
            f"'{source}' is not understood: write generated:9000 for 9000 crystals of the run's "
            "seed, or generated:9000:7 for those of seed 7."
        )
    stream = CrystalStream(seed=numbers[1] if len(numbers) == 2 else seed)
    if max_atoms is not None:
        stream = CrystalStream(seed=stream.seed, max_atoms=max_atoms)
    batches = stream.batches(numbers[0], size=AT_ONCE)
    return cat(list(with_progress(batches, "making crystals up", -(-numbers[0] // AT_ONCE), 2)))
