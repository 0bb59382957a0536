"""Plans for a container as it is: start, stop, restart, delete; the engine does them, step by step."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from backends.docker import belongings, look, ready
from backends.docker.command import connect_command, create_command, left_out
from backends.docker.container import Container, listing, mapping, text
from backends.docker.engine import Engine
from backends.docker.recreate import Order, order
from tritonctl.errors import AlreadySo, NotFound, OperationFailed, TritonctlError
from tritonctl.ground import PlanGround
from tritonctl.inventory import ControlMode
from tritonctl.plan import Choice, Plan, Step, choose
from tritonctl.server.options import EVERY_MODEL

STOP_S = 30  # tritonserver's own --exit-timeout-secs: requests under way may end
_CALL_S = 60.0


@dataclass(frozen=True, slots=True)
class Ground(PlanGround):
    """The containers of the service as they are now."""

    engine: Engine
    containers: tuple[Container, ...]
    ready_s: float

    @property
    def now(self) -> str:
        return ", ".join(f"{each.name} {each.state.status}" for each in self.containers)


async def start(ground: Ground) -> Plan:
    steps: list[Step] = []
    undo: list[str] = []
    for each in ground.containers:
        if each.state.status == "paused":
            steps.append(_step(f"docker unpause {each.name}", partial(post, ground.engine, each, "unpause")))
            undo.append(f"docker pause {each.name}")
        elif each.state.status not in ("running", "restarting"):
            steps.append(start_step(ground.engine, each))
            steps.append(ready_step(ground.engine, each.name, ground.ready_s))
            undo.append(f"docker stop -t {STOP_S} {each.name}")
    if not steps:
        raise AlreadySo(f"start {ground.service_id}", "it runs already", "restart starts it anew")
    return ground.plan(f"Start {ground.service_id}", steps, [], " && ".join(undo))


async def stop(ground: Ground) -> Plan:
    running = [each for each in ground.containers if each.state.status in ("running", "paused", "restarting")]
    if not running:
        raise AlreadySo(f"stop {ground.service_id}", "it does not run")
    warnings = await _loss_of_stop(ground, running)
    steps = [stop_step(ground.engine, each) for each in running]
    kept = [each for each in running if not each.auto_remove]
    undo = " && ".join(f"docker start {each.name}" for each in kept)
    return ground.plan(f"Stop {ground.service_id}", steps, warnings, undo, "" if kept else ground.intent.service.name)


async def restart(ground: Ground) -> Plan:
    warnings = await _loss_of_stop(ground, ground.containers, comes_back=True)
    steps: list[Step] = []
    for each in ground.containers:
        if each.auto_remove and each.state.running:
            raise OperationFailed(
                f"restart {ground.service_id}",
                f"{each.name} was started with --rm: stopping it deletes it",
                "a mode switch re-creates it; or start it anew without --rm",
            )
        call = f"docker restart -t {STOP_S} {each.name}"
        steps.append(_step(call, partial(post, ground.engine, each, "restart", {"t": STOP_S})))
        steps.append(ready_step(ground.engine, each.name, ground.ready_s))
    if len(ground.containers) > 1:
        warnings.append("one after the other: the next begins when the one before is ready")
    return ground.plan(
        f"Restart {ground.service_id}", steps, warnings, "a restart cannot be taken back; it loses no data"
    )


async def delete(ground: Ground) -> Plan:
    """Volumes and images that nobody else uses are choices, kept unless they are chosen.

    The options `volumes` and `image` stand for all of their kind.
    """
    engine = ground.engine
    steps: list[Step] = []
    warnings: list[str] = []
    undo: list[str] = []
    lost: list[str] = []
    for each in ground.containers:
        if each.state.running or each.state.status == "restarting":
            steps.append(stop_step(engine, each))
        steps.append(_step(f"docker rm {each.name}", partial(remove, engine, each), settles=True))
        command, hidden = await recreate_command(engine, each)
        undo.append(command)
        lost += [name for name in hidden if name not in lost]
    offered = await belongings.of(engine, ground.containers)
    choices = choose((each.choice for each in offered), belongings.spelled_out(offered, ground.intent.options))
    for belonging, choice in zip(offered, choices, strict=True):
        if choice.chosen:
            steps.append(_step(belonging.call, partial(_remove_object, engine, belonging.path)))
            warnings.append(belonging.loss)
    warnings += [word for each in ground.containers for word in await _loss_of_delete(engine, each, choices)]
    warnings += await belongings.shared_images(engine, ground.containers)
    if ground.containers[0].compose is not None:
        warnings.append("compose made it and will make it again: take it out of the file, or `docker compose down`")
    warnings.append("what it wrote inside itself and its log are gone for good")
    if lost:
        warnings.append(f"the undo leaves out what is secret, keep it before: {', '.join(lost)}")
    return ground.plan(
        f"Delete {ground.service_id}",
        steps,
        warnings,
        f"{' && '.join(undo)}   ({'without its secrets' if lost else 'the same settings'}; what was inside is gone)",
        ground.intent.service.name,
        choices=choices,
    )


# Steps


def start_step(engine: Engine, container: Container) -> Step:
    return Step(
        call=f"docker start {container.name}",
        run=partial(post, engine, container, "start"),
        replica=container.name,
        undo_call=f"docker stop -t {STOP_S} {container.name}",
        undo=partial(end, engine, container.id, STOP_S),
        deadline_s=_CALL_S,
    )


def stop_step(engine: Engine, container: Container, within_s: int = STOP_S) -> Step:
    """Undone by a start where it ran, and where it is still there to be started."""
    back = not container.auto_remove and container.state.status != "restarting"
    return Step(
        call=f"docker stop -t {within_s} {container.name}",
        run=partial(end, engine, container.id, within_s),
        replica=container.name,
        undo_call=f"docker start {container.name}" if back else "",
        undo=partial(post, engine, container, "start") if back else None,
        deadline_s=STOP_S + _CALL_S,
    )


def ready_step(engine: Engine, container: str, within_s: float, name: str = "") -> Step:
    """`name` is what it is called by then."""
    return Step(
        call=f"wait until {name or container} is ready (at most {within_s:g} s)",
        run=partial(ready.wait_ready, engine, container, within_s),
        replica=name or container,
        deadline_s=within_s + _CALL_S,
    )


async def post(engine: Engine, container: Container, what: str, query: dict[str, int] | None = None) -> str:
    """By id: whatever has the name now. The engine's own deadline is that of the step."""
    await engine.call("POST", f"/containers/{container.id}/{what}", query, deadline_s=STOP_S + _CALL_S)
    return {"stop": "stopped", "start": "started"}.get(what, f"{what}ed".replace("eed", "ed"))


