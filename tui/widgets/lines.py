"""The ground of every widget here: a frame of styled lines of which only those that differ are repainted."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar, Self

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.reactive import reactive
from textual.screen import Screen
from textual.strip import Strip
from textual.widget import Widget

from tui.widgets.plaintext import clip, fit, width_of
from tui.widgets.symbols import Symbols, choose_symbols
from tui.widgets.theme import styles_for

Run = tuple[str, str]
"""Plain text and the name of its style."""
Line = tuple[Run, ...]
"""Runs that together take exactly the widget's width; neighbours of one style are one run."""

MOVEMENT: list[BindingType] = [
    Binding("up,k", "move(-1)", "Up", show=False, id="move.up"),
    Binding("down,j", "move(1)", "Down", show=False, id="move.down"),
    Binding("pageup,ctrl+b", "page(-1)", "Page up", show=False, id="move.page_up"),
    Binding("pagedown,ctrl+f", "page(1)", "Page down", show=False, id="move.page_down"),
    Binding("home,g", "edge(-1)", "First", show=False, id="move.first"),
    Binding("end,G", "edge(1)", "Last", show=False, id="move.last"),
]


def merge(runs: Sequence[Run]) -> Line:
    """One run for neighbours of one style: each run costs its colours in bytes."""
    merged: list[Run] = []
    for text, style in runs:
        if not text:
            continue
        if merged and merged[-1][1] == style:
            merged[-1] = (merged[-1][0] + text, style)
        else:
            merged.append((text, style))
    return tuple(merged)


def highlight(text: str, style: str, pattern: re.Pattern[str] | None) -> list[Run]:
    """Runs of a plain text with what the pattern finds in style "match"."""
    if pattern is None:
        return [(text, style)]
    runs: list[Run] = []
    end = 0
    for found in pattern.finditer(text):
        if found.end() > found.start():
            runs += [(text[end : found.start()], style), (found.group(), "match")]
            end = found.end()
    return [*runs, (text[end:], style)]


def padded(runs: Sequence[Run], width: int, style: str = "") -> Line:
    """The runs and blanks up to `width`; runs that are wider are cut."""
    line: list[Run] = []
    left = width
    for text, name in runs:
        cells = width_of(text)
        if cells > left:
            text, cells = clip(text, 0, left), left
        line.append((text, name))
        left -= cells
    return merge([*line, (" " * left, style)])


