"""Waiting until the servers of a container are ready, and saying why where they do not get so."""

from __future__ import annotations

import asyncio

from backends.docker import logs, look
from backends.docker.container import Container
from backends.docker.discovery import Found
from backends.docker.engine import Engine
from backends.docker.reach import Reach
from tritonctl.errors import OperationFailed, TritonctlError, Unreachable
from tritonctl.inventory import ModelState
from tritonctl.server.client import IndexEntry, ServerClient, is_ready

_LOOK_S = 0.25
_ASK_S = 3.0
_SETTLE_S = 1.0
_LISTENS = "Started HTTPService at"


async def loaded_models(way: Reach) -> tuple[str, ...] | None:
    """The names of the models that are ready on a server; None where it does not answer."""
    entries = await _index(way)
    if entries is None:
        return None
    return tuple(sorted({each.name for each in entries if each.state is ModelState.READY}))


async def wait_ready(engine: Engine, name: str, within_s: float) -> str:
    """What to say of it once every server of the container is ready.

    Raises OperationFailed with the log's reason when it ends before, or is not ready in time. A server to which nothing
    leads is believed when its log says that it listens and it does not end within a second.
    """
    said = f"wait until {name} is ready"
    first = await look.inspect(engine, name)
    try:
        async with asyncio.timeout(within_s):
            while True:
                container = await look.inspect_or_none(engine, first.id)
                if container is None:
                    raise OperationFailed(said, "it ended, and was removed as it ended (--rm)")
                if container.state.status != "running" or container.restarts > first.restarts:
                    raise await _ended(engine, container, said)
                found = await look.judge(engine, container)
                if found is None or not found.servers:
                    return "runs"
                if look.serves_nothing(found):
                    return f"runs, but no tritonserver in it, only: {found.instead}"
                if await _all_ready(engine, found):
                    return "ready"
                await asyncio.sleep(_LOOK_S)
    except TimeoutError:
        raise OperationFailed(said, await _why_not(engine, first.id, within_s)) from None


async def _all_ready(engine: Engine, found: Found) -> bool:
    for way in await look.ways(engine, found):
        if way.address is None:
            return await _says_it_listens(engine, found.container)
        if not await is_ready(way.address, _ASK_S):
            return False
    return True


async def _says_it_listens(engine: Engine, container: Container) -> bool:
    run = logs.current_run(container)
    async for batch in logs.read(engine, container, container.name, run, tail=2000, follow=False):
        if any(_LISTENS in line.text for line in batch):
            await asyncio.sleep(_SETTLE_S)  # it is written before a port that is taken ends the server
            now = await look.inspect_or_none(engine, container.id)
            return now is not None and now.state.status == "running"
    return False


async def _ended(engine: Engine, container: Container, said: str) -> OperationFailed:
    words = container.state.error or await logs.last_words(engine, container)
    if container.state.oom_killed:
        words = "out of memory"
    if container.state.status == "paused":
        words = "somebody paused it"
    return OperationFailed(said, f"it ended with {container.state.exit_code}: {words or 'no word in its log'}")


async def _why_not(engine: Engine, container_id: str, within_s: float) -> str:
    """The models that keep it from being ready, if it answers; else what its log says."""
    late = f"not ready within {within_s:g} s"
    try:
        container = await look.inspect(engine, container_id)
        found = await look.judge(engine, container)
        for way in await look.ways(engine, found) if found is not None else ():
            for entry in await _index(way) or ():
                if entry.state is ModelState.UNAVAILABLE and entry.reason and entry.reason != "unloaded":
                    return f"{late}: {entry.name}: {entry.reason.strip().splitlines()[0]}"
        words = await logs.last_words(engine, container)
    except Unreachable:
        raise
    except TritonctlError:
        return late
    return f"{late}: {words}" if words else late


async def _index(way: Reach) -> tuple[IndexEntry, ...] | None:
    if way.address is None:
        return None
    try:
        async with ServerClient(way.address, timeout_s=_ASK_S) as client:
            return await client.index()
    except TritonctlError:
        return None
