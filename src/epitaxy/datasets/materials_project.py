"""Crystals of the Materials Project, asked for through its API."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from epitaxy.datasets.servers import DownloadError
from epitaxy.datasets.structures import MissingPackageError

_KEY = "MP_API_KEY"
_ALWAYS = ("material_id", "structure")


def fetch_summaries(
    query: Mapping[str, Any],
    destination: Path,
    *,
    fields: Sequence[str] = (),
    limit: int | None = None,
    progress: Callable[[int, int | None], None] | None = None,
) -> int:
    """Write the summaries that answer a query, one JSON record per line; return their number.

    The key is taken from ``MP_API_KEY``; it is shown nowhere.

    Args:
        query: arguments of the client's ``materials.summary.search``, such as ``elements``.
        destination: the file; it appears when all have come.
        fields: what of a summary is wanted besides its id and structure.
        limit: at most so many.
        progress: called with the summaries that have come.

    Raises MissingPackageError without ``mp-api``, DownloadError without a key or where the client
    fails.
    """
    try:
        from mp_api.client import MPRester
    except ImportError as error:
        raise MissingPackageError(
            f"the Materials Project is asked with the package mp-api, which cannot be imported "
            f'({error}): pip install "epitaxy[data]". Or ask its OPTIMADE server: '
            "epitaxy data convert optimade --provider …"
        ) from error
    key = os.environ.get(_KEY)
    if not key:
        raise DownloadError(
            f"the Materials Project wants a key: make one on your page there, and put it into the "
            f"variable {_KEY}."
        )
    chunks = {"num_chunks": 1, "chunk_size": limit} if limit and limit <= 1000 else {}
    wanted = list(dict.fromkeys((*_ALWAYS, *fields)))
    try:
        with MPRester(key, use_document_model=False, mute_progress_bars=True) as client:
            found = client.materials.summary.search(**dict(query), fields=wanted, **chunks)
    except Exception as error:  # the client raises its own errors, and those of what it is made of
        text = str(error).replace(key, "…")
        raise DownloadError(f"the Materials Project answers: {text}") from None
    if not found:
        raise DownloadError(f"the Materials Project has no crystals for {dict(query)}.")
    part = destination.with_name(f"{destination.name}.part")
    with part.open("w", encoding="utf-8") as file:
        for count, summary in enumerate(found[:limit], start=1):
            file.write(json.dumps(_plain(summary)) + "\n")
            if progress:
                progress(count, len(found))
    os.replace(part, destination)
    return len(found[:limit])


def _plain(summary: Any) -> dict[str, Any]:
    """Return a summary as plain values, its structure as pymatgen's dictionary."""
    values = summary if isinstance(summary, dict) else summary.model_dump()
    structure = values["structure"]
    structure = structure.as_dict() if hasattr(structure, "as_dict") else structure
    return {**values, "material_id": str(values["material_id"]), "structure": structure}
