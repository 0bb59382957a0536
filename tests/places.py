"""A backend that says what a test wants it to, and a fleet watched until something holds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence

from tritonctl.backend import Backend, Capability, Listed, LogLine, Update
from tritonctl.fleet import Fleet
from tritonctl.inventory import Level, Platform, Replica, Service, ServiceStatus, Snapshot
from tritonctl.server.address import ServerAddress

RUNS = Platform("running", Level.OK)
UNREADABLE = (
    "E1121 14:02:31.000000 12 model_repository_manager.cc:1] \"Poll failed for model directory 'odd': no name\""
)


class Place(Backend):
    """A backend that tells what the test puts into `news`; an exception there ends its watch."""

    kind = "test"

    def __init__(self, name: str = "here", *services: Service, hang_on_close: bool = False) -> None:
        super().__init__(name)
        self.news: asyncio.Queue[Update | Exception | None] = asyncio.Queue()
        self.watches: list[float] = []
        self.closed = False
        self._hang_on_close = hang_on_close
        if services:
            self.news.put_nowait(Listed(services))

    async def watch(self) -> AsyncIterator[Update]:
        self.watches.append(time.monotonic())
        while (update := await self.news.get()) is not None:
            if isinstance(update, Exception):
                raise update
            yield update

    async def aclose(self) -> None:
        if self._hang_on_close:
            await asyncio.sleep(60)
        self.closed = True


class LoggingPlace(Place):
    capabilities = frozenset({Capability.LOGS})
    reads = 0

    async def logs(
        self,
        service: Service,
        *,
        replica: str | None = None,
        tail: int = 1000,
        follow: bool = False,
        previous: bool = False,
    ) -> AsyncIterator[Sequence[LogLine]]:
        self.reads += 1
        yield [LogLine("r1", UNREADABLE)]


def service(name: str, *addresses: ServerAddress | None, backend: str = "here") -> Service:
    replicas = tuple(Replica(f"r{place}", RUNS, address) for place, address in enumerate(addresses, 1))
    return Service(f"{backend}/{name}", backend, "test", name, RUNS, replicas)


async def reaches(fleet: Fleet, condition: object, deadline_s: float = 30.0) -> Snapshot:
    """The first snapshot of which `condition` holds."""
    snapshot = fleet.snapshot
    async with asyncio.timeout(deadline_s):
        while not condition(snapshot):  # type: ignore[operator]
            snapshot = await fleet.changed(snapshot)
    return snapshot


def one(snapshot: Snapshot) -> ServiceStatus:
    (only,) = snapshot.services
    return only
