"""The dashboard: one paint loop over the fleet's snapshots, the screens, and the way every change takes."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import ClassVar

from textual import events, on, work
from textual.binding import BindingType
from textual.css.query import NoMatches

from tritonctl.backend import Capability
from tritonctl.courtesy import make_way
from tritonctl.errors import AlreadySo, TritonctlError, fault
from tritonctl.fleet import Fleet
from tritonctl.halfway import left_halfway
from tritonctl.plan import AuditLog, Outcome, Plan, StepResult, StepState, carry_out
from tritonctl.status import short_reason
from tui.desk import Progress
from tui.keys import EVERYWHERE, default_keys
from tui.messages import OpenModel, OpenPlace, OpenService, Propose
from tui.screens.base import PLAN_S, LiveScreen
from tui.screens.services import ServicesScreen
from tui.screens.tabbed import TabbedScreen
from tui.terminal import TerminalDriver, let_go_of_a_lost_terminal
from tui.typed import CommandedApp
from tui.widgets.panel import Panel

_ENDED = (StepState.DONE, StepState.FAILED, StepState.UNDONE, StepState.SKIPPED)
PAINT_S = 0.25  # at most four times a second
_WARNED_S = 10.0  # within these the same key leaves, past a change that is at work
_GATHER_S = 0.06  # looks that end together are drawn together
_STRUCK_AGAIN_S = 0.5
_BEGIN_AT_LATEST_S = 0.3
_LOST_AFTER_S = 5.0
_HEARTBEAT_S = 2.0  # ages go on when nothing is told


class TritonctlApp(CommandedApp):
    """`fleet` is entered and left by the caller; it begins to look at servers after the first frame."""

    TITLE = "tritonctl"
    ENABLE_COMMAND_PALETTE = False
    INLINE_PADDING = 0
    CSS_PATH = "app.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [action.binding() for action in EVERYWHERE]

    def __init__(
        self,
        fleet: Fleet,
        audit: AuditLog,
        *,
        keymap: Mapping[str, str] | None = None,
        theme: str = "",
    ) -> None:
        # Textual chooses its colour filter here; an ANSI theme that is set later would be drawn black on black.
        super().__init__(driver_class=TerminalDriver, ansi_color=theme.startswith("ansi"))
        self.fleet = fleet
        self.keys_now = {**default_keys(), **(keymap or {})}
        self.running = ""
        self._audit = audit
        self._keymap = dict(keymap or {})
        self._wanted_theme = theme
        self._begun = False
        self._warned_at = -_WARNED_S
        self._struck_at = 0.0
        self._touched_at = time.monotonic()
        self._plan_at_work: asyncio.Task[None] | None = None
        self._at_work: tuple[Plan, tuple[StepResult, ...]] | None = None

    def get_default_screen(self) -> ServicesScreen:
        return ServicesScreen()

    def on_mount(self) -> None:
        if self._keymap:
            self.set_keymap(self._keymap)
        if self._wanted_theme:
            self.theme = self._wanted_theme
        # A terminal that goes away sends SIGHUP; without a handler Python dies at once and leaves things behind, and
        # under a parent that ignores SIGHUP the dead terminal would be read for ever (Textual pull request 6690).
        loop = asyncio.get_running_loop()
        for name in (signal.SIGHUP, signal.SIGTERM):
            loop.add_signal_handler(name, self._leave_by, name)
        if isinstance(self._driver, TerminalDriver):
            self.set_interval(_LOST_AFTER_S, partial(self._leave_if_lost, self._driver))
        self.call_after_refresh(self._begin)
        # That waits for the first screen to be drawn: a key that was typed ahead may have covered it before.
        self.set_timer(_BEGIN_AT_LATEST_S, self._begin)

    async def on_event(self, event: events.Event) -> None:
        """Keys that came in one burst with the one that opens the prompt went to who had the focus before: they come
        by here on their way to the bindings, and are the prompt's. Those after them take the same way, or they would
        be there first."""
        if isinstance(event, events.InputEvent):
            self._touched_at = time.monotonic()
        screen = self.screen if isinstance(event, events.Key) and self.screen_stack else None
        if isinstance(event, events.Key) and isinstance(screen, LiveScreen):
            if event.is_forwarded:
                if screen.typed_ahead(event):
                    return
            elif (way := screen.way_of_keys) is not None:
                if not await self._check_bindings(event.key, priority=True):
                    way._forward_event(event)
                return
        await super().on_event(event)

    def idle_s(self) -> float:
        """Seconds since a key was pressed."""
        return time.monotonic() - self._touched_at

    def _leave_if_lost(self, driver: TerminalDriver) -> None:
        if driver.is_lost:
            self._leave_by(signal.SIGHUP)

    def _leave_by(self, name: signal.Signals) -> None:
        let_go_of_a_lost_terminal()
        self.exit(None, 128 + name)

    def _begin(self) -> None:
        if not self._begun:
            self._begun = True
            self.fleet.start_probing()
            self._paint()

    @work(group="paint", exit_on_error=True)
    async def _paint(self) -> None:
        """The one paint loop: the screen in view is handed the newest snapshot, and draws the lines that differ."""
        snapshot = None
        struck = False
        while True:
            if snapshot is not None:
                with suppress(TimeoutError):
                    async with asyncio.timeout(_HEARTBEAT_S):
                        await self.fleet.changed(snapshot)
                if not struck:
                    await self._rest(_GATHER_S)
                await make_way()
            snapshot = self.fleet.snapshot
            self.paint_now()
            struck = await self._rest(PAINT_S - _GATHER_S)

    async def _rest(self, seconds: float) -> bool:
        """Ends early, but seldom, when a place tells another state of what is in view: a process that died is drawn
        at once. Whether it did."""
        if time.monotonic() - self._struck_at < _STRUCK_AGAIN_S:
            await asyncio.sleep(seconds)
            return False
        if not await self.fleet.struck(seconds):
            return False
        self._struck_at = time.monotonic()
        return True

    def paint_now(self) -> None:
        if not self.is_running:  # being taken apart
            return
        screen = self.screen if self.screen_stack else None
        if isinstance(screen, LiveScreen) and screen.is_mounted:
            try:
                screen.show(self.fleet.snapshot)
            except NoMatches:  # at the end Textual takes the screen apart while this loop still runs
                if screen.is_whole:
                    raise

    # Where to

    @on(OpenService)
    def open_service(self, event: OpenService) -> None:
        from tui.screens.service import ServiceScreen

        self._open(ServiceScreen(event.service_id, event.tab))
        if event.word and isinstance(screen := self.screen, LiveScreen):
            screen.call_after_refresh(screen.say, event.word)

    @on(OpenPlace)
    def open_place(self, event: OpenPlace) -> None:
        from tui.screens.place import PlaceScreen

        if isinstance(self.screen, PlaceScreen):
            self.pop_screen()
        self.push_screen(PlaceScreen(event.name))

    @on(OpenModel)
    def open_model(self, event: OpenModel) -> None:
        if not event.model:
            from tui.screens.endpoint import EndpointScreen

            self.push_screen(EndpointScreen(event.service_id))
            return
        from tui.screens.model import ModelScreen

        self._open(ModelScreen(event.service_id, event.model, event.tab))

    def _open(self, page: TabbedScreen) -> None:
        """Services, a service, one of its models: pages do not pile up, and esc always goes one level up."""
        pages = [(place, each) for place, each in enumerate(self.screen_stack) if isinstance(each, TabbedScreen)]
        same = [place for place, each in pages if each.about == page.about]
        above = [place for place, each in pages if page.is_under(each)]
        for _ in self.screen_stack[(same or above or [0])[-1] + 1 :]:
            self.pop_screen()
        if same and isinstance(self.screen, TabbedScreen):
            self.screen.call_later(self.screen.action_tab, page.tab)
        else:
            self.push_screen(page)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """A plan that is asked about leaves only the way out."""
        screen = self.screen
        asking = isinstance(screen, LiveScreen) and screen.is_mounted and screen.query_one(Panel).is_open
        return action == "quit" or not asking

    async def action_back(self) -> None:
        """Esc takes the filter away first, then goes one level up. Who goes on in the dashboard does not leave it."""
        self._warned_at = -_WARNED_S
        if isinstance(self.screen, LiveScreen) and self.screen.show_all():
            return
        if len(self.screen_stack) > 1:
            self.pop_screen()

    def action_help(self) -> None:
        from tui.screens.help import HelpScreen

        if not isinstance(self.screen, HelpScreen):
            self.push_screen(HelpScreen(self.screen))

    def action_refresh(self) -> None:
        for status in self.fleet.snapshot.services:
            self.fleet.hurry(status.id)

    def action_quit(self) -> None:  # type: ignore[override]
        self.leave()

    def leave(self) -> None:
        """A change at work is asked about before leaving: nobody would see how it ends, or take its further steps."""
        if self._plan_at_work is not None and time.monotonic() - self._warned_at > _WARNED_S:
            self._warned_at = time.monotonic()
            if self._at_work is not None and left_halfway(*self._at_work):
                self.say("a change is at work and would be left half done; q again leaves it so", "warn")
            else:
                self.say("a change is at work; q again leaves it to the server", "warn")
            return
        self.exit(0)

    # Changes

    @on(Propose)
    def propose(self, event: Propose) -> None:
        if isinstance(self.screen, LiveScreen) and self.screen.read_only:  # the door itself is in carry_out
            self.say("read-only: start without --read-only, or see read_only in the settings", "warn")
        elif self._plan_at_work is not None:
            self.say("a change is at work already; it must end first", "warn")
        else:
            self._make_plan(event)

    def offer_keys(self, service_id: str) -> None:
        """In the panel, that nothing else may want meanwhile."""
        if self.fleet.read_only_for(service_id):  # the door itself is in the fleet
            self.say(
                "read-only: no keys are shown; start without --read-only, or see read_only in the settings", "warn"
            )
        elif self._plan_at_work is not None:
            self.say("a change is at work already; it must end first", "warn")
        elif isinstance(self.screen, LiveScreen):
            self.workers.cancel_group(self, "plan")  # one that is being made would come over them
            self.screen.offer_keys(service_id)

    @work(group="plan", exclusive=True, exit_on_error=False)
    async def _make_plan(self, event: Propose) -> None:
        asked_on: object = self.screen
        self.say(f"making the plan: {event.what} …", "busy")
        try:
            async with asyncio.timeout(PLAN_S):
                plan = await event.make()
        except TritonctlError as error:
            words = f"{error.headline}{'  → ' + error.advice if error.advice else ''}"
            self.say(words, "ok" if isinstance(error, AlreadySo) else "failed")
            return
        except TimeoutError:
            self.say(f"{event.what}: the server did not answer while the plan was made", "failed")
            return
        except Exception as caught:  # else the line would say for ever that it is being made
            self.say(f"{event.what}: {fault(event.what, caught).headline}", "failed")
            return
        # Somebody who went elsewhere while the plan was made no longer expects a question.
        if asked_on is self.screen and isinstance(asked_on, LiveScreen):
            asked_on.say("")
            asked_on.show_plan(plan, event.anew)

    def carry_out(self, plan: Plan, progress: Progress) -> None:
        """Begin a confirmed plan. It goes on when its panel is left, and its end is told in the reserved line."""
        if self._plan_at_work is None:
            self._plan_at_work = asyncio.create_task(self._carry_out(plan, progress), name=f"plan {plan.title}")

    async def _carry_out(self, plan: Plan, progress: Progress) -> None:
        began = time.monotonic()
        newest: tuple[StepResult, ...] = tuple(StepResult(step) for step in plan.steps)
        log: list[str] = []
        ended = False

        def tell() -> None:
            seconds = time.monotonic() - began
            self.running = "" if ended else f"{plan.title} {seconds:.0f} s"
            progress(plan, newest, seconds, log)
            self.paint_now()

        def told(results: tuple[StepResult, ...]) -> None:
            nonlocal newest
            newest = results
            self._at_work = plan, results
            tell()

        async def tick() -> None:
            pause = 0.2  # the first look soon: a load shows as LOADING at once
            while True:
                await asyncio.sleep(pause)
                pause = 1.0
                self.fleet.hurry(plan.service)
                tell()

        beside = [asyncio.create_task(tick()), asyncio.create_task(self._tail(plan, log))]
        try:
            read_only = self.fleet.read_only_for(plan.service)
            outcome = await carry_out(plan, self._audit, read_only=read_only, progress=told)
            ended = True
            self._ended(plan, outcome)
            tell()
            await asyncio.sleep(0.2)  # the log's last word comes a moment after the answer
            tell()
        except Exception as caught:  # refused, or a fault of ours: the panel says it, and its button is Close
            error = caught if isinstance(caught, TritonctlError) else fault(plan.title, caught)
            newest = (replace(newest[0], state=StepState.FAILED, error=error), *newest[1:])
            newest = tuple(each if each.state in _ENDED else replace(each, state=StepState.SKIPPED) for each in newest)
            ended = True
            tell()
            self.say(error.headline, "failed")
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
            self.running = ""
            self._plan_at_work = None
            if ended:
                self._at_work = None
            self._warned_at = -_WARNED_S
            self.fleet.read_log_again(plan.service)
            self.paint_now()

    async def _tail(self, plan: Plan, log: list[str]) -> None:
        """Gather what the server logs while the plan is carried out, where its place has logs."""
        service = self.fleet.resolve(plan.service).service
        backend = self.fleet.backend_of(service)
        if Capability.LOGS not in backend.capabilities:
            return
        try:
            async for batch in backend.logs(service, tail=0, follow=True):
                log += [line.text for line in batch]
                del log[:-50]
        except TritonctlError:
            return  # the plan's own answer is what counts

    def _ended(self, plan: Plan, outcome: Outcome) -> None:
        error = outcome.error
        if error is None:
            self.say(f"{plan.title}: done in {outcome.seconds:.1f} s", "ok")
        else:
            # Triton repeats the model before its reason, which then would not fit the line.
            reason = error.headline.rpartition(" is at UNAVAILABLE state: ")[2]
            self.say(f"{plan.title}: {short_reason(reason)}", "failed")

    async def end_changes(self) -> tuple[str, ...]:
        """Stop waiting for a change that is at work; called when the app has ended. What is to be said of one that is
        left half done."""
        if self._plan_at_work is not None:
            self._plan_at_work.cancel()
            await asyncio.gather(self._plan_at_work, return_exceptions=True)
        return left_halfway(*self._at_work) if self._at_work is not None else ()
