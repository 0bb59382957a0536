"""Plans for an AKS cluster itself: stop, start, delete, each with what it costs and behind the typed name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from backends.aks.access import API
from backends.aks.cluster import Cluster
from backends.azure.arm import Arm
from tritonctl.backend import Capability, Intent
from tritonctl.errors import AlreadySo, OperationFailed
from tritonctl.inventory import Service
from tritonctl.plan import Plan, Step

DEADLINE_S = 1800.0  # Azure gives such an operation half an hour and more; it goes on when nobody waits
_SHOWN = 8


@dataclass(frozen=True, slots=True)
class Ground:
    """`services` are those that run in it; `done` is called when something was done to the cluster."""

    arm: Arm
    cluster: Cluster
    services: Sequence[Service]
    read_only: bool
    done: Callable[[], None]


def plan(ground: Ground, intent: Intent) -> Plan:
    """Raises OperationFailed where its state does not allow it."""
    cluster, tried = ground.cluster, f"{intent.action} {ground.cluster.name}"
    if cluster.changing:
        raise OperationFailed(tried, f"the cluster is {cluster.provisioning.lower()}", "wait until that is done")
    stopped = cluster.power.lower() == "stopped"
    match intent.action:
        case Capability.STOP if stopped:
            raise AlreadySo(tried, "the cluster is stopped already")
        case Capability.START if cluster.power.lower() == "running":
            raise AlreadySo(tried, "the cluster is running already")
        case Capability.STOP:
            return _stop(ground, intent)
        case Capability.START:
            return _start(ground, intent)
        case Capability.DELETE:
            return _delete(ground, intent)
    raise OperationFailed(tried, f"a cluster has no {intent.action}")


def _stop(ground: Ground, intent: Intent) -> Plan:
    cluster = ground.cluster
    start = f"az aks start {cluster.named}"
    return Plan(
        action="stop",
        service=intent.service.id,
        title=f"Stop the AKS cluster {cluster.name} with all its nodes",
        now=f"{cluster.state}; {cluster.cost}",
        steps=(_step(ground, "POST", "stop", f"az aks stop {cluster.named}"),),
        warnings=(
            *_what_runs(ground.services, "stops answering"),
            # AKS documentation, "Stop and start a cluster".
            "pods without a controller are lost; the API server's address may be another one after the start",
            "stopped, its nodes are not billed; disks and public addresses are. Azure keeps its state for 12 months",
        ),
        undo=f"{start} (takes minutes; the pods start anew and load their models)",
        typed=cluster.name,
        read_only=ground.read_only,
    )


def _start(ground: Ground, intent: Intent) -> Plan:
    cluster = ground.cluster
    pools = ", ".join(f"{pool.name} {pool.size}" for pool in cluster.pools) or "its nodes"
    return Plan(
        action="start",
        service=intent.service.id,
        title=f"Start the AKS cluster {cluster.name}",
        now=f"{cluster.state}; {cluster.cost}",
        steps=(_step(ground, "POST", "start", f"az aks start {cluster.named}"),),
        warnings=(f"from then on it is billed by the hour: {pools}",),
        undo=f"az aks stop {cluster.named}",
        typed=cluster.name,
        read_only=ground.read_only,
    )


def _delete(ground: Ground, intent: Intent) -> Plan:
    cluster = ground.cluster
    nodes = f" and the resource group {cluster.node_group} with its disks and addresses" if cluster.node_group else ""
    unseen = () if cluster.reachable else ("what runs in it is not known: the cluster does not answer now",)
    return Plan(
        action="delete",
        service=intent.service.id,
        title=f"Delete the AKS cluster {cluster.name}",
        now=f"{cluster.state}; {cluster.cost}",
        steps=(_step(ground, "DELETE", "", f"az aks delete {cluster.named} --yes"),),
        warnings=(
            *_what_runs(ground.services, "is gone for good"),
            *unseen,
            f"gone with it: every volume that is kept in it{nodes}",
            "an Azure ML workspace that has it as a compute loses that compute: detach it there first",
            "it is billed until it is gone; stopping it instead keeps everything and bills no node",
        ),
        typed=cluster.name,
        read_only=ground.read_only,
    )


def _step(ground: Ground, method: str, action: str, call: str) -> Step:
    async def run() -> str:
        path = f"{ground.cluster.path}/{action}" if action else ground.cluster.path
        changed = await ground.arm.change(method, path, API)
        ground.done()
        try:
            if changed.operation is not None:
                await ground.arm.finish(changed.operation, call)
        finally:
            ground.done()
        return ""

    return Step(call, run, deadline_s=DEADLINE_S)


def _what_runs(services: Sequence[Service], fate: str) -> tuple[str, ...]:
    names = [each.name for each in services]
    if not names:
        return ()
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return (f"every workload in it {fate}, of Triton: {', '.join(names[:_SHOWN])}{more}",)
