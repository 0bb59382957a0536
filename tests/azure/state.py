"""What the emulated Azure holds: resources, keys, logs, operations under way, faults to come, requests made."""

from __future__ import annotations

import copy
import re
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tests.azure import shapes
from tests.azure.http import Request, Response
from tests.azure.shapes import Document
from tests.azure.storage import Storage


@dataclass
class Script:
    """How a long-running operation goes. `outcome` is Succeeded, Failed or Canceled; `seconds` None: it never ends.

    `error` is the "error" of the status document. `retry_after` is sent as it is ("1", a date), `poll_ms` as
    x-ms-retry-after-ms, which Azure's own clients obey as well.
    """

    seconds: float | None = 0.3
    outcome: str = "Succeeded"
    error: Document | None = None
    retry_after: str | None = None
    poll_ms: int | None = 50
    cancelled_state: str = "Canceled"


@dataclass
class Running:
    """An operation: `finish` is called once with whether it went well, and changes the resources."""

    id: str
    uri: str
    script: Script
    finish: Callable[[bool], None]
    began: float = field(default_factory=time.monotonic)
    started: str = field(default_factory=shapes.now)
    ended: str | None = None
    under_way: str = "Updating"

    @property
    def due(self) -> bool:
        return self.script.seconds is not None and time.monotonic() - self.began >= self.script.seconds


@dataclass
class Fault:
    """What the next requests that match get instead of their answer, or what is done to their answer."""

    method: str = "GET"
    path: str = ".*"  # a regular expression that the decoded path must contain
    times: int | None = 1  # None: always
    response: Response | None = None
    delay_s: float = 0.0
    edit: Callable[[Any], Any] | None = None  # of the answer's JSON

    def matches(self, request: Request) -> bool:
        if self.times == 0 or self.method not in ("*", request.method):
            return False
        return re.search(self.path, request.path, re.IGNORECASE) is not None


@dataclass(frozen=True)
class Made:
    """A request that was made; `at` is monotonic."""

    method: str
    path: str
    query: dict[str, str]
    body: bytes
    at: float
    authorization: str


def refuse(status: int, code: str, message: str, details: list[Document] | None = None) -> Response:
    """ARM's error body."""
    error: Document = {"code": code, "message": message}
    if details is not None:
        error["details"] = details
    return Response(status, {"error": error}, {"x-ms-request-id": str(uuid.uuid4()), "x-ms-failure-cause": "gateway"})


class State:
    """All of it. Tests read and change it freely, also while the emulator answers."""

    def __init__(self) -> None:
        self.base = ""  # https://localhost:PORT
        self.resources: dict[str, Document] = {}  # by lower case path, in the order they were made
        self.keys: dict[str, tuple[str, str]] = {}  # endpoint → primary, secondary
        self.endpoint_tokens: dict[str, tuple[str, float]] = {}  # token of auth mode AMLToken → endpoint, expiry
        self.logs: dict[tuple[str, str], list[str]] = {}  # (deployment, container) → lines
        self.servers: dict[str, str] = {}  # deployment → base URL of the tritonserver behind it
        self.kubeconfigs: dict[str, str] = {}  # cluster → YAML
        self.operations: dict[str, Running] = {}
        self.scripts: list[tuple[str, str, Script]] = []  # method, regular expression of the path, how it goes
        self.default_script = Script()
        self.faults: list[Fault] = []
        self.made: list[Made] = []
        self.latency_s = 0.0
        self.page_size = 30
        self.storage = Storage()
        self.in_flight = 0
        self.most_in_flight = 0
        self.scored: list[tuple[str, str, int]] = []  # endpoint, deployment, status
        self.mirrored: list[tuple[str, str]] = []  # endpoint, deployment

    def get(self, path: str) -> Document | None:
        return self.resources.get(path.lower())

    def put(self, document: Document) -> Document:
        self.resources[document["id"].lower()] = document
        return document

    def below(self, path: str) -> list[Document]:
        """The resources directly in the collection `path`, as …/onlineEndpoints."""
        start = path.lower() + "/"
        found = [each for key, each in list(self.resources.items()) if key.startswith(start)]
        return [each for each in found if "/" not in each["id"][len(start) :]]

    def remove(self, path: str) -> None:
        """It and everything in it."""
        start = path.lower()
        for key in [key for key in self.resources if key == start or key.startswith(start + "/")]:
            self.resources.pop(key, None)

    def script_for(self, method: str, path: str) -> Script:
        for place, (wanted, pattern, script) in enumerate(self.scripts):
            if wanted in ("*", method) and re.search(pattern, path, re.IGNORECASE):
                del self.scripts[place]
                return script
        return copy.copy(self.default_script)

    def begin(
        self, prefix: str, request: Request, provider: str, finish: Callable[[bool], None], under_way: str = "Updating"
    ) -> tuple[Running, dict[str, str]]:
        """A new operation and the headers that tell of it."""
        subscription = request.path.split("/")[2]
        version = request.query.get("api-version", "")
        if provider == shapes.ML:
            name = f"{prefix}:{shapes.WORKSPACE_ID}:{uuid.uuid4()}"
            place = f"{provider}/locations/{shapes.REGION}/mfeOperationsStatus/{name}"
        else:
            name = str(uuid.uuid4())
            place = f"{provider}/locations/{shapes.REGION}/operations/{name}"
        uri = f"{self.base}/subscriptions/{subscription}/providers/{place}?api-version={version}"
        running = Running(name, uri, self.script_for(request.method, request.path), finish, under_way=under_way)
        self.operations[name.lower()] = running
        location = uri.replace("mfeOperationsStatus", "mfeOperationResults").replace(
            "/operations/", "/operationresults/"
        )
        headers = {"Azure-AsyncOperation": uri, "x-ms-async-operation-timeout": "PT30M", "Location": location}
        return running, headers

    def settle(self) -> None:
        """Let the operations that are due end."""
        for running in list(self.operations.values()):
            if running.ended is None and running.due:
                running.ended = datetime.now(UTC).isoformat()
                running.finish(running.script.outcome == "Succeeded")

    def requests(self, method: str, pattern: str) -> list[Made]:
        """Those that were made, in their order."""
        return [
            each for each in list(self.made) if each.method == method and re.search(pattern, each.path, re.IGNORECASE)
        ]
