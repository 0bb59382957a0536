"""One container as the engine describes it (`docker inspect`), its facts typed and named."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

_NEVER = "0001-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class Published:
    """A port of the container that the engine's machine listens for."""

    port: int
    host_ip: str
    host_port: int


@dataclass(frozen=True, slots=True)
class State:
    """Times are seconds since the epoch; None is never."""

    status: str  # created, running, paused, restarting, removing, exited, dead
    exit_code: int
    oom_killed: bool
    error: str
    started_at: float | None
    finished_at: float | None
    health: str  # "", starting, healthy, unhealthy
    health_output: str

    @property
    def running(self) -> bool:
        """A process of it is there; it may be paused."""
        return self.status in ("running", "paused")


@dataclass(frozen=True, slots=True)
class Container:
    id: str
    name: str
    image: str  # as it was asked for
    image_id: str
    argv: tuple[str, ...]  # entry point and command
    environ: Mapping[str, str] = field(repr=False)
    labels: Mapping[str, str]
    state: State
    restarts: int
    created_at: float | None
    tty: bool
    auto_remove: bool
    network_mode: str
    restart_policy: str
    published: tuple[Published, ...]
    ports: frozenset[int]  # exposed, or asked to be published; also of a container that does not run
    addresses: tuple[str, ...]  # its own, one for each network
    document: Mapping[str, Any] = field(compare=False, repr=False)

    @property
    def compose(self) -> tuple[str, str] | None:
        """Project and service."""
        project = self.labels.get("com.docker.compose.project")
        service = self.labels.get("com.docker.compose.service")
        one_off = self.labels.get("com.docker.compose.oneoff", "").lower() == "true"
        return (project, service) if project and service and not one_off else None


def read_container(document: Mapping[str, Any]) -> Container:
    """From the answer of GET /containers/ID/json. What is missing or of a strange type is as if it were empty."""
    config, host = mapping(document, "Config"), mapping(document, "HostConfig")
    network = mapping(document, "NetworkSettings")
    state = mapping(document, "State")
    health = mapping(state, "Health")
    last = [each for each in listing(health, "Log") if isinstance(each, dict)][-1:]
    return Container(
        id=text(document, "Id"),
        name=text(document, "Name").lstrip("/"),
        image=text(config, "Image"),
        image_id=text(document, "Image"),
        argv=(*_words(document.get("Path")), *_words(document.get("Args"))),
        environ=dict(each.partition("=")[::2] for each in _words(config.get("Env"))),
        labels={str(name): str(value) for name, value in mapping(config, "Labels").items()},
        state=State(
            status=text(state, "Status") or "unknown",
            exit_code=number(state, "ExitCode"),
            oom_killed=state.get("OOMKilled") is True,
            error=text(state, "Error"),
            started_at=seconds(text(state, "StartedAt")),
            finished_at=seconds(text(state, "FinishedAt")),
            health=text(health, "Status").replace("none", ""),
            health_output=text(last[0], "Output").strip() if last else "",
        ),
        restarts=number(document, "RestartCount"),
        created_at=seconds(text(document, "Created")),
        tty=config.get("Tty") is True,
        auto_remove=host.get("AutoRemove") is True,
        network_mode=text(host, "NetworkMode"),
        restart_policy=text(mapping(host, "RestartPolicy"), "Name"),
        published=_published(mapping(network, "Ports")),
        ports=frozenset(_tcp_ports([*mapping(config, "ExposedPorts"), *mapping(host, "PortBindings")])),
        addresses=tuple(
            address
            for each in mapping(network, "Networks").values()
            if isinstance(each, dict) and (address := text(each, "IPAddress") or text(each, "GlobalIPv6Address"))
        ),
        document=document,
    )


def read_entry(entry: Mapping[str, Any]) -> Container:
    """From an entry of GET /containers/json, which tells less: no ports, no addresses, no exit code, no times."""
    names = _words(entry.get("Names"))
    try:
        argv = shlex.split(text(entry, "Command"))
    except ValueError:
        argv = text(entry, "Command").split()
    return read_container(
        {
            "Id": text(entry, "Id"),
            # Those with a second stroke are other containers' names for it, by links.
            "Name": next((each for each in names if each.count("/") == 1), text(entry, "Id")[:12]),
            "Image": text(entry, "ImageID"),
            "Args": argv,
            "Config": {"Image": text(entry, "Image"), "Labels": mapping(entry, "Labels")},
            "State": {"Status": text(entry, "State")},
        }
    )


def seconds(timestamp: str) -> float | None:
    """RFC 3339 with nanoseconds, as Go writes it, in seconds since the epoch."""
    if not timestamp or timestamp == _NEVER:
        return None
    try:
        return datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", timestamp)).timestamp()
    except ValueError:
        return None


def mapping(document: Mapping[str, Any], key: str) -> dict[str, Any]:
    found = document.get(key)
    return found if isinstance(found, dict) else {}


def listing(document: Mapping[str, Any], key: str) -> list[Any]:
    found = document.get(key)
    return found if isinstance(found, list) else []


def text(document: Mapping[str, Any], key: str) -> str:
    found = document.get(key)
    return found if isinstance(found, str) else ""


def number(document: Mapping[str, Any], key: str) -> int:
    found = document.get(key)
    return found if isinstance(found, int) else 0


def _words(value: object) -> list[str]:
    if isinstance(value, str):
        return [value] if value else []
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def _published(ports: Mapping[str, Any]) -> tuple[Published, ...]:
    found = []
    for name, bindings in ports.items():
        for port in _tcp_ports([name]):
            for binding in bindings if isinstance(bindings, list) else ():
                host_port = text(binding, "HostPort") if isinstance(binding, dict) else ""
                if host_port.isdigit():
                    found.append(Published(port, text(binding, "HostIp"), int(host_port)))
    return tuple(found)


def _tcp_ports(names: list[str]) -> list[int]:
    """Of names such as 8000/tcp."""
    parts = [name.partition("/") for name in names]
    return [int(port) for port, _, protocol in parts if port.isdigit() and protocol in ("tcp", "")]
