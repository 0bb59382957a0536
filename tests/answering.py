"""Small servers that answer as no Triton does: on a free port of 127.0.0.1, gone at the end of the block."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus

from tritonctl.server.address import Secret, ServerAddress

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Respond = Callable[[str, str], bytes]  # method, target → the whole answer


@asynccontextmanager
async def listening(handler: Handler, *, tls: ssl.SSLContext | None = None, port: int = 0) -> AsyncIterator[int]:
    """The port on which `handler` takes each connection; what still runs at the end is cancelled."""
    at_work: set[asyncio.Task[None]] = set()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        at_work.add(task)
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                await handler(reader, writer)
            writer.close()
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            at_work.discard(task)

    server = await asyncio.start_server(take, "127.0.0.1", port, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in list(at_work):
            task.cancel()
        await asyncio.gather(*at_work, return_exceptions=True)


async def read_request(reader: asyncio.StreamReader) -> tuple[str, str, str]:
    """Method, target and the head of the next request, its body read over; ends at the end of the connection."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    length = head.lower().partition("content-length:")[2].partition("\r\n")[0]
    await reader.readexactly(int(length or 0))
    method, target, _ = head.split(" ", 2)
    return method, target, head


def answer(body: bytes | str = b"", status: int = 200, headers: str = "") -> bytes:
    content = body.encode() if isinstance(body, str) else body
    head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Length: {len(content)}\r\n{headers}\r\n"
    return head.encode() + content


def responding(respond: Respond) -> Handler:
    """A server that keeps its connections and answers each request with what `respond` makes."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            method, target, _ = await read_request(reader)
            writer.write(respond(method, target))
            await writer.drain()

    return handle


def always(body: bytes | str = b"", status: int = 200, headers: str = "") -> Handler:
    return responding(lambda _method, _target: answer(body, status, headers))


async def silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    """Takes the connection, reads what comes, and says nothing."""
    while await reader.read(1024):
        pass


def like_triton(_method: str, target: str, *, index: str = "[]", page: str = "") -> bytes:
    """What a ready server without models answers, or one with this index and this metrics page."""
    if target.startswith("/v2/health"):
        return answer()
    if target == "/metrics":
        return answer(page)
    return answer(index if target.endswith("/index") else "{}")


def local(port: int, *, metrics: int | None = None, token: str | None = None) -> ServerAddress:
    return ServerAddress(
        f"http://127.0.0.1:{port}",
        metrics=f"http://127.0.0.1:{metrics}/metrics" if metrics else None,
        headers={"Authorization": Secret(token)} if token else {},
    )


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
