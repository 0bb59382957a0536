"""WebSocket frames over a connection that was upgraded (RFC 6455): what a port-forward needs and no more."""

from __future__ import annotations

import secrets
from typing import Protocol

from tritonctl.errors import Unreachable

_CONTINUED, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
MAX_MESSAGE_BYTES = 4 * 1024 * 1024  # the API server cuts a port-forward into pieces of 32 KiB
_PIECE_BYTES = 64 * 1024


class Connection(Protocol):
    """What is below: bytes both ways."""

    async def read(self, max_bytes: int = ...) -> bytes: ...

    async def write(self, content: bytes) -> None: ...


class WebSocket:
    """The client's side. One task may read while another one writes."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._rest = bytearray()

    async def send(self, message: bytes) -> None:
        await self._write(_BINARY, message)

    async def receive(self) -> bytes | None:
        """The next message; None when the other side has closed. Raises Unreachable for what is no WebSocket."""
        message = bytearray()
        while True:
            frame = await self._frame()
            if frame is None:
                return None
            last, kind, content = frame
            if kind == _CLOSE:
                return None
            if kind == _PING:
                await self._write(_PONG, content)
            elif kind in (_TEXT, _BINARY, _CONTINUED):
                message += content
                if len(message) > MAX_MESSAGE_BYTES:
                    raise _garbage(f"a message larger than {MAX_MESSAGE_BYTES // 2**20} MiB")
                if last:
                    return bytes(message)
            elif kind != _PONG:
                raise _garbage(f"a frame of kind {kind}")

    async def close(self) -> None:
        await self._write(_CLOSE, (1000).to_bytes(2))

    async def _frame(self) -> tuple[bool, int, bytes] | None:
        if not await self._fill(2):
            return None
        first, second = self._rest[0], self._rest[1]
        if first & 0x70:
            raise _garbage("a frame of an extension that was not agreed on")
        if second & 0x80:
            raise _garbage("a masked frame, which no server may send")
        size, head = second & 0x7F, 2
        if size >= 126:
            wide = 2 if size == 126 else 8
            if not await self._fill(2 + wide):
                return None
            size, head = int.from_bytes(self._rest[2 : 2 + wide]), 2 + wide
        if size > MAX_MESSAGE_BYTES:
            raise _garbage(f"a frame of {size} bytes")
        if not await self._fill(head + size):
            return None
        content = bytes(self._rest[head : head + size])
        del self._rest[: head + size]
        return bool(first & 0x80), first & 0x0F, content

    async def _fill(self, size: int) -> bool:
        while len(self._rest) < size:
            piece = await self._connection.read(_PIECE_BYTES)
            if not piece:
                return False
            self._rest += piece
        return True

    async def _write(self, kind: int, content: bytes) -> None:
        size = len(content)
        if size < 126:
            head = bytes((0x80 | kind, 0x80 | size))
        elif size < 65536:
            head = bytes((0x80 | kind, 0xFE)) + size.to_bytes(2)
        else:
            head = bytes((0x80 | kind, 0xFF)) + size.to_bytes(8)
        mask = secrets.token_bytes(4)
        await self._connection.write(head + mask + masked(content, mask))


def masked(content: bytes, mask: bytes) -> bytes:
    """As one number: byte by byte a megabyte would take a tenth of a second."""
    size = len(content)
    pattern = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(content) ^ int.from_bytes(pattern)).to_bytes(size)


def _garbage(what: str) -> Unreachable:
    return Unreachable("speak WebSocket with the API server", f"it sent {what}", kind="garbage")
