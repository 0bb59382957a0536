"""A container's log: the engine's frames taken apart into lines, the runs told apart, no line lost without a word."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from backends.docker.container import Container, seconds
from backends.docker.engine import Engine
from tritonctl.backend import LogLine
from tritonctl.errors import TritonctlError, fault
from tritonctl.server import log

_HEADER = 8
_MAX_LINE = 64 * 1024
_CUT = " … (the line is longer than 64 KiB)"
_KEPT_LINES = 5_000  # not yet taken by the reader; beyond, no more is read
_KEPT_BYTES = 8 * 1024 * 1024
_BATCH_S = 0.05
_SILENT_S = 30.0  # between two pieces of what is there already
_LATE_S = 1.0  # when the reader falls behind what is added by so much more than it was, not all of it is read
_SHOWN_OF_LATE = 20
# The engine notes the start of a process only when it runs, so its first lines may be older than that.
_EARLY_S = 0.1


@dataclass(frozen=True, slots=True)
class Run:
    """From when to when a run of the container wrote, in seconds since the epoch; None is open."""

    since: float | None
    until: float | None


def current_run(container: Container) -> Run:
    state = container.state
    if state.started_at is None:
        return Run(None, None)
    if state.finished_at is not None and state.finished_at < state.started_at:
        if _ended_at_once(container):
            return Run(state.finished_at - _EARLY_S, None)
        # It runs, and ran before: lines of both come within milliseconds of the engine's own times.
        return Run((state.finished_at + state.started_at) / 2, None)
    return Run(state.started_at - _EARLY_S if state.finished_at is not None else None, None)


def previous_run(container: Container, starts: Sequence[float]) -> Run | None:
    """`starts` are the times of its starts that the engine remembers. None where there was one run only."""
    here = current_run(container)
    if here.since is None or (not any(start < here.since for start in starts) and not _ran_before(container)):
        return None
    earlier = [start for start in starts if start < here.since]
    return Run(max(earlier) - _EARLY_S if earlier else None, here.since)


def _ran_before(container: Container) -> bool:
    state = container.state
    before = state.started_at is not None and state.finished_at is not None and state.finished_at < state.started_at
    return container.restarts > 0 or (before and not _ended_at_once(container))


def _ended_at_once(container: Container) -> bool:
    """A program that cannot be run ends before the engine has noted that it started (measured: 1 ms)."""
    state = container.state
    return (
        not state.running
        and state.started_at is not None
        and state.finished_at is not None
        and 0.0 < state.started_at - state.finished_at < _EARLY_S
    )


class Lines:
    """Takes frames apart, or, with a terminal attached to the container, a plain stream. Keeps at most one line.

    `began` is when the reading did: what was written before is read whole, however long that takes.
    """

    def __init__(self, replica: str, *, tty: bool, began: float = 0.0) -> None:
        self.replica = replica
        self._began = began
        self._behind_s = 0.0  # how near this has come to what is being added
        self._tty = tty
        self._rest = bytearray()  # bytes of a frame, or of a plain line, that is not whole
        self._open: dict[int, bytearray] = {}  # a line that is not ended yet, by its stream
        self._times: dict[int, float | None] = {}
        self._skipped = 0  # lines that were counted, not read, and not told yet

    def feed(self, chunk: bytes, now: float | None = None) -> list[LogLine]:
        """The lines that the chunk ends. With `now`, where they are added faster than they can be read, only the last
        ones are read and the rest is counted: to read all would be to fall ever further behind (10 us a line, against
        0.3 us to count it)."""
        self._rest += chunk
        if now is not None and self._falls_behind(now):
            self._skipped += self._skip_lines() if self._tty else self._skip_frames()
        lines = self._feed_plain() if self._tty else self._feed_frames()
        if self._skipped and lines:
            lines[0] = replace(lines[0], dropped=self._skipped)
            self._skipped = 0
        return lines

    def _falls_behind(self, now: float) -> bool:
        """Reading what was written before takes its time, and what is added meanwhile waits that long: that is no
        falling behind, as long as it gets less."""
        place = 0 if self._tty else _HEADER
        at = seconds(bytes(self._rest[place : place + 40]).partition(b" ")[0].decode("ascii", "replace"))
        if at is None:
            return False
        if at <= self._began:
            self._behind_s = now - self._began
            return False
        if now - at > self._behind_s + _LATE_S:
            self._behind_s = 0.0  # once behind, it catches up for good
            return True
        self._behind_s = min(self._behind_s, now - at)
        return False

    def _skip_frames(self) -> int:
        """Take away all whole frames but the last ones; how many lines that were."""
        data, place, ends = bytes(self._rest), 0, []
        while place + _HEADER <= len(data):
            place += _HEADER + int.from_bytes(data[place + 4 : place + _HEADER])
            if place > len(data):
                break
            ends.append(place)
        gone = ends[:-_SHOWN_OF_LATE]
        if not gone:
            return 0
        for pending in self._open.values():
            pending.clear()
        del self._rest[: gone[-1]]
        return sum(data[end - 1] == 10 for end in gone)

    def _skip_lines(self) -> int:
        """The same of a plain stream."""
        data = bytes(self._rest)
        end = len(data)
        for _ in range(_SHOWN_OF_LATE + 1):
            end = data.rfind(b"\n", 0, end)
            if end < 0:
                return 0
        for pending in self._open.values():
            pending.clear()
        del self._rest[: end + 1]
        return data.count(b"\n", 0, end + 1)

    def end(self) -> list[LogLine]:
        """The last lines, if they were not ended."""
        return [self._line(stream) for stream in list(self._open) if self._open[stream]]

    def _feed_frames(self) -> list[LogLine]:
        lines: list[LogLine] = []
        data, place = bytes(self._rest), 0
        while place + _HEADER <= len(data):
            size = int.from_bytes(data[place + 4 : place + _HEADER])
            end = place + _HEADER + size
            if end > len(data):
                break
            self._message(data[place], data[place + _HEADER : end], lines)
            place = end
        if len(data) - place > 4 * _MAX_LINE:  # no engine writes such a frame: not to be kept in memory
            place = len(data)
        del self._rest[:place]
        return lines

    def _feed_plain(self) -> list[LogLine]:
        lines: list[LogLine] = []
        while (end := self._rest.find(b"\n")) >= 0:
            message = bytes(self._rest[: end + 1])
            del self._rest[: end + 1]
            self._message(1, message, lines)
        if len(self._rest) > _MAX_LINE:
            self._message(1, bytes(self._rest), lines)
            self._rest.clear()
        return lines

    def _message(self, stream: int, message: bytes, lines: list[LogLine]) -> None:
        """One message of the log driver: a time and a line, or the next 16 KiB of one."""
        stamp, _, text = message.partition(b" ")
        at = seconds(stamp.decode("ascii", "replace")) if 20 <= len(stamp) <= 36 else None
        if at is None:
            text = message
        pending = self._open.setdefault(stream, bytearray())
        if not pending:
            self._times[stream] = at
        room = _MAX_LINE - len(pending)
        pending += text[: max(room, 0)]
        if len(text) > max(room, 0) and not pending.endswith(_CUT.encode()):
            pending += _CUT.encode()
        if text.endswith(b"\n"):
            lines.append(self._line(stream))

    def _line(self, stream: int) -> LogLine:
        text = bytes(self._open[stream]).decode("utf-8", "replace").removesuffix("\n").removesuffix("\r")
        self._open[stream].clear()
        return LogLine(self.replica, text, self._times.get(stream))


async def read(
    engine: Engine, container: Container, replica: str, run: Run, *, tail: int, follow: bool
) -> AsyncIterator[Sequence[LogLine]]:
    """The last `tail` lines of a run and, with `follow`, what is added. Nothing of what was written before is lost; of
    what is added faster than it is taken some is, and the line after it tells how many."""
    query: dict[str, str | int | bool] = {"stdout": True, "stderr": True, "timestamps": True, "follow": follow}
    query["tail"] = tail if tail > 0 else 0
    if run.since is not None:
        query["since"] = f"{run.since:.9f}"
    if run.until is not None:
        query["until"] = f"{run.until:.9f}"
    began = time.time()
    lines = Lines(replica, tty=container.tty, began=began)
    pieces = engine.raw(f"/containers/{container.id}/logs", query, silent_s=None if follow else _SILENT_S)
    if not follow:
        async for piece in pieces:
            if batch := lines.feed(piece):
                yield batch
                await asyncio.sleep(0)
        if batch := lines.end():
            yield batch
        return
    waiting = _Waiting()
    reading = asyncio.create_task(_pump(pieces, lines, waiting), name=f"log {replica}")
    try:
        async for taken in waiting.batches():
            yield taken
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


class _Waiting:
    """Lines between the one who reads the engine and the one who shows them, bounded in number and size."""

    def __init__(self) -> None:
        self._lines: list[LogLine] = []
        self._bytes = 0
        self._news = asyncio.Event()
        self._full = asyncio.Event()
        self._room = asyncio.Event()
        self._ended = False
        self._error: TritonctlError | None = None

    async def put(self, batch: Sequence[LogLine]) -> None:
        """Returns once all of them are in: no faster than they are taken."""
        for line in batch:
            if len(self._lines) >= _KEPT_LINES or self._bytes >= _KEPT_BYTES:
                self._room.clear()
                self._full.set()
                await self._room.wait()
            self._lines.append(line)
            self._bytes += len(line.text)
            self._news.set()

    def end(self, error: TritonctlError | None = None) -> None:
        self._ended = True
        self._error = error
        self._news.set()
        self._full.set()

    async def batches(self) -> AsyncIterator[Sequence[LogLine]]:
        while True:
            await self._news.wait()
            self._news.clear()
            batch, self._lines, self._bytes = self._lines, [], 0
            self._full.clear()
            self._room.set()
            if batch:
                yield batch
            if self._ended and not self._lines:
                if self._error is not None:
                    raise self._error
                return
            with suppress(TimeoutError):  # a flood is shown in few, larger pieces
                async with asyncio.timeout(_BATCH_S):
                    await self._full.wait()


async def _pump(pieces: AsyncIterator[bytes], lines: Lines, waiting: _Waiting) -> None:
    try:
        async for piece in pieces:
            await waiting.put(lines.feed(piece, time.time()))
            await asyncio.sleep(0)
        await waiting.put(lines.end())
    except TritonctlError as error:
        waiting.end(error)
    except Exception as caught:  # who waits for lines would wait for ever
        waiting.end(fault(f"read the log of {lines.replica}", caught))
    else:
        waiting.end()


async def last_words(engine: Engine, container: Container) -> str:
    """What the log says of why the server ended: a model's reason first, else its last error."""
    newest = log.Newest()
    try:
        async with asyncio.timeout(2.0):
            async for batch in read(engine, container, container.name, current_run(container), tail=2000, follow=False):
                newest.add(line.text for line in batch)
    except (TritonctlError, TimeoutError):
        return ""
    return log.last_words(newest.lines)
