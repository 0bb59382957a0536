"""The framing of HTTP/1.1 over streams of asyncio's kind: the head of a request, and answers whose body is read as it
comes."""

from __future__ import annotations

import asyncio
import re
import select
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from typing import Protocol
from urllib.parse import quote

from tritonctl.errors import UsageError

BUFFER_BYTES = 256 * 1024
"""What a connection reads ahead, and the most that the head of an answer may have."""
_ON_THE_WIRE = re.compile(r"[\x21-\x7e]+")  # what a request line may hold (RFC 9112, section 3)
_PRINTABLE = "".join(map(chr, range(0x21, 0x7F)))
_HEXADECIMAL = re.compile(rb"[0-9A-Fa-f]{1,15}")

Headers = Iterable[tuple[str, str]]
InWords = Callable[[Exception], Exception]


class NotHttp(OSError):
    """What came back is no HTTP."""


class TooLarge(Exception):
    """The body is larger than what was allowed; `size` in bytes where the answer tells it before, else 0."""

    def __init__(self, size: int = 0) -> None:
        super().__init__(size)
        self.size = size


class Reader(Protocol):
    """As of an asyncio.StreamReader."""

    async def read(self, n: int = ...) -> bytes: ...

    async def readexactly(self, n: int) -> bytes: ...

    async def readuntil(self, separator: bytes = ...) -> bytes: ...

    def at_eof(self) -> bool: ...


class Writer(Protocol):
    """As of an asyncio.StreamWriter, but that `abort` ends it at once."""

    def write(self, data: bytes | memoryview) -> None: ...

    async def drain(self) -> None: ...

    def is_closing(self) -> bool: ...

    def abort(self) -> None: ...

    def has_news(self) -> bool:
        """Whether something came that nobody asked for: the end of a connection that nobody uses."""
        ...


Dial = Callable[[], Awaitable[tuple[Reader, Writer]]]
"""Makes a connection. What it raises comes through."""


class StreamWriter:
    """What asyncio.open_connection gives, as a Writer. The kernel asks whether there still is a way to the other end:
    a watch is silent for minutes (30 s)."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self.write = writer.write
        self.drain = writer.drain
        self.is_closing = writer.is_closing
        self._socket: socket.socket = writer.get_extra_info("socket")
        options = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
        for name, value in (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3)):
            if hasattr(socket, name):
                options.append((socket.IPPROTO_TCP, getattr(socket, name), value))
        with suppress(OSError):
            for option in options:
                self._socket.setsockopt(*option)

    def abort(self) -> None:
        with suppress(OSError, RuntimeError):
            self._writer.transport.abort()

    def has_news(self) -> bool:
        asked = select.poll()
        try:
            asked.register(self._socket.fileno(), select.POLLIN)
            return bool(asked.poll(0))
        except (OSError, ValueError):
            return True


class Connection:
    """One connection, for one request at a time."""

    def __init__(self, reader: Reader, writer: Writer) -> None:
        self.reader = reader
        self.writer = writer
        self.used = False
        self.idle_since = 0.0

    def stale(self, kept_s: float) -> bool:
        return (
            self.reader.at_eof()
            or self.writer.is_closing()
            or time.monotonic() - self.idle_since > kept_s
            or self.writer.has_news()
        )

    def close(self) -> None:
        self.writer.abort()


class Reply:
    """An answer whose body is still to be read, whole or in part; whoever asked closes it.

    `headers` has the names in small letters; several of one name are joined by a comma.
    """

    def __init__(self, status: int, headers: Mapping[str, str], body: _Body, in_words: InWords) -> None:
        self.status = status
        self.headers = headers
        self._body = body
        self._in_words = in_words

    @property
    def is_redirect(self) -> bool:
        return self.status in (301, 302, 303, 307, 308) and "location" in self.headers

    @property
    def connection(self) -> Connection:
        """After 101, for what follows that is no HTTP."""
        assert self._body.connection is not None
        return self._body.connection

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body, as it comes. Raises what `in_words` makes of an OSError or an EOFError."""
        try:
            async for piece in self._body.pieces():
                yield piece
        except (OSError, EOFError) as error:
            raise self._in_words(error) from None

    async def whole(self, limit: int) -> bytes:
        """The body, of at most `limit` bytes. Raises TooLarge, at once where the answer tells its size."""
        said = self.headers.get("content-length", "")
        if said.isascii() and said.isdigit() and int(said) > limit:
            raise TooLarge(int(said))
        chunks: list[bytes] = []
        size = 0
        async for piece in self.pieces():
            size += len(piece)
            if size > limit:
                raise TooLarge
            chunks.append(piece)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def unread(self, body: bytes) -> Reply:
        """The same answer, whose body was read, for somebody who reads it as it comes."""
        headers = {name: value for name, value in self.headers.items() if name != "content-encoding"}
        return Reply(self.status, headers, _Read(body), self._in_words)

    def close(self) -> None:
        """Before the body's end the connection is of no use any more."""
        self._body.close()


class _Body(Protocol):
    @property
    def connection(self) -> Connection | None: ...

    def pieces(self) -> AsyncIterator[bytes]: ...

    def close(self) -> None: ...


