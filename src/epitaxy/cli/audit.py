"""The command that looks a data set through before anything is trained on it."""

from pathlib import Path
from typing import Annotated

import typer

from epitaxy.cli.app import app
from epitaxy.cli.arguments import Data

Targets = Annotated[
    list[str] | None,
    typer.Option(
        "--target", "-t", help="Column to look at, with its unit: band_gap[eV]. Default: all."
    ),
]


@app.command()
def audit(
    data: Data,
    target: Targets = None,
    test: Annotated[
        str | None, typer.Option(help="Crystals to test on: are copies in the data?")
    ] = None,
    pretraining: Annotated[
        str | None, typer.Option(help="Crystals of a pre-training: are test crystals among them?")
    ] = None,
    extensive: Annotated[
        list[str] | None, typer.Option(help="A target that grows with the size of the cell.")
    ] = None,
    strict: Annotated[bool, typer.Option(help="Exit with 1 at warnings too.")] = False,
    json: Annotated[Path | None, typer.Option(help="Write everything as JSON here.")] = None,
) -> None:
    """Look for wrong units, leaks, copies and labels that do not fit, before training.

    Exits with 1 where there are errors.

    Example: epitaxy audit train.csv --target "band_gap[eV]" --test test.csv
    """
    from epitaxy.datasets.audit import audit as run
    from epitaxy.datasets.audits.table import print_audit
    from epitaxy.training.files import write_atomically

    found = run(data, target or None, test, pretraining, extensive=extensive or ())
    print_audit(found)
    if json is not None:
        write_atomically(json, (found.to_json() + "\n").encode())
    raise typer.Exit(found.exit_code(strict))
