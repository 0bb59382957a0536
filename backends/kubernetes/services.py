"""Pods and workloads as services and replicas: names, states, and where each server answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from backends.kubernetes.client.kinds import INFERENCE_SERVICES, JOBS, PODS, WORKLOADS, Kind
from backends.kubernetes.discovery import Found, Server
from backends.kubernetes.pod import ContainerStatus, Pod, is_gpu
from backends.kubernetes.reach import Reach
from backends.kubernetes.states import exit_words, inference_service_platform, pod_platform, workload_platform
from backends.kubernetes.store import Key, SeenPod, SeenWorkload, Store
from backends.kubernetes.workload import InferenceService
from tritonctl.inventory import ControlMode, Level, Platform, Replica, Service

_ORDER = (INFERENCE_SERVICES.name, *(kind.name for kind in WORKLOADS), PODS.name)


@dataclass(frozen=True, slots=True)
class Seat:
    """One server in a pod: `name` is the replica's. No server: the pod speaks another protocol."""

    name: str
    seen: SeenPod
    server: Server | None

    @property
    def pod(self) -> Pod:
        return self.seen.pod

    @property
    def container(self) -> str:
        if self.server is not None:
            return self.server.container
        return self.seen.found.scoring.container if self.seen.found.scoring is not None else ""

    @property
    def status(self) -> ContainerStatus | None:
        return self.pod.status(self.container)


@dataclass(frozen=True, slots=True)
class Group:
    """Everything that one service is made of."""

    key: Key
    name: str  # NAMESPACE/NAME, as people call it
    workloads: tuple[SeenWorkload, ...]
    pods: tuple[SeenPod, ...]
    inference: InferenceService | None = None

    @property
    def kind(self) -> Kind | None:
        """Of its newest workload, or of a pod that stands alone; None for one that is not known here."""
        if self.workloads:
            return self.workloads[-1].workload.kind
        return next((kind for kind in (*WORKLOADS, PODS) if kind.name == self.key.kind), None)

    @property
    def found(self) -> Found:
        seen = self.workloads[-1].found if self.workloads else self.pods[0].found if self.pods else None
        return seen or Found("kserve")

    @property
    def selector(self) -> str:
        return self.workloads[-1].workload.selector if self.workloads else ""

    def seats(self) -> tuple[Seat, ...]:
        """In the order of the pods' age. Of a workload, not the pods that are over: new ones stand in their place."""
        replaced = self.kind not in (None, PODS, JOBS)
        return tuple(seat for seen in self.pods if not (replaced and seen.pod.over) for seat in _seats(seen))


def group(store: Store, key: Key, name: str) -> Group | None:
    """None where nothing of it is left."""
    pods, workloads = store.pods_of(key), store.workloads_of(key)
    inference = store.inference.get((key.namespace, key.name)) if key.kind == INFERENCE_SERVICES.name else None
    if not pods and not workloads and not (inference is not None and inference.triton):
        return None
    return Group(key, name, workloads, pods, inference)


def names(keys: Iterable[Key]) -> dict[Key, str]:
    """NAMESPACE/NAME of each; where two kinds have the same, the less usual one has its kind behind it."""
    found: dict[Key, str] = {}
    taken: set[str] = set()
    for key in sorted(keys, key=lambda each: (_ORDER.index(each.kind) if each.kind in _ORDER else len(_ORDER), each)):
        name = f"{key.namespace}/{key.name}"
        if name in taken:
            name = f"{name}.{key.kind.lower()}"
        taken.add(name)
        found[key] = name
    return found


def service(backend: str, group: Group, reaches: Mapping[str, Reach], denied: tuple[tuple[str, str], ...]) -> Service:
    """`reaches` are by the replica's name."""
    created = [each.workload.created_at for each in group.workloads] + [each.pod.created_at for each in group.pods]
    known = [at for at in created if at is not None]
    return Service(
        id=f"{backend}/{group.name}",
        backend=backend,
        kind=group.found.kind if group.workloads or group.found.kind != "pod" else group.key.kind.lower(),
        name=group.name,
        platform=platform(group),
        replicas=tuple(_replica(seat, reaches.get(seat.name, Reach())) for seat in group.seats()),
        created_at=group.inference.created_at if group.inference is not None else min(known, default=None),
        denied=denied,
    )


