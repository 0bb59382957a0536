"""The log of a service: its pods' containers side by side, followed over restarts, new pods and lost connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from backends.kubernetes.client import podlog
from backends.kubernetes.client.api import Api
from backends.kubernetes.services import Group
from backends.kubernetes.states import container_state
from tritonctl.backend import LogLine, LogSource
from tritonctl.errors import Forbidden, NotFound, OperationFailed, TritonctlError, UsageError

_AGAIN_S = 0.5  # between two attempts to follow on
_LOOK_S = 0.5  # for pods that are new
_SHELF_LINES = 5_000  # a reader that is slower makes the API server wait, and nothing is lost
_SHELF_BYTES = 4 * 1024 * 1024
_BATCH_S = 0.05
_NOT_YET = ("waiting to start", "ContainerCreating", "PodInitializing", "is not available")


@dataclass(frozen=True, slots=True)
class Source:
    """A container of a pod, and what it is called in front of its lines. `init`: it ran before the others."""

    namespace: str
    pod: str
    container: str
    replica: str
    init: bool = False
    over: bool = False  # its pod has ended: nothing is added any more


def sources_of(group: Group) -> tuple[tuple[Source, ...], tuple[Source, ...]]:
    """Every container of its pods, and of them those that the servers run in."""
    serving = {(seat.pod.name, seat.container) for seat in group.seats()}
    every = tuple(
        Source(
            seen.pod.namespace,
            seen.pod.name,
            each.name,
            seen.pod.name if (seen.pod.name, each.name) in serving else f"{seen.pod.name}/{each.name}",
            each.init,
            seen.pod.over,
        )
        for seen in group.pods
        for each in seen.pod.containers
    )
    return every, tuple(each for each in every if (each.pod, each.container) in serving)


def listed(group: Group) -> tuple[LogSource, ...]:
    """Every container by the name that `chosen` takes, with what it is and how it is."""
    every, servers = sources_of(group)
    pods = {seen.pod.name: seen.pod for seen in group.pods}
    found = []
    for each in every:
        status = pods[each.pod].status(each.container)
        part = "init" if each.init else "server" if each in servers else "beside"
        state, level = container_state(status)
        found.append(LogSource(f"{each.pod}/{each.container}", f"{part}: {state}", level))
    return tuple(found)


FindSources = Callable[[], Sequence[Source]]
"""The containers that there are now, in the order of their pods' age."""


def chosen(every: Sequence[Source], servers: Sequence[Source], replica: str | None) -> tuple[Source, ...]:
    """What a name asks for: nothing the servers and what ran before them, a replica that one's, POD/CONTAINER any one.

    Raises NotFound, or UsageError with the containers that there are.
    """
    if replica is None:
        return (*(each for each in every if each.init), *servers)
    pod, slash, container = replica.partition("/")
    if not slash:
        mine = [each for each in servers if replica in (each.replica, each.pod)]
        pods = {each.pod for each in mine} or ({replica} & {each.pod for each in every})
        if not pods:
            raise NotFound(f"log of {replica}", "there is no such pod", _names(every))
        return (*(each for each in every if each.init and each.pod in pods), *mine)
    found = tuple(each for each in every if (each.pod, each.container) == (pod, container))
    if not found:
        here = [each.container for each in every if each.pod == pod]
        if not here:
            raise NotFound(f"log of {replica}", f"there is no pod {pod}", _names(every))
        raise UsageError(f"log of {replica}", f"{pod} has no container {container}", f"it has: {', '.join(here)}")
    return found


async def read(
    api: Api, sources: Sequence[Source], *, tail: int, previous: bool = False
) -> AsyncGenerator[Sequence[LogLine], None]:
    """What was written up to now, one container after the other. Raises the first failure where none gives anything."""
    failure: TritonctlError | None = None
    told = False
    for source in sources:
        lines = podlog.Lines(source.replica)
        try:
            pieces = podlog.stream(api, source.namespace, source.pod, source.container, previous=previous, tail=tail)
            async with aclosing(pieces) as stream:
                async for piece in stream:
                    if batch := lines.feed(piece):
                        told = True
                        yield batch
            if batch := lines.end():
                _raise_if_gone(source, batch[0])
                told = True
                yield batch
        except TritonctlError as error:
            if source.init and isinstance(error, OperationFailed):
                continue
            said = _no_previous(source, error) if previous else error
            failure = failure or said
            if isinstance(error, Forbidden):
                raise
    if failure is not None and not told:
        raise failure


