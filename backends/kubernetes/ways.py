"""The two ways to a pod's server: the API server's proxy, and port-forwards; each with the kubeconfig's credentials."""

from __future__ import annotations

import asyncio
import shlex
import time
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from backends.kubernetes.changes.kubectl import Kubectl
from backends.kubernetes.client import refusal
from backends.kubernetes.client.api import Api
from backends.kubernetes.client.forward import FindPod, PortStream, listening, open_port
from backends.kubernetes.client.through_port import PortConnections
from tritonctl.errors import Forbidden, NotFound, TritonctlError, Unreachable
from tritonctl.http1 import Reply
from tritonctl.server.address import Carrier, ServerAddress
from tritonctl.server.http import CONNECTIONS
from tritonctl.wire import Wire

_LET_GO_S = 1.0  # on its way through a busy API server, and a little until it is given up
_LET_GO_AT_S = (0.2, 2.0, 6.0, 11.0, 16.0, 21.0, 26.0)  # again: a look that is under way takes up to 5 s
_KEPT = 2  # connections that Go's HTTP transport keeps to one host
_STARTING = "Triton opens its ports only when all start-up models are loaded: loading, stopped, or another port"


@dataclass(frozen=True, slots=True)
class PodPorts:
    """A pod and the ports of one server in it; None: it is off, or listens where the pod's address does not lead."""

    namespace: str
    pod: str
    http: int
    grpc: int | None = None
    metrics: int | None = None
    grpc_tls: bool = False


@dataclass(frozen=True, slots=True)
class _PodWay:
    """What both have in common. `why_no_forward` names the right that lacks for it, "" where none does."""

    api: Api = field(compare=False)
    ports: PodPorts
    find_pod: FindPod = field(compare=False)
    why_no_forward: str = ""

    def grpc(self) -> AbstractAsyncContextManager[str]:
        """A port of loopback for as long as it is open."""
        assert self.ports.grpc is not None
        if self.why_no_forward:
            raise Forbidden("forward the gRPC port", self.why_no_forward)
        return listening(self.api, self.ports.namespace, self.find_pod, self.ports.grpc)


@dataclass(frozen=True, slots=True)
class ProxyWay(_PodWay):
    """GET /api/v1/namespaces/N/pods/P:PORT/proxy/…: nothing is opened here, and nothing in the pod."""

    def carrier(self) -> Carrier:
        return _ProxyCarrier(self.api)

    def refusal(self, tried: str, status: int, body: bytes) -> TritonctlError | None:
        said = refusal.status_of(body)
        if said is None:
            return None
        method, _, url = tried.partition(" ")
        words = str(said.get("message") or f"HTTP {status}")[:500]
        where = f"pod {self.ports.namespace}/{self.ports.pod}"
        lowered = words.lower()
        if status in (500, 502, 503, 504):
            if "connection refused" in lowered:
                return Unreachable(tried, f"nothing listens there on {where} ({words})", _STARTING, kind="refused")
            if "address not allowed" in lowered or "no ip" in lowered or "ip address" in lowered:
                return Unreachable(tried, f"{where} has no address yet", "it is starting, or has ended", kind="refused")
            if "deadline exceeded" in lowered or "timeout" in lowered or "timed out" in lowered:
                return Unreachable(tried, words, "the API server finds no way to the pod", kind="timeout")
            return Unreachable(tried, words, "the API server reaches its nodes, or the pod, not", kind="lost")
        if status == 404 and "pods" in lowered:
            return NotFound(tried, f"{where} is gone", "look for the one in its place")
        return refusal.refusal(tried, method, urlsplit(url).path, status, body)

    def typed(self, method: str, url: str, body: str) -> str:
        """kubectl's own way to send a POST without showing a credential."""
        path = shlex.quote(urlsplit(url).path)
        if method == "GET":
            return f"{_kubectl(self.api)} get --raw {path}"
        return f"echo {shlex.quote(body or '{}')} | {_kubectl(self.api)} create --raw {path} -f -"


class _ProxyCarrier:
    def __init__(self, api: Api) -> None:
        self._api = api

    async def send(self, method: str, url: str, content: bytes | None, headers: Mapping[str, str]) -> Reply:
        target = "/" + url.removeprefix(self._api.access.server).lstrip("/")
        return await self._api.session.open(method, target, content=content, headers=headers)

    async def aclose(self) -> None:
        """The connections are the API's."""


