"""The way from here to a server in a container, or what would make one."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from backends.docker.container import Container, Published
from backends.docker.endpoint import Endpoint
from backends.docker.tunnel import Tunnel
from tritonctl.server.address import ServerAddress, Speaks
from tritonctl.server.options import ServerOptions

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_EVERYWHERE = ("", "0.0.0.0", "::")


@dataclass(frozen=True, slots=True)
class Reach:
    """One of the two is set."""

    address: ServerAddress | None = None
    no_address: str | None = None


async def reach(
    container: Container,
    options: ServerOptions,
    endpoint: Endpoint,
    tunnel: Tunnel | None,
    shared: Container | None = None,
) -> Reach:
    """`shared` is the container whose network this one shares, if it does."""
    if (why := _silent(container)) is not None:
        return Reach(no_address=why)
    if options.http_port is None:
        return Reach(no_address="its HTTP server is off (--allow-http=false), and tritonctl asks over HTTP")
    network = _network(container, shared)
    if network is None:
        return Reach(no_address=_NO_NETWORK)
    hosts = network.network_mode == "host"
    if options.http_address in _LOOPBACK and not hosts:
        return Reach(
            no_address=f"its server listens on {options.http_address} inside the container only: "
            "start it without --http-address"
        )
    way = _Way(network, endpoint, tunnel, hosts)
    http = await way.to(options.http_port, options.http_address)
    if http is None:
        return Reach(no_address=_no_way(network, options))
    grpc = metrics = None
    if options.grpc_port is not None:
        grpc = await way.to(options.grpc_port, options.grpc_address)
    if options.metrics_port is not None:
        metrics = await way.to(options.metrics_port, options.metrics_address or options.http_address)
    return Reach(
        ServerAddress(
            f"http://{http}",
            grpc=grpc,
            metrics=f"http://{metrics}/metrics" if metrics else None,
            grpc_tls=options.grpc_tls,
        )
    )


async def reach_scoring(
    container: Container, port: int, endpoint: Endpoint, tunnel: Tunnel | None, shared: Container | None = None
) -> Reach:
    """The way to a server of Azure ML's scoring protocol: POST /score on its port."""
    if (why := _silent(container)) is not None:
        return Reach(no_address=why)
    network = _network(container, shared)
    if network is None:
        return Reach(no_address=_NO_NETWORK)
    place = await _Way(network, endpoint, tunnel, network.network_mode == "host").to(port, "")
    if place is None:
        return Reach(no_address=f"speaks Azure ML's scoring protocol on port {port}, which is not published")
    return Reach(ServerAddress(f"http://{place}/score", protocol=Speaks.SCORE))


_NO_NETWORK = "it shares the network of a container that is gone"


def _silent(container: Container) -> str | None:
    """Why nothing in it answers."""
    if container.state.status == "paused":
        return f"paused: nothing in it answers until `docker unpause {container.name}`"
    if container.state.status != "running":
        return f"the container does not run ({container.state.status})"
    return None


def _network(container: Container, shared: Container | None) -> Container | None:
    """The container whose network it uses; None where that one is gone."""
    return shared if container.network_mode.startswith("container:") else container


@dataclass(frozen=True, slots=True)
class _Way:
    container: Container
    endpoint: Endpoint
    tunnel: Tunnel | None
    hosts: bool  # it uses the network of the engine's machine

    async def to(self, port: int, listens_on: str) -> str | None:
        """host:port, None where there is no way."""
        found = self._place(port, listens_on)
        if found is None:
            return None
        host, there = found
        if self.tunnel is not None:
            return f"127.0.0.1:{await self.tunnel.port(host, there)}"
        return f"[{host}]:{there}" if ":" in host else f"{host}:{there}"

    def _place(self, port: int, listens_on: str) -> tuple[str, int] | None:
        if self.hosts:
            if listens_on in _LOOPBACK and not self._near_host:
                return None
            return (self._host if listens_on in (*_EVERYWHERE, *_LOOPBACK) else listens_on), port
        if listens_on in _LOOPBACK:
            return None
        published = _best([each for each in self.container.published if each.port == port])
        if published is not None and (self._near_host or published.host_ip not in _LOOPBACK):
            host = self._host if published.host_ip in _EVERYWHERE else published.host_ip
            return host, published.host_port
        if self._direct and self.container.addresses:
            return self.container.addresses[0], port
        return None

    @property
    def _near_host(self) -> bool:
        """What the engine's machine has on its loopback can be reached: it is this one, or there is a tunnel."""
        return self.endpoint.local or self.tunnel is not None

    @property
    def _host(self) -> str:
        return "127.0.0.1" if self._near_host else self.endpoint.host

    @property
    def _direct(self) -> bool:
        """Containers' own addresses lead somewhere."""
        return self.tunnel is not None or is_direct(self.endpoint)


def is_direct(endpoint: Endpoint) -> bool:
    """Whether containers' own addresses lead somewhere from here: not where the engine has a network of its own, as in
    Docker Desktop's virtual machine and in rootless Docker."""
    path = endpoint.socket or ""
    own_network = path.startswith("/run/user/") or "/.docker/" in path
    return endpoint.local and sys.platform == "linux" and not own_network


def _best(published: Sequence[Published]) -> Published | None:
    """IPv4 before IPv6, as the engine lists both for one -p."""
    return min(published, key=lambda each: ":" in each.host_ip, default=None)


def _no_way(container: Container, options: ServerOptions) -> str:
    if container.network_mode == "none":
        return "it has no network (--network none): nothing can reach its server"
    ports = [port for port in (options.http_port, options.grpc_port, options.metrics_port) if port is not None]
    flags = " ".join(f"-p {port}:{port}" for port in ports)
    local_only = [each for each in container.published if each.port == options.http_port]
    if local_only:
        return f"port {options.http_port} is published on the engine's own loopback only: re-create it with {flags}"
    return f"port {options.http_port} is not published, and nothing else leads to it: re-create it with {flags}"
