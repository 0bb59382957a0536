"""What exists and how it is: services, replicas, models and the three layers of status; frozen, plain values."""

from __future__ import annotations

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
    """The first layer: what the place says of a service or a replica, `state` in the place's own words."""

    state: str
    level: Level
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Replica:
    """One running tritonserver process. `no_address` says why its server cannot be reached and what would change that."""

    name: str
    platform: Platform
    address: ServerAddress | None = None
    no_address: str | None = None
    started_at: float | None = None  # seconds since the epoch
    restarts: int | None = None
    control_mode: ControlMode | None = None  # as its command line tells


@dataclass(frozen=True, slots=True)
class Service:
    """What somebody deployed and means by a name; `id` is BACKEND/NAME."""

    id: str
    backend: str
    kind: str
    name: str
    platform: Platform
    replicas: tuple[Replica, ...] = ()
    created_at: float | None = None  # seconds since the epoch


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
    control_mode: ControlMode | None
    replicas_ready: int
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
    read_only: bool = False
    exit_code: int = 0


@dataclass(frozen=True, eq=False)
class Snapshot:
    """Everything that is known at one moment. Never changes; compared by identity."""

    at: float  # seconds since the epoch
    services: tuple[ServiceStatus, ...] = ()
    backends: tuple[BackendStatus, ...] = ()
    by_id: dict[str, ServiceStatus] = field(default_factory=dict)
