"""Axes, ticks and marks as SVG, colored by the page's variables so that they follow its theme."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from markupsafe import Markup

COLORS = 8  # series colors of the page's style, before they repeat
MARKERS = ("circle", "square", "triangle", "diamond", "plus", "cross")
DASHES = ("", "6 3", "2 2", "8 3 2 3")
Real = float | int
Values = Any  # one number or many: a sequence, an array, a Series


@dataclass(frozen=True, eq=False)
class Chart:
    """One chart: its SVG, its caption, and the JSON from which a script makes it answer.

    ``controls`` names what a reader may choose: {"label", "key", "options", "chosen"}.
    """

    svg: Markup
    caption: str
    data: Mapping[str, Any] = field(default_factory=dict)
    legend: Sequence[Mapping[str, Any]] = ()
    controls: Sequence[Mapping[str, Any]] = ()
    wide: bool = False
    title: str = ""

    @property
    def json(self) -> Markup:
        """The data as JSON that cannot end its script element."""
        return embedded(self.data)


def embedded(value: Any) -> Markup:
    """Return JSON for a script element: no character in it can close the element."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


@dataclass(frozen=True)
class Axis:
    """From values to places in the drawing; logarithmic where asked."""

    low: Real
    high: Real
    start: Real
    end: Real
    log: bool = False

    def __call__(self, values: Values) -> Values:
        """Return places of values, rounded to a tenth; what lies beyond the axis stays beyond."""
        own = np.asarray(values, dtype=float)
        low, high = self.low, self.high
        if self.log:
            own, low, high = np.log(own), math.log(low), math.log(high)
        return np.round(self.start + (own - low) / (high - low) * (self.end - self.start), 1)

    def ticks(self, most: int = 5) -> list[Real]:
        """Return round values on the axis, at most about so many."""
        if self.log:
            exponents = range(
                math.floor(math.log10(self.low)) - 1, math.ceil(math.log10(self.high)) + 1
            )
            for steps in ((1, 2, 5), (1, 3), (1,)):
                found = [s * 10.0**e for e in exponents for s in steps if self.holds(s * 10.0**e)]
                if 2 <= len(found) <= most + 1:
                    return found
            if len(found) > most:
                return found[:: math.ceil(len(found) / most)]
        span = self.high - self.low
        raw = span / most
        power = 10.0 ** math.floor(math.log10(raw))
        step = power * next(s for s in (1.0, 2.0, 2.5, 5.0, 10.0) if s * power >= raw * 0.999)
        first = math.ceil(self.low / step - 1e-9)
        count = math.floor(self.high / step + 1e-9) - first + 1
        return [round((first + one) * step, 12) for one in range(count)]

    def holds(self, value: Real) -> bool:
        """Whether the value lies on the axis."""
        return self.low * (1 - 1e-9) <= value <= self.high * (1 + 1e-9)


def span(values: Iterable[Real], zero: bool = False, margin: float = 0.04) -> tuple[float, float]:
    """Return limits that hold all finite values, with some room, and zero where asked."""
    known = np.array([value for value in values if math.isfinite(value)])
    if not len(known):
        return 0.0, 1.0
    low, high = float(known.min()), float(known.max())
    if zero:
        low, high = min(0.0, low), max(0.0, high)
    room = margin * (high - low) or abs(high) * 0.05 or 0.5
    return (low - room if low != 0.0 or not zero else 0.0), high + room


class Drawing:
    """An SVG being drawn; every text in it is escaped."""

    def __init__(self, width: Real, height: Real, name: str) -> None:
        self.width, self.height, self.name = width, height, name
        self.parts: list[Markup] = []

    def add(self, template: str, **values: Any) -> None:
        """Add an element; values are escaped and put in place of {names}."""
        self.parts.append(Markup(template).format(**values))

    def text(
        self, x: Real, y: Real, words: str, kind: str = "tick", anchor: str = "middle"
    ) -> None:
        """Write words; ``kind`` is a class of the page's style."""
        self.add(
            '<text x="{x:g}" y="{y:g}" class="{kind}" text-anchor="{anchor}">{words}</text>',
            x=x, y=y, kind=kind, anchor=anchor, words=words,
        )  # fmt: skip

    def path(self, outline: str, kind: str, extra: str = "") -> None:
        """Draw a path with a class of the page's style."""
        if outline:
            self.add(
                '<path d="{d}" class="{kind}"{extra}/>', d=outline, kind=kind, extra=Markup(extra)
            )

    def axes(
        self, x: Axis, y: Axis, x_label: str, y_label: str, x_ticks: Sequence[Real] | None = None
    ) -> None:
        """Draw grid, ticks and labels of two axes."""
        marks = x.ticks() if x_ticks is None else x_ticks
        grid = [f"M{x(t):g} {y.start:g}V{y.end:g}" for t in marks]
        grid += [f"M{x.start:g} {y(t):g}H{x.end:g}" for t in y.ticks()]
        self.path("".join(grid), "grid")
        for tick in marks:
            self.text(float(x(tick)), y.start + 15, number(tick))
        for tick in y.ticks():
            self.text(x.start - 6, float(y(tick)) + 4, number(tick), anchor="end")
        self.text((x.start + x.end) / 2, y.start + 33, x_label, "axis")
        middle = (y.start + y.end) / 2
        self.add(
            '<text transform="translate(13 {y:g}) rotate(-90)" class="axis" text-anchor="middle">'
            "{words}</text>",
            y=middle,
            words=y_label,
        )

    def svg(self, title: str, description: str, kind: str = "") -> Markup:
        """Return the drawing with its name and description for readers who do not see it."""
        return Markup(
            '<svg viewBox="0 0 {w:g} {h:g}" width="{w:g}" height="{h:g}" role="img" tabindex="0"'
            ' class="chart {kind}" aria-labelledby="{n}-t {n}-d"><title id="{n}-t">{title}</title>'
            '<desc id="{n}-d">{description}</desc>{parts}<g class="over"></g></svg>'
        ).format(
            w=self.width,
            h=self.height,
            n=self.name,
            kind=kind,
            title=title,
            description=description,
            parts=Markup("").join(self.parts),
        )


