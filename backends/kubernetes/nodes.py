"""Nodes and their GPUs: allocatable, taken by pods, free."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from backends.kubernetes.client.objects import labels, mapping, quantity, rows, text
from backends.kubernetes.pod import Condition, is_gpu, read_conditions

_INSTANCE_LABELS = ("node.kubernetes.io/instance-type", "beta.kubernetes.io/instance-type")
_POOL_LABELS = (
    "kubernetes.azure.com/agentpool",
    "agentpool",
    "cloud.google.com/gke-nodepool",
    "eks.amazonaws.com/nodegroup",
)
_PRODUCT_LABEL = "nvidia.com/gpu.product"  # of NVIDIA's feature discovery


@dataclass(frozen=True, slots=True)
class Node:
    """`gpus` are what pods can be given, by the resource's name. `conditions` are those that are not as they should."""

    name: str
    instance: str
    pool: str
    product: str
    gpus: Mapping[str, float]
    ready: bool
    unschedulable: bool
    taints: tuple[str, ...]
    conditions: tuple[Condition, ...]
    version: str


def read_node(document: Mapping[str, Any]) -> Node:
    meta, spec, status = mapping(document, "metadata"), mapping(document, "spec"), mapping(document, "status")
    has = labels(meta, "labels")
    allocatable = {
        name: amount
        for name, value in mapping(status, "allocatable").items()
        if is_gpu(name) and (amount := quantity(value)) is not None
    }
    conditions = read_conditions(status)
    return Node(
        name=text(meta, "name"),
        instance=_first(has, _INSTANCE_LABELS),
        pool=_first(has, _POOL_LABELS),
        product=has.get(_PRODUCT_LABEL, ""),
        gpus=allocatable,
        ready=any(each.kind == "Ready" and each.status == "True" for each in conditions),
        unschedulable=spec.get("unschedulable") is True,
        taints=tuple(
            f"{text(each, 'key')}{'=' if text(each, 'value') else ''}{text(each, 'value')}:{text(each, 'effect')}"
            for each in rows(spec, "taints")
        ),
        # Ready is good as True, every other one (MemoryPressure, GPUMissing, …) as False.
        conditions=tuple(each for each in conditions if (each.status == "True") != (each.kind == "Ready")),
        version=text(mapping(status, "nodeInfo"), "kubeletVersion"),
    )


@dataclass(frozen=True, slots=True)
class Load:
    """What a pod takes of its node's GPUs."""

    node: str
    gpus: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Share:
    """Of one resource on one node."""

    node: str
    resource: str
    allocatable: float
    allocated: float

    @property
    def free(self) -> float:
        return max(self.allocatable - self.allocated, 0.0)

    @property
    def words(self) -> str:
        return f"{self.free:g} of {self.allocatable:g} free, {self.allocated:g} allocated"


def shares(nodes: Iterable[Node], loads: Iterable[Load]) -> tuple[Share, ...]:
    """Every GPU resource of every node, by the node's name."""
    taken: dict[tuple[str, str], float] = {}
    for load in loads:
        for name, value in load.gpus.items():
            taken[load.node, name] = taken.get((load.node, name), 0.0) + value
    return tuple(
        Share(node.name, name, amount, taken.get((node.name, name), 0.0))
        for node in sorted(nodes, key=lambda each: each.name)
        for name, amount in sorted(node.gpus.items())
    )


def summary(found: Iterable[Share]) -> str:
    """For the header: what is free of what there is, by resource."""
    total: dict[str, tuple[float, float]] = {}
    for each in found:
        free, all_of_it = total.get(each.resource, (0.0, 0.0))
        total[each.resource] = (free + each.free, all_of_it + each.allocatable)
    names = {"nvidia.com/gpu": "GPUs"}
    return ", ".join(
        f"{free:g}/{amount:g} {names.get(name, name.removeprefix('nvidia.com/'))} free"
        for name, (free, amount) in sorted(total.items())
        if amount
    )


def _first(has: Mapping[str, str], names: tuple[str, ...]) -> str:
    return next((has[name] for name in names if name in has), "")
