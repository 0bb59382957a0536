"""Carrying out a plan: order, undo, deadlines, cancelling, refusing, and what the audit log holds of it."""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from tests.fakes import service
from tests.waiting import until
from tritonctl.backend import Capability, Intent
from tritonctl.errors import OperationFailed, Refused, Unreachable, UsageError
from tritonctl.ground import PlanGround
from tritonctl.inventory import ControlMode
from tritonctl.plan import (
    AuditLog,
    Choice,
    NotAsBefore,
    Outcome,
    Plan,
    Run,
    Step,
    StepResult,
    StepState,
    audit_path,
    carry_out,
    choose,
)


class Doing:
    """Steps that note what was done in `done`."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def step(
        self, name: str, *, fails: bool = False, undo: str | None = "", takes_s: float = 0.0, **more: object
    ) -> Step:
        """`undo`: what its undoing fails with, None for a step that cannot be undone."""

        def run(what: str, error: Exception | None) -> Run:
            async def doing() -> str:
                await asyncio.sleep(takes_s)
                self.done.append(what)
                if error:
                    raise error
                return f"{what} answered"

            return doing

        failure = OperationFailed(f"do {name}", f"{name} broke") if fails else None
        undo_failure = OperationFailed(f"undo {name}", undo) if undo else None
        return Step(
            f"do {name}",
            run(name, failure),
            undo_call=f"undo {name}",
            undo=run(f"undo {name}", undo_failure) if undo is not None else None,
            **more,  # type: ignore[arg-type]
        )


def plan(*steps: Step, parallel: bool = False, read_only: bool = False) -> Plan:
    return Plan("load", "here/one", "Load it", steps, parallel=parallel, read_only=read_only)


@pytest.fixture
def doing() -> Doing:
    return Doing()


@pytest.fixture
def audit(tmp_path: Path) -> AuditLog:
    return AuditLog(tmp_path / "state" / "audit.jsonl")


def states(outcome: Outcome) -> list[str]:
    return [str(each.state) for each in outcome.results]


def records(audit: AuditLog) -> list[tuple[str, str]]:
    return [(each["call"], each["result"]) for each in map(json.loads, audit.path.read_text().splitlines())]


async def test_steps_in_a_row(doing: Doing, audit: AuditLog) -> None:
    told: list[Sequence[StepResult]] = []
    outcome = await carry_out(plan(doing.step("a"), doing.step("b")), audit, read_only=False, progress=told.append)
    assert doing.done == ["a", "b"]
    assert states(outcome) == ["done", "done"]
    assert [each.answer for each in outcome.results] == ["a answered", "b answered"]
    assert outcome.error is None
    assert [[str(each.state) for each in results] for results in told] == [
        ["running", "waiting"],
        ["done", "waiting"],
        ["done", "running"],
        ["done", "done"],
    ]


async def test_steps_side_by_side_do_not_wait_for_each_other(doing: Doing, audit: AuditLog) -> None:
    steps = [doing.step(name, takes_s=1.5, fails=name == "b") for name in "abc"]
    began = time.monotonic()
    outcome = await carry_out(plan(*steps, parallel=True), audit, read_only=False)
    assert time.monotonic() - began < 4
    assert states(outcome) == ["done", "failed", "done"]
    assert outcome.error is not None
    assert outcome.error.answer == "b broke"
    assert doing.done == ["a", "b", "c"]  # and nothing was undone
    assert sorted(records(audit)) == [("do a", "done"), ("do b", "failed"), ("do c", "done")]


async def test_a_failure_in_a_row_undoes_backwards_and_skips_the_rest(doing: Doing, audit: AuditLog) -> None:
    steps = (doing.step("a"), doing.step("b", undo=None), doing.step("c", fails=True), doing.step("d"))
    outcome = await carry_out(plan(*steps), audit, read_only=False)
    assert doing.done == ["a", "b", "c", "undo c", "undo a"]
    assert states(outcome) == ["undone", "done", "undone", "skipped"]
    assert outcome.error is not None
    assert outcome.error.answer == "c broke"
    assert records(audit) == [
        ("do a", "done"),
        ("do b", "done"),
        ("do c", "failed"),
        ("undo c", "undone"),
        ("undo a", "undone"),
    ]


async def test_what_a_step_has_settled_is_not_undone(doing: Doing, audit: AuditLog) -> None:
    settling = doing.step("b", undo=None, settles=True)
    outcome = await carry_out(
        plan(doing.step("a"), settling, doing.step("c"), doing.step("d", fails=True)), audit, read_only=False
    )
    assert doing.done == ["a", "b", "c", "d", "undo d", "undo c"]
    assert states(outcome) == ["done", "done", "undone", "undone"]


async def test_a_step_that_fails_has_settled_nothing(doing: Doing, audit: AuditLog) -> None:
    steps = (doing.step("a"), doing.step("b", undo=None, fails=True, settles=True))
    outcome = await carry_out(plan(*steps), audit, read_only=False)
    assert doing.done == ["a", "b", "undo a"]
    assert states(outcome) == ["undone", "failed"]


async def test_an_undoing_that_fails_stops_and_hides_no_cause(doing: Doing, audit: AuditLog) -> None:
    steps = (doing.step("a"), doing.step("b", undo="b is stuck"), doing.step("c", fails=True, undo=None))
    outcome = await carry_out(plan(*steps), audit, read_only=False)
    assert doing.done == ["a", "b", "c", "undo b"]
    assert states(outcome) == ["done", "failed", "failed"]
    assert outcome.error is not None
    assert outcome.error.answer == "c broke"
    stuck = outcome.results[1].error
    assert stuck is not None
    assert (stuck.tried, stuck.answer) == ("undo b", "undoing it failed: b is stuck")
    assert records(audit)[-1] == ("undo b", "failed")


async def test_a_failed_step_that_cannot_be_undone_keeps_its_cause(doing: Doing, audit: AuditLog) -> None:
    outcome = await carry_out(plan(doing.step("a", fails=True, undo="stuck")), audit, read_only=False)
    assert outcome.error is not None
    assert outcome.error.answer == "a broke; undoing it failed: stuck"


async def test_what_is_taken_back_but_does_not_work_again_ends_the_failures_words(
    doing: Doing, audit: AuditLog
) -> None:
    async def back() -> str:
        raise NotAsBefore("b runs again, but is not ready")

    stopping = replace(doing.step("b"), undo=back)
    told: list[Sequence[StepResult]] = []
    changed = plan(doing.step("a"), stopping, doing.step("c", fails=True))
    outcome = await carry_out(changed, audit, read_only=False, progress=told.append)
    assert doing.done == ["a", "b", "c", "undo c", "undo a"]
    assert states(outcome) == ["undone", "undone", "undone"]
    assert outcome.results[1].answer == "b runs again, but is not ready"
    assert outcome.error is not None
    assert outcome.error.answer == "c broke; b runs again, but is not ready"
    last = told[-1][2].error
    assert last is not None
    assert last.answer == outcome.error.answer


async def test_the_deadline_of_a_step(doing: Doing, audit: AuditLog) -> None:
    steps = (doing.step("a"), doing.step("b", takes_s=5, deadline_s=0.1))
    outcome = await carry_out(plan(*steps), audit, read_only=False)
    assert outcome.seconds < 4
    error = outcome.error
    assert isinstance(error, Unreachable)
    assert (error.kind, error.tried, error.exit_code) == ("timeout", "do b", 5)
    assert error.answer == "not done after 0.1 s; undoing it failed: not done after 0.1 s"
    assert doing.done == ["a"]  # the undoing of b took too long as well, and that is where it stops
    assert states(outcome) == ["done", "failed"]


@pytest.mark.parametrize("parallel", [True, False])
async def test_cancelling_stops_waiting_and_is_recorded(doing: Doing, audit: AuditLog, parallel: bool) -> None:
    steps = (doing.step("a", takes_s=5), doing.step("b", takes_s=5))
    told: list[Sequence[StepResult]] = []
    work = asyncio.create_task(carry_out(plan(*steps, parallel=parallel), audit, read_only=False, progress=told.append))
    await asyncio.sleep(0.05)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert doing.done == []
    assert records(audit) == [("do a", "left running"), ("do b", "left running")][: 2 if parallel else 1]
    assert "goes on" in json.loads(audit.path.read_text().splitlines()[0])["answer"]
    assert (told[-1][0].state, told[-1][0].error) == (StepState.LEFT, None)


async def test_an_undoing_that_nobody_waits_for_is_recorded(doing: Doing, audit: AuditLog) -> None:
    steps = (doing.step("a", takes_s=1.0), doing.step("b", undo=None, fails=True))
    work = asyncio.create_task(carry_out(plan(*steps), audit, read_only=False))
    await until(lambda: "b" in doing.done)
    await asyncio.sleep(0.05)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert records(audit)[-1] == ("undo a", "left running")


@pytest.mark.parametrize("parallel", [True, False])
async def test_a_fault_in_a_step_is_a_failure_like_any_other(doing: Doing, audit: AuditLog, parallel: bool) -> None:
    async def faulty() -> str:
        raise KeyError("oops")

    steps = (doing.step("a"), Step("do it wrong", faulty))
    outcome = await carry_out(plan(*steps, parallel=parallel), audit, read_only=False)
    assert states(outcome) == (["done", "failed"] if parallel else ["undone", "failed"])
    assert outcome.error is not None
    assert "KeyError" in outcome.error.answer


@pytest.mark.parametrize("where", ["everywhere", "backend"])
async def test_read_only_refuses_before_anything(doing: Doing, audit: AuditLog, where: str) -> None:
    told: list[Sequence[StepResult]] = []
    one = plan(doing.step("a"), read_only=where == "backend")
    with pytest.raises(Refused) as caught:
        await carry_out(one, audit, read_only=where == "everywhere", progress=told.append)
    assert caught.value.exit_code == 6
    assert "--read-only" in caught.value.advice
    assert doing.done == []
    assert told == []
    assert not audit.path.parent.exists()


async def test_the_audit_log(doing: Doing, audit: AuditLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "someone else")
    monkeypatch.setenv("USER", "someone else")
    step = doing.step("é \x1b[31m \ud800 \u009b", replica="r1")
    await carry_out(plan(step), audit, read_only=False)
    await carry_out(plan(doing.step("b")), audit, read_only=False)
    raw = audit.path.read_bytes()
    assert raw.isascii()
    assert raw.replace(b"\n", b"").decode().isprintable()
    first, second = [json.loads(line) for line in raw.decode().splitlines()]
    assert abs(datetime.fromisoformat(first["at"]).timestamp() - time.time()) < 10
    assert {key: first[key] for key in ("who", "action", "service", "replica", "result", "call")} == {
        "who": pwd.getpwuid(os.getuid()).pw_name,
        "action": "load",
        "service": "here/one",
        "replica": "r1",
        "result": "done",
        "call": "do é \x1b[31m \ud800 \u009b",
    }
    assert second["replica"] is None
    assert audit.path.stat().st_mode & 0o777 == 0o600
    assert audit.path.parent.stat().st_mode & 0o777 == 0o700


async def test_without_a_record_there_is_no_change(doing: Doing, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "audit.jsonl", tmp_path):
        with pytest.raises(Refused) as caught:
            await carry_out(plan(doing.step("a")), AuditLog(path), read_only=False)
        assert str(path) in caught.value.answer
        assert "XDG_STATE_HOME" in caught.value.advice
    assert doing.done == []


async def test_a_disk_that_fills_up_in_between_stops_nothing(doing: Doing, audit: AuditLog) -> None:
    async def fill() -> str:
        audit.path.unlink()
        audit.path.mkdir()  # as little to be written to as a full disk
        return "filled"

    outcome = await carry_out(plan(Step("fill", fill), doing.step("a")), audit, read_only=False)
    assert states(outcome) == ["done", "done"]
    assert "filled (not in the audit log: " in outcome.results[0].answer


def test_the_audit_log_is_where_state_belongs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert audit_path() == tmp_path / "tritonctl" / "audit.jsonl"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", "/somewhere")
    assert audit_path() == Path("/somewhere/.local/state/tritonctl/audit.jsonl")


async def test_two_at_work_do_not_mix_their_lines(doing: Doing, audit: AuditLog) -> None:
    big = "x" * 20_000
    plans = [plan(*(doing.step(f"{n} {big}") for n in range(5)), parallel=True) for _ in range(5)]
    await asyncio.gather(*(carry_out(each, AuditLog(audit.path), read_only=False) for each in plans))
    assert len(records(audit)) == 25


def test_a_plan_as_text() -> None:
    async def nothing() -> str:
        return ""

    one = Plan(
        "load", "here/one", "Load m", (Step("curl 1", nothing), Step("curl 2", nothing)), "now", ("beware",), "curl 3"
    )
    assert one.lines() == ("Load m", "now   now", "1   curl 1", "2   curl 2", "▲   beware", "undo  curl 3")
    assert plan(Step("c", nothing)).lines()[-1] == "undo  nothing here can be taken back"
    data = replace(one, choices=(Choice("volume:v", "the volume v", True, "nothing else uses it"), Choice("c", "c")))
    assert data.lines()[4:6] == ("[x] the volume v  (nothing else uses it)  --with volume:v", "[ ] c  --with c")
    assert StepState.UNDONE == "undone"
    assert os.path.isabs(audit_path())


@pytest.mark.parametrize(
    ("options", "chosen"),
    [((), "b"), (("all",), "abc"), (("none",), ""), (("a",), "a"), (("c", "a"), "ac")],
)
def test_options_settle_the_choices(options: tuple[str, ...], chosen: str) -> None:
    settled = choose((Choice("a", "A"), Choice("b", "B", chosen=True), Choice("c", "C")), options)
    assert [each.id for each in settled] == ["a", "b", "c"]
    assert "".join(each.id for each in settled if each.chosen) == chosen


def test_a_choice_that_there_is_none_of_is_refused_with_those_there_are() -> None:
    with pytest.raises(UsageError) as refused:
        choose((Choice("volume:data", "volume data"),), ("all", "volume:date"))
    assert "volume:date" in str(refused.value)
    assert "volume:data" in refused.value.advice


def test_a_control_mode_that_is_asked_for_is_one_that_can_be_had() -> None:
    """`none or poll` is what is known of a server, not what one can be started in."""

    def asked(word: str) -> ControlMode:
        return PlanGround(intent=Intent(Capability.MODE, service("t1"), word), read_only=False).mode

    assert [asked(word) for word in ("none", "poll", "explicit")] == ["none", "poll", "explicit"]
    for word in ("", "none or poll", "Explicit"):
        with pytest.raises(UsageError, match="none, poll or explicit"):
            asked(word)
