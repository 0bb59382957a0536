"""What workspaces hold, kept up by asking again: often where something is under way or looked at, else seldom."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from backends.azure.operations import Progress
from backends.azureml.access import Access, access_to
from backends.azureml.documents import Deployment, Endpoint
from backends.azureml.place import AGAIN_S, Place
from backends.azureml.services import Known, Protocol, service_of
from backends.azureml.workspaces import Workspace
from tritonctl.backend import Changed, Listed, Removed, Told, Update
from tritonctl.errors import NotFound, TritonctlError, fault
from tritonctl.inventory import Service

_MEET_TOGETHER = 6  # of the eight requests at once that Azure is asked with, so that what changes is not kept waiting
_OTHERS_AFTER_S = 3.0
_TICK_S = 1.0
_TOGETHER_S = 0.1
_SOON_S = 0.25  # between two parts of a list that takes long


_Key = tuple[Workspace, str]
"""A workspace and the name of an endpoint in it."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds between two questions: about what is under way, about what is on screen, about the rest; `list_s` for the
    list of endpoints, which is one request for all of them."""

    fast_s: float = 4.0
    seen_s: float = 15.0
    slow_s: float = 90.0
    list_s: float = 15.0


@dataclass(slots=True)
class _Entry:
    """An endpoint with its deployments and all that was asked about them."""

    workspace: Workspace
    endpoint: Endpoint
    deployments: tuple[Deployment, ...] = ()
    trouble: str = ""
    read_at: float = -1e9  # monotonic
    due_early: bool = False
    access: Access | None = None
    progress: dict[str, Progress | None] = field(default_factory=dict)  # by operation
    built: list[tuple[Known, Service]] | None = None  # None: something of it is new
    protocols: dict[tuple[str, str, str], Protocol] = field(default_factory=dict)
    guessed: dict[tuple[str, str, str], float] = field(default_factory=dict)  # monotonic: when they are asked again

    @property
    def under_way(self) -> bool:
        return self.endpoint.under_way or any(each.under_way for each in self.deployments)

    def protocol(self, deployment: Deployment) -> Protocol:
        return self.protocols.get(_nature(deployment), Protocol.ASKED)

    def wants_protocol(self, deployment: Deployment) -> bool:
        """It was not asked for, or could not be told, a while ago."""
        nature = _nature(deployment)
        return nature not in self.protocols or time.monotonic() >= self.guessed.get(nature, float("inf"))

    def known(self) -> list[Known]:
        of_endpoint = self.progress.get(self.endpoint.operation)
        if not self.deployments:
            alone = Known(self.workspace, self.endpoint, None, endpoint_progress=of_endpoint, trouble=self.trouble)
            return [alone]
        return [
            Known(
                self.workspace,
                self.endpoint,
                each,
                self.protocol(each),
                self.access,
                self.progress.get(each.operation),
                of_endpoint,
                self.trouble,
            )
            for each in self.deployments
        ]


class Watch:
    """One `updates` at a time. `prefix` is what stands before an endpoint's name in a service's."""

    def __init__(
        self,
        place: Place,
        backend: str,
        workspaces: Sequence[Workspace],
        prefix: Callable[[Workspace], str],
        ca: Path | None,
        pace: Pace,
    ) -> None:
        self._place = place
        self._backend = backend
        self.workspaces = workspaces
        self._prefix = prefix
        self._ca = ca
        self._pace = pace
        self._entries: dict[_Key, _Entry] = {}
        self._services: dict[str, Service] = {}
        self._in_view: frozenset[str] | None = None
        self._listed_at = -1e9
        self._fault: TritonctlError | None = None
        self._news = asyncio.Event()
        self._wake = asyncio.Event()
        self._unmet = asyncio.Event()
        self._told = Told("")
        self.known: dict[str, Known] = {}  # by service id

    def look_at(self, service_ids: frozenset[str] | None) -> None:
        if service_ids != self._in_view:
            self._in_view = service_ids
            self._wake.set()
            self._unmet.set()

    def hurry(self, workspace: Workspace, endpoint: str) -> None:
        """Something was changed there just now, or will be gone."""
        entry = self._entries.get((workspace, endpoint))
        if entry is not None:
            entry.due_early = True
        self._listed_at = -1e9
        self._wake.set()

    def forget_access(self, workspace: Workspace, endpoint: str) -> None:
        """Its key is another one now."""
        entry = self._entries.get((workspace, endpoint))
        if entry is not None:
            entry.access = entry.built = None
            self._unmet.set()
            self._news.set()

    async def updates(self) -> AsyncIterator[Update]:
        """Ends only by an error of the list of endpoints. After it what was known stays until all is read anew."""
        self._fault = None
        self._told = Told("")
        listing = asyncio.create_task(self._first(), name=f"list {self._backend}")
        try:
            while not (await asyncio.wait({listing}, timeout=_SOON_S))[0]:
                if new := self._take_in():
                    yield Listed(tuple(each.service for each in new if isinstance(each, Changed)), whole=False)
            await listing
        finally:
            listing.cancel()
            await asyncio.gather(listing, return_exceptions=True)
        # Not all at one time again: a slow turn of two hundred endpoints is spread over its whole time.
        for entry in self._entries.values():
            entry.read_at -= random.uniform(0, self._pace.slow_s / 2)
        self._take_in()
        yield Listed(tuple(self._services.values()))
        tasks = [
            asyncio.create_task(self._guarded(self._poll()), name=f"poll {self._backend}"),
            asyncio.create_task(self._guarded(self._meet()), name=f"meet the endpoints of {self._backend}"),
        ]
        try:
            while True:
                told = self._of_login()
                if told != self._told:
                    self._told = told
                    yield told
                await self._news.wait()
                await asyncio.sleep(_TOGETHER_S)  # what comes together is told together
                self._news.clear()
                if self._fault is not None:
                    raise self._fault
                for update in self._take_in():
                    yield update
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _take_in(self) -> list[Update]:
        """What is different from what was told before."""
        self.known = {}
        services: dict[str, Service] = {}
        for entry in self._entries.values():
            if entry.built is None:
                prefix = self._prefix(entry.workspace)
                entry.built = [(each, service_of(self._backend, prefix, each, self._ca)) for each in entry.known()]
            for known, service in entry.built:
                services[service.id] = service
                self.known[service.id] = known
        before, self._services = self._services, services
        updates: list[Update] = [Removed(gone) for gone in before if gone not in services]
        changed = (each for key, each in services.items() if (old := before.get(key)) is not each and old != each)
        return updates + [Changed(each) for each in changed]

    def _of_login(self) -> Told:
        """A login that cannot be renewed any more is told before it ends."""
        login, scope, tenant = self._place.arm.login, self._place.arm.cloud.arm_scope, self._place.arm.tenant
        until = login.expires_at(scope, tenant)
        trouble = login.trouble(scope, tenant)
        if until is None:
            return Told("")
        clock = time.strftime("%H:%M", time.localtime(until))
        if trouble is not None:
            return Told(f"login ends at {clock}: {trouble.headline}", trouble.advice, warning=True)
        return Told(f"login until {clock}")

    async def _guarded(self, work: Coroutine[object, object, None]) -> None:
        """An error of a task of ours ends the watch, in words."""
        try:
            await work
        except TritonctlError as error:
            self._fault = error
        except Exception as error:
            self._fault = fault(f"watch {self._backend}", error)
        self._news.set()

    # Asking again

    async def _poll(self) -> None:
        while True:
            self._wake.clear()
            now = time.monotonic()
            if now - self._listed_at >= self._list_interval():
                await self._list()
                self._news.set()
            due = [each for each in self._entries.values() if each.due_early or now - each.read_at >= self._every(each)]
            if due:
                await self._read(due)
                self._news.set()
            try:
                async with asyncio.timeout(min(_TICK_S, self._pace.fast_s)):
                    await self._wake.wait()
            except TimeoutError:
                pass

    def _list_interval(self) -> float:
        busy = any(each.under_way for each in self._entries.values())
        return self._pace.fast_s if busy else self._pace.list_s

    def _every(self, entry: _Entry) -> float:
        if entry.under_way:
            return self._pace.fast_s
        return self._pace.seen_s if self._is_seen(entry) else self._pace.slow_s

    def _is_seen(self, entry: _Entry) -> bool:
        if self._in_view is None:
            return True
        start = f"{self._backend}/{self._prefix(entry.workspace)}{entry.endpoint.name}"
        if not entry.deployments:
            return start in self._in_view
        return any(f"{start}/{each.name}" in self._in_view for each in entry.deployments)

    async def _first(self) -> None:
        """Everything, the deployments of the first page of endpoints while the next page is on its way.

        Where nothing is known yet, what is read is known at once.
        """
        here: dict[_Key, _Entry] = {}
        anew = not self._entries

        async def read(entry: _Entry) -> None:
            await self._read_one(entry)
            if anew:
                self._entries[entry.workspace, entry.endpoint.name] = entry

        async def of(workspace: Workspace) -> None:
            async with asyncio.TaskGroup() as reading:
                async for page in self._place.endpoint_pages(workspace):
                    for endpoint in page:
                        entry = here[workspace, endpoint.name] = _Entry(workspace, endpoint)
                        reading.create_task(read(entry))

        try:
            async with asyncio.TaskGroup() as together:
                for each in self.workspaces:
                    together.create_task(of(each))
        except* TritonctlError as failed:
            raise _first_of(failed) from None
        self._entries = here
        self._listed_at = time.monotonic()

    async def _list(self) -> None:
        """All endpoints; one whose document differs is read again at once."""
        lists = await asyncio.gather(*(self._place.endpoints(each) for each in self.workspaces))
        here: dict[_Key, _Entry] = {}
        for workspace, endpoints in zip(self.workspaces, lists, strict=True):
            for endpoint in endpoints:
                key = (workspace, endpoint.name)
                entry = self._entries.get(key)
                if entry is None:
                    entry = _Entry(workspace, endpoint)
                elif entry.endpoint != endpoint:
                    entry.due_early = True
                    if (entry.endpoint.auth, entry.endpoint.scoring_uri) != (endpoint.auth, endpoint.scoring_uri):
                        entry.access = None
                    entry.endpoint, entry.built = endpoint, None
                here[key] = entry
        self._entries = here
        self._listed_at = time.monotonic()
        self._unmet.set()

    async def _read(self, entries: Sequence[_Entry]) -> None:
        await asyncio.gather(*(self._read_one(each) for each in entries))
        self._unmet.set()

    async def _read_one(self, entry: _Entry) -> None:
        entry.due_early = False
        try:
            entry.deployments = tuple(await self._place.deployments(entry.workspace, entry.endpoint.name))
            entry.trouble = ""
        except NotFound:
            entry.deployments = ()  # the next list will no longer have the endpoint
        except TritonctlError as error:
            entry.trouble = error.headline
        entry.read_at = time.monotonic()
        await self._follow(entry)
        entry.built = None

    async def _follow(self, entry: _Entry) -> None:
        """The operations that are under way, and those that failed, until their end has been read."""
        wanted: dict[str, bool] = {}
        resources: list[Endpoint | Deployment] = [entry.endpoint, *entry.deployments]
        for each in resources:
            bad = each.state.lower() in ("failed", "canceled")
            if each.operation and (each.under_way or bad):
                wanted[each.operation] = each.under_way
        uris = [uri for uri, moving in wanted.items() if moving or not _has_ended(entry.progress.get(uri))]
        found = await asyncio.gather(*(self._place.progress(uri) for uri in uris))
        entry.progress = {uri: entry.progress.get(uri) for uri in wanted} | dict(zip(uris, found, strict=True))

    # The way to the servers

    async def _meet(self) -> None:
        """Keys and natures of what is on screen first; what they cost is one or two requests for each endpoint."""
        running: dict[asyncio.Task[None], _Key] = {}
        waiting: list[_Key] = []
        began = time.monotonic()
        try:
            while True:
                # A command about one service is over before the others' keys are asked for.
                early = self._in_view is not None and time.monotonic() < began + _OTHERS_AFTER_S
                if self._unmet.is_set() or not waiting:
                    self._unmet.clear()
                    waiting = self._to_meet(early, frozenset(running.values()))
                while waiting and len(running) < _MEET_TOGETHER:
                    key = waiting.pop()
                    entry = self._entries.get(key)
                    if entry is not None:
                        running[asyncio.create_task(self._guarded(self._meet_one(entry)), name=f"meet {key[1]}")] = key
                if running:
                    done, _ = await asyncio.wait(running, timeout=_TICK_S, return_when=asyncio.FIRST_COMPLETED)
                    for task in done:
                        del running[task]
                else:
                    try:
                        async with asyncio.timeout(_TICK_S if early else self._pace.seen_s):
                            await self._unmet.wait()
                    except TimeoutError:
                        pass
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    def _to_meet(self, early: bool, at_work: frozenset[_Key]) -> list[_Key]:
        """What is on screen last: the list is taken from its end."""
        seen: list[_Key] = []
        others: list[_Key] = []
        for key, each in self._entries.items():
            if key not in at_work and self._unmet_yet(each):
                (seen if self._is_seen(each) else others).append(key)
        return [*([] if early else reversed(others)), *reversed(seen)]

    def _unmet_yet(self, entry: _Entry) -> bool:
        if not entry.deployments:
            return False
        return self._is_old(entry) or any(map(entry.wants_protocol, entry.deployments))

    def _is_old(self, entry: _Entry) -> bool:
        """Somebody may have changed the key; who looks at the endpoint is to know soon."""
        if entry.access is None:
            return True
        return time.time() >= (
            min(entry.access.until, entry.access.renew_at) if self._is_seen(entry) else entry.access.until
        )

    async def _meet_one(self, entry: _Entry) -> None:
        natures = {_nature(each): each for each in entry.deployments if entry.wants_protocol(each)}
        for nature, deployment in natures.items():
            entry.guessed.pop(nature, None)
            try:
                entry.protocols[nature] = await self._place.protocol(entry.workspace, deployment)
                guess = self._place.was_refused(entry.workspace, deployment)
            except TritonctlError:  # tried as what it most likely is: its server will tell
                entry.protocols[nature] = Protocol.TRITON
                guess = True
            if guess:
                entry.guessed[nature] = time.monotonic() + AGAIN_S
        if self._is_old(entry):
            fresh = await access_to(self._place.arm, entry.workspace, entry.endpoint)
            old = entry.access
            if fresh.header is None and old is not None and old.header is not None and not _is_over(old):
                fresh = replace(old, until=fresh.until)  # what is in hand is good until somebody says otherwise
            entry.access = fresh
        entry.built = None
        self._news.set()


def _first_of(failed: BaseExceptionGroup[TritonctlError]) -> TritonctlError:
    """Of a group in groups, one for each workspace: they mostly say the same."""
    first: BaseException = failed
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    assert isinstance(first, TritonctlError)
    return first


def _nature(deployment: Deployment) -> tuple[str, str, str]:
    return (deployment.model, deployment.environment, deployment.script)


def _has_ended(progress: Progress | None) -> bool:
    return progress is not None and progress.done


def _is_over(access: Access) -> bool:
    return access.expires_at is not None and time.time() >= access.expires_at
