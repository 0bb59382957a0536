"""How far a step is that takes long: in the dashboard's panel, and as lines of a command."""

from __future__ import annotations

import asyncio
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tritonctl.plan import Plan, Step, StepResult, StepState
from tui.commands import change
from tui.planlines import progress_lines


async def _nothing() -> str:
    return ""


@pytest.mark.parametrize(("state", "shown"), [(StepState.RUNNING, True), (StepState.WAITING, False)])
def test_the_panel_says_how_far_a_step_is_that_runs(state: StepState, shown: bool) -> None:
    step = Step("upload it", _nothing, so_far=lambda: "3 of 9 MiB are there")
    lines = [each.text for each in progress_lines([StepResult(step, state)], [])]
    assert ("3 of 9 MiB are there" in lines) is shown


async def test_a_command_says_it_from_time_to_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(change, "_SO_FAR_S", 0.02)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    sent = 0

    async def upload() -> str:
        nonlocal sent
        while sent < 3:
            sent += 1
            await asyncio.sleep(0.1)
        return "all are there"

    steps = (Step("upload it", upload, so_far=lambda: f"{sent} of 3 are there"), Step("register it", _nothing))
    session: Any = SimpleNamespace(arguments=Namespace(dry_run=False, yes=True), json=False)
    assert await change._execute(session, Plan("register", "ws", "Register it", steps), read_only=False) == 0
    told = capsys.readouterr().err
    for count in (1, 2, 3):
        assert f"1 upload it: {count} of 3 are there" in told
    assert not [each for each in asyncio.all_tasks() if each.get_name() == "tell how far it is"]
