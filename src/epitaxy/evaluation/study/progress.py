"""How far a study is, and how long the rest may take."""

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from epitaxy.evaluation.study.works import PredictionWork, Work


@dataclass
class Clock:
    """Seconds per unit of cost, learned from what has ended, for every kind of work.

    Works of one kind are alike but for their cost, so the mean of what has ended is a fair guess
    of what is left. A kind of which nothing has ended yet is left out of the estimate.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    costs: dict[str, float] = field(default_factory=dict)

    def learn(self, work: Work, seconds: float) -> None:
        """Take the time that a piece of work took."""
        group = work.group
        self.seconds[group] = self.seconds.get(group, 0.0) + seconds
        self.costs[group] = self.costs.get(group, 0.0) + work.cost

    def left(self, works: Sequence[Work], workers: int) -> float | None:
        """Return the seconds that the works may take; None where nothing is known yet."""
        known = [one for one in works if self.costs.get(one.group, 0.0) > 0.0]
        if works and not known:
            return None
        total = sum(self.seconds[one.group] / self.costs[one.group] * one.cost for one in known)
        return total / max(1, min(workers, len(works)))


@dataclass
class Progress:
    """Prints a line for every piece of work that ends, on the standard error."""

    total: int
    shown: bool
    done: int = 0
    printed: float = field(default_factory=time.monotonic)

    def ended(self, work: Work, reason: str, left: float | None) -> None:
        """Tell what has ended and what is left."""
        self.done += not isinstance(work, PredictionWork)
        if not self.shown or (isinstance(work, PredictionWork) and not reason):
            return
        told = f"FAILED: {reason}" if reason else f"{spoken_time(left)} left"
        self._print(f"[{self.done}/{self.total}] {work.name} · {told}")

    def waiting(self, running: Mapping[int, str], works: Mapping[str, Work]) -> None:
        """Tell, every minute in which nothing ends, what is under way."""
        if self.shown and time.monotonic() - self.printed > 60.0:
            mine = [works[key] for key in running.values()]
            names = [f"{work.name}{work.how_far()}" for work in mine]
            self._print(f"[{self.done}/{self.total}] under way: {'; '.join(names)}")

    def _print(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)
        self.printed = time.monotonic()


def spoken_time(seconds: float | None) -> str:
    """Return a time in words.

    >>> spoken_time(50.0), spoken_time(4000.0), spoken_time(None)
    ('1 min', '1 h 07 min', 'an unknown time')
    """
    if seconds is None:
        return "an unknown time"
    minutes = max(1, round(seconds / 60))
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
