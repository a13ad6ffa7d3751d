"""Commands on data sets: ``epitaxy data …``."""

import typer

from epitaxy.cli.app import app

data = typer.Typer(help="Data sets: what there is, and how to get and split it.")
app.add_typer(data, name="data")
