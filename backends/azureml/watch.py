"""What workspaces hold, kept up by asking again: often where something is under way or looked at, else seldom."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path

from backends.azure import header
from backends.azure.operations import Progress, ended_badly
from backends.azureml.documents import Deployment, Endpoint
from backends.azureml.entry import Entry, Key, View
from backends.azureml.meeting import Meeting
from backends.azureml.place import Place
from backends.azureml.services import Known, service_of
from backends.azureml.workspaces import Workspace
from tritonctl.backend import Changed, Listed, Removed, Told, Update
from tritonctl.errors import NotFound, TritonctlError, fault
from tritonctl.inventory import Service

_TICK_S = 1.0
_TOGETHER_S = 0.1
_SOON_S = 0.25  # between two parts of a list that takes long


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds between two questions: about what is under way, about what is on screen, about the rest; `list_s` for the
    list of endpoints, which is one request for all of them."""

    fast_s: float = 4.0
    seen_s: float = 15.0
    slow_s: float = 90.0
    list_s: float = 15.0


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
        self._entries: dict[Key, Entry] = {}
        self._services: dict[str, Service] = {}
        self._listed_at = -1e9
        self._list_early = False
        self._refused: dict[Workspace, TritonctlError] = {}  # those whose endpoints could not be listed
        self._fault: TritonctlError | None = None
        self._news = asyncio.Event()
        self._wake = asyncio.Event()
        self._view = View(backend, prefix)
        self._meeting = Meeting(place, lambda: self._entries, self._view, self._news.set, pace.seen_s)
        self._told = Told("")
        self.known: dict[str, Known] = {}  # by service id

    def look_at(self, service_ids: frozenset[str] | None) -> None:
        if service_ids != self._view.ids:
            self._view.ids = service_ids
            self._wake.set()
            self._meeting.look()

    def hurry(self, workspace: Workspace, endpoint: str) -> None:
        """Something was changed there just now, or will be gone."""
        entry = self._entries.get((workspace, endpoint))
        if entry is not None:
            entry.due_early = True
        self._list_early = True
        self._wake.set()

    def forget_access(self, workspace: Workspace, endpoint: str) -> None:
        """Its key is another one now."""
        entry = self._entries.get((workspace, endpoint))
        if entry is not None:
            entry.forget_access()
            self._meeting.look()
            self._news.set()

    def turned_away(self, service_id: str) -> None:
        """A server there refused the key that is in hand: somebody may have made another one."""
        known = self.known.get(service_id)
        entry = self._entries.get((known.workspace, known.endpoint.name)) if known is not None else None
        if entry is not None and entry.doubt_access():
            self._meeting.look()

    async def updates(self) -> AsyncIterator[Update]:
        """Ends only by an error of the list of endpoints, where no workspace tells them. After it what was known stays
        until all is read anew."""
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
            asyncio.create_task(self._guarded(self._meeting.run()), name=f"meet the endpoints of {self._backend}"),
        ]
        try:
            while True:
                told = self._tell()
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

    def _tell(self) -> Told:
        refused = (
            header.of_error(f"workspace {self._prefix(each).rstrip('/') or each.name}", error)
            for each, error in self._refused.items()
        )
        return header.together((*refused, header.of_login(self._place.arm)))

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
            if self._list_early or now - self._listed_at >= self._list_interval():
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

    def _every(self, entry: Entry) -> float:
        if entry.under_way:
            return self._pace.fast_s
        if self._view.shows(entry):
            return self._pace.seen_s
        if entry.failures:  # soon, yet a right that lacks, and for hundreds, is no reason to ask so often for ever
            return min(self._pace.seen_s * 2.0 ** (entry.failures - 1), self._pace.slow_s)
        return self._pace.slow_s

    async def _first(self) -> None:
        """Everything, the deployments of the first page of endpoints while the next page is on its way.

        Where nothing is known yet, what is read is known at once.
        """
        here: dict[Key, Entry] = {}
        refused: dict[Workspace, TritonctlError] = {}
        anew = not self._entries

        async def read(entry: Entry) -> None:
            await self._read_one(entry)
            if anew:
                self._entries[entry.workspace, entry.endpoint.name] = entry

        async def of(workspace: Workspace) -> None:
            async with asyncio.TaskGroup() as reading:
                try:
                    async for page in self._place.endpoint_pages(workspace):
                        for endpoint in page:
                            entry = here[workspace, endpoint.name] = self._entry(workspace, endpoint)
                            reading.create_task(read(entry))
                except TritonctlError as error:
                    refused[workspace] = error

        async with asyncio.TaskGroup() as together:
            for each in self.workspaces:
                together.create_task(of(each))
        self._listed_at = time.monotonic()
        self._keep(here, refused)

    async def _list(self) -> None:
        """All endpoints; one whose document differs is read again at once."""
        self._list_early, self._listed_at = False, time.monotonic()
        refused: dict[Workspace, TritonctlError] = {}

        async def of(workspace: Workspace) -> list[Endpoint]:
            try:
                return await self._place.endpoints(workspace)
            except TritonctlError as error:
                refused[workspace] = error
                return []

        async with asyncio.TaskGroup() as together:
            lists = {each: together.create_task(of(each)) for each in self.workspaces}
        here = {(each, one.name): self._entry(each, one) for each, asked in lists.items() for one in asked.result()}
        self._keep(here, refused)
        self._meeting.look()

    def _entry(self, workspace: Workspace, endpoint: Endpoint) -> Entry:
        known = self._entries.get((workspace, endpoint.name))
        if known is None:
            return Entry(workspace, endpoint)
        known.update(endpoint)
        return known

    def _keep(self, here: dict[Key, Entry], refused: dict[Workspace, TritonctlError]) -> None:
        """What was listed, and, of a workspace that did not tell or not all, also what was known of it before.

        Raises the error where none told: then what was known stays as a whole.
        """
        if refused and len(refused) == len(self.workspaces):
            raise next(iter(refused.values()))
        for key, entry in self._entries.items():
            if key[0] in refused:
                here.setdefault(key, entry)
        for (workspace, _), entry in here.items():
            why = refused[workspace].headline if workspace in refused else ""
            if why or entry.unlisted:
                entry.unlisted, entry.built = why, None
        self._entries, self._refused = here, refused

    async def _read(self, entries: Sequence[Entry]) -> None:
        await asyncio.gather(*(self._read_one(each) for each in entries))
        self._meeting.look()

    async def _read_one(self, entry: Entry) -> None:
        entry.due_early = False
        try:
            entry.deployments = tuple(await self._place.deployments(entry.workspace, entry.endpoint.name))
            entry.trouble, entry.failures = "", 0
            if not entry.unlisted:
                entry.known_at = time.time()
        except NotFound:
            entry.deployments = ()  # the next list will no longer have the endpoint
        except TritonctlError as error:
            entry.trouble = error.headline
            entry.failures += 1
        entry.read_at = time.monotonic()
        await self._follow(entry)
        entry.built = None

    async def _follow(self, entry: Entry) -> None:
        """The operations that are under way, and those that failed, until their end has been read."""
        wanted: dict[str, bool] = {}
        resources: list[Endpoint | Deployment] = [entry.endpoint, *entry.deployments]
        for each in resources:
            bad = ended_badly(each.state)
            if each.operation and (each.under_way or bad):
                wanted[each.operation] = each.under_way
        uris = [uri for uri, moving in wanted.items() if moving or not _has_ended(entry.progress.get(uri))]
        found = await asyncio.gather(*(self._place.progress(uri) for uri in uris))
        entry.progress = {uri: entry.progress.get(uri) for uri in wanted} | dict(zip(uris, found, strict=True))


def _has_ended(progress: Progress | None) -> bool:
    return progress is not None and progress.done
