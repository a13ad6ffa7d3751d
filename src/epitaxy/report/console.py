"""The results table for the terminal: within 80 columns, and as plain text in a pipe."""

import io

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from epitaxy.report.tables import MISSING, readable

NARROWEST = 80  # columns that a pipe or a file gets
LEFT_OUT = ("difference", "difference_low", "difference_high")


def results_table(results: pd.DataFrame) -> Table:
    """Return the rows of `summarize` as a table; the difference in absolute terms is left out.

    What is the same in every row (the target, the numbers of seeds and crystals) stands in the
    caption, which leaves the columns their width.
    """
    text = readable(results.drop(columns=list(LEFT_OUT), errors="ignore"))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    table.caption, table.caption_justify = Text(text.caption, style=""), "left"
    for heading, numeric in zip(text.headings, text.numeric, strict=True):
        table.add_column(
            Text(heading),
            justify="right" if numeric else "left",
            overflow="fold",
        )
    for row in text.rows:
        table.add_row(*map(Text, row))
    return table


def print_results(results: pd.DataFrame, verdict: str = "", console: Console | None = None) -> None:
    """Print the table and, below it, the verdict; to standard output unless a console is given.

    Where that is not a terminal it is plain text of 80 columns; a character that its encoding
    lacks becomes a question mark instead of an error.
    """
    console = console or Console()
    if console.is_terminal:
        _print(console, results, verdict)
        return
    text = io.StringIO()
    _print(Console(file=text, width=NARROWEST, force_terminal=False), results, verdict)
    plain = text.getvalue()
    if not console.encoding.lower().startswith("utf"):
        plain = plain.replace("─", "-").replace(MISSING, "-")
    console.file.write(plain.encode(console.encoding, errors="replace").decode(console.encoding))


def _print(console: Console, results: pd.DataFrame, verdict: str) -> None:
    console.print(results_table(results), highlight=False)
    if verdict:
        console.print(Text(verdict))
