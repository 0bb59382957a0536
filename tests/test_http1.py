"""HTTP/1.1 as servers and engines speak it, and as one that is none does not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tritonctl.errors import UsageError
from tritonctl.http1 import NotHttp, StreamWriter, TooLarge, read_head, request_head
from tritonctl.wire import Wire

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

    async def dial() -> tuple[asyncio.StreamReader, StreamWriter]:
        reader, writer = await asyncio.open_unix_connection(path)
        return reader, StreamWriter(writer)

    wire = Wire(dial, "there")
    try:
        yield wire, there
    finally:
        wire.close()
        server.close()


async def ask(wire: Wire, method: str, target: str) -> tuple[int, bytes]:
    reply = await wire.send(method, target, (), None)
    try:
        return reply.status, await reply.whole(LIMIT)
    finally:
        reply.close()


async def test_every_form_of_an_answer_on_one_connection(tmp_path: Path) -> None:
    async with said(tmp_path, LENGTH, CHUNKS, NOTHING, TO_THE_END) as (wire, there):
        assert await ask(wire, "GET", "/a") == (200, b"{}")
        assert await ask(wire, "GET", "/b") == (200, b"{}")
        assert await ask(wire, "POST", "/c") == (204, b"")
        assert await ask(wire, "GET", "/d") == (200, b"{}")
        assert there.connections == 1
        assert b"Content-Length: 0" in there.asked[2]


async def test_a_connection_that_was_closed_meanwhile_is_made_anew_and_no_change_is_sent_twice(tmp_path: Path) -> None:
    async with said(tmp_path, LENGTH, LENGTH, LENGTH, closing=True) as (wire, there):
        for _ in range(3):
            assert await ask(wire, "GET", "/a") == (200, b"{}")
        assert there.connections == 3
        with pytest.raises((EOFError, ConnectionError)):
            await ask(wire, "POST", "/a")
        assert len(there.asked) == 3


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n", TooLarge),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\n" + b"x" * 2000, TooLarge),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nwhat\r\n", NotHttp),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", NotHttp),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{}", EOFError),
    ],
)
async def test_an_answer_that_is_too_large_cut_or_none(tmp_path: Path, answer: bytes, error: type[Exception]) -> None:
    async with said(tmp_path, answer, closing=True) as (wire, _):
        with pytest.raises(error):
            await ask(wire, "GET", "/a")


async def test_at_most_so_many_at_once_and_the_next_has_its_turn(tmp_path: Path) -> None:
    async with said(tmp_path, LENGTH, LENGTH, LENGTH) as (wire, there):
        narrow = Wire(wire._dial, "there", most=1)
        first = await narrow.send("GET", "/a", (), None)
        second = asyncio.create_task(ask(narrow, "GET", "/b"))
        await asyncio.sleep(0.1)
        assert not second.done()
        assert await first.whole(LIMIT) == b"{}"
        assert await asyncio.wait_for(second, 5) == (200, b"{}")
        third = await narrow.send("GET", "/c", (), None)
        third.close()  # unread: its connection is of no use any more, but its place is free
        with pytest.raises((EOFError, ConnectionError)):
            await asyncio.wait_for(ask(narrow, "GET", "/d"), 5)
        assert there.connections == 2
        narrow.close()


async def test_a_name_that_comes_twice_and_answers_on_the_way(tmp_path: Path) -> None:
    hint = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
    answer = b"HTTP/1.0 200 OK\r\nWarning: a\r\nwarning:b\r\nContent-Length: 0\r\n\r\n"
    async with said(tmp_path, hint + answer, LENGTH) as (wire, there):
        reply = await wire.send("GET", "/a", (), None)
        assert (reply.status, reply.headers["warning"]) == (200, "a, b")
        assert await ask(wire, "GET", "/b") == (200, b"{}")
        assert there.connections == 2  # HTTP/1.0 ends with its answer


@pytest.mark.parametrize(
    ("target", "authority", "headers"),
    [
        ("/v2", "there", [("token", "secret\r\nX-Injected: 1")]),
        ("/v2", "there", [("token\r\nX-Injected", "1")]),
        ("/v2", "there\r\nX-Injected: 1", []),
        ("/v2", "there\nX-Injected: 1", []),
    ],
)
def test_nothing_that_is_given_becomes_another_header(
    target: str, authority: str, headers: list[tuple[str, str]]
) -> None:
    with pytest.raises(UsageError) as refused:
        request_head("GET", target, authority, headers, None)
    assert "secret" not in str(refused.value)


def test_what_no_request_line_can_hold_is_encoded_and_all_else_stays() -> None:
    head = request_head("GET", "/v2/models/a%2Fb/é\r\nX: y", "there", [], None)
    assert head == b"GET /v2/models/a%2Fb/%C3%A9%0D%0AX:%20y HTTP/1.1\r\nHost: there\r\n\r\n"


@pytest.mark.parametrize(
    ("head", "keeps"),
    [
        (b"HTTP/1.1 200 OK", True),
        (b"HTTP/1.1 200 OK\r\nConnection: close", False),
        (b"HTTP/1.1 200 OK\r\nConnection: upgrade, Close", False),
        (b"HTTP/1.0 200 OK", False),
        (b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive, x", True),
    ],
)
async def test_whether_a_connection_can_be_used_again(head: bytes, keeps: bool) -> None:
    reader = asyncio.StreamReader()
    reader.feed_data(head + b"\r\n\r\n")
    assert (await read_head(reader))[1] is keeps
