"""One line of input in the reserved line, for the filter and for commands."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from textual import events
from textual.message import Message
from textual.widget import Widget

from tui.widgets.bar import Notice
from tui.widgets.lines import Line, padded
from tui.widgets.plaintext import clip, plain, width_of
from tui.widgets.symbols import Symbols

LIMIT = 2000
"""Characters of input."""


def no_candidates(_text: str) -> Sequence[str]:
    """Completes nothing."""
    return ()


class Prompt(Notice):
    """A notice until it is opened; then it has the focus until enter or escape.

    Keys: left, right, home/ctrl+a, end/ctrl+e, backspace, delete, ctrl+w, ctrl+u, ctrl+k, up/down (history), tab
    (next candidate), enter, escape or ctrl+c.
    """

    can_focus = True

    class _Told(Message):
        def __init__(self, prompt: Prompt, value: str) -> None:
            super().__init__()
            self.prompt = prompt
            self.prefix = prompt.prefix
            self.value = value

        @property
        def control(self) -> Prompt:
            """The prompt, for `@on(…, "#id")`."""
            return self.prompt

    class Changed(_Told):
        """The input is `value` now."""

    class Submitted(_Told):
        """Enter: the prompt is closed."""

    class Cancelled(_Told):
        """Escape: the prompt is closed; `value` is what was there."""

    def __init__(self, *, id: str | None = None, classes: str | None = None, symbols: Symbols | None = None) -> None:  # noqa: A002
        super().__init__(id=id, classes=classes, symbols=symbols)
        self.prefix = ""
        self.value = ""
        self.is_open = False
        self._caret = 0
        self._history: dict[str, list[str]] = {}
        self._place = 0
        self._complete: Callable[[str], Sequence[str]] = no_candidates
        self._cycle: tuple[Sequence[str], int] | None = None
        self._back_to: Widget | None = None

    def allow_focus(self) -> bool:
        """Only an open prompt takes the focus."""
        return self.is_open

    def open(self, prefix: str, value: str = "", *, complete: Callable[[str], Sequence[str]] = no_candidates) -> None:
        """Take the focus; `complete` gives whole values for what is there. Every prefix has a history of its own."""
        self.prefix, self.value, self._complete = prefix, plain(value)[:LIMIT], complete
        self._caret = len(self.value)
        self._place = len(self._history.get(prefix, ()))
        self._cycle = None
        if not self.is_open:
            self._back_to = self.screen.focused
        self.is_open = True
        self.screen.set_focus(self)
        self.paint()

    @property
    def opened_over(self) -> Widget | None:
        """Who had the focus before, while it is still there."""
        before = self._back_to
        return before if before is not None and before.is_attached and before.is_running else None

    def close(self) -> None:
        """Give the focus back to who had it."""
        if not self.is_open:
            return
        self.is_open = False
        self.screen.set_focus(self.opened_over)
        self.paint()

    def frame(self, width: int, height: int) -> list[Line]:
        """Prefix, input with the caret as a reversed cell, and apart from it what tab would make of it: text that went
        on behind the caret would look as if it were typed, where colours tell nothing."""
        if not self.is_open:
            return super().frame(width, height)
        before, after = self.value[: self._caret], self.value[self._caret :]
        room = max(1, width - width_of(self.prefix) - 3)
        if (over := width_of(before) - room) > 0:
            before = clip(before, over, room)
        offered = ""
        if not after and self.value:
            found = next((plain(item) for item in self._complete(self.value) if item.startswith(self.value)), "")
            offered = f"  tab: {found}" if found not in ("", self.value) else ""
        under, after = (after[0], after[1:]) if after else (" ", "")
        runs = [(" " + self.prefix, "key"), (before, ""), (under, "caret"), (after, ""), (offered, "muted")]
        return [padded(runs, width)]

    def on_key(self, event: events.Key) -> None:
        """Every key is the prompt's while it is open."""
        if not self.is_open:
            return
        event.stop()
        event.prevent_default()
        key = event.key
        if key == "enter":
            self._submit()
        elif key in ("escape", "ctrl+c"):
            self.close()
            self.post_message(self.Cancelled(self, self.value))
        elif key in ("up", "down"):
            self._recall(-1 if key == "up" else 1)
        elif key in ("tab", "shift+tab"):
            self._next_candidate(1 if key == "tab" else -1)
        elif event.is_printable and event.character:
            self._insert(event.character)
        else:
            self._edit(key)

    def on_paste(self, event: events.Paste) -> None:
        """Pasted text is one line."""
        if self.is_open:
            event.stop()
            self._insert(event.text[:LIMIT])

    def _submit(self) -> None:
        value = self.value
        kept = [item for item in self._history.get(self.prefix, []) if item != value]
        self._history[self.prefix] = [*kept, value][-100:] if value else kept
        self.close()
        self.post_message(self.Submitted(self, value))

    def _insert(self, text: str) -> None:
        text = plain(text)
        self._set(self.value[: self._caret] + text + self.value[self._caret :], self._caret + len(text))

    def _edit(self, key: str) -> None:
        value, caret = self.value, self._caret
        if key == "left":
            self._set(value, max(0, caret - 1))
        elif key == "right":
            self._set(value, min(len(value), caret + 1))
        elif key in ("home", "ctrl+a"):
            self._set(value, 0)
        elif key in ("end", "ctrl+e"):
            self._set(value, len(value))
        elif key in ("backspace", "ctrl+h"):
            if not value:
                self.close()
                self.post_message(self.Cancelled(self, ""))
            elif caret:
                self._set(value[: caret - 1] + value[caret:], caret - 1)
        elif key in ("delete", "ctrl+d"):
            self._set(value[:caret] + value[caret + 1 :], caret)
        elif key == "ctrl+u":
            self._set(value[caret:], 0)
        elif key == "ctrl+k":
            self._set(value[:caret], caret)
        elif key == "ctrl+w":
            start = value[:caret].rstrip().rfind(" ") + 1
            self._set(value[:start] + value[caret:], start)

    def _set(self, value: str, caret: int) -> None:
        changed = value[:LIMIT] != self.value
        self.value, self._caret = value[:LIMIT], min(caret, LIMIT)
        self._cycle = None
        self.paint()
        if changed:
            self.post_message(self.Changed(self, self.value))

    def _recall(self, step: int) -> None:
        history = self._history.get(self.prefix, [])
        self._place = max(0, min(len(history), self._place + step))
        value = history[self._place] if self._place < len(history) else ""
        self._set(value, len(value))

    def _next_candidate(self, step: int) -> None:
        candidates, place = self._cycle or ([plain(item) for item in self._complete(self.value)], -1 if step > 0 else 0)
        if candidates:
            place = (place + step) % len(candidates)
            self._set(candidates[place], len(candidates[place]))
            self._cycle = (candidates, place)
