"""Takes from a server's log what tells something: its errors, its start-up tables, and which loads began and ended."""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from tritonctl.server.log import Severity, parse_line

LINE_LIMIT = 4000
"""Characters kept of a line; longer ones are cut before anything is searched in them."""
_FIRST, _LAST = 200, 200  # distinct entries kept from the beginning and from the end
_CONTINUED = 24  # lines of one traceback
_JSON_LIMIT = 64 * 1024
_JSON_TEXTS = ("log", "message", "msg", "text")

_ESCAPES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]{0,4096}(?:\x07|\x1b\\|\x9c)?|\x1b.?"
)
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]")

# What tritonserver 2.51.0 writes on every machine without a GPU, and at the end of every failed start.
_BENIGN = re.compile(
    r"CudaDriverHelper has not been initialized|Unable to allocate pinned system memory|DCGM unable to start"
    r"|failed to allocate pinned system memory: no pinned memory pool|Failed to initialize NVML"
    r"|CUDA memory pool disabled|Cannot get CUDA device count"
    r"|unable to create stream for .*: CUDA driver version is insufficient"
    r"|^Invalid argument: load failed for model '"  # each of these models has a line of its own before
    r"|Waiting for in-flight requests|Timeout \d+: Found \d+|All models are stopped|No server context available"
)
# The first words of a run: the pinned memory pool comes first in every start that gets as far as making a server.
_RUN_BEGINS = re.compile(
    r"Pinned memory pool is created|Pinned memory pool disabled|Unable to allocate pinned system memory"
    r"|^=+ ?Triton Inference Server ?=+|: unrecognized option '|^Usage: tritonserver "
)
_INFO_WORTH = re.compile(
    r"loading: |successfully (?:un)?loaded|failed to load|[Ff]ailed to|Started |ignore version|is specified"
)
_BEGUN = re.compile(r"^loading: (.+):(\d+)$")
_ENDED = re.compile(r"^successfully (un)?loaded '(.+?)'")
_UNLOADING = re.compile(r"^unloading: (.+):(\d+)$")
_FAILED_VERSION = re.compile(r"^failed to load '(.+?)' version (\d+): ")
_FAILED_MODEL = re.compile(r"^failed to load (?:model )?'(.+?)'(?:: |$)")
_POLL_FAILED = re.compile(r"^(?:Poll failed for model directory|failed to poll model) '(.+?)': ")
_STUB_PATH = re.compile(r"not found in '(?:.*/)?([^/']+)/\d+/[^/']+'")
_BEFORE_FAILURE = ("ERROR: Failed to create instance",)  # the line after it says the same with the model's name
_PROTOBUF = "Error parsing text-format inference.ModelConfig:"


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing the log says, `count` times; `time` is that of the last time, as the server wrote it."""

    text: str
    severity: Severity = Severity.NONE
    time: str = ""
    model: str = ""
    count: int = 1


@dataclass(frozen=True, slots=True)
class LogReading:
    """The last run of a server in its log. `whole`: the run's beginning was reached."""

    entries: tuple[Entry, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)
    loading: Mapping[str, str] = field(default_factory=dict)  # "model:version" to the time its load began
    loaded: frozenset[str] = frozenset()
    started: bool = False  # it opened its ports
    began: str = ""
    last: str = ""
    last_text: str = ""
    tail: tuple[str, ...] = ()
    moments: tuple[tuple[str, str], ...] = ()  # time and text of loads, unloads and starts, oldest first
    lines: int = 0
    whole: bool = False


def cleaned(text: str) -> str:
    """Without escape sequences and control characters, cut to the limit; line ends stay."""
    text = text[: LINE_LIMIT * 2]
    if not (text.isascii() and text.isprintable()):
        text = _CONTROLS.sub("", _ESCAPES.sub("", text).replace("\t", "    ").replace("\r", ""))
    return text if len(text) <= LINE_LIMIT else text[:LINE_LIMIT] + "…"


