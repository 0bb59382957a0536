"""The protocol of one Triton Inference Server over HTTP: everything that operating it needs.

Paths and answers as in Triton's protocol documents (docs/protocol) and as tritonserver 2.51.0 answers them.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tritonctl.errors import NotFound, OperationFailed, TritonctlError, Unreachable
from tritonctl.inventory import ControlMode, ModelState
from tritonctl.server.address import ServerAddress
from tritonctl.server.http import CONNECTIONS, Answer, HttpConnection, failure, server_words

READ_TIMEOUT_S = 10.0
MAX_DOCUMENT_BYTES = 8 * 1024 * 1024  # statistics of 500 models have 0.7 MB; reading JSON holds the event loop
_IN_A_PATH = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True, slots=True)
class ServerMetadata:
    name: str
    version: str
    extensions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """A row of the repository index. No version and no state: never loaded, or its configuration could not be read."""

    name: str
    version: str | None
    state: ModelState
    reason: str | None


@dataclass(frozen=True, slots=True)
class Statistics:
    """What a loaded model version counted since it was loaded; durations in nanoseconds, summed over requests."""

    name: str
    version: str
    last_inference_ms: int
    inference_count: int
    execution_count: int
    success_count: int
    success_ns: int
    fail_count: int
    fail_ns: int
    queue_ns: int
    compute_input_ns: int
    compute_infer_ns: int
    compute_output_ns: int
    cache_hit_count: int
    cache_miss_count: int
    batches: tuple[tuple[int, int, int], ...]  # batch size, executions, nanoseconds of compute


async def is_ready(address: ServerAddress, within_s: float) -> bool:
    """Whether the server there is ready. One that does not answer in time is not."""
    try:
        async with ServerClient(address, timeout_s=within_s) as client:
            return await client.ready()
    except TritonctlError:
        return False


class ServerClient:
    """Talks to one server. Every call ends within `timeout_s` seconds or raises Unreachable(kind="timeout")."""

    def __init__(
        self, address: ServerAddress, timeout_s: float = READ_TIMEOUT_S, *, connections: int = CONNECTIONS
    ) -> None:
        self.address = address
        self.timeout_s = timeout_s
        self._connection = HttpConnection(address, connections)

    async def __aenter__(self) -> ServerClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        await self._connection.aclose()

    async def rest(self) -> None:
        """Let go of connections that nobody uses now; the next call opens one anew (0.4 ms).

        A tritonserver that is told to stop waits for open HTTP connections until --exit-timeout-secs, then ends with 1
        without having unloaded its models (measured on 2.51.0). One behind TLS has a proxy before it.
        """
        if not self.address.http.startswith("https:"):
            await self._connection.aclose()

    async def live(self) -> bool:
        return await self._health("/v2/health/live")

    async def ready(self) -> bool:
        """False is HTTP 400 (not 503): a model failed, is loading or unloading, under strict readiness."""
        return await self._health("/v2/health/ready")

    async def model_ready(self, name: str, version: str | None = None) -> bool:
        return await self._health(f"{model_path(name, version)}/ready")

    async def _health(self, path: str) -> bool:
        answer = await self._send("GET", path)
        if answer.status == 200:
            if b"<" in answer.body[:200]:  # a web page: a proxy or another server, which says 200 to any path
                raise Unreachable(
                    f"GET {self.address.http}{path}",
                    "a web page came back, not Triton",
                    "check the address and the port",
                    kind="garbage",
                )
            return True
        # 400 before r26.07, 404 for unknown models after it, 503 while the server is exiting.
        if answer.status in (400, 404, 503):
            if answer.status == 404 and path.startswith("/v2/health"):
                raise Unreachable(
                    f"GET {self.address.http}{path}",
                    "404: this is not a Triton HTTP port",
                    "the metrics port answers so, and other servers do",
                    kind="garbage",
                )
            return False
        raise failure(f"GET {self.address.http}{path}", answer)

    async def metadata(self) -> ServerMetadata:
        document = await self._document("GET", "/v2")
        extensions = document.get("extensions")
        return ServerMetadata(
            _text(document.get("name")),
            _text(document.get("version")),
            tuple(_text(each) for each in extensions) if isinstance(extensions, list) else (),
        )

    async def index(self) -> tuple[IndexEntry, ...]:
        """The repository's models with their states. It hides some: see `tritonctl.server.models`."""
        entries = await self._json("POST", "/v2/repository/index", b"{}")
        if not isinstance(entries, list):
            raise self._garbage("POST", "/v2/repository/index")
        return tuple(_index_entry(each) for each in entries if isinstance(each, dict) and _text(each.get("name")))

    async def model_metadata(self, name: str, version: str | None = None) -> dict[str, Any]:
        return await self._document("GET", model_path(name, version))

    async def config(self, name: str, version: str | None = None) -> dict[str, Any]:
        """The configuration in force, completed by the server."""
        return await self._document("GET", f"{model_path(name, version)}/config")

    async def statistics(self, name: str | None = None, version: str | None = None) -> tuple[Statistics, ...]:
        """Of every loaded model version, or of one."""
        path = f"{model_path(name, version)}/stats" if name else "/v2/models/stats"
        document = await self._document("GET", path)
        rows = document.get("model_stats")
        if not isinstance(rows, list):
            return ()
        return tuple(_statistics(each) for each in rows if isinstance(each, dict) and _text(each.get("name")))

    async def load(
        self,
        name: str,
        *,
        config: str | None = None,
        files: Mapping[str, bytes] | None = None,
        timeout_s: float = 300.0,
    ) -> None:
        """Load or reload a model; returns when it is loaded.

        `config` is a JSON document that replaces config.pbtxt in memory; `files` maps "1/model.py" and the like to
        contents and needs `config`. The server goes on loading when this call times out: it has no way to cancel.
        """
        parameters: dict[str, str] = {}
        if config is not None:
            parameters["config"] = config
        for path, content in (files or {}).items():
            parameters[f"file:{path}"] = base64.b64encode(content).decode("ascii")
        body = json.dumps({"parameters": parameters} if parameters else {}).encode()
        await self._change(f"/v2/repository/models/{_segment(name)}/load", body, timeout_s)

    async def unload(self, name: str, *, dependents: bool = False, timeout_s: float = 300.0) -> None:
        """Ask for unloading; returns at once, the index tells UNLOADING until requests in flight have ended."""
        body = json.dumps({"parameters": {"unload_dependents": True}} if dependents else {}).encode()
        await self._change(f"/v2/repository/models/{_segment(name)}/unload", body, timeout_s)

    async def metrics(self, timeout_s: float | None = None, max_bytes: int = 32 * 1024 * 1024) -> str:
        """The metrics page. An answer here says nothing about health: the port answers 200 to any path."""
        url = self.address.metrics
        if url is None:
            raise Unreachable("read the metrics", "no metrics address is known", "set metrics = … for this server")
        answer = await self._connection.request(
            "GET", url, timeout_s=min(self.timeout_s, timeout_s or self.timeout_s), max_bytes=max_bytes
        )
        if answer.status != 200:
            raise failure(f"GET {url}", answer)
        return answer.text

    async def detect_control_mode(self, timeout_s: float | None = None) -> ControlMode | None:
        """The control mode without a side effect, or None where it cannot be told.

        Unloading a name that no repository has changes nothing in explicit mode (200, measured on 2.51.0: readiness,
        index and log stay as they are) and is refused in the same words in modes none and poll.
        """
        path = f"/v2/repository/models/no_such_model_{secrets.token_hex(8)}/unload"
        answer = await self._send("POST", path, b"{}", timeout_s)
        if answer.status == 200:
            return ControlMode.EXPLICIT
        if "polling is enabled" in server_words(answer):
            return ControlMode.NONE_OR_POLL
        return None

    async def post(self, path: str, body: bytes, headers: dict[str, str], timeout_s: float, max_bytes: int) -> Answer:
        """A raw request, for inference."""
        url = f"{self.address.http}{path}"
        return await self._connection.request(
            "POST", url, timeout_s=timeout_s, content=body, headers=headers, max_bytes=max_bytes
        )

    async def _change(self, path: str, body: bytes, timeout_s: float) -> None:
        answer = await self._connection.request("POST", f"{self.address.http}{path}", timeout_s=timeout_s, content=body)
        if answer.status != 200:
            raise _control_failure(f"POST {self.address.http}{path}", answer)

    async def _send(
        self, method: str, path: str, content: bytes | None = None, timeout_s: float | None = None
    ) -> Answer:
        return await self._connection.request(
            method,
            f"{self.address.http}{path}",
            timeout_s=timeout_s or self.timeout_s,
            content=content,
            max_bytes=MAX_DOCUMENT_BYTES,
        )

    async def _json(self, method: str, path: str, content: bytes | None = None) -> object:
        answer = await self._send(method, path, content)
        if answer.status == 404:
            raise NotFound(f"{method} {self.address.http}{path}", server_words(answer))
        if answer.status != 200:
            error = failure(f"{method} {self.address.http}{path}", answer)
            # Statistics of a model that is not loaded: 400 "requested model 'x' is not available".
            if answer.status == 400 and "is not available" in server_words(answer):
                raise NotFound(error.tried, error.answer, "is it loaded?")
            raise error
        try:
            # As text: Triton passes on a directory's name as its bytes, UTF-8 or not (measured on 2.51.0).
            return json.loads(answer.text)
        except (ValueError, RecursionError):
            raise self._garbage(method, path) from None

    async def _document(self, method: str, path: str, content: bytes | None = None) -> dict[str, Any]:
        document = await self._json(method, path, content)
        if not isinstance(document, dict):
            raise self._garbage(method, path)
        return document

    def _garbage(self, method: str, path: str) -> Unreachable:
        return Unreachable(
            f"{method} {self.address.http}{path}",
            "the answer is not what Triton sends",
            "check that the address is Triton's HTTP port",
            kind="garbage",
        )


