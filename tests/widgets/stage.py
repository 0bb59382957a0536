"""The child of `terminal.py`: an app in a real pty that does what it is told over a pipe and tells what it shows."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from typing import Any

from textual.app import App, ComposeResult
from textual.widget import Widget

from tui.widgets.columns import Column
from tui.widgets.lines import QuietScreen
from tui.widgets.table import Row, Table

QUIET_S = 0.04


class Stage(App[None]):
    """One or more widgets, made by the Python text in argv[1]: an expression for a list of widgets."""

    ENABLE_COMMAND_PALETTE = False

    def __init__(self) -> None:
        theme = os.environ.get("STAGE_THEME", "textual-dark")
        # Textual 8.2.8 chooses its NO_COLOR filter in App.__init__, before a theme can be set: without `ansi_color`
        # it turns the terminal's default colours into black on black.
        super().__init__(ansi_color=True if theme.startswith("ansi") else None)
        self.theme = theme
        self.names: dict[str, Any] = {"app": self, "Table": Table, "Column": Column, "Row": Row}
        self.bytes = 0
        self.last_write = 0.0

    def compose(self) -> ComposeResult:
        exec(sys.argv[1], self.names)
        widgets: list[Widget] = self.names["widgets"]
        yield from widgets

    def get_default_screen(self) -> QuietScreen:
        return QuietScreen(id="_default")

    def on_mount(self) -> None:
        driver = self._driver
        assert driver is not None
        write = driver.write

        def counted(data: str) -> None:
            self.bytes += len(data.encode())
            self.last_write = time.perf_counter()
            write(data)

        driver.write = counted  # type: ignore[method-assign]
        self.commands = os.fdopen(int(sys.argv[2]), "rb", 0)
        self.answers = os.fdopen(int(sys.argv[3]), "wb", 0)
        asyncio.get_running_loop().add_reader(self.commands, self.take)

    def take(self) -> None:
        line = self.commands.readline()
        if line:
            self.run_worker(self.answer(json.loads(line)), group="answer")
        else:
            asyncio.get_running_loop().remove_reader(self.commands)
            self.exit()

    async def answer(self, code: str) -> None:
        """Run the code, wait until nothing is written any more, tell the screen, bytes and milliseconds."""
        self.names["result"] = None
        self.bytes, started = 0, time.perf_counter()
        self.last_write = started
        exec(code, self.names)
        called = time.perf_counter()
        while time.perf_counter() - max(self.last_write, called) < QUIET_S:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        strips = self.screen._compositor.render_strips()
        answer = {
            "lines": [strip.text for strip in strips],
            "bytes": self.bytes,
            "call_ms": (called - started) * 1e3,
            "paint_ms": (self.last_write - started) * 1e3,
            "result": self.names["result"],
        }
        self.answers.write(json.dumps(answer).encode() + b"\n")


if __name__ == "__main__":
    Stage().run(mouse=False)
