"""The command that splits a data set: ``epitaxy data split``."""

import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from epitaxy.cli.arguments import Data
from epitaxy.cli.data import data

if TYPE_CHECKING:
    from epitaxy.crystals.crystals import Crystals
    from epitaxy.datasets.splits import Splits

_ELEMENTS = 6  # that a row of the table names


@data.command()
def split(
    structures: Data,
    out: Annotated[Path, typer.Option("--out", "-o", help="JSON file to write.")],
    protocol: Annotated[
        str,
        typer.Option(
            "--protocol",
            "-p",
            help="random, matbench; by formula, chemical_system or prototype; element, time.",
        ),
    ] = "random",
    train: Annotated[
        str, typer.Option(help="Fraction (0.6, 60%), number (600), or what is left: rest.")
    ] = "rest",
    validation: Annotated[str | None, typer.Option(help="The same; 0.2 unless told.")] = None,
    test: Annotated[str | None, typer.Option(help="The same; 0.2 unless told.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the first split.")] = 0,
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds.")] = 1,
    folds: Annotated[int | None, typer.Option(min=2, help="Folds for every seed.")] = None,
    train_size: Annotated[
        list[str] | None,
        typer.Option(help="Training part of a learning curve, 100 or 10%; may be repeated."),
    ] = None,
    left_out: Annotated[
        list[str] | None,
        typer.Option(help="Element to test on: Fe; Co-Ni for both at once; may be repeated."),
    ] = None,
    column: Annotated[
        str | None, typer.Option(help="Column of years or dates; or of classes, with matbench.")
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="MatBench's task, matbench_jdft2d: checks the rows.")
    ] = None,
    keep_together: Annotated[
        str | None, typer.Option(help="'structure': equal structures stay in one part.")
    ] = None,
) -> None:
    """Write which crystals to train on, to validate on and to test, by id.

    Example: epitaxy data split crystals/ --protocol formula --test 0.2 --seeds 5 -o split.json
    """
    from epitaxy.datasets.splitting import crystals_to_split, split_crystals
    from epitaxy.datasets.times import column_of_times

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        crystals = crystals_to_split(structures, protocol, column)
        times = None
        if protocol == "time" and column is not None and column not in crystals.targets:
            times = column_of_times(structures, column, crystals.ids)
        made = split_crystals(
            crystals,
            protocol,
            train=_share(train),
            validation=_share(validation),
            test=_share(test),
            seed=seed,
            seeds=seeds,
            folds=folds,
            train_sizes=[size for size in map(_share, train_size or ()) if size is not None],
            left_out=left_out or (),
            column=column,
            times=times,
            task=task,
            keep_together=keep_together,
        )
    for text in dict.fromkeys(str(one.message) for one in caught):
        print(text, file=sys.stderr)
    path = made.write(out)
    _print_table(made, crystals)
    print(f"Written: {path}")


def _share(text: str | None) -> float | int | None:
    """Return a fraction (0.2, 20%), a number (200), or None for what is left."""
    if text is None or text == "rest":
        return None
    try:
        if text.endswith("%"):
            return float(text[:-1]) / 100
        return int(text) if text.isdigit() else float(text)
    except ValueError:
        from epitaxy.errors import InputError

        raise InputError(
            f"a size of '{text}' is not understood: write 0.2 or 20% for a fraction, 200 for a "
            "number, or rest."
        ) from None


def _print_table(splits: "Splits", crystals: "Crystals") -> None:
    """Print the sizes, the groups, and which elements the training part lacks."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from epitaxy.datasets.splits import PARTS, unseen_elements

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for key in splits[0].label:
        table.add_column(key.replace("_", " "))
    for part in PARTS:
        table.add_column(part, justify="right")
    grouped = any(one.groups is not None for one in splits)
    if grouped:
        table.add_column("groups", justify="right")
    table.add_column("only in test")
    for one in splits:
        cells = [*map(str, one.label.values()), *map(str, one.sizes)]
        if grouped:
            cells.append(" / ".join(map(str, one.groups or ())))
        table.add_row(*cells, _told(unseen_elements(one, crystals)))
    groups = f" in {splits.groups} groups" if grouped else ""
    print(f"{splits.protocol}: {splits.crystals} crystals{groups}")
    console = Console()
    (console if console.is_terminal else Console(width=100, force_terminal=False)).print(table)


def _told(elements: dict[str, int]) -> str:
    """Return elements and in how many crystals of the test part they are."""
    if not elements:
        return "no element"
    shown = [f"{name} ({count})" for name, count in list(elements.items())[:_ELEMENTS]]
    more = f" and {len(elements) - _ELEMENTS} more" if len(elements) > _ELEMENTS else ""
    return ", ".join(shown) + more
