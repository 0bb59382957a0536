"""Rolling out a new pod template without an old pod ending before a new one is ready, where that can be had."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

from backends.kubernetes.changes import rollout
from backends.kubernetes.changes.capacity import gpus_of, room
from backends.kubernetes.changes.change import change
from backends.kubernetes.changes.ground import CALL_S, Ground, instead, why_not
from backends.kubernetes.changes.rollout import IsNew
from backends.kubernetes.changes.template import triton_launches
from backends.kubernetes.client.kinds import DAEMON_SETS, DEPLOYMENTS, STATEFUL_SETS
from backends.kubernetes.client.objects import mapping, rows, text
from backends.kubernetes.reach import reach
from tritonctl.errors import OperationFailed, TritonctlError, Unreachable
from tritonctl.plan import Step
from tritonctl.server.client import is_ready

_LOOK_S = 0.5
_ASK_S = 3.0
_ROLLED = (DEPLOYMENTS, STATEFUL_SETS, DAEMON_SETS)


def need_rollout(ground: Ground, what: str) -> None:
    """Raises OperationFailed where nothing would replace the pods, with what to do instead."""
    kind = ground.target.kind
    if kind not in _ROLLED:
        raise OperationFailed(f"{what} {ground.service_id}", why_not(ground), instead(ground))
    spec = mapping(ground.document, "spec")
    if spec.get("paused") is True:
        resume = ground.kubectl(ground.target.namespace, "rollout", "resume", str(ground.target))
        raise OperationFailed(f"{what} {ground.service_id}", "its rollouts are paused", resume)
    if text(mapping(spec, "updateStrategy"), "type") == "OnDelete":
        raise OperationFailed(
            f"{what} {ground.service_id}",
            "its updateStrategy is OnDelete: new pods come only as old ones are deleted by hand",
            ground.kubectl(ground.target.namespace, "delete", "pod/NAME") + ", one after the other",
        )
    if 0 < ground.replicas <= rollout.partition_of(ground.document):
        raise OperationFailed(
            f"{what} {ground.service_id}",
            f"its partition {rollout.partition_of(ground.document)} keeps every pod as it is",
            ground.kubectl.patch(ground.target, {"spec": {"updateStrategy": {"rollingUpdate": {"partition": 0}}}}),
        )
    if "deletionTimestamp" in mapping(ground.document, "metadata"):
        raise OperationFailed(f"{what} {ground.service_id}", "it is being deleted")


async def rolling(ground: Ground, step: Step, is_new: IsNew, warnings: list[str]) -> list[Step]:
    """The steps around the one that changes the template: no old pod ends before a new one is ready, where that can be
    had. Warns where it cannot."""
    target = ground.target
    waiting = Step(
        call=ground.kubectl(target.namespace, "rollout", "status", str(target), f"--timeout={ground.ready_s:g}s"),
        run=partial(_roll_out, ground, is_new),
        deadline_s=(ground.replicas + 1) * ground.ready_s + CALL_S,
    )
    if ground.replicas:
        warnings += _probe_warnings(ground)
        if kept := rollout.partition_of(ground.document):
            warnings.append(f"its partition keeps {kept} of its {ground.replicas} pods as they are")
    careful = await _careful(ground, warnings) if ground.replicas else None
    return [step, waiting] if careful is None else [careful[0], step, waiting, careful[1]]


async def _roll_out(ground: Ground, is_new: IsNew) -> str:
    said = await rollout.wait(ground.api, ground.target, is_new, ground.ready_s)
    blind = [text(each, "name") for each in _triton_containers(ground) if not mapping(each, "readinessProbe")]
    if blind and ground.replicas:
        await _servers_answer(ground, is_new)
    return said


async def _servers_answer(ground: Ground, is_new: IsNew) -> None:
    """Where Kubernetes does not ask the servers whether they are ready. Raises as `rollout.wait` does."""
    began = time.monotonic()
    while True:
        try:
            pods = [pod for pod in await rollout.pods_of(ground.api, ground.target, ground.document) if is_new(pod)]
        except Unreachable:  # as while the rollout itself is waited for
            if time.monotonic() - began > ground.ready_s:
                raise
            await asyncio.sleep(_LOOK_S)
            continue
        alive = [pod for pod in pods if "deletionTimestamp" not in mapping(pod, "metadata")]
        for pod in alive:
            if rollout.is_hopeless(pod):
                raise OperationFailed(f"roll out {ground.target}", await rollout.why_not(ground.api, pod))
        if alive and all(await asyncio.gather(*(_answers(ground, pod) for pod in alive))):
            return
        if time.monotonic() - began > ground.ready_s:
            words = f"its servers are not ready within {ground.ready_s:g} s"
            raise OperationFailed(f"roll out {ground.target}", words, "their logs say why")
        await asyncio.sleep(_LOOK_S)


async def _answers(ground: Ground, pod: Mapping[str, Any]) -> bool:
    """Every server of the pod is ready; one to which no way leads is believed to be."""
    name = text(mapping(pod, "metadata"), "name")
    for launch in triton_launches(mapping(pod, "spec")):
        for options in launch.servers:
            way = await reach(ground.api, ground.rights, ground.target.namespace, name, options)
            if way.address is not None and not await is_ready(way.address, _ASK_S):
                return False
    return True


async def back(ground: Ground, is_bad: IsNew) -> str:
    """After the old template was put back: wait until its pods are all there again."""
    if ground.target.kind is STATEFUL_SETS:
        await rollout.remove_failed(ground.api, ground.target, is_bad)
    return await rollout.wait(ground.api, ground.target, lambda found: not is_bad(found), ground.ready_s, patient=True)


async def _careful(ground: Ground, warnings: list[str]) -> tuple[Step, Step] | None:
    """The steps that set a Deployment's strategy to one that keeps every old pod until a new one is ready, and back."""
    spec = mapping(ground.document, "spec")
    if ground.target.kind is not DEPLOYMENTS:
        one = "its pod" if ground.replicas == 1 else f"one of its {ground.replicas} pods"
        warnings.append(f"a {ground.target.kind.name} ends each pod before the new one starts: {one} is away meanwhile")
        return None
    strategy = mapping(spec, "strategy")
    if text(strategy, "type") == "Recreate":
        warnings.append(
            "its strategy is Recreate: every pod ends before a new one starts, and nothing serves until one is ready; "
            "strategy RollingUpdate with maxUnavailable 0 would keep it serving"
        )
        return None
    rolling_update = mapping(strategy, "rollingUpdate")
    surge = _resolved(rolling_update.get("maxSurge", "25%"), ground.replicas, up=True)
    away = _resolved(rolling_update.get("maxUnavailable", "25%"), ground.replicas, up=False)
    free = await room(ground.api, ground.pod_spec)
    beside = free is None or free >= 1
    if not beside:
        names = ", ".join(gpus_of(ground.pod_spec))
        if away == 0:
            warnings.append(
                f"no node has {names} free for a pod more, and its strategy (maxUnavailable 0) ends none before: the "
                "new pod will not get a node, and this will be undone; free a GPU, or scale down by one, first"
            )
        else:
            warnings.append(
                f"no node has {names} free for a pod more: {away} of {ground.replicas} pods end before new ones start"
            )
        return None
    if _host_ports(ground.pod_spec):
        warnings.append("it takes ports of its node: a new pod needs another node, or waits for the old one to end")
        return None
    if away == 0 and surge > 0:
        return None
    now = {name: rolling_update.get(name) for name in ("maxSurge", "maxUnavailable")}
    wanted = {"maxSurge": now["maxSurge"] if surge else 1, "maxUnavailable": 0}
    warnings.append(
        f"its strategy lets {away} of {ground.replicas} pods end before new ones are ready: it is set to "
        "maxUnavailable 0 for the time of the rollout, and back after it"
    )

    def patch(values: Mapping[str, Any]) -> dict[str, Any]:
        return {"spec": {"strategy": {"rollingUpdate": dict(values)}}}

    async def put(values: Mapping[str, Any]) -> str:
        await change(ground.api, ground.target, lambda _: patch(values))
        return f"maxUnavailable {values['maxUnavailable']}, maxSurge {values['maxSurge']}"

    async def restore() -> str:
        """The rollout is done: what goes wrong here must not undo it."""
        try:
            return await put(now)
        except TritonctlError as error:
            return f"its strategy is left at maxUnavailable 0: {error.headline}; {give_back}"

    give_back = ground.kubectl.patch(ground.target, patch(now))
    first = Step(
        call=ground.kubectl.patch(ground.target, patch(wanted)),
        run=partial(put, wanted),
        undo_call=give_back,
        undo=partial(put, now),
        deadline_s=CALL_S,
    )
    return first, Step(call=give_back, run=restore, deadline_s=CALL_S)


