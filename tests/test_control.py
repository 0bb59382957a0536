"""Load and unload as plans over a real server: what they say beforehand, what they do, and how they fail."""

from __future__ import annotations

import asyncio
import json
import shlex
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.places import Place, one, service
from tests.servers import Factory, Running, write_model
from tests.test_server_client import write_repository
from tritonctl.errors import NotFound, OperationFailed, Unreachable
from tritonctl.fleet import Fleet
from tritonctl.inventory import ControlMode, ServiceStatus
from tritonctl.plan import AuditLog, Plan, carry_out
from tritonctl.server.address import Secret, ServerAddress
from tritonctl.server.control import plan_load, plan_unload

Look = Callable[[], Awaitable[ServiceStatus]]


@asynccontextmanager
async def looking(*addresses: ServerAddress) -> AsyncIterator[Look]:
    """What a fresh look at a service with these replicas tells."""

    async def look() -> ServiceStatus:
        async with Fleet([Place("here", service("s", *addresses))], deadline_s=20) as fleet:
            return one(await fleet.first_look(3))

    yield look


@pytest.fixture
def audit(tmp_path_factory: pytest.TempPathFactory) -> AuditLog:
    return AuditLog(tmp_path_factory.mktemp("audit") / "audit.jsonl")


@pytest.fixture
def server(own_triton: Factory, tmp_path: Path) -> Running:
    return own_triton(write_repository(tmp_path), load=("plain",))


async def test_a_load_and_an_unload_by_plan(server: Running, audit: AuditLog) -> None:
    address = ServerAddress(server.http, headers={"Authorization": Secret("Bearer s3cr3t")})
    async with looking(address) as look:
        plan = await plan_load(await look(), "member")
        assert plan.now == "version – not loaded; 1 of 6 models ready"
        assert any("strict readiness" in warning for warning in plan.warnings)
        assert "s3cr3t" not in "\n".join(plan.lines())
        outcome = await carry_out(plan, audit, read_only=False)
        assert outcome.error is None
        assert outcome.results[0].answer == "loaded"
        status = await look()
        assert {each.name: each.ready_on for each in status.models}["member"] == 1
        plan = await plan_load(status, "member")
        assert any("keeps the old one" in warning for warning in plan.warnings)
        outcome = await carry_out(await plan_unload(status, "member"), audit, read_only=False)
        assert outcome.results[0].answer == "unloaded"
        status = await look()
        assert {each.name: each.worst.reason for each in status.models}["member"] == "unloaded"
    lines = [json.loads(line) for line in audit.path.read_text().splitlines()]
    assert [(each["action"], each["replica"], each["result"]) for each in lines] == [
        ("load", "r1", "done"),
        ("unload", "r1", "done"),
    ]
    assert "s3cr3t" not in audit.path.read_text()


async def test_the_call_that_is_shown_does_it(own_triton: Factory, tmp_path: Path) -> None:
    write_model(tmp_path, "[bold]plain")
    running = own_triton(tmp_path)
    async with looking(ServerAddress(running.http)) as look:
        plan: Plan = await plan_load(await look(), "[bold]plain")
        done = await asyncio.to_thread(
            subprocess.run, shlex.split(f"{plan.steps[0].call} -sf --noproxy '*'"), capture_output=True, timeout=20
        )
        assert done.returncode == 0, done.stderr
        assert (await look()).counts.ready == 1


async def test_unloading_what_an_ensemble_needs_warns(server: Running, audit: AuditLog) -> None:
    async with looking(ServerAddress(server.http)) as look:
        await carry_out(await plan_load(await look(), "both"), audit, read_only=False)
        status = await look()
        plan = await plan_unload(status, "member")
        assert any(warning.startswith("both (ensemble) needs it") for warning in plan.warnings)
        assert not any("ensemble" in warning for warning in (await plan_unload(status, "both")).warnings)
        await carry_out(await plan_unload(status, "both", dependents=True), audit, read_only=False)
        # What was loaded by its own name stays (measured on 2.51.0); the member came by the ensemble and goes with it.
        assert {each.name for each in (await look()).models if each.ready_on} == {"plain"}


