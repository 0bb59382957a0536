"""A service's log: followed, filtered over the whole of what was read, saved."""

from __future__ import annotations

import time
from pathlib import Path
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import BindingType

from tritonctl.backend import Capability
from tritonctl.errors import TritonctlError
from tritonctl.inventory import ServiceStatus
from tritonctl.server.log import Severity, parse_line
from tui.keys import LOGS
from tui.panes.base import Pane
from tui.screens.base import LiveScreen
from tui.widgets.loglines import LogLine, LogLines

_TAIL = 20_000
_STYLES = {Severity.ERROR: "failed", Severity.FATAL: "failed", Severity.WARNING: "warn"}


class LogsPane(Pane):
    """The follower lives as long as the pane: with the service's screen."""

    can_filter = True
    BINDINGS: ClassVar[list[BindingType]] = [action.binding() for action in LOGS]

    def __init__(self) -> None:
        super().__init__()
        self._following = False
        self._errors_only = False

    def compose(self) -> ComposeResult:
        yield LogLines(id="log")

    def show(self, status: ServiceStatus) -> None:
        if not self._following:
            self._following = True
            self._follow(status)

    @work(group="log", exclusive=True, exit_on_error=False)
    async def _follow(self, status: ServiceStatus) -> None:
        screen = self.screen
        assert isinstance(screen, LiveScreen)
        log = self.query_one(LogLines)
        backend = screen.triton.fleet.backend_of(status.service)
        if (why := backend.why_not(Capability.LOGS, status.service)) is not None:
            log.append([(why, "muted")])
            return
        several = len(status.replicas) > 1
        try:
            async for batch in backend.logs(status.service, tail=_TAIL, follow=True):
                lines: list[LogLine] = []
                for line in batch:
                    if line.dropped:
                        lines.append((f"… {line.dropped} lines were lost here", "warn"))
                    text = f"{line.replica}  {line.text}" if several else line.text
                    lines.append((text, _style(line.text)))
                log.append(lines)
        except TritonctlError as error:
            log.append([(str(error), "failed")])

    def set_filter(self, text: str) -> None:
        super().set_filter(text)
        self._errors_only = False
        self.query_one(LogLines).set_filter(text or None)

    def action_errors(self) -> None:
        """Only lines that tritonserver wrote as warnings and errors, or all again."""
        import re

        self._errors_only = not self._errors_only
        only = re.compile(r"^[WEF]\d{4} |^\d{4}-\S+ \d+ [WEF] |^error:") if self._errors_only else None
        self.query_one(LogLines).set_filter(only)

    def action_wrap(self) -> None:
        self.query_one(LogLines).action_wrap()

    def action_save(self) -> None:
        """To a new file in the current folder, readable by its owner alone: logs may hold what requests held."""
        import os

        screen = self.screen
        assert isinstance(screen, LiveScreen)
        path = Path.cwd() / time.strftime("tritonctl-log-%Y%m%d-%H%M%S.txt")
        try:
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
                file.write(self.query_one(LogLines).text())
        except OSError as error:
            screen.say(f"{path}: {error.strerror}", "failed")
        else:
            screen.say(f"saved to {path}", "ok")


def _style(text: str) -> str:
    """By the first characters: a log of 20,000 lines is parsed whole only where a line is not in the usual format."""
    if text[1:2].isdigit() and text[:1] in "IWEF":
        return _STYLES.get(Severity(text[0]), "")
    return _STYLES.get(parse_line(text[:400]).severity, "") if text[:1].isdigit() else ""
