"""What the cluster says against a workload, for triage: containers, scheduling, nodes, services that lead nowhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from backends.kubernetes.api import Api, resource
from backends.kubernetes.nodes import Node
from backends.kubernetes.objects import labels, mapping, text
from backends.kubernetes.pod import ContainerStatus, Pod
from backends.kubernetes.states import exit_words
from backends.kubernetes.workload import Workload
from tritonctl.backend import Section
from tritonctl.errors import Forbidden

Row = tuple[str, str]

_BENIGN = ("ContainerCreating", "PodInitializing")
_SERVICES_S = 2.0


async def evidence(
    api: Api, workloads: Sequence[Workload], pods: Sequence[Pod], nodes: Mapping[str, Node]
) -> tuple[Section, ...]:
    """One section for the whole and one for each pod, as Backend.evidence has them; those with nothing to say lack.

    `pods` are the workload's, `nodes` those that are known, by name.
    """
    whole = [row for each in workloads for row in _of_workload(each)]
    for each in workloads:
        whole += await _of_services(api, each)
    sections = [("", whole), *((pod.name, list(_of_pod(pod, nodes.get(pod.node)))) for pod in pods)]
    return tuple(Section(heading, tuple(rows)) for heading, rows in sections if rows)


def _of_workload(workload: Workload) -> Iterator[Row]:
    for each in workload.conditions:
        failed = each.kind in ("ReplicaFailure", "Failed") and each.status == "True"
        late = each.kind == "Progressing" and each.reason == "ProgressDeadlineExceeded"
        if failed or late:
            yield each.kind, f"{each.reason} {each.message}"
    if workload.deleted_at is not None and workload.finalizers:
        yield "deletion", f"deletion is waiting for finalizers: {', '.join(workload.finalizers)}"


def _of_pod(pod: Pod, node: Node | None) -> Iterator[Row]:
    if pod.reason:
        yield "pod", f"{pod.reason} {pod.message}"
    if pod.deleted_at is not None and pod.finalizers:
        yield "deletion", f"deletion is waiting for finalizers: {', '.join(pod.finalizers)}"
    for each in pod.conditions:
        if each.kind == "PodScheduled" and each.status == "False":
            yield each.kind, f"{each.reason}: {each.message}"
    for status in pod.statuses:
        yield from _of_container(status)
    if node is not None:
        if not node.ready:
            yield f"node {node.name}", "node is not ready"
        for each in node.conditions:
            if each.kind != "Ready":
                yield f"node {node.name}", f"{each.kind}: {each.status} {each.reason} {each.message}"


def _of_container(status: ContainerStatus) -> Iterator[Row]:
    if status.waiting and status.waiting not in _BENIGN:
        yield f"container {status.name}", f"{status.waiting}: {status.waiting_message}"
    ended = status.ended or (status.last if not status.ready else None)
    if ended is None or (ended.exit_code == 0 and status.init):
        return
    if status.init:
        times = f", {status.restarts} restarts" if status.restarts else ""
        yield f"init container {status.name}", f'init container "{status.name}" exited {ended.exit_code}{times}'
    else:
        yield f"container {status.name}", f"ended: {exit_words(ended)}"


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
