"""Colors of the page by day and by night: one name for each use, told apart by the color-blind."""

from collections.abc import Mapping

LIGHT: Mapping[str, str] = {
    "scheme": "light",
    "paper": "#fcfcfb", "card": "#ffffff", "ink": "#1f2630", "quiet": "#59636f",
    "line": "#e1e4e8", "accent": "#0072b2", "wash": "#eff5f9", "grid": "#e8ebee",
    "better": "#d7ebf7", "worse": "#fbe3d3", "hole": "#f1f2f3", "warning": "#8a5200",
    # Okabe and Ito's hues, darkened until each stands out from white.
    "s0": "#0072b2", "s1": "#d55e00", "s2": "#00845f", "s3": "#b4558f",
    "s4": "#9a6a00", "s5": "#3d92c9", "s6": "#3b4450", "s7": "#8a6fd1", "rest": "#8b95a1",
    # From low to high: viridis, cut where it fades into white.
    "r0": "#440154", "r1": "#472d7b", "r2": "#3b528b", "r3": "#2c728e",
    "r4": "#21918c", "r5": "#28ae80", "r6": "#5ec962", "r7": "#a5cf2d", "r9": "#b6bdc6",
    "i0": "#fff", "i1": "#fff", "i2": "#fff", "i3": "#fff",
    "i4": "#fff", "i5": "#0b1116", "i6": "#0b1116", "i7": "#0b1116",
}  # fmt: skip
DARK: Mapping[str, str] = {
    "scheme": "dark",
    "paper": "#14181d", "card": "#1b2027", "ink": "#e4e7eb", "quiet": "#a0aab5",
    "line": "#2e3640", "accent": "#56b4e9", "wash": "#1a2630", "grid": "#29313a",
    "better": "#143a52", "worse": "#4d2a14", "hole": "#232930", "warning": "#f0b43c",
    "s0": "#4ea8de", "s1": "#ff8a4c", "s2": "#34c79a", "s3": "#e39ac6",
    "s4": "#e2ad3b", "s5": "#a5d8f6", "s6": "#dfe3e8", "s7": "#b7a3f0", "rest": "#7d8794",
    # The same scale, cut where it fades into black.
    "r0": "#5a4a9c", "r1": "#4f68a8", "r2": "#3b82a4", "r3": "#2b9a96",
    "r4": "#35b779", "r5": "#6dcd59", "r6": "#b4de2c", "r7": "#fde725", "r9": "#58626d",
    "i0": "#fff", "i1": "#fff", "i2": "#fff", "i3": "#0b1116",
    "i4": "#0b1116", "i5": "#0b1116", "i6": "#0b1116", "i7": "#0b1116",
}  # fmt: skip
SERIES = [f"s{rank}" for rank in range(8)] + [f"r{rank}" for rank in (*range(8), 9)] + ["rest"]


def theme() -> str:
    """Return the colors as CSS: the reader's setting, or what a button chose; paper is light."""
    light, dark = (
        "".join(f"--{name}:{color};" for name, color in colors.items() if name != "scheme")
        + f"color-scheme:{colors['scheme']}"
        for colors in (LIGHT, DARK)
    )
    series = "".join(f".{name}{{--c:var(--{name})}}" for name in SERIES)
    inks = "".join(f".i{rank}{{fill:var(--i{rank})}}" for rank in range(8))
    return (
        f":root{{{light}}}"
        f"@media (prefers-color-scheme:dark){{:root:not([data-theme=light]){{{dark}}}}}"
        f":root[data-theme=dark]{{{dark}}}"
        f"@media print{{:root,:root:not([data-theme=light]),:root[data-theme=dark]{{{light}}}}}"
        f"{series}{inks}\n"
    )
