"""HTTP/1.1 as an engine speaks it, and as one that is none does not."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from backends.docker import logs, switch
from backends.docker.container import read_container
from backends.docker.endpoint import Endpoint
from backends.docker.engine import Engine
from backends.docker.wire import NotHttp, Streams, TooLarge, Wire
from tritonctl.errors import OperationFailed, Unreachable

LIMIT = 1000
LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1;x=y\r\n}\r\n0\r\n\r\n"
TO_THE_END = b"HTTP/1.1 200 OK\r\n\r\n{}"
NOTHING = b"HTTP/1.1 204 No Content\r\n\r\n"


class Said:
    """Answers in their order, one for each request; `closing` ends the connection after each."""

    def __init__(self, answers: Sequence[bytes], closing: bool) -> None:
        self.answers = list(answers)
        self.closing = closing
        self.connections = 0
        self.asked: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while self.answers:
                self.asked.append(await reader.readuntil(b"\r\n\r\n"))
                answer = self.answers.pop(0)
                writer.write(answer)
                await writer.drain()
                if self.closing or answer == TO_THE_END:
                    return
        except EOFError:
            return
        finally:
            writer.close()


@asynccontextmanager
async def said(folder: Path, *answers: bytes, closing: bool = False) -> AsyncIterator[tuple[Wire, Said]]:
    there = Said(answers, closing)
    path = folder / "engine.sock"
    server = await asyncio.start_unix_server(there.serve, path)

    async def dial() -> Streams:
        return await asyncio.open_unix_connection(path)

    wire = Wire(dial)
    try:
        yield wire, there
    finally:
        wire.close()
        server.close()


async def test_every_form_of_an_answer_on_one_connection(tmp_path: Path) -> None:
    async with said(tmp_path, LENGTH, CHUNKS, NOTHING, TO_THE_END) as (wire, there):
        assert await wire.ask("GET", "/a", None, LIMIT) == (200, b"{}")
        assert await wire.ask("GET", "/b", None, LIMIT) == (200, b"{}")
        assert await wire.ask("POST", "/c", None, LIMIT) == (204, b"")
        assert await wire.ask("GET", "/d", None, LIMIT) == (200, b"{}")
        assert there.connections == 1
        assert b"Content-Length: 0" in there.asked[2]


async def test_a_connection_that_was_closed_meanwhile_is_made_anew_and_no_change_is_sent_twice(tmp_path: Path) -> None:
    async with said(tmp_path, LENGTH, LENGTH, LENGTH, closing=True) as (wire, there):
        for _ in range(3):
            assert await wire.ask("GET", "/a", None, LIMIT) == (200, b"{}")
        assert there.connections == 3
        with pytest.raises((EOFError, ConnectionError)):
            await wire.ask("POST", "/a", None, LIMIT)
        assert len(there.asked) == 3


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n", TooLarge),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\n", TooLarge),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nwhat\r\n", NotHttp),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", NotHttp),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{}", EOFError),
    ],
)
async def test_an_answer_that_is_too_large_cut_or_none(tmp_path: Path, answer: bytes, error: type[Exception]) -> None:
    async with said(tmp_path, answer, closing=True) as (wire, _):
        with pytest.raises(error):
            await wire.ask("GET", "/a", None, LIMIT)


async def test_a_connection_that_may_be_silent_for_hours_is_asked_for() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    _, writer = await Engine(Endpoint(url, "test", tcp=url))._dial()
    assert writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    writer.close()
    server.close()


async def test_the_engine_says_in_words_what_came_back(tmp_path: Path) -> None:
    version = b'{"ApiVersion": "1.41"}'
    first = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(version), version)
    refused = b'HTTP/1.1 409 Conflict\r\nContent-Length: 21\r\n\r\n{"message": "in use"}'
    async with said(tmp_path, first, refused, b"220 mail\r\n\r\n") as (_, there):
        path = str(tmp_path / "engine.sock")
        engine = Engine(Endpoint(f"unix://{path}", "test", socket=path))
        with pytest.raises(OperationFailed, match="in use"):
            await engine.call("POST", "/containers/create", {"name": "a b"}, {"Image": "x"})
        assert b"POST /v1.41/containers/create?name=a+b HTTP/1.1" in there.asked[1]
        with pytest.raises(Unreachable, match="not as a Docker Engine"):
            await engine.get("/info")
        await engine.aclose()


async def test_a_log_that_stops_in_the_middle_ends_in_words_and_keeps_no_plan_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = b'{"ApiVersion": "1.41"}'
    first = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(version), version)
    path = tmp_path / "hangs.sock"
    leave = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(EOFError):
            while b"/version" in await reader.readuntil(b"\r\n\r\n"):
                writer.write(first)
            writer.write(b"HTTP/1.0 200 OK\r\n\r\n\x01\0\0\0\0\0\0\x04one\n")
            await leave.wait()
        writer.close()

    server = await asyncio.start_unix_server(serve, path)
    engine = Engine(Endpoint(f"unix://{path}", "test", socket=str(path)))
    container = read_container({"Id": "c", "Name": "/c", "State": {"Status": "running"}})
    try:
        monkeypatch.setattr(logs, "_SILENT_S", 0.2)
        whole = logs.read(engine, container, "c", logs.Run(None, None), tail=10, follow=False)
        assert [line.text for line in await anext(whole)] == ["one"]
        with pytest.raises(Unreachable, match=r"no answer within 0\.2 s"):
            await anext(whole)
        monkeypatch.setattr(logs, "_SILENT_S", 30.0)
        monkeypatch.setattr(switch, "_LOG_S", 0.2)
        began = time.monotonic()
        assert await switch._from_log(engine, container) == ()
        assert time.monotonic() - began < 10
        followed = logs.read(engine, container, "c", logs.Run(None, None), tail=10, follow=True)
        assert [line.text for line in await anext(followed)] == ["one"]
        with pytest.raises(TimeoutError):  # what is followed may be silent
            await asyncio.wait_for(anext(followed), 0.5)
    finally:
        leave.set()
        await engine.aclose()
        server.close()
