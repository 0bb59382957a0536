"""Single lines at the edge of a screen: the status header, the key hints, the reserved line for messages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tui.widgets.lines import Line, Lines, Run, padded
from tui.widgets.plaintext import at_words, plain, width_of
from tui.widgets.symbols import Symbols

_LEAST = 12  # cells of a part that is cut: of a clock or a count a half says something else


@dataclass(frozen=True)
class Part:
    """A piece of the header; of too many the one with the least `keep` goes first, of equals the last one.

    `whole` stands in the place of `text` where there is room for all of it: a line to type is of no use cut.
    """

    text: str
    style: str = ""
    keep: int = 0
    whole: str = ""


class Header(Lines):
    """Parts from the left and parts from the right, in one line."""

    DEFAULT_CSS = "Header { height: 1; }"

    def __init__(self, *, id: str | None = None, classes: str | None = None, symbols: Symbols | None = None) -> None:  # noqa: A002
        super().__init__(id=id, classes=classes, symbols=symbols)
        self._left: tuple[Part, ...] = ()
        self._right: tuple[Part, ...] = ()

    def show(self, left: Sequence[Part], right: Sequence[Part] = ()) -> None:
        """Show these parts; the texts are foreign."""
        self._left, self._right = tuple(left), tuple(right)
        self.paint()

    def frame(self, width: int, height: int) -> list[Line]:
        """As many parts as fit, three blanks between them, those to be kept first; one that fits in half at least is
        cut."""
        all_parts = [(plain(part.text), part, 0) for part in self._left]
        all_parts += [(plain(part.text), part, 1) for part in self._right]
        all_parts = [item for item in all_parts if item[0]]
        taken: dict[int, tuple[str, Part, int]] = {}
        left = width - 1
        for number in sorted(range(len(all_parts)), key=lambda number: (-all_parts[number][1].keep, number)):
            text, part, side = all_parts[number]
            if width_of(text) + 3 > left:
                if left - 3 < max(_LEAST, width_of(text) / 2) and taken:
                    continue
                text = at_words(text, max(0, left - (3 if taken else 1)), self.symbols.ellipsis)
            taken[number] = (text, part, side)
            left -= width_of(text) + 3
        for number in sorted(taken, key=lambda number: (-taken[number][1].keep, number)):
            text, part, side = taken[number]
            more = width_of(whole := plain(part.whole)) - width_of(text)
            if 0 < more <= left:
                taken[number] = (whole, part, side)
                left -= more
        parts = [taken[number] for number in sorted(taken)]
        sides: tuple[list[Run], list[Run]] = ([], [])
        for text, part, side in parts:
            sides[side].extend([("   " if sides[side] else " " if side == 0 else "", ""), (text, part.style)])
        used = sum(width_of(text) for side in sides for text, _ in side)
        return [padded([*sides[0], (" " * max(1, width - used - 1), ""), *sides[1]], width)]


Hint = tuple[str, str, bool]
"""A key, its label, and whether it is allowed here."""


class KeyHints(Lines):
    """`key label   key label`: from the left as many as fit, and always the last one (`? keys`).

    One that is not allowed here is greyed whole.
    """

    DEFAULT_CSS = "KeyHints { height: 1; }"

    def __init__(self, *, id: str | None = None, classes: str | None = None, symbols: Symbols | None = None) -> None:  # noqa: A002
        super().__init__(id=id, classes=classes, symbols=symbols)
        self._hints: tuple[Hint, ...] = ()

    def show(self, hints: Sequence[Hint]) -> None:
        """Show these keys."""
        self._hints = tuple(hints)
        self.paint()

    def frame(self, width: int, height: int) -> list[Line]:
        """The hints that fit."""
        hints = [(plain(key), plain(label), allowed) for key, label, allowed in self._hints]
        left = width - 1
        if hints:
            left -= _cells(hints[-1])
        taken = []
        for hint in hints[:-1]:
            if _cells(hint) + 3 > left:
                break
            left -= _cells(hint) + 3
            taken.append(hint)
        runs: list[Run] = [(" ", "")]
        for number, (key, label, allowed) in enumerate([*taken, *hints[-1:]]):
            runs += [("   " if number else "", ""), (key, "key" if allowed else "muted"), (" " + label, "muted")]
        return [padded(runs, width)]


def _cells(hint: Hint) -> int:
    return width_of(hint[0]) + 1 + width_of(hint[1])


class Notice(Lines):
    """The reserved line: a message with the sign of its state, until another one or none is shown."""

    DEFAULT_CSS = "Notice { height: 1; }"

    def __init__(self, *, id: str | None = None, classes: str | None = None, symbols: Symbols | None = None) -> None:  # noqa: A002
        super().__init__(id=id, classes=classes, symbols=symbols)
        self._text = ""
        self._state = ""

    def show(self, text: str = "", state: str = "") -> None:
        """Show a foreign text; `state` (a name of `symbols.STATES`) gives sign and style."""
        self._text, self._state = text, state
        self.paint()

    def frame(self, width: int, height: int) -> list[Line]:
        """The message, cut."""
        sign = self.symbols.state(self._state)
        text = f" {sign} {self._text}" if sign.strip() and self._text else f" {self._text}"
        return [self.line(text, self._state)]
