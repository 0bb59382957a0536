"""Following a log file: its last lines, then what is added."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import BinaryIO

from tritonctl.backend import LogLine
from tritonctl.errors import Unreachable

_PAUSE_S = 0.2
_TAIL_BYTES = 4 * 1024 * 1024
_CHUNK_BYTES = 1024 * 1024
_BATCH = 2000  # lines that are handed on between two turns of the event loop


async def follow(path: Path, replica: str, *, tail: int, follow: bool) -> AsyncIterator[Sequence[LogLine]]:
    """The last `tail` lines, of at most 4 MiB, then each line as it ends. Raises Unreachable without the file.

    What reads or cuts runs in threads: 20,000 lines would hold up the keys, and a file system may be slow.
    """
    try:
        file = await asyncio.to_thread(path.open, "rb")
        try:
            lines, rest = await asyncio.to_thread(_end, file, replica, tail)
            for start in range(0, len(lines), _BATCH):
                yield lines[start : start + _BATCH]
                await asyncio.sleep(0)
            while follow:
                lines, rest, size = await asyncio.to_thread(_added, file, replica, rest)
                if lines:
                    yield lines
                await asyncio.sleep(0 if size == _CHUNK_BYTES else _PAUSE_S)
            if rest:
                yield _lines(replica, [rest])
        finally:
            file.close()
    except OSError as error:
        raise Unreachable(f"read {path}", error.strerror or "it cannot be read") from None


def _end(file: BinaryIO, replica: str, tail: int) -> tuple[list[LogLine], bytes]:
    """The last `tail` lines, and the beginning of the one that has not ended; a first line that may be cut is left."""
    size = file.seek(0, 2)
    start = max(0, size - _TAIL_BYTES) if tail else size
    file.seek(start)
    text = file.read(size - start)
    *ended, rest = (text.partition(b"\n")[2] if start and tail else text).split(b"\n")
    return _lines(replica, ended[-tail:] if tail else []), rest


def _added(file: BinaryIO, replica: str, rest: bytes) -> tuple[list[LogLine], bytes, int]:
    """The lines that have ended since, what has not, and how many bytes were read."""
    chunk = file.read(_CHUNK_BYTES)
    *ended, rest = (rest + chunk).split(b"\n")
    return _lines(replica, ended), rest, len(chunk)


def _lines(replica: str, texts: Sequence[bytes]) -> list[LogLine]:
    return [LogLine(replica, text.decode("utf-8", "replace")) for text in texts]
