"""`python -m tests.azure`: what it prints is enough for the commands to find everything, and it ends when told to."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.azure.__main__ import unresolved
from tests.azure.storage import ACCOUNT
from tests.components import ROOT, need


@pytest.fixture
def printed() -> Iterator[dict[str, str]]:
    """The table that it prints, by the names in it; the process runs meanwhile."""
    need("azure")
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.azure", "--latency", "0", "--crowd", "3"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        found: dict[str, str] = {}
        for line in process.stdout:
            name, _, value = line.partition("  ")
            found[name.strip()] = value.strip()
            if line.startswith("try it"):
                break
        yield found
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        process.stdout.close()
    assert process.returncode == 0
    assert not Path(found["settings"]).parent.exists()


def test_it_says_where_uploads_cannot_work(monkeypatch: pytest.MonkeyPatch, printed: dict[str, str]) -> None:
    host = f"{ACCOUNT}.blob.localhost"
    if words := unresolved(host):
        assert printed["register"] == words
    else:
        assert "register" not in printed
    monkeypatch.setattr("socket.getaddrinfo", _no_such_name)
    assert f"127.0.0.1 {host} >> /etc/hosts" in unresolved(host)


def _no_such_name(*_: object) -> None:
    raise OSError("Name or service not known")


def test_the_commands_find_what_it_emulates(printed: dict[str, str]) -> None:
    folder = Path(printed["az"]).parent
    environ = {**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}
    environ = {name: value for name, value in environ.items() if not name.startswith("AZURE")}
    done = subprocess.run(
        [sys.executable, "-m", "tui.cli", "--config", printed["settings"], "services", "-o", "json", "--timeout", "60"],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.stdout, done.stderr
    services = {each["id"]: each for each in json.loads(done.stdout)}
    assert {"ws1/triton-ep/blue", "ws1/score-ep/main", "ws1/ep-002/green", "aks/prod-aks"} <= set(services)
    assert services["ws1/broken-ep/blue"]["platform"]["state"] == "Failed"
    assert services["aks/prod-aks"]["kind"] == "aks cluster"
    said = done.stdout + done.stderr
    assert "PrimaryKey0123456789" not in said
    assert "eyJ" not in said
