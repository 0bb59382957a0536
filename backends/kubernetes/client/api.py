"""The Kubernetes API: objects, lists, watches, logs, upgrades and rights, with deadlines and size limits."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from backends.kubernetes.client import lost
from backends.kubernetes.client.access import Access
from backends.kubernetes.client.answers import read_json, retry_after, whole
from backends.kubernetes.client.credentials import Credentials
from backends.kubernetes.client.objects import mapping, rows, text
from backends.kubernetes.client.paths import Query, target_of
from backends.kubernetes.client.refusal import event_refusal, refusal
from backends.kubernetes.client.session import Session
from tritonctl.errors import OperationFailed, Unreachable
from tritonctl.http1 import Connection, Reply

REQUEST_S = 10.0
LIST_S = 15.0  # for each page
MAX_EVENT_BYTES = 8 * 1024 * 1024  # etcd takes no object larger than 1.5 MiB
PAGE = 250  # objects; a page of pods is then about 1.5 MB, and reading it holds the event loop for some 15 ms
_AT_ONCE = 32  # requests; streams do not count

METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"


class Patch(StrEnum):
    """How a patch is meant; custom resources know no strategic one."""

    STRATEGIC = "application/strategic-merge-patch+json"
    MERGE = "application/merge-patch+json"
    JSON = "application/json-patch+json"


@dataclass(frozen=True, slots=True)
class Review:
    """The API server's answer to: may I? `reason` is its own, often empty."""

    allowed: bool
    reason: str = ""


class Upgraded:
    """A connection after 101 Switching Protocols: bytes both ways, as for a port-forward over a WebSocket."""

    def __init__(self, connection: Connection, protocol: str) -> None:
        self._connection = connection
        self.protocol = protocol  # the one that the API server chose

    async def read(self, max_bytes: int = 64 * 1024) -> bytes:
        """b"" at its end."""
        return await self._connection.reader.read(max_bytes)

    async def write(self, content: bytes) -> None:
        self._connection.writer.write(content)
        await self._connection.writer.drain()


