"""A container in the engine's terms: state, health, command, use, mounts, networks, environment with secrets hidden."""

from __future__ import annotations

import asyncio
import shlex
import time
from collections.abc import Mapping
from typing import Any

from backends.docker.command import gpus
from backends.docker.container import Container, listing, mapping, number, read_container, text
from backends.docker.engine import Engine
from backends.secrets import mask, mask_argument
from tritonctl.backend import Section
from tritonctl.errors import TritonctlError

_BETWEEN_SAMPLES_S = 0.25
_MIB = 2**20
Rows = list[tuple[str, str]]


async def sections(engine: Engine, container: Container) -> tuple[Section, ...]:
    """Raises NotFound where it is gone by now."""
    document = await engine.get(f"/containers/{container.id}/json")
    now = read_container(document)
    use = await _use(engine, now) if now.state.status == "running" else []
    parts = (
        (f"container {now.name}", _state(now, document)),
        ("health check", _health(document)),
        ("use", use + _limits(document)),
        ("mounts", _mounts(document)),
        ("networks", _networks(now, document)),
        ("environment", [(name, mask(name, value)) for name, value in sorted(now.environ.items())]),
        ("labels", [(name, mask(name, value)) for name, value in sorted(now.labels.items())]),
    )
    return tuple(Section(heading, tuple(rows)) for heading, rows in parts if rows)


def _state(container: Container, document: Mapping[str, Any]) -> Rows:
    state = container.state
    host = mapping(document, "HostConfig")
    restart = mapping(host, "RestartPolicy")
    rows = [("state", state.status)]
    if not state.running and state.finished_at is not None:
        rows.append(("exit code", f"{state.exit_code}{' (out of memory)' if state.oom_killed else ''}"))
    if state.error:
        rows.append(("error", state.error))
    rows += [
        ("command", " ".join(shlex.quote(mask_argument(word)) for word in container.argv)),
        ("image", container.image),
        ("image id", container.image_id),
        ("id", container.id),
        ("created", _when(container.created_at)),
        ("started", _when(state.started_at)),
        ("ended", _when(state.finished_at)),
        ("restarts", f"{container.restarts}, policy {text(restart, 'Name') or 'no'}"),
    ]
    if container.auto_remove:
        rows.append(("when it ends", "it is removed (--rm)"))
    if container.compose is not None:
        rows.append(("compose", f"service {container.compose[1]} of project {container.compose[0]}"))
    return rows


def _health(document: Mapping[str, Any]) -> Rows:
    check = mapping(mapping(document, "Config"), "Healthcheck")
    health = mapping(mapping(document, "State"), "Health")
    if not health:
        return []
    rows = [
        ("test", " ".join(map(str, listing(check, "Test")))),
        ("status", f"{text(health, 'Status')}, {number(health, 'FailingStreak')} failures in a row"),
    ]
    for each in listing(health, "Log")[-3:]:
        if isinstance(each, dict):
            said = text(each, "Output").strip() or "no output"
            rows.append((text(each, "Start")[11:19], f"exit {number(each, 'ExitCode')}: {said[:1000]}"))
    return rows


async def _use(engine: Engine, container: Container) -> Rows:
    """Two samples: the engine counts the processor's time, not its share."""
    path, query = f"/containers/{container.id}/stats", {"stream": False, "one-shot": True}
    try:
        before = await engine.get(path, query)
        began = time.monotonic()
        await asyncio.sleep(_BETWEEN_SAMPLES_S)
        after = await engine.get(path, query)
    except TritonctlError:
        return []  # it ended in between
    passed = time.monotonic() - began
    busy = (_busy_ns(after) - _busy_ns(before)) / 1e9
    memory = mapping(after, "memory_stats")
    # Without the page cache that the kernel takes back on demand, as `docker stats` shows it.
    details = mapping(memory, "stats")
    cache = number(details, "total_inactive_file") or number(details, "inactive_file")
    used, limit = max(number(memory, "usage") - cache, 0), number(memory, "limit")
    rows = [
        ("cpu", f"{100 * busy / passed:.0f} % of a core"),
        ("memory", f"{used / _MIB:.0f} MiB of {limit / _MIB:.0f}"),
    ]
    if pids := number(mapping(after, "pids_stats"), "current"):
        rows.append(("processes", str(pids)))
    return rows


def _busy_ns(sample: Mapping[str, Any]) -> int:
    return number(mapping(mapping(sample, "cpu_stats"), "cpu_usage"), "total_usage")


def _limits(document: Mapping[str, Any]) -> Rows:
    host = mapping(document, "HostConfig")
    rows = [("gpus", gpus(each)) for each in listing(host, "DeviceRequests") if isinstance(each, dict)]
    for field, name in (("Memory", "memory limit"), ("ShmSize", "/dev/shm")):
        if number(host, field):
            rows.append((name, f"{number(host, field) / _MIB:.0f} MiB"))
    if number(host, "NanoCpus"):
        rows.append(("cpu limit", f"{number(host, 'NanoCpus') / 1e9:g} cores"))
    rows += [("device", text(each, "PathOnHost")) for each in listing(host, "Devices") if isinstance(each, dict)]
    return rows


def _mounts(document: Mapping[str, Any]) -> Rows:
    return [
        (
            text(each, "Destination"),
            f"{text(each, 'Name') or text(each, 'Source')} "
            f"({text(each, 'Type')}{'' if each.get('RW') else ', read-only'})",
        )
        for each in listing(document, "Mounts")
        if isinstance(each, dict)
    ]


def _networks(container: Container, document: Mapping[str, Any]) -> Rows:
    rows = [("mode", container.network_mode)]
    for name, each in mapping(mapping(document, "NetworkSettings"), "Networks").items():
        aliases = ", ".join(map(str, listing(each, "Aliases")))
        rows.append((name, f"{text(each, 'IPAddress') or 'no address'}{f', also called {aliases}' if aliases else ''}"))
    rows += [(f"port {each.port}", f"{each.host_ip or '*'}:{each.host_port}") for each in container.published]
    return rows


def _when(at: float | None) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at)) if at is not None else "never"
