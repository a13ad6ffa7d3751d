"""Errors that name the thing, its value and the way out."""

import difflib
from collections.abc import Iterable, Mapping


class EpitaxyError(Exception):
    """Base of every error that Epitaxy raises on purpose; its text is meant for the user."""

    exit_code = 1


class InputError(EpitaxyError, ValueError):
    """A structure, a table, a target or an argument that cannot be used as given."""


class SkippedWarning(UserWarning):
    """Some structures or rows of a source could not be used and were left out."""


class RowsError(InputError):
    """Some rows of a table do not fit; ``reasons`` says which and why, the message one of them."""

    def __init__(self, reasons: Mapping[int, str]) -> None:
        row, reason = next(iter(reasons.items()))
        super().__init__(f"row {row}: {reason}")
        self.reasons = reasons


class RecipeError(EpitaxyError, ValueError):
    """A recipe, or the arguments of a component named in one, that do not fit."""


class CheckpointError(EpitaxyError, ValueError):
    """A checkpoint that is damaged, foreign, or does not fit what it is loaded into."""


class RunFolderError(EpitaxyError, ValueError):
    """An output folder that already holds something else."""


class TrainingError(EpitaxyError, RuntimeError):
    """A training run that cannot go on; the last good checkpoint is kept."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a sentence that suggests the nearest known name and lists them all.

    >>> did_you_mean("band_gp", ["band_gap", "energy"])
    "Did you mean 'band_gap'? Known: band_gap, energy."
    """
    names = sorted(known)
    nearest = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    suggestion = f"Did you mean '{nearest[0]}'? " if nearest else ""
    return f"{suggestion}Known: {', '.join(names) if names else 'none'}."
