"""Switching the control mode: a workload's own command or arguments patched, the rollout watched, undone if need be."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from backends.kubernetes.changes import ownership
from backends.kubernetes.changes.change import change, changed_meanwhile
from backends.kubernetes.changes.ground import CALL_S, Ground, instead
from backends.kubernetes.changes.kubectl import shown
from backends.kubernetes.changes.rolling import back, need_rollout, rolling
from backends.kubernetes.changes.template import Launch, launches, template_of, triton_launches
from backends.kubernetes.client.objects import mapping
from backends.kubernetes.pod import Container, read_containers
from tritonctl.errors import AlreadySo, OperationFailed, TritonctlError
from tritonctl.inventory import ControlMode, ModelState, Replica
from tritonctl.plan import Plan, Step
from tritonctl.server.client import ServerClient
from tritonctl.server.options import EVERY_MODEL, ServerOptions, servers_of

_ASK_S = 3.0
_TOGETHER = 16


async def plan(ground: Ground) -> Plan:
    """Raises OperationFailed where the flags are out of reach, AlreadySo where the mode is what it is.

    Explicit where it is explicit already writes down what is loaded: new pods then begin with it.
    """
    mode = ground.mode
    need_rollout(ground, f"switch to {mode}")
    before = triton_launches(ground.pod_spec)
    if not before:
        raise OperationFailed(ground.said, "no command in its template shows tritonserver", _where_else(ground, mode))
    await ground.rights.need(ground.said, [ground.right("patch")])
    warnings = list(ownership.warnings(ground.document, "set the flags"))
    options = _in_force(ground.pod_spec, before)
    loaded = await _loaded(ground, options, mode, warnings)
    keeps = mode is ControlMode.EXPLICIT
    if all(each.control_mode is mode for each in options) and not (keeps and _adds(options, loaded)):
        raise AlreadySo(ground.said, f"it is in control mode {mode} already")
    after = _with_mode(ground, before, mode, loaded)
    if keeps:
        named = ", ".join(loaded) or "no model"
        warnings.append(f"--load-model for what is loaded now: {named}; new pods, also later ones, begin with it")
    else:
        warnings.append(
            f"{mode} loads every model of the repository: one that fails keeps a new pod from getting ready, and the "
            "switch is then undone"
        )
    steps = await _steps(ground, before, after, warnings)
    return ground.plan(
        f"Switch {ground.service_id} to control mode {mode}",
        steps,
        warnings,
        "by itself when a new pod does not get ready: the old template comes back, and its pods stay; afterwards: "
        f"tritonctl mode {ground.service_id} {options[0].control_mode}",
    )


async def _steps(ground: Ground, before: Sequence[Launch], after: Sequence[Launch], warnings: list[str]) -> list[Step]:
    target, api = ground.target, ground.api
    forward = _patch(before, after)
    backward = _patch(after, before)

    def is_new(found: Mapping[str, Any]) -> bool:
        return _starts_as(found, after)

    async def put() -> str:
        def make(found: Mapping[str, Any]) -> dict[str, Any] | None:
            template = template_of(found)
            if is_new(template):
                return None
            if not _starts_as(template, before):
                raise changed_meanwhile(target, "its command")
            return forward

        await change(api, target, make)
        return "patched"

    async def put_back() -> str:
        """Unless somebody has changed it again meanwhile: then it is theirs."""
        await change(api, target, lambda found: backward if is_new(template_of(found)) else None)
        return await back(ground, is_new)

    step = Step(
        call=ground.kubectl.patch(target, forward),
        run=put,
        undo_call=ground.kubectl.patch(target, backward),
        undo=put_back,
        deadline_s=CALL_S + ground.ready_s,
    )
    return await rolling(ground, step, is_new, warnings)


def _patch(before: Sequence[Launch], after: Sequence[Launch]) -> dict[str, Any]:
    containers = [new.patch(old) for old, new in zip(before, after, strict=True) if new != old]
    return {"spec": {"template": {"spec": {"containers": containers}}}}


def _starts_as(found: Mapping[str, Any], wanted: Sequence[Launch]) -> bool:
    """Whether a pod, or a pod template, starts its servers with these very words."""
    there = {each.container: each for each in launches(mapping(found, "spec"))}
    return all(
        each.container in there
        and (there[each.container].command, there[each.container].args) == (each.command, each.args)
        for each in wanted
    )


def _with_mode(ground: Ground, before: Sequence[Launch], mode: ControlMode, loaded: Sequence[str]) -> list[Launch]:
    try:
        return [each.with_mode(mode, [loaded] * len(each.servers)) for each in before]
    except ValueError as error:
        raise OperationFailed(ground.said, str(error), _where_else(ground, mode)) from None


def _in_force(pod_spec: Mapping[str, Any], before: Sequence[Launch]) -> list[ServerOptions]:
    """With the variables filled in, as the servers get them."""
    containers = {each.name: each for each in read_containers(pod_spec)}
    return [options for each in before for options in (_expanded(containers[each.container]) or each.servers)]


def _expanded(container: Container) -> tuple[ServerOptions, ...]:
    return servers_of(container.argv, container.environ)


def _adds(options: Sequence[ServerOptions], loaded: Sequence[str]) -> bool:
    """Whether the flags do not name all that is loaded."""
    return any(EVERY_MODEL not in each.load_models and not set(loaded) <= set(each.load_models) for each in options)


async def _loaded(
    ground: Ground, options: Sequence[ServerOptions], mode: ControlMode, warnings: list[str]
) -> tuple[str, ...]:
    """What is ready on any of the pods now; where none answers, what they are known or told to load."""
    if mode is not ControlMode.EXPLICIT:
        return ()
    replicas = [each for each in ground.intent.service.replicas if each.address is not None][:_TOGETHER]
    found = await asyncio.gather(*(_ready_on(each) for each in replicas))
    answered = {each.name: names for each, names in zip(replicas, found, strict=True) if names is not None}
    if not answered:
        names = ground.intent.loaded or tuple(name for each in options for name in each.load_models)
        warnings.append("no server of it answers, so what is loaded is only what was known before")
        return tuple(sorted(set(names)))
    every = sorted({name for names in answered.values() for name in names})
    uneven = [name for name in every if not all(name in names for names in answered.values())]
    if uneven:
        warnings.append(f"loaded on some of its pods only, and on all of them after it: {', '.join(uneven)}")
    return tuple(every)


async def _ready_on(replica: Replica) -> frozenset[str] | None:
    assert replica.address is not None
    try:
        async with ServerClient(replica.address, timeout_s=_ASK_S) as client:
            return frozenset(each.name for each in await client.index() if each.state is ModelState.READY)
    except TritonctlError:
        return None


def _where_else(ground: Ground, mode: ControlMode) -> str:
    """Where the flags stand, if not in the template."""
    flag = f"--model-control-mode={mode}"
    argv = next((each.argv for each in launches(ground.pod_spec) if each.argv), ())
    if argv:
        return f"put {flag} where its command takes its flags from: {shown(argv)}"
    return f"its image starts the server by itself: give the container args with {flag}; {instead(ground)}"
