"""Runs on two devices: two real processes on the CPU."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from epitaxy.errors import RecipeError, TrainingError
from epitaxy.training.processes import devices_here, find_free_network_port, node_number
from epitaxy.training.recipe import TrainingPlan, load_recipe
from epitaxy.training.train import train

TINY = [
    "--set", "backbone.width=16", "--set", "backbone.heads=2", "--set", "backbone.layers=2",
    "--set", "backbone.radial=8", "--set", "backbone.cutoff=4.0", "--set", "data.limit=64",
    "--set", "training.batch_size=8",
]  # fmt: skip
NOISY = ["pretrain", "quickstart", *TINY, "--set", 'objectives=[{name="denoise"}]']
TWO = ["--set", "training.devices=2"]


def start(arguments: list[str], out: Path, **environment: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "epitaxy.cli", *arguments, "--out", str(out)],
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen, code: int = 0) -> str:
    _, errors = process.communicate(timeout=240)
    assert process.returncode == code, errors
    assert "Traceback" not in errors
    return errors


def wait_for(file: Path, process: subprocess.Popen) -> None:
    while not file.exists() and process.poll() is None:
        time.sleep(0.01)


def ranks_of(process: subprocess.Popen) -> list[int]:
    """Return the process ids of the processes that a command has started."""
    found = subprocess.run(["pgrep", "-P", str(process.pid)], stdout=subprocess.PIPE, text=True)
    return [int(line) for line in found.stdout.split()]


def gone(numbers: list[int], seconds: float = 30.0) -> bool:
    end = time.monotonic() + seconds
    while any(Path(f"/proc/{number}").exists() for number in numbers):
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def weights(out: Path) -> str:
    return next(out.glob("weights-*.safetensors")).name  # it carries the content's hash


def test_auto_means_no_second_process_where_there_is_no_gpu():
    plan = TrainingPlan(devices="auto", accelerator="cpu")
    assert devices_here(plan) == 1
    assert devices_here(TrainingPlan()) == 1


def test_several_machines_need_a_meeting_point(monkeypatch):
    monkeypatch.delenv("NODE_RANK", raising=False)
    with pytest.raises(RecipeError, match=r"nodes = 2.*NODE_RANK"):
        node_number(TrainingPlan(nodes=2))


def losses(out: Path) -> list[float]:
    """Return the losses, epoch after epoch."""
    lines = (out / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


@pytest.mark.slow
def test_two_devices_end_where_one_does(crystals, tiny):
    """No chance, and gradients weighted by labels: only rounding differs."""
    changes = {
        "objectives": [{"name": "fingerprint"}, {"name": "property", "target": "bulk_modulus"}],
        "backbone": tiny,
        "training.epochs": 3,
        "training.batch_size": 9,
        "training.ema": 0.9,
    }
    models = {}
    for devices in (1, 2):
        recipe = load_recipe("fingerprint").altered({**changes, "training.devices": devices})
        trained = train(recipe, crystals[:50], crystals[50:])
        models[devices] = {**trained.model.backbone.state_dict()}
        mae = [row["property/mae"] for row in trained.fitted.rows if row["split"] == "validation"]
        models[devices]["mae"] = torch.tensor(mae)
    for name, value in models[1].items():
        torch.testing.assert_close(models[2][name], value, rtol=1e-4, atol=2e-6, msg=name)


@pytest.mark.slow
def test_an_interrupted_run_on_two_devices_goes_on_as_if_nothing_had_been(tmp_path):
    arguments = [*NOISY, *TWO, "--set", "training.epochs=8", "--set", "training.ema=0.9"]
    process = start(arguments, tmp_path / "stopped")
    wait_for(tmp_path / "stopped" / "metrics.jsonl", process)
    ranks = ranks_of(process)
    assert len(ranks) == 2
    process.send_signal(signal.SIGINT)
    errors = finish(process, code=130)
    assert "Give the same command again" in errors
    assert errors.count("stopping after this step") == 1
    assert gone(ranks)
    assert (tmp_path / "stopped" / "resume.ckpt").exists()
    finish(start(arguments, tmp_path / "stopped"))
    finish(start(arguments, tmp_path / "undisturbed"))
    assert weights(tmp_path / "stopped") == weights(tmp_path / "undisturbed")
    assert losses(tmp_path / "stopped") == pytest.approx(losses(tmp_path / "undisturbed"), rel=1e-6)


@pytest.mark.slow
def test_a_loss_that_is_not_finite_ends_all_processes(crystals, tiny):
    recipe = load_recipe("finetune").altered(
        {
            "objectives": [{"name": "property", "target": "bulk_modulus", "loss_kind": "l2"}],
            "backbone": tiny,
            "training.devices": 2,
            "training.learning_rate": 1e30,
            "training.clip": None,
            "training.schedule": "constant",
        }
    )
    with pytest.raises(TrainingError, match=r"the loss became .* on crystals .*-"):
        train(recipe, crystals)


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["first", "second", "command"])
def test_whatever_is_killed_nothing_is_left_behind(victim, tmp_path):
    arguments = [*NOISY, *TWO, "--set", "training.epochs=400"]
    process = start(arguments, tmp_path / "run")
    wait_for(tmp_path / "run" / "metrics.jsonl", process)
    first, second = ranks = ranks_of(process)
    killed = {"first": first, "second": second, "command": process.pid}[victim]
    os.kill(killed, signal.SIGKILL)
    if victim == "command":
        process.communicate()
    else:
        errors = finish(process, code=1)
        number = 0 if victim == "first" else 1
        assert f"training process {number} ended by itself (exit status -9)" in errors
    assert gone(ranks)


@pytest.mark.slow
def test_two_machines_are_the_same_command_twice(tmp_path):
    arguments = [*NOISY, "--set", "training.epochs=2", "--set", "training.nodes=2"]
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(find_free_network_port())}
    machines = [start(arguments, tmp_path / "run", **place, NODE_RANK=str(k)) for k in (0, 1)]
    assert all("error" not in finish(process) for process in machines)
    together = [*NOISY, *TWO, "--set", "training.epochs=2"]
    finish(start(together, tmp_path / "one"))
    assert weights(tmp_path / "run") == weights(tmp_path / "one")
