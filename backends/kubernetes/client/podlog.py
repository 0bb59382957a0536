"""One container's log through the API server: its pieces as lines with their times, read to the end or followed."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator

from backends.kubernetes.client.api import Api
from backends.kubernetes.client.objects import seconds
from backends.kubernetes.client.paths import resource
from tritonctl.backend import LogLine

MAX_LINE = 64 * 1024
_CUT = b" \xe2\x80\xa6 (the line is longer than 64 KiB)"
_TAIL = 2000
_TAIL_CHARACTERS = 8_000_000  # a tensor that a model prints makes lines of any length
# The kubelet says it with status 200, as the log's only line and without a time (its GetContainerLogs).
GONE = "unable to retrieve container logs for"


class Lines:
    """Takes pieces of a log with timestamps apart. `last` is the time of the newest line, as the kubelet wrote it."""

    def __init__(self, replica: str) -> None:
        self._replica = replica
        self._rest = bytearray()
        self._cut = False
        self.last = ""
        self.same = 0  # lines that have this very time
        self._after = ""
        self._skip = 0

    def resume(self) -> None:
        """What comes begins with lines that were read before: up to the newest one, they are left out."""
        self._rest.clear()
        self._cut = False
        self._after, self._skip = self.last, self.same

    def feed(self, piece: bytes) -> list[LogLine]:
        lines: list[LogLine] = []
        *whole, rest = piece.split(b"\n")
        for each in whole:
            self._keep(each)
            if (line := self._line(bytes(self._rest))) is not None:
                lines.append(line)
            self._rest.clear()
            self._cut = False
        self._keep(rest)
        return lines

    def end(self) -> list[LogLine]:
        """The last line, if it was not ended."""
        line = self._line(bytes(self._rest)) if self._rest else None
        self._rest.clear()
        return [line] if line is not None else []

    def _keep(self, piece: bytes) -> None:
        room = MAX_LINE - len(self._rest)
        self._rest += piece[: max(room, 0)]
        if len(piece) > room and not self._cut:
            self._cut = True
            self._rest += _CUT

    def _line(self, raw: bytes) -> LogLine | None:
        stamp, _, content = raw.partition(b" ")
        written = stamp.decode("ascii", "replace")
        at = seconds(written) if 20 <= len(stamp) <= 36 else None
        if at is None:  # the kubelet's own words, as of a log that is gone: without a time
            return LogLine(self._replica, _text(raw))
        if self._after:
            if _sortable(written) < _sortable(self._after):
                return None
            if written == self._after and self._skip:
                self._skip -= 1
                return None
            if written != self._after:
                self._after = ""
        self.same = self.same + 1 if written == self.last else 1
        self.last = written
        return LogLine(self._replica, _text(content), at)


async def stream(
    api: Api,
    namespace: str,
    pod: str,
    container: str,
    *,
    follow: bool = False,
    previous: bool = False,
    tail: int | None = None,
    since: str = "",
) -> AsyncGenerator[bytes, None]:
    """`since` is a time in RFC 3339, which the API server takes to the second. Raises OperationFailed with the
    kubelet's words where there is no log, as of a container that has not started."""
    query: dict[str, str | int | bool] = {"container": container, "timestamps": True}
    if follow:
        query["follow"] = True
    if previous:
        query["previous"] = True
    if tail is not None:
        query["tailLines"] = max(tail, 0)
    if since:
        query["sinceTime"] = since
    async for piece in api.raw(resource("v1", "pods", namespace, pod, "log"), query):
        yield piece


async def tail(api: Api, namespace: str, pod: str, container: str, previous: bool = False) -> list[str]:
    """The last lines' texts, of 2,000 lines and 8 million characters at most."""
    lines, found, size = Lines(pod), deque[str](), 0
    async for piece in stream(api, namespace, pod, container, previous=previous, tail=_TAIL):
        for line in lines.feed(piece):
            found.append(line.text)
            size += len(line.text)
            while size > _TAIL_CHARACTERS:
                size -= len(found.popleft())
    return [*found, *(line.text for line in lines.end())]


def _text(content: bytes) -> str:
    return content.decode("utf-8", "replace").removesuffix("\r")


def _sortable(stamp: str) -> str:
    """Go leaves zeros at the end of a fraction out: 04.1Z is 04.100000000Z."""
    whole, _, fraction = stamp.rstrip("Z").partition(".")
    return f"{whole}.{fraction:0<9}"
