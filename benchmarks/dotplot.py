"""A run as a picture (SVG): a line per row of the table, a dot per system, by its time / tmpfs's.

The axis is logarithmic; what stands further left is faster. What it is *not*: a plotting library,
or the picture of curves (plot.py).

Concurrency: pure functions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

WIDTH, LEFT, RIGHT, TOP, STEP = 900, 200, 190, 46, 26
COLOURS: Mapping[str, str] = {
    "vfsd": "#c2185b",
    "vfsd-passthrough": "#e66fa0",
    "vfsd-overlay": "#7b1fa2",
    "vfsd-overlay-dir": "#b58ad0",
    "overlayfs": "#444444",
    "fuse-overlayfs": "#1565c0",
    "bindfs": "#2e9e6b",
    "unionfs-fuse": "#7cb342",
    "ratarmount": "#ef8f00",
    "pyfuse3-example": "#8d6e63",
}
"""Systems with a dot, in the order of the legend."""


def dotplot(rows: Sequence[tuple[str, Mapping[str, float]]], caption: str) -> str:
    """Return the picture of `rows`: a title, and the seconds of each system, with tmpfs's."""
    shown = [(title, times) for title, times in rows if times.get("tmpfs")]
    ratios = [
        seconds / times["tmpfs"]
        for _, times in shown
        for name, seconds in times.items()
        if name in COLOURS
    ]
    low = math.floor(math.log2(min([1.0, *ratios])))
    high = max(math.ceil(math.log2(max([2.0, *ratios]))), low + 1)
    height = TOP + STEP * len(shown) + 46

    def across(ratio: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (math.log2(ratio) - low) / (high - low)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}"'
        ' font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        _text(LEFT, 18, "time / tmpfs\u2019s time, logarithmic; further left is faster", "start"),
        _text(10, height - 10, caption, "start", size=10),
    ]
    for power in range(low, high + 1):
        x = across(2.0**power)
        parts.append(_rule(x, TOP - 8, x, height - 40, "#e4e4e4"))
        parts.append(_text(x, TOP - 12, f"{2.0**power:g}", "middle"))
    for number, (title, times) in enumerate(shown):
        y = TOP + STEP * number + STEP / 2
        parts.append(_rule(LEFT, y, WIDTH - RIGHT, y, "#d0d0d0"))
        parts.append(_text(LEFT - 10, y + 4, title, "end"))
        # vfsd's own come last, so that no other dot hides them.
        for name in reversed([each for each in COLOURS if each in times]):
            x = across(times[name] / times["tmpfs"])
            parts.append(_dot(x, y, 6 if name.startswith("vfsd") else 4.5, COLOURS[name], name))
    present = [name for name in COLOURS if any(name in times for _, times in shown)]
    for number, name in enumerate(present):
        y = TOP + 14 + 20 * number
        parts.append(_dot(WIDTH - RIGHT + 24, y - 4, 5, COLOURS[name], name))
        parts.append(_text(WIDTH - RIGHT + 36, y, name, "start"))
    return "\n".join([*parts, "</svg>\n"])


def _rule(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"/>'


def _dot(x: float, y: float, radius: float, colour: str, name: str) -> str:
    title = f"<title>{escape(name)}</title>"
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{colour}">{title}</circle>'


def _text(x: float, y: float, words: str, anchor: str, size: int = 12) -> str:
    words = escape(words)
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}">{words}</text>'
