"""What every live screen has: the header, a body, the reserved line for words and typing, the keys that work here."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar, cast

from textual import events, on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.widget import Widget

from tritonctl.backend import Backend, Capability
from tritonctl.errors import TritonctlError, fault
from tritonctl.inventory import BackendState, Service, Snapshot
from tritonctl.plan import Plan, StepResult, StepState
from tui.desk import Desk
from tui.keys import CHANGES, EVERYWHERE, Action, shown
from tui.messages import MakeAnew
from tui.planlines import plan_lines, progress_lines
from tui.widgets.bar import Header, KeyHints, Part
from tui.widgets.lines import QuietScreen
from tui.widgets.panel import Panel, PanelLine
from tui.widgets.plaintext import at_words
from tui.widgets.prompt import Prompt, no_candidates

PLAN_S = 10.0  # at most, for making a plan
_STAYS_S = 10.0  # how long a word is kept in the reserved line
_FAULT_STAYS_S = 60.0
_KEYS_STAY_S = 120.0  # a terminal that was left does not show a key all night
_READ_S = 1.0  # a key takes it away, but not before it could be read


class LiveScreen(QuietScreen):
    """A screen that is handed every new snapshot while it is in view."""

    AUTO_FOCUS = ""
    BINDINGS: ClassVar[list[BindingType]] = []
    ACTIONS: ClassVar[tuple[Action, ...]] = ()
    NAME = ""

    def __init__(self) -> None:
        super().__init__()
        self._plan: Plan | None = None
        self._anew: MakeAnew | None = None
        self._keys_of = ""
        self._then: Callable[[str], None] | None = None
        self._said_at = self._said_until = 0.0

    def body(self) -> Iterator[Widget]:
        """The widgets between the header and the reserved line."""
        raise NotImplementedError

    def show(self, snapshot: Snapshot) -> None:
        """Show what is known now."""
        raise NotImplementedError

    def compose(self) -> ComposeResult:
        yield Header()
        yield from self.body()
        yield Panel()
        yield Prompt()
        yield KeyHints()

    def on_mount(self) -> None:
        self.show_hints()

    def on_screen_resume(self) -> None:
        self.show_now()

    def on_key(self) -> None:
        """A word has been read when the next key is pressed."""
        now = time.monotonic()
        if now < self._said_until and now - self._said_at > _READ_S:
            self._said_until = now
            self.call_later(self.show_now)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """While the panel is open the keys are its own alone; read-only leaves the changes unbound."""
        if self.is_mounted and self.query_one(Panel).is_open:
            return False
        return not (action in CHANGES and self.read_only)

    @property
    def read_only(self) -> bool:
        """Whether the service that keys are about here may not be changed."""
        service_id = getattr(self, "service_id", None)
        return self.triton.fleet.read_only_for(service_id) if service_id else self.triton.fleet.read_only

    @property
    def is_whole(self) -> bool:
        """Whether it has all its widgets still."""
        return all(self.query(kind) for kind in (Header, Panel, Prompt, KeyHints))

    def show_now(self) -> None:
        """Draw again from the newest snapshot: after a key changed what is to be seen."""
        if self.is_mounted:
            self.show(self.triton.fleet.snapshot)

    @property
    def triton(self) -> Desk:
        return cast(Desk, self.app)

    # The lines around the body

    def actions_here(self) -> Sequence[Action]:
        """What can be done here now, the most wanted first; the hint line shows as many as fit."""
        return self.ACTIONS

    def is_possible(self, action: Action) -> bool:
        """Whether the place of the service that keys are about can do it; a key that cannot says why when pressed."""
        found = self._place()
        return action.needs is None or found is None or action.needs in found[1].capabilities

    def why_not(self, action: Action) -> str | None:
        """Why it cannot be done to the service that keys are about: the place cannot, or the user may not."""
        found = self._place()
        return found[1].why_not(action.needs, found[0]) if found is not None and action.needs is not None else None

    def _place(self) -> tuple[Service, Backend] | None:
        status = self.triton.fleet.snapshot.by_id.get(getattr(self, "service_id", None) or "")
        return (status.service, self.triton.fleet.backend_of(status.service)) if status is not None else None

    def show_hints(self) -> None:
        actions = [*self.actions_here(), *EVERYWHERE]
        keymap = self.triton.keys_now
        hints = [
            (shown(keymap.get(action.id, action.keys)), action.label, self.why_not(action) is None)
            for action in actions
            if action.label
            and action.id != "app.help"
            and self.is_possible(action)
            and not (action.writes and self.read_only)
            and not (action.id == "app.back" and len(self.app.screen_stack) == 1)
        ]
        self.query_one(KeyHints).show([*hints, (shown(keymap.get("app.help", "question_mark")), "keys", True)])

    def show_header(self, left: Sequence[Part]) -> None:
        """`left` is the screen's own; the right side is the same everywhere."""
        snapshot = self.triton.fleet.snapshot
        header = self.query_one(Header)
        right: list[Part] = []
        if self.triton.running:
            right.append(Part(self.triton.running, "busy", 8))
        if self.read_only:
            right.append(Part("read-only", "accent", 7))
        for backend in snapshot.backends:
            if backend.state is BackendState.LOST and not backend.optional:
                words, whole = backend.detail, backend.detail
                if backend.advice:
                    whole = f"{words}  → {backend.advice}"
                if backend.forbidden and backend.advice:  # of a line to type a part is of no use
                    words, whole = f"refused, :{backend.name} tells what to do", f"refused  → {backend.advice}"
                text = at_words(f"{backend.name}: {words}", 40, header.symbols.ellipsis)
                right.append(Part(text, "warn", 6, f"{backend.name}: {whole}"))
            elif backend.state is not BackendState.LOST and backend.detail:
                style, keep = ("warn", 6) if backend.warning else ("muted", 2)
                if backend.warning and backend.state is BackendState.CONNECTING:
                    keep = 10  # it waits for a person: a code to sign in with
                text = at_words(f"{backend.name}: {backend.detail}", 110, header.symbols.ellipsis)
                whole = f"{text}  → {backend.advice}" if backend.warning and backend.advice else ""
                right.append(Part(text, style, keep, whole))
        right.append(Part(time.strftime("%H:%M:%S"), "muted", 1))
        header.show(left, right)
        if 0.0 < self._said_until <= time.monotonic():
            self.say("")

    def say(self, text: str, state: str = "") -> None:
        """A word in the reserved line; `state` gives it a sign. It stays until the next key, or for some seconds."""
        self._said_at = time.monotonic()
        stays = _FAULT_STAYS_S if state == "failed" else _STAYS_S
        self._said_until = self._said_at + stays if text else 0.0
        self.query_one(Prompt).show(text, state)

    def note(self, text: str, state: str = "") -> None:
        """What is to be known of the row under the cursor: in the reserved line while nothing else is said there."""
        if not self._said_until:
            self.query_one(Prompt).show(text, state)

    # Plans

    def show_plan(self, plan: Plan, anew: MakeAnew | None = None) -> None:
        """Ask in the docked panel; Cancel has the focus. `anew` makes it with other ones of its choices."""
        self._plan, self._anew, self._keys_of = plan, anew, ""
        self.query_one(Panel).open(plan.title, plan_lines(plan), expected=plan.typed)

    @on(Panel.Confirmed)
    def _confirmed(self, event: Panel.Confirmed) -> None:
        event.stop()
        plan, self._plan = self._plan, None
        service_id, self._keys_of = self._keys_of, ""
        if service_id:
            self._show_keys(service_id)
        elif plan is not None:
            self.triton.carry_out(plan, self._show_progress)

    @on(Panel.Toggled)
    def _toggled(self, event: Panel.Toggled) -> None:
        event.stop()
        if self._plan is not None and self._anew is not None:
            self._make_anew(self._plan, self._anew, event.chosen or ("none",))
            self._plan = None  # what is shown is not what is wanted any more

    @work(group="anew", exclusive=True, exit_on_error=False)
    async def _make_anew(self, before: Plan, anew: MakeAnew, chosen: tuple[str, ...]) -> None:
        plan, complaint = before, ""
        try:
            async with asyncio.timeout(PLAN_S):
                plan = await anew(chosen)
        except TritonctlError as error:
            complaint = f"{error.headline}{'  → ' + error.advice if error.advice else ''}"
        except TimeoutError:
            complaint = "there was no answer while the plan was made anew: it is as before"
        except Exception as caught:
            complaint = fault(before.title, caught).headline
        self._plan = plan
        lines = [PanelLine(complaint, state="failed")] if complaint else []
        self.query_one(Panel).show(plan.title, lines + plan_lines(plan), expected=plan.typed)

    def _show_progress(self, plan: Plan, results: Sequence[StepResult], seconds: float, log: Sequence[str]) -> None:
        panel = self.query_one(Panel) if self.is_attached else None
        if panel is not None and panel.is_open:
            ended = all(each.state not in (StepState.WAITING, StepState.RUNNING) for each in results)
            failed = any(each.state is StepState.FAILED for each in results)
            word = f"{'failed after' if failed else 'done in'} {seconds:.1f} s" if ended else f"{seconds:.0f} s"
            panel.show(
                f"{plan.title}   {word}",
                progress_lines(results, log),
                cancel="Close" if ended else "Leave it running",
                confirm=None,
            )

    @on(Panel.Cancelled)
    def _left(self, event: Panel.Cancelled) -> None:
        event.stop()
        self.workers.cancel_group(self, "anew")
        self._plan, self._keys_of = None, ""
        if event.panel.named:
            self.say("cancelled, nothing was done")
        event.panel.close()

    # Keys

    def offer_keys(self, service_id: str) -> None:
        """Ask in the docked panel whether they are to be shown; nothing is fetched before."""
        self._plan, self._keys_of = None, service_id
        words = "they stand here in the clear until this is closed, and can then be read by whoever sees this screen"
        lines = [PanelLine("not fetched, and not shown yet", label="now"), PanelLine(words, state="warn")]
        self.query_one(Panel).open(f"Keys of {service_id}", lines, confirm="Show them")

    @work(group="anew", exclusive=True, exit_on_error=False)
    async def _show_keys(self, service_id: str) -> None:
        """On the screen alone: closing the panel forgets them, and ends the asking too. Who went away forgets them."""
        panel, title = self.query_one(Panel), f"Keys of {service_id}"
        panel.show(title, [PanelLine("asking for them …", state="busy")], cancel="Close", confirm=None)
        fleet = self.triton.fleet
        try:
            async with asyncio.timeout(PLAN_S):
                known = await fleet.keys(fleet.resolve(service_id).service)
            lines = [PanelLine("", label=name, secret=secret) for name, secret in known.items()]
        except TritonctlError as error:
            lines = [PanelLine(error.headline, state="failed")]
            lines += [PanelLine(error.advice, label="→")] if error.advice else []
        except TimeoutError:
            lines = [PanelLine("there was no answer in time", state="failed")]
        except Exception as caught:  # else it would say for ever that they are asked for
            lines = [PanelLine(fault(title, caught).headline, state="failed")]
        panel.show(title, lines, cancel="Close", confirm=None)
        if any(line.secret is not None for line in lines):
            await asyncio.sleep(_KEYS_STAY_S)
            gone = PanelLine(f"hidden again after {_KEYS_STAY_S / 60:.0f} minutes; :keys shows them", state="ok")
            panel.show(title, [gone], cancel="Close", confirm=None)

    # What the place of the service can do; bound where a screen is about one

    def action_mode(self) -> None:
        self.triton.ask_value(Capability.MODE)

    def action_scale(self) -> None:
        self.triton.ask_value(Capability.SCALE)

    def action_traffic(self) -> None:
        self.triton.ask_value(Capability.TRAFFIC)

    def action_start(self) -> None:
        self.triton.run_command("start")

    def action_stop(self) -> None:
        self.triton.run_command("stop")

    def action_restart(self) -> None:
        self.triton.run_command("restart")

    def action_delete(self) -> None:
        self.triton.run_command("delete")

    # Typing

    def ask(
        self,
        prefix: str,
        text: str = "",
        complete: Callable[[str], Sequence[str]] = no_candidates,
        then: Callable[[str], None] | None = None,
    ) -> None:
        """Open the prompt in the reserved line; `then` is given what was entered."""
        self._then = then
        self.query_one(Prompt).open(prefix, text, complete=complete)

    def typed_ahead(self, event: events.Key) -> bool:
        """Whether the prompt is open, which is then given the key."""
        if not self.is_mounted or not (prompt := self.query_one(Prompt)).is_open:
            return False
        prompt.on_key(event)
        return True

    @property
    def way_of_keys(self) -> Widget | None:
        """Who had the focus before the open prompt took it; None where none is open, or that one is gone."""
        if not self.is_mounted or not (prompt := self.query_one(Prompt)).is_open or self.focused is not prompt:
            return None
        return prompt.opened_over

    def set_filter(self, text: str) -> None:
        """Show only what matches; screens with something to filter override this."""

    def show_all(self) -> bool:
        """Take the filter away; False where there is none."""
        return False

    @on(Prompt.Submitted)
    def _entered(self, event: Prompt.Submitted) -> None:
        event.stop()
        then, self._then = self._then, None
        if then is not None:
            then(event.value)
        elif event.prefix == ":":
            self.triton.run_command(event.value)
        else:
            self.set_filter(event.value)

    @on(Prompt.Cancelled)
    def _given_up(self, event: Prompt.Cancelled) -> None:
        event.stop()
        self._then = None
        if event.prefix == "/":
            self.set_filter("")

    @on(Prompt.Changed)
    def _typing(self, event: Prompt.Changed) -> None:
        event.stop()
        if event.prefix == "/":
            self.set_filter(event.value)