def seconds_since(clock: str, now: float) -> float:
    """Seconds from a log's hh:mm:ss to now. Its zone is not told: of UTC and this machine's, the later one counts."""
    try:
        hour, minute, second = (int(part) for part in clock.split(":"))
    except ValueError:
        return 0.0
    ages = []
    for zone in (UTC, None):
        today = datetime.fromtimestamp(now, zone)
        seconds = today.hour * 3600 + today.minute * 60 + today.second - (hour * 3600 + minute * 60 + second)
        ages.append(seconds % 86400)
    return float(min(ages))


class LogReader:
    """Feed it the lines, oldest first; `reading` is what it knows then."""

    def __init__(self) -> None:
        self._lines = 0
        self._tail: deque[str] = deque(maxlen=60)
        self._whole = False
        self._forget()

    def _forget(self) -> None:
        self._first: dict[tuple[str, str], Entry] = {}
        self._late: dict[tuple[str, str], Entry] = {}
        self._options: dict[str, str] = {}
        self._loading: dict[str, str] = {}
        self._loaded: set[str] = set()
        self._moments: deque[tuple[str, str]] = deque(maxlen=100)
        self._started = False
        self._began = ""
        self._last = ""
        self._last_text = ""
        self._usage = False
        self._table = ""
        self._stub: Entry | None = None
        self._stub_lines = 0
        self._pending: deque[Entry] = deque(maxlen=20)  # said by a stub; the server's own word on its model follows
        self._protobuf = ""

    def feed(self, lines: Iterable[str]) -> None:
        for raw in lines:
            self._feed(raw)

    def _feed(self, raw: str) -> None:
        self._lines += 1
        raw = raw[: _JSON_LIMIT + 1]
        if raw.startswith("{") and len(raw) <= _JSON_LIMIT:
            raw = _of_json(raw)
        raw = cleaned(raw)
        if not raw.strip():
            self._stub_lines += 1
            return
        self._tail.append(raw)
        if _RUN_BEGINS.search(raw[:400]) and not (self._usage and raw.startswith("Usage")):
            usage_of_bad_flag = raw.startswith("Usage") and self._last_text.endswith("'") and self._began == ""
            if not usage_of_bad_flag:
                self._forget()
            self._whole = True
        if raw[0] in "|+" and raw[1:2] in " -":
            self._row(raw)
            return
        line = parse_line(raw)
        if line.severity is Severity.NONE:
            self._unprefixed(raw)
            return
        self._usage = False
        self._began = self._began or line.time
        self._last, self._last_text = line.time, line.text or self._last_text
        self._end_stub()
        if line.severity is Severity.INFO:
            if _INFO_WORTH.search(line.text):
                self._info(line.time, line.text)
            elif line.text.startswith("unloading: "):
                self._unloading(line.time, line.text)
        elif not _BENIGN.search(line.text):
            self._keep(line.severity, line.time, line.text)

    def _unloading(self, time: str, text: str) -> None:
        if found := _UNLOADING.match(text):
            self._moments.append((time, text))
            self._drop(found[1])

    def _info(self, time: str, text: str) -> None:
        if begun := _BEGUN.match(text):
            self._loading[f"{begun[1]}:{begun[2]}"] = time
            self._moments.append((time, text))
            self._drop(begun[1])
        elif ended := _ENDED.match(text):
            self._pending.clear()
            self._end_loading(ended[2])
            self._moments.append((time, text))
            if ended[1]:
                self._loaded.discard(ended[2])
            else:
                self._loaded.add(ended[2])
            self._drop(ended[2])
        elif text.startswith("Started "):
            if "HTTPService" in text or "GRPCInferenceService" in text:
                self._started = True
                self._moments.append((time, text))
        elif found := _FAILED_MODEL.match(text):
            self._end_loading(found[1])
        else:
            # The stub tells at INFO level what went wrong in it, with its traceback in the lines that follow.
            path = _STUB_PATH.search(text)
            self._stub = Entry(text.strip(), Severity.INFO, time, path[1] if path else "")
            self._stub_lines = 0

    def _unprefixed(self, raw: str) -> None:
        if raw.startswith("Usage: tritonserver"):
            self._usage = True
            return
        if self._stub is not None and self._stub_lines < _CONTINUED:
            self._stub_lines += 1
            self._stub = replace(self._stub, text=f"{self._stub.text}\n{raw}"[:LINE_LIMIT])
            return
        if self._usage and (
            raw[0] in " \t" or raw.rstrip().endswith(":") or (raw.startswith("--") and "Got" not in raw)
        ):
            return
        self._last_text = raw
        if not _BENIGN.search(raw):
            self._keep(Severity.NONE, "", raw.strip())

    def _end_stub(self) -> None:
        stub, self._stub = self._stub, None
        if stub is not None and stub.model:
            self._put(stub)
        elif stub is not None:
            self._pending.append(stub)

    def _row(self, raw: str) -> None:
        cells = [cell.strip() for cell in raw.strip().strip("|").split("|")]
        if raw.startswith("+") or len(cells) < 2:
            return
        if cells[:2] == ["Option", "Value"] or cells[0] in ("Model", "Backend", "Repository Agent"):
            self._table = cells[0]
        elif self._table == "Option" and cells[0]:
            self._options[cells[0]] = cells[1][:1000]
        elif self._table == "Model" and len(cells) > 2 and cells[2].startswith("Not loaded"):
            self._put(Entry(f"{cells[0]}: {cells[2]}", Severity.WARNING, self._last, cells[0]))

    def _keep(self, severity: Severity, time: str, text: str) -> None:
        if _PROTOBUF in text:
            self._protobuf = text.partition(_PROTOBUF)[2].strip()
            return
        model = ""
        if failed := _FAILED_VERSION.match(text):
            model = failed[1]
            self._pending.clear()
            self._end_loading(model, failed[2])
            self._moments.append((time, text.splitlines()[0]))
        elif failed := _FAILED_MODEL.match(text) or _POLL_FAILED.match(text):
            model = failed[1]
            self._moments.append((time, text.splitlines()[0]))
        if self._protobuf and "failed to read text proto" in text:
            # What is wrong with config.pbtxt stands in protobuf's own line before.
            text = f"{text}\nconfig.pbtxt:{self._protobuf}"
            self._protobuf = ""
        entry = Entry(text, severity, time, model)
        if text.startswith(_BEFORE_FAILURE):
            self._pending.append(entry)
        else:
            self._put(entry)

    def _put(self, entry: Entry) -> None:
        key = (entry.model, entry.text)
        for place in (self._first, self._late):
            if key in place:
                place[key] = replace(entry, count=place.pop(key).count + 1)
                return
        if len(self._first) < _FIRST:
            self._first[key] = entry
            return
        self._late[key] = entry
        if len(self._late) > _LAST:
            del self._late[next(iter(self._late))]

    def _drop(self, model: str) -> None:
        """A load that begins or ends well, and an unload, take back what was said of the model before."""
        for place in (self._first, self._late):
            for key in [key for key in place if key[0] == model]:
                del place[key]

    def _end_loading(self, model: str, version: str = "") -> None:
        for key in [key for key in self._loading if key == f"{model}:{version}" or not version]:
            if key.rpartition(":")[0] == model:
                del self._loading[key]

    @property
    def reading(self) -> LogReading:
        self._end_stub()
        return LogReading(
            entries=(*self._first.values(), *self._late.values(), *self._pending),
            options=dict(self._options),
            loading=dict(self._loading),
            loaded=frozenset(self._loaded),
            started=self._started,
            began=self._began,
            last=self._last,
            last_text=self._last_text[:400],
            tail=tuple(self._tail),
            moments=tuple(self._moments),
            lines=self._lines,
            whole=self._whole,
        )


def _of_json(raw: str) -> str:
    """The message of a line that a log shipper wrapped into JSON, or the line as it is."""
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError):  # no JSON, or brackets without end
        return raw
    if isinstance(document, dict):
        for key in _JSON_TEXTS:
            if isinstance(document.get(key), str):
                return str(document[key]).rstrip("\n")
    return raw