class Api:
    """Every method raises a TritonctlError for whatever goes wrong. Paths are made by `resource`.

    Not for more than one event loop. `kubeconfig` is the file that the settings name, for calls as text.
    """

    def __init__(self, access: Access, credentials: Credentials | None = None, *, kubeconfig: str = "") -> None:
        self.access = access
        self.kubeconfig = kubeconfig
        self.session = Session(access, credentials)
        self._limit = asyncio.Semaphore(_AT_ONCE)

    @property
    def name(self) -> str:
        """For a person."""
        return self.session.name

    async def aclose(self) -> None:
        await self.session.aclose()

    # Objects

    async def get(
        self, path: str, query: Query | None = None, *, deadline_s: float = REQUEST_S, accept: str = "application/json"
    ) -> dict[str, Any]:
        return await self.call("GET", path, query, deadline_s=deadline_s, accept=accept)

    async def pages(
        self, path: str, query: Query | None = None, *, accept: str = "application/json", deadline_s: float = LIST_S
    ) -> AsyncIterator[dict[str, Any]]:
        """A list, page by page: each is a list document. The last one's `metadata.resourceVersion` is where a watch
        begins. Raises Gone where the list took longer than the API server remembers: begin again."""
        limit, after = PAGE, ""
        while True:
            asked = {**(query or {}), "limit": limit, **({"continue": after} if after else {})}
            try:
                page = await self.call("GET", path, asked, deadline_s=deadline_s, accept=accept, compressed=True)
            except Unreachable as error:
                if error.kind != "too large" or limit == 1:
                    raise
                limit = max(limit // 8, 1)
                continue
            yield page
            after = text(mapping(page, "metadata"), "continue")
            if not after:
                return

    async def list(self, path: str, query: Query | None = None, *, deadline_s: float = LIST_S) -> list[dict[str, Any]]:
        """Every object of a list, all pages."""
        return [each async for page in self.pages(path, query, deadline_s=deadline_s) for each in rows(page, "items")]

    async def create(
        self, path: str, body: object, query: Query | None = None, *, deadline_s: float = REQUEST_S
    ) -> dict[str, Any]:
        return await self.call("POST", path, query, body, deadline_s=deadline_s)

    async def patch(
        self,
        path: str,
        body: object,
        kind: Patch = Patch.STRATEGIC,
        query: Query | None = None,
        *,
        deadline_s: float = REQUEST_S,
    ) -> dict[str, Any]:
        """`{"dryRun": "All"}` as the query checks it and changes nothing."""
        return await self.call("PATCH", path, query, body, deadline_s=deadline_s, content_type=str(kind))

    async def delete(
        self, path: str, options: object = None, query: Query | None = None, *, deadline_s: float = REQUEST_S
    ) -> dict[str, Any]:
        """`options` is a DeleteOptions body, as {"propagationPolicy": "Foreground"}."""
        return await self.call("DELETE", path, query, options, deadline_s=deadline_s)

    async def call(
        self,
        method: str,
        path: str,
        query: Query | None = None,
        body: object = None,
        *,
        deadline_s: float = REQUEST_S,
        accept: str = "application/json",
        content_type: str = "application/json",
        compressed: bool = False,
    ) -> dict[str, Any]:
        """The answer's JSON object. 429 is asked again within the deadline: it tells that nothing was done."""
        tried = f"{method} {path}"
        headers = {"Accept": accept, **({"Accept-Encoding": "gzip"} if compressed else {})}
        content = None
        if body is not None:
            content = json.dumps(body).encode()
            headers["Content-Type"] = content_type
        try:
            async with asyncio.timeout(deadline_s), self._limit:
                while True:
                    async with self.session.stream(method, path, query, content=content, headers=headers) as response:
                        found = await whole(response, tried)
                        if response.status < 400:
                            return read_json(found, tried)
                        if response.status != 429:
                            raise refusal(tried, method, path, response.status, found)
                        pause = retry_after(response)
                    if pause >= deadline_s:
                        raise refusal(tried, method, path, 429, found)
                    await asyncio.sleep(pause)
        except TimeoutError:
            raise Unreachable(
                tried, f"no answer from {self.name} within {deadline_s:g} s", _BUSY, kind="timeout"
            ) from None

    # Streams

    async def watch(
        self,
        path: str,
        resource_version: str,
        query: Query | None = None,
        *,
        accept: str = "application/json",
        opened: Callable[[], None] = lambda: None,
        last_s: int = 300,
    ) -> AsyncIterator[dict[str, Any]]:
        """The events after `resource_version` as they come, bookmarks among them, until the API server ends it.

        It does so after about `last_s` seconds: go on from the last version that was seen. Calls `opened` when the API
        server has taken it. Raises Gone where the version is too old, Unreachable where the connection breaks.
        """
        asked = {
            **(query or {}),
            "watch": True,
            "allowWatchBookmarks": True,
            "resourceVersion": resource_version,
            "timeoutSeconds": last_s,
        }
        tried = f"watch {path}"
        rest = bytearray()
        async for piece in self.raw(path, asked, accept=accept, opened=opened):
            rest += piece
            if b"\n" not in piece:
                if len(rest) > MAX_EVENT_BYTES:
                    raise Unreachable(
                        tried, f"an event is larger than {MAX_EVENT_BYTES // 2**20} MiB", kind="too large"
                    )
                continue
            *lines, last = bytes(rest).split(b"\n")
            rest = bytearray(last)
            for line in lines:
                if not line.strip():
                    continue
                event = read_json(line, tried)
                if event.get("type") == "ERROR":
                    raise event_refusal(tried, path, mapping(event, "object"))
                yield event

    async def raw(
        self,
        path: str,
        query: Query | None = None,
        *,
        accept: str = "*/*",
        opened: Callable[[], None] = lambda: None,
    ) -> AsyncIterator[bytes]:
        """The body of a GET as it comes, in pieces, until the API server ends it, as for a log that is followed."""
        tried = f"GET {path}"
        response: Reply | None = None
        try:
            async with asyncio.timeout(REQUEST_S):
                response = await self.session.open("GET", target_of(path, query), headers={"Accept": accept})
                if response.status >= 400:
                    raise refusal(tried, "GET", path, response.status, await whole(response, tried))
            opened()
            async for piece in response.pieces():  # it may be silent for as long as it likes
                yield piece
        except TimeoutError:
            raise Unreachable(
                tried, f"no answer from {self.name} within {REQUEST_S:g} s", _BUSY, kind="timeout"
            ) from None
        finally:
            if response is not None:
                response.close()

    @asynccontextmanager
    async def upgrade(
        self, path: str, query: Query | None = None, protocols: Sequence[str] = (), deadline_s: float = REQUEST_S
    ) -> AsyncIterator[Upgraded]:
        """A WebSocket handshake, done; framing is the caller's. `protocols` are subprotocols, the best first.

        Raises the API server's refusal, with the right that lacks.
        """
        import base64
        import secrets

        tried = f"upgrade {path}"
        headers = {
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Key": base64.b64encode(secrets.token_bytes(16)).decode(),
            "Sec-WebSocket-Version": "13",
            **({"Sec-WebSocket-Protocol": ", ".join(protocols)} if protocols else {}),
        }
        try:
            async with asyncio.timeout(deadline_s):
                response = await self.session.open("GET", target_of(path, query), headers=headers)
                if response.status != 101:
                    try:
                        found = await whole(response, tried)
                    finally:
                        response.close()
                    if response.status < 400:
                        raise OperationFailed(tried, f"HTTP {response.status} instead of a WebSocket")
                    raise refusal(tried, "GET", path, response.status, found)
        except TimeoutError:
            raise Unreachable(
                tried, f"no answer from {self.name} within {deadline_s:g} s", _BUSY, kind="timeout"
            ) from None
        try:
            protocol = response.headers.get("sec-websocket-protocol", "")
            yield Upgraded(response.connection, protocol)
        except (OSError, EOFError) as error:
            raise lost.in_words(tried, self.access, error) from None
        finally:
            response.close()

    # Rights

    async def may(
        self,
        verb: str,
        plural: str,
        *,
        group: str = "",
        namespace: str = "",
        name: str = "",
        subresource: str = "",
    ) -> Review:
        """SelfSubjectAccessReview, which everybody may ask. No namespace: in all of them."""
        attributes = {"verb": verb, "resource": plural, "group": group, "namespace": namespace}
        attributes |= {"name": name} if name else {}
        attributes |= {"subresource": subresource} if subresource else {}
        body = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        found = await self.create("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body)
        status = mapping(found, "status")
        return Review(status.get("allowed") is True, text(status, "reason"))


_BUSY = "the API server is busy or hangs: `kubectl version` tells"
