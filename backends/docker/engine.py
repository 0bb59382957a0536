"""The Engine API over one connection pool: version, deadlines, size limits, and every failure put into words."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import stat
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from backends.docker.endpoint import Endpoint
from backends.docker.tunnel import Tunnel
from tritonctl.errors import Forbidden, NotFound, OperationFailed, TritonctlError, Unreachable
from tritonctl.server.http import client_class

if TYPE_CHECKING:
    import httpx

# The newest version whose answers are known here; 1.43 is the last that tells a container's own MAC address apart from
# a generated one. An engine that has none as old gets its oldest.
API_VERSION = (1, 43)
REQUEST_S = 10.0
CONNECT_S = 5.0
MAX_BODY_BYTES = 32 * 1024 * 1024
_PIECE_BYTES = 256 * 1024

Query = Mapping[str, str | int | bool]


class Engine:
    """Opened on first use. Every method raises a TritonctlError for whatever goes wrong."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.tunnel: Tunnel | None = None
        self._client: httpx.AsyncClient | None = None
        self._prefix = ""
        self._opening = asyncio.Lock()

    async def aclose(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()
        tunnel, self.tunnel = self.tunnel, None
        if tunnel is not None:
            await tunnel.close()

    async def reset(self) -> None:
        """Forget the connection and the version: the engine that comes back may be another one."""
        await self.aclose()

    async def get(self, path: str, query: Query | None = None, *, deadline_s: float = REQUEST_S) -> Any:
        return await self.call("GET", path, query, deadline_s=deadline_s)

    async def call(
        self,
        method: str,
        path: str,
        query: Query | None = None,
        body: object = None,
        *,
        deadline_s: float = REQUEST_S,
    ) -> Any:
        """The answer's JSON, None where it has none. A 304 (it is already so) is no failure."""
        tried = f"{method} {path} of the Docker Engine"
        try:
            async with asyncio.timeout(deadline_s):
                async with self.stream(method, path, query, body) as response:
                    content = await _whole(response, tried)
        except TimeoutError:
            raise Unreachable(tried, f"no answer within {deadline_s:g} s", _BUSY, kind="timeout") from None
        return _json(content, tried) if content else None

    async def ping(self) -> None:
        """Raises Unreachable where the engine does not answer any more."""
        client = await self._open()
        try:
            async with asyncio.timeout(CONNECT_S):
                async with self._request(client, "GET", "/_ping", None, None) as response:
                    await _whole(response, "ping")
        except TimeoutError:
            raise Unreachable(f"ask {self._name}", f"no answer within {CONNECT_S:g} s", _BUSY, kind="timeout") from None

    @asynccontextmanager
    async def stream(
        self, method: str, path: str, query: Query | None = None, body: object = None
    ) -> AsyncIterator[httpx.Response]:
        """The response with its body still to be read. Raises the error that the engine answered."""
        client = await self._open()
        async with self._request(client, method, f"{self._prefix}{path}", query, body) as response:
            yield response

    async def raw(
        self, path: str, query: Query | None = None, opened: Callable[[], None] = lambda: None
    ) -> AsyncIterator[bytes]:
        """The body of a GET as it comes, in pieces, until the engine ends it. Calls `opened` before the first.

        Over HTTP/1.0, which has no chunks: the engine makes one chunk of each line of a log, and h11 takes about 100 us
        for each (measured: 10,000 lines/s on a whole core, against a million without).
        """
        await self._open()
        tried = f"GET {path} of the Docker Engine"
        try:
            async with asyncio.timeout(CONNECT_S):
                reader, writer = await self._dial()
        except TimeoutError:
            raise Unreachable(tried, f"no connection within {CONNECT_S:g} s", _BUSY, kind="timeout") from None
        except OSError as error:
            raise self._no_connection(error) from None
        try:
            target = f"{self._prefix}{path}?{urlencode(_params(query))}"
            writer.write(f"GET {target} HTTP/1.0\r\nHost: docker\r\n\r\n".encode())
            async with asyncio.timeout(REQUEST_S):
                head = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n", 1)[0].split()
            status = int(head[1]) if len(head) > 1 and head[1].isdigit() else 0
            if status != 200:
                async with asyncio.timeout(REQUEST_S):
                    raise _refusal(tried, status, await reader.read(64 * 1024))
            opened()
            while piece := await reader.read(_PIECE_BYTES):
                yield piece
        except TimeoutError:
            raise Unreachable(tried, f"no answer within {REQUEST_S:g} s", _BUSY, kind="timeout") from None
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            said = str(error) or type(error).__name__
            raise Unreachable(tried, f"the connection to {self._name} was lost: {said}", kind="lost") from None
        finally:
            writer.close()

    async def _dial(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        socket = await self.tunnel.open() if self.tunnel is not None else self.endpoint.socket
        if socket is not None:
            return await asyncio.open_unix_connection(socket, limit=_PIECE_BYTES)
        parts = urlsplit(str(self.endpoint.tcp))
        secure = self._tls() if parts.scheme == "https" else None
        return await asyncio.open_connection(parts.hostname, parts.port, ssl=secure, limit=_PIECE_BYTES)

    @asynccontextmanager
    async def _request(
        self, client: httpx.AsyncClient, method: str, path: str, query: Query | None, body: object
    ) -> AsyncIterator[httpx.Response]:
        import httpx

        tried = f"{method} {path} of the Docker Engine"
        try:
            async with client.stream(method, path, params=_params(query), json=body) as response:
                if response.status_code >= 400:
                    raise _refusal(tried, response.status_code, await _whole(response, tried))
                yield response
        except httpx.ConnectError as error:
            raise self._no_connection(error) from None
        except httpx.HTTPError as error:
            said = str(error) or type(error).__name__
            raise Unreachable(tried, f"the connection to {self._name} was lost: {said}", kind="lost") from None

    async def _open(self) -> httpx.AsyncClient:
        if self._client is not None:
            return self._client
        async with self._opening:
            if self._client is None:
                client = await self._connect()
                try:
                    self._prefix = await self._negotiate(client)
                except BaseException:
                    await client.aclose()
                    raise
                self._client = client
        return self._client

    async def _connect(self) -> httpx.AsyncClient:
        make = client_class()
        from httpx import AsyncHTTPTransport, Limits, Timeout

        socket, base = self.endpoint.socket, self.endpoint.tcp or "http://docker"
        if self.endpoint.ssh is not None:
            self.tunnel = self.tunnel or Tunnel(self.endpoint)
            socket = await self.tunnel.open()
        verify: ssl.SSLContext | bool = False
        if base.startswith("https:"):
            verify = self._tls()
        transport = AsyncHTTPTransport(uds=socket, verify=verify, limits=Limits(max_connections=32))
        # Streams are as long as somebody reads them; every other request has its own deadline.
        timeout = Timeout(None, connect=CONNECT_S)
        return make(transport=transport, base_url=base, timeout=timeout, trust_env=False)

    def _tls(self) -> ssl.SSLContext:
        tls = self.endpoint.tls
        if tls is None:
            return ssl.create_default_context()
        try:
            authority, certificate = tls.folder / "ca.pem", tls.folder / "cert.pem"
            context = ssl.create_default_context(cafile=str(authority) if authority.exists() else None)
            if not tls.verify:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            if certificate.exists():
                context.load_cert_chain(certificate, tls.folder / "key.pem")
        except (OSError, ssl.SSLError) as error:
            raise Unreachable(
                f"read the certificates in {tls.folder}", str(error), "DOCKER_CERT_PATH names their folder", kind="tls"
            ) from None
        return context

    async def _negotiate(self, client: httpx.AsyncClient) -> str:
        tried = "GET /version of the Docker Engine"
        try:
            async with asyncio.timeout(REQUEST_S):
                async with self._request(client, "GET", "/version", None, None) as response:
                    found = _json(await _whole(response, tried), tried)
        except TimeoutError:
            raise Unreachable(f"ask {self._name}", f"no answer within {REQUEST_S:g} s", _BUSY, kind="timeout") from None
        newest, oldest = _version(found, "ApiVersion"), _version(found, "MinAPIVersion")
        if newest is None:
            raise Unreachable(f"ask {self._name}", "it answers, but not as a Docker Engine", kind="garbage")
        chosen = max(min(API_VERSION, newest), oldest or (0, 0))
        return f"/v{chosen[0]}.{chosen[1]}"

    @property
    def _name(self) -> str:
        return f"the Docker Engine at {self.endpoint.url}"

    def _no_connection(self, error: Exception) -> TritonctlError:
        tried = f"reach {self._name} ({self.endpoint.source})"
        said = str(error) or type(error).__name__
        path = self.endpoint.socket
        if path is not None:
            try:
                is_socket = stat.S_ISSOCK(os.stat(path).st_mode)
            except PermissionError:
                is_socket = True
            except OSError:
                advice = "start Docker, or name the engine: DOCKER_HOST, `docker context use`, or host in the settings"
                return Unreachable(tried, f"there is no Docker Engine: {path} does not exist", advice)
            if is_socket and not os.access(path, os.R_OK | os.W_OK):
                advice = "add yourself to the socket's group and log in again: sudo usermod -aG docker $USER"
                return Forbidden(tried, f"permission denied on {path}", advice)
            return Unreachable(tried, f"nobody listens on {path}: the engine is not running", "systemctl start docker")
        if "CERTIFICATE" in said or "SSL" in said.upper():
            return Unreachable(tried, said, "DOCKER_CERT_PATH names the folder of ca.pem, cert.pem, key.pem", "tls")
        return Unreachable(tried, said, "is the engine running, and does it listen there?")


_BUSY = "the engine is busy or hangs: `docker info` tells"


def _params(query: Query | None) -> dict[str, str]:
    return {
        name: ("1" if value else "0") if isinstance(value, bool) else str(value)
        for name, value in (query or {}).items()
    }


async def _whole(response: httpx.Response, tried: str) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise Unreachable(tried, f"the answer is larger than {MAX_BODY_BYTES // 2**20} MiB", kind="too large")
    return bytes(body)


def _json(content: bytes, tried: str) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        raise Unreachable(tried, "the answer is not the Engine API's JSON", kind="garbage") from None


def _refusal(tried: str, status: int, content: bytes) -> TritonctlError:
    try:
        said = str(json.loads(content)["message"])
    except (ValueError, KeyError, TypeError):
        said = content[:300].decode("utf-8", "replace").strip() or f"HTTP {status}"
    if status == 404:
        return NotFound(tried, said)
    if status in (401, 403):
        return Forbidden(tried, said)
    return OperationFailed(tried, said, status=status)


def _version(document: Any, key: str) -> tuple[int, int] | None:
    text = document.get(key) if isinstance(document, dict) else None
    major, _, minor = str(text or "").partition(".")
    return (int(major), int(minor)) if major.isdigit() and minor.isdigit() else None
