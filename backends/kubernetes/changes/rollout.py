"""Waiting until every pod of a workload is of its new template and ready, and saying why where it does not get so."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

from backends.kubernetes.changes.change import read
from backends.kubernetes.changes.kubectl import Target
from backends.kubernetes.changes.template import selector_of, template_of
from backends.kubernetes.client import podlog
from backends.kubernetes.client.api import Api
from backends.kubernetes.client.kinds import DAEMON_SETS, STATEFUL_SETS
from backends.kubernetes.client.objects import mapping, number, rows, text
from backends.kubernetes.client.paths import resource
from tritonctl.errors import NotFound, OperationFailed, TritonctlError, Unreachable
from tritonctl.server import log

_LOOK_S = 0.5
# The kubelet tries on, but what these tell of does not mend itself within a rollout.
_HOPELESS = frozenset(
    (
        *("CrashLoopBackOff", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"),
        *("CreateContainerConfigError", "CreateContainerError", "RunContainerError"),
    )
)

IsNew = Callable[[Mapping[str, Any]], bool]
"""Whether a pod, or a pod template, is of the wanted kind."""
IsDone = Callable[[Target, Mapping[str, Any]], bool]
"""Whether the workload has got there."""


def partition_of(document: Mapping[str, Any]) -> int:
    """The number of a StatefulSet's pods, from the first, that a rollout leaves as they are."""
    return number(mapping(mapping(mapping(document, "spec"), "updateStrategy"), "rollingUpdate"), "partition")


def rolled_out(target: Target, document: Mapping[str, Any]) -> bool:
    """As `kubectl rollout status` has it."""
    if not _observed(document):
        return False
    status, wanted = mapping(document, "status"), _wanted(target, document)
    if target.kind is DAEMON_SETS:
        return wanted == number(status, "updatedNumberScheduled") == number(status, "numberAvailable")
    updated = number(status, "updatedReplicas")
    if target.kind is STATEFUL_SETS:
        return updated >= wanted - partition_of(document) and _all_ready(status, wanted)
    return wanted == updated == number(status, "availableReplicas") == number(status, "replicas")


def scaled(target: Target, document: Mapping[str, Any]) -> bool:
    """Every pod that is wanted is ready, of whatever template where no rollout moves on by itself."""
    if not _observed(document):
        return False
    status, wanted = mapping(document, "status"), _wanted(target, document)
    if target.kind is STATEFUL_SETS:
        return _all_ready(status, wanted)
    if mapping(document, "spec").get("paused") is not True:
        return rolled_out(target, document)
    total, updated = number(status, "replicas"), number(status, "updatedReplicas")
    # Paused in the midst of a rollout it has up to maxSurge pods more.
    return number(status, "availableReplicas") >= wanted and (total == wanted or 0 < updated < total)


def _observed(document: Mapping[str, Any]) -> bool:
    return number(mapping(document, "status"), "observedGeneration") >= number(
        mapping(document, "metadata"), "generation"
    )


def _all_ready(status: Mapping[str, Any], wanted: int) -> bool:
    return wanted == number(status, "readyReplicas") == number(status, "replicas")


async def wait(
    api: Api,
    target: Target,
    is_new: IsNew,
    within_s: float,
    *,
    done: IsDone = rolled_out,
    patient: bool = False,
) -> str:
    """What to say of it once it has rolled out, or is `done` in another way.

    Raises OperationFailed when a new pod fails, when no further pod gets ready within `within_s`, and when somebody
    sets the template back. `patient`: pods that fail are waited for all the same, as when going back to what was.
    """
    tried = f"roll out {target}"
    newest, since = -1, time.monotonic()
    while True:
        try:
            document = await read(api, target)
            pods = [] if done(target, document) else await pods_of(api, target, document)
        except Unreachable:  # the API server is away for a moment; the rollout goes on without it
            if time.monotonic() - since > within_s:
                raise
            await asyncio.sleep(_LOOK_S)
            continue
        if not is_new(template_of(document)):
            raise OperationFailed(tried, "its template was set back, or changed again, by somebody else", _WHO)
        if done(target, document):
            return f"{_wanted(target, document)} of {_wanted(target, document)} ready"
        fresh = [pod for pod in pods if is_new(pod) and "deletionTimestamp" not in mapping(pod, "metadata")]
        failed = next((pod for pod in fresh if is_hopeless(pod)), None)
        if failed is not None and not patient:
            raise OperationFailed(tried, await why_not(api, failed))
        now = sum(is_ready(pod) for pod in fresh)
        if now > newest:
            newest, since = now, time.monotonic()
        if time.monotonic() - since > within_s:
            late = next((pod for pod in fresh if not is_ready(pod)), None)
            why = await why_not(api, late) if late is not None else _condition(document)
            raise OperationFailed(tried, f"not ready within {within_s:g} s: {why}")
        await asyncio.sleep(_LOOK_S)


