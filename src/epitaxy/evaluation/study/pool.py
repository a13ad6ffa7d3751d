"""Worker processes that are given one piece of work after the other, the most urgent first."""

import json
import os
import subprocess
import threading
from pathlib import Path
from queue import Empty, PriorityQueue, SimpleQueue
from types import TracebackType
from typing import Any

from epitaxy.evaluation.fits import available_cores, start_worker

WORKER = "epitaxy.evaluation.study.worker"
_FIRST = (-1,)


def workers_for(jobs: int | None) -> int:
    """Return the number of workers that a number of jobs means: one per core unless told."""
    return max(1, jobs or available_cores())


class Pool:
    """So many workers; one that dies is reported with what it was doing, and replaced.

    Used as a context: at its end, and at an interrupt, no process is left.
    """

    def __init__(self, workers: int | None = None) -> None:
        self.workers = workers_for(workers)
        share = available_cores() // self.workers
        self.threads = max(1, int(os.environ.get("OMP_NUM_THREADS") or share))
        self.running: dict[int, str] = {}
        self._waiting: PriorityQueue[tuple[Any, int, str, Path | None]] = PriorityQueue()
        self._answers: SimpleQueue[tuple[str, str]] = SimpleQueue()
        self._processes: dict[int, subprocess.Popen] = {}
        self._given = 0
        self._ended = False
        self._starting = threading.Lock()
        self._threads = [
            threading.Thread(target=self._serve, args=(number,), daemon=True)
            for number in range(self.workers)
        ]

    def __enter__(self) -> "Pool":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._starting:
            self._ended = True
            for process in self._processes.values():
                process.kill()
        for _ in range(self.workers):
            self._waiting.put((_FIRST, 0, "", None))
        for thread in self._threads:
            thread.join()
        for process in self._processes.values():
            process.communicate()  # waits for it and closes its pipes

    def submit(self, urgency: tuple[int, ...], key: str, order: Path) -> None:
        """Put an order in the queue; the lowest urgency is served first."""
        self._given += 1
        self._waiting.put((urgency, self._given, key, order))

    def answer(self, seconds: float) -> tuple[str, str] | None:
        """Return the key of what has ended and why it failed, if so; None after so many seconds."""
        try:
            return self._answers.get(timeout=seconds)
        except Empty:
            return None

    def _serve(self, number: int) -> None:
        while True:
            _, _, key, order = self._waiting.get()
            if order is None or self._ended:
                return
            self.running[number] = key
            reason = self._ask(number, order)
            del self.running[number]
            self._answers.put((key, reason))

    def _ask(self, number: int, order: Path) -> str:
        """Hand an order to the worker and return why it failed, or an empty text."""
        with self._starting:
            if self._ended:
                return "interrupted"
            worker = self._processes.get(number)
            if worker is None:
                worker = self._processes[number] = start_worker(self.threads, WORKER)
        assert worker.stdin is not None
        assert worker.stdout is not None
        try:
            worker.stdin.write(f"{order}\n")
            worker.stdin.flush()
            answer = worker.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if answer.endswith("\n"):  # half a line is of a worker that was killed while it wrote
            return json.loads(answer)["error"]
        status = worker.wait()
        with self._starting:
            if not self._ended:
                del self._processes[number]
                worker.communicate()  # closes its pipes; another one takes its place
        return (
            f"its process ended by itself (exit status {status}); it may have been killed for want "
            "of memory: fewer at a time (--jobs) leave more to each."
        )