async def test_a_failure_is_in_the_servers_own_words(server: Running, audit: AuditLog) -> None:
    async with looking(ServerAddress(server.http)) as look:
        outcome = await carry_out(await plan_load(await look(), "broken"), audit, read_only=False)
        assert outcome.error is not None
        assert "No module named 'not_there'" in outcome.error.answer
        status = await look()
        assert status.note.startswith("broken: ")
        assert status.ready is False
    assert "not_there" in json.loads(audit.path.read_text())["answer"]


async def test_each_replica_has_its_own_answer(own_triton: Factory, tmp_path: Path, audit: AuditLog) -> None:
    good, bad = tmp_path / "good", tmp_path / "bad"
    write_model(good, "m")
    write_model(bad, "m", "import not_there\n")
    addresses = [ServerAddress(own_triton(folder).http) for folder in (good, bad)]
    async with looking(*addresses) as look:
        status = await look()
        plan = await plan_load(status, "m")
        assert any("starts later" in warning for warning in plan.warnings)
        outcome = await carry_out(plan, audit, read_only=False)
        assert [(each.step.replica, str(each.state)) for each in outcome.results] == [("r1", "done"), ("r2", "failed")]
        only = await plan_load(status, "m", replica="r1")
        assert [step.replica for step in only.steps] == ["r1"]
        with pytest.raises(NotFound, match="replicas: r1, r2"):
            await plan_load(status, "m", replica="r3")


async def test_what_nobody_has_is_not_found(server: Running) -> None:
    async with looking(ServerAddress(server.http)) as look:
        status = await look()
        for planning in (plan_load(status, "nobody"), plan_unload(status, "nobody")):
            with pytest.raises(NotFound) as caught:
                await planning
            assert "plain" in caught.value.advice
        assert (await plan_load(status, "nobody", config="{}")).now == "not in the repository index"


async def test_another_mode_is_refused_before_a_plan_is_made(own_triton: Factory, tmp_path: Path) -> None:
    write_model(tmp_path, "plain")
    running = own_triton(tmp_path, control_mode="none")
    async with looking(ServerAddress(running.http)) as look:
        status = await look()
        assert status.control_mode is ControlMode.NONE_OR_POLL
        for planning in (plan_load(status, "plain"), plan_unload(status, "plain")):
            with pytest.raises(OperationFailed) as caught:
                await planning
            assert "--model-control-mode=explicit" in caught.value.advice


async def test_a_load_past_its_deadline(server: Running, audit: AuditLog) -> None:
    async with looking(ServerAddress(server.http)) as look:
        outcome = await carry_out(await plan_load(await look(), "slow", deadline_s=0.5), audit, read_only=False)
        error = outcome.error
        assert isinstance(error, Unreachable)
        assert error.kind == "timeout"
        assert "0.5 s" in error.answer
        assert "watch the state of what it changes" in error.advice
        assert (await look()).note == "loading slow"


async def test_a_server_killed_in_the_middle_of_a_load(server: Running, audit: AuditLog) -> None:
    async with looking(ServerAddress(server.http)) as look:
        work = asyncio.create_task(carry_out(await plan_load(await look(), "slow"), audit, read_only=False))
        await asyncio.sleep(0.5)
        began = time.monotonic()
        server.kill()
        outcome = await work
        assert time.monotonic() - began < 10
        error = outcome.error
        assert isinstance(error, Unreachable)
        assert (error.kind, error.exit_code) == ("lost", 5)
        assert "was lost" in error.answer


async def test_an_unload_whose_end_cannot_be_seen(own_triton: Factory, tmp_path: Path, audit: AuditLog) -> None:
    """Restricting the repository API restricts load and unload too; a proxy may hide the index alone."""
    from tests.answering import answer, like_triton, listening, local, responding

    def respond(method: str, target: str) -> bytes:
        return answer("{}", 403) if target.endswith("/index") else like_triton(method, target)

    async with listening(responding(respond)) as port, looking(local(port)) as look:
        outcome = await carry_out(await plan_unload(await look(), "m"), audit, read_only=False)
        assert outcome.error is None
        assert "cannot be seen" in outcome.results[0].answer
