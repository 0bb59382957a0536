"""All that a service's place and servers tell of it, and the place's events."""

from __future__ import annotations

import asyncio
import time

from textual import work
from textual.app import ComposeResult

from tritonctl.backend import Backend, Capability
from tritonctl.errors import TritonctlError
from tritonctl.inventory import ServiceStatus
from tui.panes.base import Pane
from tui.screens.base import LiveScreen
from tui.widgets.sheet import Block, Heading, Pair, Piece, Sheet

_AGAIN_S = 10.0  # what a place tells is read anew as long as it is looked at
_AFTER_FAULT_S = 3.0
_DEADLINE_S = 10.0


class AskedPane(Pane):
    """What the service's place tells, asked beside the screen: when it is opened, and again and again after."""

    can_filter = True

    def __init__(self) -> None:
        super().__init__()
        self._told: list[Piece] = []
        self._fault: list[Piece] = []
        self._ask_after = 0.0

    async def ask(self, status: ServiceStatus) -> list[Piece]:
        """The place's answer, to be shown. Raises TritonctlError."""
        raise NotImplementedError

    def pieces(self, status: ServiceStatus) -> list[Piece]:
        """All that is to be seen; what failed is told over what was told before it."""
        return [*self._fault, *self._told]

    def show(self, status: ServiceStatus) -> None:
        if time.monotonic() >= self._ask_after:
            self._ask_after = float("inf")
            self._ask(status)
        self.query_one(Sheet).show(self.pieces(status))

    def set_filter(self, text: str) -> None:
        """Nothing is hidden: the words are marked, and n and N go from one to the next."""
        super().set_filter(text)
        self.query_one(Sheet).set_search(text)

    @work(group="ask", exclusive=True, exit_on_error=False)
    async def _ask(self, status: ServiceStatus) -> None:
        pause_s = _AFTER_FAULT_S
        try:
            async with asyncio.timeout(_DEADLINE_S):
                self._told = await self.ask(status)
            self._fault, pause_s = [], _AGAIN_S
        except TimeoutError:
            self._fault = [Block(f"no answer within {_DEADLINE_S:g} s", "failed")]
        except TritonctlError as error:
            self._fault = [Block(str(error), "failed")]
        finally:
            self._ask_after = time.monotonic() + pause_s
        self._screen.show_now()

    @property
    def _screen(self) -> LiveScreen:
        screen = self.screen
        assert isinstance(screen, LiveScreen)
        return screen

    def backend_of(self, status: ServiceStatus) -> Backend:
        return self._screen.triton.fleet.backend_of(status.service)


class DescribePane(AskedPane):
    """All that the servers told, and what the place tells."""

    def compose(self) -> ComposeResult:
        yield Sheet(id="describe-sheet")

    def pieces(self, status: ServiceStatus) -> list[Piece]:
        return [*_of_servers(status), *super().pieces(status)]

    async def ask(self, status: ServiceStatus) -> list[Piece]:
        found: list[Piece] = []
        for section in await self.backend_of(status).describe(status.service):
            found.append(Heading(section.heading))
            found += [Pair(name, value) for name, value in section.rows]
        return found


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


class EventsPane(AskedPane):
    """What the platform did and saw; a place without events says so."""

    def __init__(self) -> None:
        super().__init__()
        self._told = [Block("asking …", "muted")]

    def compose(self) -> ComposeResult:
        yield Sheet(id="events-sheet")

    async def ask(self, status: ServiceStatus) -> list[Piece]:
        backend = self.backend_of(status)
        if (why_not := backend.why_not(Capability.EVENTS, status.service)) is not None:
            return [Block(why_not, "muted")]
        return [
            Pair(time.strftime("%H:%M:%S", time.localtime(each.at)), each.text, "warn" if each.warning else "")
            for each in await backend.events(status.service)
        ] or [Block("no events", "muted")]
