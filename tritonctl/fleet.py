"""The one owner of state: it watches the backends, looks at every replica's server, and publishes snapshots."""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable, Collection, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from tritonctl import status
from tritonctl.apart import apart
from tritonctl.backend import Backend, Changed, Listed, Removed, Told, Update
from tritonctl.errors import NotFound, OperationFailed, TritonctlError, UsageError, fault
from tritonctl.inventory import (
    BackendState,
    BackendStatus,
    HostGpu,
    Point,
    Replica,
    ReplicaStatus,
    Service,
    ServiceStatus,
    Snapshot,
)
from tritonctl.logreasons import LogReasons
from tritonctl.pace import INTERVAL_S, Pace, phase
from tritonctl.probe import LOOK_DEADLINE_S, ServerProbe

_LEAST_WINDOW = 0.8  # of the interval
HISTORY = 120  # points kept for a service's charts
_BACKOFF_S = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0)
_HELD_S = 30.0  # a watch that held so long was well; one that lists and dies at once is not
_CLOSE_S = 1.0
_HOST_DEADLINE_S = 5.0


@dataclass(slots=True)
class _Tracked:
    """A service with what its replicas' probes saw last."""

    service: Service
    phase: float = 0.0  # where in the interval its looks are due, 0..1
    replicas: dict[str, ReplicaStatus] = field(default_factory=dict)
    probes: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    history: deque[Point] = field(default_factory=lambda: deque(maxlen=HISTORY))
    reasons: LogReasons = field(default_factory=LogReasons)
    derived: ServiceStatus | None = None


