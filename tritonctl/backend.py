"""What every place where Triton runs must be able to tell and do, whatever the place."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from tritonctl.errors import OperationFailed
from tritonctl.inventory import Level, Service
from tritonctl.plan import Plan
from tritonctl.server.address import Secret


class Capability(StrEnum):
    """What can be asked of a backend; a key whose capability is missing is shown with the reason, not hidden."""

    LOGS = "logs"
    PREVIOUS_LOGS = "previous logs"
    EVENTS = "events"
    MODE = "mode"
    START = "start"
    STOP = "stop"
    RESTART = "restart"
    SCALE = "scale"
    DELETE = "delete"
    TRAFFIC = "traffic"
    SETTINGS = "settings"
    KEYS = "keys"
    DEPLOY = "deploy"


@dataclass(frozen=True, slots=True)
class Listed:
    """Everything that exists there now; what was known and is not in it is gone. Not `whole`: what is known so far of a
    list that takes long, to be shown meanwhile; nothing is gone yet, and who needs all of it waits on."""

    services: tuple[Service, ...]
    whole: bool = True


@dataclass(frozen=True, slots=True)
class Changed:
    """A service that is new or different."""

    service: Service


@dataclass(frozen=True, slots=True)
class Removed:
    service_id: str


@dataclass(frozen=True, slots=True)
class Told:
    """What the header is to say of the place while it is connected: a token's expiry, a listing that is partial."""

    text: str
    advice: str = ""
    warning: bool = False


Update = Listed | Changed | Removed | Told


@dataclass(frozen=True, slots=True)
class LogLine:
    """`text` is as the process wrote it, without the newline; `dropped` lines were lost before it."""

    replica: str
    text: str
    at: float | None = None  # seconds since the epoch
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class LogSource:
    """One log of several: `logs` reads it where it is given the name as its `replica`. `state` says what writes it."""

    name: str
    state: str
    level: Level


@dataclass(frozen=True, slots=True)
class Event:
    """Something the platform did or saw. `about` is the name of the replica that it was about, "" the whole service."""

    at: float  # seconds since the epoch
    kind: str
    text: str
    warning: bool = False
    about: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a description: a heading with names and values, in the place's own terms."""

    heading: str
    rows: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Figure:
    """One of the figures that a place measured by itself: a value for each step, oldest first, None where it has none.
    `top` is that of its axis, None: it follows the values."""

    title: str
    unit: str
    values: tuple[float | None, ...]
    top: float | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """What a place measured of a service where the server's own metrics are not reached.

    `by` is who measured, "" nobody. `step` says in words what each value is of, `step_s` in seconds; `until` when the
    newest ended, in seconds since the epoch, None: there is none; `unknown` what nobody can tell, and why.
    """

    by: str
    step: str
    step_s: float
    figures: tuple[Figure, ...]
    until: float | None
    unknown: str


MIRROR = "mirror."
"""Before NAME=PERCENT among the options of a change of traffic: copies of the requests, and not requests."""


@dataclass(frozen=True, slots=True)
class Intent:
    """A change somebody wants of a service that is the place's to make: `value` is the mode, the number, …

    `loaded` are the models that are loaded now, for a change that must keep them; `options` are the ids of the plan's
    choices that are chosen, `("all",)` being every one. `ready_s` is how long a server may take to get ready, or a step
    that ends when it is, None being the place's own.
    """

    action: Capability
    service: Service
    value: str = ""
    loaded: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    ready_s: float | None = None


@dataclass(frozen=True, slots=True)
class Registration:
    """A model repository of this machine that is to become a model of the place: no `version` is the next one.

    `within` is the part of the place, where it has several: a workspace. `deadline_s` is how long a step may take, None
    being the place's own.
    """

    folder: Path
    name: str = ""
    version: str = ""
    within: str = ""
    deadline_s: float | None = None


@dataclass(frozen=True, slots=True)
class Serving:
    """A registered model (NAME:VERSION) that is to be served as the service `name`, in the place's own terms.

    None leaves a setting as it is, or to the place where the service is new. With `code`, a folder, its `script`
    answers instead of Triton, in the registered `environment` (NAME:VERSION). `ready_s` is how long a step may take,
    None being the place's own.
    """

    model: str
    name: str
    instance_type: str | None = None
    count: int | None = None
    concurrent: int | None = None
    auth: str | None = None
    compute: str | None = None
    code: Path | None = None
    script: str | None = None
    environment: str | None = None
    traffic: bool = False
    ready_s: float | None = None


