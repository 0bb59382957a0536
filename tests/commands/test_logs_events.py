"""`logs` and `events`: of an embedded server that another process runs, and of a place that has none."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.commands.process import DEADLINE_S, ROOT, Tritonctl
from tests.components import need
from tests.servers import Running

# An embedded backend in a process of its own, as a dashboard's demo is one; it ends when its stdin does.
RUN = """
import asyncio, sys
from backends.embedded.backend import EmbeddedBackend
from backends.embedded.server import SAMPLES, EmbeddedServer, Options
from tritonctl.fleet import Fleet

async def main():
    server = EmbeddedServer(Options(SAMPLES, "explicit", ("add_sub",), copy=True))
    async with Fleet([EmbeddedBackend("embedded", server)]) as fleet:
        snapshot = fleet.snapshot
        while not any(each.ready for each in snapshot.services):
            snapshot = await fleet.changed(snapshot)
        print(server.log, flush=True)
        await asyncio.to_thread(sys.stdin.read)

asyncio.run(main())
"""


@contextmanager
def embedded(tritonctl: Tritonctl) -> Iterator[None]:
    need("triton")
    process = subprocess.Popen(
        [sys.executable, "-c", RUN], cwd=ROOT, env=tritonctl.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline().strip()
        yield
    finally:
        process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0


def test_the_log_of_another_process_is_read_and_followed(tritonctl: Tritonctl) -> None:
    with embedded(tritonctl):
        (row,) = tritonctl("services", "-o", "json").document
        assert row["id"] == "embedded/demo"
        assert row["platform"] == {"state": "running", "reason": None}
        done = tritonctl("logs", "demo", "--tail", "5")
        assert len(done.rows) == 5
        lines = tritonctl("logs", "embedded/demo", "-o", "json").document
        assert [list(line) for line in lines] == [["replica", "text", "at_s", "dropped"]] * len(lines)
        assert any("successfully loaded 'add_sub'" in line["text"] for line in lines)
        assert "no such replica" in tritonctl("logs", "demo", "--replica", "x", code=3).err
        assert "no previous run" in tritonctl("logs", "demo", "--previous", code=1).err
        follower = tritonctl.start("logs", "demo", "-f", "--tail", "1", stderr=subprocess.DEVNULL)
        try:
            assert follower.stdout is not None
            assert follower.stdout.readline()
            tritonctl("load", "demo", "echo", "--yes")
            while b"successfully loaded 'echo'" not in (line := follower.stdout.readline()):
                assert line, "the log ended without the line"
            follower.send_signal(signal.SIGINT)
            assert follower.wait(DEADLINE_S) == 130
        finally:
            follower.kill()
            follower.communicate()
        assert "no events" in tritonctl("events", "demo", code=1).err


@pytest.mark.parametrize("command", ["logs", "events"])
def test_an_address_alone_has_neither_and_says_so(tritonctl: Tritonctl, demo: Running, command: str) -> None:
    tritonctl.knows(it=demo)
    done = tritonctl(command, "it", code=1)
    assert done.out == ""
    assert f"no {command} here: only the server's address is known" in done.err


def test_following_is_no_document(tritonctl: Tritonctl) -> None:
    assert "never becomes one document" in tritonctl("logs", "x", "-f", "-o", "json", code=2).err
