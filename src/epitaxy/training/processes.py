"""The processes of one training, one per device: started, watched and ended together.

``python -m epitaxy.training.processes FOLDER NUMBER OF`` is one of them: it does the work that
lies in the folder and leaves there what came of it. A byte on its standard input is an interrupt;
it ends at once when its standard input does, so it does not outlive the process that started it.
"""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any

import torch
from lightning.fabric.plugins.environments.lightning import find_free_network_port

from epitaxy.errors import EpitaxyError, RecipeError, TrainingError
from epitaxy.training.files import AtomicCheckpointIO
from epitaxy.training.rank import Rank
from epitaxy.training.recipe import TrainingPlan

GRACE = 5.0  # seconds for the others to say what they saw, once a process has failed
MEETING_POINT = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK")


def devices_here(plan: TrainingPlan) -> int:
    """Return the number of devices of a plan on this machine; "auto" are all GPUs, or one CPU."""
    if plan.devices != "auto":
        return plan.devices
    wants_gpu = plan.accelerator in ("auto", "gpu", "cuda")
    return max(1, torch.cuda.device_count()) if wants_gpu else 1


def node_number(plan: TrainingPlan) -> int:
    """Return which of a plan's machines this is; the first one owns the run's folder."""
    if plan.nodes == 1:
        return 0
    missing = [name for name in MEETING_POINT if name not in os.environ]
    if missing:
        raise RecipeError(
            f"training.nodes = {plan.nodes}, and {', '.join(missing)} is not set: give the command "
            "once on every machine, with address and a free port of the first one as MASTER_ADDR "
            f"and MASTER_PORT, and NODE_RANK = 0 … {plan.nodes - 1}."
        )
    return int(os.environ["NODE_RANK"])


def in_processes(work: Callable[..., Any], plan: TrainingPlan, saves: bool) -> Any:
    """Return ``work(rank=…)`` as this machine's first process found it; all must succeed.

    Where the work ``saves`` its state, an interrupt is handed on to all of them, and they stop
    together. The first error of any is raised here, and no process is left behind.
    """
    count, node = devices_here(plan), node_number(plan)
    several = plan.nodes > 1
    address = os.environ["MASTER_ADDR"] if several else "127.0.0.1"
    port = os.environ["MASTER_PORT"] if several else str(find_free_network_port())
    threads = max(1, (os.cpu_count() or 1) // count)
    # a layer that every loss reaches is no reason for the warning that DDP makes of it
    defaults = {"OMP_NUM_THREADS": str(threads), "TORCH_CPP_LOG_LEVEL": "ERROR"}
    shared = {"MASTER_ADDR": address, "MASTER_PORT": port, "NODE_RANK": str(node)}
    with TemporaryDirectory(prefix="epitaxy-") as name:
        torch.save(work, Path(name) / "work")
        processes: list[subprocess.Popen] = []
        try:
            for local in range(count):
                rank = [str(node * count + local), str(plan.nodes * count)]
                own = {**shared, "LOCAL_RANK": str(local)}
                processes.append(
                    subprocess.Popen(
                        [sys.executable, "-m", "epitaxy.training.processes", name, *rank],
                        stdin=subprocess.PIPE,
                        env={**defaults, **os.environ, **own},
                        start_new_session=True,  # an interrupt at the terminal is ours to hand on
                    )
                )
            with _interrupts_handed_on(processes, saves) as asked:
                _wait(processes)
            return _outcome(Path(name), processes, node * count, bool(asked))
        finally:
            for process in processes:
                process.kill()
                process.communicate()


def _wait(processes: Sequence[subprocess.Popen]) -> None:
    """Wait until all have ended, or one has failed and the others had time to notice."""
    failed = float("inf")
    while any(process.poll() is None for process in processes):
        if any(process.returncode for process in processes):
            failed = min(failed, time.monotonic())
        if time.monotonic() - failed > GRACE:
            return
        time.sleep(0.05)


def _outcome(
    folder: Path, processes: Sequence[subprocess.Popen], start: int, interrupted: bool
) -> Any:
    """Return the first process's result; raise the error that came first if there was one."""
    found = []
    for number, process in enumerate(processes, start):
        file = folder / f"outcome-{number}"
        if file.is_file():
            found.append(torch.load(file, map_location="cpu", weights_only=False))
        elif interrupted:
            raise KeyboardInterrupt
        elif process.poll() is not None:
            raise TrainingError(
                f"training process {number} ended by itself (exit status {process.returncode}); "
                "it may have been killed for want of memory. The same command goes on from the "
                "last saved state."
            )
    errors = [one for one in found if isinstance(one["outcome"], BaseException)]
    if errors:
        raise min(errors, key=lambda one: one["time"])["outcome"]
    return found[0]["outcome"]


@contextmanager
def _interrupts_handed_on(
    processes: Sequence[subprocess.Popen], wanted: bool
) -> Iterator[list[int]]:
    """Hand the first interrupt on, and yield a list that then holds it; a second one ends all."""
    asked: list[int] = []
    if not wanted or threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def hand_on(number: int, frame: FrameType | None) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)
        for process in processes:
            assert process.stdin is not None
            with suppress(BrokenPipeError):
                process.stdin.write(b"\n")
                process.stdin.flush()

    signals = (signal.SIGINT, signal.SIGTERM)
    previous = [signal.signal(one, hand_on) for one in signals]
    try:
        yield asked
    finally:
        for one, handler in zip(signals, previous, strict=True):
            signal.signal(one, handler)


def _listen(folder: Path) -> None:
    while os.read(0, 1):
        os.kill(os.getpid(), signal.SIGINT)
    shutil.rmtree(folder, ignore_errors=True)  # whoever would have done it is gone
    os._exit(1)


def _work(folder: Path, rank: Rank) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # it may be inherited as ignored
    outcome: Any = None
    try:
        threading.Thread(target=_listen, args=(folder,), daemon=True).start()
        # mapped: the processes of one machine share the crystals' memory
        work = torch.load(folder / "work", mmap=True, weights_only=False)
        found = work(rank=rank)
        outcome = found if os.environ["LOCAL_RANK"] == "0" else None
    except (EpitaxyError, KeyboardInterrupt) as error:
        outcome = error
    except BaseException:  # the one who asked shall see where it happened
        outcome = RuntimeError(f"in training process {rank.number}:\n{traceback.format_exc()}")
    content = {"time": time.time(), "outcome": outcome}
    AtomicCheckpointIO().save_checkpoint(content, folder / f"outcome-{rank.number}")
    sys.exit(int(isinstance(outcome, BaseException)))


if __name__ == "__main__":
    _work(Path(sys.argv[1]), Rank(int(sys.argv[2]), int(sys.argv[3])))