class Lines(Widget):
    """Draws `frame()` and repaints what differs from the frame before; equal frames write no byte.

    Textual's compositor does not compare frames: it paints what was declared dirty. Its ScrollView lays the
    screen out again whenever the number of lines changes, so widgets here keep their own offset instead.
    """

    ALLOW_SELECT = False
    DEFAULT_CSS = """
    Lines { width: 1fr; height: 1fr; overflow: hidden hidden; }
    """

    def __init__(self, *, id: str | None = None, classes: str | None = None, symbols: Symbols | None = None) -> None:  # noqa: A002
        super().__init__(id=id, classes=classes)
        self.symbols = choose_symbols() if symbols is None else symbols
        self._frame: list[Line] = []
        self._frame_size = Size(-1, -1)
        self._styles_by_name: dict[str, Style] | None = None

    def frame(self, width: int, height: int) -> list[Line]:
        """What the widget shows now, at most `height` lines of `width` cells."""
        raise NotImplementedError

    def paint(self) -> None:
        """Take the new frame and repaint the lines that differ from what is on screen."""
        size = self.size
        if not self.is_mounted or not size:
            self._frame_size = Size(-1, -1)  # the next drawing takes the frame itself
            return
        if self._frame_size != size:
            # Textual keeps the lines of a hidden widget: one that comes back in the size it had is not drawn by itself.
            self.refresh()
            return
        before, now = self._frame, self.frame(size.width, size.height)
        self._frame = now
        if before == now:
            return
        blank: Line = ()
        for y in range(max(len(before), len(now))):
            if (before[y] if y < len(before) else blank) != (now[y] if y < len(now) else blank):
                self.refresh(Region(0, y, size.width, 1))

    def line(self, text: str, style: str = "") -> Line:
        """A whole line of one style from foreign text."""
        return ((fit(text, self.size.width, ellipsis=self.symbols.ellipsis), style),)

    def style_named(self, name: str) -> Style:
        """The look of a style name in the current theme; an unknown name is the base style.

        "#rrggbb on #rrggbb" is itself: the pixels of a picture, drawn only where the terminal has such colours.
        """
        if self._styles_by_name is None:
            app = self.app
            native = app.native_ansi_color or app.no_color
            self._styles_by_name = styles_for(self.rich_style, app.theme_variables, native=native)
        style = self._styles_by_name.get(name)
        if style is None and name.startswith("#"):
            style = self._styles_by_name[""] + Style.parse(name)  # which keeps what it has parsed
        return style or self._styles_by_name[""]

    def notify_style_update(self) -> None:
        """Forget the styles of the theme before."""
        self._styles_by_name = None
        super().notify_style_update()

    def render_line(self, y: int) -> Strip:
        """The line at `y` of the frame on screen."""
        size = self.size
        if self._frame_size != size:
            self._frame_size = size
            self._frame = self.frame(size.width, size.height)
        if y >= len(self._frame):
            return Strip.blank(size.width, self.style_named(""))
        named, ours = self.style_named, self.symbols.ours
        return Strip([Segment(ours(text), named(style)) for text, style in self._frame[y]]).adjust_cell_length(
            size.width, named("")
        )

    # Textual repaints a whole widget when it is asked to take the focus (Widget.focus) and when the focus comes or
    # goes (Widget._on_focus); a frame says what differs.
    def focus(self, scroll_visible: bool = True) -> Self:
        """Take the focus, at once where the widget is on screen."""
        if self.is_mounted:
            self._take_focus(scroll_visible)
        else:
            self.app.call_later(self._take_focus, scroll_visible)
        return self

    def _take_focus(self, scroll_visible: bool) -> None:
        if self.is_attached:
            self.screen.set_focus(self, scroll_visible=scroll_visible)

    def _on_focus(self, event: events.Focus) -> None:
        event.prevent_default()
        self.has_focus = True
        if self.parent is not None:
            self.parent.post_message(events.DescendantFocus(self))
        self.paint()

    def _on_blur(self, event: events.Blur) -> None:
        event.prevent_default()
        self.has_focus = False
        if self.parent is not None:
            self.parent.post_message(events.DescendantBlur(self))
        self.paint()


class QuietScreen(Screen[None]):
    """A screen that does not repaint itself when the focus moves.

    `Screen.focused` of Textual 8.2.8 repaints: measured 10 kB for each move at 120x40.
    """

    # A layer of its own lets a panel lie over the screen: nothing under it is laid out again.
    DEFAULT_CSS = "QuietScreen { layers: default panel; }"

    focused: reactive[Widget | None] = reactive(None, repaint=False)


class Scroller(Lines, can_focus=True):
    """Lines that move under a window: keys and wheel change `top`, the number of the first line in view."""

    BINDINGS: ClassVar[list[BindingType]] = MOVEMENT

    def __init__(self, *, id: str | None = None, classes: str | None = None, symbols: Symbols | None = None) -> None:  # noqa: A002
        super().__init__(id=id, classes=classes, symbols=symbols)
        self.top = 0

    @property
    def count(self) -> int:
        """Number of lines there are."""
        raise NotImplementedError

    @property
    def page(self) -> int:
        """Number of lines in view."""
        return max(1, self.size.height)

    @property
    def last_top(self) -> int:
        """The greatest `top` that leaves no empty line below."""
        return max(0, self.count - self.page)

    def scroll_lines(self, top: int) -> None:
        """Bring line `top` to the top, as far as there are lines."""
        self.top = max(0, min(top, self.last_top))
        self.paint()

    def action_move(self, lines: int) -> None:
        """One line up or down."""
        self.scroll_lines(self.top + lines)

    def action_page(self, pages: int) -> None:
        """One page less a line."""
        self.scroll_lines(self.top + pages * max(1, self.page - 1))

    def action_edge(self, side: int) -> None:
        """To the first or the last line."""
        self.scroll_lines(0 if side < 0 else self.last_top)

    def _on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        event.stop()
        event.prevent_default()
        self.scroll_lines(self.top + 3)

    def _on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        event.stop()
        event.prevent_default()
        self.scroll_lines(self.top - 3)
