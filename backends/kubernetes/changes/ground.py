"""What every plan of a workload stands on: the object as it is now, the user's rights, the calls as text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from backends.kubernetes.changes.kubectl import Kubectl, Target
from backends.kubernetes.changes.template import template_of, triton_launches
from backends.kubernetes.client.api import Api
from backends.kubernetes.client.kinds import DAEMON_SETS, INFERENCE_SERVICES, JOBS, PODS
from backends.kubernetes.client.objects import mapping, number
from backends.kubernetes.client.rights import Right, Rights
from tritonctl.ground import PlanGround
from tritonctl.inventory import ControlMode
from tritonctl.server.options import EVERY_MODEL

CALL_S = 60.0


@dataclass(frozen=True, slots=True)
class Ground(PlanGround):
    """The workload as it is now. `ready_s` is how long a new pod may take to get ready."""

    api: Api
    rights: Rights
    target: Target
    document: Mapping[str, Any] = field(repr=False)
    kubectl: Kubectl
    ready_s: float

    @property
    def said(self) -> str:
        return f"{self.intent.action} {self.service_id}"

    @property
    def replicas(self) -> int:
        """How many pods it is to have."""
        if self.target.kind is DAEMON_SETS:
            return number(mapping(self.document, "status"), "desiredNumberScheduled")
        found = mapping(self.document, "spec").get("replicas", 1)
        return found if isinstance(found, int) else 1

    @property
    def template(self) -> dict[str, Any]:
        return template_of(self.document)

    @property
    def pod_spec(self) -> dict[str, Any]:
        return mapping(self.template, "spec")

    def right(self, verb: str, subresource: str = "") -> Right:
        kind = self.target.kind
        return Right(verb, kind.plural, kind.group, subresource, self.target.namespace)

    @property
    def now(self) -> str:
        status = mapping(self.document, "status")
        name = "numberReady" if self.target.kind is DAEMON_SETS else "readyReplicas"
        return (
            f"{self.target} in namespace {self.target.namespace}: {number(status, name)} of {self.replicas} pods ready"
        )


def lost_models(ground: Ground, who: str = "the new pods") -> list[str]:
    """Models that were loaded at run time, which no new pod begins with, and the flags that would cure it."""
    if not ground.intent.loaded:
        return []
    for launch in triton_launches(ground.pod_spec):
        for options in launch.servers:
            if options.control_mode is not ControlMode.EXPLICIT or EVERY_MODEL in options.load_models:
                continue
            lost = [name for name in ground.intent.loaded if name not in options.load_models]
            if lost:
                flags = " ".join(f"--load-model={name}" for name in lost)
                return [
                    f"loaded at run time, and {who} start without: {', '.join(lost)}; {flags} in the command of "
                    f"container {launch.container} cures it, as `tritonctl mode {ground.service_id} explicit` writes it"
                ]
    return []


def grace_s(ground: Ground) -> int:
    found = ground.pod_spec.get("terminationGracePeriodSeconds", 30)
    return found if isinstance(found, int) else 30


def why_not(ground: Ground) -> str:
    kind = ground.target.kind
    if kind is PODS:
        return "a pod's command cannot be changed, and nothing replaces a pod that belongs to no workload"
    if kind is JOBS:
        return "a Job's pods run once: its template cannot be changed"
    return f"a {kind.name}'s pods are made by its controller"


def instead(ground: Ground) -> str:
    target, kubectl = ground.target, ground.kubectl
    if target.kind is INFERENCE_SERVICES:
        return kubectl(target.namespace, "edit", str(target)) + "   (spec.predictor)"
    if target.kind in (PODS, JOBS):
        return f"write it out, change it, make it again: {kubectl(target.namespace, 'get', str(target), '-o', 'yaml')}"
    return kubectl(target.namespace, "edit", str(target))
