"""Writes a screen as SVG: text that can be selected, the viewer's own monospace font, nothing fetched from anywhere."""

from __future__ import annotations

from html import escape

import pyte

from screenshots.cells import Run, Style, runs
from screenshots.glyphs import boxes

WIDTH, HEIGHT = 8.4, 17
"""Of a cell; the text of each run is stretched to its cells, so any monospace font fits."""
_PAD = 10
_FONTS = "'DejaVu Sans Mono', Menlo, Consolas, monospace"


def to_svg(screen: pyte.Screen, title: str) -> str:
    wide, high = screen.columns * WIDTH + 2 * _PAD, screen.lines * HEIGHT + 2 * _PAD
    lines = runs(screen)
    ground = lines[0][0].style.background
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide:g} {high:g}" width="{wide:g}" height="{high:g}" '
        f'font-family="{_FONTS}" font-size="14">',
        f"<title>{escape(title)}</title>",
        f'<rect width="100%" height="100%" rx="6" fill="#{ground}"/>',
    ]
    for number, line in enumerate(lines):
        top = _PAD + number * HEIGHT
        parts += [_ground(run, top) for run in line if run.style.background != ground]
        for run in line:
            parts += _drawn(run, top)
            parts += _written(run, top)
    return "\n".join([*parts, "</svg>", ""])


def _left(run: Run, offset: int = 0) -> float:
    return _PAD + (run.column + offset) * WIDTH


def _ground(run: Run, top: float) -> str:
    return (
        f'<rect x="{_left(run):g}" y="{top:g}" width="{len(run.text) * WIDTH:g}" height="{HEIGHT}" '
        f'fill="#{run.style.background}" shape-rendering="crispEdges"/>'
    )


def _drawn(run: Run, top: float) -> list[str]:
    """The characters that are geometry, as one path."""
    path = []
    for offset, character in enumerate(run.text):
        for left, up, right, down in boxes(character) or ():
            x, y = _left(run, offset) + left * WIDTH, top + up * HEIGHT
            path.append(f"M{x:.1f} {y:.1f}h{(right - left) * WIDTH:.1f}v{(down - up) * HEIGHT:.1f}H{x:.1f}z")
    return [f'<path fill="#{run.style.foreground}" d="{"".join(path)}"/>'] if path else []


def _written(run: Run, top: float) -> list[str]:
    """The words of a run; two blanks or more part it, so that a viewer need not keep them."""
    found = []
    text = "".join(" " if boxes(character) is not None else character for character in run.text)
    start = 0
    while start < len(text):
        if text[start] == " ":
            start += 1
            continue
        end = text.find("  ", start)
        end = len(text) if end < 0 else end
        words = text[start:end].rstrip()
        found.append(
            f'<text x="{_left(run, start):g}" y="{top + 13:g}" textLength="{len(words) * WIDTH:g}" '
            f'lengthAdjust="spacingAndGlyphs" fill="#{run.style.foreground}"{_attributes(run.style)}>'
            f"{escape(words, quote=False)}</text>"
        )
        start = end
    return found


def _attributes(style: Style) -> str:
    said = ' font-weight="bold"' if style.bold else ""
    said += ' font-style="italic"' if style.italic else ""
    return said + (' text-decoration="underline"' if style.underline else "")
