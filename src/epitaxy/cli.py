"""The command line: parse, call, print."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

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

Data = Annotated[
    str,
    typer.Argument(
        help="A structure file, a folder of them (with targets.csv or id_prop.csv), a table "
        "(CSV, Parquet), an ASE database, or 'bundled'."
    ),
]
Out = Annotated[Path | None, typer.Option("--out", "-o", help="Folder of the run.")]
Overwrite = Annotated[bool, typer.Option(help="Clear a folder that holds another run.")]
Strict = Annotated[bool, typer.Option(help="End at the first bad structure or row.")]
Changes = Annotated[
    list[str] | None,
    typer.Option("--set", help="Replace a key of the recipe: --set training.epochs=5"),
]
Seed = Annotated[int | None, typer.Option(help="Seed of weights, batches and splits.")]
TargetName = Annotated[
    str, typer.Option("--target", "-t", help="Name of the property, with its unit: band_gap[eV].")
]
Extensive = Annotated[bool, typer.Option(help="The target grows with the size of the cell.")]
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


@app.command()
def quickstart(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write.")] = Path("quickstart"),
    overwrite: Overwrite = False,
    jobs: Annotated[int | None, typer.Option(help="Fits at a time.")] = None,
) -> None:
    """Pre-train on the bundled crystals and see whether it helps: a few minutes.

    Example: epitaxy quickstart
    """
    from epitaxy.experiments import quickstart as run

    _print_comparison(run(out, overwrite=overwrite, jobs=jobs))


@app.command()
def pretrain(
    recipe: Annotated[str, typer.Argument(help="Name or path of a recipe.")] = "pretrain",
    data: Annotated[str | None, typer.Option(help="Crystals in place of the recipe's.")] = None,
    out: Out = None,
    seed: Seed = None,
    changes: Changes = None,
    overwrite: Overwrite = False,
    strict: Strict = False,
) -> None:
    """Pre-train a network on crystals.

    Example: epitaxy pretrain --data crystals/ --out runs/mine --set training.epochs=20
    """
    from epitaxy.training.pretrain import pretrain as run

    found = run(
        recipe,
        data=data,
        changes=parse_changes(changes),
        seed=seed,
        out=out,
        overwrite=overwrite,
        strict=strict,
    )
    _print_run(found)


@app.command()
def finetune(
    data: Data,
    target: Annotated[
        list[str],
        typer.Option("--target", "-t", help="Property with its unit: band_gap[eV]; repeatable."),
    ],
    from_: Annotated[
        str | None, typer.Option("--from", help="Pre-trained run; without it, from scratch.")
    ] = None,
    recipe: Annotated[str, typer.Option(help="Name or path of a recipe.")] = "finetune",
    classification: Annotated[
        bool, typer.Option("--classification", help="The target is a class: 0, 1, …")
    ] = False,
    extensive: Extensive = False,
    head: Annotated[str, typer.Option(help="'new', or 'taken' from the run.")] = "new",
    out: Out = None,
    seed: Seed = None,
    changes: Changes = None,
    overwrite: Overwrite = False,
    strict: Strict = False,
) -> None:
    """Fine-tune on a property of your crystals, or on several at once.

    Example: epitaxy finetune crystals/ --target "band_gap[eV]" --from runs/mine
    """
    from epitaxy.errors import InputError
    from epitaxy.training.finetune import finetune as run

    if head not in ("new", "taken"):
        raise InputError(f"--head is 'new' or 'taken', not '{head}'.")
    found = run(
        data,
        target,
        task="classification" if classification else None,
        from_=from_,
        recipe=recipe,
        extensive=extensive,
        head=head,  # type: ignore[arg-type]
        changes=parse_changes(changes),
        seed=seed,
        out=out,
        overwrite=overwrite,
        strict=strict,
    )
    _print_run(found)


@app.command()
def predict(
    model: Annotated[str, typer.Argument(help="Folder of a fine-tuned run.")],
    data: Data,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="CSV to write; without it, print.")
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace a file that is there.")] = False,
    strict: Annotated[
        bool, typer.Option(help="Refuse what cannot be read and what is unlike the training.")
    ] = False,
) -> None:
    """Predict a property, with a flag where the model has seen nothing alike.

    Example: epitaxy predict runs/band_gap-mine new_crystals/ --out predictions.csv
    """
    from epitaxy.errors import RunFolderError
    from epitaxy.training.files import write_atomically
    from epitaxy.training.predict import predict as run

    if out is not None and out.exists() and not overwrite:
        raise RunFolderError(f"{out} is there already: name another file, or give --overwrite.")
    table = run(model, data, strict=strict)
    if out is None:
        print(table.to_csv(index=False), end="")
        return
    write_atomically(out, table.to_csv(index=False).encode())
    flagged = table.loc[table["flag"] != "", "id"].nunique()
    print(
        f"{len(table)} predictions for {table['id'].nunique()} crystals in {out}; "
        f"{flagged} crystals flagged as unlike the training data."
    )


@app.command()
def compare(
    data: Data,
    target: TargetName,
    from_: Annotated[str, typer.Option("--from", help="Pre-trained run.")],
    train_size: Annotated[int | None, typer.Option(help="Training crystals per seed.")] = None,
    test_size: Annotated[int | None, typer.Option(help="Test crystals.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Repetitions.")] = 5,
    grid: Annotated[
        list[str] | None,
        typer.Option(help="Values to choose from: --grid training.learning_rate=5e-4,1e-3"),
    ] = None,
    recipe: Annotated[str, typer.Option(help="Name or path of a recipe.")] = "finetune",
    extensive: Extensive = False,
    split_seed: Annotated[int, typer.Option(help="Seed of the test set.")] = 0,
    jobs: Annotated[int | None, typer.Option(help="Fits at a time.")] = None,
    out: Out = None,
    overwrite: Overwrite = False,
    strict: Strict = False,
) -> None:
    """Pre-trained against scratch on your crystals: same splits, same tuning, an interval.

    Example: epitaxy compare crystals/ --target "band_gap[eV]" --from runs/mine --train-size 500
    """
    from epitaxy.experiments import compare as run

    found = run(
        data,
        target,
        from_=from_,
        train_size=train_size,
        test_size=test_size,
        seeds=seeds,
        grid=parse_grid(grid),
        recipe=recipe,
        extensive=extensive,
        split_seed=split_seed,
        out=out,
        overwrite=overwrite,
        strict=strict,
        jobs=jobs,
    )
    _print_comparison(found)


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

    with _progress("describe") as progress:
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
    model: Annotated[str, typer.Argument(help="Folder of a run.")],
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
    with _progress("embed") as progress:
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
        typer.Option("--descriptor", help="wacsf, ead, gmp or sine_matrix; may be repeated."),
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


def parse_changes(texts: list[str] | None) -> dict[str, Any]:
    """Return ``{"training.epochs": 5}`` from ``["training.epochs=5"]``; values are TOML."""
    changes = {}
    for text in texts or ():
        key, value = _split(text, "--set", "training.epochs=5")
        changes[key] = _toml_value(value)
    return changes


def parse_grid(texts: list[str] | None) -> dict[str, list[Any]] | None:
    """Return ``{"training.epochs": [30, 60]}`` from ``["training.epochs=30,60"]``."""
    if not texts:
        return None
    grid = {}
    for text in texts:
        key, values = _split(text, "--grid", "training.epochs=30,60")
        grid[key] = [_toml_value(value) for value in values.split(",")]
    return grid


def _split(text: str, option: str, example: str) -> tuple[str, str]:
    from epitaxy.errors import RecipeError

    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise RecipeError(f"{option} '{text}' is not understood: write it as {example}.")
    return key.strip(), value.strip()


def _toml_value(text: str) -> Any:
    import tomllib

    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text  # a word without quotes is meant as text


@contextlib.contextmanager
def _progress(name: str) -> Iterator[Callable[[int, int], None]]:
    """Give what is called with the number done and their total; a bar on the error stream."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(name, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _print_run(run: Any) -> None:
    from epitaxy.summaries import describe

    print(run.report.splitlines()[-1])
    print(describe(str(run.folder)))


def _print_comparison(found: Any) -> None:
    from epitaxy.report.console import print_results

    print_results(found.results, found.sentence)
    print(f"\nFigures, tables and weights: {found.folder / 'index.html'}")


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
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from what is saved", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
