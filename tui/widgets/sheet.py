"""A text to read: headings, pairs of key and value, blocks of plain text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual.binding import Binding, BindingType

from tui.widgets.lines import Line, Run, Scroller, highlight, padded
from tui.widgets.plaintext import fit, plain, width_of, wrap
from tui.widgets.symbols import Symbols

LINE_LIMIT = 20_000
"""Lines shown of one sheet."""
KEY_WIDTH = 28
"""Most cells of the column of keys."""


@dataclass(frozen=True)
class Heading:
    """A title, with an empty line before it."""

    text: str


@dataclass(frozen=True)
class Pair:
    """A key and its value, with the state's sign and style where there is one."""

    key: str
    value: str
    state: str = ""


@dataclass(frozen=True)
class Block:
    """Text of any number of lines, indentation kept."""

    text: str
    style: str = ""


@dataclass(frozen=True)
class Rows:
    """Lines whose runs are drawn as they are, such as a picture's; they are cut where the sheet ends."""

    lines: tuple[tuple[Run, ...], ...]


Piece = Heading | Pair | Block | Rows


class Sheet(Scroller, can_focus=True):
    """Pieces one below the other, long lines wrapped."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n", "find(1)", "Next match", show=False, id="sheet.next"),
        Binding("N", "find(-1)", "Match before", show=False, id="sheet.previous"),
    ]

    def __init__(self, *, id: str | None = None, classes: str | None = None, symbols: Symbols | None = None) -> None:  # noqa: A002
        super().__init__(id=id, classes=classes, symbols=symbols)
        self._pieces: tuple[Piece, ...] = ()
        self._lines: list[tuple[Run, ...]] = []
        self._wrapped_for: tuple[tuple[Piece, ...], int] | None = None
        self._pattern: re.Pattern[str] | None = None

    def show(self, pieces: Sequence[Piece]) -> None:
        """Show these pieces; the place in the text stays as far as there is text."""
        pieces = tuple(pieces)
        if pieces != self._pieces:
            self._pieces = pieces
            self.paint()

    def text(self) -> str:
        """The whole sheet as plain text, not wrapped."""
        lines: list[str] = []
        for piece in self._pieces:
            if isinstance(piece, Heading):
                lines += [*([""] if lines else []), plain(piece.text)]
            elif isinstance(piece, Pair):
                lines.append(f"{plain(piece.key)}: {plain(piece.value)}")
            elif isinstance(piece, Rows):
                lines += ["".join(text for text, _ in runs) for runs in piece.lines]
            else:
                lines += _split(piece.text)
        return "".join([line + "\n" for line in lines])

    def set_search(self, text: str) -> int:
        """Highlight a text, in any case, go to its first line from here, and tell how many lines have it."""
        self._pattern = re.compile(re.escape(plain(text)), re.IGNORECASE) if text else None
        found = self._found()
        after = [number for number in found if number >= self.top]
        if found:
            self.top = min((after or found)[0], self.last_top)
        self.paint()
        return len(found)

    def action_find(self, step: int) -> None:
        """To the next line with the text, or (-1) the one before; round the end."""
        found = self._found()
        if found:
            ahead = [n for n in found if (n > self.top if step > 0 else n < self.top)]
            self.scroll_lines((ahead or found)[0 if step > 0 else -1])

    def _found(self) -> list[int]:
        if self._pattern is None:
            return []
        search = self._pattern.search
        return [n for n, runs in enumerate(self._lines_for(self.size.width)) if search("".join(t for t, _ in runs))]

    @property
    def count(self) -> int:
        """Lines at the present width."""
        return len(self._lines_for(self.size.width))

    def frame(self, width: int, height: int) -> list[Line]:
        """The lines from `top`."""
        lines = self._lines_for(width)
        self.top = max(0, min(self.top, len(lines) - height))
        shown = []
        for runs in lines[self.top : self.top + height]:
            found = [run for text, style in runs for run in highlight(text, style, self._pattern)]
            shown.append(padded([(" ", ""), *found], width))
        return shown

    def _lines_for(self, width: int) -> list[tuple[Run, ...]]:
        if self._wrapped_for is None or self._wrapped_for[1] != width or self._wrapped_for[0] is not self._pieces:
            self._wrapped_for = (self._pieces, width)
            self._lines = self._lay_out(max(10, width - 2))
        return self._lines

    def _lay_out(self, width: int) -> list[tuple[Run, ...]]:
        keys = [width_of(plain(piece.key)) for piece in self._pieces if isinstance(piece, Pair)]
        key_width = min(max(keys, default=0), KEY_WIDTH, width // 2)
        lines: list[tuple[Run, ...]] = []
        for piece in self._pieces:
            if isinstance(piece, Heading):
                lines += [((" ", ""),)] if lines else []
                lines += [((text, "heading"),) for text in wrap(plain(piece.text), width)]
            elif isinstance(piece, Pair):
                lines += self._pair(piece, key_width, width)
            elif isinstance(piece, Rows):
                lines += piece.lines
            else:
                lines += [((text, piece.style),) for line in _split(piece.text) for text in wrap(line, width)]
            if len(lines) > LINE_LIMIT:
                return [*lines[:LINE_LIMIT], ((f"only the first {LINE_LIMIT:,} lines are shown", "warn"),)]
        return lines

    def _pair(self, piece: Pair, key_width: int, width: int) -> list[tuple[Run, ...]]:
        sign = self.symbols.state(piece.state) + " " if piece.state else ""
        key = fit(piece.key, key_width, ellipsis=self.symbols.ellipsis)
        values = wrap(sign + plain(piece.value), width - key_width - 2)
        first: tuple[Run, ...] = ((key + "  ", "muted"), (values[0], piece.state))
        return [first, *(((" " * (key_width + 2), ""), (value, piece.state)) for value in values[1:])]


def _split(text: str) -> list[str]:
    return [plain(line) for line in text.expandtabs(4).splitlines()]
