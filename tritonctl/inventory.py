"""What exists and how it is: services, replicas, models and the three layers of status; frozen, plain values."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum

from tritonctl.server.address import ServerAddress
from tritonctl.server.rates import Rates


class Level(IntEnum):
    """How bad it is, worst first; a row's colour and its place in the default order."""

    FAILED = 0
    DEGRADED = 1
    CHANGING = 2
    UNKNOWN = 3
    OK = 4
    OFF = 5


class ControlMode(StrEnum):
    """How the server decides what is loaded; no API tells it (Triton issue 6897)."""

    NONE = "none"
    POLL = "poll"
    EXPLICIT = "explicit"
    NONE_OR_POLL = "none or poll"


class ModelState(StrEnum):
    READY = "READY"
    LOADING = "LOADING"
    UNLOADING = "UNLOADING"
    UNAVAILABLE = "UNAVAILABLE"
    NOT_LOADED = "not loaded"


@dataclass(frozen=True, slots=True)
class Platform:
    """The first layer: what the place says of a service or a replica, `state` in the place's own words. `final`: it
    runs no more, and nothing there starts it again by itself. Of an operation that is under way `since` is when it
    began (seconds since the epoch), and `doing` its word where that is not the state itself."""

    state: str
    level: Level
    reason: str | None = None
    final: bool = False
    since: float | None = None
    doing: str = ""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a replica takes of its machine, as its place measures it. None is unknown, or no limit."""

    cpu_cores: float | None = None
    memory_bytes: int | None = None
    memory_limit_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Replica:
    """One running tritonserver process. `no_address` says why its server cannot be reached and what would help.

    `last_exit` is how its run before ended, in the place's words; `gpus` how many it asked for, all of the machine
    being -1. None is unknown. `address_pending`: the way to its server is still being asked for. `instances` is how
    many processes answer at its address, where something before them chooses one for each request and tells nobody
    which.
    """

    name: str
    platform: Platform
    address: ServerAddress | None = None
    no_address: str | None = None
    started_at: float | None = None  # seconds since the epoch
    restarts: int | None = None
    control_mode: ControlMode | None = None  # as its command line tells
    node: str | None = None
    last_exit: str | None = None
    gpus: float | None = None
    start_models: tuple[str, ...] | None = None
    usage: Usage | None = None
    address_pending: bool = False
    instances: int = 1


@dataclass(frozen=True, slots=True)
class Service:
    """What somebody deployed and means by a name; `id` is BACKEND/NAME.

    `denied` names what the user may not do there (a capability) with the right that lacks. `part_of` is the address of
    the one thing that it is one of several of, as an endpoint's deployments are, and `share` what it takes of that
    one's requests, as "90%"; "" where it is no part.
    """

    id: str
    backend: str
    kind: str
    name: str
    platform: Platform
    replicas: tuple[Replica, ...] = ()
    created_at: float | None = None  # seconds since the epoch
    denied: tuple[tuple[str, str], ...] = ()
    part_of: str = ""
    share: str = ""


@dataclass(frozen=True, slots=True)
class Model:
    """One version of one model on one replica. `version` is None while the server names none."""

    name: str
    version: str | None
    state: ModelState
    reason: str | None = None
    platform_or_backend: str | None = None
    overridden: bool | None = None  # None: nothing tells
    success: int | None = None  # requests since the model was loaded
    failure: int | None = None
    avg_request_us: float | None = None
    avg_queue_us: float | None = None
    last_inference_s: float | None = None  # seconds since the epoch
    stats_incomplete: bool = False

    @property
    def failed(self) -> bool:
        """It should serve and cannot. Unloaded on purpose is not a failure."""
        if self.state is ModelState.UNAVAILABLE:
            return self.reason != "unloaded"
        return self.state is ModelState.NOT_LOADED and self.reason is not None

    @property
    def in_words(self) -> str:
        """The state as a person says it: what was unloaded is not loaded, what the server could not read is refused."""
        if self.failed:
            return "refused" if self.state is ModelState.NOT_LOADED else "unavailable"
        return "not loaded" if self.state is ModelState.UNAVAILABLE else str(self.state).lower()

    @property
    def level(self) -> Level:
        if self.failed:
            return Level.FAILED
        match self.state:
            case ModelState.READY:
                return Level.OK
            case ModelState.LOADING | ModelState.UNLOADING:
                return Level.CHANGING
            case _:
                return Level.OFF


@dataclass(frozen=True, slots=True)
class ReplicaStatus:
    """The second and third layer of one replica, as its own server tells them; None is unknown.

    `error` is what the last look failed with; then the rest is what was seen at `seen_at` (seconds since the epoch).
    """

    replica: Replica
    live: bool | None = None
    ready: bool | None = None
    version: str | None = None
    extensions: tuple[str, ...] = ()
    control_mode: ControlMode | None = None
    models: tuple[Model, ...] = ()
    models_known: bool = False  # the index was read
    rates: Rates | None = None
    metrics_error: str | None = None
    error: str | None = None
    advice: str | None = None
    error_kind: str | None = None
    seen_at: float | None = None
    looked: bool = False  # a first look has ended, well or not


@dataclass(frozen=True, slots=True)
class ModelOn:
    """What one replica says of a model version."""

    replica: str
    model: Model


@dataclass(frozen=True, slots=True)
class JoinedModel:
    """A model version of a service, over all its replicas."""

    name: str
    version: str | None
    on: tuple[ModelOn, ...]
    replicas: int  # how many replicas were asked

    @property
    def worst(self) -> Model:
        return min((each.model for each in self.on), key=lambda model: model.level)

    @property
    def ready_on(self) -> int:
        return sum(each.model.state is ModelState.READY for each in self.on)

    @property
    def level(self) -> Level:
        worst = self.worst.level
        if 0 < self.ready_on < self.replicas:  # a replica serves another set of models than its siblings
            return Level.DEGRADED
        return worst


@dataclass(frozen=True, slots=True)
class ModelCounts:
    """By name: a model with two versions counts once, as the worst of them."""

    ready: int = 0
    failed: int = 0
    loading: int = 0
    total: int = 0


@dataclass(frozen=True, slots=True)
class Point:
    """The figures of a service at one look, for its charts. None is unknown, not zero; ratios are 0..1."""

    at: float  # seconds since the epoch
    requests_per_s: float | None
    failures_per_s: float | None
    avg_request_us: float | None
    avg_queue_us: float | None
    avg_compute_input_us: float | None
    avg_compute_infer_us: float | None
    avg_compute_output_us: float | None
    queue_share: float | None
    avg_batch: float | None
    cache_hit_rate: float | None
    pending: float | None
    cpu_utilization: float | None
    gpu_utilization: float | None  # of the busiest
    gpu_memory_used_bytes: float | None  # of all
    gpu_memory_total_bytes: float | None
    gpu_power_watts: float | None  # of all

    @classmethod
    def unknown(cls, at: float) -> Point:
        """A look that brought no figures: a gap in the charts."""
        return cls(at, *[None] * (len(cls.__slots__) - 1))

    @classmethod
    def of(cls, rates: Rates, at: float) -> Point:
        total, gpus = rates.total, rates.gpus
        return cls(
            at,
            total.requests_per_s,
            total.failures_per_s,
            total.avg_request_us,
            total.avg_queue_us,
            total.avg_compute_input_us,
            total.avg_compute_infer_us,
            total.avg_compute_output_us,
            total.queue_share,
            total.avg_batch,
            total.cache_hit_rate,
            rates.pending,
            rates.cpu.utilization if rates.cpu else None,
            max((gpu.utilization for gpu in gpus if gpu.utilization is not None), default=None),
            _sum(gpu.memory_used_bytes for gpu in gpus),
            _sum(gpu.memory_total_bytes for gpu in gpus),
            _sum(gpu.power_watts for gpu in gpus),
        )


def _sum(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


@dataclass(frozen=True, eq=False)
class ServiceStatus:
    """A service with its three layers, and what they come to together."""

    service: Service
    replicas: tuple[ReplicaStatus, ...]
    models: tuple[JoinedModel, ...]
    counts: ModelCounts
    live: bool | None
    ready: bool | None
    version: str | None
    control_modes: tuple[ControlMode, ...]  # of its servers; several where they differ
    replicas_ready: int  # with every instance behind an address that answers: which one did is not told
    level: Level
    disagree: bool
    note: str
    rates: Rates | None
    error: str | None
    seen_at: float | None  # seconds since the epoch when every replica's server had been seen; None: never
    stale: bool  # some of what is shown is older than the last look

    @property
    def id(self) -> str:
        return self.service.id

    @property
    def replicas_total(self) -> int:
        """With every instance of those that stand for several."""
        return sum(each.replica.instances for each in self.replicas)

    @property
    def control_mode(self) -> ControlMode | None:
        """That of all its servers; None where they differ, or none of them is known."""
        return self.control_modes[0] if len(self.control_modes) == 1 else None

    @property
    def mode_words(self) -> str:
        """ "explicit", or "explicit, none" of servers that differ; "" where none is known."""
        return ", ".join(self.control_modes)

    def address_for(self, model: str) -> ServerAddress | None:
        """Of a replica whose server answers, before all of one where the model is ready; None: there is none."""
        answering = [each for each in self.replicas if each.replica.address is not None and each.error is None]
        serving = [
            each
            for each in answering
            if any(one.name == model and one.state is ModelState.READY for one in each.models)
        ]
        return next((each.replica.address for each in [*serving, *answering]), None)


class BackendState(StrEnum):
    CONNECTING = "connecting"
    CONNECTED = "connected"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class BackendStatus:
    name: str
    kind: str
    state: BackendState
    detail: str = ""
    advice: str = ""
    warning: bool = False  # it is connected, and `detail` wants attention
    read_only: bool = False
    forbidden: bool = False  # it is lost since the login is, or lacks the rights
    optional: bool = False  # tried because it is often there; its absence is no fault
    lost_at: float | None = None  # seconds since the epoch; what it told before is as old as that


@dataclass(frozen=True, slots=True)
class HostGpu:
    """A GPU of the machine that tritonctl runs on, as its driver tells; None is unknown."""

    index: int
    name: str
    uuid: str
    utilization: float | None  # 0..1
    memory_used_bytes: int | None
    memory_total_bytes: int | None
    power_watts: float | None
    temperature_c: float | None


@dataclass(frozen=True, eq=False)
class Snapshot:
    """Everything that is known at one moment. Never changes; compared by identity."""

    at: float  # seconds since the epoch
    services: tuple[ServiceStatus, ...] = ()
    backends: tuple[BackendStatus, ...] = ()
    host_gpus: tuple[HostGpu, ...] = ()
    by_id: dict[str, ServiceStatus] = field(default_factory=dict)
