"""The API client keeps its deadlines and limits, repeats what may be repeated, and says what the API server says."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from backends.kubernetes.client import answers
from backends.kubernetes.client import api as api_module
from backends.kubernetes.client.access import Access, Identity
from backends.kubernetes.client.api import Api, Patch
from backends.kubernetes.client.paths import resource
from backends.kubernetes.client.plugin import Credential
from backends.kubernetes.client.refusal import Gone, NoRight
from tests.answering import Handler, answer, free_port, listening, read_request, responding, silent
from tritonctl.errors import Forbidden, NotFound, OperationFailed, TritonctlError, Unreachable
from tritonctl.server.address import Secret

PODS = "/api/v1/pods"
TOKEN = "t0ken-of-the-test"


@asynccontextmanager
async def api_to(handler: Handler, identity: Identity | None = None) -> AsyncIterator[Api]:
    async with listening(handler) as port:
        api = Api(Access(f"http://127.0.0.1:{port}", "the test", "here", identity=identity or Identity()))
        try:
            yield api
        finally:
            await api.aclose()


def status(code: int, message: str = "", **more: Any) -> bytes:
    return answer(json.dumps({"kind": "Status", "code": code, "message": message, **more}), code)


def document(**parts: Any) -> bytes:
    return answer(json.dumps(parts))


def test_paths() -> None:
    assert resource("v1", "pods") == "/api/v1/pods"
    assert resource("apps/v1", "deployments", "n", "d", "scale") == "/apis/apps/v1/namespaces/n/deployments/d/scale"
    assert resource("v1", "pods", "a/b", "http:p:8000", "proxy") == "/api/v1/namespaces/a%2Fb/pods/http:p:8000/proxy"


async def test_a_list_is_read_page_by_page() -> None:
    asked = []

    def respond(_method: str, target: str) -> bytes:
        asked.append(target)
        place = 2 if "continue=two" in target else 1
        after = "two" if place == 1 else ""
        return document(
            items=[{"metadata": {"name": f"p{place}"}}], metadata={"continue": after, "resourceVersion": "7"}
        )

    async with api_to(responding(respond)) as api:
        found = await api.list(PODS, {"labelSelector": "a=b,c"})
    assert [each["metadata"]["name"] for each in found] == ["p1", "p2"]
    assert asked[0] == f"{PODS}?labelSelector=a%3Db%2Cc&limit={api_module.PAGE}"


async def test_a_page_that_is_too_large_is_asked_for_in_smaller_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "MAX_BODY_BYTES", 10_000)

    def respond(_method: str, target: str) -> bytes:
        limit = int(target.partition("limit=")[2].partition("&")[0])
        return document(items=[{"metadata": {"name": "x" * 1000}}] * min(limit, 20), metadata={})

    async with api_to(responding(respond)) as api:
        assert 1 <= len(await api.list(PODS)) < 10


async def test_a_compressed_answer_is_held_to_the_limit_of_what_it_unpacks_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "MAX_BODY_BYTES", 100_000)
    bomb = gzip.compress(b'{"items": [' + b" " * 5_000_000 + b"]}")
    async with api_to(responding(lambda *_: answer(bomb, headers="Content-Encoding: gzip\r\n"))) as api:
        with pytest.raises(Unreachable) as caught:
            await api.list(PODS)
        assert caught.value.kind == "too large"


@pytest.mark.parametrize(
    ("code", "message", "kind", "words"),
    [
        (403, 'pods is forbidden: User "u" cannot list resource "pods" in API group "" in the namespace "n"', NoRight,
         "kubectl create role NAME --verb=list --resource=pods -n n"),
        (403, 'x cannot patch resource "deployments/scale" in API group "apps" at the cluster scope', NoRight,
         "kubectl create clusterrole NAME --verb=patch --resource=deployments.apps/scale"),
        (403, "no", NoRight, "--verb=list --resource=pods"),
        (404, "pods not found", NotFound, "pods not found"),
        (409, "the object has been modified", OperationFailed, "try again"),
        (410, "too old resource version", Gone, "too old"),
        (504, "Timeout: Too large resource version: 9, current: 3", Gone, "Too large"),
        (503, "etcdserver: leader changed", Unreachable, "in trouble"),
        (422, "Deployment is invalid", OperationFailed, "is invalid"),
    ],
)  # fmt: skip
async def test_refusals_are_told_in_words(code: int, message: str, kind: type[TritonctlError], words: str) -> None:
    async with api_to(responding(lambda *_: status(code, message))) as api:
        with pytest.raises(kind) as caught:
            await api.get(PODS)
        assert words in str(caught.value)
        assert type(caught.value) is kind


@pytest.mark.parametrize(
    "body", [b"", b"null", b"[]", b"<html>", b'{"kind": "Status"}', b'{"message": 1}', b"\xff" * 2000]
)
async def test_a_refusal_without_words_is_one_too(body: bytes) -> None:
    async with api_to(responding(lambda *_: answer(body, 404))) as api:
        with pytest.raises(NotFound) as caught:
            await api.get(PODS)
        assert len(caught.value.answer) < 1200


async def test_too_many_requests_are_sent_again_after_the_pause_that_was_asked_for() -> None:
    times = []

    def respond(_method: str, _target: str) -> bytes:
        times.append(time.monotonic())
        return status(429).replace(b"\r\n\r\n", b"\r\nRetry-After: 1\r\n\r\n", 1) if len(times) == 1 else document()

    async with api_to(responding(respond)) as api:
        await api.patch(PODS, {"spec": {}})
        assert times[1] - times[0] > 0.9
    times.clear()
    async with api_to(responding(lambda *_: status(429, "slow down"))) as api:
        with pytest.raises(Unreachable, match="no answer"):
            await api.get(PODS, deadline_s=2.0)


async def test_what_hangs_ends_at_the_deadline() -> None:
    async with api_to(silent) as api:
        began = time.monotonic()
        with pytest.raises(Unreachable) as caught:
            await api.get(PODS, deadline_s=0.3)
        assert time.monotonic() - began < 3
        assert caught.value.kind == "timeout"


async def test_nobody_there_and_no_http_are_told_apart() -> None:
    api = Api(Access(f"http://127.0.0.1:{free_port()}", "the test", "here"))
    with pytest.raises(Unreachable, match="nothing listens on here") as caught:
        await api.get(PODS)
    assert caught.value.kind == "refused"

    async def ssh(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
        await asyncio.sleep(5)

    async with api_to(ssh) as api:
        with pytest.raises(Unreachable) as caught:
            await api.get(PODS)
        assert caught.value.kind == "garbage"
    api = Api(Access("http://no-such-host.invalid:1", "the test", "here"))
    with pytest.raises(Unreachable, match="cannot be resolved"):
        await api.get(PODS)


async def test_a_connection_that_was_closed_in_between_is_made_anew_but_nothing_is_changed_twice() -> None:
    asked: list[str] = []

    async def closing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answers one request of each connection and breaks it at the next."""
        asked.append((await read_request(reader))[0])
        writer.write(document())
        await writer.drain()
        asked.append((await read_request(reader))[0])

    async with api_to(closing) as api:
        await api.get(PODS)
        await api.get(PODS)  # on the same connection, which breaks; then on a new one
        assert asked == ["GET", "GET", "GET"]
        await api.aclose()
        await api.patch(PODS, {})
        with pytest.raises(Unreachable) as caught:
            await api.patch(PODS, {})
        assert caught.value.kind == "lost"
        assert asked[3:] == ["PATCH", "PATCH"]


