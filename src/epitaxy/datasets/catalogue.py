"""Public data sets by name: fetched once, converted once, then mapped into memory."""

import contextlib
import hashlib
import itertools
import json
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from epitaxy.crystals.arrow import is_mapped_form, open_arrow
from epitaxy.crystals.crystals import Crystals
from epitaxy.datasets.assembly import crystals_of
from epitaxy.datasets.cards import Card, CardTarget, card_named, declared_targets
from epitaxy.datasets.columns import GrowingArrow, GrowingParquet
from epitaxy.datasets.downloads import Progress
from epitaxy.datasets.forms import entries_of
from epitaxy.datasets.read_report import ReadLog, ReadReport, Skipped
from epitaxy.datasets.servers import DownloadError, Patience, Say
from epitaxy.datasets.sources import Harvest, Rows
from epitaxy.datasets.store import dataset_folder, get_dataset, has_news, hashes_here, locked
from epitaxy.datasets.tables import Request
from epitaxy.errors import InputError, SkippedWarning
from epitaxy.units import parse_target

_FORM = "1"  # a new number makes every converted file anew
_CONVERTED = (".arrow", ".parquet")


@dataclass(frozen=True)
class Asking:
    """What a data base is asked: an OPTIMADE provider's base address, and the query's terms."""

    provider: str = ""
    query: Mapping[str, Any] | None = None
    limit: int | None = None


def load_dataset(
    name: str,
    *,
    targets: Sequence[str] | str | None = None,
    provider: str = "",
    query: Mapping[str, Any] | None = None,
    limit: int | None = None,
    accept_licence: bool = False,
    cards: str | os.PathLike[str] | None = None,
    patience: Patience | None = None,
    progress: Progress | None = None,
    counted: Callable[[int, int], None] | None = None,
    say: Say | None = None,
) -> Crystals:
    """Return the crystals of a public data set with its declared targets, mapped from the cache.

    The first call fetches and converts it; later ones need no network.

    Args:
        name: of a card; ``epitaxy data list`` names them.
        targets: some of the declared ones, with a unit if another is wished; None for all.
        provider: the base address of an OPTIMADE provider, for ``optimade``.
        query: what a data base is asked: ``{"filter": "nelements=2"}`` for OPTIMADE,
            ``{"elements": ["Fe", "O"]}`` for ``materials_project``.
        limit: at most so many crystals, the first; a data base is asked for no more.
        accept_licence: you accept the data set's terms, where the card asks for that.
        cards: a TOML file of further cards.
        patience, progress, say: as of ``get_dataset``.
        counted: called with the crystals converted so far and those there are.

    Warns with a SkippedWarning when some were left out at the conversion. Raises CardError for an
    unknown name, InputError for an unknown target, and what ``get_dataset`` raises.
    """
    card = card_named(name, cards)
    asking = Asking(provider, query, limit if card.remote else None)
    wanted = [targets] if isinstance(targets, str) else targets
    kept = _kept_targets(card, wanted)
    found = _converted_here(card, kept, asking)
    if found is None:
        say = say or (lambda text: None)
        source = _source(card, kept, asking, accept_licence, cards, patience, progress, say)
        with locked(card, say):
            found = _converted_here(card, kept, asking)
            if found is None:
                found = _place(card, kept, asking)
                report = _convert(card, source, kept, found, counted=counted)
                _report_file(found).write_text(report.to_json() + "\n", encoding="utf-8")
                if report.skipped:
                    warnings.warn(report.summary(), SkippedWarning, stacklevel=2)
    whole = open_arrow(found)
    return _in_wished_units(whole if limit is None else whole[:limit], wanted)


