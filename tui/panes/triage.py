"""What is wrong with a service, why, and what to do: gathered beside the screen, shown as it comes in."""

from __future__ import annotations

import os
import shlex
import time
from pathlib import Path
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import BindingType

from tritonctl.errors import TritonctlError, fault
from tritonctl.inventory import ServiceStatus
from tritonctl.triage.diagnose import Diagnosis
from tritonctl.triage.finding import Confidence, Finding, Weight, command_of
from tritonctl.triage.signatures import Catalogue, load
from tritonctl.triage.stages import StageState
from tritonctl.triage.timeline import changed_before
from tui.keys import TRIAGE
from tui.panes.base import Pane
from tui.screens.base import LiveScreen
from tui.widgets.sheet import Block, Heading, Pair, Piece, Sheet

AGAIN_S = 10.0  # while the pane is in view, and at once when the service's level changes
_RUNGS = {
    StageState.DONE: "ok",
    StageState.UNDER_WAY: "busy",
    StageState.STUCK: "warn",
    StageState.FAILED: "failed",
    StageState.UNKNOWN: "off",
}
_STATES = {Weight.FAILED: "failed", Weight.DEGRADED: "warn", Weight.CONSEQUENCE: "warn", Weight.NOTE: "off"}
_CHANGES = ("load", "unload", "mode", "restart", "scale")


