"""For triage: how a container ended, what the engine could not do for it, its health checks, its limits."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from backends.docker import use
from backends.docker.container import Container, listing, mapping, number, read_container, text
from backends.docker.engine import Engine
from backends.docker.reach import is_direct
from backends.secrets import mask_argument
from tritonctl.backend import Section
from tritonctl.errors import TritonctlError
from tritonctl.server.options import servers_of

_MIB = 2**20
_CONNECT_S = 0.5
# As the kernel names them (uname -m) and as images do (GOARCH).
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
Rows = list[tuple[str, str]]


async def section(engine: Engine, container: Container) -> Section:
    """Of what the engine says now. Raises NotFound where it is gone."""
    document = await engine.get(f"/containers/{container.id}/json")
    now = read_container(document)
    host = mapping(document, "HostConfig")
    rows = [*_end(now, host), *_health(document), *await _nowhere(engine, now)]
    if shm := number(host, "ShmSize"):
        rows.append(("/dev/shm", f"{shm / _MIB:.0f} MiB"))
    info = await _or_nothing(engine, "/info")
    rows += _gpus(document, info)
    rows += _architecture(await _or_nothing(engine, f"/images/{now.image_id}/json"), info)
    return Section(now.name, tuple(rows))


def _end(container: Container, host: Mapping[str, Any]) -> Rows:
    state = container.state
    rows: Rows = []
    if state.error:
        rows.append(("the engine's error", state.error))
    if not state.running and state.finished_at is not None:
        rows.append(("ended", f"exit code {state.exit_code}{', OOMKilled' if state.oom_killed else ''}"))
    elif state.oom_killed:
        rows.append(("ended", "a process of it was OOMKilled"))
    if container.restarts:
        rows.append(("restarts", f"{container.restarts}, policy {container.restart_policy or 'no'}"))
    if limit := number(host, "Memory"):
        rows.append(("memory limit", f"{limit / _MIB:.0f} MiB"))
    return rows


def _health(document: Mapping[str, Any]) -> Rows:
    health = mapping(mapping(document, "State"), "Health")
    if text(health, "Status") != "unhealthy":
        return []
    check = mapping(mapping(document, "Config"), "Healthcheck")
    test = " ".join(mask_argument(str(each)) for each in listing(check, "Test"))
    last = next((each for each in reversed(listing(health, "Log")) if isinstance(each, dict)), {})
    said = text(last, "Output").strip()[:1000] or "no output"
    return [
        (
            "health check",
            f"{test}: failed {number(health, 'FailingStreak')} times, exit {number(last, 'ExitCode')}: {said}",
        )
    ]


async def _nowhere(engine: Engine, container: Container) -> Rows:
    """Published ports behind which nothing listens, though a server runs in it. Asked is the container's own address:
    at a published one the engine's proxy answers also for nobody."""
    servers = servers_of(container.argv, container.environ)
    if not servers or container.state.status != "running" or not container.addresses or not is_direct(engine.endpoint):
        return []
    listens = {port for each in servers for port in (each.http_port, each.grpc_port, each.metrics_port) if port}
    strange = {each.port: each for each in container.published if each.port not in listens}
    refused = await asyncio.gather(*(_refuses(container.addresses[0], port) for port in strange))
    ports = ", ".join(map(str, sorted(listens)))
    return [
        (
            "published port",
            f"{each.host_ip or '0.0.0.0'}:{each.host_port} leads to port {each.port}, where nothing listens in "
            f"{container.name}; its server listens on {ports}",
        )
        for each, nobody in zip(strange.values(), refused, strict=True)
        if nobody
    ]


async def _refuses(host: str, port: int) -> bool:
    try:
        async with asyncio.timeout(_CONNECT_S):
            _, writer = await asyncio.open_connection(host, port)
    except ConnectionRefusedError:
        return True
    except (OSError, TimeoutError):
        return False
    writer.close()
    return False


def _gpus(document: Mapping[str, Any], info: Mapping[str, Any]) -> Rows:
    asked = use.gpus(document)
    if asked is None:
        return []
    words = "all GPUs" if asked < 0 else f"{asked:g} GPUs"
    runtimes = ", ".join(sorted(mapping(info, "Runtimes"))) or "unknown"
    return [("gpus", f"asks for {words}; runtimes of the engine: {runtimes}")]


def _architecture(image: Mapping[str, Any], info: Mapping[str, Any]) -> Rows:
    machine = text(info, "Architecture")
    wanted, has = text(image, "Architecture"), _ARCHITECTURES.get(machine, machine)
    if not wanted or not has or wanted == has:
        return []
    return [("architecture", f"the image is made for {wanted}, the engine's machine is {has}")]


async def _or_nothing(engine: Engine, path: str) -> dict[str, Any]:
    try:
        found = await engine.get(path)
    except TritonctlError:
        return {}
    return found if isinstance(found, dict) else {}
