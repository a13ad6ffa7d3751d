"""The findings of an audit as a table: within 80 columns, and as plain text in a pipe."""

import io

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from epitaxy.datasets.audits.findings import Audit, Finding

_NARROWEST = 80  # columns that a pipe or a file gets
_STYLES = {"error": "bold red", "warning": "yellow", "note": "dim"}


def findings_table(audit: Audit) -> Table:
    """Return one row per finding: severity and kind, how many, what with ids and the way out."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", show_lines=False)
    table.add_column(Text("finding"), overflow="fold", min_width=16, max_width=18)
    table.add_column(Text("crystals"), justify="right")
    table.add_column(Text("what, where, and what to do"), overflow="fold")
    for finding in audit.findings:
        kind = Text(finding.severity, style=_STYLES[finding.severity])
        kind.append(f"\n{finding.check}", style="")
        table.add_row(kind, Text(str(finding.count)), _explained(finding))
    return table


def as_text(audit: Audit) -> str:
    """Return the table and the line that sums it up as plain text of 80 columns."""
    text = io.StringIO()
    _print(Console(file=text, width=_NARROWEST, force_terminal=False), audit)
    return text.getvalue()


def print_audit(audit: Audit, console: Console | None = None) -> None:
    """Print the table; where that is no terminal, as plain text that its encoding can hold."""
    console = console or Console()
    if console.is_terminal:
        _print(console, audit)
        return
    plain = as_text(audit)
    if not console.encoding.lower().startswith("utf"):
        plain = plain.replace("─", "-")
    console.file.write(plain.encode(console.encoding, errors="replace").decode(console.encoding))


def _print(console: Console, audit: Audit) -> None:
    if audit.findings:
        console.print(findings_table(audit), highlight=False)
    console.print(Text(audit.summary()))
    for line in audit.checked:
        console.print(Text(f"  {line}"))


def _explained(finding: Finding) -> Text:
    text = Text(f"{finding.target}: " if finding.target else "", style="bold")
    text.append(finding.what, style="")
    if finding.examples:
        more = ", …" if finding.count > len(finding.examples) else ""
        text.append(f" E.g. {', '.join(finding.examples)}{more}.", style="")
    if finding.advice:
        text.append(f"\n→ {finding.advice}", style="")
    return text
