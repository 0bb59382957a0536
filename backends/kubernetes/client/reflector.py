"""One kind of object in one scope: listed once, then kept up by a watch that goes on from where it was cut."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any, Protocol

from backends.kubernetes.client.api import Api
from backends.kubernetes.client.kinds import Kind
from backends.kubernetes.client.objects import mapping, rows, text
from backends.kubernetes.client.paths import resource
from backends.kubernetes.client.refusal import Gone, NoRight
from tritonctl.errors import NotFound, OperationFailed, Unreachable

_LISTS = 5  # begun anew where the API server forgot the page in between
_LEAST_S = 1.0  # between two watches that end at once
_ONCE_MORE_S = 0.3
_BUSY_S = 2.0
_ASK_AGAIN_S = 300.0  # whether a kind that was absent or denied is there now


class Sink(Protocol):
    """Takes what a reflector reads. `keep_only` drops what is not among `names` (namespace and name) in the scope."""

    def put(self, kind: Kind, document: Mapping[str, Any]) -> None: ...

    def remove(self, kind: Kind, namespace: str, name: str) -> None: ...

    def keep_only(self, kind: Kind, namespace: str, names: set[tuple[str, str]]) -> None: ...


class Reflector:
    """`namespace` "" is the whole cluster. What it read last stays over a lost connection: `run` goes on from there."""

    def __init__(self, api: Api, kind: Kind, namespace: str, sink: Sink) -> None:
        self.kind = kind
        self.namespace = namespace
        self.denied: NoRight | None = None
        self.absent = False  # the cluster knows no such kind
        self.current = asyncio.Event()  # what is known is as new as the API server says
        self.lists = 0  # how often everything was read
        self._api = api
        self._sink = sink
        self._version = ""
        self._path = resource(kind.api, kind.plural, namespace)

    async def run(self) -> None:
        """Ends only by an error: Unreachable when the API server does not answer twice in a row, Forbidden when it does
        not know who one is."""
        self.current.clear()
        while True:
            try:
                await self._run()
            except NotFound:  # a custom resource that is not installed, or has just been removed
                self._forget()
                self.absent = True
            except NoRight as error:
                self._forget()
                self.denied = error
            self.current.set()
            await asyncio.sleep(_ASK_AGAIN_S)

    async def _run(self) -> None:
        failed_at = 0.0
        while True:
            try:
                if not self._version:
                    await self._list()
                    self.current.set()
                await self._follow()
            except Gone:
                self._version = ""
            except OperationFailed as error:
                # Its priority and fairness lets no further watch begin just now. What was listed stays, and is kept up.
                if error.status != 429 or not self._version:
                    raise
                await asyncio.sleep(_BUSY_S)
            except Unreachable as error:
                # One watch may be cut by whatever stands in between; an API server that is gone cuts the next try too.
                if not self._version or error.kind == "timeout" or time.monotonic() - failed_at < 10 * _ONCE_MORE_S:
                    raise
                failed_at = time.monotonic()
                await asyncio.sleep(_ONCE_MORE_S)

    async def _list(self) -> None:
        for attempt in range(_LISTS):
            names: set[tuple[str, str]] = set()
            version = ""
            try:
                async for page in self._api.pages(self._path):
                    version = text(mapping(page, "metadata"), "resourceVersion")
                    for each in rows(page, "items"):
                        names.add(_name(each))
                        self._sink.put(self.kind, each)
                    await asyncio.sleep(0)  # keys are answered between two pages
            except Gone:
                if attempt == _LISTS - 1:
                    raise
                continue
            self._sink.keep_only(self.kind, self.namespace, names)
            self._version = version
            self.denied, self.absent = None, False
            self.lists += 1
            return

    async def _follow(self) -> None:
        while True:
            began = time.monotonic()
            async for event in self._api.watch(self._path, self._version, opened=self.current.set):
                document = mapping(event, "object")
                match event.get("type"):
                    case "ADDED" | "MODIFIED":
                        self._sink.put(self.kind, document)
                    case "DELETED":
                        self._sink.remove(self.kind, *_name(document))
                self._version = text(mapping(document, "metadata"), "resourceVersion") or self._version
            # The API server ends each watch after some minutes; one that it ends at once must not be asked for in a
            # loop without a pause.
            await asyncio.sleep(max(0.0, _LEAST_S - (time.monotonic() - began)))

    def _forget(self) -> None:
        self._version = ""
        self._sink.keep_only(self.kind, self.namespace, set())


def _name(document: Mapping[str, Any]) -> tuple[str, str]:
    meta = mapping(document, "metadata")
    return text(meta, "namespace"), text(meta, "name")