def convert_dataset(
    name: str,
    destination: str | os.PathLike[str],
    *,
    targets: Sequence[str] | str | None = None,
    provider: str = "",
    query: Mapping[str, Any] | None = None,
    limit: int | None = None,
    accept_licence: bool = False,
    cards: str | os.PathLike[str] | None = None,
    patience: Patience | None = None,
    progress: Progress | None = None,
    counted: Callable[[int, int], None] | None = None,
    say: Say | None = None,
) -> ReadReport:
    """Write a data set as ``.parquet`` (for exchange) or ``.arrow`` (to be mapped).

    One chunk of crystals is in memory at a time. The arguments are those of ``load_dataset``;
    ``limit`` ends after so many entries of any data set. Returns what was left out.
    """
    path, card = Path(destination), card_named(name, cards)
    if path.suffix not in _CONVERTED:
        raise InputError(f"{path} ends in neither {' nor '.join(_CONVERTED)}: choose one of them.")
    wanted = [targets] if isinstance(targets, str) else targets
    chosen = declared_targets(card, wanted) if wanted is not None else dict(card.targets)
    chosen = {name: _declared_in(target, name, wanted) for name, target in chosen.items()}
    asking = Asking(provider, query, limit if card.remote else None)
    say = say or (lambda text: None)
    source = _source(card, chosen, asking, accept_licence, cards, patience, progress, say)
    return _convert(card, source, chosen, path, limit=limit, counted=counted)


def conversion_report(
    name: str,
    *,
    targets: Sequence[str] | str | None = None,
    provider: str = "",
    query: Mapping[str, Any] | None = None,
    limit: int | None = None,
    cards: str | os.PathLike[str] | None = None,
) -> ReadReport | None:
    """Return what was left out of what ``load_dataset`` reads for the same arguments.

    It is the report of the file in the cache, of which a ``limit`` returns the first crystals, but
    for data bases, which were asked for no more. None where that file is not there.
    """
    card = card_named(name, cards)
    wanted = [targets] if isinstance(targets, str) else targets
    asking = Asking(provider, query, limit if card.remote else None)
    found = _converted_here(card, _kept_targets(card, wanted), asking)
    if found is None or not _report_file(found).is_file():
        return None
    content = json.loads(_report_file(found).read_text(encoding="utf-8"))
    skipped = tuple(Skipped(**one) for one in content.pop("skipped"))
    return ReadReport(**{**content, "notes": tuple(content["notes"])}, skipped=skipped)


def read_named(name: str, request: Request, log: ReadLog) -> Harvest:
    """Read a data set by its name, as ``read_crystals`` does; of a conversion long ago, say so."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SkippedWarning)  # a note says it, every time
        crystals = load_dataset(name)
    report = conversion_report(name)
    if report is not None and report.skipped:
        log.note(f"{len(report.skipped)} entries of '{name}' were left out when it was converted.")
    return Harvest(crystals, Rows(name, len(crystals)), screened=True)


def _source(
    card: Card,
    targets: Mapping[str, CardTarget],
    asking: Asking,
    accept_licence: bool,
    cards: str | os.PathLike[str] | None,
    patience: Patience | None,
    progress: Progress | None,
    say: Say,
) -> list[Path]:
    """Return the files of a data set, or the answers of a data base, fetched where they must be."""
    if not card.remote:
        if asking.provider or asking.query:
            raise InputError(f"'{card.name}' is a file: it takes no provider and no query.")
        return get_dataset(
            card.name,
            accept_licence=accept_licence,
            cards=cards,
            patience=patience,
            progress=progress,
            say=say,
        )
    answers = _answers(card, targets, asking)
    with locked(card, say):
        if not answers.is_file():
            _ask(card, targets, asking, answers, patience, progress, say)
    return [answers]


def _ask(
    card: Card,
    targets: Mapping[str, CardTarget],
    asking: Asking,
    answers: Path,
    patience: Patience | None,
    progress: Progress | None,
    say: Say,
) -> None:
    query = {**card.query, **(asking.query or {})}
    columns = [target.column for target in targets.values()]
    if card.reading.form == "materials_project":
        from epitaxy.datasets.materials_project import fetch_summaries

        fetch_summaries(query, answers, fields=columns, limit=asking.limit, progress=progress)
        return
    from epitaxy.datasets.optimade import fetch_structures

    provider = asking.provider or card.provider
    if not provider:
        raise DownloadError(f"'{card.name}' needs a provider. {card.obtain}")
    if unknown := set(query) - {"filter"}:
        raise InputError(f"OPTIMADE is asked with 'filter' alone, not '{sorted(unknown)[0]}'.")
    fetch_structures(
        provider,
        str(query.get("filter", "")),
        answers,
        fields=columns,
        limit=asking.limit,
        patience=patience,
        progress=progress,
        say=say,
    )


def _answers(card: Card, targets: Mapping[str, CardTarget], asking: Asking) -> Path:
    asked = [asking.provider or card.provider, {**card.query, **(asking.query or {})}, asking.limit]
    columns = sorted(target.column for target in targets.values())
    key = hashlib.sha256(json.dumps([asked, columns], sort_keys=True).encode()).hexdigest()[:16]
    name = Path(card.files[0].name)
    return dataset_folder(card.name) / f"{name.stem}-{key}{name.suffix}"


def _place(card: Card, targets: Mapping[str, CardTarget], asking: Asking) -> Path:
    """Return where the conversion of what is here belongs: its name tells one from another."""
    sources = [_answers(card, targets, asking).name] if card.remote else hashes_here(card)
    declared = {name: target.model_dump(mode="json") for name, target in targets.items()}
    state = [_FORM, sources, card.reading.model_dump(mode="json"), declared]
    key = hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()[:16]
    return dataset_folder(card.name) / f"{card.name}-{key}.arrow"


def _kept_targets(card: Card, wanted: Sequence[str] | None) -> dict[str, CardTarget]:
    """Return the targets that the cache keeps: the card's, and of open ones those wished."""
    chosen = declared_targets(card, wanted) if wanted is not None else dict(card.targets)
    return {**card.targets, **chosen} if card.open_targets else dict(card.targets)


