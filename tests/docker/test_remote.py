"""Engines that are not at the default socket: TCP, ssh, and contexts."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from backends.docker.endpoint import Tls, find_endpoint
from tests.answering import free_port
from tests.docker.place import Place, until, until_snapshot
from tritonctl.errors import UsageError
from tritonctl.inventory import BackendState


@asynccontextmanager
async def over_tcp(place: Place) -> AsyncIterator[int]:
    """A port that leads to the engine's socket."""

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_unix_connection(place.host.removeprefix("unix://"))
        ways = [asyncio.create_task(copy(reader, back)), asyncio.create_task(copy(there, writer))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            writer.close()
            back.close()

    server = await asyncio.start_server(forward, "127.0.0.1", 0)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()


async def test_over_tcp_published_ports_are_the_way_and_without_one_the_row_says_which(place: Place) -> None:
    name = place.triton("t", flags=("-p", "0.0.0.0::8000"))
    hidden = place.triton("hidden", "--http-port=8123")
    inside = place.triton("inside", "--http-address=127.0.0.1", flags=("-p", "8000"))
    async with over_tcp(place) as port, place.fleet(host=f"tcp://localhost:{port}") as fleet:
        status = await until(fleet, place.service(name), lambda each: each.ready is True)
        address = status.service.replicas[0].address
        assert address is not None
        assert address.http.startswith("http://localhost:")
        assert address.grpc is None
        status = await until(fleet, place.service(hidden), lambda each: each.service.platform.state == "running")
        assert "-p 8123:8123" in status.note
        status = await until(fleet, place.service(inside), lambda each: each.service.platform.state == "running")
        assert "inside the container only" in status.note


@pytest.fixture
def sshd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The port of a real sshd on loopback that takes the key which `ssh`, first on PATH, uses."""
    server = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")
    if server is None or shutil.which("ssh") is None:
        pytest.skip("needs sshd and ssh; apt-get install openssh-server")
    real = shutil.which("ssh")
    for key in ("host", "mine"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / key], check=True, timeout=30)
    port = free_port()
    (tmp_path / "authorized").write_text((tmp_path / "mine.pub").read_text())
    (tmp_path / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {tmp_path}/host\nAuthorizedKeysFile {tmp_path}/authorized\n"
        "PasswordAuthentication no\nStrictModes no\nUsePAM no\nPermitRootLogin yes\nPidFile none\n"
    )
    host = " ".join((tmp_path / "host.pub").read_text().split()[:2])
    (tmp_path / "known").write_text(f"[127.0.0.1]:{port} {host}\n")
    (tmp_path / "bin").mkdir()
    wrapper = tmp_path / "bin" / "ssh"
    wrapper.write_text(
        f'#!/bin/sh\nexec {real} -F none -i {tmp_path}/mine -o UserKnownHostsFile={tmp_path}/known "$@"\n'
    )
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin", prepend=":")
    Path("/run/sshd").mkdir(exist_ok=True)
    process = subprocess.Popen([server, "-D", "-e", "-f", tmp_path / "sshd_config"], stderr=subprocess.DEVNULL)
    time.sleep(0.5)
    yield port
    process.terminate()
    process.wait(10)


def ssh_to(port: int) -> list[int]:
    """The processes of ssh that were started for this port."""
    found = [each for each in psutil.process_iter(["name", "cmdline"]) if each.info["name"] == "ssh"]
    return [each.pid for each in found if str(port) in (each.info["cmdline"] or ())]


async def test_over_ssh_the_engine_and_the_servers_come_through_one_connection(place: Place, sshd: int) -> None:
    name = place.triton("t")
    socket = place.host.removeprefix("unix://")
    async with place.fleet(host=f"ssh://root@127.0.0.1:{sshd}{socket}") as fleet:
        status = await until(fleet, place.service(name), lambda each: each.ready is True and each.rates is not None)
        address = status.service.replicas[0].address
        assert address is not None
        assert address.http.startswith("http://127.0.0.1:")
        lines = [line async for batch in fleet.backends["docker"].logs(status.service) for line in batch]
        assert any("Started HTTPService" in line.text for line in lines)
        assert len(ssh_to(sshd)) == 1
    assert not ssh_to(sshd)


async def test_an_ssh_that_is_refused_says_so_in_its_own_words(place: Place, sshd: int, tmp_path: Path) -> None:
    (tmp_path / "authorized").write_text("")
    async with place.fleet(host=f"ssh://root@127.0.0.1:{sshd}") as fleet:
        snapshot = await until_snapshot(fleet, lambda each: each.backends[0].state is BackendState.LOST)
        assert "Permission denied" in snapshot.backends[0].detail


def test_the_engine_is_where_the_docker_command_finds_it(tmp_path: Path) -> None:
    assert find_endpoint(None, None, {}, tmp_path).socket == "/var/run/docker.sock"
    assert find_endpoint(None, None, {"DOCKER_HOST": "unix:///x.sock"}, tmp_path).socket == "/x.sock"
    assert find_endpoint("tcp://h:1", None, {"DOCKER_HOST": "unix:///x.sock"}, tmp_path).tcp == "http://h:1"
    found = find_endpoint(None, None, {"DOCKER_HOST": "tcp://h", "DOCKER_TLS_VERIFY": "1"}, tmp_path)
    assert (found.tcp, found.tls) == ("https://h:2376", Tls(tmp_path / ".docker"))
    found = find_endpoint("ssh://me@h:23/run/d.sock", None, {}, tmp_path)
    assert (found.ssh, found.ssh_port, found.remote_socket, found.host) == ("me@h", 23, "/run/d.sock", "h")
    digest = hashlib.sha256(b"far").hexdigest()
    meta = tmp_path / ".docker" / "contexts" / "meta" / digest
    meta.mkdir(parents=True)
    (meta / "meta.json").write_text(json.dumps({"Name": "far", "Endpoints": {"docker": {"Host": "ssh://far"}}}))
    assert find_endpoint(None, "far", {"DOCKER_HOST": "unix:///x.sock"}, tmp_path).ssh == "far"
    (tmp_path / ".docker" / "config.json").write_text('{"currentContext": "far"}')
    assert find_endpoint(None, None, {}, tmp_path).ssh == "far"
    assert find_endpoint(None, None, {"DOCKER_CONTEXT": "default"}, tmp_path).socket == "/var/run/docker.sock"
    for wrong in ("http:///x", "ssh://me:secret@h", "npipe:////./pipe/docker", "ssh://-oProxyCommand=x"):
        with pytest.raises(UsageError):
            find_endpoint(wrong, None, {}, tmp_path)
    with pytest.raises(UsageError, match="no such context"):
        find_endpoint(None, "nowhere", {}, tmp_path)
