"""The command that says what there is."""

from typing import Annotated

import typer

from epitaxy.cli.app import app


@app.command()
def info(
    what: Annotated[
        str | None, typer.Argument(help="A run's folder, a recipe, or crystals to read.")
    ] = None,
) -> None:
    """Say what a run, a recipe or a folder of crystals holds; alone, what there is.

    Example: epitaxy info runs/mine
    """
    from epitaxy.summaries import describe

    print(describe(what))