def number(value: Real) -> str:
    """Return a tick's text, with the minus sign that is as wide as a digit.

    >>> number(-0.5), number(20000.0), number(0.1 + 0.2)
    ('−0.5', '20,000', '0.3')
    """
    size = abs(value)
    text = f"{value:,.0f}" if size >= 1000 and value == round(value) else f"{value:.4g}"
    return text.replace("-", "\N{MINUS SIGN}")


def with_unit(name: str, unit: str) -> str:
    """Return an axis' label.

    >>> with_unit("band_gap", "eV")
    'band gap [eV]'
    """
    readable = name.replace("_", " ")
    return f"{readable} [{unit}]" if unit else readable


def dots(x: Values, y: Values) -> str:
    """Return a path that a round line cap turns into dots: a few bytes for each."""
    places = zip(np.ravel(x), np.ravel(y), strict=True)
    return "".join(f"M{a:g} {b:g}h0" for a, b in places if math.isfinite(a) and math.isfinite(b))


def bars(x: Values, low: Values, high: Values) -> str:
    """Return a path of vertical lines."""
    rows = zip(np.ravel(x), np.ravel(low), np.ravel(high), strict=True)
    return "".join(f"M{a:g} {b:g}V{c:g}" for a, b, c in rows if all(map(math.isfinite, (a, b, c))))


def line(x: Values, y: Values) -> str:
    """Return a path through points."""
    places = zip(np.ravel(x), np.ravel(y), strict=True)
    known = [f"{a:g} {b:g}" for a, b in places if math.isfinite(a) and math.isfinite(b)]
    return "M" + "L".join(known) if known else ""


def band(x: Values, low: Values, high: Values) -> str:
    """Return a closed path between two lines."""
    there, back = line(x, low), line(np.ravel(x)[::-1], np.ravel(high)[::-1])
    return f"{there}L{back[1:]}Z" if there and back else ""


def marker(shape: str, x: Real, y: Real, size: Real = 4.0) -> str:
    """Return the outline of a mark: shapes tell series apart where colors do not."""
    s = size
    return {
        "circle": f"M{x - s:g} {y:g}a{s:g} {s:g} 0 1 0 {2 * s:g} 0a{s:g} {s:g} 0 1 0 {-2 * s:g} 0Z",
        "square": f"M{x - s:g} {y - s:g}h{2 * s:g}v{2 * s:g}h{-2 * s:g}Z",
        "triangle": f"M{x:g} {y - 1.2 * s:g}l{1.2 * s:g} {2.1 * s:g}h{-2.4 * s:g}Z",
        "diamond": f"M{x:g} {y - 1.35 * s:g}l{1.35 * s:g} {1.35 * s:g}l{-1.35 * s:g} "
        f"{1.35 * s:g}l{-1.35 * s:g} {-1.35 * s:g}Z",
        "plus": f"M{x - 1.2 * s:g} {y:g}h{2.4 * s:g}M{x:g} {y - 1.2 * s:g}v{2.4 * s:g}",
        "cross": f"M{x - s:g} {y - s:g}l{2 * s:g} {2 * s:g}m0 {-2 * s:g}l{-2 * s:g} {2 * s:g}",
    }[shape]


@dataclass(frozen=True)
class Look:
    """How one contender is drawn, everywhere: color, mark and dashes."""

    color: int
    marker: str
    dash: str

    @property
    def kind(self) -> str:
        """Its class in the page's style."""
        return f"s{self.color}"

    @property
    def extra(self) -> str:
        """Its dashes as an attribute."""
        return f' stroke-dasharray="{self.dash}"' if self.dash else ""


def looks(names: Sequence[str]) -> dict[str, Look]:
    """Return a look for each name; no two of 24 have the same mark and color."""
    return {
        name: Look(
            rank % COLORS,
            MARKERS[rank % len(MARKERS)],
            DASHES[rank % len(DASHES)],
        )
        for rank, name in enumerate(names)
    }


def swatch(name: str, look: Look, tag: str = "") -> dict[str, Any]:
    """Return a line of a legend: a small drawing of the look, and the name."""
    drawn = Markup(
        '<svg width="34" height="14" viewBox="0 0 34 14" aria-hidden="true">'
        '<path d="M1 7H33" class="line {kind}"{extra}/><path d="{mark}" class="mark {kind}"/></svg>'
    ).format(kind=look.kind, extra=Markup(look.extra), mark=marker(look.marker, 17, 7, 3.6))
    return {"drawn": drawn, "name": name, "tag": tag}


def compact(values: Iterable[Any], digits: int = 4) -> list[Real | None]:
    """Return numbers with so many significant digits, as JSON may hold them."""
    rounded = (float(f"{float(value):.{digits}g}") for value in values)
    return [None if not math.isfinite(v) else int(v) if v == int(v) else v for v in rounded]


def points(x: Iterable[Real], y: Iterable[Real], text: Iterable[str]) -> dict[str, Any]:
    """Return what a script needs to tell about the nearest of some drawn points."""
    return {"kind": "points", "x": compact(x), "y": compact(y), "text": list(text)}
