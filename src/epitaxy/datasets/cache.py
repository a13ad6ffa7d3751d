"""A cache of data sets in the form that is mapped into memory instead of read."""

import hashlib
import os
from pathlib import Path

from epitaxy.crystals.exchange import is_mapped_form, write_arrow
from epitaxy.datasets.readers import read_crystals
from epitaxy.datasets.store import cache_folder
from epitaxy.errors import InputError

_FORM = "1"  # a new number makes every cached file anew


def cached_arrow(source: str | os.PathLike[str]) -> Path:
    """Return the ``.arrow`` file of a source, converted at the first call and after every change.

    A source is known by its path, size and time of change. A ``.arrow`` file of ours is returned
    as it is. Raises InputError where the source cannot be read.
    """
    path = Path(source).resolve()
    if not path.is_file():
        raise InputError(f"there is no file {source} to be cached.")
    if is_mapped_form(path):
        return path
    state = path.stat()
    key = f"{_FORM} {path} {state.st_size} {state.st_mtime_ns}"
    name = f"{path.stem}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.arrow"
    cached = cache_folder() / name
    if not is_mapped_form(cached):
        write_arrow(read_crystals(path), cached)
    return cached
