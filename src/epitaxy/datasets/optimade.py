"""Crystals of OPTIMADE providers: page after page, as the specification says."""

import json
import os
import urllib.error
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from epitaxy.datasets.servers import DownloadError, Patience, Say, patiently, request
from epitaxy.errors import InputError

if TYPE_CHECKING:
    import ase

_STRUCTURE = (
    "lattice_vectors",
    "cartesian_site_positions",
    "species",
    "species_at_sites",
    "dimension_types",
    "nsites",
)
_PAGE = 100


def fetch_structures(
    provider: str,
    query: str,
    destination: Path,
    *,
    fields: Sequence[str] = (),
    limit: int | None = None,
    patience: Patience | None = None,
    progress: Callable[[int, int | None], None] | None = None,
    say: Say | None = None,
) -> int:
    """Write the structures that answer a query, one JSON resource per line; return their number.

    Pages follow ``links.next``. Each page is kept when it has come, so that a second call goes on
    from there.

    Args:
        provider: base address, with or without its version: ``https://…/v1``.
        query: in OPTIMADE's filter language; empty for all structures.
        destination: the file; it appears when the last page has come.
        fields: further attributes, such as ``_mp_band_gap``.
        limit: end after so many structures.
        patience, progress, say: as of ``downloads.fetch``; progress counts structures.

    Raises DownloadError that repeats what the provider says of the query.
    """
    patience, say = patience or Patience.from_environment(), say or (lambda text: None)
    part = destination.with_name(f"{destination.name}.part")
    notes = part.with_name(f"{part.name}.json")
    destination.parent.mkdir(parents=True, exist_ok=True)
    state = _resumed(part, notes)
    state.setdefault("next", _first_page(provider, query, fields))
    if state["count"]:
        say(f"going on after {state['count']} structures")

    def one_page() -> bool:
        if not state["next"] or (limit is not None and state["count"] >= limit):
            return True
        page = _page(state["next"], patience)
        found = page["data"] if limit is None else page["data"][: limit - state["count"]]
        with part.open("ab") as file:
            file.write(b"".join(json.dumps(one).encode() + b"\n" for one in found))
            file.flush()
            os.fsync(file.fileno())
        following = _next_link(page, state["next"]) if page["data"] else None
        if following == state["next"]:
            raise DownloadError(f"{following}: the provider leads in a circle.")
        state.update(next=following, count=state["count"] + len(found), size=part.stat().st_size)
        notes.write_text(json.dumps(state))
        if progress:
            progress(state["count"], (page.get("meta") or {}).get("data_returned"))
        return False

    patiently(provider, one_page, patience, say, lambda: int(state["count"]))
    if not state["count"]:
        raise DownloadError(f"{provider} has no structures for the filter '{query}'.")
    os.replace(part, destination)
    notes.unlink(missing_ok=True)
    return int(state["count"])


def atoms_of_attributes(attributes: Mapping[str, Any]) -> "ase.Atoms":
    """Return the Atoms of an OPTIMADE structure; raises InputError where sites are disordered."""
    from ase import Atoms

    missing = [key for key in _STRUCTURE[:2] if attributes.get(key) is None]
    sites = attributes.get("species_at_sites")
    if missing or not sites:
        raise InputError(f"it has no {missing[0] if missing else 'species_at_sites'}.")
    periodic = attributes.get("dimension_types") or [1, 1, 1]
    try:
        symbols = _symbols(attributes.get("species"))
        vectors = attributes["lattice_vectors"]
        cell = [[0.0 if number is None else number for number in vector] for vector in vectors]
        return Atoms(
            [symbols.get(site, site) for site in sites],
            positions=attributes["cartesian_site_positions"],
            cell=cell,
            pbc=[bool(one) for one in periodic],
        )
    except InputError:
        raise
    except (AttributeError, KeyError, ValueError, TypeError) as error:
        raise InputError(f"its sites cannot be read: {type(error).__name__}: {error}.") from error


def _symbols(species: Any) -> dict[str, str]:
    """Return the element of each kind of site."""
    kinds = json.loads(species) if isinstance(species, str) and species.strip() else species
    symbols: dict[str, str] = {}
    for kind in kinds or ():
        elements, shares = kind["chemical_symbols"], kind.get("concentration") or [1.0]
        if len(elements) != 1 or abs(shares[0] - 1.0) > 1e-6:
            raise InputError(
                f"site '{kind['name']}' is disordered ({', '.join(elements)}): one whole atom per "
                "site is needed."
            )
        symbols[kind["name"]] = elements[0]
    return symbols


def _first_page(provider: str, query: str, fields: Sequence[str]) -> str:
    base = provider.rstrip("/")
    versioned = base.rsplit("/", 1)[-1].removeprefix("v").replace(".", "").isdigit()
    asked = {"response_fields": ",".join((*_STRUCTURE, *fields)), "page_limit": str(_PAGE)}
    if query:
        asked["filter"] = query
    return f"{base if versioned else f'{base}/v1'}/structures?{urllib.parse.urlencode(asked)}"


def _page(address: str, patience: Patience) -> dict[str, Any]:
    try:
        with request(address, {"Accept": "application/json"}, patience.timeout) as response:
            body = response.read()
    except urllib.error.HTTPError as error:
        if error.code in (400, 422, 501):
            raise DownloadError(f"{address}: {_told(error)}") from error
        raise
    try:
        page = json.loads(body)
    except ValueError as error:
        raise DownloadError(f"{address}: the answer is no JSON: {error}.") from error
    if not isinstance(page, dict) or not isinstance(page.get("data"), list):
        raise DownloadError(f"{address}: the answer is no page of OPTIMADE structures.")
    return page


def _told(error: Any) -> str:
    """Return what a provider says of a query that it does not understand."""
    with error:
        body = error.read(1 << 16)
    try:
        faults = json.loads(body)["errors"]
        return "; ".join(str(fault.get("detail") or fault.get("title")) for fault in faults)
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"the provider answers {error.code} {error.reason}."


def _next_link(page: Mapping[str, Any], current: str) -> str | None:
    link = (page.get("links") or {}).get("next")
    link = link.get("href") if isinstance(link, dict) else link
    following = urllib.parse.urljoin(current, link) if link else None
    if following and urllib.parse.urlsplit(following).scheme not in ("http", "https"):
        raise DownloadError(
            f"{current}: the next page is said to be {following}, which is no page."
        )
    return following


def _resumed(part: Path, notes: Path) -> dict[str, Any]:
    """Return where an earlier call stopped; what it wrote after its last whole page is cut off."""
    try:
        state: dict[str, Any] = json.loads(notes.read_text())
        with part.open("r+b") as file:
            file.truncate(int(state["size"]))
    except (OSError, ValueError, KeyError):
        part.unlink(missing_ok=True)
        return {"count": 0}
    return state
