"""The command that writes the page of a run or a study."""

from pathlib import Path
from typing import Annotated

import typer

from epitaxy.cli.app import app


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="Folder of a study, a comparison or a run.")],
    figures: Annotated[bool, typer.Option(help="Figures as PNG and SVG files too.")] = True,
) -> None:
    """Write the page of a study, a comparison or a run from the tables it left.

    Example: epitaxy report runs/study
    """
    from epitaxy.report.folder import report_folder

    print(report_folder(folder, figures))
