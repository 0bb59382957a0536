"""Switching the control mode: the container made again with other flags, the old one kept until the new one is ready.

The names tell how far it is, also to a tritonctl that comes later: NAME.tritonctl-new is made and waits, the old one is
put aside as NAME.tritonctl-old, and only when the new one, now NAME, is ready is the old one removed. The engine gives
a name only once, so of two that switch the same container one is refused before it has changed anything.
"""

from __future__ import annotations

import asyncio
import json
import shlex
from collections.abc import Sequence
from functools import partial
from pathlib import PurePosixPath

from backends.docker import actions, belongings, logs, look, mend, ready, switchsteps
from backends.docker.actions import STOP_S, Ground
from backends.docker.container import Container, listing, mapping, text
from backends.docker.discovery import NEW, OLD
from backends.docker.engine import Engine
from backends.docker.recreate import Order, order
from tritonctl.errors import AlreadySo, OperationFailed, TritonctlError
from tritonctl.inventory import ControlMode
from tritonctl.plan import Plan, Step
from tritonctl.server import options as server_options

_CALL_S = 60.0
_CHANGES_S = 3.0
_LOG_S = 5.0


async def plan(ground: Ground) -> Plan:
    """Raises OperationFailed where the flags are out of reach, AlreadySo where the mode is that of every container."""
    mode = ground.mode
    aside = [each for each in ground.containers if each.name.endswith((OLD, NEW))]
    if aside:
        return await mend.plan(ground, mode)
    steps: list[Step] = []
    warnings: list[str] = []
    same: list[AlreadySo] = []
    for each in ground.containers:
        try:
            await _switch_one(ground, each, mode, steps, warnings)
        except AlreadySo as found:
            same.append(found)
            warnings.append(f"{each.name} is in control mode {mode} already, and stays as it is")
    if len(same) == len(ground.containers):
        raise same[0]
    if mode is not ControlMode.EXPLICIT:
        warnings.append(
            f"{mode} loads every model of the repository: one that fails keeps the server from getting ready, and the "
            "switch is then undone"
        )
    if len(ground.containers) > 1:
        warnings.append("one container after the other: the others serve meanwhile, and what is switched stays so")
    else:
        warnings.append("it does not serve between the stop of the old and the readiness of the new container")
    before = {switchsteps.mode_now(each) for each in ground.containers}
    if len(before) == 1 and None not in before:
        back = f"tritonctl mode {ground.service_id} {before.pop()}"
    else:
        back = "by hand, since its servers have different modes"
    return ground.plan(
        f"Switch {ground.service_id} to control mode {mode}",
        steps,
        warnings,
        f"by itself when a step fails: the old container gets its name back and is started; afterwards: {back}",
    )


async def _switch_one(
    ground: Ground, container: Container, mode: ControlMode, steps: list[Step], warnings: list[str]
) -> None:
    engine, name = ground.engine, container.name
    argv, carried = await _new_command(ground, container, mode, warnings)
    image, same_image = await actions.image_config(engine, container)
    wanted = order(container.document, argv, same_image=same_image)
    warnings += wanted.notes
    warnings += await _cost(engine, container)
    if carried:
        warnings.append(f"carried over as --load-model: {', '.join(carried)}")
    ran = container.state.status in ("running", "paused")
    made = switchsteps.Made()
    call = await actions.create_line(engine, name + NEW, wanted, image)
    twin: Order | None = None
    if container.auto_remove:
        twin = order(container.document, container.argv, same_image=same_image)
        warnings.append(
            "it was started with --rm: it is deleted as it stops, with what it wrote inside; a copy of it that was "
            "never started is kept for going back"
        )
    steps.append(
        Step(
            call=call,
            run=partial(switchsteps.make, engine, container, wanted, twin, made),
            replica=name,
            undo_call=f"docker rm {name + NEW}",
            undo=partial(switchsteps.unmake, engine, made),
            deadline_s=_CALL_S,
        )
    )
    if container.state.status in ("running", "paused", "restarting"):
        steps.append(
            Step(
                call=f"docker stop -t {STOP_S} {name}",
                run=partial(actions.end, engine, container.id, STOP_S),
                replica=name,
                undo_call=f"docker start {name}" if ran else "",
                undo=partial(switchsteps.start_again, engine, container, made, STOP_S + _CALL_S) if ran else None,
                deadline_s=STOP_S + _CALL_S,
            )
        )
    if twin is None:
        steps.append(switchsteps.rename_step(engine, container, name + OLD))
    steps.append(switchsteps.take_over_step(engine, name + NEW, name, made))
    steps.append(switchsteps.wait_step(ground, made, name))
    steps.append(
        Step(
            call=f"docker rm {name + OLD}",
            run=partial(switchsteps.remove_left, engine, name + OLD, name + OLD),
            replica=name,
            deadline_s=_CALL_S,
            settles=True,
        )
    )


