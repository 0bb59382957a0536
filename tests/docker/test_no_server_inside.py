"""A container of a Triton image that runs something else: it is said, and nobody waits for a server."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from backends.docker import look, ready
from backends.docker.container import Container, read_container
from backends.docker.discovery import classify
from backends.docker.endpoint import Endpoint
from backends.docker.engine import Engine, Query


def document(command: Sequence[str], ran_s: float) -> dict[str, Any]:
    started = datetime.fromtimestamp(time.time() - ran_s, UTC).isoformat()
    return {
        "Id": "c" * 64,
        "Name": "/idle",
        "Path": command[0],
        "Args": list(command[1:]),
        "Config": {"Image": "tritonserver:1"},
        "State": {"Status": "running", "StartedAt": started},
        "NetworkSettings": {"Networks": {"bridge": {"IPAddress": "192.0.2.1"}}},
    }


class Runs(Engine):
    """One container, and what runs in it."""

    def __init__(self, command: str, ran_s: float) -> None:
        super().__init__(Endpoint("unix:///nowhere", "test", socket="/nowhere"))
        self.command = command
        self.document = document(command.split(), ran_s)

    def container(self) -> Container:
        return read_container(self.document)

    async def call(self, method: str, path: str, query: Query | None = None, body: object = None, **_: Any) -> Any:
        return {"Processes": [["1", self.command]]} if path.endswith("/top") else self.document


@pytest.mark.parametrize("command", ["sleep 1000", "/bin/bash", "bash -i", "tini -- sleep 1000"])
async def test_what_runs_instead_is_said(command: str) -> None:
    engine = Runs(command, ran_s=60)
    found = await look.judge(engine, engine.container())
    assert found is not None
    (way,) = await look.ways(engine, found)
    assert way.address is None
    assert way.no_address == f"no tritonserver runs in it, only: {command}"
    assert "no tritonserver in it" in await ready.wait_ready(engine, "idle", 5.0)


@pytest.mark.parametrize(
    ("command", "ran_s"), [("sleep 1000", 3.0), ("/bin/bash /start.sh", 60.0), ("python3 serve.py", 60.0)]
)
async def test_one_that_may_still_start_a_server_is_waited_for(command: str, ran_s: float) -> None:
    engine = Runs(command, ran_s)
    found = await look.judge(engine, engine.container())
    assert found is not None
    assert not look.serves_nothing(found)


def test_processes_that_nobody_could_read_tell_nothing() -> None:
    found = classify(read_container(document(["sleep", "1000"], 60)), None)
    assert found is not None
    assert found.instead == ""
