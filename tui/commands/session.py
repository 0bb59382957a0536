"""One command's way to the fleet: settings in, backends opened, a first look taken, everything closed after."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from tritonctl.backend import Backend
from tritonctl.errors import NotFound, TritonctlError, Unreachable
from tritonctl.fleet import Fleet
from tritonctl.inventory import BackendState, HostGpu, ServiceStatus, Snapshot
from tritonctl.settings import Settings

READ_TIMEOUT_S = 10.0
CHANGE_TIMEOUT_S = 300.0


@dataclass(frozen=True)
class Places:
    """How to open what lies on the floor below, handed in so that no command knows a backend."""

    backends: Callable[[Settings], Sequence[Backend]]
    demo: Callable[[bool], Backend]
    host_gpus: Callable[[], tuple[HostGpu, ...]]


@dataclass(frozen=True)
class Session:
    """What every command gets."""

    arguments: Namespace
    settings: Settings
    places: Places

    @property
    def read_timeout_s(self) -> float:
        timeout = self.settings.timeout_s
        return timeout if timeout is not None else READ_TIMEOUT_S

    @property
    def change_timeout_s(self) -> float:
        timeout = self.settings.timeout_s
        return timeout if timeout is not None else CHANGE_TIMEOUT_S

    @property
    def json(self) -> bool:
        return bool(self.arguments.output == "json")

    @asynccontextmanager
    async def fleet(self, *, interval_s: float | None = None) -> AsyncIterator[Fleet]:
        async with Fleet(
            self.places.backends(self.settings),
            read_only=self.settings.read_only,
            interval_s=interval_s if interval_s is not None else self.settings.interval_s,
            deadline_s=min(self.read_timeout_s, 5.0),
        ) as fleet:
            yield fleet

    async def find(self, fleet: Fleet) -> ServiceStatus:
        """The service that the command names, after a first look at it.

        Raises NotFound or UsageError, or the error of the backend that could not be asked whether it has the service.
        """
        name: str = self.arguments.service
        snapshot = await fleet.first_look(self.read_timeout_s, only=())
        try:
            found = fleet.resolve(name)
        except NotFound:
            raise_lost(snapshot)
            raise
        await fleet.first_look(self.read_timeout_s, only=(found.id,))
        return fleet.resolve(found.id)


def raise_lost(snapshot: Snapshot) -> None:
    for backend in snapshot.backends:
        if backend.state is not BackendState.CONNECTED and not backend.optional:
            answer = backend.detail or "did not answer in time"
            raise Unreachable(f"backend {backend.name}", answer, backend.advice)


def warn_lost(snapshot: Snapshot) -> None:
    """To stderr: the backends whose services are missing from what is printed."""
    for backend in snapshot.backends:
        if backend.state is not BackendState.CONNECTED and not backend.optional:
            say(f"backend {backend.name}: {backend.detail or 'did not answer in time'}")
            if backend.advice:
                say(f"  → {backend.advice}")


def say(text: str) -> None:
    """A line for the person, which a program that reads stdout does not see."""
    from tui.commands.text import clean

    print(clean(text), file=sys.stderr, flush=True)


def reachable_or_raise(status: ServiceStatus) -> None:
    """Raise what kept every replica's server from answering."""
    if any(each.error is None and each.looked and each.replica.address is not None for each in status.replicas):
        return
    raise service_error(status)


def service_error(status: ServiceStatus) -> TritonctlError:
    from tritonctl.errors import Forbidden, OperationFailed

    for each in status.replicas:
        if each.error is not None:
            kind: type[TritonctlError] = Unreachable
            if each.error_kind == "forbidden":
                kind = Forbidden
            elif each.error_kind == "failed":
                kind = OperationFailed
            return kind(status.id, each.error, each.advice or "")
    reason = next((each.replica.no_address for each in status.replicas if each.replica.no_address), None)
    return Unreachable(status.id, reason or f"no server of it can be reached ({status.service.platform.state})")
