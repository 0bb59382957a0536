"""A table of any number of rows of which only the lines that differ are repainted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message

from tui.widgets.columns import Column, Layout, lay_out
from tui.widgets.lines import Line, Run, Scroller, merge
from tui.widgets.plaintext import fit
from tui.widgets.symbols import Symbols

Cell = str | tuple[str, str]
"""Foreign text, or text with the name of a style."""

GUTTER = 3
"""Cells before the first column: cursor, state, mark."""


@dataclass(frozen=True)
class Row:
    """One line: `key` is its identity, `state` a name of `symbols.STATES`, "stale" or ""."""

    key: str
    cells: tuple[Cell, ...]
    state: str = ""
    dim: bool = False
    """Shown greyed, as what is known no longer; the state's sign stays."""


class Rows:
    """Rows that are known by their keys, each made when it is drawn: of hundreds most are never seen."""

    def __init__(self, keys: Sequence[str], make: Callable[[int], Row]) -> None:
        self.keys = tuple(keys)
        self._make = make

    @classmethod
    def of(cls, rows: Sequence[Row]) -> Rows:
        """Of such as are made already."""
        return cls([row.key for row in rows], rows.__getitem__)

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, number: int) -> Row:
        return self._make(number)


class Table(Scroller, can_focus=True):
    """Rows with a cursor, marks and a header; sorting is the caller's, who is asked by `SortRequested`."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "select", "Open", show=False, id="table.open"),
        Binding("space", "mark", "Mark", show=False, id="table.mark"),
        Binding("ctrl+space,ctrl+@", "mark_range", "Mark to here", show=False, id="table.mark_range"),
        Binding("ctrl+backslash", "clear_marks", "Clear marks", show=False, id="table.clear_marks"),
        Binding("less_than_sign", "sort(-1)", "Sort by the column before", show=False, id="table.sort_previous"),
        Binding("greater_than_sign", "sort(1)", "Sort by the next column", show=False, id="table.sort_next"),
        Binding("I", "sort(0)", "Reverse the order", show=False, id="table.sort_reverse"),
    ]

    class _Keyed(Message):
        def __init__(self, table: Table, key: str) -> None:
            super().__init__()
            self.table = table
            self.key = key

        @property
        def control(self) -> Table:
            """The table, for `@on(…, "#id")`."""
            return self.table

    class RowSelected(_Keyed):
        """Enter on the row `key`."""

    class RowHighlighted(_Keyed):
        """The cursor is on the row `key` now."""

    class SortRequested(_Keyed):
        """Sort by the column `key`; asked again for the column that is sorted by, reverse."""

    class MarksChanged(_Keyed):
        """Other rows are marked now; `key` is the row with the cursor."""

    def __init__(self, *, id: str | None = None, classes: str | None = None, symbols: Symbols | None = None) -> None:  # noqa: A002
        super().__init__(id=id, classes=classes, symbols=symbols)
        self._columns: tuple[Column, ...] = ()
        self._rows = Rows.of(())
        self._empty: tuple[str, ...] = ()
        self._cursor = 0
        self._marks: frozenset[str] = frozenset()
        self._range_from: str | None = None
        self._sort: tuple[str, bool] | None = None
        self._layout_key: tuple[tuple[Column, ...], int] | None = None
        self._layout_columns: Layout = ()
        self._drawn: dict[str, tuple[object, Line]] = {}  # of the rows in view, by key: what it was made of, the line

    # What is shown

    def show(self, columns: Sequence[Column], rows: Sequence[Row] | Rows, *, empty: Sequence[str] = ()) -> None:
        """Show these rows in this order; `empty` are the lines in place of rows when there are none.

        The cursor stays on its row by key, or on the nearest row that is left; marks of rows that are gone vanish.
        """
        rows = rows if isinstance(rows, Rows) else Rows.of(tuple(rows))
        before, self._rows, self._columns, self._empty = self._rows.keys, rows, tuple(columns), tuple(empty)
        key = before[self._cursor] if before else None
        at_top = self.top == 0
        if before != rows.keys:
            places = {each: number for number, each in enumerate(rows.keys)}
            cursor = _nearest(before, self._cursor, places)
            self.top += cursor - self._cursor
            self._cursor = cursor
            if not self._marks <= places.keys():
                self._marks = frozenset(self._marks & places.keys())
        self._keep_in_view(0 if at_top else self.top, jump=False)
        self.paint()
        if self.cursor_key != key and self.cursor_key is not None:
            self.post_message(self.RowHighlighted(self, self.cursor_key))

    def set_sort(self, column: str, reverse: bool = False) -> None:
        """Show the sort mark at a column."""
        self._sort = (column, reverse)
        self.paint()

    @property
    def count(self) -> int:
        """Number of rows."""
        return len(self._rows)

    @property
    def page(self) -> int:
        """Rows in view, without the header."""
        return max(1, self.size.height - 1)

    @property
    def cursor(self) -> int:
        """Number of the row with the cursor."""
        return self._cursor

    @property
    def cursor_key(self) -> str | None:
        """Key of the row with the cursor, None in an empty table."""
        return self._rows.keys[self._cursor] if self._rows else None

    @property
    def keys_in_view(self) -> tuple[str, ...]:
        """Keys of the rows on screen."""
        return self._rows.keys[self.top : self.top + self.page]

    @property
    def marks(self) -> frozenset[str]:
        """Keys of the marked rows."""
        return self._marks

    @property
    def shown_columns(self) -> tuple[str, ...]:
        """Keys of the columns that the width has room for."""
        return tuple(self._columns[number].key for number, _ in self._lay_out(self.size.width))

    # Drawing

    def frame(self, width: int, height: int) -> list[Line]:
        """The header, then the rows from `top`."""
        layout = self._lay_out(width)
        gap = " " * self._gap(width)
        lines = [self._header(layout, gap, width)]
        if not self._rows:
            lines.extend(self.line(" " * GUTTER + text, "muted") for text in self._empty[: height - 1])
            return lines
        self.top = max(0, min(self.top, self.last_top))
        thumb = self._thumb(height - 1)
        before, self._drawn = self._drawn, {}
        for number in range(self.top, min(self.top + height - 1, len(self._rows))):
            end = self.symbols.thumb if number - self.top in thumb else " "
            row = self._rows[number]
            here = number == self._cursor
            made_of = (row, here, here and self.has_focus, row.key in self._marks, end, layout, self._columns, width)
            kept = before.get(row.key)
            same = kept is not None and kept[0] == made_of
            line = kept[1] if kept is not None and same else self._line_of(row, here, layout, gap, width, end)
            self._drawn[row.key] = (made_of, line)
            lines.append(line)
        return lines

    def _header(self, layout: Layout, gap: str, width: int) -> Line:
        texts = []
        for number, cells in layout:
            column = self._columns[number]
            title = column.title
            if self._sort and self._sort[0] == column.key:
                sign = self.symbols.descending if self._sort[1] else self.symbols.ascending
                title = fit(title, min(len(title), cells - 1), ellipsis=self.symbols.ellipsis) + sign
            texts.append(fit(title, cells, column.side, self.symbols.ellipsis))
        return ((fit(" " * GUTTER + gap.join(texts), width, ellipsis=" "), "header"),)

    def _line_of(self, row: Row, here: bool, layout: Layout, gap: str, width: int, end: str) -> Line:
        symbols = self.symbols
        lit = here and self.has_focus
        base = "cursor" if lit else "stale" if row.dim or row.state in ("off", "stale") else ""
        runs: list[Run] = [
            (symbols.cursor if here else " ", base),
            (symbols.state(row.state), base if base else row.state),
            (symbols.mark if row.key in self._marks else " ", base),
        ]
        used = GUTTER
        for number_of_column, cells in layout:
            cell = row.cells[number_of_column] if number_of_column < len(row.cells) else ""
            text, style = (cell, base) if isinstance(cell, str) else (cell[0], base or cell[1])
            if used > GUTTER:
                runs.append((gap, base))
                used += len(gap)
            align = self._columns[number_of_column].side
            runs.append((fit(text, cells, align, symbols.ellipsis), style if text else base))
            used += cells
        runs.append((" " * (width - used - 1) + end, base))
        return merge(runs)

    def _thumb(self, height: int) -> range:
        """Lines of the view that carry the scroll mark; none when all rows are in view."""
        if len(self._rows) <= height or height < 2:
            return range(0)
        length = max(1, height * height // len(self._rows))
        start = round(self.top * (height - length) / max(1, self.last_top))
        return range(start, start + length)

    def _lay_out(self, width: int) -> Layout:
        if self._layout_key != (self._columns, width):
            self._layout_key = (self._columns, width)
            self._layout_columns = lay_out(self._columns, width - GUTTER - 1, self._gap(width))
        return self._layout_columns

    @staticmethod
    def _gap(width: int) -> int:
        return 2 if width >= 100 else 1

    # Moving

    def move_to(self, number: int) -> None:
        """The cursor on this row, or on the nearest there is."""
        if not self._rows:
            return
        number = max(0, min(number, len(self._rows) - 1))
        if number == self._cursor:
            return
        self._cursor = number
        self._keep_in_view(self.top, jump=True)
        self.paint()
        self.post_message(self.RowHighlighted(self, self._rows.keys[number]))

    def move_to_key(self, key: str) -> bool:
        """The cursor on the row `key`; False when there is none."""
        if key not in self._rows.keys:
            return False
        self.move_to(self._rows.keys.index(key))
        return True

    def _keep_in_view(self, top: int, *, jump: bool) -> None:
        """Scroll so that the cursor is in view; a `jump` goes a quarter page on, as a scroll repaints every line."""
        ahead = self.page // 4 if jump else 0
        if self._cursor < top:
            top = self._cursor - ahead
        elif self._cursor >= top + self.page:
            top = self._cursor - self.page + 1 + ahead
        self.top = max(0, min(top, self.last_top))

    def scroll_lines(self, top: int) -> None:
        """Scroll by wheel; the cursor stays in view."""
        self.top = max(0, min(top, self.last_top))
        inside = max(self.top, min(self._cursor, self.top + self.page - 1))
        if inside == self._cursor:
            self.paint()
        else:
            self.move_to(inside)

    def action_move(self, lines: int) -> None:
        """The cursor by lines."""
        self.move_to(self._cursor + lines)

    def action_page(self, pages: int) -> None:
        """The cursor and the view by a page."""
        self.top = max(0, min(self.top + pages * self.page, self.last_top))
        self.move_to(self._cursor + pages * self.page)

    def action_edge(self, side: int) -> None:
        """The cursor to the first or the last row."""
        self.move_to(0 if side < 0 else len(self._rows) - 1)

    def action_select(self) -> None:
        """Open the row with the cursor."""
        if self.cursor_key is not None:
            self.post_message(self.RowSelected(self, self.cursor_key))

    # Marking

    def action_mark(self) -> None:
        """Mark the row with the cursor or take its mark away, and go on to the next."""
        key = self.cursor_key
        if key is not None:
            self._range_from = key
            self._set_marks(self._marks ^ {key})
            self.action_move(1)

    def action_mark_range(self) -> None:
        """Mark the rows from the one marked last to the cursor."""
        keys = self._rows.keys
        start = keys.index(self._range_from) if self._range_from in keys else self._cursor
        first, last = sorted((start, self._cursor))
        self._set_marks(self._marks.union(keys[first : last + 1]))

    def action_clear_marks(self) -> None:
        """Take every mark away."""
        self._set_marks(frozenset())

    def _set_marks(self, marks: frozenset[str]) -> None:
        if marks != self._marks:
            self._marks = marks
            self.paint()
            self.post_message(self.MarksChanged(self, self.cursor_key or ""))

    # Sorting, mouse

    def action_sort(self, step: int) -> None:
        """Ask for another column to sort by, or (0) for the other direction."""
        keys = self.shown_columns
        if not keys:
            return
        current = self._sort[0] if self._sort else ""
        place = keys.index(current) + step if current in keys else 0
        self.post_message(self.SortRequested(self, keys[place % len(keys)]))

    def on_click(self, event: events.Click) -> None:
        """A row takes the cursor, a title asks to be sorted by."""
        if event.y > 0:
            if self.top + event.y - 1 < len(self._rows):
                self.move_to(self.top + event.y - 1)
            return
        start = GUTTER
        for number, cells in self._lay_out(self.size.width):
            if start <= event.x < start + cells:
                self.post_message(self.SortRequested(self, self._columns[number].key))
                return
            start += cells + self._gap(self.size.width)


def _nearest(before: Sequence[str], cursor: int, places: Mapping[str, int]) -> int:
    """Where the cursor's row is now, else the next row below it that is left, else the next above, else 0."""
    around = (*before[cursor:], *reversed(before[:cursor]))
    return next((places[key] for key in around if key in places), 0)
