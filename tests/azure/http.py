"""A small HTTP/1.1 server for the emulator: keep-alive, TLS or none, one handler for each request."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import traceback
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

_MAX_HEAD = 64 * 1024


@dataclass(frozen=True)
class Request:
    """`path` is decoded, `target` as it was sent; `headers` have lower case names."""

    method: str
    target: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    port: int

    def json(self) -> Any:
        return json.loads(self.body) if self.body.strip() else None

    @property
    def form(self) -> dict[str, str]:
        return dict(parse_qsl(self.body.decode("utf-8", "replace")))

    @property
    def bearer(self) -> str:
        scheme, _, token = self.headers.get("authorization", "").partition(" ")
        return token.strip() if scheme.lower() == "bearer" else ""


@dataclass
class Response:
    """`body` is bytes as they are sent, or anything else as JSON; None sends nothing. `drop`: the connection is cut."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    drop: bool = False

    def encoded(self) -> bytes:
        if self.body is None:
            return b""
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


Handler = Callable[[Request], Awaitable[Response]]


async def serve(
    handler: Handler, port: int, tls: ssl.SSLContext | None, listener: socket.socket | None = None
) -> asyncio.Server:
    """Listens on 127.0.0.1, or on the socket that listens already; port 0 takes a free one."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Cancelled when the emulator ends: asyncio would print that of a connection's task.
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.CancelledError):
            await _connection(handler, reader, writer)
            writer.close()
            await writer.wait_closed()
        writer.transport.abort()

    if listener is not None:
        return await asyncio.start_server(connected, sock=listener, ssl=tls, limit=_MAX_HEAD)
    return await asyncio.start_server(connected, "127.0.0.1", port, ssl=tls, limit=_MAX_HEAD)


async def _connection(handler: Handler, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    port = int(writer.get_extra_info("sockname")[1])
    while True:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return
        request = await _request(head, reader, port)
        try:
            response = await handler(request)
        except Exception:  # of the emulator: said where it is seen, and not left to a client's patience
            traceback.print_exc()
            response = Response(501, {"error": {"code": "EmulatorFault", "message": traceback.format_exc()}})
        if response.drop:
            return
        body = response.encoded()
        headers = {"Content-Type": "application/json; charset=utf-8", **response.headers}
        if response.body is None:
            headers.pop("Content-Type")
        headers["Content-Length"] = str(len(body))
        reason = HTTPStatus(response.status).phrase if response.status in set(HTTPStatus) else "Unknown"
        lines = [f"HTTP/1.1 {response.status} {reason}", *(f"{name}: {value}" for name, value in headers.items())]
        sent = b"" if request.method == "HEAD" or response.status in (204, 304) else body
        writer.write("\r\n".join([*lines, "", ""]).encode() + sent)
        await writer.drain()
        if request.headers.get("connection", "").lower() == "close":
            return


async def _request(head: bytes, reader: asyncio.StreamReader, port: int) -> Request:
    first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    method, target, _ = first.split(" ", 2)
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if headers.get("transfer-encoding", "").lower() == "chunked":
        body = bytearray()
        while size := int((await reader.readline()).split(b";")[0], 16):
            body += await reader.readexactly(size)
            await reader.readexactly(2)
        await reader.readline()
    else:
        body = bytearray(await reader.readexactly(int(headers.get("content-length") or 0)))
    parts = urlsplit(target)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    return Request(method, target, unquote(parts.path), query, headers, bytes(body), port)