class Tokens:
    """Credentials whose token is another one after each refresh."""

    expires_at = None

    def __init__(self, renewable: bool = True) -> None:
        self.number = 1
        self._renewable = renewable

    async def headers(self) -> tuple[tuple[str, str], ...]:
        return (("Authorization", f"Bearer {TOKEN}{self.number}"),)

    async def refresh(self) -> bool:
        self.number += 1
        return self._renewable

    async def certificate(self) -> Credential | None:
        return None


async def test_401_makes_the_credentials_new_once() -> None:
    seen: list[str] = []

    def guarded(valid: str) -> Handler:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while True:
                _, _, head = await read_request(reader)
                token = head.partition("Bearer ")[2].partition("\r\n")[0]
                seen.append(token)
                writer.write(document() if token == valid else status(401, "Unauthorized"))
                await writer.drain()

        return handle

    async with listening(guarded(f"{TOKEN}2")) as port:
        api = Api(Access(f"http://127.0.0.1:{port}", "the test"), Tokens())
        await api.get(PODS)
        assert seen == [f"{TOKEN}1", f"{TOKEN}2"]
        await api.aclose()
    seen.clear()
    async with listening(guarded("never")) as port:
        for renewable, count in ((True, 2), (False, 1)):
            api = Api(Access(f"http://127.0.0.1:{port}", "the test"), Tokens(renewable))
            with pytest.raises(Forbidden) as caught:
                await api.get(PODS)
            assert len(seen) == count
            assert TOKEN not in str(caught.value)
            seen.clear()
            await api.aclose()


async def test_of_many_that_meet_401_together_all_go_on_with_the_new_credentials() -> None:
    """The later ones were sent with the old ones; the new ones were made a moment ago, and are not made again."""
    valid, late = f"{TOKEN}2", asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            _, target, head = await read_request(reader)
            token = head.partition("Bearer ")[2].partition("\r\n")[0]
            if target == "/late" and token != valid:
                await late.wait()
            writer.write(document() if token == valid else status(401, "Unauthorized"))
            await writer.drain()

    class OnceOnly(Tokens):
        async def refresh(self) -> bool:
            if not self._renewable:
                return False
            self._renewable = False
            self.number += 1
            return True

    async with listening(handle) as port:
        api = Api(Access(f"http://127.0.0.1:{port}", "the test"), OnceOnly())
        waiting = asyncio.create_task(api.get("/late"))
        await asyncio.sleep(0.05)
        await api.get("/first")
        late.set()
        assert await waiting == {}
        await api.aclose()


