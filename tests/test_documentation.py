"""What the README says works."""

import re
from pathlib import Path

import pytest

import epitaxy as ep

ROOT = Path(__file__).parents[1]


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.S)


def test_the_first_two_commands_are_targets_of_the_makefile():
    first = blocks("console")[0].split("\n")
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.M)
    commands = [line.removeprefix("$ make ") for line in first if line]
    assert commands == ["quickstart", "test"]
    assert set(commands) <= set(targets)


def test_every_public_name_is_there():
    for name in ep.__all__:
        assert getattr(ep, name) is not None
    with pytest.raises(AttributeError):
        _ = ep.pretrian


def test_the_parts_useful_on_their_own_run_as_printed():
    namespace: dict = {}
    exec(blocks("python")[1], namespace)
    assert namespace["fingerprints"].shape == (namespace["graph"].crystals.atom_total, 48)
    assert len(namespace["encoding"].layers) == 5


def test_the_python_session_runs_as_printed(tmp_path, monkeypatch):
    """The same lines, on the bundled crystals written as a folder, and on smaller settings."""
    import pandas as pd

    from epitaxy.crystals.exchange import to_ase
    from epitaxy.datasets.bundled import bundled

    monkeypatch.chdir(tmp_path)
    crystals = bundled()[:80]
    for folder, some in (("crystals", crystals[:70]), ("new_crystals", crystals[70:])):
        (tmp_path / folder).mkdir()
        for name, atoms in zip(some.ids, to_ase(some.with_targets({})), strict=True):
            atoms.write(tmp_path / folder / f"{name}.cif")
    labels = crystals[:70].target("bulk_modulus").values.tolist()
    pd.DataFrame({"id": list(crystals.ids[:70]), "band_gap": labels}).to_csv(
        tmp_path / "crystals" / "targets.csv", index=False
    )
    tiny = '{"name": "torchmd_et", "width": 8, "layers": 1, "heads": 2, "cutoff": 4.0}'
    short = 'changes={"training.epochs": 1}'
    session = blocks("python")[0]
    session = session.replace("data=crystals,", f"data=crystals, backbone={tiny}, {short},")
    session = session.replace("from_=run)", f"from_=run, {short})", 1)
    session = session.replace(
        "seeds=5)", 'seeds=1, grid={"training.epochs": (1,)}, jobs=1, progress=False)'
    )
    namespace: dict = {}
    exec(session, namespace)
    assert len(namespace["table"]) == 10
    assert "Too few seeds" in str(namespace["verdict"])
