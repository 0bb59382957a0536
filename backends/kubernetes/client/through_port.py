"""HTTP to a pod over port-forward streams, without a port of this machine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from backends.kubernetes.client.forward import PortStream
from tritonctl.http1 import BUFFER_BYTES, Dial

OpenPort = Callable[[int], AbstractAsyncContextManager[PortStream]]


class PortConnections:
    """Makes them, each a stream to a port of the pod. `aclose` waits until all that were let go of are closed."""

    def __init__(self, open_port: OpenPort) -> None:
        self._open_port = open_port
        self._closing: set[asyncio.Task[bool | None]] = set()

    def dial(self, port: int) -> Dial:
        async def dialled() -> tuple[_Reader, _Writer]:
            opening = self._open_port(port)
            stream = await opening.__aenter__()
            return _Reader(stream), _Writer(stream, lambda: self._close(opening))

        return dialled

    def _close(self, opening: AbstractAsyncContextManager[PortStream]) -> None:
        task = asyncio.ensure_future(opening.__aexit__(None, None, None))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def aclose(self) -> None:
        await asyncio.gather(*self._closing, return_exceptions=True)


class _Reader:
    def __init__(self, stream: PortStream) -> None:
        self._stream = stream
        self._read = bytearray()
        self._ended = False

    async def _more(self) -> bool:
        piece = b"" if self._ended else await self._stream.read()
        self._ended = not piece
        self._read += piece
        return bool(piece)

    def _take(self, size: int) -> bytes:
        taken = bytes(self._read[:size])
        del self._read[:size]
        return taken

    async def read(self, n: int = BUFFER_BYTES) -> bytes:
        if not self._read:
            await self._more()
        return self._take(n)

    async def readexactly(self, n: int) -> bytes:
        while len(self._read) < n:
            if not await self._more():
                raise asyncio.IncompleteReadError(self._take(n), n)
        return self._take(n)

    async def readuntil(self, separator: bytes = b"\n") -> bytes:
        searched = 0
        while (at := self._read.find(separator, searched)) < 0:
            searched = max(0, len(self._read) - len(separator))
            if len(self._read) > BUFFER_BYTES:
                raise asyncio.LimitOverrunError("no separator", len(self._read))
            if not await self._more():
                raise asyncio.IncompleteReadError(self._take(len(self._read)), None)
        return self._take(at + len(separator))

    def at_eof(self) -> bool:
        return self._ended and not self._read


class _Writer:
    def __init__(self, stream: PortStream, close: Callable[[], None]) -> None:
        self._stream = stream
        self._close: Callable[[], None] | None = close
        self._unsent: list[bytes] = []

    def write(self, data: bytes | memoryview) -> None:
        self._unsent.append(bytes(data))

    async def drain(self) -> None:
        unsent, self._unsent = self._unsent, []
        await self._stream.write(b"".join(unsent))

    def is_closing(self) -> bool:
        return self._close is None

    def abort(self) -> None:
        close, self._close = self._close, None
        if close is not None:
            close()

    def has_news(self) -> bool:
        return False  # only a reader would see it
