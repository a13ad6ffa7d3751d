import subprocess
import sys

import pytest

from epitaxy.cli import app
from epitaxy.cli.arguments import parse_changes, parse_grid
from epitaxy.errors import RecipeError


def run(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "epitaxy.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_help_and_import_do_not_load_torch():
    code = (
        "import sys, epitaxy, epitaxy.cli\n"
        "try:\n    epitaxy.cli.app(['--help'])\nexcept SystemExit:\n    pass\n"
        "print([m for m in ('torch', 'lightning', 'ase', 'pandas') if m in sys.modules])"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    assert "Usage:" in printed
    assert printed.strip().endswith("[]")


@pytest.mark.parametrize("command", [one.callback.__name__ for one in app.registered_commands])
def test_every_command_shows_an_example(command):
    printed = run(command, "--help").stdout
    assert f"Example: epitaxy {command}" in " ".join(printed.split())


def test_an_error_is_one_line_without_a_traceback(tmp_path):
    process = run("finetune", str(tmp_path / "nowhere"), "--target", "band_gap[eV]")
    assert process.returncode == 1
    assert process.stderr.startswith("error: ")
    assert "nowhere" in process.stderr
    assert "Traceback" not in process.stderr


def test_info_lists_what_there_is():
    printed = run("info").stdout
    for word in ("torchmd_et", "wacsf", "fingerprint", "property", "quickstart"):
        assert word in printed


def test_info_reads_crystals(tmp_path):
    from epitaxy.crystals.exchange import write_parquet
    from epitaxy.datasets.bundled import bundled

    write_parquet(bundled()[:8], tmp_path / "some.parquet")
    printed = run("info", str(tmp_path / "some.parquet")).stdout
    assert "8 crystals" in printed
    assert "bulk_modulus [GPa], per crystal, intensive" in printed


def test_changes_are_toml_values_or_words():
    assert parse_changes(["training.epochs=5", "data.source=crystals/"]) == {
        "training.epochs": 5,
        "data.source": "crystals/",
    }
    assert parse_grid(["training.learning_rate=5e-4,1e-3"]) == {
        "training.learning_rate": [5e-4, 1e-3]
    }
    with pytest.raises(RecipeError, match="write it as"):
        parse_changes(["training.epochs"])
