"""A form in lines: each field with its kind, what it is filled with, and what is wrong with that beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tui.widgets.lines import Line, Run, Scroller, padded
from tui.widgets.plaintext import fit, plain, width_of

NAME_WIDTH = 24
KIND_WIDTH = 26
MOST_LINES = 14


@dataclass(frozen=True, slots=True)
class Field:
    """`key` is what the pane knows it by; `made` tells that the value is made up and was not typed."""

    key: str
    name: str
    kind: str
    value: str
    made: bool = False
    error: str = ""


class Fields(Scroller, can_focus=True):
    """One line a field; the cursor stands on one of them."""

    DEFAULT_CSS = "Fields { height: auto; }"

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._fields: tuple[Field, ...] = ()
        self.cursor = -1

    @property
    def count(self) -> int:
        return len(self._fields)

    @property
    def current(self) -> Field | None:
        """The field under the cursor."""
        return self._fields[self.cursor] if 0 <= self.cursor < len(self._fields) else None

    @property
    def cut_error(self) -> str:
        """What is wrong with the field under the cursor, where its line has no room for all of it."""
        field = self.current
        if field is None or not field.error:
            return ""
        return field.error if self._error_room(field) < width_of(plain(field.error)) else ""

    def show(self, fields: Sequence[Field]) -> None:
        """Show these; the cursor begins on the last one, and stays on its field."""
        fields = tuple(fields)
        if fields == self._fields:
            return
        key = self.current.key if self.current is not None else None
        keys = [field.key for field in fields]
        self.cursor = keys.index(key) if key in keys else len(fields) - 1
        resized = len(fields) != len(self._fields)
        self._fields = fields
        if resized:
            self.styles.height = min(len(fields), MOST_LINES)
        self._follow()
        self.paint()

    def move_to(self, key: str) -> None:
        """Put the cursor on a field."""
        keys = [field.key for field in self._fields]
        if key in keys:
            self.cursor = keys.index(key)
            self._follow()
            self.paint()

    def action_move(self, lines: int) -> None:
        """To the next field."""
        self.cursor = max(0, min(self.count - 1, self.cursor + lines))
        self._follow()
        self.paint()

    def action_edge(self, side: int) -> None:
        """To the first or the last field."""
        self.action_move(side * self.count)

    def _follow(self) -> None:
        height = self.size.height or min(self.count, MOST_LINES)
        self.top = max(0, min(self.top, self.cursor, self.count - height))
        if self.cursor >= self.top + height:
            self.top = self.cursor - height + 1

    def frame(self, width: int, height: int) -> list[Line]:
        """The fields from `top`."""
        self.top = max(0, min(self.top, len(self._fields) - height))
        return [self._line(field, width) for field in self._fields[self.top : self.top + height]]

    def _widths(self) -> tuple[int, int]:
        """Of the names and of the kinds."""
        names = min(NAME_WIDTH, max([width_of(plain(field.name)) for field in self._fields], default=0))
        kinds = min(KIND_WIDTH, max([width_of(plain(field.kind)) for field in self._fields], default=0))
        return names, kinds

    def _value(self, field: Field, width: int) -> str:
        """Beside an error it has a third of the room at most."""
        value, (names, kinds) = plain(field.value), self._widths()
        room = max(12, (width - names - kinds - 6) // 3)
        return fit(value, room, ellipsis=self.symbols.ellipsis) if field.error and width_of(value) > room else value

    def _error_room(self, field: Field) -> int:
        names, kinds = self._widths()
        before = 1 + names + 2 + (kinds + 2 if kinds else 0) + width_of(self._value(field, self.size.width))
        return self.size.width - before - 4  # two blanks, the sign, a blank

    def _line(self, field: Field, width: int) -> Line:
        names, kinds = self._widths()
        here = field is self.current
        dots = self.symbols.ellipsis
        sign = self.symbols.cursor if here else " "
        look = ("cursor" if self.has_focus else "cursor-blur") if here else ""
        runs: list[Run] = [(sign, "accent")]
        runs.append((fit(field.name, names, ellipsis=dots) + "  ", look or "muted"))
        if kinds:
            runs.append((fit(field.kind, kinds, ellipsis=dots) + "  ", "muted"))
        value = self._value(field, width)
        if field.error:
            error, room = plain(field.error), max(8, self._error_room(field))
            cut = fit(error, room, ellipsis=dots) if width_of(error) > room else error
            runs += [(value, look), (f"  {self.symbols.failed} {cut}", "failed")]
        else:
            runs.append((value, look or ("muted" if field.made else "")))
        return padded(runs, width)
