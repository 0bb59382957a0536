"""All that a service's place and servers tell of it, and the place's events."""

from __future__ import annotations

import time

from textual import work
from textual.app import ComposeResult

from tritonctl.errors import TritonctlError
from tritonctl.inventory import ServiceStatus
from tui.panes.base import Pane
from tui.screens.base import LiveScreen
from tui.widgets.sheet import Block, Heading, Pair, Piece, Sheet


class DescribePane(Pane):
    """Read anew each time it is opened, beside the screen."""

    def __init__(self) -> None:
        super().__init__()
        self._place: list[Piece] = []
        self._asked = False

    def compose(self) -> ComposeResult:
        yield Sheet(id="describe-sheet")

    def show(self, status: ServiceStatus) -> None:
        if not self._asked:
            self._asked = True
            self._ask(status)
        self.query_one(Sheet).show([*_of_servers(status), *self._place])

    @work(group="describe", exclusive=True, exit_on_error=False)
    async def _ask(self, status: ServiceStatus) -> None:
        screen = self.screen
        assert isinstance(screen, LiveScreen)
        try:
            sections = await screen.triton.fleet.backend_of(status.service).describe(status.service)
        except TritonctlError as error:
            self._place = [Heading(status.service.backend), Block(str(error), "failed")]
        else:
            self._place = []
            for section in sections:
                self._place.append(Heading(section.heading))
                self._place += [Pair(name, value) for name, value in section.rows]
        screen.show_now()


def _of_servers(status: ServiceStatus) -> list[Piece]:
    pieces: list[Piece] = [
        Heading("service"),
        Pair("id", status.id),
        Pair("kind", status.service.kind),
        Pair("platform", status.service.platform.state),
        Pair("models", f"{status.counts.ready} of {status.counts.total} ready, {status.counts.failed} failed"),
    ]
    if status.service.platform.reason:
        pieces.append(Pair("reason", status.service.platform.reason))
    for each in status.replicas:
        pieces += [
            Heading(f"server of {each.replica.name}"),
            Pair("address", each.replica.address.shown if each.replica.address else each.replica.no_address or "–"),
            Pair("version", each.version or "unknown"),
            Pair("live", _word(each.live)),
            Pair("ready", _word(each.ready)),
            Pair("control mode", str(each.control_mode or "unknown")),
            Pair("extensions", ", ".join(each.extensions) or "unknown"),
        ]
        if each.error:
            pieces.append(Pair("last look", each.error, "failed"))
        if each.metrics_error:
            pieces.append(Pair("metrics", each.metrics_error, "warn"))
    return pieces


def _word(value: bool | None) -> str:
    return "unknown" if value is None else "yes" if value else "no"


class EventsPane(Pane):
    """What the platform did and saw; a place without events says so."""

    def __init__(self) -> None:
        super().__init__()
        self._pieces: list[Piece] = [Block("asking …", "muted")]
        self._asked = False

    def compose(self) -> ComposeResult:
        yield Sheet(id="events-sheet")

    def show(self, status: ServiceStatus) -> None:
        if not self._asked:
            self._asked = True
            self._ask(status)
        self.query_one(Sheet).show(self._pieces)

    @work(group="events", exclusive=True, exit_on_error=False)
    async def _ask(self, status: ServiceStatus) -> None:
        screen = self.screen
        assert isinstance(screen, LiveScreen)
        try:
            events = await screen.triton.fleet.backend_of(status.service).events(status.service)
        except TritonctlError as error:
            self._pieces = [Block(str(error), "muted")]
        else:
            self._pieces = [
                Pair(time.strftime("%H:%M:%S", time.localtime(each.at)), each.text, "warn" if each.warning else "")
                for each in events
            ] or [Block("no events", "muted")]
        screen.show_now()