@dataclass(frozen=True, slots=True)
class PortWay(_PodWay):
    """Port-forwards for everything, where the right to the proxy lacks. HTTP needs no port of this machine."""

    def carrier(self) -> Carrier:
        return _PortCarrier(self.api, self.ports)

    def refusal(self, tried: str, status: int, body: bytes) -> TritonctlError | None:
        return None

    def typed(self, method: str, url: str, body: str) -> str:
        parts = urlsplit(url)
        data = f" -d {shlex.quote(body)}" if body else ""
        ports = self.ports
        forward = f"{_kubectl(self.api)} -n {ports.namespace} port-forward pod/{ports.pod} {parts.port}"
        return f"curl -X {method} {shlex.quote(f'http://127.0.0.1:{parts.port}{parts.path}')}{data}   # after {forward}"


class _PortCarrier:
    def __init__(self, api: Api, ports: PodPorts) -> None:

        def opened(port: int) -> AbstractAsyncContextManager[PortStream]:
            return open_port(api, ports.namespace, ports.pod, port)

        self._connections = PortConnections(opened)
        self._wires: dict[int, Wire] = {}

    async def send(self, method: str, url: str, content: bytes | None, headers: Mapping[str, str]) -> Reply:
        parts = urlsplit(url)
        port = parts.port or 80
        if port not in self._wires:
            self._wires[port] = Wire(self._connections.dial(port), parts.netloc, most=CONNECTIONS)
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        return await self._wires[port].send(method, target, headers.items(), content)

    async def aclose(self) -> None:
        wires, self._wires = self._wires, {}
        for each in wires.values():
            each.close()
        await self._connections.aclose()


def through_proxy(api: Api, ports: PodPorts, find_pod: FindPod, why_no_forward: str = "") -> ServerAddress:
    def url(port: int) -> str:
        return f"{api.access.server}/api/v1/namespaces/{ports.namespace}/pods/{ports.pod}:{port}/proxy"

    return ServerAddress(
        url(ports.http),
        grpc=f"{ports.pod}:{ports.grpc}" if ports.grpc is not None else None,
        metrics=f"{url(ports.metrics)}/metrics" if ports.metrics is not None else None,
        grpc_tls=ports.grpc_tls,
        way=ProxyWay(api, ports, find_pod, why_no_forward),
    )


def through_ports(api: Api, ports: PodPorts, find_pod: FindPod) -> ServerAddress:
    return ServerAddress(
        f"http://{ports.pod}:{ports.http}",
        grpc=f"{ports.pod}:{ports.grpc}" if ports.grpc is not None else None,
        metrics=f"http://{ports.pod}:{ports.metrics}/metrics" if ports.metrics is not None else None,
        grpc_tls=ports.grpc_tls,
        way=PortWay(api, ports, find_pod),
    )


def _kubectl(api: Api) -> str:
    return Kubectl(api.access.context, api.kubeconfig).program


async def let_go(api: Api, ports: PodPorts) -> None:
    """Of a pod that is ending: have the API server close the connections that it keeps to the server in it.

    It keeps those of its proxy for 90 s, and a tritonserver that is told to stop waits for open HTTP connections until
    --exit-timeout-secs, 30 s by default, then ends with 1 without having unloaded its models (measured on 2.51.0: 43 s
    instead of 12 s). No header closes them, since a proxy passes none on that speaks of connections; but one whose
    request is given up before its body has come is not kept (Go's net/http).
    """

    async def give_up(port: int) -> None:
        target = f"/api/v1/namespaces/{ports.namespace}/pods/{ports.pod}:{port}/proxy/v2/health/live"
        with suppress(TritonctlError, TimeoutError):
            async with asyncio.timeout(_LET_GO_S):
                answer = await api.session.open("GET", target, headers={"Content-Length": "1"})
                answer.close()

    began = time.monotonic()
    for at in _LET_GO_AT_S:
        await asyncio.sleep(max(0.0, began + at - time.monotonic()))
        await asyncio.gather(*(give_up(port) for port in (ports.http, ports.metrics) if port for _ in range(_KEPT)))
