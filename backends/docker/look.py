"""Looking at one container now: what it is, and the way to its servers."""

from __future__ import annotations

from backends.docker import discovery
from backends.docker.container import Container, read_container
from backends.docker.discovery import Found
from backends.docker.engine import Engine
from backends.docker.reach import Reach, reach, reach_scoring
from tritonctl.errors import NotFound, TritonctlError

_PROCESSES_S = 2.0


async def inspect(engine: Engine, name: str) -> Container:
    """By id or name. Raises NotFound."""
    return read_container(await engine.get(f"/containers/{name}/json"))


async def inspect_or_none(engine: Engine, name: str) -> Container | None:
    try:
        return await inspect(engine, name)
    except NotFound:
        return None


async def judge(engine: Engine, container: Container) -> Found | None:
    """None where it is nothing of ours."""
    found = discovery.classify(container)
    if discovery.needs_processes(found):
        return discovery.classify(container, await _processes(engine, container.id))
    return found


async def ways(engine: Engine, found: Found) -> tuple[Reach, ...]:
    """One for each of its servers, or the one to its scoring server."""
    container, shared = found.container, None
    if container.network_mode.startswith("container:") and container.state.status == "running":
        shared = await inspect_or_none(engine, container.network_mode.partition(":")[2])
    reaches: list[Reach] = []
    for options in found.servers:
        try:
            reaches.append(await reach(container, options, engine.endpoint, engine.tunnel, shared))
        except TritonctlError as error:  # a port that the tunnel does not carry
            reaches.append(Reach(no_address=str(error)))
    if found.scoring_port is not None:
        try:
            reaches.append(await reach_scoring(container, found.scoring_port, engine.endpoint, engine.tunnel, shared))
        except TritonctlError as error:
            reaches.append(Reach(no_address=str(error)))
    return tuple(reaches)


async def _processes(engine: Engine, container_id: str) -> list[list[str]] | None:
    """The command lines of what runs in it; None where the engine cannot tell (no `ps` on its machine)."""
    try:
        answer = await engine.get(
            f"/containers/{container_id}/top", {"ps_args": "-eo pid,args"}, deadline_s=_PROCESSES_S
        )
    except TritonctlError:
        return None
    rows = answer.get("Processes") if isinstance(answer, dict) else None
    return [str(row[-1]).split() for row in rows or () if isinstance(row, list) and row]
