"""A log: a bounded store of lines, a window on it that follows the end, a filter over the whole store."""

from __future__ import annotations

import re
import time
from bisect import bisect_left
from collections.abc import Sequence
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message

from tui.widgets.lines import Line, Scroller, highlight, padded
from tui.widgets.plaintext import clip, plain, width_of, wrap
from tui.widgets.symbols import Symbols

LogLine = tuple[str, str]
"""Foreign text and the style of its level ("failed", "warn", "muted", "")."""

LINE_LIMIT = 16_384
"""Characters kept of one line."""
STORE_LIMIT = 64 * 1024 * 1024
"""Characters kept of all lines."""
SEARCH_LIMIT = 4096
"""Characters of a line that a pattern is tried on."""
SLICE_S = 0.004
"""Time a scan of the store takes before the event loop has its turn."""


def _counted(lines: int) -> str:
    return "1 line" if lines == 1 else f"{lines:,} lines"


class LogLines(Scroller, can_focus=True):
    """Lines are numbered from the first that ever came, so that a place stays a place when old lines are dropped.

    With a filter only the lines it finds are shown, or, with `only=False`, all with the found ones to jump to.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f", "follow", "Follow", show=False, id="log.follow"),
        Binding("w", "wrap", "Wrap", show=False, id="log.wrap"),
        Binding("left,h", "shift(-20)", "Left", show=False, id="log.left"),
        Binding("right,l", "shift(20)", "Right", show=False, id="log.right"),
        Binding("n", "find(1)", "Next match", show=False, id="log.next"),
        Binding("N", "find(-1)", "Match before", show=False, id="log.previous"),
    ]

    class FollowChanged(Message):
        """The view follows the end, or no longer."""

        def __init__(self, log: LogLines, following: bool) -> None:
            super().__init__()
            self.log = log
            self.following = following

        @property
        def control(self) -> LogLines:
            """The log, for `@on(…, "#id")`."""
            return self.log

    def __init__(
        self,
        *,
        limit: int = 50_000,
        id: str | None = None,  # noqa: A002
        classes: str | None = None,
        symbols: Symbols | None = None,
    ) -> None:
        super().__init__(id=id, classes=classes, symbols=symbols)
        self._limit = limit
        self._store: list[LogLine] = []
        self._characters = 0
        self.dropped = 0
        self.older = False  # lines before these were not read
        self.ended = False  # no more lines will come
        self.following = True
        self.wrapped = False
        self._left = 0
        self._first = (0, 0)  # number of the line at the top, and its piece
        self._pattern: re.Pattern[str] | None = None
        self._only = True
        self._hits: list[int] = []
        self._scanned = 0  # number of the first line the pattern was not tried on
        self._paint_due = False
        self._scan_due = False

    # The store

    def append(self, lines: Sequence[LogLine]) -> None:
        """Add lines at the end; of more than the limit at once only the last ones are looked at."""
        if not lines:
            return
        if len(lines) > self._limit:
            self._forget(len(self._store))
            self.dropped += len(lines) - self._limit
            self._scanned = max(self._scanned, self.dropped)
            lines = lines[-self._limit :]
        for text, style in lines:
            if len(text) > LINE_LIMIT:
                text = f"{text[:LINE_LIMIT]}{self.symbols.ellipsis} ({len(text):,} characters)"
            self._store.append((text, style))
            self._characters += len(text)
        # A tenth more than the limit may stay, so that dropping costs one move of the list in many appends.
        if len(self._store) > self._limit + self._limit // 10:
            self._forget(len(self._store) - self._limit)
        while self._characters > STORE_LIMIT and len(self._store) > 1:
            self._forget(max(1, len(self._store) // 10))
        if self._pattern is not None:
            self._scan_later()
        self._paint_later()

    def clear(self) -> None:
        """Forget every line."""
        self._forget(len(self._store))
        self.dropped = self._scanned = 0
        self._first = (0, 0)
        self._hits = []
        self._paint_later()

    def text(self, *, only: bool = False) -> str:
        """The lines kept, or those the filter finds, as they came but without control characters."""
        numbers = self._hits if only and self._pattern else range(self.dropped, self.end)
        return "".join([plain(self._store[number - self.dropped][0]) + "\n" for number in numbers])

    @property
    def end(self) -> int:
        """Number the next line will have."""
        return self.dropped + len(self._store)

    @property
    def matches(self) -> int:
        """Lines the filter has found so far."""
        return len(self._hits)

    @property
    def scanning(self) -> bool:
        """Whether the filter has not been through the whole store yet."""
        return self._pattern is not None and self._scanned < self.end

    def _forget(self, count: int) -> None:
        self._characters -= sum([len(text) for text, _ in self._store[:count]])
        del self._store[:count]
        self.dropped += count
        self._scanned = max(self._scanned, self.dropped)
        del self._hits[: bisect_left(self._hits, self.dropped)]

    # The filter

    def set_filter(self, pattern: str | re.Pattern[str] | None, *, only: bool = True) -> None:
        """Text (in any case) or regular expression to find; None or "" shows all; `only=False` hides no line.

        The store is searched in slices between which the event loop runs. An expression that backtracks without end
        is not stopped: give only what a person typed.
        """
        if isinstance(pattern, str):
            pattern = re.compile(re.escape(plain(pattern)), re.IGNORECASE) if pattern else None
        if pattern == self._pattern and only == self._only:
            return
        self._pattern, self._only = pattern, only
        self._hits, self._scanned = [], self.dropped
        if pattern is not None:
            self._scan()
        self._paint_later()

    def _scan_later(self) -> None:
        if not self.is_running:
            self._scan()
        elif not self._scan_due:
            self._scan_due = True
            self.call_later(self._scan)

    def _scan(self) -> None:
        """Try the pattern on lines not tried yet, for a slice of time."""
        self._scan_due = False
        pattern = self._pattern
        if pattern is None:
            return
        until = time.perf_counter() + SLICE_S
        while self._scanned < self.end:
            start = self._scanned - self.dropped
            for number, (text, _) in enumerate(self._store[start : start + 200], self._scanned):
                if pattern.search(plain(text[:SEARCH_LIMIT])):
                    self._hits.append(number)
            self._scanned = min(self.end, self._scanned + 200)
            if time.perf_counter() > until and self.is_running:
                self._scan_later()
                break
        self._paint_later()

    def action_find(self, step: int) -> None:
        """To the next line that matches, or (-1) the one before."""
        if not self._hits:
            return
        here = self._first[0] if not self.following else self.end
        place = bisect_left(self._hits, here + (1 if step > 0 else 0)) - (0 if step > 0 else 1)
        self._go((self._hits[max(0, min(place, len(self._hits) - 1))], 0))

    # The view: shown lines are counted by place, in the store or among the hits

    @property
    def _filtered(self) -> bool:
        return self._pattern is not None and self._only

    @property
    def count(self) -> int:
        """Number of lines that can be shown."""
        return len(self._hits) if self._filtered else len(self._store)

    @property
    def page(self) -> int:
        """Lines in view, without the status line."""
        return max(1, self.size.height - 1)

    def _number(self, place: int) -> int:
        return self._hits[place] if self._filtered else place + self.dropped

    def _place(self, number: int) -> int:
        place = bisect_left(self._hits, number) if self._filtered else number - self.dropped
        return max(0, min(place, self.count - 1))

    def _pieces(self, place: int, width: int) -> list[str]:
        text = plain(self._store[self._number(place) - self.dropped][0])
        return wrap(text, width) if self.wrapped else [clip(text, self._left, width)]

    def _end_position(self, width: int, height: int) -> tuple[int, int]:
        """(place, piece) of the topmost line when the last one is at the bottom."""
        left = height
        for place in range(self.count - 1, -1, -1):
            pieces = len(self._pieces(place, width)) if self.wrapped else 1
            if pieces >= left:
                return place, pieces - left
            left -= pieces
        return 0, 0

    def _position(self, width: int, height: int) -> tuple[int, int]:
        end = self._end_position(width, height)
        if self.following or not self.count:
            return end
        place = self._place(self._first[0])
        return min(end, (place, self._first[1] if self._number(place) == self._first[0] else 0))

    def frame(self, width: int, height: int) -> list[Line]:
        """The lines in view, blank lines, the status line."""
        rows = max(1, height - 1)
        lines: list[Line] = []
        place, piece = self._position(width, rows)
        while place < self.count and len(lines) < rows:
            style = self._store[self._number(place) - self.dropped][1]
            for text in self._pieces(place, width)[piece:]:
                lines.append(padded(highlight(text, style, self._pattern), width, style))
            place, piece = place + 1, 0
        lines = lines[:rows]
        lines += [self.line("")] * (rows - len(lines))
        if height > 1:
            lines.append(self.line(" " + self.status, "muted"))
        return lines

    @property
    def status(self) -> str:
        """In words: lines, dropped lines, what the filter found, whether the end is followed."""
        at_end = "ended" if self.ended else "following"
        parts = [at_end if self.following else "held (end follows)", _counted(len(self._store))]
        if self.dropped:
            parts.append(f"{self.dropped:,} older ones dropped")
        elif self.older:
            parts.append("older ones not read, / searches them")
        if self._pattern is not None:
            parts.append(f"{len(self._hits):,} match" + (", searching" if self.scanning else ""))
        if self._left and not self.wrapped:
            parts.append(f"from column {self._left + 1}")
        return f" {self.symbols.dot} ".join(parts)

    def _paint_later(self) -> None:
        """Paint once for all that comes before the widget's next turn."""
        if self.is_running and not self._paint_due:
            self._paint_due = True
            self.call_later(self._paint_now)

    def _paint_now(self) -> None:
        self._paint_due = False
        self.paint()

    # Moving

    def _go(self, first: tuple[int, int], *, follow: bool = False) -> None:
        was = self.following
        self._first, self.following = first, follow
        if was != follow:
            self.post_message(self.FollowChanged(self, follow))
        self.paint()

    def action_move(self, lines: int) -> None:
        """Up or down by lines; going up stops following, reaching the end resumes it."""
        if not self.count:
            return
        width, rows = self.size.width, self.page
        place, piece = self._position(width, rows)
        piece += lines
        while piece < 0 and place > 0:
            place -= 1
            piece += len(self._pieces(place, width)) if self.wrapped else 1
        while piece > 0 and place < self.count - 1:
            pieces = len(self._pieces(place, width)) if self.wrapped else 1
            if piece < pieces:
                break
            place, piece = place + 1, piece - pieces
        end = self._end_position(width, rows)
        position = (place, max(0, piece))
        self._go((self._number(place), max(0, piece)), follow=lines > 0 and position >= end)

    def action_page(self, pages: int) -> None:
        """A page less a line."""
        self.action_move(pages * max(1, self.page - 1))

    def action_edge(self, side: int) -> None:
        """To the first line, or to the end, which is followed from then on."""
        self._go((self.dropped, 0), follow=side > 0)

    def action_follow(self) -> None:
        """Follow the end, or hold the view where it is."""
        if self.following and self.count:
            place, piece = self._position(self.size.width, self.page)
            self._go((self._number(place), piece))
        else:
            self.action_edge(1)

    def action_wrap(self) -> None:
        """Long lines in several lines, or cut."""
        self.wrapped = not self.wrapped
        self._left = 0
        self.paint()

    def action_shift(self, cells: int) -> None:
        """The view to the right or the left, as far as a line in view reaches."""
        if self.wrapped:
            return
        place, _ = self._position(self.size.width, self.page)
        shown = range(place, min(place + self.page, self.count))
        longest = max((width_of(plain(self._store[self._number(p) - self.dropped][0])) for p in shown), default=0)
        self._left = max(0, min(self._left + cells, longest - self.size.width // 2))
        self.paint()

    def _on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        event.stop()
        event.prevent_default()
        self.action_move(3)

    def _on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        event.stop()
        event.prevent_default()
        self.action_move(-3)
