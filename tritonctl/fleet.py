"""The one owner of state: it watches the backends, looks at every replica's server, and publishes snapshots."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from tritonctl import names
from tritonctl.apart import apart
from tritonctl.backend import Backend, Changed, Listed, Removed, Told, Update
from tritonctl.errors import Forbidden, OperationFailed, Refused, TritonctlError, fault
from tritonctl.inventory import (
    BackendState,
    BackendStatus,
    HostGpu,
    Point,
    ReplicaStatus,
    Service,
    ServiceStatus,
    Snapshot,
)
from tritonctl.lookout import Lookout
from tritonctl.pace import INTERVAL_S, phase
from tritonctl.probe import LOOK_DEADLINE_S
from tritonctl.retries import Retries
from tritonctl.server.address import Secret
from tritonctl.tracked import Tracked

_BACKOFF_S = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0)
_CLOSE_S = 1.0
_WAITS_S = 0.5
_HOST_DEADLINE_S = 5.0


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
        self._tracked: dict[str, Tracked] = {}
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
        self._struck = asyncio.Event()  # a place told another state of what is in view, or a worse one
        self._lookout = Lookout(interval_s, deadline_s, self._saw)
        self._read_host_gpus = read_host_gpus
        self._host_gpus: tuple[HostGpu, ...] = ()
        if probing:
            self._lookout.begin()

    async def __aenter__(self) -> Fleet:
        for backend in self.backends.values():
            self._start(self._watch(backend), f"watch {backend.name}")
            self._start(self._tell_waiting(backend), f"what {backend.name} waits for")
        if self._read_host_gpus is not None:
            self._start(self._watch_host(self._read_host_gpus), "watch this host's GPUs")
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await self._lookout.aclose()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with suppress(TimeoutError):  # what does not close in time is closed with the process
            async with asyncio.timeout(_CLOSE_S):
                closing = (backend.aclose() for backend in self.backends.values())
                await asyncio.gather(*closing, return_exceptions=True)

    def start_probing(self, only: str | None = None) -> None:
        """Begin to look at the servers, where the fleet was made with probing=False: after the first frame is drawn.

        With `only`, at those of this service alone: a command about one asks nothing of the others.
        """
        if only is not None and self._lookout.in_view != frozenset({only}):
            self.look_at((only,))
        self._lookout.begin(only)

    # What readers use

    @property
    def snapshot(self) -> Snapshot:
        """What is known now. The same object until something changes."""
        if self._snapshot is None:
            services = tuple(each.status() for _, each in sorted(self._tracked.items()))
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
        """Waits for that time, or until a place tells another state of a service in view, a worse one of any, or what
        exists for the first time; whether it did."""
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
        before = self._lookout.in_view
        self._lookout.look_at(service_ids, detailed)
        now = self._lookout.in_view
        for backend in self.backends.values():
            backend.look_at(now)
        if before is None:
            return
        for service_id in (self._tracked.keys() if now is None else now) - before - {detailed}:
            tracked = self._tracked.get(service_id)
            if tracked is not None and tracked.older_than(self.interval_s):
                self.hurry(service_id)

    def hurry(self, service_id: str) -> None:
        """Look at this service now, not when its turn comes."""
        self._lookout.hurry(service_id)

    async def first_look(self, deadline_s: float, only: Collection[str] | None = None) -> Snapshot:
        """The snapshot once every backend has listed and every replica's server was looked at, or at the deadline."""
        with suppress(TimeoutError):
            async with asyncio.timeout(deadline_s):
                while not self._all_looked(only):
                    await self._news.wait()
                return self.snapshot
        for service_id, tracked in self._tracked.items():
            if (only is None or service_id in only) and tracked.give_up(deadline_s):
                self._publish()
        return self.snapshot

    def resolve(self, name: str) -> ServiceStatus:
        """Raises NotFound, or UsageError with the candidates when several match."""
        return names.resolve(self.snapshot, name)

    def below(self, name: str) -> tuple[ServiceStatus, ...]:
        """The services that stand under `name`. Raises UsageError where it could mean several."""
        return names.below(self.snapshot, name)

    def read_only_for(self, service_id: str) -> bool:
        """Whether nothing may be changed of this service: everywhere, or at its backend."""
        backend = self.backends.get(service_id.partition("/")[0])  # also of a service that is gone by now
        return self.read_only or (backend is not None and backend.read_only)

    def backend_of(self, service: Service) -> Backend:
        return self.backends[service.backend]

    async def keys(self, service: Service) -> Mapping[str, Secret]:
        """What its callers authenticate with: the one door to it, as `carry_out` is for changes.

        Raises Refused in read-only mode: who may only look is handed nothing to act with.
        """
        if self.read_only_for(service.id):
            raise Refused(
                f"keys of {service.id}",
                "read-only mode shows none",
                "start without --read-only, or set read_only = false for this backend",
            )
        return await self.backend_of(service).keys(service)

    # Watching and probing

    def _start(self, work: Coroutine[object, object, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _publish(self) -> None:
        self._snapshot = None
        news, self._news = self._news, asyncio.Event()
        news.set()

    async def _watch(self, backend: Backend) -> None:
        """Watch for ever; a backend that fails is watched again after a growing pause, and what it told is kept."""
        retries = Retries(_BACKOFF_S)
        while True:
            error: TritonctlError | None = None
            told = False
            retries.begin()
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
            await asyncio.sleep(retries.pause_s())

    async def _tell_waiting(self, backend: Backend) -> None:
        """Until it has told what is there, why it has not: a person or a command that waits is to know."""
        before: Told | None = None
        while backend.name not in self._listed:
            told = backend.waits_for()
            mine = before is not None and self._backend_status[backend.name].detail == before.text
            if told is not None and told != before:
                self._say_of(backend, told)
            elif told is None and mine:  # what else was told meanwhile stays
                self._say_of(backend, Told(""))
            before = told
            await asyncio.sleep(_WAITS_S)

    async def _watch_host(self, read: Callable[[], tuple[HostGpu, ...]]) -> None:
        """NVML blocks, and hangs with a driver that does; a host without GPUs is asked once, a driver that went away
        again and again."""
        await self._lookout.begun()
        had_some = False
        while True:
            reading = asyncio.create_task(apart(read))
            try:
                await asyncio.wait([reading], timeout=_HOST_DEADLINE_S)
                if not reading.done():
                    self._set_host_gpus(())  # no longer known; asked again only when this one call has come back
                self._set_host_gpus(await reading)
            finally:
                reading.cancel()
            had_some = had_some or bool(self._host_gpus)
            if not had_some:
                return
            await asyncio.sleep(self.interval_s)

    def _set_host_gpus(self, gpus: tuple[HostGpu, ...]) -> None:
        if gpus != self._host_gpus:
            self._host_gpus = gpus
            self._publish()

    def _set_backend(self, backend: Backend, state: BackendState, error: TritonctlError | None = None) -> None:
        before = self._backend_status[backend.name]
        self._backend_status[backend.name] = replace(
            before,
            state=state,
            lost_at=(before.lost_at or time.time()) if state is BackendState.LOST else None,
            detail=error.answer if error else "",
            advice=error.advice if error else "",
            warning=False,
            forbidden=isinstance(error, Forbidden),
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
        known = self._tracked.get(service.id)
        if known is not None and known.service is service:
            return  # the whole of a list that came in parts: what was told already is not thought through again
        tracked = known or Tracked(service, phase(len(self._tracked)))
        self._tracked[service.id] = tracked
        before, now = tracked.service.platform, service.platform
        if before != now and (self._lookout.shows(service.id) or now.level < before.level):
            self._struck.set()  # what got worse comes to the top of the table, where it was out of view too
        new = tracked.take(service)
        self._lookout.keep(tracked, new, may_ask_mode=not self.read_only_for(service.id))

    def _forget(self, service_id: str) -> None:
        self._tracked.pop(service_id, None)
        self._lookout.forget(service_id)

    def _saw(self, tracked: Tracked, replica: str, seen: ReplicaStatus) -> None:
        if not tracked.saw(replica, seen, self.interval_s):
            return
        self._publish()
        backend = self.backend_of(tracked.service)
        if seen.error_kind == "forbidden":
            backend.turned_away(tracked.service.id)
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
        more = True
        while more:
            await asyncio.gather(*self._readings(service_id), return_exceptions=True)
            snapshot = self.snapshot
            with suppress(TimeoutError):
                async with asyncio.timeout(self._deadline_s):
                    # Also where nobody reads: a look that had begun before may have landed after the log was read.
                    while (tracked := self._tracked.get(service_id)) and not tracked.reasons.are_shown(
                        tracked.replicas.values()
                    ):
                        snapshot = await self.changed(snapshot)
            more = bool(self._readings(service_id))

    def _readings(self, service_id: str) -> list[asyncio.Task[None]]:
        return [task for task in self._tasks if task.get_name() == f"log {service_id}"]

    async def logs_read(self) -> Snapshot:
        """The snapshot once `log_read` is so for every service."""
        await asyncio.gather(*(self.log_read(service_id) for service_id in list(self._tracked)))
        return self.snapshot

    async def _read_log(self, tracked: Tracked, backend: Backend) -> None:
        if await tracked.reasons.read(backend, tracked.service):
            self.hurry(tracked.service.id)

    def _all_looked(self, only: Collection[str] | None) -> bool:
        if len(self._listed) < len(self.backends):
            return False
        return all(each.looked for key, each in self._tracked.items() if only is None or key in only)
