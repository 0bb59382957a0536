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


async def follow(path: Path, replica: str, *, tail: int, follow: bool) -> AsyncIterator[Sequence[LogLine]]:
    """The last `tail` lines, of at most 4 MiB, then each line as it ends. Raises Unreachable without the file."""

    def lines(texts: Sequence[bytes]) -> list[LogLine]:
        return [LogLine(replica, text.decode("utf-8", "replace")) for text in texts]

    try:
        with _open(path) as file:
            *ended, rest = _last_bytes(file, tail).split(b"\n")
            yield lines(ended[-tail:] if tail else [])
            while follow:
                while chunk := file.read(_CHUNK_BYTES):
                    *ended, rest = (rest + chunk).split(b"\n")
                    yield lines(ended)
                    await asyncio.sleep(0)
                await asyncio.sleep(_PAUSE_S)
            if rest:
                yield lines([rest])
    except OSError as error:
        raise Unreachable(f"read {path}", error.strerror or "it cannot be read") from None


def _open(path: Path) -> BinaryIO:
    return path.open("rb")


def _last_bytes(file: BinaryIO, tail: int) -> bytes:
    """What is at the end of the file; the first line, which may be cut, is left out."""
    size = file.seek(0, 2)
    start = max(0, size - _TAIL_BYTES) if tail else size
    file.seek(start)
    text = file.read(size - start)
    return text.partition(b"\n")[2] if start and tail else text