def _probe_warnings(ground: Ground) -> list[str]:
    """What makes Kubernetes take a pod for ready, or out of the traffic, too early."""
    found = []
    for each in _triton_containers(ground):
        if not mapping(each, "readinessProbe"):
            found.append(
                f"container {text(each, 'name')} has no readiness probe: Kubernetes takes a new pod for ready, and "
                "ends an old one, before its models are loaded; give it httpGet /v2/health/ready on its HTTP port"
            )
        if not mapping(each, "lifecycle") and ground.replicas:
            found.append(
                f"container {text(each, 'name')} has no preStop hook: a request that is sent to a pod in the moment it "
                'ends can fail; lifecycle.preStop.exec.command ["sleep", "5"] gives the endpoints time'
            )
    return found


def _triton_containers(ground: Ground) -> list[dict[str, Any]]:
    triton = {each.container for each in triton_launches(ground.pod_spec)}
    return [each for each in rows(ground.pod_spec, "containers") if text(each, "name") in triton]


def _host_ports(pod_spec: Mapping[str, Any]) -> bool:
    ports = (port for each in rows(pod_spec, "containers") for port in rows(each, "ports"))
    return pod_spec.get("hostNetwork") is True or any("hostPort" in port for port in ports)


def _resolved(value: object, replicas: int, *, up: bool) -> int:
    """A number or a percentage of the replicas, rounded as the Deployment controller does it."""
    if isinstance(value, int):
        return value
    percent = str(value).removesuffix("%")
    share = int(percent) * replicas if percent.isdigit() else 0
    return -(-share // 100) if up else share // 100