# What the new container is to be


async def _new_command(
    ground: Ground, container: Container, mode: ControlMode, warnings: list[str]
) -> tuple[tuple[str, ...], list[str]]:
    """The command line for the mode, and the models that are carried over."""
    said = f"switch {ground.service_id} to {mode}"
    found = await look.judge(ground.engine, container)
    servers = server_options.servers_of(container.argv, container.environ)
    if found is not None and look.serves_nothing(found):
        raise OperationFailed(said, f"no tritonserver runs in {container.name}, only: {found.instead}")
    if found is None or not servers:
        raise OperationFailed(
            said,
            f"the command of {container.name} shows no tritonserver: a script starts it, and its flags are in there",
            f"put --model-control-mode={mode} into the script: {_shown(container.argv)}",
        )
    if all(each.control_mode is mode for each in servers):
        raise AlreadySo(said, f"it is in control mode {mode} already")
    ways = await look.ways(ground.engine, found)
    load: list[tuple[str, ...]] = []
    for options, way in zip(servers, ways, strict=True):
        loaded = await ready.loaded_models(way)
        if loaded is None:
            loaded = await _from_log(ground.engine, container) or options.load_models
            if mode is ControlMode.EXPLICIT:
                words = f"what its log last said was ready: {', '.join(loaded)}" if loaded else "no model"
                warnings.append(f"its server does not answer, so it starts with {words}")
        load.append(loaded)
    try:
        argv = server_options.with_mode(container.argv, mode, load, container.environ)
    except ValueError as error:
        raise OperationFailed(said, str(error), f"change it where it stands: {_shown(container.argv)}") from None
    if container.compose is not None:
        line = json.dumps(list(argv))
        where = container.labels.get("com.docker.compose.project.config_files", "the compose file")
        warnings.append(
            f"compose made it and will undo this at the next `up`: in {where} set, for {container.compose[1]}, "
            f"command: {line}" + (" and entrypoint: []" if _has_entry_point(container) else "")
        )
    return argv, sorted({name for each in load for name in each}) if mode is ControlMode.EXPLICIT else []


def _has_entry_point(container: Container) -> bool:
    return bool(mapping(container.document, "Config").get("Entrypoint"))


def _shown(argv: Sequence[str]) -> str:
    return " ".join(shlex.quote(each) for each in argv)[:200]


async def _from_log(engine: Engine, container: Container) -> tuple[str, ...]:
    lines: list[str] = []
    try:
        run = logs.current_run(container)
        async with asyncio.timeout(_LOG_S):
            async for batch in logs.read(engine, container, container.name, run, tail=5000, follow=False):
                lines += [line.text for line in batch]
    except (TritonctlError, TimeoutError):
        return ()
    return tuple(sorted({name for name, _, status in server_options.read_tables(lines).models if status == "READY"}))


async def _cost(engine: Engine, container: Container) -> list[str]:
    """What a new container does not have of the old one."""
    warnings = []
    users = await actions.sharing(engine, container)
    if users:
        warnings.append(f"{belongings.using(users)} its network: to be started again after it")
    try:
        changes = await engine.get(f"/containers/{container.id}/changes", deadline_s=_CHANGES_S)
    except TritonctlError:
        changes = None
    written = [text(each, "Path") for each in changes or () if isinstance(each, dict) and each.get("Kind") in (0, 1)]
    if lost := _lost(container, written):
        more = f" and {len(lost) - 3} more" if len(lost) > 3 else ""
        warnings.append(f"written inside the container and not carried over: {', '.join(lost[:3])}{more} (docker diff)")
    return warnings


def _lost(container: Container, written: Sequence[str]) -> list[str]:
    """Of the paths that the container's own layer has: those that somebody wrote, and that lie on no mount.

    The engine makes there the places that it mounts on: also those of --tmpfs, and /usr/sbin/docker-init for --init.
    """
    host = mapping(container.document, "HostConfig")
    mounts = [text(each, "Destination") for each in listing(container.document, "Mounts") if isinstance(each, dict)]
    mounts += [*mapping(host, "Tmpfs"), "/sbin/docker-init", "/usr/sbin/docker-init"]  # /sbin may be a link
    mounts = [each.rstrip("/") for each in mounts]
    folders = {str(parent) for path in (*written, *mounts) for parent in PurePosixPath(path).parents}
    files = [path for path in written if path not in folders]
    lost = [path for path in files if not any(f"{path}/".startswith(f"{mount}/") for mount in mounts)]
    return [path for path in lost if not path.startswith(("/tmp/", "/run/", "/dev/"))]
