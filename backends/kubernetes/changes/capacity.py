"""How many more pods the nodes' GPUs allow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from backends.kubernetes.client.api import Api
from backends.kubernetes.client.objects import labels, mapping, quantity, rows, text
from backends.kubernetes.client.paths import resource
from backends.kubernetes.pod import is_gpu, read_containers, requested
from tritonctl.errors import TritonctlError


def gpus_of(pod_spec: Mapping[str, Any]) -> dict[str, float]:
    """What one pod takes, by the resource's name: {"nvidia.com/gpu": 1.0}."""
    return {name: value for name, value in requested(read_containers(pod_spec)).items() if is_gpu(name) and value}


async def room(api: Api, pod_spec: Mapping[str, Any]) -> int | None:
    """How many more such pods find their GPUs free on the nodes that may take them. None: the pod asks for none, or
    the nodes may not be read. Only GPUs, node selectors and cordons are looked at."""
    wanted = gpus_of(pod_spec)
    if not wanted:
        return None
    try:
        nodes = await api.list(resource("v1", "nodes"))
        pods = await api.list(resource("v1", "pods"), {"fieldSelector": "status.phase!=Succeeded,status.phase!=Failed"})
    except TritonctlError:
        return None
    taken: dict[str, dict[str, float]] = {}
    for pod in pods:
        spec = mapping(pod, "spec")
        on = taken.setdefault(text(spec, "nodeName"), {})
        for name, value in requested(read_containers(spec)).items():
            on[name] = on.get(name, 0.0) + value
    return sum(_fits(node, wanted, taken.get(_name(node), {}), pod_spec) for node in nodes)


def _fits(
    node: Mapping[str, Any], wanted: Mapping[str, float], taken: Mapping[str, float], pod_spec: Mapping[str, Any]
) -> int:
    if mapping(node, "spec").get("unschedulable") is True:
        return 0
    marks = labels(mapping(node, "metadata"), "labels")
    if any(marks.get(name) != value for name, value in labels(pod_spec, "nodeSelector").items()):
        return 0
    conditions = rows(mapping(node, "status"), "conditions")
    if not any(text(each, "type") == "Ready" and text(each, "status") == "True" for each in conditions):
        return 0
    offered = mapping(mapping(node, "status"), "allocatable")
    return min(
        max(0, int(((quantity(offered.get(name)) or 0.0) - taken.get(name, 0.0)) // value))
        for name, value in wanted.items()
    )


def _name(node: Mapping[str, Any]) -> str:
    return text(mapping(node, "metadata"), "name")
