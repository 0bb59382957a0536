"""An intended change, written out before anything is done; carrying it out; undoing it; the record of what was done."""

from __future__ import annotations

import asyncio
import copy
import json
import os
import pwd
import time
from collections.abc import Awaitable, Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from tritonctl.errors import OperationFailed, Refused, TritonctlError, Unreachable, UsageError, fault

Run = Callable[[], Awaitable[str]]  # returns the server's or the place's own answer, "" where it has none


class NotAsBefore(Exception):
    """An undo raises it with the words to say when the step is taken back, but what was there before does not work
    again. The undoing goes on; the words end the failure's."""


@dataclass(frozen=True, slots=True)
class Step:
    """One call. `call` is it as a person could type it, `undo_call` what takes it back; no secret in either.

    `settles`: once it is done, what the steps up to it made is to stay; what was before them is gone. A failure after
    it is undone as far as to here.
    `ours`: it is done from this machine, as an upload is, and ends with who stops waiting for it.
    `so_far`: how far it is, in words, while it runs; "" where it is not known.
    """

    call: str
    run: Run
    replica: str | None = None
    undo_call: str = ""
    undo: Run | None = None
    deadline_s: float = 300.0
    settles: bool = False
    ours: bool = False
    so_far: Callable[[], str] = lambda: ""


@dataclass(frozen=True, slots=True)
class Choice:
    """Something that goes along with a change if it is chosen, and is kept else: a volume, an image, a service, …

    `id` is what chooses it (`Intent.options`), `label` names it, `why` says what else uses it or what is lost with it.
    A backend chooses nothing by itself that cannot be made again.
    """

    id: str
    label: str
    chosen: bool = False
    why: str = ""


def choose(choices: Iterable[Choice], options: Collection[str]) -> tuple[Choice, ...]:
    """The choices as `options` (of an Intent) settles them: none given leaves the backend's own, `all` and `none` are
    every one and no one, else those that are named and no other.

    Raises UsageError for an id that there is none of.
    """
    choices = tuple(choices)
    wanted = set(options) - {"all", "none"}
    if strange := sorted(wanted - {each.id for each in choices}):
        offered = ", ".join(each.id for each in choices)
        raise UsageError(
            f"--with {strange[0]}",
            f"nothing named {strange[0]} could go along",
            f"there is: {offered}" if offered else "",
        )
    if not options:
        return choices
    return tuple(replace(each, chosen="all" in options or each.id in wanted) for each in choices)


@dataclass(frozen=True, slots=True)
class Plan:
    """`parallel` steps do not wait for each other (one per replica); else the first failure stops the plan and undoes.

    `typed` is the name that must be typed to confirm, where a yes is not enough: traffic hangs on it, or it cannot be
    undone.
    """

    action: str
    service: str
    title: str
    steps: tuple[Step, ...]
    now: str = ""
    warnings: tuple[str, ...] = ()
    undo: str = ""
    typed: str = ""
    parallel: bool = False
    read_only: bool = False
    choices: tuple[Choice, ...] = ()

    def lines(self) -> tuple[str, ...]:
        """The plan as text, for a screen or a terminal."""
        text = [self.title]
        if self.now:
            text.append(f"now   {self.now}")
        text += [f"{number:<3} {step.call}" for number, step in enumerate(self.steps, 1)]
        for choice in self.choices:
            why = f"  ({choice.why})" if choice.why else ""
            text.append(f"[{'x' if choice.chosen else ' '}] {choice.label}{why}  --with {choice.id}")
        text += [f"▲   {warning}" for warning in self.warnings]
        text.append(f"undo  {self.undo or 'nothing here can be taken back'}")
        return tuple(text)


class StepState(StrEnum):
    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"
    UNDONE = "undone"
    LEFT = "left running"  # nobody waits any more; how it ends only the server knows
    STOPPED = "stopped"  # it was done from here, and ended with who left


_RECORDED = (StepState.DONE, StepState.FAILED, StepState.UNDONE, StepState.LEFT, StepState.STOPPED)


@dataclass(frozen=True, slots=True)
class StepResult:
    step: Step
    state: StepState = StepState.WAITING
    seconds: float = 0.0
    answer: str = ""
    error: TritonctlError | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    plan: Plan
    results: tuple[StepResult, ...]
    seconds: float

    @property
    def error(self) -> TritonctlError | None:
        """The first failure of steps side by side; of steps in a row the last: undoing goes backwards from it."""
        errors = [result.error for result in self.results if result.error is not None]
        return errors[0 if self.plan.parallel else -1] if errors else None


class AuditLog:
    """JSON lines, one for each step that was carried out: who, when, what, how it ended. Never a secret."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, plan: Plan, result: StepResult, *, undoing: bool = False) -> None:
        record = {
            "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "who": _who(),
            "action": plan.action,
            "service": plan.service,
            "replica": result.step.replica,
            "call": result.step.undo_call if undoing else result.step.call,
            "result": str(result.state),
            "seconds": round(result.seconds, 3),
            "answer": result.error.answer if result.error else result.answer,
        }
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # One write of one line in append mode: two tritonctl at work do not mix their lines.
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(descriptor, (json.dumps(record) + "\n").encode())
        finally:
            os.close(descriptor)


class _Put(Protocol):
    """Takes the new result of the step at `place`; `undoing`: it tells of the undoing."""

    def __call__(self, place: int, result: StepResult, undoing: bool = False) -> None: ...


def _who() -> str:
    """Of the process itself: what the environment says (LOGNAME, USER) anybody can set."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def audit_path() -> Path:
    state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(state) / "tritonctl" / "audit.jsonl"


