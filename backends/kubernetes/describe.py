"""A workload in Kubernetes' terms: rollout, command, resources, pods, nodes and their GPUs; secrets are masked."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterable, Mapping
from typing import Any

from backends.kubernetes.client.api import Api
from backends.kubernetes.client.kinds import INFERENCE_SERVICES, PODS
from backends.kubernetes.client.objects import mapping, rows, text
from backends.kubernetes.client.paths import resource
from backends.kubernetes.discovery import azureml_name
from backends.kubernetes.nodes import Node, shares
from backends.kubernetes.pod import Condition, Container, is_gpu
from backends.kubernetes.services import Group, Seat
from backends.kubernetes.states import exit_words, pod_platform
from backends.kubernetes.store import Store
from backends.kubernetes.workload import InferenceService, Workload
from backends.secrets import mask, mask_arguments, mask_text
from tritonctl.backend import Section
from tritonctl.errors import TritonctlError

_MIB = 2**20
_MOST_PODS = 30
_MOST_NODES = 100
Rows = list[tuple[str, str]]


async def sections(api: Api, group: Group, store: Store, *, whole_cluster: bool) -> tuple[Section, ...]:
    """`whole_cluster`: all pods are seen, so that what is free of a node is known and not a guess."""
    found: list[tuple[str, Rows]] = []
    if group.inference is not None:
        found.append((f"InferenceService {group.inference.name}", _inference(group.inference)))
    for seen in group.workloads:
        found.append((f"{seen.workload.kind.name} {seen.workload.name}", _workload(seen.workload)))
    if not group.workloads and group.kind is not PODS:
        found.append((f"{group.key.kind} {group.key.name}", [("note", "only its pods can be seen here")]))
    document = await _document(api, group)
    spec = _pod_spec(document, group)
    containers = group.workloads[-1].workload.containers if group.workloads else ()
    containers = containers or (group.pods[0].pod.containers if group.pods else ())
    for each in containers:
        heading = f"{'init ' if each.init else ''}container {each.name}"
        found.append((heading, _container(each, _entry(spec, each.name))))
    found.append(("volumes", _volumes(spec)))
    found += [(f"pod {seat.name}", _pod(seat)) for seat in group.seats()[:_MOST_PODS]]
    left = len(group.seats()) - _MOST_PODS
    if left > 0:
        found.append(("more pods", [("left out", str(left))]))
    used = sorted({each.pod.node for each in group.pods if each.pod.node})
    found += [(f"node {name}", _node(store.nodes.get(name), name, store, whole_cluster)) for name in used]
    found.append(("GPUs of the cluster", _gpus(store, whole_cluster)))
    top = group.workloads[-1].workload if group.workloads else group.inference
    labels = top.labels if top is not None else group.pods[0].pod.labels
    found.append(("labels", [(name, mask(name, value)) for name, value in sorted(labels.items())]))
    if top is not None:
        found.append(("annotations", [(name, mask(name, value)) for name, value in sorted(top.annotations.items())]))
    return tuple(Section(heading, tuple(each)) for heading, each in found if each)


async def _document(api: Api, group: Group) -> Mapping[str, Any]:
    """The newest workload, or the pod, as it stands in the cluster: for what is not kept. Empty where it is gone."""
    try:
        if group.workloads:
            one = group.workloads[-1].workload
            return await api.get(resource(one.kind.api, one.kind.plural, one.namespace, one.name))
        if group.pods:
            pod = group.pods[0].pod
            return await api.get(resource(PODS.api, PODS.plural, pod.namespace, pod.name))
    except TritonctlError:
        pass  # what is known already is told all the same
    return {}


def _pod_spec(document: Mapping[str, Any], group: Group) -> Mapping[str, Any]:
    spec = mapping(document, "spec")
    return mapping(mapping(spec, "template"), "spec") if group.workloads else spec


def _entry(spec: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    every = [*rows(spec, "initContainers"), *rows(spec, "containers")]
    return next((each for each in every if text(each, "name") == name), {})


def _workload(workload: Workload) -> Rows:
    found: Rows = [
        ("namespace", workload.namespace),
        ("pods", f"{workload.ready} ready of {workload.wanted} wanted, {workload.updated} of the newest template"),
        ("created", _when(workload.created_at)),
    ]
    if workload.revision:
        found.append(("revision", workload.revision))
    if workload.strategy:
        found.append(("strategy", workload.strategy))
    if workload.paused:
        found.append(("paused", "yes: changes of the template wait"))
    if workload.owner is not None:
        found.append(("owner", f"{workload.owner.kind} {workload.owner.name}"))
    azureml = azureml_name({**workload.labels, **workload.template_labels})
    if azureml is not None:
        found.append(("Azure ML", f"deployment {azureml[1]} of the endpoint {azureml[0]}"))
    if workload.selector:
        found.append(("selector", workload.selector))
    if workload.deleted_at is not None:
        found.append(("being deleted", ", ".join(workload.finalizers) or "yes"))
    return found + _conditions(workload.conditions)


def _inference(service: InferenceService) -> Rows:
    found: Rows = [("namespace", service.namespace), ("created", _when(service.created_at))]
    if service.url:
        found.append(("url", service.url))
    if service.failure:
        found.append(("last failure", service.failure))
    found.append(("object", f"{INFERENCE_SERVICES.plural}.{INFERENCE_SERVICES.group}"))
    return found + _conditions(service.conditions)


def _conditions(conditions: Iterable[Condition]) -> Rows:
    return [
        (f"condition {each.kind}", " · ".join(filter(None, (each.status, each.reason, each.message, _when(each.at)))))
        for each in conditions
    ]


def _container(container: Container, entry: Mapping[str, Any]) -> Rows:
    found: Rows = [("image", container.image)]
    words = mask_arguments((*container.command, *container.args))
    found.append(("command", " ".join(shlex.quote(each) for each in words) or "the image's own"))
    if container.ports:
        found.append(("ports", ", ".join(f"{port} ({name})" if name else str(port) for name, port in container.ports)))
    for kind, port, path in container.probes:
        found.append((f"{kind} probe", f"{path} on port {port}" if port else path))
    for name, amounts in (("requests", container.requests), ("limits", container.limits)):
        if amounts:
            found.append((name, ", ".join(f"{what} {_amount(what, value)}" for what, value in sorted(amounts.items()))))
    for each in rows(entry, "env"):
        found.append((f"env {text(each, 'name')}", _variable(each)))
    for each in rows(entry, "envFrom"):
        source = next((f"{kind} {text(mapping(each, kind), 'name')}" for kind in each if kind.endswith("Ref")), "")
        found.append(("env from", source))
    for each in rows(entry, "volumeMounts"):
        only = " (read-only)" if each.get("readOnly") is True else ""
        found.append(
            (f"mount {text(each, 'mountPath')}", f"{text(each, 'name')} {text(each, 'subPath')}".strip() + only)
        )
    return found


def _variable(entry: Mapping[str, Any]) -> str:
    source = mapping(entry, "valueFrom")
    for kind, value in source.items():
        if isinstance(value, dict):
            place = text(value, "name") or text(value, "fieldPath") or text(value, "resource")
            return f"from {kind} {place} {text(value, 'key')}".strip()
    return mask(text(entry, "name"), text(entry, "value"))


def _volumes(spec: Mapping[str, Any]) -> Rows:
    found = []
    for each in rows(spec, "volumes"):
        kind = next((name for name in each if name != "name"), "")
        about = mapping(each, kind)
        place = next(
            (
                text(about, key)
                for key in ("claimName", "secretName", "name", "path", "server", "driver")
                if text(about, key)
            ),
            text(about, "medium"),
        )
        found.append((text(each, "name"), mask_text(f"{kind} {place}".strip())))
    return found


def _pod(seat: Seat) -> Rows:
    pod, state = seat.pod, pod_platform(seat.pod)
    found: Rows = [("state", f"{state.state}: {state.reason}" if state.reason else state.state)]
    found.append(("node", pod.node or "none yet"))
    if pod.ip:
        shared = ", which is its node's" if pod.host_network else ""
        found.append(("address", f"{pod.ip}{shared}"))
    found.append(("created", _when(pod.created_at)))
    for status in pod.statuses:
        words = [f"{status.restarts} restarts"]
        if status.running_since is not None:
            words.insert(0, f"runs since {_when(status.running_since)}")
        elif status.waiting:
            words.insert(0, f"waits: {status.waiting} {status.waiting_message}".strip())
        elif status.ended is not None:
            words.insert(0, f"ended with {exit_words(status.ended)}")
        if status.last is not None:
            words.append(f"before: {exit_words(status.last)}, {_when(status.last.finished_at)}")
        found.append((f"{'init ' if status.init else ''}container {status.name}", ", ".join(words)))
    return found + [
        (f"condition {each.kind}", " · ".join(filter(None, (each.status, each.reason, each.message))))
        for each in pod.conditions
        if each.status != "True"
    ]


def _node(node: Node | None, name: str, store: Store, whole_cluster: bool) -> Rows:
    if node is None:
        return [("note", "nodes may not be listed: get, list and watch of nodes would show its GPUs")]
    found: Rows = [("state", "ready" if node.ready else "not ready")]
    if node.unschedulable:
        found.append(("cordoned", "no new pod is placed there"))
    for label, value in (("instance", node.instance), ("pool", node.pool), ("GPU", node.product)):
        if value:
            found.append((label, value))
    found.append(("kubelet", node.version))
    for share in shares([node], store.loads.values()):
        found.append((share.resource, share.words if whole_cluster else _at_least(share.allocatable, share.allocated)))
    if node.taints:
        found.append(("taints", ", ".join(node.taints)))
    return found + _conditions(node.conditions)


def place(store: Store, *, whole_cluster: bool) -> tuple[Section, ...]:
    """The cluster: its GPUs, then each node with who has its GPUs; those with GPUs first."""
    if not store.nodes:
        return (Section("nodes", (("note", "none are seen: get, list and watch of nodes would show them"),)),)
    nodes = sorted(store.nodes.values(), key=lambda each: (not each.gpus, each.name))
    ready = sum(each.ready and not each.unschedulable for each in nodes)
    found: list[tuple[str, Rows]] = [
        ("nodes", [("ready", f"{ready} of {len(nodes)}")]),
        ("GPUs", _gpus(store, whole_cluster) or [("note", "no node offers any")]),
    ]
    for node in nodes[:_MOST_NODES]:
        holders = sorted((each, load) for each, load in store.loads.items() if load.node == node.name)
        held: Rows = [
            (f"held by {namespace}/{name}", ", ".join(f"{count:g} {what}" for what, count in load.gpus.items()))
            for (namespace, name), load in holders
        ]
        found.append((f"node {node.name}", _node(node, node.name, store, whole_cluster) + held))
    if len(nodes) > _MOST_NODES:
        found.append(("more nodes", [("left out", str(len(nodes) - _MOST_NODES))]))
    return tuple(Section(heading, tuple(each)) for heading, each in found)


def _gpus(store: Store, whole_cluster: bool) -> Rows:
    return [
        (
            f"{share.node} {share.resource}",
            share.words if whole_cluster else _at_least(share.allocatable, share.allocated),
        )
        for share in shares(store.nodes.values(), store.loads.values())
    ]


def _at_least(allocatable: float, allocated: float) -> str:
    """Pods of other namespaces cannot be seen, so what is free is not known."""
    return f"{allocatable:g} allocatable, at least {allocated:g} allocated (only your namespaces are seen)"


def _amount(resource_name: str, value: float) -> str:
    if resource_name in ("memory", "ephemeral-storage") or resource_name.startswith("hugepages"):
        return f"{value / _MIB:.0f} MiB"
    return f"{value:g}" if is_gpu(resource_name) or resource_name != "cpu" else f"{value:g} cores"


def _when(at: float | None) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at)) if at is not None else "unknown"
