"""A container in the engine's terms: state, health, command, use, mounts, networks, environment with secrets hidden."""

from __future__ import annotations

import asyncio
import shlex
import time
from collections.abc import Mapping
from typing import Any

from backends.docker import use
from backends.docker.command import gpus
from backends.docker.container import Container, listing, mapping, number, read_container, text
from backends.docker.engine import Engine
from backends.secrets import mask, mask_arguments
from tritonctl.backend import Section

_BETWEEN_SAMPLES_S = 0.25
_MIB = 2**20
Rows = list[tuple[str, str]]


async def sections(engine: Engine, container: Container) -> tuple[Section, ...]:
    """Raises NotFound where it is gone by now."""
    document = await engine.get(f"/containers/{container.id}/json")
    now = read_container(document)
    taken = await _use(engine, now) if now.state.status == "running" else []
    parts = (
        (f"container {now.name}", _state(now, document)),
        ("health check", _health(document)),
        ("use", taken + _limits(document)),
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
        ("command", " ".join(map(shlex.quote, mask_arguments(container.argv)))),
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
        ("test", " ".join(mask_arguments(str(each) for each in listing(check, "Test")))),
        ("status", f"{text(health, 'Status')}, {number(health, 'FailingStreak')} failures in a row"),
    ]
    for each in listing(health, "Log")[-3:]:
        if isinstance(each, dict):
            said = text(each, "Output").strip() or "no output"
            rows.append((text(each, "Start")[11:19], f"exit {number(each, 'ExitCode')}: {said[:1000]}"))
    return rows


async def _use(engine: Engine, container: Container) -> Rows:
    """Two samples: the engine counts the processor's time, not its share."""
    before = await use.sample(engine, container.id)
    await asyncio.sleep(_BETWEEN_SAMPLES_S)
    after = await use.sample(engine, container.id)
    if before is None or after is None:
        return []  # it ended in between
    taken = use.usage(before, after)
    rows = [("cpu", f"{taken.cpu_cores:.2f} cores")] if taken.cpu_cores is not None else []
    if taken.memory_bytes is not None:
        limit = f" of {taken.memory_limit_bytes / _MIB:.0f}" if taken.memory_limit_bytes else ""
        rows.append(("memory", f"{taken.memory_bytes / _MIB:.0f} MiB{limit}"))
    if after.processes:
        rows.append(("processes", str(after.processes)))
    return rows


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