async def pods_of(api: Api, target: Target, document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Also those that are ending, the oldest first."""
    found = await api.list(resource("v1", "pods", target.namespace), {"labelSelector": selector_of(document)})
    return sorted(found, key=lambda pod: text(mapping(pod, "metadata"), "creationTimestamp"))


def is_ready(pod: Mapping[str, Any]) -> bool:
    conditions = rows(mapping(pod, "status"), "conditions")
    return "deletionTimestamp" not in mapping(pod, "metadata") and any(
        text(each, "type") == "Ready" and text(each, "status") == "True" for each in conditions
    )


async def remove_failed(api: Api, target: Target, is_bad: IsNew) -> None:
    """The pods of a template that was given up. A StatefulSet waits for its broken pod to get ready before it goes back
    (Kubernetes documentation, StatefulSets: forced rollback), so it is deleted here."""
    for pod in await pods_of(api, target, await read(api, target)):
        if is_bad(pod) and not is_ready(pod):
            name = text(mapping(pod, "metadata"), "name")
            try:
                await api.delete(resource("v1", "pods", target.namespace, name))
            except NotFound:
                continue


async def why_not(api: Api, pod: Mapping[str, Any]) -> str:
    """Why a pod is not ready: its log's reason where it failed, else what the platform says."""
    name = text(mapping(pod, "metadata"), "name")
    for each in _statuses(pod):
        waiting = mapping(mapping(each, "state"), "waiting")
        ended = mapping(mapping(each, "lastState"), "terminated") or mapping(mapping(each, "state"), "terminated")
        if ended and number(ended, "exitCode") != 0:
            said = await words(api, pod, text(each, "name"))
            code = f"{name} ended with {number(ended, 'exitCode')}"
            reason = text(ended, "reason")
            code += f" ({reason})" if reason not in ("", "Error") else ""
            return f"{code}: {said}" if said else code
        if text(waiting, "reason") not in ("", "ContainerCreating", "PodInitializing"):
            return f"{name}: {text(waiting, 'reason')}: {text(waiting, 'message')[:300]}"
    for each in rows(mapping(pod, "status"), "conditions"):
        if text(each, "type") == "PodScheduled" and text(each, "status") == "False":
            return f"{name} finds no node: {text(each, 'message')[:300]}"
    running = [each for each in _statuses(pod) if mapping(mapping(each, "state"), "running")]
    for each in running:
        if said := await words(api, pod, text(each, "name"), failures_only=True):
            return f"{name}: {said}"
    return f"{name} is not ready" if running else f"{name} has not started"


async def words(api: Api, pod: Mapping[str, Any], container: str, *, failures_only: bool = False) -> str:
    """What the container's log says of why it failed; of its last run that ended, where it runs anew."""
    meta = mapping(pod, "metadata")
    for previous in (True, False):
        try:
            async with asyncio.timeout(5.0):
                lines = await podlog.tail(api, text(meta, "namespace"), text(meta, "name"), container, previous)
        except (TritonctlError, TimeoutError):
            continue
        if any(line.startswith(podlog.GONE) for line in lines[:1]):
            continue
        said = log.last_words(lines) if not failures_only or log.reasons(lines) else ""
        if said:
            return said
    return ""


_WHO = "look at who manages it: tritonctl describe, or its labels and annotations"


def _wanted(target: Target, document: Mapping[str, Any]) -> int:
    if target.kind is DAEMON_SETS:
        return number(mapping(document, "status"), "desiredNumberScheduled")
    found = mapping(document, "spec").get("replicas", 1)
    return found if isinstance(found, int) else 1


def _statuses(pod: Mapping[str, Any]) -> list[dict[str, Any]]:
    status = mapping(pod, "status")
    return [*rows(status, "initContainerStatuses"), *rows(status, "containerStatuses")]


def is_hopeless(pod: Mapping[str, Any]) -> bool:
    """It has failed, and nothing in the rollout will mend it."""
    if text(mapping(pod, "status"), "phase") == "Failed":
        return True
    return any(text(mapping(mapping(each, "state"), "waiting"), "reason") in _HOPELESS for each in _statuses(pod))


def _condition(document: Mapping[str, Any]) -> str:
    """Where there is no new pod at all: a quota, an admission webhook."""
    for each in rows(mapping(document, "status"), "conditions"):
        if text(each, "type") in ("ReplicaFailure", "FailedCreate") and text(each, "status") == "True":
            return text(each, "message")[:300]
    return "no new pod came up"
