"""What several commands take, and how it is read."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

Data = Annotated[
    str,
    typer.Argument(
        help="A structure file, a folder of them (with targets.csv or id_prop.csv), a table "
        "(CSV, Parquet), an ASE database, or 'bundled'."
    ),
]
Out = Annotated[Path | None, typer.Option("--out", "-o", help="Folder of the run.")]
Overwrite = Annotated[bool, typer.Option(help="Clear a folder that holds another run.")]
Strict = Annotated[bool, typer.Option(help="End at the first bad structure or row.")]
Changes = Annotated[
    list[str] | None,
    typer.Option("--set", help="Replace a key of the recipe: --set training.epochs=5"),
]
Seed = Annotated[int | None, typer.Option(help="Seed of weights, batches and splits.")]
TargetName = Annotated[
    str, typer.Option("--target", "-t", help="Name of the property, with its unit: band_gap[eV].")
]
Extensive = Annotated[bool, typer.Option(help="The target grows with the size of the cell.")]


def parse_changes(texts: list[str] | None) -> dict[str, Any]:
    """Return ``{"training.epochs": 5}`` from ``["training.epochs=5"]``; values are TOML."""
    changes = {}
    for text in texts or ():
        key, value = _split(text, "--set", "training.epochs=5")
        changes[key] = _toml_value(value)
    return changes


def parse_grid(texts: list[str] | None) -> dict[str, list[Any]] | None:
    """Return ``{"training.epochs": [30, 60]}`` from ``["training.epochs=30,60"]``."""
    if not texts:
        return None
    grid = {}
    for text in texts:
        key, values = _split(text, "--grid", "training.epochs=30,60")
        grid[key] = [_toml_value(value) for value in values.split(",")]
    return grid


def _split(text: str, option: str, example: str) -> tuple[str, str]:
    from epitaxy.errors import RecipeError

    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise RecipeError(f"{option} '{text}' is not understood: write it as {example}.")
    return key.strip(), value.strip()


def _toml_value(text: str) -> Any:
    import tomllib

    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text  # a word without quotes is meant as text


@contextlib.contextmanager
def progress_bar(name: str) -> Iterator[Callable[[int, int], None]]:
    """Give what is called with the number done and their total; a bar on the error stream."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(name, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