async def end(engine: Engine, container_id: str, within_s: int) -> str:
    """Stop it. One of --rm is gone only some time after the engine has said that it stopped."""
    container = await look.inspect(engine, container_id)
    await engine.call("POST", f"/containers/{container_id}/stop", {"t": within_s}, deadline_s=within_s + _CALL_S)
    if not container.auto_remove:
        return "stopped"
    with suppress(NotFound):
        await engine.call("POST", f"/containers/{container_id}/wait", {"condition": "removed"}, deadline_s=_CALL_S)
    return "stopped and removed"


async def remove(engine: Engine, container: Container) -> str:
    """It may be gone already, by --rm or by somebody else's hand."""
    try:
        await engine.call("DELETE", f"/containers/{container.id}", deadline_s=_CALL_S)
    except NotFound:
        return "was gone already"
    except OperationFailed as error:
        if error.status == 409 and "in progress" in error.answer:
            return "is being removed"
        if error.status == 409 and "running container" in error.answer:
            words = "it runs again: somebody started it meanwhile, and it is not removed"
            raise OperationFailed(f"remove {container.name}", words, "delete it again", error.status) from None
        raise
    return "removed"


def _step(call: str, run: Callable[[], Awaitable[str]], *, settles: bool = False) -> Step:
    return Step(call=call, run=run, replica=call.rpartition(" ")[2], deadline_s=STOP_S + _CALL_S, settles=settles)


