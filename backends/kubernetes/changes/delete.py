"""Deleting a workload: itself, its pods, and of what belongs to it what was chosen; waiting until all of it is gone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

from backends.kubernetes.changes import ownership, rollout
from backends.kubernetes.changes.belongings import Belonging, belongings, hanging_finalizers, look_around
from backends.kubernetes.changes.change import path_of, read
from backends.kubernetes.changes.ground import CALL_S, Ground, grace_s
from backends.kubernetes.changes.kubectl import Target
from backends.kubernetes.changes.template import selector_of
from backends.kubernetes.client.api import Api
from backends.kubernetes.client.kinds import INFERENCE_SERVICES, PODS
from backends.kubernetes.client.objects import mapping, text, texts
from backends.kubernetes.client.rights import Right
from tritonctl.errors import NotFound, OperationFailed, TritonctlError
from tritonctl.plan import Choice, Plan, Step, choose

_LOOK_S = 0.25


async def plan(ground: Ground) -> Plan:
    """Everything that belongs to it is a choice, and kept unless it is chosen."""
    target = ground.target
    await ground.rights.need(ground.said, [ground.right("delete")])
    around = await look_around(ground.api, target.namespace)
    found = [] if target.kind in (PODS, INFERENCE_SERVICES) else await belongings(ground, around)
    choices = choose(
        [Choice(each.id, f"{each.target.kind.name} {each.target.name}", why=each.why) for each in found],
        ground.intent.options,
    )
    chosen = [each for each, choice in zip(found, choices, strict=True) if choice.chosen]
    await ground.rights.need(ground.said, [_right(each.target) for each in chosen])
    warnings = list(ownership.warnings(ground.document, "delete it"))
    if hanging := hanging_finalizers(ground.document):
        warnings.append(
            f"its finalizer {', '.join(hanging)} keeps it there until the controller behind that has let go of it"
        )
    if since := text(mapping(ground.document, "metadata"), "deletionTimestamp"):
        left = ", ".join(texts(mapping(ground.document, "metadata"), "finalizers")) or "its pods"
        warnings.append(f"it is being deleted since {since}; what it waits for: {left}")
    if around.unknown:
        warnings.append(f"what else belongs to it is not all known: you may not list {', '.join(around.unknown)}")
    kept = [each.id for each in found if each not in chosen]
    if kept:
        warnings.append(f"stays: {', '.join(kept)}")
    steps = [_step(ground, each) for each in chosen if each.target.kind.short in ("ing", "hpa")]
    steps.append(_delete_workload(ground))
    steps.append(_wait_gone(ground))
    steps += [_step(ground, each) for each in chosen if each.target.kind.short not in ("ing", "hpa")]
    keep = ground.kubectl(target.namespace, "get", ",".join([str(target), *(str(each.target) for each in chosen)]))
    return ground.plan(
        f"Delete {ground.service_id}",
        steps,
        warnings,
        f"nothing brings it back; to make it again, keep what this prints: {keep.replace(',', ' ')} -o yaml",
        ground.intent.service.name,
        choices=choices,
    )


def _delete_workload(ground: Ground) -> Step:
    """In the foreground: the object stays until its pods are gone, so that what still runs can be seen."""
    target = ground.target
    call = ground.kubectl(target.namespace, "delete", str(target), "--cascade=foreground", "--wait=false")
    body = {"propagationPolicy": "Foreground", **_this_one(ground.document)}
    return Step(call=call, run=partial(_remove, ground.api, target, body), deadline_s=CALL_S)


def _this_one(document: Mapping[str, Any]) -> dict[str, Any]:
    """Only what was looked at: one of the same name that was made meanwhile is another one."""
    return {"preconditions": {"uid": text(mapping(document, "metadata"), "uid")}}


def _wait_gone(ground: Ground) -> Step:
    within_s = ground.ready_s + grace_s(ground)
    target = ground.target
    call = ground.kubectl(target.namespace, "wait", "--for=delete", str(target), f"--timeout={within_s:g}s")
    return Step(call=call, run=partial(_gone, ground, within_s), deadline_s=within_s + CALL_S)


def _step(ground: Ground, belonging: Belonging) -> Step:
    target = belonging.target
    call = ground.kubectl(target.namespace, "delete", str(target))
    return Step(call=call, run=partial(_remove, ground.api, target, _this_one(belonging.document)), deadline_s=CALL_S)


async def _remove(api: Api, target: Target, options: object) -> str:
    try:
        answer = await api.delete(path_of(target), options)
    except NotFound:
        return "was gone already"
    # The answer is the object where it is not gone yet, else a Status.
    left = texts(mapping(answer, "metadata"), "finalizers")
    waiting = [each for each in left if each != "foregroundDeletion"]
    return f"asked for; it waits for {', '.join(waiting)}" if waiting else "deleted"


async def _gone(ground: Ground, within_s: float) -> str:
    """Raises OperationFailed with what it hangs on."""
    uid = text(mapping(ground.document, "metadata"), "uid")
    began = time.monotonic()
    while True:
        try:
            now = await read(ground.api, ground.target)
        except NotFound:
            return "gone, with its pods"
        if text(mapping(now, "metadata"), "uid") != uid:
            return "gone, with its pods; another one of its name was made meanwhile"
        if time.monotonic() - began > within_s:
            raise OperationFailed(
                f"delete {ground.target}", f"not gone after {within_s:g} s: {await _hangs_on(ground, now)}", _FORCE
            )
        await asyncio.sleep(_LOOK_S)


_FORCE = "see to what it waits for; taking a finalizer away by hand leaves behind what it would have cleaned up"


async def _hangs_on(ground: Ground, now: Mapping[str, Any]) -> str:
    if hanging := hanging_finalizers(now):
        return f"the finalizer {', '.join(hanging)} holds it"
    if not selector_of(now):
        return "its finalizers " + ", ".join(texts(mapping(now, "metadata"), "finalizers"))
    try:
        pods = await rollout.pods_of(ground.api, ground.target, now)
    except TritonctlError as error:
        return error.headline
    names = [
        text(mapping(pod, "metadata"), "name")
        + (f" (finalizer {', '.join(hanging)})" if (hanging := hanging_finalizers(pod)) else "")
        for pod in pods
    ]
    return f"its pods {', '.join(names)} have not ended" if names else "its controller has not let go of it"


def _right(target: Target) -> Right:
    return Right("delete", target.kind.plural, target.kind.group, namespace=target.namespace)
