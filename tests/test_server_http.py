"""What a connection that goes wrong is called, how long it takes, and that nothing secret is told of it."""

from __future__ import annotations

import asyncio
import gzip
import socket
import ssl
import struct
import time
import tracemalloc
from pathlib import Path

import pytest
import trustme

from tests.answering import Handler, always, answer, free_port, listening, local, read_request, silent
from tritonctl.errors import Forbidden, OperationFailed, TritonctlError, Unreachable, UsageError
from tritonctl.server.address import Secret, ServerAddress
from tritonctl.server.client import ServerClient
from tritonctl.server.direct import CONNECT_TIMEOUT_S
from tritonctl.server.http import HttpConnection

TOKEN = "s3cr3t-t0k3n"


async def failure_of(address: ServerAddress, timeout_s: float = 10.0) -> TritonctlError:
    """The failure of asking for ready; it must name what was tried and what to do, and keep the token."""
    async with ServerClient(address, timeout_s=timeout_s) as client:
        with pytest.raises(TritonctlError) as caught:
            await client.ready()
    error = caught.value
    assert f"{address.http}/v2/health/ready" in error.tried
    assert error.headline
    assert TOKEN not in str(error) + repr(error)
    return error


async def failure_at(handler: Handler, timeout_s: float = 10.0, **tls: object) -> TritonctlError:
    async with listening(handler, **tls) as port:  # type: ignore[arg-type]
        return await failure_of(local(port, token=f"Bearer {TOKEN}"), timeout_s)


async def test_a_dead_port() -> None:
    error = await failure_of(local(free_port()))
    assert isinstance(error, Unreachable)
    assert (error.kind, error.exit_code) == ("refused", 5)
    assert "nothing listens" in error.answer
    assert "loading" in error.advice


async def test_one_that_never_answers() -> None:
    began = time.monotonic()
    error = await failure_at(silent, 1.0)
    assert isinstance(error, Unreachable)
    assert error.kind == "timeout"
    assert 0.9 < time.monotonic() - began < 6
    assert "within 1 s" in error.answer
    assert "--timeout" in error.advice


async def test_an_answer_that_trickles() -> None:
    async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while True:
            writer.write(b"x")
            await asyncio.sleep(0.1)

    began = time.monotonic()
    error = await failure_at(trickle, 1.0)
    assert isinstance(error, Unreachable)
    assert error.kind == "timeout"
    assert time.monotonic() - began < 6


async def test_an_address_that_drops_packets_is_given_up_before_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tritonctl.server.direct.CONNECT_TIMEOUT_S", 0.3)
    full = socket.socket()
    full.bind(("127.0.0.1", 0))
    full.listen(0)
    port = full.getsockname()[1]
    waiting = []
    for _ in range(4):  # the queue of a socket that accepts nothing fills up; then Linux drops what comes
        one = socket.socket()
        one.setblocking(False)
        one.connect_ex(("127.0.0.1", port))
        waiting.append(one)
    try:
        began = time.monotonic()
        error = await failure_of(local(port), timeout_s=30)
        assert isinstance(error, Unreachable)
        assert error.kind == "timeout"
        assert "no connection" in error.answer
        assert "firewall" in error.advice
        assert time.monotonic() - began < 8
        assert CONNECT_TIMEOUT_S <= 3
    finally:
        for each in (*waiting, full):
            each.close()


