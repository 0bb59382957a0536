"""Looking at one container now: what it is, and the way to its servers."""

from __future__ import annotations

import os
import socket
import struct
import time

from backends.docker import discovery
from backends.docker.container import Container, listing, read_container, text
from backends.docker.discovery import Found
from backends.docker.engine import REQUEST_S, Engine
from backends.docker.reach import Reach, reach, reach_scoring
from tritonctl.errors import NotFound, TritonctlError

_PROCESSES_S = 2.0
_SHARED_S = 3.0
_SERVER_COMES_S = 20.0  # an entry point of an image has handed over to its command by then
_CREDENTIALS = struct.Struct("3i")  # process, user, group


async def inspect(engine: Engine, name: str, *, deadline_s: float = REQUEST_S) -> Container:
    """By id or name. Raises NotFound."""
    return read_container(await engine.get(f"/containers/{name}/json", deadline_s=deadline_s))


async def inspect_or_none(engine: Engine, name: str, *, deadline_s: float = REQUEST_S) -> Container | None:
    try:
        return await inspect(engine, name, deadline_s=deadline_s)
    except NotFound:
        return None


async def judge(engine: Engine, container: Container, *, everything: bool = False) -> Found | None:
    """None where it is nothing of ours, unless `everything` is wanted."""
    found = discovery.classify(container, everything=everything)
    if discovery.needs_processes(found):
        return discovery.classify(container, await _processes(engine, container.id), everything=everything)
    return found


def missing_folder(engine: Engine, container: Container) -> str:
    """The folder of a mount that is gone, for a container that was never started: the engine refuses the start and
    keeps no word of it in the container's state (measured on 20.10). "" where there is none, or nobody here can see."""
    path = engine.endpoint.socket
    if container.state.status != "created" or path is None:
        return ""
    mounts = [each for each in listing(container.document, "Mounts") if isinstance(each, dict)]
    sources = [text(each, "Source") for each in mounts if each.get("Type") == "bind"]
    missing = next((each for each in sources if each and not os.path.lexists(each)), "")
    return missing if missing and _shares_our_folders(path) else ""


def _shares_our_folders(path: str) -> bool:
    """Whether the engine at this socket runs where we do. One that is outside of our container, whose socket was
    mounted into it, has no process id here: the kernel then tells 0 (man 7 unix, man 7 pid_namespaces)."""
    with socket.socket(socket.AF_UNIX) as there:
        there.settimeout(1.0)
        try:
            there.connect(path)
            credentials = there.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        except (OSError, AttributeError):  # gone, or no Linux
            return False
    return bool(_CREDENTIALS.unpack(credentials)[0])


def serves_nothing(found: Found) -> bool:
    """What runs in it is no tritonserver, and has had the time to become one."""
    started = found.container.state.started_at
    return bool(found.instead) and started is not None and time.time() - started > _SERVER_COMES_S


async def ways(engine: Engine, found: Found) -> tuple[Reach, ...]:
    """One for each of its servers, or the one to its scoring server."""
    container, shared = found.container, None
    if serves_nothing(found):
        return (Reach(no_address=f"no tritonserver runs in it, only: {found.instead}"),)
    if container.network_mode.startswith("container:") and container.state.status == "running":
        try:
            shared = await inspect_or_none(engine, container.network_mode.partition(":")[2], deadline_s=_SHARED_S)
        except TritonctlError as error:  # the other one cannot be inspected
            why = Reach(no_address=f"it uses another container's network: {error.headline}")
            return tuple(why for _ in found.servers or (None,))
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
