"""What runs on an engine, kept up by its own events: listed once, then looked at only where something happened."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import chain, repeat
from typing import Any

from backends.docker import discovery, logs, look
from backends.docker.container import Container, mapping, read_entry, text
from backends.docker.discovery import Found
from backends.docker.engine import Engine
from backends.docker.reach import Reach
from backends.docker.services import Seen, failed_by_itself, services
from backends.docker.use import Meter
from tritonctl.backend import Changed, Listed, Removed, Told, Update
from tritonctl.errors import TritonctlError, Unreachable, fault
from tritonctl.inventory import Service, Usage

_LIST_ANEW = ""  # in place of a container's id
_AT_ONCE = 12  # requests; the engine answers about 2 ms each
_PING_S = 15.0
_INSPECT_S = 3.0
_MAX_EVENT_BYTES = 1 << 20
# What can change how a container is shown. Not exec_*: each health check makes three.
_EVENTS = (
    *("create", "start", "restart", "stop", "die", "oom", "pause", "unpause", "rename", "update", "destroy"),
    *("health_status", "connect", "disconnect"),
)
# A script that was started may start tritonserver later, and nothing tells when.
_LOOK_FOR_SERVER_S = (2.0, 5.0, 15.0, 60.0)


Uses = Mapping[str, Usage]


@dataclass(frozen=True, slots=True)
class Ended:
    """A container's process ended: what the engine's event tells before the engine can be asked about it."""

    container_id: str
    exit_code: int


Happened = asyncio.Queue[str | Ended | Uses | TritonctlError]
"""The id of a container to which something happened, what those in view take now, or what ended the watch."""


class Watch:
    """The containers of one engine that are ours. One `updates` at a time."""

    def __init__(self, engine: Engine, backend: str) -> None:
        self._engine = engine
        self._backend = backend
        self.seen: dict[str, Seen] = {}  # by container id
        self._services: dict[str, Service] = {}
        self._limit = asyncio.Semaphore(_AT_ONCE)
        self._meter = Meter(engine)
        self._in_view: frozenset[str] | None = frozenset()  # names of services; None is all
        self._everything = False
        self._happened: Happened | None = None  # while somebody watches
        self._ends: dict[str, int] = {}  # how a container's run ended last, by its id
        self._dumb: dict[str, str] = {}  # the names of those that the engine does not describe, by id
        self._told = Told("")  # of them

    def look_at(self, names: frozenset[str] | None) -> None:
        """The services in view: what they take is measured, and nothing else."""
        if names != self._in_view:
            self._in_view = names
            self._meter.look_at(in_detail=names is not None and len(names) == 1)

    def list_all(self, everything: bool) -> None:
        """List also what is not Triton, or no longer."""
        if everything != self._everything:
            self._everything = everything
            if self._happened is not None:
                self._happened.put_nowait(_LIST_ANEW)

    def _is_wanted(self, entry: Mapping[str, Any]) -> bool:
        return self._everything or discovery.worth_a_look(entry)

    async def updates(self) -> AsyncIterator[Update]:
        """Ends only by an error: Unreachable when the engine goes away."""
        await self._engine.reset()
        self._told = Told("")
        happened: Happened = asyncio.Queue()
        self._happened = happened
        opened = asyncio.Event()
        listening = asyncio.create_task(self._listen(happened, opened), name=f"events of {self._backend}")
        later: set[asyncio.Task[None]] = set()
        measuring: asyncio.Task[None] | None = None
        try:
            await self._opened(opened, listening, happened)
            yield await self._list(happened, later)
            for told in self._tell():
                yield told
            measuring = asyncio.create_task(self._measure(happened), name=f"use of {self._backend}")
            while True:
                ids, ends, uses = await self._next(happened)
                if _LIST_ANEW in ids:
                    ids.discard(_LIST_ANEW)
                    yield await self._list(happened, later)
                for update in self._ended(ends):
                    yield update
                for update in await self._after(ids, uses, happened, later):
                    yield update
                for told in self._tell():
                    yield told
        finally:
            self._happened = None
            tasks = [listening, *later, *([measuring] if measuring is not None else [])]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _opened(self, opened: asyncio.Event, listening: asyncio.Task[None], happened: Happened) -> None:
        """Returns when the engine sends its events: what happens from here on is not missed."""
        waiting = asyncio.create_task(opened.wait())
        try:
            await asyncio.wait((waiting, listening), return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
        if listening.done():
            _raise(happened.get_nowait())

    async def _listen(self, happened: Happened, opened: asyncio.Event) -> None:
        """Put the id of every container to which something happened; the last thing put is what ended it."""
        filters = json.dumps({"type": ["container", "network"], "event": list(_EVENTS)})
        try:
            rest = b""
            async for piece in self._engine.raw("/events", {"filters": filters}, opened.set):
                *whole, rest = (rest + piece).split(b"\n")
                if len(rest) > _MAX_EVENT_BYTES:
                    rest = b""
                for line in whole:
                    container, end = _container_of(line)
                    if container and end is not None:
                        self._ends[container] = end
                        happened.put_nowait(Ended(container, end))
                    if container:
                        happened.put_nowait(container)
            raise Unreachable("watch the Docker Engine", "the engine ended the connection: it stops", kind="lost")
        except TritonctlError as error:
            happened.put_nowait(error)
        except Exception as caught:  # nothing would be told any more, and the engine would seem to be quiet
            happened.put_nowait(fault("watch the Docker Engine", caught))

    async def _measure(self, happened: Happened) -> None:
        """Put what the running containers in view take, for ever."""
        while True:
            shown = [
                each.container.id
                for each in self.seen.values()
                if (self._in_view is None or each.found.service_name in self._in_view)
                and each.container.state.status == "running"
            ]
            if taken := await self._meter.round(shown):
                happened.put_nowait(taken)
            await self._meter.pause()

    async def _next(self, happened: Happened) -> tuple[set[str], list[Ended], dict[str, Usage]]:
        """The containers to which something happened; in between, whether the engine is still there."""
        while True:
            try:
                async with asyncio.timeout(_PING_S):
                    news = [await happened.get()]
                break
            except TimeoutError:
                await self._engine.ping()
        while not happened.empty():
            news.append(happened.get_nowait())
        ids: set[str] = set()
        ends: list[Ended] = []
        uses: dict[str, Usage] = {}
        for each in news:
            if isinstance(each, TritonctlError):
                raise each
            if isinstance(each, str):
                ids.add(each)
            elif isinstance(each, Ended):
                ends.append(each)
            else:
                uses |= each
        return ids, ends, uses

    def _ended(self, ends: Iterable[Ended]) -> list[Update]:
        """What ended, as its event tells: the engine answers no question about it for some 50 ms more, while it takes
        the container's network apart (measured on 20.10). One that is started again by its policy is not at its end."""
        for each in ends:
            seen = self.seen.get(each.container_id)
            if seen is None or seen.container.restart_policy not in ("", "no"):
                continue
            state = replace(seen.container.state, status="exited", exit_code=each.exit_code, finished_at=time.time())
            found = discovery.with_container(seen.found, replace(seen.container, state=state))
            reaches = tuple(Reach(no_address="the container does not run (exited)") for _ in seen.reaches)
            self.seen[each.container_id] = replace(seen, found=found, reaches=reaches, usage=None)
        return self._regrouped() if ends else []

    def _regrouped(self) -> list[Update]:
        """What is different in the services since they were told last."""
        before, self._services = self._services, services(self._backend, self.seen.values())
        updates: list[Update] = [Removed(gone) for gone in before if gone not in self._services]
        return updates + [Changed(each) for key, each in self._services.items() if before.get(key) != each]

    async def _list(self, happened: Happened, later: set[asyncio.Task[None]]) -> Listed:
        entries = await self._entries()
        self._dumb.clear()
        found = await self._looks(entries, entries)
        self.seen = {each.container.id: each for each in found}
        self._services = services(self._backend, self.seen.values())
        for each in self.seen.values():
            self._look_again_later(each.found, happened, later)
        return Listed(tuple(self._services.values()))

    async def _after(
        self, ids: Iterable[str], uses: Uses, happened: Happened, later: set[asyncio.Task[None]]
    ) -> list[Update]:
        """What is different now that something happened to these containers."""
        ids = set(ids)
        sharing = {
            each.container.id
            for each in self.seen.values()
            if each.container.network_mode.startswith("container:")
            and ids & {each.container.network_mode.partition(":")[2]}
        }
        wanted = sorted(ids | sharing)
        found = await self._looks(wanted)
        for container_id in wanted:
            self.seen.pop(container_id, None)
        for each in found:
            self.seen[each.container.id] = each
            self._look_again_later(each.found, happened, later)
        for container_id in wanted:
            if container_id not in self.seen:
                self._ends.pop(container_id, None)
        for container_id, taken in uses.items():
            if (seen := self.seen.get(container_id)) is not None:
                self.seen[container_id] = replace(seen, usage=taken)
        return self._regrouped()

    async def _entries(self) -> dict[str, Mapping[str, Any]]:
        """What the engine's list says of each that is worth a look, by its id."""
        entries = await self._engine.get("/containers/json", {"all": True})
        if not isinstance(entries, list):
            raise Unreachable("list the containers", "the answer is not a list", kind="garbage")
        return {text(each, "Id"): each for each in entries if isinstance(each, dict) and self._is_wanted(each)}

    async def _looks(self, ids: Iterable[str], entries: Mapping[str, Mapping[str, Any]] | None = None) -> list[Seen]:
        """Those of them that are ours. One that the engine does not describe (it fails, or hangs) hides no other: it is
        as it was seen before, else as the list has it. Raises Unreachable where the engine answers nothing at all."""
        ids = list(ids)
        looks = await asyncio.gather(*(self._look(each) for each in ids), return_exceptions=True)
        for each in ids:
            self._dumb.pop(each, None)
        seen = [each for each in looks if isinstance(each, Seen)]
        failed = {each: look for each, look in zip(ids, looks, strict=True) if isinstance(look, BaseException)}
        if failed:
            await self._engine.ping()
            entries = entries if entries is not None else await self._entries()
        for container_id, error in failed.items():
            if not isinstance(error, Exception):
                raise error
            if entries is None or (entry := entries.get(container_id)) is None:
                continue  # it is gone by now, or none of ours
            listed = read_entry(entry)
            self._dumb[container_id] = listed.name
            before = self.seen.get(container_id)
            if before is not None:
                seen.append(before)
            elif (found := discovery.classify(listed, everything=self._everything)) is not None:
                words = error if isinstance(error, TritonctlError) else fault(f"inspect {listed.name}", error)
                seen.append(Seen(found, _no_way(found), unknown=f"it cannot be inspected: {words.headline}"))
        return seen

    def _tell(self) -> list[Told]:
        """Which containers the engine does not describe, where that is another word than before."""
        before = self._told
        if names := ", ".join(sorted(self._dumb.values())):
            words = f"cannot inspect {names}: shown as last seen or as listed"
            self._told = Told(words, "try `docker inspect` of it; a restart of the engine may help", warning=True)
        else:
            self._told = Told("")
        return [self._told] if self._told != before else []

    async def _look(self, container_id: str) -> Seen | None:
        """None where it is gone, or nothing of ours."""
        async with self._limit:
            container = await look.inspect_or_none(self._engine, container_id, deadline_s=_INSPECT_S)
            found = await look.judge(self._engine, container, everything=self._everything) if container else None
            if container is None or found is None:
                return None
            words = await logs.last_words(self._engine, container) if failed_by_itself(container) else ""
            before = self.seen.get(container_id)
            usage = before.usage if before is not None and container.state.status == "running" else None
            return Seen(
                found,
                await look.ways(self._engine, found),
                words,
                usage,
                self._last_exit(container),
                look.missing_folder(self._engine, container),
            )

    def _last_exit(self, container: Container) -> str | None:
        """The engine forgets the exit code when it starts the container again; its event told it."""
        end = self._ends.get(container.id)
        return f"ended with {end}" if end is not None and container.state.status == "running" else None

    def _look_again_later(self, found: Found, happened: Happened, later: set[asyncio.Task[None]]) -> None:
        if not (discovery.needs_processes(found) or found.container.id in self._dumb):
            return
        name = f"look again at {found.container.id}"
        if any(task.get_name() == name for task in later):
            return

        async def again() -> None:
            for pause in chain(_LOOK_FOR_SERVER_S, repeat(_LOOK_FOR_SERVER_S[-1])):
                await asyncio.sleep(pause)
                seen = self.seen.get(found.container.id)
                if seen is None:
                    return
                if not (discovery.needs_processes(seen.found) or found.container.id in self._dumb):
                    return
                happened.put_nowait(found.container.id)

        task = asyncio.create_task(again(), name=name)
        later.add(task)
        task.add_done_callback(later.discard)


def _no_way(found: Found) -> tuple[Reach, ...]:
    return tuple(Reach(no_address="the engine does not tell its addresses") for _ in found.servers or (None,))


def _container_of(line: bytes) -> tuple[str, int | None]:
    """The id of the container that an event is about, "" where there is none, and the exit code where it ended."""
    try:
        event: Any = json.loads(line) if line.strip() else None
    except ValueError:
        return "", None
    if not isinstance(event, dict):
        return "", None
    actor: Mapping[str, Any] = mapping(event, "Actor")
    about = mapping(actor, "Attributes")
    if event.get("Type") == "network":
        return text(about, "container"), None
    code = text(about, "exitCode")
    return text(actor, "ID"), int(code) if event.get("Action") == "die" and code.isdigit() else None


def _raise(happened: str | Ended | Uses | TritonctlError) -> None:
    if isinstance(happened, TritonctlError):
        raise happened
