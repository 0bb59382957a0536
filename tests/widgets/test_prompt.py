"""The prompt edits a line, remembers, completes, and gives the focus back."""

from typing import ClassVar

from textual.app import App, ComposeResult
from textual.binding import Binding

from tui.widgets.prompt import Prompt
from tui.widgets.table import Table


class Bench(App[None]):
    BINDINGS: ClassVar = [Binding("q", "quit_now", "Quit")]

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[str, str, str]] = []
        self.quits = 0

    def compose(self) -> ComposeResult:
        self.table, self.prompt = Table(), Prompt()
        yield from (self.table, self.prompt)

    def action_quit_now(self) -> None:
        self.quits += 1

    def on_prompt_changed(self, message: Prompt.Changed) -> None:
        self.told.append(("changed", message.prefix, message.value))

    def on_prompt_submitted(self, message: Prompt.Submitted) -> None:
        self.told.append(("submitted", message.prefix, message.value))

    def on_prompt_cancelled(self, message: Prompt.Cancelled) -> None:
        self.told.append(("cancelled", message.prefix, message.value))


async def test_typing_editing_history_and_completion() -> None:
    app = Bench()
    async with app.run_test(size=(40, 8)) as pilot:
        prompt = app.prompt
        await pilot.press("tab")
        assert app.focused is app.table, "a closed prompt takes no focus"
        prompt.open("/")
        await pilot.pause()
        assert prompt.has_focus
        await pilot.press("q", "e", "d", "left", "left", "x", "home", "delete", "end", "space", "z", "ctrl+w")
        assert prompt.value == "xed "
        assert app.quits == 0
        await pilot.press("enter")
        assert app.told[-1] == ("submitted", "/", "xed ")
        assert app.focused is app.table
        prompt.open(":", complete=lambda text: [c for c in ("logs", "load", "model") if c.startswith(text)])
        await pilot.press("l")
        assert "".join(text for text, _ in prompt.frame(40, 1)[0]).rstrip() == " :l   tab: logs", "typed is the l"
        await pilot.press("tab")
        assert prompt.value == "logs"
        await pilot.press("tab")
        assert prompt.value == "load"
        await pilot.press("escape")
        assert app.told[-1] == ("cancelled", ":", "load")
        prompt.open("/")
        await pilot.press("up")
        assert prompt.value == "xed "
        await pilot.press("down", "ctrl+u")
        assert prompt.value == ""
        await pilot.press("backspace")
        assert not prompt.is_open
        prompt.show("saved", "ok")
        assert "saved" in "".join(text for text, _ in prompt.frame(40, 1)[0])
