"""The steps that a mode switch is made of, also one that was cut off. Each can be done twice."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import quote

from backends.docker import actions, look, ready
from backends.docker.actions import STOP_S, Ground
from backends.docker.container import Container, text
from backends.docker.discovery import NEW, OLD
from backends.docker.engine import Engine
from backends.docker.recreate import Order
from tritonctl.errors import NotFound, OperationFailed, TritonctlError
from tritonctl.inventory import ControlMode
from tritonctl.plan import NotAsBefore, Step
from tritonctl.server import options as server_options

_CALL_S = 60.0
# As the first process of a container, tritonserver ignores SIGTERM until it is up (measured on 2.51.0): one that did
# not get ready is not waited for.
NEW_STOP_S = 5
# Of an undo's deadline, for saying why the server does not get ready.
_SAY_S = 15.0


@dataclass(slots=True)
class Made:
    """The ids of what the first step made, for the later ones."""

    new: str = ""
    twin: str = ""
    notes: list[str] = field(default_factory=list)


def mode_now(container: Container) -> ControlMode | None:
    """That of all its servers; None where they differ, or nothing shows one."""
    modes = {each.control_mode for each in server_options.servers_of(container.argv, container.environ)}
    return modes.pop() if len(modes) == 1 else None


async def make(engine: Engine, container: Container, wanted: Order, twin: Order | None, made: Made) -> str:
    name = container.name
    if await look.inspect_or_none(engine, container.id) is None:  # since the plan was made
        raise NotFound(f"make {name + NEW}", f"{name} is gone: there is nothing to be switched")
    try:
        made.new = await _create(engine, name + NEW, wanted)
        if twin is not None:
            made.twin = await _create(engine, name + OLD, twin)
    except OperationFailed as error:
        if error.status == 409 and "already in use" in error.answer:
            raise OperationFailed(
                f"make {name + NEW}",
                "another switch of it is under way, or was left half done",
                "look again in a moment",
            ) from None
        raise
    return made.new[:12]


async def _create(engine: Engine, name: str, wanted: Order) -> str:
    answer = await engine.call("POST", "/containers/create", {"name": name}, wanted.body, deadline_s=_CALL_S)
    container_id = text(answer if isinstance(answer, dict) else {}, "Id")
    try:
        for network, settings in wanted.networks:
            await connect(engine, container_id, network, settings)
    except TritonctlError:
        await _remove(engine, container_id)
        raise
    return container_id


async def connect(engine: Engine, container_id: str, network: str, settings: Mapping[str, Any]) -> str:
    body = {"Container": container_id, "EndpointConfig": settings}
    await engine.call("POST", f"/networks/{quote(network, safe='')}/connect", None, body)
    return "connected"


async def unmake(engine: Engine, made: Made) -> str:
    """Only what this switch made itself; without a copy that has taken the old one's place."""
    for container_id in (made.new, made.twin):
        if container_id:
            await _remove(engine, container_id)
    made.new = made.twin = ""
    return "removed"


async def _remove(engine: Engine, container_id: str) -> None:
    try:
        await engine.call("DELETE", f"/containers/{container_id}", {"force": True}, deadline_s=_CALL_S)
    except NotFound:
        return
    except OperationFailed as error:
        if error.status != 409:  # it is being removed, by --rm
            raise


async def start_again(engine: Engine, container: Container, made: Made, within_s: float) -> str:
    """The old one, or the copy that was kept of it where --rm took it away. Raises NotAsBefore where it does not get
    ready in what is then left of `within_s`."""
    began = time.monotonic()
    started, what = container.id, "started again"
    if await look.inspect_or_none(engine, container.id) is None:
        if not made.twin:
            return "somebody removed it meanwhile"
        await rename(engine, made.twin, container.name)
        started, what = made.twin, "a copy of it started"
    await engine.call("POST", f"/containers/{started}/start", deadline_s=_CALL_S)
    made.twin = made.twin if started == container.id else ""
    try:
        said = await ready.wait_ready(engine, started, max(1.0, within_s - _SAY_S - (time.monotonic() - began)))
    except TritonctlError as error:
        raise NotAsBefore(f"{container.name} {what}, but it does not get ready: {error.answer}") from None
    return f"{what}, and {said}"


async def rename(engine: Engine, container_id: str, name: str) -> str:
    container = await look.inspect(engine, container_id)
    if container.name != name:
        await engine.call("POST", f"/containers/{container_id}/rename", {"name": name})
    return name


async def take_over(engine: Engine, name: str, made: Made) -> str:
    await rename(engine, made.new, name)
    await engine.call("POST", f"/containers/{made.new}/start", deadline_s=_CALL_S)
    return "started"


async def step_back(engine: Engine, name: str, made: Made) -> str:
    """The new one out of the way: it may have ended by itself, and be gone by --rm."""
    if await look.inspect_or_none(engine, made.new) is None:
        return "is gone"
    await actions.end(engine, made.new, NEW_STOP_S)
    if await look.inspect_or_none(engine, made.new) is None:
        return "is gone"
    return await rename(engine, made.new, name + NEW)


async def _wait(engine: Engine, made: Made, name: str, within_s: float) -> str:
    try:
        return await ready.wait_ready(engine, made.new, within_s)
    except NotFound:
        raise OperationFailed(f"start {name}", "it ended at once, and was removed as it ended (--rm)") from None
    except OperationFailed as error:
        raise OperationFailed(f"start {name} in its new mode", error.answer) from None


async def remove_left(engine: Engine, container: str, name: str) -> str:
    """The switch is done: what goes wrong here must not undo it."""
    try:
        await _remove(engine, container)
    except TritonctlError as error:
        return f"{name} is left: {error.headline}; docker rm {name}"
    return "removed"


def wait_step(ground: Ground, made: Made, name: str) -> Step:
    return Step(
        call=f"wait until {name} is ready (at most {ground.ready_s:g} s)",
        run=partial(_wait, ground.engine, made, name, ground.ready_s),
        replica=name,
        deadline_s=ground.ready_s + _CALL_S,
    )


def take_over_step(engine: Engine, new: str, name: str, made: Made) -> Step:
    """The new one, which is called `new` now, gets the name and is started."""
    rename = f"docker rename {new} {name} && " if new != name else ""
    return Step(
        call=f"{rename}docker start {name}",
        run=partial(take_over, engine, name, made),
        replica=name,
        undo_call=f"docker stop {name} && docker rename {name} {name + NEW}",
        undo=partial(step_back, engine, name, made),
        deadline_s=STOP_S + _CALL_S,
    )


def remove_step(engine: Engine, container: Container, name: str = "") -> Step:
    """`name` where a step before this one gives the container another name than it has now."""
    name = name or container.name
    run = partial(remove_left, engine, container.id, name)
    return Step(call=f"docker rm {name}", run=run, replica=container.name, deadline_s=_CALL_S, settles=True)


def rename_step(engine: Engine, container: Container, name: str) -> Step:
    return Step(
        call=f"docker rename {container.name} {name}",
        run=partial(rename, engine, container.id, name),
        replica=container.name,
        undo_call=f"docker rename {name} {container.name}",
        undo=partial(rename, engine, container.id, container.name),
        deadline_s=_CALL_S,
    )
