"""Plug-ins with names, classes or imports that go wrong are told apart and named."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "{package}"
version = "2.0"

[project.entry-points."epitaxy.backbones"]
{points}

[tool.setuptools]
py-modules = ["{package}"]
"""
SEVERAL = {
    "alpha": "several:MyET",
    "beta": "several:ET",
    "torchmd_et": "several:ET",
    "other": "several:Other",
    "moved": "several:Moved",
    "twice": "several:MyET",
}
CLASSES = """
from epitaxy.backbones.torchmd_et import TorchMDET

class ET(TorchMDET): pass
class MyET(TorchMDET): pass
class Other: pass
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """A folder with two installed packages: one whose import fails, one with several classes."""
    folder = tmp_path_factory.mktemp("packages")
    broken = {"broken": "broken:Net", "twice": "broken:Net"}
    for package, points, code in (
        ("broken", broken, "import nobody_has_this"),
        ("several", SEVERAL, CLASSES),
    ):
        source = folder / package
        source.mkdir()
        lines = "\n".join(f'{name} = "{value}"' for name, value in points.items())
        (source / "pyproject.toml").write_text(PROJECT.format(package=package, points=lines))
        (source / f"{package}.py").write_text(code)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    offline = ["--no-index", "--no-deps", "--no-build-isolation"]
    sources = [folder / "broken", folder / "several"]
    command = [*pip, *offline, "--target", folder / "site", *sources]
    subprocess.run(command, check=True, timeout=120)
    return folder / "site"


@pytest.fixture(scope="module")
def answers(site) -> dict[str, str]:
    """What the registry says of every name, and by which name it finds each class."""
    code = f"""
import several
from epitaxy import errors, registry
for name in [*{list(SEVERAL)!r}, "broken"]:
    try:
        print(name, registry.find("backbones", name).__name__, sep="|")
    except errors.RecipeError as error:
        print(name, error, sep="|")
for cls in (several.ET, several.MyET):
    print("name of", registry.name_of(cls(width=8, heads=2, layers=1, elements=5)), sep="|")
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(site)},
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = {}
    for line in done.stdout.splitlines():
        name, answer = line.split("|", 1)
        found[name] = f"{found[name]} {answer}" if name in found else answer
    return found


def test_classes_whose_names_end_alike_are_told_apart(answers):
    assert (answers["alpha"], answers["beta"]) == ("MyET", "ET")
    assert answers["name of"] == "beta alpha"


def test_a_plug_in_does_not_take_one_of_our_names(answers):
    assert answers["torchmd_et"] == "TorchMDET"


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("broken", "'broken' of broken 2.0 cannot be imported: No module named 'nobody_has_this'"),
        ("moved", "'moved' of several 2.0 cannot be imported: module 'several' has no attribute"),
        ("other", "'other' of several 2.0 is no component: several:Other does not derive from"),
        ("twice", "'twice' of the backbones is in broken 2.0 and several 2.0: uninstall"),
    ],
)
def test_a_plug_in_that_cannot_be_used_is_named_with_its_package(answers, name, complaint):
    assert complaint in answers[name]
