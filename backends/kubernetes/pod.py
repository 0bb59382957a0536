"""A pod as far as it matters here, typed and small: what else stands in its object is let go at once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from backends.kubernetes.client.objects import labels, mapping, number, quantity, rows, seconds, text, texts

_REFERENCE = re.compile(r"\$(\$|\(([A-Za-z_.-][\w.-]*)\))")
_LONGEST_NOTE = 400  # characters of an annotation; what managers of a workload leave there is shorter
_LONGEST_WORDS = 2000


@dataclass(frozen=True, slots=True)
class Owner:
    """The controller of an object."""

    kind: str
    name: str
    uid: str
    api_version: str = ""


@dataclass(frozen=True, slots=True)
class Condition:
    kind: str
    status: str  # True, False, Unknown
    reason: str = ""
    message: str = ""
    at: float | None = None  # seconds since the epoch, when it became so


@dataclass(frozen=True, slots=True)
class Container:
    """As the specification has it. `environ` are the variables whose values stand there; `requests` are in the units
    of resource.Quantity (cores, bytes, devices)."""

    name: str
    image: str
    command: tuple[str, ...]
    args: tuple[str, ...]
    environ: Mapping[str, str] = field(repr=False)
    ports: tuple[tuple[str, int], ...]  # name, port
    requests: Mapping[str, float]
    limits: Mapping[str, float]
    probes: tuple[tuple[str, int | str, str], ...]  # kind, port (a number or a name), path
    init: bool = False

    @property
    def argv(self) -> tuple[str, ...]:
        """Command and arguments with $(NAME) filled in, as the kubelet does it before any shell sees it."""
        return tuple(_expand(each, self.environ) for each in (*self.command, *self.args))


@dataclass(frozen=True, slots=True)
class Ended:
    """A run of a container that is over."""

    exit_code: int
    reason: str  # Completed, Error, OOMKilled, ContainerCannotRun, …
    message: str
    signal: int
    started_at: float | None
    finished_at: float | None


@dataclass(frozen=True, slots=True)
class ContainerStatus:
    """`waiting` is the reason why it does not run yet, "" where it runs or has ended."""

    name: str
    ready: bool
    restarts: int
    running_since: float | None
    waiting: str
    waiting_message: str
    ended: Ended | None
    last: Ended | None
    init: bool = False


@dataclass(frozen=True, slots=True)
class Pod:
    namespace: str
    name: str
    uid: str
    labels: Mapping[str, str]
    owner: Owner | None
    node: str
    phase: str
    reason: str
    message: str
    ip: str
    host_network: bool
    containers: tuple[Container, ...]
    statuses: tuple[ContainerStatus, ...]
    conditions: tuple[Condition, ...]
    created_at: float | None
    deleted_at: float | None  # when it is to be gone, where somebody deleted it
    finalizers: tuple[str, ...] = ()

    def status(self, container: str) -> ContainerStatus | None:
        return next((each for each in self.statuses if each.name == container), None)

    def condition(self, kind: str) -> Condition | None:
        return next((each for each in self.conditions if each.kind == kind), None)

    @property
    def ready(self) -> bool:
        found = self.condition("Ready")
        return found is not None and found.status == "True"

    @property
    def over(self) -> bool:
        """It holds no resources any more."""
        return self.phase in ("Succeeded", "Failed")


def read_pod(document: Mapping[str, Any]) -> Pod:
    meta, spec, status = mapping(document, "metadata"), mapping(document, "spec"), mapping(document, "status")
    return Pod(
        namespace=text(meta, "namespace"),
        name=text(meta, "name"),
        uid=text(meta, "uid"),
        labels=labels(meta, "labels"),
        owner=read_owner(meta),
        node=text(spec, "nodeName"),
        phase=text(status, "phase"),
        reason=text(status, "reason"),
        message=text(status, "message")[:_LONGEST_WORDS],
        ip=text(status, "podIP"),
        host_network=spec.get("hostNetwork") is True,
        containers=read_containers(spec),
        statuses=(
            *(_status(each, True) for each in rows(status, "initContainerStatuses")),
            *(_status(each, False) for each in rows(status, "containerStatuses")),
        ),
        conditions=read_conditions(status),
        created_at=seconds(text(meta, "creationTimestamp")),
        deleted_at=seconds(text(meta, "deletionTimestamp")),
        finalizers=texts(meta, "finalizers"),
    )


def read_owner(meta: Mapping[str, Any]) -> Owner | None:
    """The owner that is in charge; others only wait for its end."""
    for each in rows(meta, "ownerReferences"):
        if each.get("controller") is True:
            return Owner(text(each, "kind"), text(each, "name"), text(each, "uid"), text(each, "apiVersion"))
    return None


def read_containers(spec: Mapping[str, Any]) -> tuple[Container, ...]:
    """Init containers first, as they run."""
    return (
        *(_container(each, True) for each in rows(spec, "initContainers")),
        *(_container(each, False) for each in rows(spec, "containers")),
    )


def read_conditions(status: Mapping[str, Any]) -> tuple[Condition, ...]:
    return tuple(
        Condition(
            text(each, "type"),
            text(each, "status"),
            text(each, "reason"),
            text(each, "message")[:_LONGEST_WORDS],
            seconds(text(each, "lastTransitionTime")),
        )
        for each in rows(status, "conditions")
    )


def short_annotations(meta: Mapping[str, Any]) -> dict[str, str]:
    """Without the long ones: an object's whole last configuration, and whatever else nobody looks for."""
    return {name: value for name, value in labels(meta, "annotations").items() if len(value) <= _LONGEST_NOTE}


