"""Tables and lines for a terminal or a pipe: plain text, in which nothing from outside can move the cursor."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from tritonctl.inventory import Level

_MAX_CELL = 400  # characters; more than any line of a reason that helps, and the whole of it is in -o json
_WHERE = re.compile(r""" --(?:kubeconfig|context)[= ](?:'[^']*'|"[^"]*"|[^\s'"])+""")
_SYMBOLS = {
    Level.FAILED: ("✖", "x"),
    Level.DEGRADED: ("▲", "^"),
    Level.CHANGING: ("◐", "~"),
    Level.UNKNOWN: ("?", "?"),
    Level.OK: ("●", "o"),
    Level.OFF: ("○", "-"),
}
_COLOURS = {Level.FAILED: "31", Level.DEGRADED: "33", Level.CHANGING: "36", Level.OK: "32", Level.OFF: "2"}


@dataclass(frozen=True, slots=True)
class Style:
    """How the table's symbols are drawn."""

    colour: bool
    ascii: bool

    @classmethod
    def of_stdout(cls, *, no_color: bool, ascii: bool) -> Style:  # noqa: A002
        """Colour only on a terminal that has it and where nobody said no; ASCII also where the encoding has no more."""
        unwanted = no_color or bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM", "dumb") == "dumb"
        encoding = (sys.stdout.encoding or "ascii").lower()
        return cls(not unwanted and sys.stdout.isatty(), ascii or not encoding.startswith("utf"))

    def symbol(self, level: Level) -> str:
        mark = _SYMBOLS[level][1 if self.ascii else 0]
        return f"\x1b[{_COLOURS[level]}m{mark}\x1b[0m" if self.colour and level in _COLOURS else mark


def clean(foreign: str) -> str:
    """The text on one line, without control characters, escape sequences and direction marks."""
    from tui.widgets.plaintext import plain

    return plain(foreign)


def shortened(call: str, width: int = 80) -> str:
    """A call that can be told from the others of its plan: without where its cluster is, and cut in the middle."""
    call = _WHERE.sub("", clean(call))
    return call if len(call) <= width else f"{call[: width // 3]}…{call[width // 3 + 1 - width :]}"


def block(foreign: str) -> str:
    """Text of several lines, each of them cleaned."""
    return "\n".join(clean(line) for line in foreign.splitlines())


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """Columns as wide as their widest cell, two spaces apart; `right` are the columns that are right-aligned.

    A first heading of "" is a column of symbols, which may hold colour and counts as one cell wide.
    """
    from tui.widgets.plaintext import width_of

    symbols = bool(headings) and headings[0] == ""
    cleaned = [[cell if symbols and not place else _cell(cell) for place, cell in enumerate(row)] for row in rows]
    widths = [
        1 if symbols and not place else max([len(heading), *(width_of(row[place]) for row in cleaned)])
        for place, heading in enumerate(headings)
    ]
    lines = []
    for row in [list(headings), *cleaned]:
        cells = []
        for place, cell in enumerate(row):
            blank = " " * (widths[place] - width_of(cell))
            if symbols and not place:
                cells.append(cell or " ")
            else:
                cells.append(blank + cell if place in right else cell + blank)
        lines.append(f"{cells[0]} {'  '.join(cells[1:])}" if symbols else "  ".join(cells))
    return "\n".join(line.rstrip() for line in lines)


def _cell(foreign: str) -> str:
    # Cut before it is cleaned as well: a cell may be megabytes.
    cell = clean(foreign[: 4 * _MAX_CELL])
    return cell if len(cell) <= _MAX_CELL else cell[: _MAX_CELL - 1] + "…"
