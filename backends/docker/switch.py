"""Switching the control mode: the container made again with other flags, the old one kept until the new one is ready.

The names tell how far it is, also to a tritonctl that comes later: NAME.tritonctl-new is made and waits, the old one is
put aside as NAME.tritonctl-old, and only when the new one, now NAME, is ready is the old one removed. The engine gives
a name only once, so of two that switch the same container one is refused before it has changed anything.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from backends.docker import actions, logs, look, ready
from backends.docker.actions import STOP_S, Ground
from backends.docker.command import create_command
from backends.docker.container import Container, mapping, text
from backends.docker.discovery import NEW, OLD, base_name
from backends.docker.engine import Engine
from backends.docker.recreate import Order, order
from tritonctl.backend import Intent
from tritonctl.errors import NotFound, OperationFailed, TritonctlError, UsageError
from tritonctl.inventory import ControlMode
from tritonctl.plan import Plan, Step
from tritonctl.server import options as server_options

_CALL_S = 60.0
_CHANGES_S = 3.0
# As the first process of a container, tritonserver ignores SIGTERM until it is up (measured on 2.51.0): one that did
# not get ready is not waited for.
_NEW_STOP_S = 5


async def plan(ground: Ground) -> Plan:
    """Raises OperationFailed where the flags are out of reach, or the mode is what it is already."""
    mode = _mode(ground.intent)
    aside = [each for each in ground.containers if each.name.endswith((OLD, NEW))]
    if aside:
        return await _mend(ground, mode)
    steps: list[Step] = []
    warnings: list[str] = []
    for each in ground.containers:
        await _switch_one(ground, each, mode, steps, warnings)
    if mode is not ControlMode.EXPLICIT:
        warnings.append(
            f"{mode} loads every model of the repository: one that fails keeps the server from getting ready, and the "
            "switch is then undone"
        )
    if len(ground.containers) > 1:
        warnings.append("one container after the other: the others serve meanwhile")
    else:
        warnings.append("it does not serve between the stop of the old and the readiness of the new container")
    return ground.plan(
        f"Switch {ground.service_id} to control mode {mode}",
        steps,
        warnings,
        "by itself when a step fails: the old container gets its name back and is started; afterwards: "
        f"tritonctl mode {ground.service_id} {_mode_now(ground.containers[0])}",
    )


def _mode(intent: Intent) -> ControlMode:
    if intent.value not in ("none", "poll", "explicit"):
        raise UsageError(f"mode {intent.value!r}", "a control mode is none, poll or explicit")
    return ControlMode(intent.value)


def _mode_now(container: Container) -> ControlMode | None:
    servers = server_options.servers_of(container.argv, container.environ)
    return servers[0].control_mode if servers else None


@dataclass(slots=True)
class _Made:
    """The ids of what the first step made, for the later ones."""

    new: str = ""
    twin: str = ""
    notes: list[str] = field(default_factory=list)


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
    made = _Made()
    call = create_command(name + NEW, wanted.body, image, text(mapping(container.document, "HostConfig"), "Runtime"))
    for network, _ in wanted.networks:
        call += f" && docker network connect {network} {name + NEW}"
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
            run=partial(_make, engine, name, wanted, twin, made),
            replica=name,
            undo_call=f"docker rm {name + NEW}",
            undo=partial(_unmake, engine, made),
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
                undo=partial(_start_again, engine, container, made) if ran else None,
                deadline_s=STOP_S + _CALL_S,
            )
        )
    if twin is None:
        steps.append(
            Step(
                call=f"docker rename {name} {name + OLD}",
                run=partial(_rename, engine, container.id, name + OLD),
                replica=name,
                undo_call=f"docker rename {name + OLD} {name}",
                undo=partial(_rename, engine, container.id, name),
                deadline_s=_CALL_S,
            )
        )
    steps.append(
        Step(
            call=f"docker rename {name + NEW} {name} && docker start {name}",
            run=partial(_take_over, engine, name, made),
            replica=name,
            undo_call=f"docker stop {name} && docker rename {name} {name + NEW}",
            undo=partial(_step_back, engine, name, made),
            deadline_s=STOP_S + _CALL_S,
        )
    )
    steps.append(_wait_step(ground, made, name))
    steps.append(
        Step(
            call=f"docker rm {name + OLD}",
            run=partial(_remove_left, engine, name + OLD, name + OLD),
            replica=name,
            deadline_s=_CALL_S,
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
    if found is None or not servers:
        raise OperationFailed(
            said,
            f"the command of {container.name} shows no tritonserver: a script starts it, and its flags are in there",
            f"put --model-control-mode={mode} into the script: {_shown(container.argv)}",
        )
    if all(each.control_mode is mode for each in servers):
        raise OperationFailed(said, f"it is in control mode {mode} already")
    ways = await look.ways(ground.engine, found)
    load: list[tuple[str, ...]] = []
    for options, way in zip(servers, ways, strict=True):
        loaded = await ready.loaded_models(way)
        if loaded is None:
            loaded = await _from_log(ground.engine, container) or options.load_models
            if mode is ControlMode.EXPLICIT:
                words = f"what its log last said was ready: {', '.join(loaded)}" if loaded else "with no model"
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
        async for batch in logs.read(engine, container, container.name, run, tail=5000, follow=False):
            lines += [line.text for line in batch]
    except TritonctlError:
        return ()
    return tuple(sorted({name for name, _, status in server_options.read_tables(lines).models if status == "READY"}))


async def _cost(engine: Engine, container: Container) -> list[str]:
    """What a new container does not have of the old one."""
    warnings = []
    users = await actions.sharing(engine, container)
    if users:
        warnings.append(f"{', '.join(users)} uses its network and must be started again after it")
    try:
        changes = await engine.get(f"/containers/{container.id}/changes", deadline_s=_CHANGES_S)
    except TritonctlError:
        changes = None
    written = [text(each, "Path") for each in changes or () if isinstance(each, dict) and each.get("Kind") in (0, 1)]
    files = [path for path in written if not any(other.startswith(path + "/") for other in written)]
    mounts = [text(each, "Destination") for each in container.document.get("Mounts") or ()]
    lost = [path for path in files if not any(f"{path}/".startswith(f"{mount}/") for mount in mounts)]
    lost = [path for path in lost if not path.startswith(("/tmp/", "/run/", "/dev/"))]
    if lost:
        more = f" and {len(lost) - 3} more" if len(lost) > 3 else ""
        warnings.append(f"written inside the container and not carried over: {', '.join(lost[:3])}{more} (docker diff)")
    return warnings


# The steps. Each can be done twice: a switch that was cut off is finished or undone by the same ones.


async def _make(engine: Engine, name: str, wanted: Order, twin: Order | None, made: _Made) -> str:
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
            body = {"Container": container_id, "EndpointConfig": settings}
            await engine.call("POST", f"/networks/{network}/connect", None, body)
    except TritonctlError:
        await _remove(engine, container_id)
        raise
    return container_id


async def _unmake(engine: Engine, made: _Made) -> str:
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


async def _start_again(engine: Engine, container: Container, made: _Made) -> str:
    """The old one, or the copy that was kept of it where --rm took it away."""
    if await look.inspect_or_none(engine, container.id) is None:
        await _rename(engine, made.twin, container.name)
        await engine.call("POST", f"/containers/{made.twin}/start", deadline_s=_CALL_S)
        made.twin = ""
        return "a copy of it started"
    await engine.call("POST", f"/containers/{container.id}/start", deadline_s=_CALL_S)
    return "started"


async def _rename(engine: Engine, container_id: str, name: str) -> str:
    container = await look.inspect(engine, container_id)
    if container.name != name:
        await engine.call("POST", f"/containers/{container_id}/rename", {"name": name})
    return name


async def _take_over(engine: Engine, name: str, made: _Made) -> str:
    await _rename(engine, made.new, name)
    await engine.call("POST", f"/containers/{made.new}/start", deadline_s=_CALL_S)
    return "started"


async def _step_back(engine: Engine, name: str, made: _Made) -> str:
    """The new one out of the way: it may have ended by itself, and be gone by --rm."""
    if await look.inspect_or_none(engine, made.new) is None:
        return "is gone"
    await actions.end(engine, made.new, _NEW_STOP_S)
    if await look.inspect_or_none(engine, made.new) is None:
        return "is gone"
    return await _rename(engine, made.new, name + NEW)


async def _wait(engine: Engine, made: _Made, name: str, within_s: float) -> str:
    try:
        return await ready.wait_ready(engine, made.new, within_s)
    except NotFound:
        raise OperationFailed(f"start {name}", "it ended at once, and was removed as it ended (--rm)") from None
    except OperationFailed as error:
        raise OperationFailed(f"start {name} in its new mode", error.answer) from None


async def _remove_left(engine: Engine, container: str, name: str) -> str:
    """The switch is done: what goes wrong here must not undo it."""
    try:
        await _remove(engine, container)
    except TritonctlError as error:
        return f"{name} is left: {error.headline}; docker rm {name}"
    return "removed"


def _wait_step(ground: Ground, made: _Made, name: str) -> Step:
    return Step(
        call=f"wait until {name} is ready (at most {ground.ready_s:g} s)",
        run=partial(_wait, ground.engine, made, name, ground.ready_s),
        replica=name,
        deadline_s=ground.ready_s + _CALL_S,
    )


# A switch that was cut off


async def _mend(ground: Ground, mode: ControlMode) -> Plan:
    """Finish it where the mode asked for is the new one's, undo it where it is the old one's."""
    groups: dict[str, dict[str, Container]] = {}
    for each in ground.containers:
        suffix = OLD if each.name.endswith(OLD) else NEW if each.name.endswith(NEW) else ""
        groups.setdefault(base_name(each.name), {})[suffix] = each
    steps: list[Step] = []
    finish = False
    for name, group in groups.items():
        if OLD not in group and NEW not in group:
            continue
        cut = _Cut(name, *_old_and_new(group), group[OLD] if len(group) == 3 else None)
        if cut.new is not None and _mode_now(cut.new) is mode:
            finish = True
            steps += _finish(ground, cut)
        elif cut.old is not None and _mode_now(cut.old) is mode:
            steps += _go_back(ground, cut)
        else:
            modes = [str(_mode_now(each)) for each in (cut.new, cut.old) if each is not None]
            raise OperationFailed(
                f"switch {ground.service_id} to {mode}",
                "a switch of it was left half done",
                f"ask for {' (to finish it) or '.join(modes)} (to undo it) first",
            )
    word = "Finish" if finish else "Undo"
    return ground.plan(
        f"{word} the mode switch of {ground.service_id} that was left half done",
        steps,
        ["if another tritonctl is at it just now, let it end: it takes seconds to minutes"],
        "the other way round: until the last step both containers are there",
    )


@dataclass(frozen=True, slots=True)
class _Cut:
    """What a switch that was cut off has left; `spare` is the copy of an old one of --rm that is still there itself."""

    name: str
    old: Container | None
    new: Container | None
    spare: Container | None

    @property
    def remains(self) -> tuple[Container, ...]:
        return (self.spare,) if self.spare is not None else ()


def _old_and_new(group: dict[str, Container]) -> tuple[Container | None, Container | None]:
    """Which is which: with only one put aside, the container with the plain name is the other one; with two, it is the
    old one, which --rm has not taken away yet."""
    plain = group.get("")
    if len(group) == 3:
        return plain, group[NEW]
    return group.get(OLD, plain if NEW in group else None), group.get(NEW, plain if OLD in group else None)


def _finish(ground: Ground, cut: _Cut) -> list[Step]:
    engine, name, old, new = ground.engine, cut.name, cut.old, cut.new
    assert new is not None
    made = _Made(new=new.id)
    steps: list[Step] = []
    if old is not None and old.state.running:
        steps.append(actions.stop_step(engine, old))
    if old is not None and not old.auto_remove and old.name == name:
        steps.append(_rename_step(engine, old, name + OLD))
    rename = f"docker rename {new.name} {name} && " if new.name != name else ""
    steps.append(
        Step(
            call=f"{rename}docker start {name}",
            run=partial(_take_over, engine, name, made),
            replica=name,
            undo_call=f"docker stop {name} && docker rename {name} {name + NEW}",
            undo=partial(_step_back, engine, name, made),
            deadline_s=STOP_S + _CALL_S,
        )
    )
    steps.append(_wait_step(ground, made, name))
    gone = () if old is None or (old.auto_remove and old.name == name) else (old,)
    return [*steps, *(_remove_step(engine, each) for each in (*gone, *cut.remains))]


def _go_back(ground: Ground, cut: _Cut) -> list[Step]:
    engine, name, old, new = ground.engine, cut.name, cut.old, cut.new
    assert old is not None
    steps: list[Step] = []
    if new is not None and new.state.running:
        steps.append(actions.stop_step(engine, new, _NEW_STOP_S))
    if new is not None and new.name == name and not new.auto_remove:
        steps.append(_rename_step(engine, new, name + NEW))
    if old.name != name:
        steps.append(_rename_step(engine, old, name))
    if not old.state.running:
        run = partial(actions.post, engine, old, "start")
        steps.append(Step(call=f"docker start {name}", run=run, replica=name, deadline_s=_CALL_S))
    steps.append(actions.ready_step(engine, old.id, ground.ready_s, name))
    gone = () if new is None else (new,)
    return [*steps, *(_remove_step(engine, each) for each in (*gone, *cut.remains))]


def _remove_step(engine: Engine, container: Container) -> Step:
    run = partial(_remove_left, engine, container.id, container.name)
    return Step(call=f"docker rm {container.name}", run=run, replica=container.name, deadline_s=_CALL_S)


def _rename_step(engine: Engine, container: Container, name: str) -> Step:
    return Step(
        call=f"docker rename {container.name} {name}",
        run=partial(_rename, engine, container.id, name),
        replica=container.name,
        undo_call=f"docker rename {name} {container.name}",
        undo=partial(_rename, engine, container.id, container.name),
        deadline_s=_CALL_S,
    )
