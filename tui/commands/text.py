"""Tables and lines for a terminal or a pipe: plain text, in which nothing from outside can move the cursor."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from tritonctl.inventory import Level

_SYMBOLS = {
    Level.FAILED: ("✖", "x"),
    Level.DEGRADED: ("▲", "^"),
    Level.CHANGING: ("◐", "~"),
    Level.UNKNOWN: ("?", "?"),
    Level.OK: ("●", "o"),
    Level.OFF: ("○", "-"),
}
_COLOURS = {Level.FAILED: "31", Level.DEGRADED: "33", Level.CHANGING: "36", Level.OK: "32", Level.OFF: "2"}


def clean(text: str) -> str:
    """The text on one line, without control characters, escape sequences and direction marks."""
    return "".join(character if _harmless(character) else " " if character in "\n\t\r" else "�" for character in text)


def _harmless(character: str) -> bool:
    code = ord(character)
    if code < 0x7F:
        return code >= 0x20
    return (
        code >= 0xA0
        and not (
            0x200B <= code <= 0x200F or 0x2028 <= code <= 0x202E or 0x2066 <= code <= 0x2069 or 0xD800 <= code <= 0xDFFF
        )
        and code != 0xFEFF
    )


def symbol(level: Level, *, colour: bool) -> str:
    encoding = (sys.stdout.encoding or "ascii").lower()
    mark = _SYMBOLS[level][0 if encoding.startswith("utf") and not os.environ.get("TRITONCTL_ASCII") else 1]
    return f"\x1b[{_COLOURS[level]}m{mark}\x1b[0m" if colour and level in _COLOURS else mark


def use_colour(no_color: bool) -> bool:
    return not no_color and not os.environ.get("NO_COLOR") and sys.stdout.isatty()


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """Columns as wide as their widest cell, two spaces apart; `right` are the columns that are right-aligned.

    A first heading of "" is a column of symbols, which may hold colour and counts as one cell wide.
    """
    symbols = bool(headings) and headings[0] == ""
    cleaned = [[cell if symbols and not place else clean(cell) for place, cell in enumerate(row)] for row in rows]
    widths = [
        1 if symbols and not place else max([len(heading), *(len(row[place]) for row in cleaned)])
        for place, heading in enumerate(headings)
    ]
    lines = []
    for row in [list(headings), *cleaned]:
        cells = []
        for place, cell in enumerate(row):
            if symbols and not place:
                cells.append(cell or " ")
            elif place in right:
                cells.append(cell.rjust(widths[place]))
            else:
                cells.append(cell.ljust(widths[place]))
        lines.append(
            " ".join(cells[:1]) + (" " if symbols else "  ") + "  ".join(cells[1:]) if symbols else "  ".join(cells)
        )
    return "\n".join(line.rstrip() for line in lines)
