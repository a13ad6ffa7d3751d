"""A whole study from one file: benchmark."""

from typing import Annotated

import typer

from epitaxy.cli.app import app
from epitaxy.cli.arguments import Out


@app.command()
def benchmark(
    study: Annotated[str, typer.Argument(help="A study: a TOML file, or the name of one of ours.")],
    out: Out = None,
    jobs: Annotated[int | None, typer.Option(help="Works at a time, one process each.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything and print the plan.")
    ] = False,
    tables_only: Annotated[
        bool, typer.Option("--tables", help="Run nothing: write the tables of what is there.")
    ] = False,
) -> None:
    """Run a study: pre-trainings, contenders, tasks, sizes and seeds, and their tables.

    The same command goes on where the study was; rows added to it are made, and nothing else.

    Example: epitaxy benchmark study.toml --out runs/study --jobs 2
    """
    from epitaxy.benchmarking import benchmark as run
    from epitaxy.benchmarking import describe_study

    if dry_run:
        print(describe_study(study, out=out, jobs=jobs))
        return
    found = run(study, out=out, jobs=jobs, run=not tables_only)
    for name, table in found.tables.items():
        if name.startswith("improvements"):
            print(table.markdown())
    print(found.sentence)
    print(f"\nFigures, tables and records: {found.folder / 'index.html'}")
