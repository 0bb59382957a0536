"""What happened to a container: what the engine remembers of it, and what its state tells beyond that."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from typing import Any

from backends.docker.container import Container, mapping, number, text
from backends.docker.engine import Engine
from tritonctl.backend import Event
from tritonctl.errors import Unreachable

_READ_S = 5.0
_MAX_BYTES = 4 * 1024 * 1024  # the engine remembers 256 events, of all containers together
_SILENT = ("exec_create", "exec_start", "exec_die", "exec_detach", "attach", "detach", "resize", "top", "archive-path")

_DONE = {
    "start": "started",
    "restart": "restarted",
    "stop": "stopped",
    "pause": "paused",
    "unpause": "unpaused",
    "update": "updated",
    "destroy": "removed",
}


async def read(engine: Engine, container: Container) -> tuple[Event, ...]:
    """Oldest first."""
    found = [event for raw in await _remembered(engine, container) if (event := _event(container, raw)) is not None]
    known = {(event.kind, round(event.at)) for event in found}
    return tuple(sorted([*found, *_of_state(container, known)], key=lambda event: event.at))


async def starts(engine: Engine, container: Container) -> list[float]:
    """When it was started, as far as the engine remembers; seconds since the epoch."""
    return [_at(raw) for raw in await _remembered(engine, container) if raw.get("Action") == "start"]


async def _remembered(engine: Engine, container: Container) -> list[dict[str, Any]]:
    query = {
        "since": f"{(container.created_at or 0) - 1:.0f}",
        "until": f"{time.time():.3f}",
        "filters": json.dumps({"container": [container.id]}),
    }
    content = bytearray()
    try:
        async with asyncio.timeout(_READ_S):
            async for piece in engine.raw("/events", query):
                content += piece
                if len(content) > _MAX_BYTES:
                    break
    except TimeoutError:
        raise Unreachable("read the engine's events", f"no answer within {_READ_S:g} s", kind="timeout") from None
    found = []
    for line in content.splitlines():
        try:
            raw = json.loads(line)
        except ValueError:
            continue
        if isinstance(raw, dict):
            found.append(raw)
    return found


def _at(raw: Mapping[str, Any]) -> float:
    return number(raw, "timeNano") / 1e9 or float(number(raw, "time"))


def _event(container: Container, raw: Mapping[str, Any]) -> Event | None:
    action = text(raw, "Action")
    kind = action.partition(":")[0]
    if not kind or kind in _SILENT:
        return None
    about = mapping(mapping(raw, "Actor"), "Attributes")
    words, warning = f"{container.name} {_DONE.get(kind, kind)}", False
    match kind:
        case "create":
            words = f"{container.name} created from {text(about, 'image') or container.image}"
        case "die":
            code = text(about, "exitCode")
            words, warning = f"{container.name} ended with {code or '?'}", code not in ("0", "143")
        case "kill":
            words = f"{container.name} got signal {text(about, 'signal') or '?'}"
        case "oom":
            words, warning = f"{container.name} ran out of memory", True
        case "health_status":
            state = action.partition(":")[2].strip()
            words, warning = f"{container.name} is {state}", state == "unhealthy"
        case "rename":
            words = f"{text(about, 'oldName').lstrip('/')} is now {text(about, 'name') or container.name}"
    return Event(_at(raw), kind, words, warning)


def _of_state(container: Container, known: set[tuple[str, int]]) -> list[Event]:
    """The engine forgets, and forgets all when it starts; a container's own times stay."""
    state, name = container.state, container.name
    found = []
    if container.created_at is not None:
        found.append(Event(container.created_at, "create", f"{name} created from {container.image}"))
    if state.started_at is not None:
        found.append(Event(state.started_at, "start", f"{name} started"))
    if state.finished_at is not None:
        ended = "ended" if state.running else f"ended with {state.exit_code}"
        bad = not state.running and state.exit_code not in (0, 143)
        found.append(Event(state.finished_at, "die", f"{name} {ended}", bad))
    seen = {(kind, at + shift) for kind, at in known for shift in (-1, 0, 1)}
    return [event for event in found if (event.kind, round(event.at)) not in seen]