# What it costs


async def _loss_of_stop(ground: Ground, containers: Any, *, comes_back: bool = False) -> list[str]:
    """Models that were loaded at run time, and what --rm takes along."""
    warnings = []
    for each in containers:
        if each.auto_remove:
            warnings.append(f"{each.name} was started with --rm: it is deleted as it stops, with its unnamed volumes")
        found = await look.judge(ground.engine, each)
        if found is None or each.state.status != "running":
            continue
        for options, way in zip(found.servers, await look.ways(ground.engine, found), strict=True):
            if options.control_mode is not ControlMode.EXPLICIT or EVERY_MODEL in options.load_models:
                continue
            loaded = await ready.loaded_models(way)
            lost = [name for name in loaded or () if name not in options.load_models]
            if lost:
                names = ", ".join(lost)
                after = "will not be loaded after it" if comes_back else "will not be loaded when it starts again"
                warnings.append(f"loaded at run time, no --load-model names them: {names} {after}")
    return warnings


async def _loss_of_delete(engine: Engine, container: Container, choices: Sequence[Choice]) -> list[str]:
    warnings = []
    offered = {each.id for each in choices}
    for mount in listing(container.document, "Mounts"):
        if not isinstance(mount, dict):
            continue
        target, name = text(mount, "Destination"), text(mount, "Name")
        if mount.get("Type") == "bind":
            warnings.append(f"the files in {text(mount, 'Source')} (at {target}) stay")
        elif name and belongings.volume_id(name) not in offered:
            users = await belongings.users(engine, {"volume": [name]}, {container.id})
            warnings.append(f"the volume {name} (at {target}) stays: {belongings.using(users)} it")
    if container.auto_remove and container.state.running:
        warnings.append(f"{container.name} was started with --rm: its unnamed volumes go with it as it stops")
    others = await sharing(engine, container)
    if others:
        warnings.append(f"{belongings.using(others)} its network, processes or volumes: it breaks them")
    return warnings


async def sharing(engine: Engine, container: Container) -> list[str]:
    """The names of the containers that live in this one's network, or cannot start without it."""
    found = []
    for entry in await belongings.containers(engine, {}):
        mode = text(mapping(entry, "HostConfig"), "NetworkMode")
        if mode in (f"container:{container.id}", f"container:{container.name}"):
            found.append(belongings.name_of(entry))
    return found


async def _remove_object(engine: Engine, path: str) -> str:
    """An unnamed volume of a container of --rm is gone with it already."""
    try:
        await engine.call("DELETE", path, deadline_s=_CALL_S)
    except NotFound:
        return "was gone already"
    return "removed"


async def recreate_command(engine: Engine, container: Container) -> tuple[str, list[str]]:
    """The `docker create` that makes the same container again, and the names of what is secret and left out of it."""
    config, same = await image_config(engine, container)
    wanted = order(container.document, container.argv, same_image=same)
    return await create_line(engine, container.name, wanted, config), left_out(wanted.body, config)


async def create_line(engine: Engine, name: str, wanted: Order, image: Mapping[str, Any]) -> str:
    """What to type for an order, with the networks beyond the first."""
    try:
        runtime = text(await engine.get("/info"), "DefaultRuntime")
    except TritonctlError:
        runtime = ""
    calls = [create_command(name, wanted.body, image, runtime)]
    calls += [connect_command(network, settings, name) for network, settings in wanted.networks]
    return " && ".join(calls)


async def image_config(engine: Engine, container: Container) -> tuple[dict[str, Any], bool]:
    """The image's own settings, and whether its name still means it."""
    try:
        named = await engine.get(f"/images/{container.image}/json")
        same = text(named, "Id") == container.image_id
    except TritonctlError:
        same = False
    try:
        return mapping(await engine.get(f"/images/{container.image_id}/json"), "Config"), same
    except NotFound:
        return {}, same
