"""Requests to one server over connections of our own, through the environment's proxy where one stands between; and
what they failed with, in words."""

from __future__ import annotations

import base64
import os
import ssl
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from ipaddress import ip_address
from urllib.parse import unquote, urlsplit

from tritonctl import broken
from tritonctl.broken import Advice
from tritonctl.dial import dialler, proxy_for
from tritonctl.errors import TritonctlError, Unreachable, UsageError
from tritonctl.http1 import Reply
from tritonctl.server.address import ServerAddress
from tritonctl.wire import Wire

CONNECT_TIMEOUT_S = 3.0  # a firewall that drops packets is told after one repeated SYN, not after the whole deadline
# Longer than any pause between two looks: behind TLS a new connection costs as much as the requests of a look (plain
# ones are let go of after each look anyway, see ServerClient.rest). Azure's front closes idle ones after 4 minutes.
_KEPT_S = 120.0
_KEPT = 2  # to one server
_NO_ADDRESS = "write it as http://HOST:8000"
_ADVICE = Advice(
    timeout="nothing came back at all: a firewall, a wrong host, or a machine that is off",
    certificate='give its CA with ca = "….pem" in the settings, or fix the server\'s certificate',
    tls="is this port plain HTTP? then use http://",
    hung_up="is this port plain HTTP? then use http://",
    name="check the host name",
    refused="Triton opens its ports only when all start-up models are loaded: loading, stopped, or another port",
    garbage="is this the HTTP port? gRPC is on 8001 by default",
    lost="try again",
)
_PLAIN = replace(_ADVICE, lost="try again; if it stays so: does this port speak TLS? then use https://")


class Direct:
    """A Carrier. Opened on first use."""

    def __init__(self, address: ServerAddress, connections: int) -> None:
        self._address = address
        self._connections = connections
        self._wires: dict[str, tuple[Wire, tuple[tuple[str, str], ...]]] = {}

    async def send(self, method: str, url: str, content: bytes | None, headers: Mapping[str, str]) -> Reply:
        origin, target = _origin_and_target(method, url)
        if origin not in self._wires:
            self._wires[origin] = self._wire(method, url, origin)
        wire, more = self._wires[origin]
        return await wire.send(method, target, (*headers.items(), *more), content)

    async def aclose(self) -> None:
        wires, self._wires = self._wires, {}
        for wire, _ in wires.values():
            wire.close()

    def _wire(self, method: str, url: str, origin: str) -> tuple[Wire, tuple[tuple[str, str], ...]]:
        """And the headers that a proxy wants."""
        try:
            parts = urlsplit(origin)
            host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        except ValueError as error:
            raise UsageError(f"{method} {url}", f"this is no address: {error}", _NO_ADDRESS) from None
        if parts.scheme not in ("http", "https") or not host:
            raise UsageError(f"{method} {url}", f"this is no address: {origin}", _NO_ADDRESS)
        base = ""
        more: tuple[tuple[str, str], ...] = ()
        # A proxy from the environment has no way to this machine's own servers, nor to its containers.
        proxy = None if _is_near(host) else proxy_for(origin)
        if proxy is not None and parts.scheme == "http":  # it is asked itself, with the whole URL
            host, port, more = _plain_proxy(proxy)
            base, proxy = origin, None
        tls = self._tls() if parts.scheme == "https" else None
        dial = dialler(host, port, tls=tls, proxy=proxy, timeout_s=CONNECT_TIMEOUT_S)
        kept = max(_KEPT, self._connections // 4)
        return Wire(dial, parts.netloc, base=base, most=self._connections, kept=kept, kept_s=_KEPT_S), more

    def _tls(self) -> ssl.SSLContext:
        try:
            ca = self._address.ca
            return _trusting(ca, os.stat(ca).st_mtime_ns if ca is not None else 0)
        except (OSError, ssl.SSLError) as error:
            raise Unreachable(
                f"trust what answers at {self._address.http}",
                f"the CA file {self._address.ca}: {error.strerror or error}",
                "set ca to a readable PEM file",
                kind="tls",
            ) from None


@lru_cache(maxsize=8)
def _trusting(ca: str | None, _changed_ns: int) -> ssl.SSLContext:
    """Loading the system's authorities costs 20 ms of the event loop: too much for each of four hundred endpoints."""
    context = ssl.create_default_context()
    if ca is not None:  # besides the system's: a proxy that inspects some connections leaves others alone
        context.load_verify_locations(cafile=ca)
    return context


def _origin_and_target(method: str, url: str) -> tuple[str, str]:
    if url.count("/") < 2:
        raise UsageError(f"{method} {url}", "this is no address", _NO_ADDRESS)
    scheme, _, authority, *path = url.split("/", 3)
    return f"{scheme}//{authority}", "/" + path[0] if path else "/"


def _is_near(host: str) -> bool:
    """Loopback, or the bare address of a private network, such as a container's own."""
    try:
        return host == "localhost" or ip_address(host).is_private
    except ValueError:  # a name
        return False


def _plain_proxy(proxy: str) -> tuple[str, int, tuple[tuple[str, str], ...]]:
    parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    if parts.scheme != "http" or not parts.hostname:
        raise UsageError(
            "use the proxy that the environment names",
            f"only HTTP proxies are known here, not {parts.scheme}",
            "see ALL_PROXY, HTTP_PROXY",
        )
    more: tuple[tuple[str, str], ...] = ()
    if parts.username:
        both = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        more = (("Proxy-Authorization", f"Basic {base64.b64encode(both.encode()).decode()}"),)
    return parts.hostname, parts.port or 80, more


def in_words(tried: str, url: str, error: Exception) -> TritonctlError:
    """`error` is what tritonctl.dial and tritonctl.http1 raise."""
    return broken.in_words(tried, urlsplit(url).netloc, error, _PLAIN if url.startswith("http:") else _ADVICE)
