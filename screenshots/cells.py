"""What a terminal shows as cells with their colours worked out: reverse, dim and the 16 colours."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

import pyte

FOREGROUND = "d4d7dc"
BACKGROUND = "14171c"
# The 16 colours as xterm's successors have them; pyte calls yellow "brown".
_NAMED = {
    "black": "1c1f26", "red": "e06c75", "green": "98c379", "brown": "e5c07b",
    "blue": "61afef", "magenta": "c678dd", "cyan": "56b6c2", "white": "c8ccd4",
    "brightblack": "7f848e", "brightred": "ff7b86", "brightgreen": "b5e890", "brightbrown": "ffd68a",
    "brightyellow": "ffd68a", "brightblue": "82c4ff", "brightmagenta": "e29bf5", "bfightmagenta": "e29bf5",
    "brightcyan": "7fdbe6", "brightwhite": "ffffff",
}  # fmt: skip


@dataclass(frozen=True)
class Style:
    """Colours as six hexadecimal digits."""

    foreground: str
    background: str
    bold: bool = False
    underline: bool = False
    italic: bool = False


@dataclass(frozen=True)
class Run:
    """Cells of one line beside each other with one style; `text` has one character for each cell."""

    column: int
    text: str
    style: Style


def runs(screen: pyte.Screen) -> list[list[Run]]:
    """For each line its runs, all cells covered."""
    lines = []
    for number in range(screen.lines):
        row = screen.buffer[number]
        styled = [(column, row[column].data or " ", _style(row[column])) for column in range(screen.columns)]
        line = []
        for style, group in groupby(styled, key=lambda cell: cell[2]):
            cells = list(group)
            line.append(Run(cells[0][0], "".join(data[0] for _, data, _ in cells), style))
        lines.append(line)
    return lines


def _style(char: pyte.screens.Char) -> Style:
    foreground, background = _colour(char.fg, FOREGROUND), _colour(char.bg, BACKGROUND)
    if char.reverse:
        foreground, background = background, foreground
    if char.blink:  # dim, see terminal.py
        foreground = _between(foreground, background)
    return Style(foreground, background, char.bold, char.underscore, char.italics)


def _colour(name: str, default: str) -> str:
    return default if name == "default" else _NAMED.get(name, name)


def _between(one: str, other: str) -> str:
    pairs = ((int(one[place : place + 2], 16), int(other[place : place + 2], 16)) for place in (0, 2, 4))
    return "".join(f"{round(0.6 * first + 0.4 * second):02x}" for first, second in pairs)
