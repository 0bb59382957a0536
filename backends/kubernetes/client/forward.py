"""A pod's port through the API server: one connection as a stream, and a loopback port that follows the pod."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from backends.kubernetes.client.api import Api
from backends.kubernetes.client.paths import resource
from backends.kubernetes.client.websocket import WebSocket
from tritonctl.errors import NotFound, OperationFailed, TritonctlError, Unreachable

# Channels with binary messages: known to every kubelet since 1.4, and to the API server's newer tunnels as well.
PROTOCOL = "v4.channel.k8s.io"
_DATA, _ERROR = 0, 1
_PIECE_BYTES = 32 * 1024
_CLOSE_S = 1.0
OPEN_S = 10.0

FindPod = Callable[[], Awaitable[str]]
"""The name of the pod that is to be reached now; asked anew for each connection. Raises TritonctlError for none."""


class PortStream:
    """One connection to a port of a pod."""

    def __init__(self, socket: WebSocket, tried: str) -> None:
        self._socket = socket
        self._tried = tried
        self._met: set[int] = set()

    async def read(self) -> bytes:
        """b"" at its end. Raises Unreachable with the kubelet's words where nothing listens at the port."""
        while True:
            message = await self._socket.receive()
            if message is None:
                return b""
            channel, content = message[0] if message else _DATA, message[1:]
            if channel not in self._met:  # the first message of a channel is the port's number
                self._met.add(channel)
                continue
            if channel == _ERROR:
                raise _refused(self._tried, content.decode("utf-8", "replace"))
            if content:
                return content

    async def write(self, content: bytes) -> None:
        for at in range(0, len(content), _PIECE_BYTES):
            await self._socket.send(bytes((_DATA,)) + content[at : at + _PIECE_BYTES])

    async def close(self) -> None:
        """Say that it ends; what is behind a connection that broke does not hear it."""
        with suppress(TritonctlError, OSError, TimeoutError):
            async with asyncio.timeout(_CLOSE_S):
                await self._socket.close()


@asynccontextmanager
async def open_port(api: Api, namespace: str, pod: str, port: int) -> AsyncIterator[PortStream]:
    """Raises Forbidden with the right that lacks, NotFound for a pod that is gone, Unreachable."""
    path = resource("v1", "pods", namespace, pod, "portforward")
    async with api.upgrade(path, {"ports": port}, (PROTOCOL,), deadline_s=OPEN_S) as upgraded:
        stream = PortStream(WebSocket(upgraded), f"port {port} of pod {namespace}/{pod}")
        try:
            yield stream
        finally:
            await stream.close()


@asynccontextmanager
async def listening(api: Api, namespace: str, find_pod: FindPod, port: int) -> AsyncIterator[str]:
    """127.0.0.1:PORT, each connection to which is led to the pod's `port`, for as long as this is open.

    A connection whose pod dies is closed; the next one goes to the pod that `find_pod` names then.
    """
    await find_pod()  # nothing is opened for a pod that is not there
    at_work: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        at_work.add(task)
        try:
            async with open_port(api, namespace, await find_pod(), port) as stream:
                await _both_ways(reader, writer, stream)
        except (TritonctlError, OSError):
            pass  # its client sees the connection close, and connects anew
        except asyncio.CancelledError:
            # Only `listening` cancels it, at its own end. It must not end as cancelled: the callback that Python 3.11's
            # asyncio.start_server puts on it asks for its exception, which raises there, and a traceback is printed.
            pass
        finally:
            at_work.discard(task)
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        host, number = server.sockets[0].getsockname()[:2]
        yield f"{host}:{number}"
    finally:
        server.close()
        for task in at_work:
            task.cancel()
        await asyncio.gather(*at_work, return_exceptions=True)
        await server.wait_closed()


async def _both_ways(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, stream: PortStream) -> None:
    """Until one side ends: a port-forward has no half-closed state."""

    async def out() -> None:
        while piece := await reader.read(_PIECE_BYTES):
            await stream.write(piece)

    async def back() -> None:
        while piece := await stream.read():
            writer.write(piece)
            await writer.drain()

    ways = [asyncio.create_task(out()), asyncio.create_task(back())]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in ways:
            each.cancel()
        await asyncio.gather(*ways, return_exceptions=True)


def _refused(tried: str, said: str) -> TritonctlError:
    words = " ".join(said.split())[:300]
    if "refused" in words.lower():
        return Unreachable(
            tried,
            f"nothing listens there ({words})",
            "Triton opens its ports only when all start-up models are loaded: loading, stopped, or another port",
            kind="refused",
        )
    if "not running" in words or "not found" in words:
        return NotFound(tried, words, "the pod has ended: look for the one in its place")
    if "socat" in words:
        return OperationFailed(tried, words, "the node lacks socat, which its container runtime forwards ports with")
    return Unreachable(tried, words or "the kubelet gave no reason", "try again", kind="lost")
