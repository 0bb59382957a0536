"""What is said of a change that was left half done, and how the calls of its steps are told apart."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from tritonctl.errors import OperationFailed
from tritonctl.halfway import left_halfway
from tritonctl.plan import AuditLog, Plan, Step, StepResult, StepState, carry_out
from tui.commands import change, text
from tui.commands.session import Session


async def nothing() -> str:
    return ""


async def for_ever() -> str:
    await asyncio.Event().wait()
    return ""


async def fails() -> str:
    raise OperationFailed("do it", "it broke")


def a_switch(*steps: Step, action: str = "mode", parallel: bool = False) -> Plan:
    return Plan(action, "docker/web", "Switch it", steps, parallel=parallel)


MADE = Step("docker create new", nothing, undo_call="docker rm new", undo=nothing)
RENAMED = Step("docker rename web old", nothing, undo_call="docker rename old web", undo=nothing)
STOPPING = Step("docker stop web", for_ever, undo_call="docker start web", undo=nothing)
LATER = Step("docker start new", nothing, undo_call="docker stop new", undo=nothing)


async def interrupted(plan: Plan, folder: Path, at: StepState = StepState.RUNNING) -> tuple[str, ...]:
    newest: tuple[StepResult, ...] = ()
    reached = asyncio.Event()

    def told(results: tuple[StepResult, ...]) -> None:
        nonlocal newest
        newest = results
        if sum(each.state is at for each in results) and results[0].state is not StepState.RUNNING:
            reached.set()

    doing = asyncio.create_task(carry_out(plan, AuditLog(folder / "audit"), read_only=False, progress=told))
    await asyncio.wait_for(reached.wait(), 10)
    await asyncio.sleep(0.05)
    doing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await doing
    return left_halfway(plan, newest)


async def test_the_step_and_what_takes_back_the_steps_before_it(tmp_path: Path) -> None:
    assert await interrupted(a_switch(MADE, RENAMED, STOPPING, LATER), tmp_path) == (
        "interrupted at step 3 of 4: docker stop web",
        "what was asked goes on there, no further step is taken, and nothing of it is undone",
        "tritonctl mode docker/web MODE finishes it with the mode that was wanted, and undoes it with the mode before",
        "by hand these take back what is done, in this order, the first where step 3 got done:",
        "  docker start web",
        "  docker rename old web",
        "  docker rm new",
    )


async def test_what_was_before_a_step_that_settles_cannot_be_taken_back(tmp_path: Path) -> None:
    settled = Step("docker rm old", nothing, settles=True)
    lines = await interrupted(a_switch(MADE, settled, STOPPING), tmp_path)
    assert [line for line in lines if line.startswith("  ")] == ["  docker start web"]


async def test_interrupted_while_it_is_undone(tmp_path: Path) -> None:
    stuck = Step("docker stop web", nothing, undo_call="docker start web", undo=for_ever)
    failing = Step("docker start new", fails)
    lines = await interrupted(a_switch(MADE, stuck, failing), tmp_path, at=StepState.FAILED)
    assert lines[0] == "interrupted at step 2 of 3: docker stop web"
    assert "its undoing is not finished" in lines[1]
    assert [line for line in lines if line.startswith("  ")] == ["  docker start web", "  docker rm new"]


async def test_only_steps_in_a_row_can_be_left_halfway() -> None:
    running = StepResult(STOPPING, StepState.RUNNING)
    assert left_halfway(a_switch(STOPPING), [running]) == ()
    assert left_halfway(a_switch(STOPPING, LATER, parallel=True), [running, StepResult(LATER)]) == ()
    assert left_halfway(a_switch(MADE, LATER), [StepResult(MADE), StepResult(LATER)]) == ()
    restart = Plan("restart", "docker/web", "Restart it", (Step("a", nothing), Step("b", nothing)))
    lines = left_halfway(restart, [StepResult(restart.steps[0], StepState.RUNNING), StepResult(restart.steps[1])])
    assert lines[-1] == "to take it back: nothing here can be taken back"
    assert not any("tritonctl mode" in line for line in lines)


async def test_the_command_says_it_after_ctrl_c(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    session = SimpleNamespace(arguments=SimpleNamespace(dry_run=False, yes=True), json=False)
    plan = a_switch(MADE, STOPPING, LATER)
    doing = asyncio.create_task(change._execute(cast(Session, session), plan, read_only=False))
    said = ""
    async with asyncio.timeout(10):
        while "2 docker stop web: running" not in said:
            await asyncio.sleep(0.02)
            said += capsys.readouterr().err
    doing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await doing
    said = capsys.readouterr().err
    assert "tritonctl: interrupted at step 2 of 3: docker stop web\n" in said
    assert said.endswith("got done:\n  docker start web\n  docker rm new\n")


def test_calls_of_one_plan_are_told_apart_when_they_are_shortened() -> None:
    where = "kubectl --kubeconfig '/a long/path' --context=prod"
    assert text.shortened(f"{where} -n n rollout status deployment/web") == "kubectl -n n rollout status deployment/web"
    long = text.shortened(f"{where} -n n patch deployment/web -p '{'x' * 200}' --type=json")
    assert len(long) == 80
    assert long.startswith("kubectl -n n patch deploym")
    assert long.endswith("x' --type=json")
