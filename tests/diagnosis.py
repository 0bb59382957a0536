"""A real server's diagnosis for the tests: starts it as the embedded backend does, lets things happen, runs triage."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from backends.embedded.backend import EmbeddedBackend
from backends.embedded.server import ControlMode, EmbeddedServer, Options
from tests.components import need
from tritonctl.fleet import Fleet
from tritonctl.server.client import ServerClient
from tritonctl.triage import signatures
from tritonctl.triage.diagnose import Diagnosis
from tritonctl.triage.triage import triage

SERVICE = "embedded/demo"


class Patient:
    """A service under a fleet; `state` is what its place says."""

    def __init__(self, fleet: Fleet, server: EmbeddedServer) -> None:
        self.fleet = fleet
        self.server = server

    @property
    def state(self) -> str:
        return self.fleet.resolve(SERVICE).service.platform.state

    @property
    def client(self) -> ServerClient:
        address = self.fleet.resolve(SERVICE).service.replicas[0].address
        assert address is not None
        return ServerClient(address)

    async def until(self, holds: Callable[[], bool], deadline_s: float = 30.0) -> None:
        async with asyncio.timeout(deadline_s):
            while not holds():
                await self.fleet.changed(self.fleet.snapshot)

    async def diagnose(self) -> Diagnosis:
        self.fleet.hurry(SERVICE)
        await asyncio.sleep(0.2)
        status = self.fleet.resolve(SERVICE)
        backend = self.fleet.backend_of(status.service)
        return await triage(status, backend, signatures.load(None, backend.kind))


@asynccontextmanager
async def patient(
    repository: Path,
    *flags: str,
    mode: ControlMode = "none",
    load: tuple[str, ...] = (),
    wait: bool = True,
) -> AsyncIterator[Patient]:
    """With `wait`, until it runs or has ended; else from its first moment on."""
    need("triton")
    server = EmbeddedServer(Options(repository, mode, load, flags))
    async with Fleet([EmbeddedBackend("embedded", server)]) as fleet:
        one = Patient(fleet, server)
        await one.until(lambda: bool(fleet.snapshot.services))
        if wait:
            await one.until(lambda: one.state != "starting")
            if one.state == "running":
                await fleet.first_look(10.0)
        yield one


async def diagnosed(
    repository: Path,
    *flags: str,
    mode: ControlMode = "none",
    load: tuple[str, ...] = (),
    act: Callable[[Patient], Awaitable[None]] | None = None,
) -> Diagnosis:
    """Start, wait until it runs or has ended, act, diagnose."""
    async with patient(repository, *flags, mode=mode, load=load) as one:
        if act is not None:
            await act(one)
        return await one.diagnose()


def quoted(diagnosis: Diagnosis) -> str:
    """All evidence of the headline."""
    headline = diagnosis.headline
    assert headline is not None, "no headline"
    return "\n".join(f"{quote.source}: {quote.text}" for quote in headline.evidence)


def causes(diagnosis: Diagnosis) -> list[str]:
    """The ids of what is claimed to be a cause: consequences and notes follow from one."""
    from tritonctl.triage.finding import Weight

    return [each.id for each in diagnosis.findings if each.weight in (Weight.FAILED, Weight.DEGRADED)]
