"""A plan and its progress as lines of the docked panel."""

from __future__ import annotations

from collections.abc import Sequence

from tritonctl.plan import Plan, StepResult, StepState
from tui.widgets.panel import PanelLine

_STATES = {
    StepState.WAITING: "",
    StepState.RUNNING: "busy",
    StepState.DONE: "ok",
    StepState.FAILED: "failed",
    StepState.SKIPPED: "off",
    StepState.UNDONE: "warn",
    StepState.LEFT: "busy",
    StepState.STOPPED: "off",
}
LOG_LINES = 6


def plan_lines(plan: Plan) -> list[PanelLine]:
    lines = [PanelLine(plan.now, label="now")] if plan.now else []
    lines += [PanelLine(step.call, label=str(number)) for number, step in enumerate(plan.steps, 1)]
    for choice in plan.choices:
        text = f"{choice.label} · {choice.why}" if choice.why else choice.label
        lines.append(PanelLine(text, choice=choice.id, chosen=choice.chosen))
    lines += [PanelLine(warning, state="warn") for warning in plan.warnings]
    lines.append(PanelLine(plan.undo or "nothing here can be taken back", label="undo"))
    return lines


def progress_lines(results: Sequence[StepResult], log: Sequence[str]) -> list[PanelLine]:
    """Each step with its state and its own answer, then the newest lines of the server's log."""
    lines: list[PanelLine] = []
    for result in results:
        where = f"{result.step.replica}: " if result.step.replica and len(results) > 1 else ""
        seconds = f" {result.seconds:.1f} s" if result.seconds else ""
        lines.append(PanelLine(f"{where}{result.step.call}", state=_STATES[result.state]))
        if result.error is not None:
            lines += [PanelLine(text, label="", style="failed") for text in result.error.answer.splitlines()[:12]]
            lines += [PanelLine(result.error.advice, label="→")] if result.error.advice else []
        elif result.state is not StepState.RUNNING:
            lines.append(PanelLine(f"{result.answer or result.state}{seconds}"))
        elif words := result.step.so_far():
            lines.append(PanelLine(words))
    if log:
        lines.append(PanelLine("log", style="muted"))
        lines += [PanelLine(text, style="muted") for text in log[-LOG_LINES:]]
    return lines