def requested(containers: tuple[Container, ...]) -> dict[str, float]:
    """What a pod takes of its node: the sum of its containers, or its largest init container, whichever is more."""
    total: dict[str, float] = {}
    for each in containers:
        if not each.init:
            for name, value in each.requests.items():
                total[name] = total.get(name, 0.0) + value
    for each in containers:
        if each.init:
            for name, value in each.requests.items():
                total[name] = max(total.get(name, 0.0), value)
    return total


def is_gpu(resource: str) -> bool:
    """nvidia.com/gpu, its shared form, and MIG's slices: nvidia.com/mig-1g.5gb."""
    return resource in ("nvidia.com/gpu", "nvidia.com/gpu.shared") or resource.startswith("nvidia.com/mig-")


def _container(entry: Mapping[str, Any], init: bool) -> Container:
    resources = mapping(entry, "resources")
    limits = _amounts(mapping(resources, "limits"))
    return Container(
        name=text(entry, "name"),
        image=text(entry, "image"),
        command=texts(entry, "command"),
        args=texts(entry, "args"),
        environ={text(each, "name"): text(each, "value") for each in rows(entry, "env") if "valueFrom" not in each},
        ports=tuple((text(each, "name"), number(each, "containerPort")) for each in rows(entry, "ports")),
        requests={**{name: value for name, value in limits.items() if is_gpu(name)}, **_requests(resources)},
        limits=limits,
        probes=tuple(
            found
            for kind in ("startupProbe", "readinessProbe", "livenessProbe")
            if (found := _probe(kind.removesuffix("Probe"), mapping(entry, kind))) is not None
        ),
        init=init,
    )


def _requests(resources: Mapping[str, Any]) -> dict[str, float]:
    return _amounts(mapping(resources, "requests"))


def _amounts(found: Mapping[str, Any]) -> dict[str, float]:
    return {name: value for name, each in found.items() if (value := quantity(each)) is not None}


def _probe(kind: str, probe: Mapping[str, Any]) -> tuple[str, int | str, str] | None:
    for way in ("httpGet", "tcpSocket", "grpc"):
        found = mapping(probe, way)
        port = found.get("port")
        if found and isinstance(port, int | str):
            return kind, port, text(found, "path") if way == "httpGet" else way
    return (kind, 0, "exec") if mapping(probe, "exec") else None


def _status(entry: Mapping[str, Any], init: bool) -> ContainerStatus:
    state = mapping(entry, "state")
    waiting = mapping(state, "waiting")
    return ContainerStatus(
        name=text(entry, "name"),
        ready=entry.get("ready") is True,
        restarts=number(entry, "restartCount"),
        running_since=seconds(text(mapping(state, "running"), "startedAt")),
        waiting=text(waiting, "reason"),
        waiting_message=text(waiting, "message")[:_LONGEST_WORDS],
        ended=_ended(mapping(state, "terminated")),
        last=_ended(mapping(mapping(entry, "lastState"), "terminated")),
        init=init,
    )


def _ended(found: Mapping[str, Any]) -> Ended | None:
    if not found:
        return None
    return Ended(
        number(found, "exitCode"),
        text(found, "reason"),
        text(found, "message")[:_LONGEST_WORDS],
        number(found, "signal"),
        seconds(text(found, "startedAt")),
        seconds(text(found, "finishedAt")),
    )


def _expand(argument: str, environ: Mapping[str, str]) -> str:
    """$(NAME) of a known variable; $$ is one $, and what is not known stays (k8s.io/kubernetes, third_party/forked/
    golang/expansion)."""
    if "$" not in argument:
        return argument

    def filled(found: re.Match[str]) -> str:
        if found[1] == "$":
            return "$"
        return environ.get(found[2], found[0])

    return _REFERENCE.sub(filled, argument)
