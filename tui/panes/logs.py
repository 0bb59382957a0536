"""A service's log: followed, since a time, of the run before; filtered over the whole of it; saved."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.timer import Timer

from tritonctl.backend import Capability, LogSource
from tritonctl.errors import TritonctlError, Unreachable, UsageError, fault
from tritonctl.inventory import ServiceStatus
from tritonctl.server.log import Severity, parse_line
from tui.figures import seconds_of
from tui.keys import LOGS
from tui.panes.base import Pane
from tui.rows import STATES
from tui.screens.base import LiveScreen
from tui.widgets.columns import Column
from tui.widgets.loglines import LogLine, LogLines
from tui.widgets.plaintext import width_of
from tui.widgets.table import Row, Table

_TAIL = 20_000
_WHOLE = 10_000_000
_SEARCH_AFTER_S = 0.6  # the older part is searched once nobody types any more
_TELL_EVERY = 50_000
_AGAIN_S = (1.0, 2.0, 5.0, 10.0)  # until a log that broke off is read again
_LASTED_S = 5.0  # one that ends sooner was not being followed
# The last is what getopt says of an option that there is not.
_ERRORS = re.compile(r"^[WEF]\d{4} |^\d{4}-\S+ \d+ [WEF] |^error:|^tritonserver: ")
_SOURCE_CELLS = (12, 44)  # of a name, at least and at most; the state gets the rest
_ALL = ""
_STYLES = {Severity.ERROR: "failed", Severity.FATAL: "failed", Severity.WARNING: "warn"}


@dataclass(frozen=True)
class _Reading:
    """What of the log is read: the end of it, or with `only` of the whole what the pattern finds.

    `source` is one of the backend's `log_sources`, None for all that a service's log usually is.
    """

    source: str | None = None
    since_s: float | None = None
    previous: bool = False
    only: re.Pattern[str] | None = None


class LogsPane(Pane):
    """The follower lives as long as the pane: with the service's screen."""

    can_filter = True
    DEFAULT_CSS = """
    LogsPane #sources { display: none; }
    LogsPane.choosing #sources { display: block; }
    LogsPane.choosing #log { display: none; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [action.binding() for action in LOGS]

    def __init__(self) -> None:
        super().__init__()
        self._status: ServiceStatus | None = None
        self._reading = _Reading()
        self._is_longer = False  # than what is kept here of it
        self._ended: tuple[object, ...] | None = None  # the processes whose log came to its end
        self._again_at: float | None = None  # when one that broke off is read again, in monotonic time
        self._was_lost = False  # it broke off by an error, and did not just end
        self._tries = 0
        self._search: Timer | None = None
        self._errors_only = False
        self._is_gone = False  # the container or replica that was chosen

    def compose(self) -> ComposeResult:
        yield LogLines(id="log")
        yield Table(id="sources")

    def show(self, status: ServiceStatus) -> None:
        first = self._status is None
        self._status = status
        if self.has_class("choosing"):
            self._list_sources(self._sources())
        source = self._reading.source
        if source is not None and not self._is_gone and all(each.name != source for each in self._sources()):
            self._is_gone = True
            self.query_one(LogLines).append([(f"{source} is gone; choose another one (c)", "warn")])
        if first:
            self._follow(status, self._reading)
        elif self._ended is not None and self._ended != _processes(status) and status.live:
            self.query_one(LogLines).clear()
            self._follow(status, self._reading)
        elif self._again_at is not None and time.monotonic() >= self._again_at and (status.live or self._was_lost):
            self._follow(status, self._reading, again=True)

    def _read(self, reading: _Reading) -> None:
        """Read it anew, where that is another reading than the one under way."""
        if self._status is not None and reading != self._reading:
            self._reading, self._is_gone = reading, False
            self.part = " · ".join(filter(None, (reading.source, "the run before" if reading.previous else "")))
            self.query_one(LogLines).clear()
            self._follow(self._status, reading)
            self._screen.show_now()  # the header says which part

    @work(group="log", exclusive=True, exit_on_error=False)
    async def _follow(self, status: ServiceStatus, reading: _Reading, *, again: bool = False) -> None:
        """With `again`, what was read before stays until it comes anew."""
        log = self.query_one(LogLines)
        backend = self._screen.triton.fleet.backend_of(status.service)
        needed = Capability.PREVIOUS_LOGS if reading.previous else Capability.LOGS
        if (why := backend.why_not(needed, status.service)) is not None:
            log.append([(why, "muted")])
            return
        self._ended = self._again_at = None
        if not again:
            self._tries, log.older, log.ended = 0, False, False
        began = time.monotonic()
        names = {each.replica.name for each in status.replicas}
        oldest = time.time() - reading.since_s if reading.since_s is not None else None
        read = told = 0
        batches = backend.logs(
            status.service,
            replica=reading.source,
            tail=_TAIL if reading.only is None else _WHOLE,
            follow=not reading.previous,
            previous=reading.previous,
        )
        try:
            async for batch in batches:
                if again:
                    log.clear()
                    again, self._tries, log.older, log.ended = False, 0, False, False
                lines: list[LogLine] = []
                for line in batch:
                    read += 1 + line.dropped
                    if line.dropped:
                        lines.append((f"… {line.dropped:,} lines were lost here", "warn"))
                    if oldest is not None and line.at is not None and line.at < oldest:
                        continue
                    if reading.only is not None and not reading.only.search(line.text):
                        continue
                    # Of one replica, only what others wrote is told apart, as what ran before its server.
                    named = reading.source is None and (len(names) > 1 or line.replica not in ("", *names))
                    text = f"{line.replica}  {line.text}" if named else line.text
                    lines.append((text, _style(line.text)))
                log.append(lines)
                if reading.only is None:
                    self._is_longer = self._is_longer or read >= _TAIL
                    log.older = self._is_longer and reading.since_s is None
                elif read >= told + _TELL_EVERY:
                    told = read
                    self._screen.say(f"searched {read:,} lines of the log", "busy")
            if reading is not self._reading:
                return  # another one was begun meanwhile
            log.ended = True
            if reading.previous:
                log.append([("the end of the run before; p shows the present one", "muted")])
            else:
                log.append([("the log ends here", "muted")])
                if time.monotonic() - began > _LASTED_S:  # also so where the place broke off and the server lives on
                    self._again_at, self._was_lost = time.monotonic() + _AGAIN_S[0], False
        except TritonctlError as error:
            if reading is not self._reading:
                return
            if not isinstance(error, Unreachable) or reading.previous:
                log.append([(str(error), "failed")])
            else:
                if not self._tries:  # told once, however often it fails
                    words = f"it is read again in {_AGAIN_S[0]:g} s, then at least every {_AGAIN_S[-1]:g} s"
                    log.append([(str(error), "failed"), (words, "muted")])
                self._again_at = time.monotonic() + _AGAIN_S[min(self._tries, len(_AGAIN_S) - 1)]
                self._tries, self._was_lost = self._tries + 1, True
        except Exception as caught:  # else the log would seem to be silent
            log.append([(str(fault(f"read the log of {status.id}", caught)), "failed")])
        self._ended, log.ended = _processes(status), True

    # What is shown of it

    def set_filter(self, text: str) -> None:
        super().set_filter(text)
        self._errors_only = False
        self._find(re.compile(re.escape(text), re.IGNORECASE) if text else None)

    def action_errors(self) -> None:
        """Only lines that tritonserver wrote as warnings and errors, or all again."""
        self._errors_only = not self._errors_only
        self._find(_ERRORS if self._errors_only else None)

    def _find(self, pattern: re.Pattern[str] | None) -> None:
        """At once in what is here, then, where the log is longer than that, in the whole of it."""
        self.query_one(LogLines).set_filter(pattern)
        if self._search is not None:
            self._search.stop()
            self._search = None
        if pattern is None:
            self._read(replace(self._reading, only=None))
        elif self._is_longer:
            self._search = self.set_timer(_SEARCH_AFTER_S, lambda: self._read(replace(self._reading, only=pattern)))

    def action_since(self) -> None:
        """Ask for how far back to show it."""
        self._screen.ask("since: ", then=self._since)

    def _since(self, entered: str) -> None:
        try:
            since_s = seconds_of(entered) if entered.strip() else None
        except UsageError as error:
            self._screen.say(f"{error.headline}  → {error.advice}", "failed")
            return
        self._read(replace(self._reading, since_s=since_s))
        self._screen.say(f"the log of the last {entered.strip()}" if since_s is not None else "the whole log")

    def action_previous(self) -> None:
        """The run before the last restart, or the present one again."""
        self._read(replace(self._reading, previous=not self._reading.previous))

    def action_choose(self) -> None:
        """List the logs that can be read alone, or close the list."""
        if self.has_class("choosing"):
            self.action_leave()
        elif self._status is not None:
            self.set_class(True, "choosing")
            self._list_sources(self._sources())
            self.query_one(Table).move_to_key(self._reading.source or _ALL)
            self.take_focus()

    def action_leave(self) -> None:
        self.set_class(False, "choosing")
        self.take_focus()

    def take_focus(self) -> None:
        self.query_one(Table if self.has_class("choosing") else LogLines).focus()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Escape closes the list, and leaves the page when it is not there."""
        return self.has_class("choosing") if action == "leave" else True

    def _sources(self) -> tuple[LogSource, ...]:
        assert self._status is not None
        return self._screen.triton.fleet.backend_of(self._status.service).log_sources(self._status.service)

    def _list_sources(self, found: Sequence[LogSource]) -> None:
        every = Row(_ALL, ("all", "the servers, and what ran before them"), "ok")
        rows = [Row(each.name, (each.name, each.state), STATES[each.level]) for each in found]
        longest = max((width_of(each.name) for each in found), default=0)
        cells = max(_SOURCE_CELLS[0], min(_SOURCE_CELLS[1], longest))
        columns = (Column("log", "LOG OF", cells), Column("state", "STATE"))
        self.query_one(Table).show(columns, [every, *rows])

    @on(Table.RowSelected, "#sources")
    def _chosen(self, event: Table.RowSelected) -> None:
        event.stop()
        self.action_leave()
        self._read(replace(self._reading, source=event.key or None))

    def action_wrap(self) -> None:
        self.query_one(LogLines).action_wrap()

    def action_save(self) -> None:
        """To a new file in the current folder, readable by its owner alone: logs may hold what requests held."""
        import os

        path, log = Path.cwd() / time.strftime("tritonctl-log-%Y%m%d-%H%M%S.txt"), self.query_one(LogLines)
        try:
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
                file.write(log.text())
        except OSError as error:
            self._screen.say(f"{path}: {error.strerror}", "failed")
        else:
            lines = log.end - log.dropped
            older = "  → older ones were not read: tritonctl logs --tail N" if log.dropped or log.older else ""
            self._screen.say(f"saved {lines:,} line{'' if lines == 1 else 's'} to {path}{older}", "ok")

    @property
    def _screen(self) -> LiveScreen:
        screen = self.screen
        assert isinstance(screen, LiveScreen)
        return screen


def _processes(status: ServiceStatus) -> tuple[object, ...]:
    """What tells a process from one that took its place."""
    return tuple((each.replica.name, each.replica.started_at) for each in status.replicas)


def _style(text: str) -> str:
    """By the first characters: a log of 20,000 lines is parsed whole only where a line is not in the usual format."""
    if text[1:2].isdigit() and text[:1] in "IWEF":
        return _STYLES.get(Severity(text[0]), "")
    return _STYLES.get(parse_line(text[:400]).severity, "") if text[:1].isdigit() else ""
