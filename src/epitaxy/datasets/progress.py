"""A bar on the screen where there is a person to see it and enough to wait for."""

import sys
from collections.abc import Iterable
from typing import TypeVar

Item = TypeVar("Item")
WORTH_A_BAR = 200  # files, or as many steps that take as long


def with_progress(
    steps: Iterable[Item], what: str, total: int, enough: int = WORTH_A_BAR
) -> Iterable[Item]:
    """Return the steps, with a bar on the error stream where it is a terminal and they are many.

    ``enough`` is the total up to which there is none.
    """
    if total <= enough or not sys.stderr.isatty():
        return steps
    from rich.console import Console
    from rich.progress import track

    return track(steps, description=what, total=total, console=Console(stderr=True), transient=True)