def platform(group: Group) -> Platform:
    """The state of what stands at the top, with the reason from what stands below."""
    alive = tuple(each.pod for each in group.pods if each.pod.deleted_at is None and not each.pod.over)
    below: Platform | None = None
    if len(group.workloads) == 1:
        leaving = sum(each.pod.deleted_at is not None for each in group.pods)
        below = workload_platform(group.workloads[0].workload, alive or tuple(each.pod for each in group.pods), leaving)
    elif group.workloads:  # the revisions of a KServe service: the newest, and those that still have pods
        busy = [each for each in group.workloads[:-1] if each.workload.wanted] + [group.workloads[-1]]
        states = [workload_platform(each.workload, _of(each, alive)) for each in busy]
        below = min(states, key=lambda each: each.level)
    elif group.pods:
        states = [pod_platform(each.pod) for each in group.pods]
        below = min(states, key=lambda each: each.level)
        if len(states) > 1:
            good = sum(each.level is Level.OK for each in states)
            below = Platform(
                f"{good}/{len(states)}", below.level, below.reason or below.state if good < len(states) else None
            )
    if group.inference is not None:
        return inference_service_platform(group.inference, below)
    return below or Platform("unknown", Level.UNKNOWN)


def _of(seen: SeenWorkload, pods: tuple[Pod, ...]) -> tuple[Pod, ...]:
    prefix = f"{seen.workload.name}-"
    return tuple(pod for pod in pods if pod.owner is not None and pod.owner.name.startswith(prefix))


def _seats(seen: SeenPod) -> list[Seat]:
    servers = seen.found.servers
    if not servers:
        return [Seat(seen.pod.name, seen, None)]
    if len(servers) == 1:
        return [Seat(seen.pod.name, seen, servers[0])]
    return [
        Seat(f"{seen.pod.name}:{server.options.http_port or place}", seen, server)
        for place, server in enumerate(servers)
    ]


def _replica(seat: Seat, reach: Reach) -> Replica:
    status = seat.status
    last = status.last if status is not None else None
    gpus = [
        value for each in seat.pod.containers if not each.init for name, value in each.requests.items() if is_gpu(name)
    ]
    return Replica(
        name=seat.name,
        platform=pod_platform(seat.pod),
        address=reach.address,
        no_address=reach.no_address,
        started_at=status.running_since if status is not None else None,
        restarts=status.restarts if status is not None else None,
        control_mode=seat.server.options.control_mode if seat.server is not None and seat.server.known else None,
        node=seat.pod.node or None,
        last_exit=exit_words(last) if last is not None else None,
        gpus=sum(gpus),
        start_models=_start_models(seat),
    )


def _start_models(seat: Seat) -> tuple[str, ...] | None:
    """What its command names with --load-model; only explicit mode looks at that."""
    server = seat.server
    explicit = server is not None and server.known and server.options.control_mode is ControlMode.EXPLICIT
    return server.options.load_models if server is not None and explicit else None


def why_no_server(seat: Seat) -> str | None:
    """Why nothing of it can answer now; None: it may."""
    pod, status = seat.pod, seat.status
    if pod.deleted_at is not None:  # to ask it would keep it from ending, see ways.let_go
        return "the pod is ending (Terminating)"
    if pod.over:
        return f"the pod is over ({pod_platform(pod).state})"
    if status is None or status.running_since is None:
        state = pod_platform(pod)
        return f"{state.state}: {state.reason}" if state.reason else f"the container does not run ({state.state})"
    if not pod.ip:
        return "the pod has no address yet"
    return None
