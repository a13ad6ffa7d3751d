"""The command that makes crystals up."""

from pathlib import Path
from typing import Annotated

import typer

from epitaxy.cli.app import app
from epitaxy.cli.arguments import parse_changes, progress_bar


@app.command()
def generate(
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="Crystals.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write: .parquet or .arrow.")],
    seed: Annotated[int, typer.Option(help="Another seed, another stream.")] = 0,
    max_atoms: Annotated[int, typer.Option(min=1, help="Atoms in a cell, at most.")] = 40,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", help="Replace a setting of the generator: --set rattle=0"),
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
    shard: Annotated[int, typer.Option(min=1, help="Crystals made at a time.")] = 4096,
    overwrite: Annotated[bool, typer.Option(help="Replace the file.")] = False,
) -> None:
    """Make plausible crystals up, without any data; the same command goes on after a kill.

    Example: epitaxy generate -n 100000 --seed 0 -o crystals.arrow --jobs 2
    """
    from epitaxy.datasets.generate.write import generate as run

    with progress_bar("generate") as progress:
        found = run(
            out,
            count,
            seed=seed,
            settings={"max_atoms": max_atoms, **parse_changes(changes)},
            jobs=jobs,
            shard=shard,
            overwrite=overwrite,
            progress=progress,
        )
    print(found)
