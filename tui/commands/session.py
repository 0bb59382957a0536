"""One command's way to the fleet: settings in, backends opened, a first look taken, everything closed after."""

from __future__ import annotations

import asyncio
import shlex
from argparse import Namespace
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from tritonctl.backend import Backend
from tritonctl.errors import Forbidden, NotFound, OperationFailed, TritonctlError, Unreachable, UsageError
from tritonctl.fleet import Fleet
from tritonctl.inventory import (
    BackendState,
    BackendStatus,
    HostGpu,
    Level,
    ModelState,
    ReplicaStatus,
    ServiceStatus,
    Snapshot,
)
from tritonctl.settings import Settings
from tui.commands.streams import say
from tui.commands.text import Style

if TYPE_CHECKING:
    from tritonctl.server.client import ServerClient

READ_TIMEOUT_S = 10.0
INFER_TIMEOUT_S = 30.0
CHANGE_TIMEOUT_S = 300.0
LONGER = "give it longer with --timeout SECONDS"
_GRACE_S = 0.5
_OTHERS_S = 2.0


class Ability(NamedTuple):
    """Something a backend needs of this machine: whether it is there, in words, and what to do where it is not."""

    name: str
    there: bool
    detail: str
    advice: str


@dataclass(frozen=True)
class Places:
    """How to open what lies on the floor below, handed in so that no command knows a backend."""

    backends: Callable[[Settings], Sequence[Backend]]
    demo: Callable[[bool], Backend]
    host_gpus: Callable[[], Callable[[], tuple[HostGpu, ...]]]
    abilities: Callable[[], tuple[Ability, ...]]


@dataclass(frozen=True)
class Session:
    """What every command gets."""

    arguments: Namespace
    settings: Settings
    places: Places

    @property
    def read_timeout_s(self) -> float:
        return self._timeout_s(READ_TIMEOUT_S)

    @property
    def look_timeout_s(self) -> float:
        """For looks that end by themselves after `read_timeout_s`: a little more, so that they say what they met."""
        return self.read_timeout_s + _GRACE_S

    @property
    def infer_timeout_s(self) -> float:
        return self._timeout_s(INFER_TIMEOUT_S)

    @property
    def change_timeout_s(self) -> float:
        return self._timeout_s(CHANGE_TIMEOUT_S)

    def _timeout_s(self, default_s: float) -> float:
        return self.settings.timeout_s if self.settings.timeout_s is not None else default_s

    @property
    def json(self) -> bool:
        return bool(self.arguments.output == "json")

    @property
    def style(self) -> Style:
        return Style.of_stdout(no_color=self.arguments.no_color, ascii=self.settings.ascii)

    @asynccontextmanager
    async def fleet(self, *, interval_s: float | None = None) -> AsyncIterator[Fleet]:
        one = getattr(self.arguments, "service", None) is not None  # it alone is looked at, once it is found
        async with Fleet(
            self.places.backends(self.settings),
            probing=not one,
            read_only=self.settings.read_only,
            interval_s=interval_s if interval_s is not None else self.settings.interval_s,
            deadline_s=self.read_timeout_s if self.arguments.timeout else min(self.read_timeout_s, 5.0),
        ) as fleet:
            if one:
                fleet.look_at(())
            telling = asyncio.create_task(_tell_what_is_waited_for(fleet))
            try:
                yield fleet
            finally:
                telling.cancel()
                await asyncio.gather(telling, return_exceptions=True)

    async def named(self, fleet: Fleet, name: str | None = None, *, patient: bool = False) -> ServiceStatus:
        """The service that the command names, as soon as its place has listed it: a slow place delays no other one.

        The end of a name is taken for the one service that has it when the other places have had two seconds to list
        theirs, or, for who is `patient`, all the time there is: changes.
        Raises NotFound or UsageError, or the error of the backend that could not be asked whether it has the service.
        """
        wanted: str = name or self.arguments.service
        snapshot = fleet.snapshot
        with suppress(TimeoutError):
            async with asyncio.timeout(self.read_timeout_s) as limit:
                while wanted not in snapshot.by_id and _still_asking(snapshot):
                    if not patient and _is_known(fleet, wanted):
                        patient = True
                        soon = asyncio.get_running_loop().time() + _OTHERS_S
                        limit.reschedule(min(limit.when() or soon, soon))
                    snapshot = await fleet.changed(snapshot)
        try:
            found = fleet.resolve(wanted)
        except NotFound:
            raise_lost(fleet.snapshot)
            raise
        asking = _still_asking(fleet.snapshot)
        if found.id != wanted and asking:
            say(f"{wanted!r} is taken for {found.id}: {', '.join(asking)} did not tell in time what is there")
        return found

    async def within(self, fleet: Fleet) -> ServiceStatus:
        """The service that the command names, or, where that is what several services stand under (an endpoint), the
        first of them. Raises as `named` does."""
        try:
            return await self.named(fleet, patient=True)
        except NotFound:
            below = fleet.below(self.arguments.service)
            if not below:
                raise
            return below[0]

    async def listed(self, fleet: Fleet, place: str) -> None:
        """Returns when the place has told what is there. Raises its error where it cannot be asked."""
        snapshot = fleet.snapshot
        while place in _still_asking(snapshot):
            snapshot = await fleet.changed(snapshot)
        raise_lost(replace(snapshot, backends=tuple(each for each in snapshot.backends if each.name == place)))

    async def find(self, fleet: Fleet, name: str | None = None, *, patient: bool = False) -> ServiceStatus:
        """The service that the command names, after a first look at its servers. Raises as `named` does."""
        found = await self.named(fleet, name, patient=patient)
        fleet.start_probing(found.id)
        snapshot = fleet.snapshot
        with suppress(TimeoutError):
            async with asyncio.timeout(self.look_timeout_s):
                while not all(each.looked for each in fleet.resolve(found.id).replicas):
                    snapshot = await fleet.changed(snapshot)
        return fleet.resolve(found.id)


