"""Searches a log file from its end, in bounded time and memory, and feeds a reader with the lines that may matter."""

from __future__ import annotations

import re
import time
from pathlib import Path

from tritonctl.triage.logreading import LogReader, LogReading

_BLOCK = 4 * 1024 * 1024
_SMALL = 8 * 1024 * 1024  # read whole, line by line
_HEAD = 512 * 1024  # where a run's tables stand
BUDGET_S = 1.8
_MOST_LINES = 20_000
_LINE_BYTES = 4096

# Of a large log only the lines that can say something are read one by one: of the information, what these files write.
# With --log-verbose the servers' own files tell of every request: of them only the start counts.
_TELLING = (b"model_lifecycle.cc", b"pb_stub.cc", b"pinned_memory_manager.cc", b"Started ")
_INFO = re.compile(rb"model_lifecycle|pb_stub|pinned_memory_manager|Started (?:HTTP|GRPC|Metrics)")
_ISO_INFO = re.compile(rb"\d{4}-\d\d-\d\dT\S+ \d+ I ")
_RUN_BEGINS = (
    b"Pinned memory pool ",  # is created, or disabled
    b"Unable to allocate pinned system memory",
    b"= Triton Inference Server =",
    b": unrecognized option '",
)
# A literal first character lets `re` search by memchr: 2 GB/s measured, where an alternation makes 0.25.
_NO_INFO = re.compile(rb"\n[^I\n][^\n]{0,4095}")


def read(path: Path, budget_s: float = BUDGET_S) -> tuple[LogReading, str]:
    """The last run in this file, and what was left out, in words ("" for nothing). Raises OSError.

    Blocks for at most about `budget_s` seconds; call it in a thread.
    """
    reader = LogReader()
    with path.open("rb") as file:
        size = file.seek(0, 2)
        if size <= _SMALL:
            file.seek(0)
            reader.feed(file.read(size).decode("utf-8", "replace").split("\n"))
            return reader.reading, ""
        deadline = time.monotonic() + budget_s
        parts: list[list[bytes]] = []
        kept = 0
        position = size
        rest = b""
        complete = False
        while position > 0 and time.monotonic() < deadline and kept < _MOST_LINES:
            start = max(0, position - _BLOCK)
            file.seek(start)
            block = file.read(position - start) + rest
            position = start
            # The first line may be cut: it belongs to the block before.
            cut = block.find(b"\n") if start else -1
            rest = block[: cut + 1][:_LINE_BYTES] if cut >= 0 else b""
            found = _worth(block[cut + 1 :])[-(_MOST_LINES - kept) :]
            kept += len(found)
            parts.append(found)
            if any(words in block for words in _RUN_BEGINS):
                complete = True
                break
        if not complete and position > 0:
            file.seek(0)
            reader.feed(file.read(_HEAD).decode("utf-8", "replace").split("\n")[:-1])
    for part in reversed(parts):
        reader.feed(line.decode("utf-8", "replace") for line in part)
    searched = size - position
    left = ""
    if not complete and position > 0:
        why = f"they have {kept} lines that may matter" if kept >= _MOST_LINES else "there was no time for more"
        left = f"only the last {searched >> 20} of {size >> 20} MB were searched: {why}"
    return reader.reading, left


def _worth(block: bytes) -> list[bytes]:
    """The lines of a block that may matter, cut to a length."""
    if any(name in block for name in _TELLING):
        lines = block.split(b"\n")
        found = [line for line in lines if line and (not _is_info(line) or _INFO.search(line, 0, 120))]
    else:
        found = [line[1:] for line in _NO_INFO.findall(b"\n" + block)]
        if any(line[:2] == b"20" for line in found):
            found = [line for line in found if not _is_info(line)]
    return [line[:_LINE_BYTES] for line in found]


def _is_info(line: bytes) -> bool:
    return line[:1] == b"I" or (line[:2] == b"20" and _ISO_INFO.match(line) is not None)
