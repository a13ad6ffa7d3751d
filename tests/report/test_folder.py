"""`epitaxy report` finds out what a folder holds."""

import json
import subprocess
import sys

import pandas as pd
import pytest

from epitaxy.errors import InputError
from epitaxy.evaluation.summary import summarize
from epitaxy.report.comparison import write_comparison
from epitaxy.report.folder import report_folder


def write_run(folder, kind="pretrain", status="finished"):
    manifest = {"kind": kind, "status": status, "seconds": 12.0, "data": {"crystals": 900}}
    (folder / "manifest.json").write_text(json.dumps({**manifest, "versions": {"torch": "2"}}))
    lines = [
        json.dumps({"epoch": epoch, "step": epoch, "split": split, "loss": 1.0 / epoch,
                    "property/loss": 1.0 / epoch, "property/mae": 2.0 / epoch, "seconds": 0.1})
        for epoch in (1, 2, 3)
        for split in ("train", "validation")
    ]  # fmt: skip
    (folder / "metrics.jsonl").write_text("\n".join([*lines, '{"epoch": 4, "sp']))
    card = {"objectives": [{"fitted": {"unit": "eV"}}], "coverage": ["Na", "Cl"]}
    (folder / "model.json").write_text(json.dumps(card))


def test_a_run_s_page_shows_its_curves_and_manifest(tmp_path):
    write_run(tmp_path)
    text = report_folder(tmp_path).read_text(encoding="utf-8")
    assert "The run is finished, on 900 crystals, after 3 epochs and 12 s." in text
    assert "property/mae [eV]" in text
    assert "property/loss" not in text  # the only part of the loss
    assert "Elements seen: Na Cl" in text
    assert (tmp_path / "learning_curves.png").is_file()


def test_a_stopped_run_and_one_without_epochs_have_a_page(tmp_path):
    write_run(tmp_path, status="stopped: the disk is full")
    (tmp_path / "metrics.jsonl").unlink()
    text = report_folder(tmp_path).read_text(encoding="utf-8")
    assert "The run stopped: the disk is full" in text
    assert "No epoch has ended yet" in text


def simulated(contenders=("dummy", "scratch", "pre-trained"), crystals=30) -> pd.DataFrame:
    rows = [
        (name, seed, f"mp-{one}", "NaCl", "band_gap", "eV", one / 10, one / 10 + worse + seed / 50)
        for name, worse in zip(contenders, (0.8, 0.3, 0.2), strict=True)
        for seed in range(3)
        for one in range(crystals)
    ]
    columns = ["contender", "seed", "id", "formula", "target", "unit", "truth", "value"]
    return pd.DataFrame(rows, columns=columns)


def write_compared(folder):
    predictions = simulated()
    tables = {
        "predictions": predictions,
        "results": summarize(predictions, train_size=200, resamples=50),
        "curves": pd.DataFrame(
            [
                (name, 0, epoch, split, "mae", 1.0 / epoch, "eV")
                for name in ("scratch", "pre-trained")
                for epoch in (1, 2, 3)
                for split in ("train", "validation")
            ],
            columns=["contender", "seed", "epoch", "split", "metric", "value", "unit"],
        ),
        "tuning": pd.DataFrame(
            {
                "contender": ["scratch"],
                "seed": [0],
                "setting": ["epochs=30"],
                "validation_mae": [0.1],
                "chosen": [True],
            }
        ),
    }
    for name, table in tables.items():
        table.to_csv(folder / f"{name}.csv", index=False)
    manifest = {"kind": "compare", "status": "finished", "report": "It helps."}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return tables


def test_a_comparison_is_shown_with_a_study_s_building_blocks(tmp_path):
    tables = write_compared(tmp_path)
    path = write_comparison(tmp_path, "Does it?", "It helps.", **tables, notes=["A note."])
    text = path.read_text(encoding="utf-8")
    for words in ("Does it?", "It helps.", "A note.", "Errors by element", "lower than scratch",
                  "pre-trained", "The spread over seeds", "epochs=30", "baseline"):  # fmt: skip
        assert words in text, words
    assert "Who is better, where" not in text
    for name in ("parity", "errors", "learning_curves"):
        assert (tmp_path / f"{name}.svg").is_file()


def test_a_comparison_s_page_is_the_same_when_written_again(tmp_path):
    tables = write_compared(tmp_path)
    path = write_comparison(tmp_path, "Does it?", "It helps.", **tables, notes=["A note."])
    first = path.read_text(encoding="utf-8")
    assert report_folder(tmp_path, figures=False).read_text(encoding="utf-8") == first


def test_published_figures_of_a_comparison_stand_beside(tmp_path):
    tables = write_compared(tmp_path)
    pd.DataFrame(
        {
            "task": ["matbench_mp_gap"], "who": ["coGN"], "mae": [0.156], "unit": ["eV"],
            "training": ["84,890 crystals"], "protocol": ["five folds"], "differs": ["all of it"],
            "source": ["its leaderboard"],
        }
    ).to_csv(tmp_path / "published.csv", index=False)  # fmt: skip
    text = write_comparison(tmp_path, "Does it?", "It helps.", **tables).read_text()
    assert "five folds; 84,890 crystals; all of it" in text


def test_what_holds_nothing_is_refused(tmp_path):
    with pytest.raises(InputError, match="is no folder"):
        report_folder(tmp_path / "nowhere")
    with pytest.raises(InputError, match="no run and no study"):
        report_folder(tmp_path)
    (tmp_path / "manifest.json").write_text('{"kind": "compare"}')
    with pytest.raises(InputError, match="has not ended"):
        report_folder(tmp_path)


def test_the_command_writes_the_page_without_torch(study_folder, tmp_path):
    code = (
        "import sys; from epitaxy.cli import app\n"
        f"try:\n    app(['report', {str(study_folder)!r}, '--no-figures'])\n"
        "except SystemExit:\n    pass\n"
        "print([one for one in ('torch', 'lightning') if one in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [str(study_folder / "index.html"), "[]"]
