"""The example of a plug-in, built and installed as a user would, works from end to end."""

import json
import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import epitaxy as ep
from epitaxy import registry
from epitaxy.errors import CheckpointError

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "epitaxy_schnet"
HERE = Path(__file__).parent


def install(source: Path, target: Path) -> Path:
    """Build a wheel of a copy of the source and unpack it, with its entry points, in a folder."""
    copy = target.with_name(f"{source.name}-copied")
    shutil.copytree(source, copy, ignore=shutil.ignore_patterns("build", "*.egg-info"))
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    offline = ["--no-index", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, *offline, "--target", target, copy], check=True, timeout=120)
    return target


def python(*arguments: object, path: Path | None = None) -> subprocess.CompletedProcess:
    """Run Python with installed plug-ins on its path."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(path or "")}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("plug-in")


@pytest.fixture(scope="module")
def site(folder) -> Path:
    return install(EXAMPLE, folder / "site")


@pytest.fixture(scope="module")
def facts(folder, site) -> dict:
    done = python(HERE / "session.py", folder, path=site)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_it_is_found_by_the_name_of_its_entry_point(facts, site):
    assert Path(facts["home"]).parent == site
    assert facts["found"]
    assert {"schnet", "torchmd_et"} <= set(facts["names"])


def test_its_name_package_and_settings_are_known(facts):
    assert facts["name_of"] == "schnet"
    assert facts["package"] == "epitaxy-schnet 0.1.0"
    settings = {"name": "schnet", "width": 8, "layers": 2, "radial": 6, "cutoff": 4.0}
    assert facts["settings"] == {**settings, "neighbors": None, "ties": "shells"}


def test_its_layers_do_what_torch_geometric_does_with_them(facts):
    assert facts["difference"] < 1e-12


def test_it_pretrains_by_fingerprints_and_by_the_derivative_of_an_energy(facts):
    figures = facts["figures"]
    assert {"validation fingerprint/loss", "validation denoise/loss"} <= set(figures)
    assert all(math.isfinite(value) for value in figures.values())


def test_it_is_finetuned_saved_loaded_and_predicts(facts):
    assert "taken: backbone" in facts["report"]
    assert facts["predictions"] == 16
    assert facts["same"]


def test_without_its_package_a_checkpoint_names_what_is_missing(facts, folder):
    assert "schnet" not in registry.names("backbones")
    with pytest.raises(CheckpointError) as told:
        ep.load(folder / "tuned")
    assert "no 'schnet' among the backbones" in str(told.value)
    assert "the plug-in epitaxy-schnet 0.1.0, which must be installed" in str(told.value)


def test_the_documentation_shows_the_code_as_it_is():
    page = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
    code = (EXAMPLE / "epitaxy_schnet.py").read_text(encoding="utf-8")
    code += (EXAMPLE / "pyproject.toml").read_text(encoding="utf-8")
    shown = re.findall(r"```(?:python|toml)\n(.*?)```", page, flags=re.S)
    shown = [block for block in shown if "check_backbone" not in block]
    assert len(shown) == 4
    assert all(block in code for block in shown)
