"""What the cluster says against a workload, for triage: containers, scheduling, nodes, services that lead nowhere."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping

from backends.kubernetes.api import Api, resource
from backends.kubernetes.nodes import Node
from backends.kubernetes.objects import labels, mapping, text
from backends.kubernetes.pod import ContainerStatus, Pod
from backends.kubernetes.services import Group
from backends.kubernetes.states import exit_words, pod_platform
from backends.kubernetes.workload import Workload
from tritonctl.backend import Section
from tritonctl.errors import Forbidden

Row = tuple[str, str]

_BENIGN = ("ContainerCreating", "PodInitializing")
_SERVICES_S = 2.0
_OWN_FINALIZERS = ("foregroundDeletion", "orphan")
_HELD_S = 10.0
_RECENT_S = 600.0


async def evidence(api: Api, group: Group, nodes: Mapping[str, Node]) -> tuple[Section, ...]:
    """As Backend.evidence has it: a section for the whole and one for each replica; those with nothing to say lack.

    `nodes` are those that are known, by name.
    """
    whole = [row for each in group.workloads for row in _of_workload(each.workload)]
    whole += _evicted(group)
    for each in group.workloads:
        whole += await _of_services(api, each.workload)
    sections = [("", whole)]
    sections += [(seat.name, list(_of_pod(seat.pod, nodes.get(seat.pod.node)))) for seat in group.seats()]
    return tuple(Section(heading, tuple(rows)) for heading, rows in sections if rows)


def _of_workload(workload: Workload) -> Iterator[Row]:
    for each in workload.conditions:
        failed = each.kind in ("ReplicaFailure", "Failed") and each.status == "True"
        late = each.kind == "Progressing" and each.reason == "ProgressDeadlineExceeded"
        if failed or late:
            yield each.kind, f"{each.reason} {each.message}"
    yield from _held(workload.deleted_at, workload.finalizers)


def _of_pod(pod: Pod, node: Node | None) -> Iterator[Row]:
    if pod.reason:
        yield "pod", f"{pod.reason} {pod.message}"
    yield from _held(pod.deleted_at, pod.finalizers)
    # What the pod's state says already, which is known to triage, is not said again.
    said = pod_platform(pod).reason or ""
    for status in pod.statuses:
        yield from ((name, words) for name, words in _of_container(status) if words not in said)
    if node is not None:
        if not node.ready:
            yield f"node {node.name}", "node is not ready"
        for each in node.conditions:
            if each.kind != "Ready":
                yield f"node {node.name}", f"{each.kind}: {each.status} {each.reason} {each.message}"


def _of_container(status: ContainerStatus) -> Iterator[Row]:
    if status.waiting not in ("", "CrashLoopBackOff", *_BENIGN):  # of a back-off, how it ended tells more
        yield f"container {status.name}", status.waiting_message or status.waiting
    ended = status.ended or (status.last if not status.ready else None)
    if ended is None or (ended.exit_code == 0 and status.init):
        return
    if status.init:
        times = f", {status.restarts} restarts" if status.restarts else ""
        yield f"init container {status.name}", f'init container "{status.name}" exited {ended.exit_code}{times}'
    else:
        yield f"container {status.name}", exit_words(ended)


def _held(deleted_at: float | None, finalizers: tuple[str, ...]) -> Iterator[Row]:
    """Those that the cluster takes off itself, and others for a while, hold nothing up."""
    foreign = [each for each in finalizers if each not in _OWN_FINALIZERS]
    if foreign and deleted_at is not None and time.time() - deleted_at > _HELD_S:
        yield "deletion", f"deletion is waiting for finalizers: {', '.join(foreign)}"


def _evicted(group: Group) -> list[Row]:
    """Pods that new ones stand in for: worth a word where that does not help, or happens again and again."""
    recent = [
        each.pod
        for each in group.pods
        if each.pod.reason == "Evicted" and time.time() - (each.pod.created_at or 0.0) < _RECENT_S
    ]
    serving = bool(group.seats()) and all(seat.pod.ready for seat in group.seats())
    if not recent or (serving and len(recent) < 2):
        return []
    return [(f"pod {pod.name}", f"Evicted: {pod.message}") for pod in recent[-2:]]


async def _of_services(api: Api, workload: Workload) -> list[Row]:
    """Services that are named after the workload and select no pod at all: somebody mistyped a label."""
    try:
        found = await api.list(resource("v1", "services", workload.namespace), deadline_s=_SERVICES_S)
        rows = []
        for each in found:
            name = text(mapping(each, "metadata"), "name")
            selector = labels(mapping(each, "spec"), "selector")
            named = name == workload.name or name.startswith(f"{workload.name}-")
            if named and selector and not selector.items() <= workload.template_labels.items():
                words = ",".join(f"{key}={value}" for key, value in selector.items())
                if not await _selects(api, workload.namespace, words):
                    rows.append((f"service {name}", f"service {name}: selector matches no pod ({words})"))
        return rows
    except Forbidden as error:
        return [("services", f"not known: {error.headline}")]


async def _selects(api: Api, namespace: str, selector: str) -> bool:
    query = {"labelSelector": selector, "limit": 1}
    page = await api.get(resource("v1", "pods", namespace), query, deadline_s=_SERVICES_S)
    return bool(page.get("items"))
