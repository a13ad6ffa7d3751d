"""Commands on data sets: ``epitaxy data …``."""

import contextlib
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer

from epitaxy.cli.app import app
from epitaxy.cli.arguments import parse_changes

data = typer.Typer(help="Data sets: what there is, and how to get and split it.")
app.add_typer(data, name="data")

Name = Annotated[str, typer.Argument(help="Name of a data set: see `epitaxy data list`.")]
Cards = Annotated[
    Path | None,
    typer.Option(help="TOML file of your own cards, beside those of EPITAXY_CARDS."),
]
Accept = Annotated[
    bool, typer.Option("--accept-licence", help="You accept the terms of the data set.")
]


@data.command("list")
def list_(cards: Cards = None) -> None:
    """Name the public data sets, and what of them is on this computer.

    Example: epitaxy data list
    """
    from epitaxy.datasets.cards import catalogue
    from epitaxy.datasets.store import cache_folder, state_of

    known = catalogue(cards)
    widest = max(len(name) for name in known)
    print(f"{'name':{widest}}  {'entries':>9}  {'hash':5}  {'state':9}  title")
    for card in known.values():
        entries = f"{card.entries:,}" if card.entries else "–"
        hashed = "known" if card.verified else "–"
        print(f"{card.name:{widest}}  {entries:>9}  {hashed:5}  {state_of(card):9}  {card.title}")
    print(f"\nThe cache is {cache_folder()}; EPITAXY_CACHE moves it.")


@data.command()
def info(name: Name, cards: Cards = None) -> None:
    """Say what a data set holds, where it comes from, and who is to be cited.

    Example: epitaxy data info matbench_jdft2d
    """
    from epitaxy.datasets.cards import card_named
    from epitaxy.datasets.store import files_folder, hashes_here, state_of

    card = card_named(name, cards)
    print(f"{card.name}: {card.title}")
    print(f"entries: {card.entries or 'not known'}; state here: {state_of(card)}")
    print(f"licence: {card.licence or 'not stated on the card; see its source'}")
    print(f"cite: {', '.join(f'doi:{doi}' for doi in card.doi) or 'see its source'}")
    for target_name, target in card.targets.items():
        size = "extensive" if target.extensive else "intensive"
        about = f"; {target.about}" if target.about else ""
        unit = target.unit or "no unit"
        print(
            f"target {target_name} [{unit}], per {target.level}, {size}: '{target.column}'{about}"
        )
    if card.split:
        settings = card.split.model_dump(exclude={"protocol"}, exclude_unset=True)
        print(f"split: {card.split.protocol} {', '.join(f'{k}={v}' for k, v in settings.items())}")
    for file in card.files:
        print(f"file {file.name} ({card.reading.form})")
        for address in file.addresses:
            print(f"  {address}")
        print(f"  sha256: {file.sha256 or 'recorded when it is first here'}")
    for hashed in hashes_here(card):
        print(f"  here: {hashed}")
    for note in (*card.notes, *([card.obtain] if card.obtain else [])):
        print(f"note: {note}")
    print(f"folder: {files_folder(card)}")


@data.command()
def get(
    names: Annotated[list[str], typer.Argument(help="Names of data sets.")],
    file: Annotated[
        list[Path] | None, typer.Option(help="File of it that you have fetched yourself.")
    ] = None,
    accept_licence: Accept = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Hash files that are here, too.")
    ] = False,
    cards: Cards = None,
) -> None:
    """Fetch the files of data sets; the same command goes on where it was interrupted.

    Example: epitaxy data get matbench_jdft2d
    """
    from epitaxy.datasets.store import get_dataset
    from epitaxy.errors import InputError

    if file and len(names) != 1:
        raise InputError("--file belongs to one data set: name just that one.")
    for name in names:
        with _progress(name) as shown:
            found = get_dataset(
                name,
                accept_licence=accept_licence,
                given=file or (),
                verify=verify,
                cards=cards,
                progress=shown.bytes,
                say=shown.sentence,
            )
        for path in found:
            print(path)


@data.command()
def convert(
    name: Name,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help=".parquet or .arrow file; without it, into the cache alone."
        ),
    ] = None,
    target: Annotated[
        list[str] | None, typer.Option("--target", "-t", help="Only these; with a unit if wished.")
    ] = None,
    provider: Annotated[
        str, typer.Option(help="Base address of an OPTIMADE provider: https://…")
    ] = "",
    query: Annotated[
        list[str] | None,
        typer.Option(help="What a data base is asked: --query 'filter=nelements=2'"),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many entries.")] = None,
    accept_licence: Accept = False,
    cards: Cards = None,
) -> None:
    """Write a data set, fetched if need be, as one file of crystals with declared targets.

    Example: epitaxy data convert matbench_jdft2d --out jdft2d.parquet
    """
    from epitaxy.datasets.catalogue import conversion_report, convert_dataset, load_dataset
    from epitaxy.datasets.read_report import ReadReport
    from epitaxy.errors import SkippedWarning

    with _progress(name) as shown:
        asked: dict[str, Any] = {
            "targets": target,
            "provider": provider,
            "query": parse_changes(query),
            "limit": limit,
            "cards": cards,
        }
        settings = asked | {
            "accept_licence": accept_licence,
            "progress": shown.bytes,
            "counted": shown.entries,
            "say": shown.sentence,
        }
        if out is not None:
            report: ReadReport | None = convert_dataset(name, out, **settings)
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", SkippedWarning)
                load_dataset(name, **settings)
            report = conversion_report(name, **asked)
    if report is not None:
        print(report.summary())
    if out is not None:
        print(f"written: {out}")


class _Shown(NamedTuple):
    bytes: Callable[[int, int | None], None]
    entries: Callable[[int, int | None], None]
    sentence: Callable[[str], None]


@contextlib.contextmanager
def _progress(name: str) -> Iterator[_Shown]:
    """Give what shows how far something has come, with an estimate, and what says a sentence."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from epitaxy.datasets.servers import in_words

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[told]}"),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True, soft_wrap=True)
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task(name, total=None, told="")

        def shown(in_text: Callable[[int], str]) -> Callable[[int, int | None], None]:
            def update(done: int, total: int | None) -> None:
                told = f"{in_text(done)} of {in_text(total)}" if total else in_text(done)
                bar.update(task, completed=done, total=total or None, told=told)

            return update

        def sentence(text: str) -> None:
            console.print(f"{name}: {text}", markup=False, highlight=False)

        try:
            yield _Shown(shown(in_words), shown("{:,}".format), sentence)
        except KeyboardInterrupt:  # Typer ends the program, but without a word
            sentence("interrupted; the same command goes on from what has come")
            raise