class Fleet:
    """Use as `async with Fleet(backends) as fleet`; leaving ends every task and closes every connection.

    `interval_s` is how often a replica on screen is looked at; a look that hangs ends after `deadline_s`.
    """

    def __init__(
        self,
        backends: Sequence[Backend],
        *,
        read_only: bool = False,
        interval_s: float = INTERVAL_S,
        deadline_s: float = LOOK_DEADLINE_S,
        read_host_gpus: Callable[[], tuple[HostGpu, ...]] | None = None,
        probing: bool = True,
    ) -> None:
        self.backends = {backend.name: backend for backend in backends}
        self.read_only = read_only
        self.interval_s = interval_s
        self._deadline_s = deadline_s
        self._tracked: dict[str, _Tracked] = {}
        self._backend_status = {
            backend.name: BackendStatus(
                backend.name,
                backend.kind,
                BackendState.CONNECTING,
                read_only=read_only or backend.read_only,
                optional=backend.optional,
            )
            for backend in backends
        }
        self._listed: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._news = asyncio.Event()
        self._snapshot: Snapshot | None = None
        self._struck = asyncio.Event()  # the platform of what is in view told another state
        self._hurry: dict[tuple[str, str], asyncio.Event] = {}  # by service and replica
        self._pace = Pace(interval_s, lambda: {key: len(each.probes) for key, each in self._tracked.items()})
        self._read_host_gpus = read_host_gpus
        self._host_gpus: tuple[HostGpu, ...] = ()
        self._probing = asyncio.Event()
        self._gates: dict[str, asyncio.Event] = {}
        if probing:
            self._probing.set()

    async def __aenter__(self) -> Fleet:
        for backend in self.backends.values():
            self._start(self._watch(backend), f"watch {backend.name}")
        if self._read_host_gpus is not None:
            self._start(self._watch_host(self._read_host_gpus), "watch this host's GPUs")
        return self

    async def __aexit__(self, *_: object) -> None:
        tasks = [*self._tasks, *(task for each in self._tracked.values() for task in each.probes.values())]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with suppress(TimeoutError):  # what does not close in time is closed with the process
            async with asyncio.timeout(_CLOSE_S):
                closing = (backend.aclose() for backend in self.backends.values())
                await asyncio.gather(*closing, return_exceptions=True)

    def start_probing(self, only: str | None = None) -> None:
        """Begin to look at the servers, where the fleet was made with probing=False: after the first frame is drawn.

        With `only`, at those of this service alone: a command about one asks nothing of the others.
        """
        if only is not None:
            if self._pace.in_view != frozenset({only}):
                self.look_at((only,))
            self._gate(only).set()
            return
        self._probing.set()
        for gate in self._gates.values():
            gate.set()

    def _gate(self, service_id: str) -> asyncio.Event:
        """Set once the servers of this service may be looked at."""
        gate = self._gates.setdefault(service_id, asyncio.Event())
        if self._probing.is_set():
            gate.set()
        return gate

    # What readers use

    @property
    def snapshot(self) -> Snapshot:
        """What is known now. The same object until something changes."""
        if self._snapshot is None:
            services = tuple(self._status(each) for _, each in sorted(self._tracked.items()))
            self._snapshot = Snapshot(
                time.time(),
                services,
                tuple(self._backend_status.values()),
                self._host_gpus,
                {each.id: each for each in services},
            )
        return self._snapshot

    async def changed(self, since: Snapshot) -> Snapshot:
        """The first snapshot that is not `since`; waits for it."""
        while self._snapshot is since:
            await self._news.wait()
        return self.snapshot

    def list_all(self, everything: bool) -> list[str]:
        """Have the places list also what is not Triton, or no longer; the names of those that can."""
        return [name for name, backend in self.backends.items() if backend.list_all(everything)]

    async def struck(self, within_s: float) -> bool:
        """Waits for that time, or until a place tells another state of a service in view, or what exists for the first
        time; whether it did."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._struck.wait()
        struck = self._struck.is_set()
        self._struck.clear()
        return struck

    def history(self, service_id: str) -> tuple[Point, ...]:
        """The service's figures, oldest first, one for each look; a gap for one that brought none."""
        tracked = self._tracked.get(service_id)
        return tuple(tracked.history) if tracked else ()

    def look_at(self, service_ids: Collection[str] | None, *, detailed: str | None = None) -> None:
        """What is on screen: looked at at the full rate, the rest slower. `detailed` also reads its statistics.

        What comes into view is looked at now; its next look may have been far off.
        """
        before, was_in_view = self._pace.detailed, self._pace.in_view
        self._pace.in_view = frozenset(service_ids) if service_ids is not None else None
        for backend in self.backends.values():
            backend.look_at(self._pace.in_view)
        self._pace.detailed = detailed
        if detailed is not None and detailed != before:
            self.hurry(detailed)
        if was_in_view is not None:
            for service_id in self._tracked if self._pace.in_view is None else self._pace.in_view:
                if service_id not in was_in_view and service_id != detailed:
                    self._hurry_if_old(service_id)

    def hurry(self, service_id: str) -> None:
        """Look at this service now, not when its turn comes."""
        tracked = self._tracked.get(service_id)
        for replica in tracked.probes if tracked else ():
            self._hurry[service_id, replica].set()

    def _hurry_if_old(self, service_id: str) -> None:
        tracked = self._tracked.get(service_id)
        seen = [each.seen_at for each in tracked.replicas.values()] if tracked else []
        if any(at is None or time.time() - at > self.interval_s for at in seen):
            self.hurry(service_id)

    async def first_look(self, deadline_s: float, only: Collection[str] | None = None) -> Snapshot:
        """The snapshot once every backend has listed and every replica's server was looked at, or at the deadline."""
        with suppress(TimeoutError):
            async with asyncio.timeout(deadline_s):
                while not self._all_looked(only):
                    await self._news.wait()
                return self.snapshot
        for each in self._tracked.values():
            for name, seen in each.replicas.items():
                if not seen.looked and (only is None or each.service.id in only):
                    each.replicas[name] = replace(
                        seen, error=f"no answer within {deadline_s:g} s", error_kind="timeout"
                    )
                    self._publish(each)
        return self.snapshot

    def resolve(self, name: str) -> ServiceStatus:
        """The service that an address or a unique end of one means, else the one with a replica of that name.

        Raises NotFound, or UsageError with the candidates when several match.
        """
        snapshot = self.snapshot
        if name in snapshot.by_id:
            return snapshot.by_id[name]
        found = [each for each in snapshot.services if _is_end(each, name)]
        found = found or [each for each in snapshot.services if _has_replica(each, name)]
        if len(found) == 1:
            return found[0]
        if found:
            raise UsageError(
                f"service {name!r}",
                "this name matches " + ", ".join(each.id for each in found),
                "write one of these in full",
            )
        known = ", ".join(each.id for each in snapshot.services[:10]) or "none is known"
        raise NotFound(f"service {name!r}", "there is no such service", f"services: {known}")

    def below(self, name: str) -> tuple[ServiceStatus, ...]:
        """The services that stand under `name`, as an endpoint's deployments do.

        Raises UsageError where it could mean several.
        """
        found = [each for each in self.snapshot.services if _is_end_of(name, each.id.rpartition("/")[0])]
        parents = dict.fromkeys(each.id.rpartition("/")[0] for each in found)
        if len(parents) > 1:
            raise UsageError(f"service {name!r}", "this name matches " + ", ".join(parents), "write one in full")
        return tuple(found)

    def read_only_for(self, service_id: str) -> bool:
        """Whether nothing may be changed of this service: everywhere, or at its backend."""
        backend = self.backends.get(service_id.partition("/")[0])  # also of a service that is gone by now
        return self.read_only or (backend is not None and backend.read_only)

    def backend_of(self, service: Service) -> Backend:
        return self.backends[service.backend]

    # Watching and probing

    def _start(self, work: Coroutine[object, object, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _publish(self, tracked: _Tracked | None = None) -> None:
        if tracked is not None:
            tracked.derived = None
        self._snapshot = None
        news, self._news = self._news, asyncio.Event()
        news.set()

    def _status(self, tracked: _Tracked) -> ServiceStatus:
        if tracked.derived is None:
            tracked.derived = status.derive(tracked.service, list(tracked.replicas.values()))
        return tracked.derived

    async def _watch(self, backend: Backend) -> None:
        """Watch for ever; a backend that fails is watched again after a growing pause, and what it told is kept."""
        failures = 0
        while True:
            error: TritonctlError | None = None
            told = False
            began = time.monotonic()
            try:
                async for update in backend.watch():
                    told = True
                    self._apply(backend, update)
            except TritonctlError as failed:
                error = failed
            except Exception as caught:  # one backend's fault must not leave its services to look alive for ever
                error = fault(f"watch {backend.name}", caught)
            if error is None and not told:
                error = OperationFailed(f"watch {backend.name}", "it ended without telling what exists")
            if error is None:
                # All is told that ever will be, or a stream ended unnoticed: asking again, seldom, does for both.
                await asyncio.sleep(_BACKOFF_S[-1])
                continue
            self._set_backend(backend, BackendState.LOST, error)
            self._listed.add(backend.name)
            self._publish()
            if time.monotonic() - began > _HELD_S:
                failures = 0
            pause = _BACKOFF_S[min(failures, len(_BACKOFF_S) - 1)]
            failures += 1
            await asyncio.sleep(pause * random.uniform(0.8, 1.2))

    async def _watch_host(self, read: Callable[[], tuple[HostGpu, ...]]) -> None:
        """NVML blocks, and hangs with a driver that does; a host without GPUs is asked once."""
        await self._probing.wait()
        while True:
            reading = asyncio.create_task(apart(read))
            try:
                await asyncio.wait([reading], timeout=_HOST_DEADLINE_S)
                if not reading.done():
                    self._set_host_gpus(())  # no longer known; asked again only when this one call has come back
                self._set_host_gpus(await reading)
            finally:
                reading.cancel()
            if not self._host_gpus:
                return
            await asyncio.sleep(self.interval_s)

    def _set_host_gpus(self, gpus: tuple[HostGpu, ...]) -> None:
        if gpus != self._host_gpus:
            self._host_gpus = gpus
            self._publish()

    def _set_backend(self, backend: Backend, state: BackendState, error: TritonctlError | None = None) -> None:
        self._backend_status[backend.name] = replace(
            self._backend_status[backend.name],
            state=state,
            detail=error.answer if error else "",
            advice=error.advice if error else "",
            warning=False,
        )

    def _apply(self, backend: Backend, update: Update) -> None:
        if isinstance(update, Told) and backend.name not in self._listed:  # what it waits for: a person who signs in
            self._say_of(backend, update)
            return
        if isinstance(update, Listed) and not update.whole:
            for service in update.services:
                self._keep(service)
            self._publish()
            return
        if self._backend_status[backend.name].state is not BackendState.CONNECTED:
            self._set_backend(backend, BackendState.CONNECTED)
        if isinstance(update, Listed):
            here = {service.id for service in update.services}
            for gone in [key for key, each in self._tracked.items() if each.service.backend == backend.name]:
                if gone not in here:
                    self._forget(gone)
            for service in update.services:
                self._keep(service)
            if update.services and backend.name not in self._listed:
                self._struck.set()
            self._listed.add(backend.name)
        elif isinstance(update, Changed):
            self._keep(update.service)
        elif isinstance(update, Removed):
            self._forget(update.service_id)
        elif isinstance(update, Told):
            self._say_of(backend, update)
        self._publish()

    def _say_of(self, backend: Backend, told: Told) -> None:
        self._backend_status[backend.name] = replace(
            self._backend_status[backend.name], detail=told.text, advice=told.advice, warning=told.warning
        )
        self._publish()

    def _keep(self, service: Service) -> None:
        tracked = self._tracked.setdefault(service.id, _Tracked(service, phase(len(self._tracked))))
        if tracked.service.platform != service.platform and self._pace.shows(service.id):
            self._struck.set()
        tracked.service = service
        tracked.derived = None
        wanted = {replica.name: replica for replica in service.replicas}
        for name in [name for name in tracked.replicas if name not in wanted]:
            del tracked.replicas[name]
        for name, replica in wanted.items():
            before = tracked.replicas.get(name)
            if before is not None and before.replica == replica:
                continue
            if before is None or _is_another(before.replica, replica):
                self._stop_probe(tracked, name)
                tracked.replicas[name] = ReplicaStatus(replica, looked=_has_no_server(replica))
                tracked.reasons.forget()  # what the log of the one before it said is not of this one
            else:
                tracked.replicas[name] = replace(
                    before, replica=replica, looked=before.looked or _has_no_server(replica)
                )
        for name in list(tracked.probes):
            if name not in wanted or wanted[name].address is None:
                self._stop_probe(tracked, name)
        for name, replica in wanted.items():
            if replica.address is not None and name not in tracked.probes:
                self._hurry[service.id, name] = asyncio.Event()
                task = asyncio.create_task(self._probe(tracked, replica), name=f"probe {service.id} {name}")
                tracked.probes[name] = task

    def _forget(self, service_id: str) -> None:
        tracked = self._tracked.pop(service_id, None)
        self._gates.pop(service_id, None)
        for name in list(tracked.probes) if tracked else ():
            assert tracked is not None
            self._stop_probe(tracked, name)

    def _stop_probe(self, tracked: _Tracked, replica: str) -> None:
        task = tracked.probes.pop(replica, None)
        self._hurry.pop((tracked.service.id, replica), None)
        if task is not None:
            task.cancel()
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _probe(self, tracked: _Tracked, replica: Replica) -> None:
        service_id = tracked.service.id
        backend = self.backends[tracked.service.backend]
        hurry = self._hurry[service_id, replica.name]
        probe = ServerProbe(
            replica,
            may_ask_mode=not (self.read_only or backend.read_only),
            deadline_s=self._deadline_s,
            least_window_s=_LEAST_WINDOW * self.interval_s,
        )
        await self._gate(service_id).wait()
        wait_s, met = self._pace.meet(), False
        try:
            await asyncio.sleep(wait_s)
            while True:
                hurry.clear()
                seen = await probe.look(
                    tracked.replicas[replica.name],
                    statistics=self._pace.detailed == service_id,
                    log_reasons=tracked.reasons.by_model,
                )
                self._saw(tracked, replica.name, seen)
                if not met:
                    self._pace.met()
                    met = True
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._pace.pause_s(service_id, tracked.phase)):
                        await hurry.wait()
        finally:
            if not met:
                self._pace.met()
            await probe.aclose()

    def _saw(self, tracked: _Tracked, replica: str, seen: ReplicaStatus) -> None:
        before = tracked.replicas.get(replica)
        if before is None:
            return
        # What the platform says may have changed while the server was asked.
        tracked.replicas[replica] = replace(seen, replica=before.replica)
        if before.error is not None and seen.error is None:
            tracked.reasons.forget()  # it came back: what its log said of the run before is old
        self._publish(tracked)
        now = self._status(tracked)
        at = time.time()
        newest = tracked.history[-1].at if tracked.history else 0.0
        if at - newest < self.interval_s / 2:
            pass  # charts have even steps: a hurried look adds none
        elif seen.rates is not None and now.rates is not None:
            tracked.history.append(Point.of(now.rates, at))
        elif tracked.history and all(each.rates is None for each in tracked.replicas.values()):
            tracked.history.append(Point.unknown(at))
        backend = self.backends[tracked.service.backend]
        if tracked.reasons.are_wanted(backend, tracked.replicas.values()):
            self._start(self._read_log(tracked, backend), f"log {tracked.service.id}")

    def read_log_again(self, service_id: str) -> None:
        """After a load that failed: its reason may be new."""
        tracked = self._tracked.get(service_id)
        if tracked is not None:
            tracked.reasons.forget()
            self.hurry(service_id)

    async def log_read(self, service_id: str) -> None:
        """Returns when no log of this service is being read for reasons, and a look has taken them in.

        Ends by itself: reading has a deadline, and so has the look that is hurried after it.
        """
        while reading := [task for task in self._tasks if task.get_name() == f"log {service_id}"]:
            await asyncio.gather(*reading, return_exceptions=True)
            snapshot = self.snapshot
            with suppress(TimeoutError):
                async with asyncio.timeout(self._deadline_s):
                    while (tracked := self._tracked.get(service_id)) and not tracked.reasons.are_shown(
                        tracked.replicas.values()
                    ):
                        snapshot = await self.changed(snapshot)

    async def logs_read(self) -> Snapshot:
        """The snapshot once `log_read` is so for every service."""
        await asyncio.gather(*(self.log_read(service_id) for service_id in list(self._tracked)))
        return self.snapshot

    async def _read_log(self, tracked: _Tracked, backend: Backend) -> None:
        if await tracked.reasons.read(backend, tracked.service):
            self.hurry(tracked.service.id)

    def _all_looked(self, only: Collection[str] | None) -> bool:
        if len(self._listed) < len(self.backends):
            return False
        return all(
            seen.looked
            for service_id, each in self._tracked.items()
            if only is None or service_id in only
            for seen in each.replicas.values()
        )


def _is_another(before: Replica, now: Replica) -> bool:
    """Whether another process answers than before: elsewhere, or started anew; it may be loading its models again."""
    return before.address != now.address or now.started_at not in (None, before.started_at)


def _has_no_server(replica: Replica) -> bool:
    """There is nothing to look at, nor will there be once its place has said how it is reached."""
    return replica.address is None and not replica.address_pending


def _is_end(service: ServiceStatus, name: str) -> bool:
    return service.id.endswith("/" + name)


def _has_replica(status: ServiceStatus, name: str) -> bool:
    """As the place calls it: a container of a compose service, a pod; `name:port` is one server of several."""
    wanted = name.removeprefix(status.service.backend + "/")
    return any(wanted in (each.name, each.name.partition(":")[0]) for each in status.service.replicas)


def _is_end_of(name: str, address: str) -> bool:
    """Not of a backend's own name: nothing there is one thing."""
    return "/" in address and (address == name or address.endswith("/" + name))
