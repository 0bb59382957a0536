"""A mode switch that was cut off: the plan that finishes or undoes it, from what it has left."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from backends.docker import actions, command, switchsteps
from backends.docker.actions import Ground
from backends.docker.container import Container, mapping
from backends.docker.discovery import NEW, OLD, base_name
from backends.docker.recreate import order
from tritonctl.errors import OperationFailed
from tritonctl.inventory import ControlMode
from tritonctl.plan import Plan, Step

_CALL_S = 60.0


async def plan(ground: Ground, mode: ControlMode) -> Plan:
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
        if cut.new is not None and switchsteps.mode_now(cut.new) is mode:
            finish = True
            steps += _finish(ground, cut)
        elif cut.old is not None and switchsteps.mode_now(cut.old) is mode:
            steps += _go_back(ground, cut)
        else:
            modes = [str(switchsteps.mode_now(each)) for each in (cut.new, cut.old) if each is not None]
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
    made = switchsteps.Made(new=new.id)
    steps = _connect(ground, old, new) if old is not None else []
    if old is not None and old.state.running:
        steps.append(actions.stop_step(engine, old))
    if old is not None and not old.auto_remove and old.name == name:
        steps.append(switchsteps.rename_step(engine, old, name + OLD))
    steps.append(switchsteps.take_over_step(engine, new.name, name, made))
    steps.append(switchsteps.wait_step(ground, made, name))
    if old is not None and not (old.auto_remove and old.name == name):
        steps.append(switchsteps.remove_step(engine, old, name + OLD))
    return [*steps, *(switchsteps.remove_step(engine, each) for each in cut.remains)]


def _connect(ground: Ground, old: Container, new: Container) -> list[Step]:
    """To the networks that the new one was not connected to yet, as a container is made with its first one alone."""
    has = mapping(mapping(new.document, "NetworkSettings"), "Networks")
    return [
        Step(
            call=command.connect_command(network, settings, new.name),
            run=partial(switchsteps.connect, ground.engine, new.id, network, settings),
            replica=new.name,
            deadline_s=_CALL_S,
        )
        for network, settings in order(old.document, old.argv, same_image=True).networks
        if network not in has
    ]


def _go_back(ground: Ground, cut: _Cut) -> list[Step]:
    engine, name, old, new = ground.engine, cut.name, cut.old, cut.new
    assert old is not None
    steps: list[Step] = []
    if new is not None and new.state.running:
        steps.append(actions.stop_step(engine, new, switchsteps.NEW_STOP_S))
    ends_itself = new is not None and new.auto_remove and new.state.running  # its stop takes it away
    if new is not None and new.name == name and not ends_itself:
        steps.append(switchsteps.rename_step(engine, new, name + NEW))
    if old.name != name:
        steps.append(switchsteps.rename_step(engine, old, name))
    if not old.state.running:
        run = partial(actions.post, engine, old, "start")
        steps.append(Step(call=f"docker start {name}", run=run, replica=name, deadline_s=_CALL_S))
    steps.append(actions.ready_step(engine, old.id, ground.ready_s, name))
    if new is not None and not ends_itself:
        steps.append(switchsteps.remove_step(engine, new, name + NEW))
    return [*steps, *(switchsteps.remove_step(engine, each) for each in cut.remains)]
