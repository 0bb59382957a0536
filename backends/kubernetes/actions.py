"""Plans for a workload as it is: restart and scale; and what every plan stands on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

from backends.kubernetes import ownership, rollout
from backends.kubernetes.api import Api, Patch, resource
from backends.kubernetes.capacity import gpus_of, room
from backends.kubernetes.change import change, changed_meanwhile, path_of
from backends.kubernetes.kubectl import Kubectl, Target
from backends.kubernetes.objects import labels, mapping, number, rows, text
from backends.kubernetes.rights import Right, Rights
from backends.kubernetes.rollout import IsNew
from backends.kubernetes.template import template_of, triton_launches
from backends.kubernetes.workload import DAEMON_SETS, DEPLOYMENTS, INFERENCE_SERVICES, JOBS, PODS, STATEFUL_SETS
from tritonctl.backend import Intent
from tritonctl.errors import OperationFailed, TritonctlError, UsageError
from tritonctl.inventory import ControlMode
from tritonctl.plan import Plan, Step
from tritonctl.server.options import EVERY_MODEL

CALL_S = 60.0
_RESTARTED = "kubectl.kubernetes.io/restartedAt"
ROLLED = (DEPLOYMENTS, STATEFUL_SETS, DAEMON_SETS)


@dataclass(frozen=True, slots=True)
class Ground:
    """What a plan stands on: the workload as it is now. `ready_s` is how long a new pod may take to get ready."""

    api: Api
    rights: Rights
    intent: Intent
    target: Target
    document: Mapping[str, Any] = field(repr=False)
    kubectl: Kubectl
    ready_s: float
    read_only: bool

    @property
    def service_id(self) -> str:
        return self.intent.service.id

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

    def plan(self, title: str, steps: list[Step], warnings: list[str], undo: str = "", typed: str = "") -> Plan:
        return Plan(
            action=str(self.intent.action),
            service=self.service_id,
            title=title,
            steps=tuple(steps),
            now=self.now,
            warnings=tuple(dict.fromkeys(warnings)),
            undo=undo,
            typed=typed,
            read_only=self.read_only,
        )

    @property
    def now(self) -> str:
        status = mapping(self.document, "status")
        name = "numberReady" if self.target.kind is DAEMON_SETS else "readyReplicas"
        return (
            f"{self.target} in namespace {self.target.namespace}: {number(status, name)} of {self.replicas} pods ready"
        )


async def restart(ground: Ground) -> Plan:
    """As `kubectl rollout restart`: every pod is replaced by a new one of the same template."""
    need_rollout(ground, "restart")
    await ground.rights.need(ground.said, [ground.right("patch")])
    warnings = [*ownership.warnings(ground.document, "restart it"), *_lost_models(ground)]
    before = labels(mapping(ground.template, "metadata"), "annotations").get(_RESTARTED)
    at = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")

    def stamp(value: str | None) -> dict[str, Any]:
        return {"spec": {"template": {"metadata": {"annotations": {_RESTARTED: value}}}}}

    def is_new(found: Mapping[str, Any]) -> bool:
        return labels(mapping(found, "metadata"), "annotations").get(_RESTARTED) == at

    async def begin() -> str:
        await change(ground.api, ground.target, lambda _: stamp(at))
        return "asked for"

    async def go_back() -> str:
        await change(ground.api, ground.target, lambda found: stamp(before) if is_new(template_of(found)) else None)
        return await back(ground, is_new)

    target, kubectl = ground.target, ground.kubectl
    step = Step(
        call=kubectl(target.namespace, "rollout", "restart", str(target)),
        run=begin,
        undo_call=kubectl(target.namespace, "rollout", "undo", str(target)),
        undo=go_back,
        deadline_s=CALL_S + ground.ready_s,
    )
    steps = await rolling(ground, step, is_new, warnings)
    return ground.plan(
        f"Restart {ground.service_id}",
        steps,
        warnings,
        "by itself when a new pod does not get ready: the old ones stay; one that is done loses no data",
    )


async def scale(ground: Ground) -> Plan:
    target, api = ground.target, ground.api
    if target.kind is DAEMON_SETS:
        raise OperationFailed(
            ground.said, "a DaemonSet has one pod on each node that it selects", "change its node selector"
        )
    if target.kind not in (DEPLOYMENTS, STATEFUL_SETS):
        raise OperationFailed(ground.said, f"a {target.kind.name} has no number of replicas to set", _instead(ground))
    wanted, before = _count(ground.intent.value), ground.replicas
    if wanted == before:
        raise OperationFailed(ground.said, f"it is set to {before} already")
    await ground.rights.need(ground.said, [ground.right("patch", "scale")])
    warnings = list(ownership.warnings(ground.document, "set the number"))
    warnings += await _autoscaled(ground, wanted)
    if wanted > before:
        warnings += await _too_many(ground, wanted - before)
        warnings += _lost_models(ground, "new pods")
    elif wanted:
        warnings.append(
            f"{before - wanted} of {before} pods end: what they serve then has {grace_s(ground)} s to finish"
        )
    else:
        warnings.append("nothing serves any more after it")
    if target.kind is STATEFUL_SETS and wanted < before:
        warnings.append("the claims of the pods that end stay, and are taken up again by later ones")
    path = path_of(target, "scale")

    async def set_to(count: int, expected: int) -> str:
        found = await api.get(path)
        spec, meta = mapping(found, "spec"), mapping(found, "metadata")
        # An absent number is 0: the API server leaves zeros out of a Scale.
        if number(spec, "replicas") not in (expected, count):
            raise changed_meanwhile(target, "the number of replicas")
        body = {"metadata": {"resourceVersion": text(meta, "resourceVersion")}, "spec": {"replicas": count}}
        try:
            await api.patch(path, body, Patch.MERGE)
        except OperationFailed as error:
            if error.status != 409:
                raise
            await api.patch(path, {"spec": {"replicas": count}}, Patch.MERGE)
        return f"set to {count}"

    def call(count: int) -> str:
        return ground.kubectl(target.namespace, "scale", str(target), f"--replicas={count}")

    steps = [
        Step(
            call=call(wanted),
            run=partial(set_to, wanted, before),
            undo_call=call(before),
            undo=partial(set_to, before, wanted),
            deadline_s=CALL_S,
        ),
        Step(
            call=ground.kubectl(target.namespace, "rollout", "status", str(target), f"--timeout={ground.ready_s:g}s"),
            run=partial(rollout.wait, api, target, lambda _: True, ground.ready_s),
            deadline_s=(abs(wanted - before) + 1) * ground.ready_s + CALL_S,
        ),
    ]
    return ground.plan(
        f"Scale {ground.service_id} from {before} to {wanted}",
        steps,
        warnings,
        call(before),
        ground.intent.service.name if not wanted else "",
    )


# What rolling out a new template takes


def need_rollout(ground: Ground, what: str) -> None:
    """Raises OperationFailed where nothing would replace the pods, with what to do instead."""
    kind = ground.target.kind
    if kind not in ROLLED:
        raise OperationFailed(f"{what} {ground.service_id}", _why_not(ground), _instead(ground))
    spec = mapping(ground.document, "spec")
    if spec.get("paused") is True:
        resume = ground.kubectl(ground.target.namespace, "rollout", "resume", str(ground.target))
        raise OperationFailed(f"{what} {ground.service_id}", "its rollouts are paused", resume)
    if text(mapping(spec, "updateStrategy"), "type") == "OnDelete":
        raise OperationFailed(
            f"{what} {ground.service_id}",
            "its updateStrategy is OnDelete: new pods come only as old ones are deleted by hand",
            ground.kubectl(ground.target.namespace, "delete", "pod/NAME") + ", one after the other",
        )
    if "deletionTimestamp" in mapping(ground.document, "metadata"):
        raise OperationFailed(f"{what} {ground.service_id}", "it is being deleted")


async def rolling(ground: Ground, step: Step, is_new: IsNew, warnings: list[str]) -> list[Step]:
    """The steps around the one that changes the template: no old pod ends before a new one is ready, where that can be
    had. Warns where it cannot."""
    target = ground.target
    waiting = Step(
        call=ground.kubectl(target.namespace, "rollout", "status", str(target), f"--timeout={ground.ready_s:g}s"),
        run=partial(rollout.wait, ground.api, target, is_new, ground.ready_s),
        deadline_s=(ground.replicas + 1) * ground.ready_s + CALL_S,
    )
    if ground.replicas:
        warnings += _probe_warnings(ground)
    careful = await _careful(ground, warnings) if ground.replicas else None
    return [step, waiting] if careful is None else [careful[0], step, waiting, careful[1]]


async def back(ground: Ground, is_bad: IsNew) -> str:
    """After the old template was put back: wait until its pods are all there again."""
    if ground.target.kind is STATEFUL_SETS:
        await rollout.remove_failed(ground.api, ground.target, is_bad)
    return await rollout.wait(ground.api, ground.target, lambda found: not is_bad(found), ground.ready_s, patient=True)


async def _careful(ground: Ground, warnings: list[str]) -> tuple[Step, Step] | None:
    """The steps that set a Deployment's strategy to one that keeps every old pod until a new one is ready, and back."""
    spec = mapping(ground.document, "spec")
    if ground.target.kind is not DEPLOYMENTS:
        one = "its pod" if ground.replicas == 1 else f"one of its {ground.replicas} pods"
        warnings.append(f"a {ground.target.kind.name} ends each pod before the new one starts: {one} is away meanwhile")
        return None
    strategy = mapping(spec, "strategy")
    if text(strategy, "type") == "Recreate":
        warnings.append(
            "its strategy is Recreate: every pod ends before a new one starts, and nothing serves until one is ready; "
            "strategy RollingUpdate with maxUnavailable 0 would keep it serving"
        )
        return None
    rolling_update = mapping(strategy, "rollingUpdate")
    surge = _resolved(rolling_update.get("maxSurge", "25%"), ground.replicas, up=True)
    away = _resolved(rolling_update.get("maxUnavailable", "25%"), ground.replicas, up=False)
    free = await room(ground.api, ground.pod_spec)
    beside = free is None or free >= 1
    if not beside:
        names = ", ".join(gpus_of(ground.pod_spec))
        if away == 0:
            warnings.append(
                f"no node has {names} free for a pod more, and its strategy (maxUnavailable 0) ends none before: the "
                "new pod will not get a node, and this will be undone; free a GPU, or scale down by one, first"
            )
        else:
            warnings.append(
                f"no node has {names} free for a pod more: {away} of {ground.replicas} pods end before the new ones start"
            )
        return None
    if _host_ports(ground.pod_spec):
        warnings.append("it takes ports of its node: a new pod needs another node, or waits for the old one to end")
        return None
    if away == 0 and surge > 0:
        return None
    now = {name: rolling_update.get(name) for name in ("maxSurge", "maxUnavailable")}
    wanted = {"maxSurge": now["maxSurge"] if surge else 1, "maxUnavailable": 0}
    warnings.append(
        f"its strategy lets {away} of {ground.replicas} pods end before new ones are ready: it is set to "
        "maxUnavailable 0 for the time of the rollout, and back after it"
    )

    def patch(values: Mapping[str, Any]) -> dict[str, Any]:
        return {"spec": {"strategy": {"rollingUpdate": dict(values)}}}

    async def put(values: Mapping[str, Any]) -> str:
        await change(ground.api, ground.target, lambda _: patch(values))
        return f"maxUnavailable {values['maxUnavailable']}, maxSurge {values['maxSurge']}"

    async def restore() -> str:
        """The rollout is done: what goes wrong here must not undo it."""
        try:
            return await put(now)
        except TritonctlError as error:
            return f"its strategy is left at maxUnavailable 0: {error.headline}; {give_back}"

    give_back = ground.kubectl.patch(ground.target, patch(now))
    first = Step(
        call=ground.kubectl.patch(ground.target, patch(wanted)),
        run=partial(put, wanted),
        undo_call=give_back,
        undo=partial(put, now),
        deadline_s=CALL_S,
    )
    return first, Step(call=give_back, run=restore, deadline_s=CALL_S)


