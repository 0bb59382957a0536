"""HTTP/1.1 to one API server over asyncio's own streams: a pool of connections, each answer as it comes.

Every pod's server is asked through the API server, so requests are what an idle dashboard costs: one takes 0.15 ms of
CPU here and 1.3 ms through httpx and httpcore (measured: TLS 1.3 on loopback, Python 3.11). The answers are httpx's all
the same, for those who read them.
"""

from __future__ import annotations

import asyncio
import base64
import functools
import re
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from backends.kubernetes.client.access import Access
from tritonctl.errors import UsageError

if TYPE_CHECKING:
    import httpx

CONNECT_S = 5.0
_BUFFER_BYTES = 256 * 1024  # and the most that the head of an answer may have
_KEPT = 64  # connections that nobody uses just now; one costs a TLS handshake, 5 ms
_KEPT_S = 60.0  # API servers keep theirs for longer, load balancers in between four minutes
_IDEMPOTENT = ("GET", "HEAD")
_HEXADECIMAL = re.compile(rb"[0-9A-Fa-f]{1,15}")

Headers = Iterable[tuple[str, str]]


class ConnectTimeout(OSError):
    """Nothing came back at all."""


class NotHttp(OSError):
    """What came back is no HTTP."""


class Connection:
    """One connection, for one request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.used = False
        self.idle_since = 0.0

    @property
    def stale(self) -> bool:
        return self.reader.at_eof() or self.writer.is_closing() or time.monotonic() - self.idle_since > _KEPT_S

    def close(self) -> None:
        with suppress(OSError, RuntimeError):
            self.writer.transport.abort()


class Wire:
    """`tls` is False where the server speaks plain HTTP. Raises OSError, ssl.SSLError and EOFError as they come."""

    def __init__(self, access: Access, tls: ssl.SSLContext | bool) -> None:
        self._access = access
        self._tls = tls if isinstance(tls, ssl.SSLContext) else None
        parts = urlsplit(access.server)
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._authority = parts.netloc.rpartition("@")[2]
        self._base = parts.path.rstrip("/")
        self._idle: list[Connection] = []
        self._closed = False

    def close(self) -> None:
        """Those in use are closed by who uses them."""
        self._closed = True
        for each in self._idle:
            each.close()
        self._idle = []

    async def send(
        self,
        method: str,
        target: str,
        headers: Headers,
        content: bytes | None,
        in_words: Callable[[Exception], Exception],
    ) -> httpx.Response:
        """The answer with its body still to be read; closing it gives the connection back, or closes it.

        `in_words` makes what the body's reader is told of an error while it reads.
        """
        while True:
            connection = await self._take()
            used = connection.used
            try:
                return await self._ask(connection, method, target, headers, content, in_words)
            except (ConnectionError, EOFError):
                connection.close()
                # The server closed an idle connection in the same moment: that tells nothing of it. What changes
                # something is not sent twice.
                if not used or method not in _IDEMPOTENT:
                    raise
            except BaseException:
                connection.close()
                raise

    async def _ask(
        self,
        connection: Connection,
        method: str,
        target: str,
        headers: Headers,
        content: bytes | None,
        in_words: Callable[[Exception], Exception],
    ) -> httpx.Response:
        from httpx import Response

        connection.used = True
        lines = [f"{method} {self._base}{target} HTTP/1.1", f"Host: {self._authority}"]
        given = set()
        for name, value in headers:
            if any(mark in name or mark in value for mark in "\r\n"):
                raise UsageError(f"send the header {name!r}", "it has a line end in it")
            given.add(name.lower())
            lines.append(f"{name}: {value}")
        if "content-length" not in given and (content is not None or method in ("POST", "PUT", "PATCH")):
            lines.append(f"Content-Length: {len(content or b'')}")
        writer = connection.writer
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + (content or b""))
        await writer.drain()
        status, found = await _head(connection.reader)
        fields = {name.lower(): value for name, value in found}
        keeps = fields.get(b"connection", b"").lower() != b"close"
        body = _Body(self, connection, method, status, fields, keeps)
        answer = Response(status, headers=found, stream=body.as_stream(in_words))
        answer.extensions["connection"] = connection
        return answer

    async def _take(self) -> Connection:
        while self._idle:
            connection = self._idle.pop()
            if not connection.stale:
                return connection
            connection.close()
        return await self._connect()

    def give_back(self, connection: Connection) -> None:
        if self._closed or len(self._idle) >= _KEPT:
            connection.close()
            return
        connection.idle_since = time.monotonic()
        self._idle.append(connection)

    async def _connect(self) -> Connection:
        name = self._access.tls_server_name or self._host
        proxy = proxy_for(self._access)
        try:
            async with asyncio.timeout(CONNECT_S):
                if proxy is not None:
                    reader, writer = await self._through(proxy)
                    if self._tls is not None:
                        await writer.start_tls(self._tls, server_hostname=name)
                else:
                    reader, writer = await asyncio.open_connection(
                        self._host,
                        self._port,
                        ssl=self._tls,
                        server_hostname=name if self._tls is not None else None,
                        limit=_BUFFER_BYTES,
                    )
        except TimeoutError:
            raise ConnectTimeout(f"no connection within {CONNECT_S:g} s") from None
        _keep_alive(writer)
        return Connection(reader, writer)

    async def _through(self, proxy: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A tunnel by CONNECT."""
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        if parts.scheme != "http":
            raise UsageError(
                f"use the proxy {parts.scheme}://{parts.hostname}", "only HTTP proxies are known here", "see proxy-url"
            )
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port or 80, limit=_BUFFER_BYTES)
        try:
            lines = [f"CONNECT {self._host}:{self._port} HTTP/1.1", f"Host: {self._host}:{self._port}"]
            if parts.username:
                both = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
                lines.append(f"Proxy-Authorization: Basic {base64.b64encode(both.encode()).decode()}")
            writer.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
            status, _ = await _head(reader)
            if status != 200:
                raise ConnectionError(f"the proxy {parts.hostname} answers {status}")
        except BaseException:
            writer.transport.abort()
            raise
        return reader, writer


