"""An Azure ML backend over the emulator, and what the fleet knows of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from backends.azure.credentials import Logins
from backends.azureml.backend import AzureMlBackend
from backends.azureml.watch import Pace
from tests.azure.emulator import Emulator
from tests.azure.shapes import GROUP, SUBSCRIPTION
from tests.waiting import until
from tritonctl.backend import Capability, Intent
from tritonctl.fleet import Fleet
from tritonctl.inventory import BackendState, Service, ServiceStatus
from tritonctl.plan import AuditLog, Outcome, Plan, carry_out
from tritonctl.settings_backends import AzureMlSettings

QUICK = Pace(fast_s=0.1, seen_s=0.3, slow_s=1.0, list_s=0.2)


def settings(azure: Emulator, workspace: str | None = "ws1", **more: Any) -> AzureMlSettings:
    given: dict[str, Any] = {
        "name": "ws",
        "where": "test",
        "subscription": SUBSCRIPTION,
        "resource_group": GROUP,
        "workspace": workspace,
        "credential": "cli",
        "cloud": azure.cloud,
        "ca": azure.ca,
    }
    return AzureMlSettings(**{**given, **more})


def backend(azure: Emulator, pace: Pace = QUICK, **more: Any) -> AzureMlBackend:
    return AzureMlBackend(settings(azure, **more), Logins(), pace=pace, poll_s=0.05, log_every_s=0.1)


class Place:
    """The fleet over one backend."""

    def __init__(self, fleet: Fleet, place: AzureMlBackend) -> None:
        self.fleet = fleet
        self.backend = place

    def status(self, name: str) -> ServiceStatus:
        return self.fleet.snapshot.by_id[f"ws/{name}"]

    def service(self, name: str) -> Service:
        return self.status(name).service

    @property
    def names(self) -> list[str]:
        return [each.service.name for each in self.fleet.snapshot.services]

    async def until(self, holds: Callable[[], bool]) -> None:
        def quietly() -> bool:
            try:
                return holds()
            except KeyError:  # not there yet, or not any more
                return False

        await until(quietly, 60.0)

    async def shows(self, name: str, state: str) -> None:
        await self.until(lambda: self.service(name).platform.state == state)

    async def plan(self, action: Capability, name: str, *options: str, value: str = "") -> Plan:
        return await self.backend.plan(Intent(action, self.service(name), value, (), options))


@asynccontextmanager
async def watched(azure: Emulator, *, probing: bool = False, **more: Any) -> AsyncIterator[Place]:
    """Once it has listed. Without `probing` no server is looked at."""
    async with listing(azure, probing=probing, **more) as place:
        await until(lambda: place.fleet.snapshot.backends[0].state is not BackendState.CONNECTING, 60.0)
        yield place


@asynccontextmanager
async def listing(azure: Emulator, *, probing: bool = False, **more: Any) -> AsyncIterator[Place]:
    """While it still lists."""
    place = backend(azure, **more)
    async with Fleet([place], probing=probing, interval_s=0.3) as fleet:
        yield Place(fleet, place)


async def done(plan: Plan, audit: AuditLog) -> Outcome:
    return await carry_out(plan, audit, read_only=False)
