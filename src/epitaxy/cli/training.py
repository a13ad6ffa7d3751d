"""Commands that train and compare: quickstart, pretrain, finetune, predict, compare."""

from pathlib import Path
from typing import Annotated, Any

import typer

from epitaxy.cli.app import app
from epitaxy.cli.arguments import (
    Changes,
    Data,
    Extensive,
    Out,
    Overwrite,
    Seed,
    Strict,
    TargetName,
    parse_changes,
    parse_grid,
)


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
        str | None,
        typer.Option("--from", help="Pre-trained run, or epitaxy-small; without it, from scratch."),
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
    from_: Annotated[str, typer.Option("--from", help="Pre-trained run, or epitaxy-small.")],
    train_size: Annotated[int | None, typer.Option(help="Training crystals per seed.")] = None,
    test_size: Annotated[int | None, typer.Option(help="Test crystals.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Repetitions.")] = 5,
    grid: Annotated[
        list[str] | None,
        typer.Option(help="Values to choose from: --grid training.learning_rate=5e-4,1e-3"),
    ] = None,
    baselines: Annotated[
        str,
        typer.Option(
            help="'default', 'all', 'none', or names with commas: composition-forest,gmp-ridge"
        ),
    ] = "default",
    published: Annotated[
        str | None,
        typer.Option(
            help="Task whose published figures are shown; found by its names unless told."
        ),
    ] = None,
    recipe: Annotated[str, typer.Option(help="Name or path of a recipe.")] = "finetune",
    extensive: Extensive = False,
    splits: Annotated[
        Path | None, typer.Option(help="Split made by `epitaxy data split`, with one test set.")
    ] = None,
    split_seed: Annotated[int, typer.Option(help="Seed of the test set.")] = 0,
    jobs: Annotated[int | None, typer.Option(help="Fits at a time.")] = None,
    out: Out = None,
    overwrite: Overwrite = False,
    strict: Strict = False,
) -> None:
    """Pre-trained against scratch and simple baselines: same splits, same tuning, an interval.

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
        baselines=baselines,
        published=published,
        recipe=recipe,
        extensive=extensive,
        splits=splits,
        split_seed=split_seed,
        out=out,
        overwrite=overwrite,
        strict=strict,
        jobs=jobs,
    )
    _print_comparison(found)


def _print_run(run: Any) -> None:
    from epitaxy.summaries import describe

    print(run.report.splitlines()[-1])
    print(describe(str(run.folder)))


def _print_comparison(found: Any) -> None:
    from epitaxy.report.console import print_results

    print_results(found.results, found.sentence)
    if not found.published.empty:
        print("\nPublished, by other protocols (published.csv says which); not comparable as such:")
        for row in found.published.itertuples():
            print(f"  {row.mae:<8g} {row.unit}  {row.who}  ({row.source})")
    print(f"\nFigures, tables and weights: {found.folder / 'index.html'}")