@pytest.mark.parametrize("size", [b"-5", b"0x10", b"", b"1_0", b"f" * 600_000], ids=lambda size: repr(size[:6]))
async def test_what_is_no_chunk_is_told_and_not_read(size: bytes) -> None:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + size + b"\r\n" + b"x" * 100)
        await writer.drain()
        await reader.read()

    async with api_to(handle) as api:
        with pytest.raises(Unreachable) as caught:
            await api.get(PODS)
        assert caught.value.kind == "garbage"


async def test_a_watch_gives_events_however_they_are_cut() -> None:
    events = [{"type": "ADDED", "object": {"n": number, "text": "ö" * 300}} for number in range(50)]
    content = b"".join(json.dumps(each).encode() + b"\n" for each in events)

    def cut(sizes: Callable[[int], int]) -> Handler:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await read_request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            place = 0
            while place < len(content):
                piece = content[place : place + sizes(place)]
                writer.write(b"%x;x=y\r\n%b\r\n" % (len(piece), piece))
                place += len(piece)
                await writer.drain()
            writer.write(b"0\r\nTrailer: x\r\n\r\n")
            await writer.drain()

        return handle

    for sizes in (lambda _: 1_000_000, lambda _: 100, lambda place: place % 997 + 1):
        async with api_to(cut(sizes)) as api:
            assert [event async for event in api.watch(PODS, "1")] == events


async def test_a_watch_that_is_too_old_or_too_large_is_told() -> None:
    async def gone(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        body = json.dumps({"type": "ERROR", "object": {"kind": "Status", "code": 410, "message": "too old"}}) + "\n"
        writer.write(f"HTTP/1.1 200 OK\r\n\r\n{body}".encode())
        await writer.drain()

    async with api_to(gone) as api:
        with pytest.raises(Gone):
            _ = [event async for event in api.watch(PODS, "1")]

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b"x" * 1_000_000)
            await writer.drain()

    async with api_to(endless) as api:
        with pytest.raises(Unreachable) as caught:
            _ = [event async for event in api.watch(PODS, "1")]
        assert caught.value.kind == "too large"


async def test_what_is_sent_is_what_was_meant() -> None:
    seen: list[str] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = int(head.lower().partition("content-length:")[2].partition("\r\n")[0] or 0)
            seen.append(head + (await reader.readexactly(length)).decode())
            writer.write(document())
            await writer.drain()

    async with api_to(handle, Identity(token=Secret(TOKEN))) as api:
        await api.patch("/apis/apps/v1/namespaces/n/deployments/d", [{"op": "add"}], Patch.JSON, {"dryRun": "All"})
        await api.delete("/api/v1/namespaces/n/pods/p", {"propagationPolicy": "Foreground"})
        await api.session.open("POST", "/api/v1/namespaces/n/pods/p:8000/proxy/v2/a%20b", content=b"{}")
    assert seen[0].startswith("PATCH /apis/apps/v1/namespaces/n/deployments/d?dryRun=All HTTP/1.1\r\n")
    assert "Content-Type: application/json-patch+json\r\n" in seen[0]
    assert seen[0].endswith('[{"op": "add"}]')
    assert f"Authorization: Bearer {TOKEN}\r\n" in seen[0]
    assert seen[1].startswith("DELETE ")
    assert seen[2].startswith("POST /api/v1/namespaces/n/pods/p:8000/proxy/v2/a%20b HTTP/1.1\r\n")


async def test_a_401_of_a_pod_behind_the_proxy_is_passed_on() -> None:
    """The API server's own one makes the credentials new."""
    async with api_to(responding(lambda *_: answer("login please", 401))) as api:
        found = await api.session.open("GET", "/x")
        assert (found.status, [piece async for piece in found.pieces()]) == (401, [b"login please"])


async def test_an_http_proxy_is_gone_through() -> None:
    """CONNECT with the password that stands in proxy-url, and then the API server itself."""
    heads: list[str] = []
    async with listening(responding(lambda *_: document(through="yes"))) as port:

        async def tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")

            async def pipe(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
                while piece := await source.read(1 << 16):
                    target.write(piece)

            try:
                await asyncio.gather(pipe(reader, far_writer), pipe(far_reader, writer))
            finally:
                far_writer.close()

        async with listening(tunnel) as proxy:
            api = Api(Access(f"http://api.invalid:{port}", "the test", proxy=f"http://me:p%40w@127.0.0.1:{proxy}"))
            assert await api.get(PODS) == {"through": "yes"}
            await api.aclose()
    assert heads[0].startswith(f"CONNECT api.invalid:{port} HTTP/1.1\r\n")
    assert "Proxy-Authorization: Basic bWU6cEB3\r\n" in heads[0]
