"""What an engine answers, in words; and one that falls silent."""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import suppress
from pathlib import Path

import pytest

from backends.docker import logs, switch
from backends.docker.container import read_container
from backends.docker.endpoint import Endpoint
from backends.docker.engine import Engine
from tests.test_http1 import said
from tritonctl.errors import OperationFailed, Unreachable


async def test_a_connection_that_may_be_silent_for_hours_is_asked_for() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    _, writer = await Engine(Endpoint(url, "test", tcp=url))._dial()
    assert writer._socket.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    writer.abort()
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
