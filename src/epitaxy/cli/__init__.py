"""The command line: parse, call, print. One module for each kind of command."""

from epitaxy.cli import training, data, benchmark, report, representations, info  # noqa: F401, I001 (the order of --help)
from epitaxy.cli import split  # noqa: F401
from epitaxy.cli import audit  # noqa: F401
from epitaxy.cli import generate  # noqa: F401
from epitaxy.cli.app import app, main

__all__ = ["app", "main"]