class TriagePane(Pane):
    """Gathers anew when the service's state changes and every few seconds; what was found stays until then."""

    BINDINGS: ClassVar[list[BindingType]] = [action.binding() for action in TRIAGE]

    def __init__(self) -> None:
        super().__init__()
        self._status: ServiceStatus | None = None
        self._diagnosis: Diagnosis | None = None
        self._catalogue: Catalogue | None = None
        self._gathering = False
        self._began = 0.0
        self._seen: object = None
        self._all = False
        self._trouble = ""

    def compose(self) -> ComposeResult:
        yield Sheet(id="triage-sheet")

    def show(self, status: ServiceStatus) -> None:
        self._status = status
        state = (status.level, status.counts, status.service.platform.state)
        stale = time.monotonic() - self._began > AGAIN_S
        if not self._gathering and (state != self._seen or stale):
            self._seen = state
            self._gather(status)
        self._draw()

    @work(group="triage", exclusive=True, exit_on_error=False)
    async def _gather(self, status: ServiceStatus) -> None:
        from tritonctl.triage.triage import triage

        screen = self.screen
        assert isinstance(screen, LiveScreen)
        self._gathering, self._began = True, time.monotonic()
        try:
            backend = screen.triton.fleet.backend_of(status.service)
            if self._catalogue is None:
                self._catalogue = load(os.environ, backend.kind)
                self._trouble = "\n".join(str(trouble) for trouble in self._catalogue.troubles)
            told = self._told if self._diagnosis is None else None
            self._diagnosis = await triage(status, backend, self._catalogue, told=told, latest=lambda: self._status)
        except TritonctlError as error:
            self._trouble = str(error)
        except Exception as caught:  # else it would say for ever that it is gathering
            self._trouble = str(fault(f"triage of {status.id}", caught))
        finally:
            self._gathering = False
        screen.show_now()

    def _told(self, diagnosis: Diagnosis) -> None:
        """What is known so far, the first time: later ones would take away what is there already."""
        self._diagnosis = diagnosis
        self._draw()

    # Drawing

    def _draw(self) -> None:
        pieces: list[Piece] = []
        diagnosis = self._diagnosis
        if diagnosis is None:
            pieces.append(Block("gathering evidence …", "muted"))
        else:
            pieces += self._ladder(diagnosis)
            pieces += self._findings(diagnosis)
        if self._trouble:
            pieces.append(Block(f"\n{self._trouble}", "warn"))
        self.query_one(Sheet).show(pieces)

    def _ladder(self, diagnosis: Diagnosis) -> list[Piece]:
        symbols = self.query_one(Sheet).symbols
        arrow = " → " if symbols.braille else " > "
        rungs = arrow.join(f"{rung.stage} {symbols.state(_RUNGS[rung.state])}" for rung in diagnosis.stages)
        pieces: list[Piece] = [Block(rungs)]
        for rung in diagnosis.stages:
            if rung.state in (StageState.UNDER_WAY, StageState.STUCK):
                seconds = f" {rung.seconds:.0f} s" if rung.seconds is not None else ""
                pieces.append(Block(f"{rung.stage}: {rung.state}{seconds}, {rung.detail}", "busy"))
        return pieces

    def _findings(self, diagnosis: Diagnosis) -> list[Piece]:
        headline = diagnosis.headline
        missing = [Pair("not known", f"{each.what}: {each.why}") for each in diagnosis.evidence.missing]
        if headline is None:
            so_far = not diagnosis.evidence.complete
            words = "nothing found yet, still gathering …" if so_far else "nothing was found against it"
            return [Heading(words), *missing]
        pieces = self._one(headline)
        others = diagnosis.findings[1:]
        if others:
            pieces.append(Heading("also found"))
            for each in others:
                pieces += self._one(each) if self._all else [Pair(each.confidence, each.title, _STATES[each.weight])]
        moments = changed_before(diagnosis.evidence)
        if moments:
            pieces.append(Heading("changed before"))
            pieces += [Pair(moment.time, f"{moment.text}  ({moment.source})") for moment in moments]
        if self._all and missing:
            pieces += [Heading("evidence that is missing"), *missing]
        return pieces

    def _one(self, finding: Finding) -> list[Piece]:
        symbols = self.query_one(Sheet).symbols
        sure = "" if finding.confidence is Confidence.UNKNOWN else f"   [{finding.confidence}]"
        pieces: list[Piece] = [Heading(f"{symbols.state(_STATES[finding.weight])} {finding.title}{sure}")]
        for quote in finding.evidence:
            first, *rest = quote.text.splitlines() or [""]
            pieces.append(Pair(quote.source, first))
            if self._all and rest:
                pieces.append(Block("\n".join(f"    {line}" for line in rest)))
        pieces.append(Block(finding.cause, "muted"))
        for letter, step in zip("abcdefgh", finding.next_steps, strict=False):
            pieces.append(Pair(f"next {letter}", step))
        if self._all:
            pieces += [Pair("document", finding.doc), Pair("entry", finding.id)]
        return pieces

    # Keys

    @property
    def _headline(self) -> Finding | None:
        return self._diagnosis.headline if self._diagnosis is not None else None

    def _say(self, text: str, state: str = "") -> None:
        if isinstance(self.screen, LiveScreen):
            self.screen.say(text, state)

    def action_copy(self, place: int = 0) -> None:
        """By OSC 52, which reaches the clipboard of the terminal's own machine over SSH."""
        headline = self._headline
        if headline is None or place >= len(headline.next_steps):
            self._say("there is no such step to copy")
            return
        step = headline.next_steps[place]
        text = command_of(step) or step
        self.app.copy_to_clipboard(text)
        self._say(f"copied: {text}", "ok")

    def action_all(self) -> None:
        self._all = not self._all
        self._draw()

    def action_again(self) -> None:
        if self._status is not None and not self._gathering:
            self._gather(self._status)
            self._say("gathering evidence anew …", "busy")

    def action_plan(self) -> None:
        """The first step that tritonctl can take by itself: its plan, to be confirmed."""
        step = next((each for each in map(_change_of, self._headline.next_steps) if each), "") if self._headline else ""
        if step and isinstance(self.screen, LiveScreen):
            self.screen.triton.run_command(step)
        else:
            self._say("no step here is one that tritonctl takes by itself: y copies the first")

    @work(group="bundle", exclusive=True, exit_on_error=False)
    async def action_bundle(self) -> None:
        from tritonctl.triage import bundle

        screen, diagnosis = self.screen, self._diagnosis
        if diagnosis is None or not isinstance(screen, LiveScreen):
            return
        path = Path.cwd() / time.strftime("tritonctl-triage-%Y%m%d-%H%M%S.tar.gz")
        try:
            size = await bundle.write(
                path, diagnosis, screen.triton.fleet.backend_of(diagnosis.evidence.status.service)
            )
        except OSError as error:
            screen.say(f"{path}: {error.strerror}", "failed")
        else:
            screen.say(f"saved without secrets, {size / 1024:.0f} kB: {path}", "ok")


def _change_of(step: str) -> str:
    """The command line for the dashboard in a step such as `tritonctl load SERVICE MODEL`, "" where there is none."""
    _, found, command = step.partition("tritonctl ")
    if not found:
        return ""
    try:
        words = shlex.split(command.partition(";")[0].partition(":")[0])
    except ValueError:
        return ""
    if len(words) < 2 or words[0] not in _CHANGES:
        return ""
    verb, _service, *rest = words
    if any(word.isupper() for word in rest):
        return ""  # a placeholder that nobody filled in
    if verb in ("load", "unload", "mode", "scale"):
        return shlex.join([verb, rest[0]]) if rest else ""
    return verb
