"""Reading tritonserver's own log: a line's level, and the reasons that no API gives.

Formats as tritonserver 2.51.0 writes them: `I1121 14:02:31.000000 12 file.cc:34] "text"`, and ISO 8601 with
--log-format=ISO8601; the python backend's stub lines carry no quotes, gRPC's and protobuf's no prefix at all.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    INFO = "I"
    WARNING = "W"
    ERROR = "E"
    FATAL = "F"
    NONE = ""


@dataclass(frozen=True, slots=True)
class Line:
    severity: Severity
    time: str  # as the server wrote it, "" where there is none
    text: str


class Newest:
    """The newest lines of a log, of at most `most_bytes` together: a line may have 64 KiB, and a log ends anywhere."""

    def __init__(self, most_bytes: int = 8 * 1024 * 1024) -> None:
        self._most = most_bytes
        self._size = 0
        self._lines: deque[str] = deque()

    def add(self, lines: Iterable[str]) -> None:
        for line in lines:
            self._lines.append(line)
            self._size += len(line)
            while self._size > self._most:
                self._size -= len(self._lines.popleft())

    @property
    def lines(self) -> list[str]:
        return list(self._lines)


_DEFAULT = re.compile(r'^([IWEF])\d{4} (\d\d:\d\d:\d\d)\.\d+ \d+ (\S+:\d+)\] ?"?(.*?)"?$', re.DOTALL)
_ISO = re.compile(r'^\d{4}-\d\d-\d\dT(\d\d:\d\d:\d\d)\S* \d+ ([IWEF]) (\S+:\d+)\] ?"?(.*?)"?$', re.DOTALL)


def parse_line(text: str) -> Line:
    """One line of the log; a line in no known format is text without a severity."""
    found = _DEFAULT.match(text)
    if found:
        return Line(Severity(found[1]), found[2], _unescape(found[4]))
    found = _ISO.match(text)
    if found:
        return Line(Severity(found[2]), found[1], _unescape(found[4]))
    return Line(Severity.NONE, "", text)


def _unescape(text: str) -> str:
    return text.replace("\\n", "\n").replace('\\"', '"') if "\\" in text else text


_POLL_FAILED = re.compile(r"Poll failed for model directory '(.+?)': (.+)", re.DOTALL)
_LOAD_FAILED = re.compile(r"failed to load '(.+?)' version \d+: (.+)", re.DOTALL)
# The first thing that a starting server logs is its pool of pinned memory; later it may log that it is used up.
_BEGINS = "pinned_memory_manager.cc:"
_IN_USE = re.compile(r"failed to allocate|CUDA")
_PROTOBUF = "Error parsing text-format inference.ModelConfig:"
_LOADED = re.compile(r"successfully loaded '(.+?)'")


def reasons(lines: Iterable[str]) -> dict[str, str]:
    """For each model that the log last tells a failure of: the reason. A later success takes it back."""
    found: dict[str, str] = {}
    parse_error = ""
    for raw in lines:
        if _BEGINS in raw and raw[:1] in "IW" and not _IN_USE.search(raw):
            found.clear()  # what a run before this one refused says nothing of this one
        if _PROTOBUF in raw:
            parse_error = raw.partition(_PROTOBUF)[2].strip()
        if "'" not in raw:
            continue
        text = parse_line(raw).text
        if failed := _POLL_FAILED.search(text) or _LOAD_FAILED.search(text):
            reason = failed[2].strip()
            if parse_error and "failed to read text proto" in reason:
                # What is wrong with config.pbtxt stands in protobuf's own line before.
                reason = f"config.pbtxt:{parse_error}\n{reason}"
            found[failed[1]] = reason
            parse_error = ""
        elif loaded := _LOADED.search(text):
            found.pop(loaded[1], None)
    return found


_WRONG_OPTION = re.compile(
    r"unrecognized option|requires an argument|Invalid option value|Bad option:|option format is"
)
_ERROR = re.compile(r"[EF]\d{4} |\d{4}-\S+ \d+ [EF] |[Ee]rror: ")


def last_words(lines: Sequence[str]) -> str:
    """The line that explains most; that all models failed, and the chatter of the end, explain nothing."""
    for model, reason in reasons(lines).items():
        first = reason.strip().splitlines()[0].removeprefix("Internal: ") if reason.strip() else "no reason given"
        return f"{model}: {first}"
    # A wrong option comes with the usage, some hundred lines, before or after it.
    options = [line for line in lines if _WRONG_OPTION.search(line)]
    if options:
        return options[0].strip()[:300]
    errors = [line for line in lines if _ERROR.match(line)]
    telling = [line for line in errors if "CudaDriverHelper" not in line and "failed to load all models" not in line]
    chosen = (telling or errors or [line for line in lines if line.strip()] or [""])[-1]
    text = parse_line(chosen).text.strip()
    return text.splitlines()[0][:300] if text else ""
