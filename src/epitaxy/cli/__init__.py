"""The command line: parse, call, print. One module for each kind of command."""

from epitaxy.cli import training, representations, info  # noqa: F401, I001 (the order of --help)
from epitaxy.cli.app import app, main

__all__ = ["app", "main"]
