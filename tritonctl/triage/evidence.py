"""What is known of a service at one moment, from all its layers, as plain values; what is missing is named."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from tritonctl.inventory import ControlMode, Model, Replica, ServiceStatus
from tritonctl.server.rates import Rates
from tritonctl.triage.logreading import LogReading, cleaned

CLUSTERS = ("kubernetes", "aks")  # whose services are called NAMESPACE/WORKLOAD


class Source(StrEnum):
    """Where a text comes from; signatures name these in `where`."""

    LOG = "log"
    PREVIOUS_LOG = "previous log"
    INDEX = "index"
    PLATFORM = "platform"  # states, conditions, exit codes, error trees: what the place says how it is
    EVENT = "event"
    ANSWER = "answer"  # what a request was answered
    METRICS = "metrics"
    STATISTICS = "statistics"
    HEALTH = "health"
    CONFIG = "config"
    OPTIONS = "options"
    TRITONCTL = "tritonctl"  # what was done through it


@dataclass(frozen=True, slots=True)
class Piece:
    """A text from one source. `time` is as its writer wrote it, `at` in seconds since the epoch where that is known.
    The `kind` of an event stands before its text too, for the catalogue."""

    source: Source
    text: str
    replica: str = ""
    model: str = ""
    time: str = ""
    at: float | None = None
    warning: bool = True
    count: int = 1
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Missing:
    """What could not be had, and why: it did not come in time, or nobody there can tell."""

    what: str
    why: str


@dataclass(frozen=True, slots=True)
class Moved:
    """What one model version counted within the window, and since it was loaded."""

    success: int
    fail: int
    executions: int
    queue_ns: int
    total_success: int
    total_fail: int


@dataclass(frozen=True, slots=True)
class ReplicaEvidence:
    """One server. None is unknown."""

    replica: Replica
    live: bool | None = None
    ready: bool | None = None
    version: str | None = None
    control_mode: ControlMode | None = None
    error: str | None = None
    error_kind: str | None = None
    advice: str = ""
    seen_before: bool = False  # it has answered earlier
    models: tuple[Model, ...] = ()
    models_known: bool = False
    moved: Mapping[tuple[str, str], Moved] = field(default_factory=dict)
    window_s: float = 0.0
    rates: Rates | None = None
    metrics_error: str | None = None
    configs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    log: LogReading | None = None
    previous_log: LogReading | None = None

    @property
    def name(self) -> str:
        return self.replica.name

    @property
    def answered(self) -> bool:
        return self.live is not None


@dataclass(frozen=True, slots=True)
class Evidence:
    """All of it. `pieces` are the place's own words: events, states, conditions, operation texts.

    `place` is the kind of the backend: what stages there are depends on it. `programs` is how commands begin there,
    `names` what they call the parts of its place.
    """

    status: ServiceStatus
    replicas: tuple[ReplicaEvidence, ...]
    pieces: tuple[Piece, ...] = ()
    missing: tuple[Missing, ...] = ()
    at: float = 0.0  # seconds since the epoch
    seconds: float = 0.0  # that the gathering took so far
    complete: bool = False
    place: str = ""
    programs: Mapping[str, str] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)

    @property
    def service(self) -> str:
        return self.status.id

    @property
    def words(self) -> dict[str, str]:
        """What the steps of a finding may name beside what its text tells."""
        service = self.status.service
        namespace, _, workload = service.name.partition("/")
        found = {**self.names, "service": service.id}
        if self.place in CLUSTERS:
            found |= {"namespace": namespace, "workload": workload, "kind": service.kind}
        if self.place == "docker":
            found["container"] = service.replicas[0].name.partition(":")[0] if service.replicas else service.name
        return found

    def node(self, replica: str) -> str:
        """The machine that it runs on, "" where that is not known."""
        return next((each.replica.node or "" for each in self.replicas if each.name == replica), "")

    @property
    def several(self) -> bool:
        return len(self.replicas) > 1

    def texts(self) -> Iterator[Piece]:
        """Everything that signatures look through: logs, reasons of the index, what the place says."""
        yield from self.pieces
        for each in self.replicas:
            for model in each.models:
                if model.failed and model.reason:
                    yield Piece(Source.INDEX, cleaned(model.reason), each.name, model.name)
            for source, log in ((Source.LOG, each.log), (Source.PREVIOUS_LOG, each.previous_log)):
                for entry in log.entries if log is not None else ():
                    yield Piece(source, entry.text, each.name, entry.model, entry.time, count=entry.count)