@pytest.mark.parametrize("said", [b"\x00\x00\x12\x04" + bytes(20), b"HTTP/9 what\r\n\r\n"])
async def test_another_protocol(said: bytes) -> None:
    async def other(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(said)
        await writer.drain()

    error = await failure_at(other)
    assert isinstance(error, Unreachable)
    assert error.kind == "garbage"
    assert "not in HTTP" in error.answer
    assert "8001" in error.advice


async def reset(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def cut_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf")
    await writer.drain()
    await reset(reader, writer)


@pytest.mark.parametrize("handler", [reset, cut_off])
async def test_a_connection_that_breaks(handler: Handler) -> None:
    error = await failure_at(handler)
    assert isinstance(error, Unreachable)
    assert error.kind == "lost"
    assert "was lost" in error.answer


async def test_a_redirect_is_not_followed() -> None:
    asked: list[str] = []

    async def around(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            asked.append((await read_request(reader))[1])
            writer.write(answer(status=302, headers="Location: /v2/health/ready\r\n"))

    error = await failure_at(around)
    assert isinstance(error, Unreachable)
    assert error.kind == "redirect"
    assert "/v2/health/ready" in error.answer
    assert "token" in error.advice
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("status", "kind", "exit_code", "word"),
    [
        (401, Forbidden, 4, "token_env"),
        (403, Forbidden, 4, "headers"),
        (500, OperationFailed, 1, ""),
        (502, OperationFailed, 1, ""),
        (404, Unreachable, 5, "metrics port"),
    ],
)
async def test_statuses(status: int, kind: type[TritonctlError], exit_code: int, word: str) -> None:
    error = await failure_at(always('{"error":"its own words"}', status))
    assert type(error) is kind
    assert error.exit_code == exit_code
    assert word in error.advice
    assert status == 404 or "its own words" in error.answer


async def test_an_answer_that_breaks_off_is_a_lost_connection() -> None:
    async def dies(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{"a":')
        await writer.drain()

    error = await failure_at(dies)
    assert isinstance(error, Unreachable)
    assert error.kind == "lost"
    assert "received 5 bytes, expected 1000" in error.answer
    assert "8001" not in error.advice


@pytest.mark.parametrize("body", [b"", b"\xff\xfe", b"[" * 100_000, b"<html>" + b"x" * 100_000, b'{"error": 7}'])
async def test_a_failure_in_no_known_form_is_quoted_in_short(body: bytes) -> None:
    error = await failure_at(always(body, 500))
    assert "500" in error.answer
    assert len(error.answer) < 400


async def test_a_web_page_is_not_readiness() -> None:
    error = await failure_at(always("<!doctype html><title>welcome"))
    assert isinstance(error, Unreachable)
    assert error.kind == "garbage"
    assert "web page" in error.answer


async def test_a_huge_page_is_read_no_further_than_the_limit() -> None:
    sent = 0

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 200000000\r\n\r\n")
        for _ in range(2000):
            writer.write(b"x" * 100_000)
            await writer.drain()
            sent += 100_000

    async with listening(flood) as port:
        address = local(port, metrics=port)
        tracemalloc.start()
        began = time.monotonic()
        try:
            async with ServerClient(address) as client:
                with pytest.raises(Unreachable) as caught:
                    await client.metrics()
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert caught.value.kind == "too large"
    assert "32 MiB" in caught.value.answer
    assert time.monotonic() - began < 20
    assert sent < 48_000_000
    assert peak < 64 * 1024 * 1024


async def test_what_is_compressed_unasked_is_refused_before_it_is_unpacked() -> None:
    bomb = gzip.compress(bytes(64 * 1024 * 1024))
    asked: list[str] = []

    async def compressed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append((await read_request(reader))[2].lower())
        writer.write(answer(bomb, headers="Content-Encoding: gzip\r\n"))
        await writer.drain()

    tracemalloc.start()
    try:
        error = await failure_at(compressed)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert isinstance(error, Unreachable)
    assert "compressed" in error.answer
    assert "accept-encoding: identity" in asked[0]
    assert peak < 8 * 1024 * 1024


@pytest.mark.parametrize("value", [f"Bearer {TOKEN}\n", f"{TOKEN}é", f" {TOKEN}", f"{TOKEN}\r\nX: y", f"{TOKEN}\x00"])
async def test_a_header_that_cannot_be_sent_is_not_quoted(value: str) -> None:
    address = ServerAddress(f"http://127.0.0.1:{free_port()}", headers={"Authorization": Secret(value)})
    async with ServerClient(address) as client:
        with pytest.raises(UsageError) as caught:
            await client.ready()
    assert "'Authorization'" in caught.value.tried
    assert TOKEN not in str(caught.value) + repr(caught.value)
    assert TOKEN not in repr(address) + str(address)


async def test_the_header_is_sent() -> None:
    heads: list[str] = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append((await read_request(reader))[2])
        writer.write(answer())

    async with listening(take) as port, ServerClient(local(port, token=f"Bearer {TOKEN}")) as client:
        assert await client.ready()
    assert f"Authorization: Bearer {TOKEN}\r\n" in heads[0]


async def test_a_proxy_that_needs_a_missing_library_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://10.0.0.1:1080")
    connection = HttpConnection(ServerAddress("http://triton.invalid:8000"))
    with pytest.raises(UsageError, match=r"proxy"):
        await connection.request("GET", "http://triton.invalid:8000/v2", timeout_s=1)


async def test_no_proxy_on_the_way_to_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    async with listening(always()) as port, ServerClient(local(port)) as client:
        assert await client.ready()


@pytest.mark.parametrize("http", ["http://[::g]:8000", "http://host:port", "ftp://host:8000"])
async def test_an_address_that_is_none(http: str) -> None:
    assert "no address" in (await failure_of(ServerAddress(http))).answer


async def test_a_name_that_does_not_resolve() -> None:
    error = await failure_of(ServerAddress("http://no-such-host.invalid:8000"), timeout_s=5)
    assert isinstance(error, Unreachable)
    assert error.kind in ("name", "timeout")  # a network without a name server answers late


class Tls:
    """A server's certificate for localhost, and the file of the CA that signed it."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("localhost", "127.0.0.1").configure_cert(self.context)
        self.ca = str(folder / "ca.pem")
        authority.cert_pem.write_to_path(self.ca)


@pytest.fixture
def tls(tmp_path: Path) -> Tls:
    return Tls(tmp_path)


async def test_the_right_ca_verifies(tls: Tls) -> None:
    async with listening(always(), tls=tls.context) as port:
        client = ServerClient(ServerAddress(f"https://localhost:{port}", ca=tls.ca))
        assert await client.ready()
        await client.aclose()


async def test_a_ca_that_is_given_is_trusted_besides_the_systems(
    tls: Tls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy that inspects only some connections has a CA of its own."""
    monkeypatch.setenv("SSL_CERT_FILE", tls.ca)  # the system's, as OpenSSL has it
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "proxy.pem"))
    async with listening(always(), tls=tls.context) as port:
        client = ServerClient(ServerAddress(f"https://localhost:{port}", ca=str(tmp_path / "proxy.pem")))
        assert await client.ready()
        await client.aclose()


async def test_a_certificate_of_an_unknown_ca(tls: Tls) -> None:
    async with listening(always(), tls=tls.context) as port:
        error = await failure_of(ServerAddress(f"https://localhost:{port}"))
    assert isinstance(error, Unreachable)
    assert (error.kind, error.exit_code) == ("tls", 5)
    assert f"the certificate of localhost:{port} does not verify" in error.answer
    assert "ca = " in error.advice


async def test_a_certificate_for_another_name(tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("elsewhere.invalid").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    async with listening(always(), tls=context) as port:
        error = await failure_of(ServerAddress(f"https://localhost:{port}", ca=str(tmp_path / "ca.pem")))
    assert isinstance(error, Unreachable)
    assert error.kind == "tls"
    assert "localhost" in error.answer


async def test_https_to_a_plain_port() -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1024)
        writer.write(answer(status=400))
        await writer.drain()

    async with listening(plain) as port:
        error = await failure_of(ServerAddress(f"https://localhost:{port}"))
    assert isinstance(error, Unreachable)
    assert error.kind == "tls"
    assert "http://" in error.advice


async def test_plain_http_to_a_tls_port(tls: Tls) -> None:
    error = await failure_at(always(), tls=tls.context)
    assert isinstance(error, Unreachable)
    assert error.kind in ("lost", "garbage")
    assert "TLS" in error.advice


@pytest.mark.parametrize("content", [None, "not a certificate"])
async def test_a_ca_file_that_cannot_be_read(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    async with ServerClient(ServerAddress("https://127.0.0.1:1", ca=str(path))) as client:
        with pytest.raises(Unreachable) as caught:
            await client.ready()
    assert caught.value.kind == "tls"
    assert str(path) in caught.value.answer


async def test_cancelling_leaves_at_once() -> None:
    async with listening(silent) as port, ServerClient(local(port), timeout_s=60) as client:
        asking = asyncio.create_task(client.ready())
        await asyncio.sleep(0.1)
        began = time.monotonic()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert time.monotonic() - began < 10
