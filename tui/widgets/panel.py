"""The docked panel that shows a plan and asks: its lines, a name to type where one is wanted, two buttons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message
from textual.widget import Widget

from tritonctl.server.address import Secret
from tui.widgets.lines import Line, Run, Scroller, padded
from tui.widgets.plaintext import fit, plain, width_of, wrap
from tui.widgets.symbols import Symbols


@dataclass(frozen=True)
class PanelLine:
    """One line of the text: a short label (`1`, `now`, `undo`) or the sign of a state before it.

    With `choice`, the id of something that can be chosen or left, a box stands before it. `secret` follows the text on
    the screen, and nowhere else: a line that is printed in an error does not tell it.
    """

    text: str
    label: str = ""
    state: str = ""
    style: str = ""
    choice: str = ""
    chosen: bool = False
    secret: Secret | None = None


_SHARE = 0.6  # of the screen, at most


def _warnings_first(lines: Sequence[PanelLine]) -> tuple[PanelLine, ...]:
    """Before the steps: what is below the fold is confirmed unread, and that must not be what cannot be undone."""
    warnings = [line for line in lines if line.state == "warn"]
    others = [line for line in lines if line.state != "warn"]
    first = next((place for place, line in enumerate(others) if line.label != "now"), 0)
    return (*others[:first], *warnings, *others[first:])


class Panel(Scroller, can_focus=True):
    """Docked at the bottom, as high as its text, at most 60 % of the screen; the rest of the screen stays as it is.

    Cancel has the focus. Only enter on a button does anything; no letter confirms. The focus goes round over the
    buttons and the choices, and space on a choice asks for the plan with or without it.
    """

    DEFAULT_CSS = """
    Panel { layer: panel; dock: bottom; height: auto; max-height: 60%; display: none; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "press", "Press", show=False, id="panel.press"),
        Binding("escape", "cancel", "Cancel", show=False, id="panel.cancel"),
        Binding("tab,right", "choose(1)", "Next button", show=False, id="panel.next"),
        Binding("shift+tab,left", "choose(-1)", "Button before", show=False, id="panel.previous"),
        Binding("space", "take", "Choose or leave", show=False, id="panel.toggle"),
    ]

    class _Told(Message):
        def __init__(self, panel: Panel) -> None:
            super().__init__()
            self.panel = panel

        @property
        def control(self) -> Panel:
            """The panel, for `@on(…, "#id")`."""
            return self.panel

    class Confirmed(_Told):
        """The plan is to be done."""

    class Cancelled(_Told):
        """Escape or the first button; the panel stays open until it is closed."""

    class Toggled(_Told):
        """The plan is wanted with these of its choices; until it is shown anew nothing can be confirmed."""

        def __init__(self, panel: Panel, chosen: tuple[str, ...]) -> None:
            super().__init__(panel)
            self.chosen = chosen

    def __init__(self, *, id: str | None = None, classes: str | None = None, symbols: Symbols | None = None) -> None:  # noqa: A002
        super().__init__(id=id, classes=classes, symbols=symbols)
        self.is_open = False
        self.typed = ""
        self._title = ""
        self._lines: tuple[PanelLine, ...] = ()
        self._buttons: tuple[str, ...] = ()
        self._chosen = 0  # of the buttons first, then of the choices
        self._awaited = False  # the plan is being made anew
        self._expected = ""
        self._complaint = ""
        self._back_to: Widget | None = None

    def open(
        self,
        title: str,
        lines: Sequence[PanelLine],
        *,
        cancel: str = "Cancel",
        confirm: str | None = "Do it",
        expected: str = "",
    ) -> None:
        """Ask; `expected` is the name that must be typed first. Without `confirm` there is only the first button."""
        if not self.is_open:
            self._back_to = self.screen.focused
        self.is_open = True
        self.typed, self._expected, self._complaint = "", plain(expected), ""
        self._chosen, self.top, self._lines = 0, 0, ()
        self.display = True
        self.show(title, lines, cancel=cancel, confirm=confirm)
        self.screen.set_focus(self)

    def show(
        self,
        title: str,
        lines: Sequence[PanelLine],
        *,
        cancel: str = "Cancel",
        confirm: str | None = "Do it",
        expected: str | None = None,
    ) -> None:
        """Other text or buttons in the open panel, as when the plan is being carried out or was made anew."""
        high = self._height(self.size.width)
        buttons = (cancel,) if confirm is None else (cancel, confirm)
        on = self._choice.choice if self._choice is not None else ""
        self._title, self._lines, self._buttons, self._awaited = title, tuple(lines), buttons, False
        if confirm is not None and not self._fits():
            self._lines = _warnings_first(self._lines)
        ids = [each.choice for each in self._choices]
        self._chosen = len(buttons) + ids.index(on) if on in ids else min(self._chosen, len(buttons) - 1)
        if expected is not None:
            if plain(expected) != self._expected:  # it would confirm what it was not typed for
                self.typed, self._complaint = "", ""
            self._expected = plain(expected)
        if confirm is None:
            self._expected = ""
        if self._height(self.size.width) != high:
            self.refresh(layout=True)
        self.paint()

    def close(self) -> None:
        """Hide the panel, forget what stood in it, and give the focus back to who had it."""
        if self.is_open:
            self.is_open = False
            self._lines, self._title = (), ""
            self._frame, self._frame_size = [], Size(-1, -1)
            self.refresh()  # Textual keeps the lines that it drew of a hidden widget
            back = self._back_to if self._back_to is not None and self._back_to.is_attached else None
            self.screen.set_focus(back)
            self.display = False

    @property
    def named(self) -> bool:
        """Whether a name is asked for and stands there whole: who leaves now may believe that it was confirmed."""
        return bool(self._expected) and self.typed == self._expected

    @property
    def _choices(self) -> list[PanelLine]:
        return [line for line in self._lines if line.choice]

    @property
    def _choice(self) -> PanelLine | None:
        """The one that has the focus."""
        place = self._chosen - len(self._buttons)
        return self._choices[place] if 0 <= place < len(self._choices) else None

    # Drawing

    @property
    def _tail(self) -> int:
        """Lines under the text: the name to type, the buttons."""
        return 2 if self._expected else 1

    def _height(self, width: int) -> int:
        return 1 + len(self._wrapped(width)) + self._tail

    def _fits(self) -> bool:
        """Whether all of it is in view at the size of the screen now; the style sheet has the same share."""
        screen = self.screen.size
        return self._height(screen.width) <= screen.height * _SHARE

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """Lines of the whole panel; the style sheet sets the greatest height."""
        return self._height(width)

    @property
    def count(self) -> int:
        """Lines of text at the present width."""
        return len(self._wrapped(self.size.width))

    @property
    def page(self) -> int:
        """Lines of text in view."""
        return max(1, self.size.height - 1 - self._tail)

    def _wrapped(self, width: int, of: Sequence[PanelLine] | None = None) -> list[tuple[Run, ...]]:
        labels = max((width_of(plain(self._label(line))) for line in self._lines), default=0)
        labels = max(1, min(labels, 10))
        indent = labels + 4
        lines: list[tuple[Run, ...]] = []
        for line in self._lines if of is None else of:
            label = self._label(line)
            lit = line is self._choice
            before = (self.symbols.cursor if lit else " ") + fit(label, labels, ellipsis=self.symbols.ellipsis) + "  "
            sign = "" if not line.label or not line.state else self.symbols.state(line.state) + " "
            style = line.style or line.state
            whole = line.text + (line.secret.reveal() if line.secret is not None else "")
            for number, text in enumerate(wrap(sign + plain(whole), width - indent)):
                first = "button-focus" if lit and self.has_focus else style or "muted"
                head: Run = (before, first) if number == 0 else (" " * (indent - 1), "")
                lines.append((head, (text, style)))
        return lines

    def _label(self, line: PanelLine) -> str:
        if line.choice:
            return "[x]" if line.chosen else "[ ]"
        return line.label or (self.symbols.state(line.state) if line.state else "")

    def frame(self, width: int, height: int) -> list[Line]:
        """Title in a rule, text from `top`, the name to type, the buttons; of these the buttons go last."""
        text = self._wrapped(width)
        rows = max(0, height - 1 - self._tail)
        self.top = max(0, min(self.top, len(text) - rows))
        title = fit(self._title, max(0, min(width_of(plain(self._title)), width - 6)), ellipsis=self.symbols.ellipsis)
        rule = self.symbols.rule
        used = width_of(title) + 4
        lines = [
            padded([(rule * 2 + " ", "muted"), (title, "title"), (" " + rule * max(0, width - used), "muted")], width)
        ]
        lines += [padded(runs, width) for runs in text[self.top : self.top + rows]]
        lines += [self.line("")] * (rows - len(text))
        if self._expected:
            lines.append(self._input(width))
        more, warnings = len(text) - self.top - rows, self._warnings_below(width, self.top + rows)
        lines.append(self._button_line(width, self._notes(more, warnings), "warn" if warnings else "muted"))
        return lines[-height:] if height < 1 + self._tail else lines

    def _notes(self, more: int, warnings: int) -> tuple[str, ...]:
        """What stands beside the buttons, from the longest to the shortest way to say it. Where little fits, what is
        hidden goes before how to choose."""
        keys = f"{self.symbols.ascending}{self.symbols.descending}"
        hint = f"{keys} and space choose" if self._choices and len(self._buttons) > 1 else ""
        if more <= 0:
            return (hint, f"{keys} space") if hint else ("",)
        below = f"{more} more line{'s' if more > 1 else ''} below"
        short = f"{more} below"
        if warnings:
            below = (
                f"{warnings} warning{'s' if warnings > 1 else ''} below, in {more} more line{'s' if more > 1 else ''}"
            )
            short = f"{self.symbols.state('warn')} {short}"
        return (*((f"{hint}, {below}",) if hint else ()), below, short, f"+{more}")

    def _warnings_below(self, width: int, from_line: int) -> int:
        """Warnings of which not the whole text was in view: what cannot be undone is not to be confirmed unread."""
        found, place = 0, 0
        for line in self._lines:
            place += len(self._wrapped(width, (line,)))
            found += line.state == "warn" and place > from_line
        return found

    def _input(self, width: int) -> Line:
        right = self.typed == self._expected
        asked = f" type {self._expected} to confirm: "
        asked = fit(asked, min(width_of(asked), max(0, width - 12)), ellipsis=self.symbols.ellipsis)
        style = "ok" if right else "failed" if self._complaint else "input"
        return padded([(asked, "key"), (self.typed, style), (" ", "caret"), (f" {self._complaint}", "failed")], width)

    def _button_line(self, width: int, notes: Sequence[str], look: str) -> Line:
        runs: list[Run] = []
        for number, label in enumerate(self._buttons):
            runs.append(("   ", ""))
            lit = number == self._chosen and self.has_focus
            text = f"[ {plain(label)} ]"
            # The chosen one is also told without colours.
            text = f"{self.symbols.cursor}{text}" if number == self._chosen else f" {text}"
            runs.append((text, "button-focus" if lit else "button"))
        room = width - sum(width_of(text) for text, _ in runs) - 3
        note = next((each for each in notes if width_of(each) <= room), notes[-1])
        return padded([*runs, ("   " + note, look)], width)

    # Keys

    def action_choose(self, step: int) -> None:
        """The focus to another button, and after the buttons to the choices."""
        self._chosen = (self._chosen + step) % max(1, len(self._buttons) + len(self._choices))
        self._bring_into_view()

    def action_move(self, lines: int) -> None:
        """Up and down go over the choices, which stand above the buttons, and scroll where there is none, or what is
        behind the last one."""
        buttons, choices = len(self._buttons), len(self._choices)
        last = buttons + choices - 1
        if lines < 0 and choices and self._chosen < buttons:
            self._chosen = last
        elif lines < 0 and self._chosen > buttons:
            self._chosen -= 1
        elif lines > 0 and choices and self._chosen < buttons:
            self._chosen = buttons
        elif lines > 0 and buttons <= self._chosen < last:
            self._chosen += 1
        elif lines > 0 and self._chosen == last and choices and self.top + self.page >= self.count:
            self._chosen = 0
        else:
            super().action_move(lines)
            return
        self._bring_into_view()

    def _bring_into_view(self) -> None:
        on = self._choice
        if on is not None:
            place = len(self._wrapped(self.size.width, self._lines[: self._lines.index(on)]))
            self.top = max(min(self.top, place), place - self.page + 1)
        self.paint()

    def action_take(self) -> None:
        """Ask for the plan with the choice under the focus, or without it."""
        on = self._choice
        if on is None or self._awaited or len(self._buttons) < 2:
            return
        self._awaited = True
        self._complaint = ""
        chosen = tuple(each.choice for each in self._choices if each.chosen is not (each is on))
        self.post_message(self.Toggled(self, chosen))

    def action_cancel(self) -> None:
        """Escape."""
        self.post_message(self.Cancelled(self))

    def action_press(self) -> None:
        """The button with the focus; "do it" needs the name typed."""
        if self._chosen == 0:
            self.action_cancel()
        elif self._choice is not None:
            self.action_take()
        elif self._awaited:
            return  # what stands there is not what would be done
        elif self.typed == self._expected:
            self.post_message(self.Confirmed(self))
        else:
            self._complaint = "not the name"
            self.paint()

    def on_key(self, event: events.Key) -> None:
        """Letters are the name's where one is asked for; else only the panel's own keys do anything."""
        if not self._expected or not (event.key in ("backspace", "ctrl+u") or event.is_printable):
            return
        if event.key == "space" and self._choices and not self._expected.startswith(f"{self.typed} "):
            return
        event.stop()
        event.prevent_default()
        if event.key == "backspace":
            self.typed = self.typed[:-1]
        elif event.key == "ctrl+u":
            self.typed = ""
        else:
            self.typed = (self.typed + plain(event.character or ""))[:300]
        self._complaint = ""
        self.paint()

    def on_paste(self, event: events.Paste) -> None:
        """A pasted name."""
        if self._expected:
            event.stop()
            self.typed = plain(event.text.strip())[:300]
            self.paint()