def _converted_here(card: Card, targets: Mapping[str, CardTarget], asking: Asking) -> Path | None:
    if not card.remote and (has_news(card) or not hashes_here(card)):
        return None
    place = _place(card, targets, asking)
    return place if is_mapped_form(place) else None


def _convert(
    card: Card,
    source: Sequence[Path],
    targets: Mapping[str, CardTarget],
    destination: Path,
    *,
    limit: int | None = None,
    counted: Callable[[int, int], None] | None = None,
) -> ReadReport:
    log, read = ReadLog(), 0
    growing = GrowingArrow if destination.suffix == ".arrow" else GrowingParquet
    entries = itertools.islice(entries_of(card, source), limit)
    total = min(card.entries or limit or 0, limit or card.entries)
    with _disk_faults(destination), growing(destination) as file:
        for crystals in crystals_of(entries, card, targets, log):
            file.add(crystals)
            read += len(crystals)
            if counted:
                counted(read + len(log.skipped), total)
        if not read:
            raise InputError(
                f"nothing in {', '.join(path.name for path in source)} can be used: "
                + "; ".join(str(one) for one in log.skipped[:3])
            )
        file.finish()
    _notes(card, read, limit, log)
    return log.report(card.title, card.name, read)


def _notes(card: Card, read: int, limit: int | None, log: ReadLog) -> None:
    """Say where the data set is not the one that the card, and its folds, mean."""
    found = read + len(log.skipped)
    if card.entries and found != card.entries and limit is None:
        log.note(f"the card says {card.entries} entries, but there were {found}.")
    if log.skipped and card.split and "kfold" in card.split.protocol:
        log.note(
            "the folds are over all rows of the file: as some were left out, folds over the "
            "crystals that are there are other ones. The ids are the file's own rows."
        )


@contextlib.contextmanager
def _disk_faults(destination: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DownloadError(
            f"{destination} could not be written ({error.strerror or error}); nothing of it is "
            "kept. Make room or choose another folder."
        ) from error


def _report_file(place: Path) -> Path:
    return place.with_suffix(".report.json")


def _in_wished_units(crystals: Crystals, wanted: Sequence[str] | None) -> Crystals:
    if wanted is None:
        return crystals
    found = {}
    for text in wanted:
        name, unit = parse_target(text)
        target = crystals.target(name)
        found[name] = target if unit in (None, target.unit) else target.converted(str(unit))
    return crystals.with_targets(found)


def _declared_in(target: CardTarget, name: str, wanted: Sequence[str] | None) -> CardTarget:
    """Return a declaration in the unit that was wished for."""
    unit = dict(parse_target(text) for text in wanted or ()).get(name)
    if unit is None or unit == target.unit:
        return target
    stated = target.source_unit or target.unit
    return target.model_copy(update={"unit": unit, "source_unit": stated})
