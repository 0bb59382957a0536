"""A gate between the code under test and the API server: it sees every request, and can cut, hold or refuse.

    async with gate_to(space) as gate:
        backend = KubernetesBackend(space.settings(gate.kubeconfig))
        gate.cut()                                          # every connection breaks
        gate.answer("PATCH", r"/deployments/web$", 409, times=1)
        watches = [each for each in gate.seen if each.query.get("watch")]

TLS ends here and begins anew, so it also runs before a cluster whose certificate does not name this host. A request
without an Authorization header is the administrator's.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import trustme

from tests.kubernetes.cluster import Object
from tests.kubernetes.space import Space
from tests.waiting import until

_HEAD_BYTES = 64 * 1024
_BLOCK = 64 * 1024


@dataclass(frozen=True)
class Seen:
    """A request that came; `at` is by time.monotonic()."""

    method: str
    path: str
    query: Mapping[str, str]
    at: float
    authorization: str = field(default="", repr=False)

    @property
    def watch(self) -> bool:
        return self.query.get("watch") in ("1", "true")


@dataclass
class _Rule:
    """What matches is answered here; `left` is how often still, None is always."""

    method: str
    path: re.Pattern[str]
    status: int
    headers: Mapping[str, str]
    body: bytes
    left: int | None


@dataclass
class Gate:
    space: Space
    kubeconfig: Path = Path()
    seen: list[Seen] = field(default_factory=list)
    delay_s: float = 0.0  # before each request goes on
    _rules: list[_Rule] = field(default_factory=list)
    _writers: dict[asyncio.StreamWriter, Seen | None] = field(default_factory=dict)
    _flowing: asyncio.Event = field(default_factory=asyncio.Event)
    _shut: bool = False

    def cut(self, path: str = "") -> int:
        """Breaks every connection, or those whose request's path matches; returns how many those were."""
        found = [
            writer
            for writer, seen in self._writers.items()
            if not path or (seen is not None and re.search(path, seen.path))
        ]
        for writer in found:
            writer.transport.abort()
        return len(found)

    def shut(self) -> None:
        """As if nobody listened: what is open breaks, what comes is broken at once."""
        self._shut = True
        self.cut()

    def hold(self) -> None:
        """As if the network swallowed everything: connections stay, no byte passes."""
        self._flowing.clear()

    def open(self) -> None:
        """After `shut` or `hold`."""
        self._shut = False
        self._flowing.set()

    def answer(
        self,
        method: str,
        path: str,
        status: int,
        reason: str = "",
        message: str = "by the test's gate",
        *,
        headers: Mapping[str, str] | None = None,
        times: int | None = None,
    ) -> None:
        """Requests whose path matches the expression get a Status object from here, the next `times` ones or all."""
        body: Object = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message}
        body |= {"reason": reason, "code": status}
        self._rules.append(_Rule(method, re.compile(path), status, headers or {}, json.dumps(body).encode(), times))

    def tell(self, path: str, *events: Object, times: int | None = None) -> None:
        """Watches whose path matches get these events from here, and end."""
        lines = "".join(json.dumps(each) + "\n" for each in events)
        self._rules.append(_Rule("GET", re.compile(path), 200, {}, lines.encode(), times))

    def pass_again(self) -> None:
        """No answers from here any more."""
        self._rules.clear()

    def asked(self, method: str, path: str) -> list[Seen]:
        """The requests so far whose path matches the expression."""
        return [each for each in self.seen if each.method == method and re.search(path, each.path)]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers[writer] = None
        try:
            if not self._shut:
                await self._one(reader, writer)
        except (OSError, asyncio.IncompleteReadError, ssl.SSLError):
            writer.transport.abort()
        finally:
            del self._writers[writer]
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request; its connection ends with it."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.rstrip().split("\r\n")
        method, target, _ = first.split(" ", 2)
        headers = [line for line in lines if line.split(":", 1)[0].lower() != "host"]
        names = {line.split(":", 1)[0].lower(): line.split(":", 1)[1].strip() for line in headers}
        parts = urlsplit(target)
        seen = Seen(method, parts.path, dict(parse_qsl(parts.query)), time.monotonic(), names.get("authorization", ""))
        self.seen.append(seen)
        self._writers[writer] = seen
        await self._flowing.wait()
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        for rule in self._rules:
            if rule.method == method and rule.path.search(parts.path) and rule.left != 0:
                if rule.left is not None:
                    rule.left -= 1
                await _answer(writer, rule)
                return
        if "upgrade" not in names:
            headers = [line for line in headers if line.split(":", 1)[0].lower() != "connection"]
            headers.append("Connection: close")
        upstream = urlsplit(self.space.cluster.server)
        trust = self.space.cluster.trust
        if seen.authorization:
            trust = self.space.cluster.trust_only
        else:
            headers += [f"{name}: {value}" for name, value in self.space.cluster.headers.items()]
        assert upstream.hostname is not None
        far_reader, far_writer = await asyncio.open_connection(upstream.hostname, upstream.port or 443, ssl=trust)
        try:
            sent = "\r\n".join([first, f"Host: {upstream.netloc}", *headers]) + "\r\n\r\n"
            far_writer.write(sent.encode("latin-1"))
            tasks = [
                asyncio.create_task(self._pipe(reader, far_writer)),
                asyncio.create_task(self._pipe(far_reader, writer)),
            ]
            try:
                # The answer's end is the end, and so is a client that went away.
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            far_writer.transport.abort()

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, ssl.SSLError):
            while block := await reader.read(_BLOCK):
                await self._flowing.wait()
                writer.write(block)
                await writer.drain()


async def _answer(writer: asyncio.StreamWriter, rule: _Rule) -> None:
    head = {"Content-Type": "application/json", "Content-Length": str(len(rule.body)), "Connection": "close"}
    lines = [
        f"HTTP/1.1 {rule.status} by the gate",
        *(f"{name}: {value}" for name, value in {**head, **rule.headers}.items()),
    ]
    writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + rule.body)
    await writer.drain()


@asynccontextmanager
async def gate_to(space: Space, user: Object | None = None) -> AsyncIterator[Gate]:
    """Open at first. Its kubeconfig has `user`, by default the administrator."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    gate = Gate(space)
    gate.open()
    server = await asyncio.start_server(gate.serve, "127.0.0.1", 0, ssl=context, limit=_HEAD_BYTES)
    port = server.sockets[0].getsockname()[1]
    gate.kubeconfig = space.write_kubeconfig(
        f"gate-{port}", user or {}, server=f"https://127.0.0.1:{port}", ca=authority.cert_pem.bytes().decode()
    )
    try:
        yield gate
    finally:
        server.close()
        gate.open()
        gate.shut()
        await until(lambda: not gate._writers, 10)
        await server.wait_closed()
