"""Commands on fingerprints and frozen representations: describe, embed, probe."""

from pathlib import Path
from typing import Annotated

import typer

from epitaxy.cli.app import app
from epitaxy.cli.arguments import (
    Data,
    Extensive,
    Out,
    Overwrite,
    Strict,
    TargetName,
    parse_changes,
    progress_bar,
)


@app.command()
def describe(
    structures: Data,
    out: Annotated[Path, typer.Option("--out", "-o", help="Parquet file to write.")],
    descriptor: Annotated[str, typer.Option(help="wacsf, ead, gmp, or a plug-in.")] = "wacsf",
    preset: Annotated[str | None, typer.Option(help="set1, set2 or set3.")] = None,
    level: Annotated[str, typer.Option(help="'crystal' or 'atom'.")] = "crystal",
    pooling: Annotated[
        str, typer.Option(help="From atoms to crystals: mean, sum, extremes or cumulants.")
    ] = "mean",
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="Replace an argument: --set cutoff=6.0")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
    overwrite: Annotated[bool, typer.Option(help="Replace the file.")] = False,
) -> None:
    """Write structural fingerprints of atoms or crystals to a table; no network is needed.

    Example: epitaxy describe crystals/ --descriptor gmp --preset set1 --level atom -o gmp.parquet
    """
    from epitaxy.describe import describe as run

    with progress_bar("describe") as progress:
        found = run(
            structures,
            out,
            {"name": descriptor, **parse_changes(changes)},
            preset=preset,
            level=level,
            pooling=pooling,
            jobs=jobs,
            overwrite=overwrite,
            progress=progress,
        )
    print(found)


@app.command()
def embed(
    model: Annotated[str, typer.Argument(help="Folder of a run, or epitaxy-small.")],
    structures: Data,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Parquet file to write; or .arrow with --as-input.")
    ],
    level: Annotated[
        str, typer.Option(help="What a row is of: 'crystal', 'atom', 'edge' or 'state'.")
    ] = "crystal",
    layer: Annotated[
        str, typer.Option(help="'last'; one layer: 0, 1, …; or layers side by side: 01, 012, …")
    ] = "last",
    pooling: Annotated[
        str, typer.Option(help="Atoms to crystals: mean, sum, min, max, extremes or cumulants.")
    ] = "mean",
    joined: Annotated[
        bool, typer.Option("--joined", help="Nodes, edges and state of a crystal side by side.")
    ] = False,
    as_input: Annotated[
        bool,
        typer.Option("--as-input", help="Crystals that carry their atoms' rows for a network."),
    ] = False,
    overwrite: Annotated[bool, typer.Option(help="Replace the file.")] = False,
) -> None:
    """Write what a trained network has made of atoms or crystals to a table.

    Example: epitaxy embed runs/mine crystals/ --level atom --layer 012 -o features.parquet
    """
    from epitaxy.embeddings import write_embeddings, write_with_representations

    if as_input:
        if level != "crystal" or joined or pooling != "mean":
            from epitaxy.errors import InputError

            raise InputError(
                "--as-input writes crystals with their atoms' rows: give only --layer."
            )
        print(write_with_representations(model, structures, out, layer, overwrite))
        return
    with progress_bar("embed") as progress:
        found = write_embeddings(
            model,
            structures,
            out,
            layer=layer,
            level=level,
            pooling=pooling,
            joined=joined,
            overwrite=overwrite,
            progress=progress,
        )
    print(found)


@app.command()
def probe(
    data: Data,
    target: TargetName,
    from_: Annotated[list[str], typer.Option("--from", help="Run to probe; may be repeated.")],
    descriptors: Annotated[
        list[str] | None,
        typer.Option(
            "--descriptor",
            help="wacsf, ead, gmp, orbital_field_matrix or sine_matrix; may be repeated.",
        ),
    ] = None,
    learner: Annotated[
        str, typer.Option(help="'ridge'; 'rbf' or 'laplacian' (kernel ridge); 'gp'.")
    ] = "ridge",
    pooling: Annotated[
        str | None, typer.Option(help="Atoms to crystals; sum for extensive targets, else mean.")
    ] = None,
    folds: Annotated[int, typer.Option(min=2, help="Folds for the error.")] = 5,
    inner_folds: Annotated[int, typer.Option(min=2, help="Folds for the choices.")] = 4,
    repeats: Annotated[int, typer.Option(min=1, help="How often, with other folds.")] = 1,
    untrained: Annotated[
        bool, typer.Option(help="The same network with random weights beside.")
    ] = True,
    extensive: Extensive = False,
    seed: Annotated[int, typer.Option(help="Seed of folds and of untrained weights.")] = 0,
    out: Out = None,
    overwrite: Overwrite = False,
    strict: Strict = False,
) -> None:
    """Say how well frozen representations predict a property, and from which layers.

    Example: epitaxy probe crystals/ --target "band_gap[eV]" --from runs/mine --descriptor wacsf
    """
    from epitaxy.probing import probe as run
    from epitaxy.report.console import print_results
    from epitaxy.report.probe import for_terminal, range_tuning

    out = out or Path("runs") / f"probe-{target.partition('[')[0]}-{Path(from_[0]).name}"
    found = run(
        data,
        target,
        from_=from_,
        descriptors=descriptors or (),
        learner=learner,
        pooling=pooling,  # type: ignore[arg-type]
        folds=folds,
        inner_folds=inner_folds,
        repeats=repeats,
        untrained=untrained,
        extensive=extensive,
        seed=seed,
        out=out,
        overwrite=overwrite,
        strict=strict,
    )
    print_results(for_terminal(found.results), found.sentence)
    print_results(range_tuning(found.ranges, found.results["unit"].iloc[0]))
    for contender, layers in zip(found.results["contender"], found.results["layers"], strict=True):
        if layers:
            print(f"{contender} chose, fold by fold: {layers}")
    print(f"Figures and maps: {out / 'index.html'}")
