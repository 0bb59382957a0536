"""The table: cursor, scroll and marks stay with their rows; narrow terminals lose columns, not lines."""

import asyncio
from collections.abc import Sequence

from textual.app import App, ComposeResult
from textual.message import Message

from tui.widgets.columns import Column, lay_out
from tui.widgets.symbols import ASCII
from tui.widgets.table import Row, Table

COLUMNS = (
    Column("name", "NAME"),
    Column("state", "STATE", 9),
    Column("rate", "REQ/S", 7, numeric=True, drop=2),
    Column("note", "NOTE", minimum=20, drop=1),
)


def rows(*numbers: int) -> list[Row]:
    return [Row(f"k{n}", (f"name-{n}", ("ready", "ok"), str(n), "why"), "ok") for n in numbers]


class Bench(App[None]):
    def __init__(self, table: Table) -> None:
        super().__init__()
        self.table = table
        self.told: list[Message] = []

    def compose(self) -> ComposeResult:
        yield self.table

    def on_table_row_selected(self, message: Table.RowSelected) -> None:
        self.told.append(message)

    def on_table_row_highlighted(self, message: Table.RowHighlighted) -> None:
        self.told.append(message)

    def on_table_sort_requested(self, message: Table.SortRequested) -> None:
        self.told.append(message)


def shown(table: Table) -> list[str]:
    size = table.size
    return ["".join(text for text, _ in line) for line in table.frame(size.width, size.height)]


async def test_cursor_stays_on_its_row_and_goes_to_the_neighbour_of_a_row_that_is_gone() -> None:
    app = Bench(Table())
    async with app.run_test(size=(80, 24)) as pilot:
        table = app.table
        table.show(COLUMNS, rows(*range(50)))
        await pilot.press("j", "down", "j", "k", "enter")
        assert table.cursor_key == "k2"
        assert isinstance(app.told[-1], Table.RowSelected)
        table.show(COLUMNS, rows(*range(49, -1, -1)))
        assert table.cursor_key == "k2"
        assert any("name-2 " in line for line in shown(table)), "the cursor's row is in view"
        table.show(COLUMNS, [row for row in rows(*range(49, -1, -1)) if row.key != "k2"])
        assert table.cursor_key == "k1", "the row below takes the cursor"
        table.show(COLUMNS, rows(*range(10, 40)))
        assert table.cursor_key == "k10"
        await pilot.pause()
        assert isinstance(app.told[-1], Table.RowHighlighted)
        assert app.told[-1].key == "k10"
        table.show(COLUMNS, [])
        assert table.cursor_key is None
        await pilot.press("down", "enter", "space", "end", "pagedown")
        table.show(COLUMNS, rows(1))
        assert table.cursor_key == "k1"


async def test_a_row_that_appears_above_the_first_one_is_seen() -> None:
    app = Bench(Table())
    async with app.run_test(size=(80, 24)):
        app.table.show(COLUMNS, rows(*range(1, 50)))
        app.table.show(COLUMNS, rows(*range(50)))
        assert app.table.cursor_key == "k1"
        assert "name-0" in shown(app.table)[1]


async def test_keys_move_through_a_thousand_rows() -> None:
    app = Bench(Table())
    async with app.run_test(size=(80, 24)) as pilot:
        table = app.table
        table.show(COLUMNS, rows(*range(1000)))
        seen = []
        for key in ("G", "g", "pagedown", "end", "pageup", "home", "up"):
            await pilot.press(key)
            seen.append(table.cursor_key)
            assert any(f"name-{table.cursor} " in line for line in shown(table))
        assert seen == ["k999", "k0", "k23", "k999", "k976", "k0", "k0"]


async def test_marks_follow_keys_and_vanish_with_their_rows() -> None:
    app = Bench(Table(symbols=ASCII))
    async with app.run_test(size=(80, 24)) as pilot:
        table = app.table
        table.show(COLUMNS, rows(*range(10)))
        await pilot.press("space", "j", "j", "ctrl+@")
        assert table.marks == {"k0", "k1", "k2", "k3"}
        table.show(COLUMNS, rows(5, 4, 3, 2))
        assert table.marks == {"k2", "k3"}
        assert [line[:4] for line in shown(table)[3:5]] == [">o*n", " o*n"]
        await pilot.press("ctrl+backslash")
        assert not table.marks


async def test_sorting_is_asked_for_and_shown() -> None:
    app = Bench(Table())
    async with app.run_test(size=(80, 24)) as pilot:
        app.table.show(COLUMNS, rows(1, 2))
        await pilot.press(">")
        assert isinstance(app.told[-1], Table.SortRequested)
        assert app.told[-1].key == "name"
        app.table.set_sort("rate", True)
        assert "REQ/S↓" in shown(app.table)[0]
        await pilot.click(app.table, offset=(5, 2))
        assert app.table.cursor_key == "k2"
        await pilot.press("I")
        assert app.told[-1].key == "rate"


async def test_the_keys_can_be_mapped_to_others() -> None:
    app = Bench(Table())
    async with app.run_test(size=(80, 24)) as pilot:
        app.set_keymap({"move.down": "ctrl+n"})
        app.table.show(COLUMNS, rows(*range(5)))
        await pilot.press("ctrl+n", "j")
        assert app.table.cursor_key == "k1"


async def test_every_line_is_as_wide_as_the_widget_at_any_size() -> None:
    app = Bench(Table())
    hostile = Row("x", ("漢字" * 50, "\x1b[2J", "\u202e", "👨‍👩‍👧" * 30), "failed")
    async with app.run_test(size=(120, 10)) as pilot:
        app.table.show(COLUMNS, [hostile, *rows(*range(20))])
        for size in ((120, 40), (80, 24), (41, 9), (20, 5), (5, 3), (2, 1)):
            await pilot.resize_terminal(*size)
            await pilot.pause()
            width = app.table.size.width
            for y in range(app.table.size.height):
                assert app.table.render_line(y).cell_length == width
            assert len(shown(app.table)) <= size[1]


def widths(width: int) -> Sequence[int]:
    return [number for number, _ in lay_out(COLUMNS, width, 1)]


def test_columns_are_dropped_in_their_order() -> None:
    assert widths(80) == [0, 1, 2, 3]
    assert widths(46) == [0, 1, 2]
    assert widths(20) == [0, 1]
    assert sum(cells for _, cells in lay_out(COLUMNS, 80, 1)) + 3 == 80


async def test_a_focus_that_comes_and_goes_changes_the_cursor_line_only() -> None:
    app = Bench(Table())
    async with app.run_test(size=(80, 24)) as pilot:
        app.table.show(COLUMNS, rows(*range(5)))
        await pilot.pause()
        focused = app.table.frame(80, 24)
        app.set_focus(None)
        await asyncio.sleep(0)
        await pilot.pause()
        blurred = app.table.frame(80, 24)
        assert [n for n in range(6) if focused[n] != blurred[n]] == [1]
        assert "".join(t for t, _ in blurred[1]).startswith("▌●")


def test_a_column_grows_where_nothing_is_left_out() -> None:
    columns = (
        Column("name", "NAME", None, minimum=10),
        Column("state", "STATE", 11, widest=24),
        Column("a", "A", 5, drop=1),
    )
    for width, cells in ((27, [15, 11]), (28, [10, 11, 5]), (48, [25, 16, 5]), (100, [69, 24, 5])):
        found = lay_out(columns, width, 1)
        assert [each for _, each in found] == cells, width
        assert sum(cells) + len(cells) - 1 == width
