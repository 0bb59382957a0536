"""Changes that take Azure long, left by Ctrl-C and taken up again by another process: a command, or the dashboard."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.azure.emulator import Emulator
from tests.azure.sample import OUT_OF_QUOTA, Sample
from tests.azure.state import Script
from tests.commands.process import DEADLINE_S, Tritonctl
from tests.servers import Factory, Running
from tests.tui.process import running
from tests.waiting import until

LONG_S = 12.0  # of an operation: two processes start and one ends meanwhile


@pytest.fixture
def server(triton: Factory) -> Running:
    return triton(load=("add_sub",))


@pytest.fixture
def sample(azure: Emulator, server: Running) -> Sample:
    made = Sample(azure)
    model = made.model("text")
    made.endpoint("triton-ep", traffic={"blue": 90, "green": 10})
    for name in ("blue", "green"):
        made.deployment("triton-ep", name, server=server.http, model=model)
    azure.state.servers[f"{made.path}/onlineEndpoints/triton-ep/deployments/red".lower()] = server.http
    return made


def left(tritonctl: Tritonctl, *words: str, once: Callable[[], bool]) -> str:
    """What is said by a command that is left by Ctrl-C once that holds."""
    process = tritonctl.start(*words)
    try:
        end = time.monotonic() + DEADLINE_S
        while not once():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < end, f"{words} asked for nothing"
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=DEADLINE_S)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130, err
    assert b"Traceback" not in err
    return err.decode()


def state_of(azure: Emulator, sample: Sample, below: str) -> str:
    found = azure.state.get(f"{sample.path}/onlineEndpoints/triton-ep{below}")
    return str(found["properties"]["provisioningState"]) if found is not None else ""


def asked_about_operations(azure: Emulator) -> int:
    return len([each for each in azure.state.made if "operationsstatus" in each.path.lower()])


@pytest.mark.parametrize(
    ("words", "method", "below", "moving"),
    [
        (("deploy", "text:1", "triton-ep/red", "--yes"), "PUT", "/deployments/red", "Creating"),
        (("scale", "triton-ep/blue", "3", "--yes"), "PATCH", "/deployments/blue", "Updating"),
        (("traffic", "triton-ep", "blue=50", "green=50", "--yes"), "PUT", "", "Updating"),
    ],
)
def test_a_command_of_another_process_follows_it_to_its_end(
    azure: Emulator, sample: Sample, tritonctl: Tritonctl, words: tuple[str, ...], method: str, below: str, moving: str
) -> None:
    azure.state.scripts.append((method, f"onlineEndpoints/triton-ep{below}$", Script(LONG_S, retry_after="1")))
    said = left(tritonctl, *words, once=lambda: state_of(azure, sample, below) == moving)
    assert "goes on there" in said
    again = next(line for line in said.splitlines() if line.startswith("  tritonctl wait "))
    assert state_of(azure, sample, below) == moving, "it had ended before anybody could wait for it again"
    before = asked_about_operations(azure)
    waited = tritonctl(*again.split()[1:])
    assert state_of(azure, sample, below) == "Succeeded"
    assert "settled after" in waited.out
    assert asked_about_operations(azure) > before, "by the operation's own address, which the resource keeps"
    assert tritonctl.audit[-1]["result"] == "left running"


def test_the_reason_of_one_that_fails_later_is_told_by_who_waits_again(
    azure: Emulator, sample: Sample, tritonctl: Tritonctl
) -> None:
    azure.state.scripts.append(("PUT", "deployments/red", Script(LONG_S, "Failed", OUT_OF_QUOTA, retry_after="1")))
    left(
        tritonctl,
        *("deploy", "text:1", "triton-ep/red", "--yes"),
        once=lambda: state_of(azure, sample, "/deployments/red") == "Creating",
    )
    failed = tritonctl("wait", "triton-ep/red", "--for", "settled", code=1)
    assert "OutOfQuota" in failed.err


async def test_the_dashboard_started_anew_follows_it_to_its_end(
    azure: Emulator, sample: Sample, tritonctl: Tritonctl, tmp_path: Path
) -> None:
    """Left with the dashboard's own prompt this time: two keys to leave, the change goes on."""
    azure.state.scripts.append(("PATCH", "deployments/blue", Script(LONG_S, retry_after="1")))
    config = str(tritonctl.settings(azure.config({"ws": "ws1"}, {})))
    async with running("--config", config, home=tmp_path, size=(140, 34)) as first:
        await first.sees("triton-ep/blue", "ready")
        first.type(":scale ws/triton-ep/blue 3\r")
        await first.sees("[ Cancel ]")
        first.type("\t\r")
        await until(lambda: state_of(azure, sample, "/deployments/blue") == "Updating", DEADLINE_S)
        await first.sees("Leave it running")
        first.type("\x1b")
        await first.until(lambda: "Leave it running" not in first.text)
        first.type("q")
        await first.sees("a change is at work")
        first.type("q")
        await first.ends()
    assert state_of(azure, sample, "/deployments/blue") == "Updating"
    async with running("--config", config, home=tmp_path, size=(140, 34)) as second:
        await second.until(lambda: "Updating for " in second.text)
        await second.until(lambda: "Updating" not in second.text and "triton-ep/blue" in second.text)
        second.type("q")
        await second.ends()
    assert state_of(azure, sample, "/deployments/blue") == "Succeeded"