class _Body:
    """An answer's body: of a given length, in chunks, or until the connection ends."""

    def __init__(
        self, wire: Wire, connection: Connection, method: str, status: int, fields: dict[bytes, bytes], keeps: bool
    ) -> None:
        self._wire = wire
        self._connection: Connection | None = connection
        self._keeps = keeps
        self._chunked = fields.get(b"transfer-encoding", b"").lower() == b"chunked"
        length = fields.get(b"content-length", b"")
        self._left = int(length) if length.isdigit() else None
        if method == "HEAD" or status in (204, 304):
            self._left, self._chunked = 0, False
        if status == 101:
            self._left, self._chunked, self._keeps = None, False, False
        elif self._left == 0 and not self._chunked:
            self._done()

    def as_stream(self, in_words: Callable[[Exception], Exception]) -> httpx.AsyncByteStream:
        return _stream_class()(self, in_words)

    def close(self) -> None:
        """Before its end the connection is of no use any more."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _done(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            if self._keeps:
                self._wire.give_back(connection)
            else:
                connection.close()

    async def pieces(self) -> AsyncIterator[bytes]:
        connection = self._connection
        if connection is None:
            return
        reader = connection.reader
        if self._chunked:
            while size := await _chunk_size(reader):
                while size:
                    piece = await reader.read(min(size, _BUFFER_BYTES))
                    if not piece:
                        raise EOFError("the connection ended within a chunk")
                    size -= len(piece)
                    yield piece
                await reader.readexactly(2)
            while await _line(reader):  # trailers
                pass
        elif self._left is not None:
            while self._left:
                piece = await reader.read(min(self._left, _BUFFER_BYTES))
                if not piece:
                    raise EOFError("the connection ended within the answer")
                self._left -= len(piece)
                yield piece
        else:
            self._keeps = False
            while piece := await reader.read(_BUFFER_BYTES):
                yield piece
        self._done()


@functools.cache
def _stream_class() -> Callable[[_Body, Callable[[Exception], Exception]], httpx.AsyncByteStream]:
    """httpx is imported on first use."""
    from httpx import AsyncByteStream

    class Stream(AsyncByteStream):
        def __init__(self, body: _Body, in_words: Callable[[Exception], Exception]) -> None:
            self._body = body
            self._in_words = in_words

        async def __aiter__(self) -> AsyncIterator[bytes]:
            try:
                async for piece in self._body.pieces():
                    yield piece
            except (OSError, EOFError) as error:
                raise self._in_words(error) from None

        async def aclose(self) -> None:
            self._body.close()

    return Stream


async def _chunk_size(reader: asyncio.StreamReader) -> int:
    size = (await _line(reader)).split(b";", 1)[0].strip()
    if not _HEXADECIMAL.fullmatch(size):  # int() would take -1 as well, and that reads to the end
        raise NotHttp("a chunk without a size")
    return int(size, 16)


async def _line(reader: asyncio.StreamReader) -> bytes:
    """Without its end."""
    try:
        return (await reader.readuntil(b"\r\n"))[:-2]
    except asyncio.LimitOverrunError:
        raise NotHttp("a line without an end") from None


async def _head(reader: asyncio.StreamReader) -> tuple[int, list[tuple[bytes, bytes]]]:
    """Status and headers of the final answer; those before it (1xx, but for 101) are passed over."""
    while True:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            raise NotHttp("an answer without an end of its head") from None
        except asyncio.IncompleteReadError as error:
            if error.partial:
                raise NotHttp("an answer that is no HTTP, or was cut") from None
            raise EOFError("the connection was closed without an answer") from None
        first, *lines = head[:-4].split(b"\r\n")
        words = first.split(b" ", 2)
        if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():
            raise NotHttp("an answer that is no HTTP")
        status = int(words[1])
        if status >= 200 or status == 101:
            return status, [
                (name.strip(), value.strip()) for name, _, value in (line.partition(b":") for line in lines)
            ]


def _keep_alive(writer: asyncio.StreamWriter) -> None:
    """A watch is silent for minutes: whether there still is a way to the other end, the kernel asks (30 s)."""
    raw = writer.get_extra_info("socket")
    options = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    for name, value in (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, name):
            options.append((socket.IPPROTO_TCP, getattr(socket, name), value))
    with suppress(OSError):
        for option in options:
            raw.setsockopt(*option)


def proxy_for(access: Access) -> str | None:
    """The kubeconfig's own, else the environment's, as kubectl does."""
    if access.proxy:
        return access.proxy
    parts = urlsplit(access.server)
    host = parts.hostname or ""
    if host == "localhost" or host.startswith("127.") or host == "::1":
        return None
    from urllib.request import getproxies, proxy_bypass

    if proxy_bypass(host):
        return None
    found = getproxies()
    return found.get(parts.scheme) or found.get("all")
