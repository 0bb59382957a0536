"""The Engine API over one connection pool: version, deadlines, size limits, and every failure put into words."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import stat
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

from backends.docker.endpoint import Endpoint
from backends.docker.tunnel import Tunnel
from tritonctl.errors import Forbidden, NotFound, OperationFailed, TritonctlError, Unreachable
from tritonctl.http1 import BUFFER_BYTES, NotHttp, StreamWriter, TooLarge, read_head
from tritonctl.wire import Wire

# The newest version whose answers are known here; 1.43 is the last that tells a container's own MAC address apart from
# a generated one. An engine that has none as old gets its oldest.
API_VERSION = (1, 43)
REQUEST_S = 10.0
CONNECT_S = 5.0
MAX_BODY_BYTES = 32 * 1024 * 1024

Query = Mapping[str, str | int | bool]


class Engine:
    """Opened on first use. Every method raises a TritonctlError for whatever goes wrong."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.tunnel: Tunnel | None = None
        self._wire: Wire | None = None
        self._secure: ssl.SSLContext | None = None
        self._prefix = ""
        self._opening = asyncio.Lock()

    async def aclose(self) -> None:
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.close()
        tunnel, self.tunnel = self.tunnel, None
        if tunnel is not None:
            await tunnel.close()

    async def reset(self) -> None:
        """Forget the connection and the version: the engine that comes back may be another one."""
        self._secure = None
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
                wire = await self._open()
                content = await self._ask(wire, tried, method, f"{self._prefix}{path}", query, body)
        except TimeoutError:
            raise Unreachable(tried, f"no answer within {deadline_s:g} s", _BUSY, kind="timeout") from None
        return _json(content, tried) if content else None

    async def ping(self) -> None:
        """Raises Unreachable where the engine does not answer any more."""
        try:
            async with asyncio.timeout(CONNECT_S):
                await self._ask(await self._open(), f"ask {self._name}", "GET", "/_ping")
        except TimeoutError:
            raise Unreachable(f"ask {self._name}", f"no answer within {CONNECT_S:g} s", _BUSY, kind="timeout") from None

    async def raw(
        self,
        path: str,
        query: Query | None = None,
        opened: Callable[[], None] = lambda: None,
        *,
        silent_s: float | None = None,
    ) -> AsyncIterator[bytes]:
        """The body of a GET as it comes, in pieces, until the engine ends it. Calls `opened` before the first. Between
        two pieces it may be silent for `silent_s`, None for ever: what is followed may have nothing to tell.

        Over HTTP/1.0, which has no chunks: the engine makes one chunk of each line of a log.
        """
        await self._open()
        tried = f"GET {path} of the Docker Engine"
        reader, writer = await self._dial()
        within_s: float | None = REQUEST_S
        try:
            writer.write(f"GET {_target(self._prefix + path, query)} HTTP/1.0\r\nHost: docker\r\n\r\n".encode())
            async with asyncio.timeout(REQUEST_S):
                status, _, _ = await read_head(reader)
            if status != 200:
                async with asyncio.timeout(REQUEST_S):
                    raise _refusal(tried, status, await reader.read(64 * 1024))
            opened()
            within_s = silent_s
            while True:
                async with asyncio.timeout(within_s):
                    piece = await reader.read(BUFFER_BYTES)
                if not piece:
                    return
                yield piece
        except TimeoutError as error:
            if within_s is None:  # the kernel's: nobody is at the other end any more
                raise self._lost(tried, error) from None
            raise Unreachable(tried, f"no answer within {within_s:g} s", _BUSY, kind="timeout") from None
        except (OSError, EOFError) as error:
            raise self._lost(tried, error) from None
        finally:
            writer.abort()

    async def _ask(
        self, wire: Wire, tried: str, method: str, path: str, query: Query | None = None, body: object = None
    ) -> bytes:
        sent = json.dumps(body).encode() if body is not None else None
        headers = [("Content-Type", "application/json")] if sent is not None else []
        try:
            reply = await wire.send(method, _target(path, query), headers, sent)
            try:
                content = await reply.whole(MAX_BODY_BYTES)
            finally:
                reply.close()
        except TooLarge:
            raise Unreachable(
                tried, f"the answer is larger than {MAX_BODY_BYTES // 2**20} MiB", kind="too large"
            ) from None
        except (OSError, EOFError) as error:
            raise self._lost(tried, error) from None
        if reply.status >= 400:
            raise _refusal(tried, reply.status, content)
        return content

    def _lost(self, tried: str, error: Exception) -> TritonctlError:
        if isinstance(error, ssl.SSLError):  # TLS 1.3 refuses a client's certificate after the handshake
            return self._no_connection(error)
        if isinstance(error, NotHttp):
            return Unreachable(f"ask {self._name}", "it answers, but not as a Docker Engine", kind="garbage")
        said = str(error) or type(error).__name__
        return Unreachable(tried, f"the connection to {self._name} was lost: {said}", kind="lost")

    async def _dial(self) -> tuple[asyncio.StreamReader, StreamWriter]:
        """Raises a TritonctlError."""
        try:
            async with asyncio.timeout(CONNECT_S):
                path = self.endpoint.socket
                if self.tunnel is not None:
                    path = await self.tunnel.open()
                if path is not None:
                    reader, writer = await asyncio.open_unix_connection(path, limit=BUFFER_BYTES)
                else:
                    parts = urlsplit(str(self.endpoint.tcp))
                    tls = self._tls() if parts.scheme == "https" else None
                    reader, writer = await asyncio.open_connection(
                        parts.hostname, parts.port, ssl=tls, limit=BUFFER_BYTES
                    )
                return reader, StreamWriter(writer)
        except TimeoutError:
            said = f"no connection within {CONNECT_S:g} s"
            raise Unreachable(f"reach {self._name}", said, _BUSY, kind="timeout") from None
        except OSError as error:
            raise self._no_connection(error) from None

    async def _open(self) -> Wire:
        if self._wire is not None:
            return self._wire
        async with self._opening:
            if self._wire is None:
                if self.endpoint.ssh is not None:
                    self.tunnel = self.tunnel or Tunnel(self.endpoint)
                    await self.tunnel.open()  # which has a longer deadline than a connection through it
                wire = Wire(self._dial, "docker")
                try:
                    self._prefix = await self._negotiate(wire)
                except BaseException:
                    wire.close()
                    raise
                self._wire = wire
        return self._wire

    def _tls(self) -> ssl.SSLContext:
        if self._secure is None:
            self._secure = self._make_tls()
        return self._secure

    def _make_tls(self) -> ssl.SSLContext:
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

    async def _negotiate(self, wire: Wire) -> str:
        tried = "GET /version of the Docker Engine"
        try:
            async with asyncio.timeout(REQUEST_S):
                found = _json(await self._ask(wire, tried, "GET", "/version"), tried)
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


# Seconds of silence, between two questions, and how many of these get no answer, until the connection counts as lost.


_BUSY = "the engine is busy or hangs: `docker info` tells"


def _target(path: str, query: Query | None) -> str:
    given = {
        name: ("1" if value else "0") if isinstance(value, bool) else str(value)
        for name, value in (query or {}).items()
    }
    return f"{path}?{urlencode(given)}" if given else path


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