async def carry_out(
    plan: Plan,
    audit: AuditLog,
    *,
    read_only: bool,
    progress: Callable[[tuple[StepResult, ...]], None] = lambda _results: None,
) -> Outcome:
    """Do what the plan says, tell `progress` after every change of a step, and record each step.

    Raises Refused, before anything is done, in read-only mode: this is the one door that every change goes through.
    A step that fails is in the outcome, not raised. Cancelling stops waiting; what a server was asked to do goes on
    there.
    """
    if read_only or plan.read_only:
        raise Refused(
            plan.title, "read-only mode", "start without --read-only, or set read_only = false for this backend"
        )
    audit_writable(audit)
    began = time.monotonic()
    results = [StepResult(step) for step in plan.steps]

    def put(place: int, result: StepResult, undoing: bool = False) -> None:
        if result.state in _RECORDED:
            try:
                audit.append(plan, result, undoing=undoing)
            except OSError as error:  # the disk filled up meanwhile: what is done is done, and is said to be unrecorded
                result = replace(result, answer=f"{result.answer} (not in the audit log: {error.strerror})".strip())
        results[place] = result
        with suppress(Exception):  # who only watches, a screen that is just being closed, must not stop the change
            progress(tuple(results))

    if plan.parallel:
        await asyncio.gather(*(_run(place, step, put) for place, step in enumerate(plan.steps)))
    else:
        for place, step in enumerate(plan.steps):
            if not await _run(place, step, put):
                for later in range(place + 1, len(results)):
                    put(later, replace(results[later], state=StepState.SKIPPED))
                await _undo(results, place, put)
                break
    return Outcome(plan, tuple(results), time.monotonic() - began)


def audit_writable(audit: AuditLog) -> None:
    """A change that cannot be recorded is not made."""
    try:
        audit.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(audit.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600))
    except OSError as error:
        raise Refused(
            "open the audit log", f"{audit.path}: {error.strerror}", "make it writable, or set XDG_STATE_HOME"
        ) from None


async def _run(place: int, step: Step, put: _Put) -> bool:
    began = time.monotonic()
    put(place, StepResult(step, StepState.RUNNING))
    try:
        async with asyncio.timeout(step.deadline_s):
            answer = await step.run()
    except TritonctlError as error:
        put(place, StepResult(step, StepState.FAILED, time.monotonic() - began, error=error))
        return False
    except TimeoutError:
        late = Unreachable(
            step.call,
            f"not done after {step.deadline_s:g} s",
            "it may still end well there: watch the state of what it changes",
            kind="timeout",
        )
        put(place, StepResult(step, StepState.FAILED, time.monotonic() - began, error=late))
        return False
    except asyncio.CancelledError:
        state, answer = StepState.LEFT, "nobody waits for it; what was asked goes on"
        if step.ours:
            state, answer = StepState.STOPPED, "it ended with who left"
        put(place, StepResult(step, state, time.monotonic() - began, answer))
        raise
    except Exception as error:  # a fault of ours or of a library: the steps before must be undone all the same
        put(place, StepResult(step, StepState.FAILED, time.monotonic() - began, error=fault(step.call, error)))
        return False
    put(place, StepResult(step, StepState.DONE, time.monotonic() - began, answer=answer))
    return True


async def _undo(results: list[StepResult], failed: int, put: _Put) -> None:
    """Take back the steps up to the failed one, which may be half done, last first, as far as to one that settles what
    was before it. Stops where that fails: what is left is then told, not guessed at."""
    for place in range(failed, -1, -1):
        step = results[place].step
        if step.settles and place != failed:
            return
        if step.undo is None:
            continue
        began = time.monotonic()
        words: str | None = None
        try:
            async with asyncio.timeout(step.deadline_s):
                answer = await step.undo()
        except NotAsBefore as found:
            answer = str(found)
            if (cause := results[failed].error) is not None:
                longer = copy.copy(cause)
                longer.answer = f"{cause.answer}; {answer}"
                results[failed] = replace(results[failed], error=longer)
        except TimeoutError:
            words = f"not done after {step.deadline_s:g} s"
        except TritonctlError as error:
            words = error.answer
        except asyncio.CancelledError:
            left = replace(results[place], state=StepState.LEFT, error=None, seconds=time.monotonic() - began)
            put(place, replace(left, answer="nobody waits for its undoing; what was asked goes on"), True)
            raise
        except Exception as error:
            words = fault(step.undo_call, error).answer
        if words is None:
            undone = replace(results[place], state=StepState.UNDONE, seconds=time.monotonic() - began, answer=answer)
            put(place, undone, True)
            continue
        stuck: TritonctlError = OperationFailed(
            step.undo_call, f"undoing it failed: {words}", f"by hand this takes it back: {step.undo_call}"
        )
        if (cause := results[place].error) is not None:  # stays of its kind: the exit code hangs on it
            stuck = copy.copy(cause)
            stuck.answer = f"{cause.answer}; undoing it failed: {words}"
        put(place, replace(results[place], state=StepState.FAILED, error=stuck), True)
        return
