"""From what somebody wants of a service to the object it is to be done to, and the plan for it."""

from __future__ import annotations

from backends.kubernetes.changes import actions, delete, switch
from backends.kubernetes.changes.change import read
from backends.kubernetes.changes.ground import Ground
from backends.kubernetes.changes.kubectl import Kubectl, Target
from backends.kubernetes.client.api import Api
from backends.kubernetes.client.kinds import INFERENCE_SERVICES, PODS
from backends.kubernetes.client.rights import Rights
from backends.kubernetes.services import Group
from tritonctl.backend import Capability, Intent
from tritonctl.errors import Forbidden, OperationFailed
from tritonctl.plan import Plan

ABLE = frozenset((Capability.MODE, Capability.RESTART, Capability.SCALE, Capability.DELETE))


async def plan(api: Api, rights: Rights, group: Group, intent: Intent, *, ready_s: float, read_only: bool) -> Plan:
    """Of what the API server says now, not of what was on the screen. Raises OperationFailed, Forbidden."""
    target = target_of(group, intent.action)
    if target is None:
        raise OperationFailed(
            f"{intent.action} {intent.service.id}",
            f"a {group.key.kind} made its pods, and tritonctl does not know how to change one",
            f"kubectl -n {group.key.namespace} edit {group.key.kind.lower()}/{group.key.name}",
        )
    try:
        document = await read(api, target)
    except Forbidden as error:
        raise Forbidden(f"{intent.action} {intent.service.id}", error.answer, error.advice) from None
    kubectl = Kubectl(api.access.context, api.kubeconfig)
    ground = Ground(api, rights, target, document, kubectl, ready_s, intent=intent, read_only=read_only)
    match intent.action:
        case Capability.MODE:
            return await switch.plan(ground)
        case Capability.RESTART:
            return await actions.restart(ground)
        case Capability.SCALE:
            return await actions.scale(ground)
        case Capability.DELETE:
            return await delete.plan(ground)
    raise OperationFailed(f"{intent.action} {intent.service.id}", f"Kubernetes has no {intent.action} of a workload")


def target_of(group: Group, action: Capability) -> Target | None:
    """The newest workload; to delete a KServe service, the object that made it. None: not known here."""
    namespace = group.key.namespace
    if group.inference is not None and (action is Capability.DELETE or not group.workloads):
        return Target(INFERENCE_SERVICES, namespace, group.inference.name)
    if group.workloads:
        newest = group.workloads[-1].workload
        return Target(newest.kind, namespace, newest.name)
    if group.kind is PODS and group.pods:
        return Target(PODS, namespace, group.pods[0].pod.name)
    return None
