"""The fine-tunings of a comparison, each in a folder of its own, several at a time.

``python -m epitaxy.evaluation.fits`` is a worker: it reads paths of ``job.json`` files from its
standard input, one a line, and answers with one line for each when it is done. It ends at once
when the input ends, so a worker does not outlive the process that asked for it.
"""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import torch

from epitaxy.crystals.arrow import open_arrow
from epitaxy.errors import EpitaxyError, TrainingError
from epitaxy.evaluation.protocol import setting_name
from epitaxy.training.checkpoint import load_model, save_model
from epitaxy.training.files import write_json
from epitaxy.training.learner import NotFiniteError
from epitaxy.training.predict import predict_values
from epitaxy.training.recipe import Recipe, parse_recipe
from epitaxy.training.train import probes, train

JOB_FILE, RESULT_FILE = "job.json", "result.json"


@dataclass(frozen=True, eq=False)
class Job:
    """One fine-tuning: everything that a worker needs to know.

    Attributes:
        folder: where its weights and its result go.
        crystals: the data, as ``write_arrow`` wrote them.
        ancestor: folder of the pre-trained weights; None from scratch.
        contender, seed, setting: what it is one of.
        recipe: the whole run.
        train, validation: rows of ``crystals``. Test rows are not told to a worker.
    """

    folder: Path
    crystals: Path
    ancestor: Path | None
    contender: str
    seed: int
    setting: Mapping[str, Any]
    recipe: Recipe
    train: tuple[int, ...]
    validation: tuple[int, ...]

    @property
    def done(self) -> bool:
        """Whether its result is there."""
        return (self.folder / RESULT_FILE).is_file()

    @property
    def result(self) -> dict[str, Any]:
        """What the worker wrote."""
        return json.loads((self.folder / RESULT_FILE).read_text(encoding="utf-8"))

    def write(self) -> Path:
        """Write the job for a worker, and return the file's path."""
        ancestor = None if self.ancestor is None else str(self.ancestor.absolute())
        values = {
            "crystals": str(self.crystals.absolute()),
            "ancestor": ancestor,
            "recipe": self.recipe.model_dump(mode="json"),
            "train": self.train,
            "validation": self.validation,
        }
        write_json(self.folder / JOB_FILE, values)
        return (self.folder / JOB_FILE).absolute()


def run_fits(jobs: Sequence[Job], at_a_time: int | None, progress: bool) -> None:
    """Run the fits that are not done yet, each worker on its share of the cores.

    A fit that diverges is a result too (``failed``). Any other error ends the comparison with a
    TrainingError; finished fits stay, and so do those under way, which resume.
    """
    waiting = [job for job in jobs if not job.done]
    if not waiting:
        return
    cores = available_cores()
    count = max(1, min(at_a_time or cores, len(waiting)))
    if progress:
        before = len(jobs) - len(waiting)
        print(f"{len(jobs)} fits, {before} done before; {count} at a time", file=sys.stderr)
    workers: list[subprocess.Popen] = []
    idle: SimpleQueue[subprocess.Popen] = SimpleQueue()
    try:
        for _ in range(count):
            workers.append(start_worker(max(1, cores // count)))
            idle.put(workers[-1])
        with ThreadPoolExecutor(count) as threads:
            futures = {threads.submit(_ask, idle, job): job for job in waiting}
            began = time.monotonic()
            try:
                for number, future in enumerate(as_completed(futures), start=1):
                    future.result()
                    if progress:
                        _print_progress(futures[future], number, len(waiting), began)
            except BaseException:
                threads.shutdown(wait=False, cancel_futures=True)
                for worker in workers:
                    worker.kill()
                raise
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()  # waits for it and closes its pipes


def run_job(file: Path) -> None:
    """Fine-tune, predict the validation crystals, and write both."""
    job = json.loads(file.read_text(encoding="utf-8"))
    folder = file.parent
    crystals = open_arrow(job["crystals"])
    ancestor = None if job["ancestor"] is None else load_model(job["ancestor"])
    training, held = crystals[job["train"]], crystals[job["validation"]]
    recipe = parse_recipe(job["recipe"], str(file))
    try:
        trained = train(recipe, training, held, ancestor, folder=folder)
    except NotFiniteError as error:
        write_json(folder / RESULT_FILE, {"failed": str(error)})
        return
    save_model(trained.model, folder, probes(training))
    values = predict_values(trained.model, held)[trained.model.targets[0]][0]
    result = {
        "validation": values.double().tolist(),
        "rows": trained.fitted.rows,
        "best_epoch": trained.fitted.best_epoch,
        "seconds": round(trained.fitted.seconds, 2),
    }
    write_json(folder / RESULT_FILE, result)
    (folder / "resume.ckpt").unlink(missing_ok=True)


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def start_worker(threads: int, module: str = "epitaxy.evaluation.fits") -> subprocess.Popen:
    """Start a process that answers orders, with so many threads."""
    return subprocess.Popen(
        [sys.executable, "-m", module, str(threads)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        text=True,
        start_new_session=True,  # an interrupt at the terminal is the parent's to handle
    )


def answer_orders(run: Callable[[Path], None]) -> None:
    """Do order after order, each a file that is named on a line, until there is no more input."""
    torch.set_num_threads(int(sys.argv[1]))
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    sys.stdout = sys.stderr  # whatever else is printed must not be taken for an answer
    asked: SimpleQueue[str] = SimpleQueue()
    threading.Thread(target=_listen, args=(asked,), daemon=True).start()
    while True:
        try:
            run(Path(asked.get()))
            answer = {"error": ""}
        except (EpitaxyError, OSError) as error:
            answer = {"error": str(error)}
        print(json.dumps(answer), file=answers, flush=True)


def _ask(idle: "SimpleQueue[subprocess.Popen]", job: Job) -> None:
    """Hand a job to an idle worker and wait for its answer."""
    worker = idle.get()
    assert worker.stdin is not None
    assert worker.stdout is not None
    try:
        worker.stdin.write(f"{job.write()}\n")
        worker.stdin.flush()
        answer = worker.stdout.readline()
    except BrokenPipeError:
        answer = ""
    kept = "Those that had ended are kept; the same command goes on from there."
    if not answer:
        code = worker.wait()
        raise TrainingError(
            f"the process of the fit {job.folder.name} ended by itself (exit status {code}); it "
            f"may have been killed for want of memory: try --jobs 1. {kept}"
        )
    found = json.loads(answer)
    if found["error"]:
        raise TrainingError(f"the fit {job.folder.name} failed: {found['error']} {kept}")
    idle.put(worker)


def _print_progress(job: Job, number: int, total: int, began: float) -> None:
    left = (time.monotonic() - began) / number * (total - number) / 60
    name = f"{job.contender}, seed {job.seed}, {setting_name(job.setting)}"
    print(f"fit {number}/{total}: {name} · {left:.1f} min left", file=sys.stderr, flush=True)


def _listen(asked: "SimpleQueue[str]") -> None:
    for line in sys.stdin:
        asked.put(line.rstrip("\n"))
    os._exit(0)  # whoever asked is gone, and nobody would take the answer


if __name__ == "__main__":
    answer_orders(run_job)