def _still_asking(snapshot: Snapshot) -> list[str]:
    """The backends that have told nothing yet."""
    return [each.name for each in snapshot.backends if each.state is BackendState.CONNECTING]


def _is_known(fleet: Fleet, name: str) -> bool:
    try:
        fleet.resolve(name)
    except NotFound:
        return False
    except UsageError:  # several have it: waiting longer makes it no clearer
        return True
    return True


async def _tell_what_is_waited_for(fleet: Fleet) -> None:
    """To stderr, once: what a person must do before a place can be asked at all, such as a code to be entered."""
    told: set[str] = set()
    snapshot = fleet.snapshot
    while True:
        for each in snapshot.backends:
            if each.state is BackendState.CONNECTING and each.warning and each.advice not in told:
                told.add(each.advice)
                say(f"backend {each.name}: {each.detail}")
                say(f"  → {each.advice}")
        snapshot = await fleet.changed(snapshot)


def is_lost(backend: BackendStatus) -> bool:
    """It was asked for and does not answer; one that is only tried because it is often there is not missed."""
    return backend.state is not BackendState.CONNECTED and not backend.optional


def trouble(backend: BackendStatus) -> str:
    """Why its services are not known; "" where they are."""
    return "" if backend.state is BackendState.CONNECTED else backend.detail or "did not answer in time"


def advice_of(backend: BackendStatus) -> str:
    """What to do about it. What one that still waits for something wants was told when it began to."""
    return LONGER if backend.state is BackendState.CONNECTING else backend.advice


def raise_lost(snapshot: Snapshot) -> None:
    """Forbidden where the login is lost or lacks the rights, else Unreachable."""
    for backend in filter(is_lost, snapshot.backends):
        kind: type[TritonctlError] = Forbidden if backend.forbidden else Unreachable
        raise kind(f"backend {backend.name}", trouble(backend), advice_of(backend))


def warn_lost(snapshot: Snapshot) -> None:
    """To stderr: the backends whose services are missing from what is printed."""
    for backend in filter(is_lost, snapshot.backends):
        say(f"backend {backend.name}: {trouble(backend)}")
        if advice := advice_of(backend):
            say(f"  → {advice}")


def reachable_or_raise(status: ServiceStatus) -> None:
    """Raise what kept every replica's server from answering."""
    first_reachable(status)


def first_reachable(status: ServiceStatus, model: str | None = None) -> ReplicaStatus:
    """A replica whose server answers, one that serves `model` before others. Raises why there is none."""
    answering = [
        each for each in status.replicas if each.replica.address is not None and each.error is None and each.looked
    ]
    if not answering:
        raise service_error(status)
    serving = {
        on.replica
        for each in status.models
        if each.name == model
        for on in each.on
        if on.model.state is ModelState.READY
    }
    return next((each for each in answering if each.replica.name in serving), answering[0])


def client_of(target: ReplicaStatus, timeout_s: float) -> ServerClient:
    from tritonctl.server.client import ServerClient

    if target.replica.address is None:
        raise Unreachable(target.replica.name, target.replica.no_address or "its server has no known address")
    return ServerClient(target.replica.address, timeout_s=timeout_s)


def service_error(status: ServiceStatus) -> TritonctlError:
    """Why no server of the service can be asked."""
    for each in status.replicas:
        if each.error is not None:
            kind: type[TritonctlError] = Unreachable
            if each.error_kind == "forbidden":
                kind = Forbidden
            elif each.error_kind == "failed":
                kind = OperationFailed
            platform = status.service.platform
            if platform.level is Level.FAILED and platform.reason:  # why it does not answer
                words = f"{each.error}; {platform.state}: {platform.reason}"
                return kind(status.id, words, f"tritonctl triage {shlex.quote(status.id)}")
            return kind(status.id, each.error, each.advice or "")
    reason = next((each.replica.no_address for each in status.replicas if each.replica.no_address), None)
    if reason is None and any(each.replica.address is not None for each in status.replicas):
        return Unreachable(status.id, "its server did not answer in time", "give it longer with --timeout", "timeout")
    return Unreachable(status.id, reason or f"no server of it can be reached ({status.service.platform.state})")
