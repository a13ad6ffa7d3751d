"""Runs that are killed for real and started again with the same command."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

TINY = [
    "--set", "backbone.width=16", "--set", "backbone.heads=2", "--set", "backbone.layers=2",
    "--set", "backbone.radial=8", "--set", "backbone.cutoff=4.0", "--set", "data.limit=96",
    "--set", "training.batch_size=8", "--set", "training.resume_minutes=0.0001",
]  # fmt: skip
PRETRAIN = ["pretrain", "quickstart", *TINY, "--set", "training.epochs=6"]
FINETUNE = [
    "finetune", "bundled", "--target", "formation_energy_per_atom",
    *TINY, "--set", "training.epochs=6",
    "--set", "training.ema=0.9",
]  # fmt: skip


def start(arguments: list[str], out: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "epitaxy.cli", *arguments, "--out", str(out)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(arguments: list[str], out: Path) -> str:
    process = start(arguments, out)
    printed, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    return printed


def rows(out: Path) -> list[dict]:
    lines = (out / "metrics.jsonl").read_text().splitlines()
    timings = ("seconds",)
    return [{k: v for k, v in json.loads(line).items() if k not in timings} for line in lines]


def wait_for(file: Path, process: subprocess.Popen) -> None:
    while not file.exists() and process.poll() is None:
        time.sleep(0.01)


def assert_same_course(disturbed: Path, undisturbed: Path) -> None:
    ours, theirs = rows(disturbed), rows(undisturbed)
    assert [(r["epoch"], r["step"], r["split"]) for r in ours] == [
        (r["epoch"], r["step"], r["split"]) for r in theirs
    ]
    for mine, other in zip(ours, theirs, strict=True):
        for name in other:
            if isinstance(other[name], float):
                assert mine[name] == pytest.approx(other[name], rel=1e-5, abs=1e-7), name


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [PRETRAIN, FINETUNE], ids=["pretrain", "finetune"])
def test_a_run_killed_at_random_moments_ends_as_an_undisturbed_one(arguments, tmp_path):
    finish(arguments, tmp_path / "undisturbed")
    moments = random.Random(0)
    out = tmp_path / "disturbed"
    kills = 0
    for _ in range(4):
        process = start(arguments, out)
        wait_for(out / "resume.ckpt", process)
        time.sleep(moments.uniform(0.0, 0.5))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        kills += process.returncode == -signal.SIGKILL
    assert kills >= 2
    finish(arguments, out)
    assert_same_course(out, tmp_path / "undisturbed")
    assert not (out / "resume.ckpt").exists()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_saves_the_state_and_says_how_to_go_on(number, tmp_path):
    arguments = [*PRETRAIN, "--set", "training.resume_minutes=60", "--set", "training.epochs=40"]
    process = start(arguments, tmp_path / "run")
    wait_for(tmp_path / "run" / "metrics.jsonl", process)
    process.send_signal(number)
    _, errors = process.communicate(timeout=180)
    assert process.returncode == 130
    assert "Give the same command again" in errors
    assert "Traceback" not in errors
    assert (tmp_path / "run" / "resume.ckpt").exists()


@pytest.mark.slow
def test_the_same_command_twice_gives_identical_numbers_and_does_the_work_once(tmp_path):
    finish(PRETRAIN, tmp_path / "one")
    finish(PRETRAIN, tmp_path / "two")
    assert rows(tmp_path / "one") == rows(tmp_path / "two")
    weights = [next((tmp_path / name).glob("*.safetensors")).name for name in ("one", "two")]
    assert weights[0] == weights[1]  # the name carries the content's hash
    before = (tmp_path / "one" / "manifest.json").read_text()
    finish(PRETRAIN, tmp_path / "one")
    assert (tmp_path / "one" / "manifest.json").read_text() == before
