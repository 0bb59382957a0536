"""What to say of a change of several steps that nobody waits for any more: how far it came, and what takes it back."""

from __future__ import annotations

from collections.abc import Sequence

from tritonctl.backend import Capability
from tritonctl.plan import Plan, StepResult, StepState


def left_halfway(plan: Plan, results: Sequence[StepResult]) -> tuple[str, ...]:
    """None of a plan that cannot be left half done: of one step, of steps side by side, or with none begun.

    The calls come as lines of their own that can be pasted, indented by two.
    """
    begun = [place for place, each in enumerate(results) if each.state in _BEGUN]
    if plan.parallel or len(results) < 2 or not begun:
        return ()
    at = next((place for place in begun if results[place].state is not StepState.DONE), begun[-1])
    rest = "its undoing is not finished" if _undoing(results) else "nothing of it is undone"
    goes_on = "this step was done from here and has ended" if results[at].step.ours else "what was asked goes on there"
    lines = [
        f"interrupted at step {at + 1} of {len(results)}: {results[at].step.call}",
        f"{goes_on}, no further step is taken, and {rest}",
    ]
    if results[at].step.ours and at == 0:
        return (*lines, "nothing else was changed: begin again")
    if plan.action == Capability.MODE:
        mode = f"tritonctl mode {plan.service}"
        lines.append(f"{mode} MODE finishes it with the mode that was wanted, and undoes it with the mode before")
    if calls := _undo_calls(results):
        lines.append("by hand these take back what is done, in this order:")
        if results[at].step.undo_call == calls[0] and results[at].state is not StepState.DONE:
            lines[-1] = f"by hand these take back what is done, in this order, the first where step {at + 1} got done:"
        lines += [f"  {call}" for call in calls]
    elif plan.action != Capability.MODE:
        lines.append(f"to take it back: {plan.undo or 'nothing here can be taken back'}")
    return tuple(lines)


_BEGUN = (StepState.RUNNING, StepState.DONE, StepState.LEFT, StepState.STOPPED)


def _undoing(results: Sequence[StepResult]) -> bool:
    return any(each.state in (StepState.FAILED, StepState.SKIPPED, StepState.UNDONE) for each in results)


def _undo_calls(results: Sequence[StepResult]) -> list[str]:
    """Last first, as far as to a step after which what was before is gone."""
    calls: list[str] = []
    for each in reversed(results):
        if each.state is StepState.DONE and each.step.settles:
            break
        if each.state in _BEGUN and each.step.undo_call:
            calls.append(each.step.undo_call)
    return calls
