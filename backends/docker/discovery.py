"""Which containers are Triton, how many servers each runs with which options, and what people call them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from backends.docker.container import Container, listing, mapping, number, text
from tritonctl.server.options import ServerOptions, servers_of

OLD, NEW = ".tritonctl-old", ".tritonctl-new"  # the names of the two containers while a mode switch is under way
OTHER = "other"  # the kind of what runs no Triton
TRITON_PORTS = frozenset((8000, 8001, 8002))
_OWN_LABEL = "tritonctl.server"  # true or false: somebody says so
_NVIDIA_LABEL = "com.nvidia.tritonserver.version"  # put into the image by Triton's build.py
_AZUREML_LOCAL = "azureml-local-endpoint"
_AZUREML_V1 = "amlIsService"
_AZUREML_V1_NAME = "amlServiceName"
_SHELLS = frozenset(("sh", "bash", "dash", "ash", "zsh", "ksh", "busybox"))
_POD = "io.kubernetes.pod.uid"  # a kubelet's: it is the cluster's to show, and undoes whatever is done to it here


@dataclass(frozen=True, slots=True)
class Found:
    """A container that is listed. `servers` is empty where another protocol is spoken, which `kind` then names.

    `known`: the servers' options were read and not assumed. `scoring_port` is the container's port of an Azure ML
    scoring server.
    """

    container: Container
    kind: str
    servers: tuple[ServerOptions, ...]
    known: bool = True
    scoring_port: int | None = None
    instead: str = ""  # what runs in it where that is no tritonserver, and no script that may start one

    @property
    def service_name(self) -> str:
        """What people mean by it: the compose project and service, Azure ML's name, or the container's own."""
        compose, named = self.container.compose, self.container.labels.get(_AZUREML_V1_NAME, "")
        if compose is not None:
            return "/".join(compose)
        if self.kind == "azureml-v1" and named.isprintable() and named.strip("/ "):
            return f"azureml/{named}"  # no container's name has a stroke in it
        return base_name(self.container.name)

    @property
    def from_script(self) -> bool:
        """Nothing shows tritonserver's flags yet: a script may start it later."""
        return bool(self.servers) and not self.known


def base_name(name: str) -> str:
    """The container's name without what a mode switch puts behind it."""
    return name.removesuffix(OLD).removesuffix(NEW)


def worth_a_look(entry: Mapping[str, Any]) -> bool:
    """Whether an entry of GET /containers/json may be Triton; only the detailed answer tells for sure.

    A container that does not run has no ports in this list, so it is always looked at.
    """
    labels = mapping(entry, "Labels")
    if text(entry, "State") not in ("running", "paused") or any(
        name in labels for name in (_OWN_LABEL, _NVIDIA_LABEL, _AZUREML_LOCAL, _AZUREML_V1)
    ):
        return True
    ports = {number(each, "PrivatePort") for each in listing(entry, "Ports") if isinstance(each, dict)}
    return "tritonserver" in text(entry, "Command") or _is_triton_image(text(entry, "Image")) or ports >= TRITON_PORTS


def classify(
    container: Container, processes: Sequence[Sequence[str]] | None = None, *, everything: bool = False
) -> Found | None:
    """What the container is, None where it is nothing of ours; with `everything` that is listed too.

    `processes` are the command lines of what runs in it, None where nobody asked: `needs_processes` says when to ask.
    """
    labels = container.labels
    said = labels.get(_OWN_LABEL, "").lower()
    if said == "false" or (_POD in labels and not said):
        return None
    kind, scoring = "container", None
    if container.compose is not None:
        kind = "compose"
    if _AZUREML_LOCAL in labels:
        kind, scoring = "azureml-local", _port(labels.get("azureml-port"), 5001)
    elif _AZUREML_V1 in labels:
        kind, scoring = "azureml-v1", _port(labels.get("azureml-port"), _only(container.ports, 5001))
    servers = servers_of(container.argv, container.environ)
    if servers:
        return Found(container, kind, servers)
    running = tuple(each for line in processes or () for each in servers_of(line))
    if running:
        return Found(container, kind, running)
    if scoring is not None:
        return Found(container, kind, (), scoring_port=scoring)
    by_name = _is_triton_image(container.image) or _NVIDIA_LABEL in labels or _OWN_LABEL in labels
    by_ports = container.ports >= TRITON_PORTS and processes is None
    if by_name or by_ports:
        return Found(container, kind, (ServerOptions(),), known=False, instead=_instead(processes or ()))
    return Found(container, OTHER, ()) if everything else None


def needs_processes(found: Found | None) -> bool:
    """Its command line shows no tritonserver, and it runs: what runs in it does."""
    return found is not None and found.from_script and found.container.state.status == "running"


def with_container(found: Found, container: Container) -> Found:
    """The same judgement of the same container in another state: its command line cannot change."""
    return replace(found, container=container)


def _is_triton_image(image: str) -> bool:
    name, _, tag = image.partition("@")[0].rpartition("/")[2].partition(":")
    return "tritonserver" in name and not tag.endswith("-sdk")  # the SDK images hold clients only


def _instead(processes: Sequence[Sequence[str]]) -> str:
    """A shell that is given nothing to run waits for somebody's typing; one with a script may start a server later."""
    for line in processes:
        name = line[0].rpartition("/")[2].lstrip("-") if line else ""
        if name.startswith(("python", "perl")) or (
            name in _SHELLS and any(not each.startswith("-") for each in line[1:])
        ):
            return ""
    return " ".join(processes[0])[:80] if processes else ""


def _port(value: str | None, default: int) -> int:
    return int(value) if value and value.isdigit() else default


def _only(ports: frozenset[int], default: int) -> int:
    return next(iter(ports)) if len(ports) == 1 else default
