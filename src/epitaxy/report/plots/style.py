"""One quiet style for every figure, laid on the figure itself and never on global settings.

matplotlib's `rc_context` changes settings of the whole process while it is open, so two threads
that draw would disturb each other; `drawing` styles the objects that it hands out instead.
"""

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

INK, QUIET, GRID = "#222831", "#6b7280", "#e5e7eb"
# Okabe and Ito's palette, which color-blind readers can tell apart, without its yellow.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
KNOWN = {"dummy": "#9CA3AF", "scratch": "#0072B2", "pre-trained": "#D55E00"}
COLUMNS = 3  # panels side by side before a new row starts


@contextmanager
def drawing(
    panels: int = 1, width: float = 4.2, height: float = 3.6, columns: int | None = None
) -> Iterator[list[Axes]]:
    """Give empty panels to draw in, and quiet them when the drawing is done.

    The figure is `axes[0].figure`; width and height are those of one panel, in inches.
    """
    columns = columns or (2 if panels == 4 else min(panels, COLUMNS))
    rows = math.ceil(panels / columns)
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    FigureCanvasAgg(figure)
    axes = [figure.add_subplot(rows, columns, position + 1) for position in range(panels)]
    yield axes
    for panel in axes:
        _quiet(panel)


def colors(contenders: Iterable[str]) -> dict[str, str]:
    """Return a color for each contender; the usual contenders keep theirs in every figure."""
    names = list(dict.fromkeys(contenders))
    taken = {KNOWN[name] for name in names if name in KNOWN}
    free = [color for color in PALETTE if color not in taken]
    others = [name for name in names if name not in KNOWN]
    return KNOWN | {name: free[rank % len(free)] for rank, name in enumerate(others)}


def save(figure: Figure, path_without_suffix: Path | str) -> tuple[Path, Path]:
    """Write the figure as PNG (150 dpi) and as SVG; return the two paths."""
    base = Path(path_without_suffix)
    base.parent.mkdir(parents=True, exist_ok=True)
    png, svg = base.with_name(base.name + ".png"), base.with_name(base.name + ".svg")
    figure.savefig(png, dpi=150, facecolor="white", bbox_inches="tight", pad_inches=0.1)
    figure.savefig(
        svg,
        dpi=150,
        facecolor="white",
        bbox_inches="tight",
        pad_inches=0.1,
        metadata={"Date": None},
    )
    return png, svg


def _quiet(axes: Axes) -> None:
    names: list[Text] = [axes.title, axes.xaxis.label, axes.yaxis.label]
    axes.set_axisbelow(True)
    axes.grid(True, color=GRID, linewidth=0.7)
    axes.tick_params(which="both", length=0, labelsize=8.5, colors=QUIET)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color("#c3c8d0")
        spine.set_linewidth(0.8)
    if legend := axes.get_legend():
        legend.set_frame_on(False)
        names += legend.get_texts()
    for text in names:
        text.set_parse_math(False)  # a dollar sign in a name is a dollar sign
        text.set_fontsize(9.5)
        text.set_color(INK)