class Backend(ABC):
    """One place. `watch` may raise any TritonctlError: the fleet keeps what it knew, says why, and watches again."""

    kind: str
    capabilities: frozenset[Capability] = frozenset()
    place_every_s = 5.0

    def __init__(self, name: str, *, read_only: bool = False, optional: bool = False) -> None:
        self.name = name
        self.read_only = read_only
        self.optional = optional  # nobody asked for it by name: its absence is no fault

    @abstractmethod
    def watch(self) -> AsyncIterator[Update]:
        """First what exists, as one Listed, then what changes, for as long as somebody listens."""

    async def sign_in(self) -> AsyncIterator[Told]:
        """Ends when the place can be asked; tells before what a person must do for it, where something."""
        nothing: tuple[Told, ...] = ()
        for told in nothing:
            yield told

    def waits_for(self) -> Told | None:
        """What keeps it from telling what is there, while it has not yet; None: nothing that is known."""
        return None

    def look_at(self, service_ids: frozenset[str] | None) -> None:
        """What is on screen now, None being everything: only that needs to be measured."""
        return None

    def turned_away(self, service_id: str) -> None:
        """Its server refused what the address has to show: where that may be another key by now, it is asked for."""
        return None

    def list_all(self, everything: bool) -> bool:
        """List also what is not Triton, or no longer; whether this place can."""
        return False

    def logs(
        self,
        service: Service,
        *,
        replica: str | None = None,
        tail: int = 1000,
        follow: bool = False,
        previous: bool = False,
    ) -> AsyncIterator[Sequence[LogLine]]:
        """The last `tail` lines, in batches, then, with `follow`, what is added."""
        raise self._cannot(Capability.LOGS, service)

    def log_sources(self, service: Service) -> tuple[LogSource, ...]:
        """What of its logs can be read alone, as it is known now."""
        return tuple(LogSource(each.name, each.platform.state, each.platform.level) for each in service.replicas)

    async def events(self, service: Service) -> tuple[Event, ...]:
        raise self._cannot(Capability.EVENTS, service)

    async def describe(self, service: Service) -> tuple[Section, ...]:
        return ()

    async def describe_place(self) -> tuple[Section, ...]:
        """The place itself, and what is there beside services: registered models, environments, computes, nodes. Asked
        again every `place_every_s` seconds while somebody looks."""
        return ()

    async def measured(self, service: Service) -> Measured | None:
        """Figures of the place's own, for its charts; None: it has none, or the server's own are reached."""
        return None

    async def keys(self, service: Service) -> Mapping[str, Secret]:
        """What callers of the service authenticate with, by name; asked for anew each time, and never kept."""
        raise self._cannot(Capability.KEYS, service)

    async def evidence(self, service: Service) -> tuple[Section, ...]:
        """For triage, beyond state, events and logs: conditions, exit codes, error trees, operation texts.

        A section's heading is the replica's name, or "" for the whole service; its rows are name and text, as
        "last state" and "Terminated OOMKilled exit code 137". The catalogue's entries with `where = ["platform"]` are
        matched against them (docs/catalogue.md).
        """
        return ()

    def programs(self, service: Service) -> Mapping[str, str]:
        """How commands for this service begin beside what a catalogue says, by program: kubectl with its context."""
        return {}

    def names(self, service: Service) -> Mapping[str, str]:
        """What its commands call where this service is (workspace, group, region …), for the steps of a catalogue."""
        return {}

    def log_file(self, service: Service, replica: str) -> Path | None:
        """The log as a file on this machine, where it is one: it can then be searched from its end."""
        return None

    async def plan(self, intent: Intent) -> Plan:
        """The plan for a change; nothing is done by making it. Raises OperationFailed where the place cannot do it."""
        raise self._cannot(intent.action, intent.service)

    async def plan_register(self, wanted: Registration) -> Plan:
        """Raises UsageError where what is in the folder could not be served."""
        raise OperationFailed(f"register in {self.name}", self.reason_against(Capability.DEPLOY))

    async def plan_deploy(self, wanted: Serving) -> Plan:
        raise OperationFailed(f"deploy to {self.name}", self.reason_against(Capability.DEPLOY))

    async def aclose(self) -> None:
        """Let go of everything that was opened."""
        return None

    def why_not(self, capability: Capability, service: Service) -> str | None:
        """Why it cannot be done to this service: the place cannot, or the user may not. None: it can be tried."""
        if capability not in self.capabilities:
            return self.reason_against(capability)
        return dict(service.denied).get(capability)

    def reason_against(self, capability: Capability) -> str:
        """Why this place cannot do it, and what would."""
        return f"a backend of kind {self.kind} has no {capability}"

    def instead_of(self, capability: Capability, service: Service) -> str:
        """What to type in its place; "" where nothing does."""
        return ""

    def _cannot(self, capability: Capability, service: Service) -> OperationFailed:
        advice = self.instead_of(capability, service)
        return OperationFailed(f"{capability} of {service.id}", self.reason_against(capability), advice)