def model_path(name: str, version: str | None = None) -> str:
    """The path of a model. Raises OperationFailed for a name that no path can hold."""
    path = f"/v2/models/{_segment(name)}"
    return f"{path}/versions/{_segment(version)}" if version else path


def _segment(name: str) -> str:
    """A name as it is: Triton decodes no %XX in a path (server, http_server.cc; measured on 2.51.0), so one that would
    need it cannot be asked for over HTTP."""
    if not _IN_A_PATH.fullmatch(name) or any(mark in name for mark in "/?#") or name in (".", ".."):
        raise OperationFailed(
            f"name the model {name!r} in a URL",
            "Triton reads names in a path as they stand, so it cannot be asked for over HTTP",
            "rename its directory: letters, digits, . _ - and other printable ASCII but / ? # and spaces",
        )
    return name


def _control_failure(tried: str, answer: Answer) -> TritonctlError:
    words = server_words(answer)
    if "polling is enabled" in words:
        return OperationFailed(
            tried,
            words,
            "this server runs in control mode none or poll, which say the same here; only explicit loads on request",
            status=answer.status,
        )
    if answer.status == 500 and "failed to poll from model repository" in words:
        return OperationFailed(
            tried, words, "the true reason is only in the server's log: no such model, or a bad config", answer.status
        )
    return failure(tried, answer)


