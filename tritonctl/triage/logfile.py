"""Searches a log file from its end, in bounded time and memory, and feeds a reader with the lines that may matter."""

from __future__ import annotations

import re
import time
from pathlib import Path

from tritonctl.triage.logreading import LogReader, LogReading

_BLOCK = 4 * 1024 * 1024
_SMALL = 8 * 1024 * 1024  # read whole, line by line
_HEAD = 512 * 1024  # where a run's tables stand
BUDGET_S = 1.5
_MOST_LINES = 20_000
_LINE_BYTES = 4096

# Of a large log only the lines that can say something are looked at one by one: warnings and errors, what has no
# prefix, the tables, and of the information what the reader takes in.
_WORTH = re.compile(
    rb"\n((?:[WEF]\d{4} |\d{4}-\d\d-\d\dT\S+ \d+ [WEF] |(?!I\d{4} |\d{4}-\d\d-\d\dT)[^\n]"
    rb"|I\d{4} \S+ \d+ (?:model_lifecycle|pb_stub|http_server|grpc_server|pinned_memory_manager))[^\n]{0,4096})"
)
_RUN_BEGINS = re.compile(rb"pinned_memory_manager\.cc:|Triton Inference Server ?=|: unrecognized option '")


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
            block = b"\n" + block if start == 0 else block[cut:]
            found: list[bytes] = _WORTH.findall(block)[-(_MOST_LINES - kept) :]
            kept += len(found)
            parts.append(found)
            if _RUN_BEGINS.search(block):
                complete = True
                break
        if not complete and position > 0:
            file.seek(0)
            reader.feed(file.read(_HEAD).decode("utf-8", "replace").split("\n")[:-1])
    for part in reversed(parts):
        reader.feed(line.decode("utf-8", "replace") for line in part)
    searched = size - position
    left = (
        "" if complete or position == 0 else f"only the last {searched >> 20} of {size >> 20} MB were searched in time"
    )
    return reader.reading, left
