"""A pool of connections to one place, and requests over them.

Requests are what an idle dashboard costs: one takes 0.15 to 0.2 ms of CPU here and 0.7 to 1.3 ms through httpx and
httpcore, whose import would also stand before the first frame (measured on loopback, Python 3.11).
"""

from __future__ import annotations

import asyncio
import time

from tritonctl.http1 import BodyOf, Connection, Dial, Headers, InWords, Reply, read_head, request_head

_PIECE_BYTES = 1024 * 1024
_KEPT = 64  # connections that nobody uses just now; one costs a TLS handshake, 5 ms
_KEPT_S = 60.0  # API servers keep theirs for longer, load balancers in between four minutes
_IDEMPOTENT = ("GET", "HEAD")


class Wire:
    """Requests to one place. `most` connections at once: a request beyond waits for one to be free.

    Raises OSError, ssl.SSLError, EOFError and NotHttp as they come.
    """

    def __init__(
        self,
        dial: Dial,
        authority: str,
        *,
        base: str = "",
        most: int | None = None,
        kept: int = _KEPT,
        kept_s: float = _KEPT_S,
    ) -> None:
        self._dial = dial
        self._authority = authority
        self._base = base
        self._keep = kept
        self._kept_s = kept_s
        self._free = asyncio.Semaphore(most) if most is not None else None
        self._idle: list[Connection] = []
        self._closed = False

    def close(self) -> None:
        """Those in use are closed by who uses them."""
        self._closed = True
        for each in self._idle:
            each.close()
        self._idle = []

    async def send(
        self, method: str, target: str, headers: Headers, content: bytes | None, in_words: InWords = lambda error: error
    ) -> Reply:
        """The answer with its body still to be read; closing it gives the connection back, or closes it.

        `in_words` makes what the body's reader is told of an error while it reads.
        """
        head = request_head(method, self._base + target, self._authority, headers, content)
        if self._free is not None:
            await self._free.acquire()
        try:
            while True:
                connection = self._kept() or Connection(*await self._dial())
                used, connection.used = connection.used, True
                try:
                    return await self._ask(connection, method, head, content or b"", in_words)
                except (ConnectionError, EOFError):
                    connection.close()
                    # The server closed an idle connection in the same moment: that tells nothing of it. What changes
                    # something is not sent twice.
                    if not used or method not in _IDEMPOTENT:
                        raise
                except BaseException:
                    connection.close()
                    raise
        except BaseException:
            self._release()
            raise

    async def _ask(self, connection: Connection, method: str, head: bytes, content: bytes, in_words: InWords) -> Reply:
        writer = connection.writer
        if len(content) <= _PIECE_BYTES:
            writer.write(head + content)
            await writer.drain()
        else:  # whole it would be copied by the event loop at once, and nothing else happen meanwhile
            writer.write(head)
            view = memoryview(content)
            for at in range(0, len(content), _PIECE_BYTES):
                writer.write(view[at : at + _PIECE_BYTES])
                await writer.drain()
        status, keeps, fields = await read_head(connection.reader)
        body = BodyOf(connection, method, status, fields, self._done, keeps=keeps)
        return Reply(status, fields, body, in_words)

    def _kept(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if not connection.stale(self._kept_s):
                return connection
            connection.close()
        return None

    def _done(self, connection: Connection, reusable: bool) -> None:
        self._release()
        if not reusable or self._closed or len(self._idle) >= self._keep:
            connection.close()
            return
        connection.idle_since = time.monotonic()
        self._idle.append(connection)

    def _release(self) -> None:
        if self._free is not None:
            self._free.release()