def _probe_warnings(ground: Ground) -> list[str]:
    """What makes Kubernetes take a pod for ready, or out of the traffic, too early."""
    found = []
    triton = {each.container for each in triton_launches(ground.pod_spec)}
    for each in rows(ground.pod_spec, "containers"):
        if text(each, "name") not in triton:
            continue
        if not mapping(each, "readinessProbe"):
            found.append(
                f"container {text(each, 'name')} has no readiness probe: Kubernetes takes a new pod for ready, and ends "
                "an old one, before its models are loaded; give it httpGet /v2/health/ready on its HTTP port"
            )
        if not mapping(each, "lifecycle") and ground.replicas:
            found.append(
                f"container {text(each, 'name')} has no preStop hook: a request that is sent to a pod in the moment it "
                'ends can fail; lifecycle.preStop.exec.command ["sleep", "5"] gives the endpoints time'
            )
    return found


def _host_ports(pod_spec: Mapping[str, Any]) -> bool:
    ports = (port for each in rows(pod_spec, "containers") for port in rows(each, "ports"))
    return pod_spec.get("hostNetwork") is True or any("hostPort" in port for port in ports)


def _resolved(value: object, replicas: int, *, up: bool) -> int:
    """A number or a percentage of the replicas, rounded as the Deployment controller does it."""
    if isinstance(value, int):
        return value
    percent = str(value).removesuffix("%")
    share = int(percent) * replicas if percent.isdigit() else 0
    return -(-share // 100) if up else share // 100


# What it costs


def _lost_models(ground: Ground, who: str = "the new pods") -> list[str]:
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


async def autoscalers(ground: Ground) -> list[dict[str, Any]]:
    """The HorizontalPodAutoscalers of the workload. Empty also where they may not be listed."""
    path = resource("autoscaling/v1", "horizontalpodautoscalers", ground.target.namespace)
    try:
        found = await ground.api.list(path)
    except TritonctlError:
        return []
    return [each for each in found if scales(each, ground.target)]


def scales(autoscaler: Mapping[str, Any], target: Target) -> bool:
    aim = mapping(mapping(autoscaler, "spec"), "scaleTargetRef")
    return text(aim, "kind") == target.kind.name and text(aim, "name") == target.name


async def _autoscaled(ground: Ground, wanted: int) -> list[str]:
    found = []
    for each in await autoscalers(ground):
        spec, name = mapping(each, "spec"), text(mapping(each, "metadata"), "name")
        least, most = spec.get("minReplicas", 1), spec.get("maxReplicas")
        if wanted == 0:
            found.append(f"hpa/{name} stops scaling it at 0, until it is scaled up by hand")
        else:
            found.append(
                f"hpa/{name} sets the number itself, between {least} and {most}, and will change this within a minute: "
                f"{ground.kubectl(ground.target.namespace, 'edit', f'hpa/{name}')}"
            )
    return found


async def _too_many(ground: Ground, more: int) -> list[str]:
    """Whether the GPUs allow so many pods more."""
    wanted = gpus_of(ground.pod_spec)
    free = await room(ground.api, ground.pod_spec)
    if not wanted:
        return []
    each = ", ".join(f"{value:g} {name}" for name, value in wanted.items())
    if free is None:
        return [f"each pod asks for {each}; whether so many are free is not known: you may not read the nodes"]
    if free >= more:
        return []
    return [
        f"the nodes' GPUs allow {free} more pods of {more}: each asks for {each}, and {more - free} will stay Pending "
        "until others end or nodes are added"
    ]


def grace_s(ground: Ground) -> int:
    found = ground.pod_spec.get("terminationGracePeriodSeconds", 30)
    return found if isinstance(found, int) else 30


def _count(value: str) -> int:
    if not value.isascii() or not value.isdigit():
        raise UsageError(f"scale to {value!r}", "the number of replicas is a whole number, 0 or more")
    return int(value)


def _why_not(ground: Ground) -> str:
    kind = ground.target.kind
    if kind is PODS:
        return "a pod's command cannot be changed, and nothing replaces a pod that belongs to no workload"
    if kind is JOBS:
        return "a Job's pods run once: its template cannot be changed"
    return f"a {kind.name}'s pods are made by its controller"


def _instead(ground: Ground) -> str:
    target, kubectl = ground.target, ground.kubectl
    if target.kind is INFERENCE_SERVICES:
        return kubectl(target.namespace, "edit", str(target)) + "   (spec.predictor)"
    if target.kind in (PODS, JOBS):
        return f"write it out, change it, make it again: {kubectl(target.namespace, 'get', str(target), '-o', 'yaml')}"
    return kubectl(target.namespace, "edit", str(target))
