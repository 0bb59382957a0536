"""Plans for a workload as it is: restart and scale."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

from backends.kubernetes.changes import ownership, rollout
from backends.kubernetes.changes.capacity import gpus_of, room
from backends.kubernetes.changes.change import change, changed_meanwhile, path_of
from backends.kubernetes.changes.ground import CALL_S, Ground, grace_s, instead, lost_models
from backends.kubernetes.changes.kubectl import Target
from backends.kubernetes.changes.rolling import back, need_rollout, rolling
from backends.kubernetes.changes.template import template_of
from backends.kubernetes.client.api import Patch
from backends.kubernetes.client.kinds import DAEMON_SETS, DEPLOYMENTS, STATEFUL_SETS
from backends.kubernetes.client.objects import labels, mapping, number, text
from backends.kubernetes.client.paths import resource
from tritonctl.errors import AlreadySo, OperationFailed, TritonctlError, UsageError
from tritonctl.plan import Plan, Step

_RESTARTED = "kubectl.kubernetes.io/restartedAt"
_TRIES = 5  # the version that a scale names is the workload's, and its status changes often while pods come and go


async def restart(ground: Ground) -> Plan:
    """As `kubectl rollout restart`: every pod is replaced by a new one of the same template."""
    need_rollout(ground, "restart")
    await ground.rights.need(ground.said, [ground.right("patch")])
    warnings = [*ownership.warnings(ground.document, "restart it"), *lost_models(ground)]
    before = labels(mapping(ground.template, "metadata"), "annotations").get(_RESTARTED)
    at = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")

    def stamp(value: str | None) -> dict[str, Any]:
        return {"spec": {"template": {"metadata": {"annotations": {_RESTARTED: value}}}}}

    def is_new(found: Mapping[str, Any]) -> bool:
        return labels(mapping(found, "metadata"), "annotations").get(_RESTARTED) == at

    async def begin() -> str:
        await change(ground.api, ground.target, lambda _: stamp(at))
        return "asked for"

    async def go_back() -> str:
        await change(ground.api, ground.target, lambda found: stamp(before) if is_new(template_of(found)) else None)
        return await back(ground, is_new)

    target, kubectl = ground.target, ground.kubectl
    step = Step(
        call=kubectl(target.namespace, "rollout", "restart", str(target)),
        run=begin,
        undo_call=kubectl(target.namespace, "rollout", "undo", str(target)),
        undo=go_back,
        deadline_s=CALL_S + ground.ready_s,
    )
    steps = await rolling(ground, step, is_new, warnings)
    return ground.plan(
        f"Restart {ground.service_id}",
        steps,
        warnings,
        "by itself when a new pod does not get ready: the old ones stay; one that is done loses no data",
    )


async def scale(ground: Ground) -> Plan:
    target, api = ground.target, ground.api
    if target.kind is DAEMON_SETS:
        raise OperationFailed(
            ground.said, "a DaemonSet has one pod on each node that it selects", "change its node selector"
        )
    if target.kind not in (DEPLOYMENTS, STATEFUL_SETS):
        raise OperationFailed(ground.said, f"a {target.kind.name} has no number of replicas to set", instead(ground))
    wanted, before = _count(ground.intent.value), ground.replicas
    if wanted == before:
        raise AlreadySo(ground.said, f"it is set to {before} already")
    await ground.rights.need(ground.said, [ground.right("patch", "scale")])
    warnings = list(ownership.warnings(ground.document, "set the number"))
    warnings += await _autoscaled(ground, wanted)
    if wanted > before:
        warnings += await _too_many(ground, wanted - before)
        warnings += lost_models(ground, "new pods")
    elif wanted:
        warnings.append(
            f"{before - wanted} of {before} pods end: what they serve then has {grace_s(ground)} s to finish"
        )
    else:
        warnings.append("nothing serves any more after it")
    if target.kind is STATEFUL_SETS and wanted < before:
        warnings.append("the claims of the pods that end stay, and are taken up again by later ones")
    path = path_of(target, "scale")

    async def set_to(count: int, expected: int) -> str:
        for left in range(_TRIES - 1, -1, -1):
            found = await api.get(path)
            spec, meta = mapping(found, "spec"), mapping(found, "metadata")
            # An absent number is 0: the API server leaves zeros out of a Scale.
            if number(spec, "replicas") not in (expected, count):
                raise changed_meanwhile(target, "the number of replicas")
            body = {"metadata": {"resourceVersion": text(meta, "resourceVersion")}, "spec": {"replicas": count}}
            try:
                await api.patch(path, body, Patch.MERGE)
                break
            except OperationFailed as error:
                if error.status != 409 or not left:
                    raise
        return f"set to {count}"

    def call(count: int) -> str:
        return ground.kubectl(target.namespace, "scale", str(target), f"--replicas={count}")

    steps = [
        Step(
            call=call(wanted),
            run=partial(set_to, wanted, before),
            undo_call=call(before),
            undo=partial(set_to, before, wanted),
            deadline_s=CALL_S,
        ),
        Step(
            call=_waiting(ground, wanted),
            run=partial(rollout.wait, api, target, lambda _: True, ground.ready_s, done=rollout.scaled),
            deadline_s=(abs(wanted - before) + 1) * ground.ready_s + CALL_S,
        ),
    ]
    return ground.plan(
        f"Scale {ground.service_id} from {before} to {wanted}",
        steps,
        warnings,
        call(before),
        ground.intent.service.name if not wanted else "",
    )


def _waiting(ground: Ground, wanted: int) -> str:
    """As kubectl waits for it. Its `rollout status` would wait for a paused rollout, and refuses OnDelete."""
    spec, words = mapping(ground.document, "spec"), ["rollout", "status", str(ground.target)]
    if spec.get("paused") is True or text(mapping(spec, "updateStrategy"), "type") == "OnDelete":
        figure = "readyReplicas" if wanted else "replicas"  # Kubernetes leaves a readyReplicas of 0 out
        words = ["wait", str(ground.target), f"--for=jsonpath={{.status.{figure}}}={wanted}"]
    return ground.kubectl(ground.target.namespace, *words, f"--timeout={ground.ready_s:g}s")


# What it costs


async def autoscalers(ground: Ground) -> list[dict[str, Any]]:
    """The HorizontalPodAutoscalers of the workload. Empty also where they may not be listed."""
    path = resource("autoscaling/v1", "horizontalpodautoscalers", ground.target.namespace)
    try:
        found = await ground.api.list(path)
    except TritonctlError:
        return []
    return [each for each in found if scales(each, ground.target)]


def scales(autoscaler: Mapping[str, Any], target: Target) -> bool:
    aim = mapping(mapping(autoscaler, "spec"), "scaleTargetRef")
    return text(aim, "kind") == target.kind.name and text(aim, "name") == target.name


async def _autoscaled(ground: Ground, wanted: int) -> list[str]:
    found = []
    for each in await autoscalers(ground):
        spec, name = mapping(each, "spec"), text(mapping(each, "metadata"), "name")
        least, most = spec.get("minReplicas", 1), spec.get("maxReplicas")
        if wanted == 0:
            found.append(f"hpa/{name} stops scaling it at 0, until it is scaled up by hand")
        else:
            found.append(
                f"hpa/{name} sets the number itself, between {least} and {most}, and will change this within a minute: "
                f"{ground.kubectl(ground.target.namespace, 'edit', f'hpa/{name}')}"
            )
    return found


async def _too_many(ground: Ground, more: int) -> list[str]:
    """Whether the GPUs allow so many pods more."""
    wanted = gpus_of(ground.pod_spec)
    free = await room(ground.api, ground.pod_spec)
    if not wanted:
        return []
    each = ", ".join(f"{value:g} {name}" for name, value in wanted.items())
    if free is None:
        return [f"each pod asks for {each}; whether so many are free is not known: you may not read the nodes"]
    if free >= more:
        return []
    return [
        f"the nodes' GPUs allow {free} more pods of {more}: each asks for {each}, and {more - free} will stay Pending: "
        f"unless others end or nodes are added within {ground.ready_s:g} s, the number is set back"
    ]


def _count(value: str) -> int:
    if not value.isascii() or not value.isdigit():
        raise UsageError(f"scale to {value!r}", "the number of replicas is a whole number, 0 or more")
    return int(value)