class _Read:
    """A body that was read."""

    connection = None

    def __init__(self, content: bytes) -> None:
        self._content = content

    async def pieces(self) -> AsyncIterator[bytes]:
        if self._content:
            yield self._content

    def close(self) -> None:
        self._content = b""


class BodyOf:
    """An answer's body: of a given length, in chunks, or until the connection ends."""

    def __init__(
        self,
        connection: Connection,
        method: str,
        status: int,
        fields: Mapping[str, str],
        done: Callable[[Connection, bool], None],
        *,
        keeps: bool,
    ) -> None:
        self.connection: Connection | None = connection
        self._done = done
        self._keeps = keeps
        self._chunked = fields.get("transfer-encoding", "").lower() == "chunked"
        length = fields.get("content-length", "")
        self._left = int(length) if length.isascii() and length.isdigit() and len(length) < 16 else None
        if method == "HEAD" or status in (204, 304):
            self._left, self._chunked = 0, False
        if status == 101:
            self._left, self._chunked, self._keeps = None, False, False
        elif self._left == 0 and not self._chunked:
            self._end(reusable=self._keeps)

    def close(self) -> None:
        self._end(reusable=False)

    def _end(self, *, reusable: bool) -> None:
        connection, self.connection = self.connection, None
        if connection is not None:
            self._done(connection, reusable)

    async def pieces(self) -> AsyncIterator[bytes]:
        if self.connection is None:
            return
        reader = self.connection.reader
        if self._chunked:
            while size := await _chunk_size(reader):
                while size:
                    piece = await reader.read(min(size, BUFFER_BYTES))
                    if not piece:
                        raise EOFError("it ended within a chunk of the answer")
                    size -= len(piece)
                    yield piece
                await reader.readexactly(2)
            while await _line(reader):  # trailers
                pass
        elif self._left is not None:
            whole = self._left
            while self._left:
                piece = await reader.read(min(self._left, BUFFER_BYTES))
                if not piece:
                    raise EOFError(f"it ended within the answer: received {whole - self._left} bytes, expected {whole}")
                self._left -= len(piece)
                yield piece
        else:
            self._keeps = False
            while piece := await reader.read(BUFFER_BYTES):
                yield piece
        self._end(reusable=self._keeps)


def request_head(method: str, target: str, authority: str, headers: Headers, content: bytes | None) -> bytes:
    """Request line and headers. Raises UsageError for a header that would be two.

    The target stays as it was written, since Triton matches names against the path as it arrives and decodes no %XX
    (server, http_server.cc; measured on 2.51.0). Only what no request line can hold is encoded.
    """
    if not _ON_THE_WIRE.fullmatch(target):
        target = quote(target, safe=_PRINTABLE)
    lines = [f"{method} {target} HTTP/1.1", f"Host: {authority}"]
    given = set()
    for name, value in headers:
        given.add(name.lower())
        lines.append(f"{name}: {value}")
    for line in lines:
        if "\r" in line or "\n" in line:  # it would be two; its value may be a secret
            raise UsageError(f"send the header {line.partition(':')[0]!r}", "it has a line end in it")
    if "content-length" not in given and (content is not None or method in ("POST", "PUT", "PATCH")):
        lines.append(f"Content-Length: {len(content or b'')}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


async def read_head(reader: Reader) -> tuple[int, bool, dict[str, str]]:
    """Status, whether the connection can be used again, and the headers of the final answer, their names in small
    letters; the answers before it (1xx, but for 101) are passed over."""
    while True:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            raise NotHttp("an answer without an end of its head") from None
        except asyncio.IncompleteReadError as error:
            if error.partial:
                raise NotHttp("an answer that is no HTTP, or was cut") from None
            raise EOFError("it was closed without an answer") from None
        first, *lines = head[:-4].decode("latin-1").split("\r\n")
        words = first.split(" ", 2)
        if len(words) < 2 or not words[0].startswith("HTTP/1.") or not (words[1].isascii() and words[1].isdigit()):
            raise NotHttp("an answer that is no HTTP")
        status = int(words[1])
        if status < 200 and status != 101:
            continue
        fields: dict[str, str] = {}
        for line in lines:
            name, _, value = line.partition(":")
            name, value = name.strip().lower(), value.strip()
            fields[name] = f"{fields[name]}, {value}" if name in fields else value
        said = {word.strip().lower() for word in fields.get("connection", "").split(",")}
        return status, "close" not in said and (words[0] != "HTTP/1.0" or "keep-alive" in said), fields


async def _chunk_size(reader: Reader) -> int:
    size = (await _line(reader)).split(b";", 1)[0].strip()
    if not _HEXADECIMAL.fullmatch(size):  # int() would take -1 as well, and that reads to the end
        raise NotHttp("a chunk without a size")
    return int(size, 16)


async def _line(reader: Reader) -> bytes:
    """Without its end."""
    try:
        return (await reader.readuntil(b"\r\n"))[:-2]
    except asyncio.LimitOverrunError:
        raise NotHttp("a line without an end") from None
