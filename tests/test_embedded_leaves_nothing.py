"""However our process ends, its server's processes, ports, shared memory and folder are gone soon after."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from backends.embedded import wheel
from backends.embedded.guard import descendants
from backends.embedded.server import HOST, SAMPLES, EmbeddedServer, Options
from tests.components import ROOT, need
from tests.servers import Factory, write_model
from tests.waiting import until

PARENT = """
import asyncio, json
from backends.embedded.server import SAMPLES, EmbeddedServer, Options


async def main():
    async with EmbeddedServer(Options(SAMPLES, load=("add_sub", "echo"), copy=True, traffic=True)) as server:
        ports = await server.wait_live()
        print(json.dumps({
            "ports": [ports.http, ports.grpc, ports.metrics],
            "folder": str(server.folder), "shm": server.shm_prefix, "guard": server.guard_pid,
        }), flush=True)
        await asyncio.sleep(600)


asyncio.run(main())
"""


@dataclass(frozen=True)
class Remains:
    """What must be gone."""

    processes: tuple[int, ...]
    ports: tuple[int, ...]
    folder: Path
    shm_prefix: str
    guard: int

    def left(self) -> list[str]:
        left = [f"process {pid}" for pid in self.processes if is_alive(pid)]
        for port in self.ports:
            with socket.socket() as probe:
                if probe.connect_ex((HOST, port)) == 0:
                    left.append(f"port {port}")
        left += [name for name in os.listdir("/dev/shm") if name.startswith(self.shm_prefix)]
        return left + ([str(self.folder)] if self.folder.exists() else [])

    def seconds_until_gone(self, most_s: float = 20.0) -> float:
        start = time.monotonic()
        while left := self.left():
            assert time.monotonic() - start < most_s, left
            time.sleep(0.01)
        return time.monotonic() - start


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that only waits for its parent to collect it does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in ("Z", "X")


@dataclass(frozen=True)
class Parent:
    """A process of ours with an embedded server, its terminal being `terminal`."""

    process: subprocess.Popen[bytes]
    terminal: int
    remains: Remains


@pytest.fixture
def parent() -> Iterator[Parent]:
    need("triton")
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", "import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n" + PARENT],
        stdin=slave,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    os.close(slave)
    assert process.stdout
    try:
        told = json.loads(process.stdout.readline())
        below = descendants(process.pid)
        remains = Remains(tuple(below), tuple(told["ports"]), Path(told["folder"]), told["shm"], told["guard"])
        # the guard, the server, two stubs and the traffic: else the test would look for too little
        assert len(below) == 5
        assert len(remains.left()) >= 5 + 3 + 2 + 1
        yield Parent(process, master, remains)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        with suppress(OSError):
            os.close(master)


ENDINGS: dict[str, Callable[[Parent], object]] = {
    "killed": lambda p: p.process.send_signal(signal.SIGKILL),
    "hung up": lambda p: p.process.send_signal(signal.SIGHUP),
    "terminated": lambda p: p.process.send_signal(signal.SIGTERM),
    "interrupted": lambda p: p.process.send_signal(signal.SIGINT),
    "control C": lambda p: os.write(p.terminal, b"\x03"),
    "terminal closed": lambda p: os.close(p.terminal),
    "guard terminated": lambda p: os.kill(p.remains.guard, signal.SIGTERM),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_nothing_is_left_when_it_is(parent: Parent, ending: str) -> None:
    ENDINGS[ending](parent)
    assert parent.remains.seconds_until_gone() < 7


def test_the_guard_killed_takes_the_server_with_it(parent: Parent) -> None:
    os.kill(parent.remains.guard, signal.SIGKILL)
    start = time.monotonic()
    while any(is_alive(pid) for pid in parent.remains.processes):
        assert time.monotonic() - start < 15
        time.sleep(0.01)
    parent.process.send_signal(signal.SIGINT)  # our process, still there, then clears the rest
    assert parent.remains.seconds_until_gone() < 7


async def test_stop_leaves_nothing_and_is_quick() -> None:
    need("triton")
    server = EmbeddedServer(Options(SAMPLES, load=("add_sub", "echo"), copy=True, traffic=True))
    await server.start()
    ports = await server.wait_live()
    assert server.guard_pid
    below = descendants(server.guard_pid)
    assert len(below) == 4
    remains = Remains(
        tuple(below), (ports.http, ports.grpc, ports.metrics), server.folder, server.shm_prefix, server.guard_pid
    )
    assert len(remains.left()) >= 4 + 3 + 2 + 1
    start = time.monotonic()
    await server.stop()
    assert time.monotonic() - start < 5
    assert remains.left() == []
    await server.stop()


async def test_stop_in_the_middle_of_the_start_leaves_nothing() -> None:
    need("triton")
    server = EmbeddedServer(Options(SAMPLES, load=("add_sub",), copy=True))
    await server.start()
    await asyncio.sleep(0.15)
    await server.stop()
    assert not server.folder.exists()
    assert not [name for name in os.listdir("/dev/shm") if name.startswith(server.shm_prefix)]


async def test_a_start_that_is_cancelled_while_it_copies_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    need("triton")
    copying, copied, copy = threading.Event(), threading.Event(), wheel.copy_repository

    def slowly(source: Path, target: Path) -> None:
        copying.set()
        time.sleep(0.3)  # longer than the guard takes to sweep
        copy(source, target)
        copied.set()

    monkeypatch.setattr(wheel, "copy_repository", slowly)
    server = EmbeddedServer(Options(SAMPLES, load=("add_sub",), copy=True))
    starting = asyncio.create_task(server.start())
    await until(copying.is_set)
    starting.cancel()
    with suppress(asyncio.CancelledError):
        await starting
    await server.stop()
    await until(copied.is_set)
    assert not server.folder.exists()


@pytest.mark.parametrize("after_s", [0.0, 0.02, 0.05, 0.1])
async def test_a_start_that_is_cancelled_at_any_moment_leaves_nothing(after_s: float) -> None:
    need("triton")
    server = EmbeddedServer(Options(SAMPLES, load=("add_sub",), copy=True))
    starting = asyncio.create_task(server.start())
    await asyncio.sleep(after_s)
    starting.cancel()
    with suppress(asyncio.CancelledError):
        await starting
    await server.stop()
    assert server.guard_pid is None
    assert not server.folder.exists()


@pytest.mark.parametrize("after_s", [0.25, 0.35, 0.45, 0.6])
def test_control_c_in_the_first_moments_of_the_demo_leaves_nothing(tmp_path: Path, after_s: float) -> None:
    need("triton")
    (tmp_path / "tmp").mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "tui.cli", "demo"],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path / "tmp"), "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        time.sleep(after_s)
        below = descendants(process.pid)
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert b"Exception ignored" not in said, said
    remains = Remains(tuple(below), (), tmp_path / "none", "none", 0)
    assert remains.seconds_until_gone() < 10
    assert list((tmp_path / "tmp").glob("tritonctl-*")) == []


def test_a_server_that_dies_is_told(own_triton: Factory) -> None:
    running = own_triton(load=("add_sub",))
    running.kill()
    deadline = time.monotonic() + 20
    while running.server.exit_code is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert running.server.exit_code == -signal.SIGKILL


def test_a_restart_keeps_the_ports(own_triton: Factory, tmp_path: Path) -> None:
    write_model(tmp_path, "same")
    running = own_triton(tmp_path)
    before, pid = running.server.ports, running.server.pid
    own_triton.restart(running, Options(tmp_path, "none"))
    assert running.server.ports == before
    assert running.server.pid != pid
    assert httpx.get(f"{running.http}/v2/models/same/ready").status_code == 200


@pytest.mark.parametrize("which", ["http", "grpc", "metrics"])
async def test_a_port_lost_before_the_bind_is_replaced(which: str) -> None:
    need("triton")
    async with EmbeddedServer(Options(SAMPLES, copy=True)) as server:
        chosen = server.ports
        with socket.socket() as thief:
            thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            thief.bind((HOST, getattr(chosen, which)))
            thief.listen()
            ports = await server.wait_live()
            assert ports != chosen
            assert getattr(ports, which) != getattr(chosen, which)


async def test_a_server_that_never_gets_live_is_given_up(tmp_path: Path) -> None:
    need("triton")
    write_model(tmp_path, "endless", code="import time\ntime.sleep(600)\n")
    async with EmbeddedServer(Options(tmp_path, "none")) as server:
        with pytest.raises(TimeoutError, match=r"not live within 0\.5 s"):
            await server.wait_live(0.5)
    assert not server.folder.exists()
