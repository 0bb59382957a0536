"""`wait`: until it is so, and what is said when it does not become so in time."""

from __future__ import annotations

import subprocess
import time

import httpx
import pytest

from tests.commands.process import DEADLINE_S, Tritonctl
from tests.commands.proxy import dead_port
from tests.servers import Factory, Running


@pytest.mark.parametrize("condition", ["ready", "live", "model=add_sub", "model=digits"])
def test_what_is_so_already_returns_at_once(tritonctl: Tritonctl, demo: Running, condition: str) -> None:
    tritonctl.knows(it=demo)
    began = time.monotonic()
    document = tritonctl("wait", "it", "--for", condition, "-o", "json").document
    assert time.monotonic() - began < 20
    assert document.pop("waited_s") < 20
    assert document == {"service": "s/it", "condition": condition}
    assert tritonctl("wait", "s/it", "--for", condition).out.startswith(f"s/it: {condition} after ")


def test_it_returns_when_the_model_is_loaded(tritonctl: Tritonctl, own_triton: Factory) -> None:
    server = own_triton(load=("add_sub",))
    tritonctl.knows(it=server)
    process = tritonctl.start("wait", "it", "--for", "model=echo", stdout=subprocess.DEVNULL)
    try:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1.5)
        httpx.post(f"{server.http}/v2/repository/models/echo/load", timeout=30).raise_for_status()
        assert process.wait(DEADLINE_S) == 0
    finally:
        process.kill()
        process.communicate()


def test_what_does_not_come_in_time(tritonctl: Tritonctl, demo: Running) -> None:
    tritonctl.knows(it=demo, gone=f"http://127.0.0.1:{dead_port()}")
    for condition, code, word in (
        ("model=echo", 5, "echo is not loaded"),
        ("model=layout", 1, "No module named 'shapely'"),
        ("model=nope", 3, "no such model"),
    ):
        done = tritonctl("wait", "it", "--for", condition, "--timeout", "3", "-o", "json", code=code)
        assert done.out == ""
        assert "waited 3 s" in done.err
        assert word in done.err
    assert "nothing listens" in tritonctl("wait", "gone", "--for", "ready", "--timeout", "3", code=5).err
    assert "services: s/gone, s/it" in tritonctl("wait", "x", "--for", "ready", "--timeout", "0.5", code=3).err


@pytest.mark.parametrize("condition", ["", "healthy", "model", "model=", "ready=yes"])
def test_a_condition_that_there_is_not_is_a_usage_error(tritonctl: Tritonctl, condition: str) -> None:
    assert "ready, live, settled or model=NAME" in tritonctl("wait", "it", "--for", condition, code=2).err