def _text(value: object) -> str:
    """ "" for what is no text; half of a surrogate pair, which JSON can write and nothing can print, is replaced."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else ""


def _version(value: object) -> str:
    return str(value) if isinstance(value, int) else _text(value)


def _index_entry(row: dict[str, Any]) -> IndexEntry:
    return IndexEntry(
        _text(row.get("name")),
        _version(row.get("version")) or None,
        _state(row.get("state")),
        _text(row.get("reason")) or None,
    )


def _state(text: object) -> ModelState:
    try:
        return ModelState(str(text))
    except ValueError:
        return ModelState.NOT_LOADED if not text else ModelState.UNAVAILABLE


def _number(value: object) -> int:
    """Triton writes 64-bit counters as JSON numbers; its gRPC-to-JSON proxies write them as text."""
    try:
        return int(value) if isinstance(value, int | float | str) else 0
    except (ValueError, OverflowError):  # not a number, infinite, or of thousands of digits
        return 0


def _statistics(row: dict[str, Any]) -> Statistics:
    stats = row.get("inference_stats")
    kinds: dict[str, Any] = stats if isinstance(stats, dict) else {}

    def part(kind: str, field: str) -> int:
        entry = kinds.get(kind)
        return _number(entry.get(field, 0)) if isinstance(entry, dict) else 0

    def count(kind: str) -> int:
        return part(kind, "count")

    def ns(kind: str) -> int:
        return part(kind, "ns")

    batches = row.get("batch_stats")
    return Statistics(
        name=_text(row.get("name")),
        version=_version(row.get("version")),
        last_inference_ms=_number(row.get("last_inference", 0)),
        inference_count=_number(row.get("inference_count", 0)),
        execution_count=_number(row.get("execution_count", 0)),
        success_count=count("success"),
        success_ns=ns("success"),
        fail_count=count("fail"),
        fail_ns=ns("fail"),
        queue_ns=ns("queue"),
        compute_input_ns=ns("compute_input"),
        compute_infer_ns=ns("compute_infer"),
        compute_output_ns=ns("compute_output"),
        cache_hit_count=count("cache_hit"),
        cache_miss_count=count("cache_miss"),
        batches=tuple(_batch(each) for each in batches if isinstance(each, dict)) if isinstance(batches, list) else (),
    )


def _batch(row: dict[str, Any]) -> tuple[int, int, int]:
    parts = [row.get(kind) for kind in ("compute_input", "compute_infer", "compute_output")]
    durations = [part for part in parts if isinstance(part, dict)]
    executions = _number(durations[0].get("count", 0)) if durations else 0
    return _number(row.get("batch_size", 0)), executions, sum(_number(part.get("ns", 0)) for part in durations)