class _Shelf:
    """Lines between those who read the API server and the one who shows them, bounded in number and size."""

    def __init__(self) -> None:
        self._lines: list[LogLine] = []
        self._errors: list[TritonctlError] = []
        self._bytes = 0
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    async def put(self, batch: Sequence[LogLine]) -> None:
        await self._room.wait()
        self._lines += batch
        self._bytes += sum(len(line.text) for line in batch)
        if len(self._lines) > _SHELF_LINES or self._bytes > _SHELF_BYTES:
            self._room.clear()
        self._news.set()

    def fail(self, error: TritonctlError) -> None:
        self._errors.append(error)
        self._news.set()

    async def take(self) -> tuple[list[LogLine], list[TritonctlError]]:
        """All that there is; waits for the first of it."""
        await self._news.wait()
        self._news.clear()
        taken, self._lines, self._bytes = self._lines, [], 0
        failed, self._errors = self._errors, []
        self._room.set()
        return taken, failed


async def follow(
    api: Api, find: FindSources, *, tail: int, wanted: Callable[[Source], bool] = lambda _: True
) -> AsyncGenerator[Sequence[LogLine], None]:
    """What was written, then what is added, by all that `find` names, also later. For as long as somebody listens.

    A connection that is lost is taken up where it ended; a container that starts anew is followed on.
    """
    shelf = _Shelf()
    known: set[tuple[str, str]] = set()
    tasks: set[asyncio.Task[None]] = set()
    reading = 0
    told = False

    async def one(source: Source, last: int) -> None:
        nonlocal reading
        reading += 1
        try:
            await _one(api, source, last, find, shelf)
        except TritonctlError as error:
            shelf.fail(error)
        finally:
            reading -= 1

    def begin(source: Source, last: int) -> None:
        known.add((source.pod, source.container))
        task = asyncio.create_task(one(source, last), name=f"log {source.pod}")
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    async def look_for_more() -> None:
        while True:
            for source in find():
                if wanted(source) and (source.pod, source.container) not in known:
                    begin(source, -1)
            await asyncio.sleep(_LOOK_S)

    for source in find():
        if wanted(source):
            begin(source, tail)
    tasks.add(asyncio.create_task(look_for_more(), name="look for new pods"))
    try:
        while True:
            batch, errors = await shelf.take()
            told = told or bool(batch)
            for error in errors:
                if isinstance(error, Forbidden) or not (told or reading):
                    raise error
                batch.append(LogLine("", f"(a log cannot be read: {error.headline})"))
            if batch:
                yield batch
            await asyncio.sleep(_BATCH_S)  # a flood is shown in few, larger pieces
    finally:
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _one(
    api: Api,
    source: Source,
    tail: int,
    find: FindSources,
    shelf: _Shelf,
) -> None:
    """One container while its pod is there. `tail` of -1: from its beginning. Raises where it cannot be read."""
    lines = podlog.Lines(source.replica)
    last: int | None = tail if tail >= 0 else None
    while True:
        try:
            pieces = podlog.stream(
                api,
                source.namespace,
                source.pod,
                source.container,
                follow=True,
                tail=last if not lines.last else None,
                since=lines.last,
            )
            async with aclosing(pieces) as stream:
                async for piece in stream:
                    if batch := lines.feed(piece):
                        await shelf.put(batch)
            if batch := lines.end():
                await shelf.put(batch)
        except NotFound:
            return  # the pod is gone
        except Forbidden:
            raise
        except OperationFailed as error:
            if not any(words in error.answer for words in _NOT_YET):
                raise
        except TritonctlError:
            pass  # the connection was lost; what was written meanwhile is read when it is back
        here = {(each.pod, each.container): each for each in find()}.get((source.pod, source.container))
        if here is None or here.over or source.init:
            return
        lines.resume()
        await asyncio.sleep(_AGAIN_S)


def _raise_if_gone(source: Source, line: LogLine) -> None:
    """Raises OperationFailed where the kubelet has no log of that run any more."""
    if line.at is None and line.text.startswith(podlog.GONE):
        raise OperationFailed(
            f"log of {source.replica}",
            "its node has it no more: the container of that run was removed",
            "kubelets keep one dead container of each; logs that last need a collector",
        )


def _no_previous(source: Source, error: TritonctlError) -> TritonctlError:
    if "previous terminated container" in error.answer:
        tried = f"previous log of {source.replica}"
        return OperationFailed(tried, "its container has run once only", "leave out --previous")
    return error


def _names(every: Sequence[Source]) -> str:
    names = sorted({each.pod for each in every})
    return "pods: " + (", ".join(names[:12]) or "none")
