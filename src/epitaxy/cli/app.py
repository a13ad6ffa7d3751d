"""The program itself, its version, and how errors end it."""

import sys
from typing import Annotated

import typer

INTERRUPTED = 130  # what Typer makes of Ctrl-C

app = typer.Typer(
    name="epitaxy",
    help="Pre-train graph networks on crystals, fine-tune them on small data, and see honestly "
    "whether it helped.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Version = Annotated[bool, typer.Option("--version", help="Print the version and leave.")]


@app.callback(invoke_without_command=True)
def epitaxy(context: typer.Context, version: Version = False) -> None:
    """Pre-train, fine-tune, predict, compare."""
    if version:
        from epitaxy import __version__

        print(__version__)
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help())


def main() -> None:
    """Run the command line; errors meant for the user are printed without a traceback."""
    from epitaxy.errors import EpitaxyError

    try:
        app()
    except EpitaxyError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:
        place = f" ({error.filename})" if error.filename else ""
        print(f"error: {error.strerror or error}{place}", file=sys.stderr)
        sys.exit(1)
    except SystemExit as ended:
        if ended.code == INTERRUPTED:
            print("interrupted; the same command goes on from what is saved", file=sys.stderr)
        raise
