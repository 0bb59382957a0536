"""One service: its models, replicas, metrics, log, events and description as tabs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.widget import Widget
from textual.widgets import ContentSwitcher

from tritonctl.inventory import ServiceStatus, Snapshot
from tui.figures import age
from tui.keys import LOGS, SERVICE, Action
from tui.messages import OpenModel, Propose
from tui.panes.base import Pane
from tui.panes.models import ModelsPane
from tui.rows import STATES, server_word
from tui.screens.base import LiveScreen
from tui.widgets.bar import Part
from tui.widgets.tabs import TabBar


def _replicas() -> Pane:
    from tui.panes.replicas import ReplicasPane

    return ReplicasPane()


def _metrics() -> Pane:
    from tui.panes.metrics import MetricsPane

    return MetricsPane()


def _logs() -> Pane:
    from tui.panes.logs import LogsPane

    return LogsPane()


def _events() -> Pane:
    from tui.panes.describe import EventsPane

    return EventsPane()


def _describe() -> Pane:
    from tui.panes.describe import DescribePane

    return DescribePane()


# In the order of their numbers; a tab is made when it is first opened.
TABS: dict[str, tuple[str, Callable[[], Pane]]] = {
    "models": ("Models", ModelsPane),
    "replicas": ("Replicas", _replicas),
    "metrics": ("Metrics", _metrics),
    "logs": ("Logs", _logs),
    "events": ("Events", _events),
    "describe": ("Describe", _describe),
}


class ServiceScreen(LiveScreen):
    """`tab` is a key of TABS."""

    NAME = "a service"
    BINDINGS: ClassVar[list[BindingType]] = [
        *(action.binding() for action in SERVICE if action.id != "service.open"),
        *(
            Binding(str(number), f"tab('{name}')", title, show=False, id=f"service.tab_{name}")
            for number, (name, (title, _)) in enumerate(TABS.items(), 1)
        ),
    ]

    def __init__(self, service_id: str, tab: str = "models") -> None:
        super().__init__()
        self.service_id = service_id
        self.tab = tab if tab in TABS else "models"

    def body(self) -> Iterator[Widget]:
        yield TabBar()
        yield ContentSwitcher(id="panes")

    def on_mount(self) -> None:
        super().on_mount()
        self.call_next(self.action_tab, self.tab)

    def on_screen_resume(self) -> None:
        self._look()
        super().on_screen_resume()

    def _look(self) -> None:
        self.triton.fleet.look_at([self.service_id], detailed=self.service_id)

    @property
    def pane(self) -> Pane | None:
        return next((pane for pane in self.query(Pane) if pane.id == self.tab), None)

    @property
    def status(self) -> ServiceStatus | None:
        return self.triton.fleet.snapshot.by_id.get(self.service_id)

    def focus_body(self) -> None:
        if self.pane is not None:
            self.pane.take_focus()

    async def action_tab(self, name: str) -> None:
        switcher = self.query_one("#panes", ContentSwitcher)
        self.tab = name
        self.query_one(TabBar).show([title for title, _ in TABS.values()], list(TABS).index(name))
        if self.pane is None:
            pane = TABS[name][1]()
            pane.id = name
            await switcher.mount(pane)
        switcher.current = name
        self.show_hints()
        self.note("")
        self.focus_body()
        self.show_now()

    async def action_next_tab(self, step: int) -> None:
        names = list(TABS)
        await self.action_tab(names[(names.index(self.tab) + step) % len(names)])

    def action_mode(self) -> None:
        self.triton.ask_mode()

    def action_restart(self) -> None:
        self.triton.run_command("restart")

    async def action_logs(self) -> None:
        await self.action_tab("logs")

    async def action_describe(self) -> None:
        await self.action_tab("describe")

    def actions_here(self) -> Sequence[Action]:
        if self.tab == "models":
            return [action for action in SERVICE if action.id not in ("service.logs", "service.describe")]
        if self.tab == "logs":
            return [*LOGS, *(action for action in SERVICE if action.id in ("service.filter", "service.next_tab"))]
        return [action for action in SERVICE if action.id == "service.next_tab"]

    def show(self, snapshot: Snapshot) -> None:
        status = snapshot.by_id.get(self.service_id)
        if status is None:
            self.show_header([Part(self.service_id, "title", 9), Part("it is gone", "failed", 9)])
            self.note("this service no longer exists; esc goes back", "failed")
            return
        parts = header_parts(status, snapshot.at)
        if self.pane is not None and self.pane.filter:
            parts.append(Part(f"/{self.pane.filter}", "accent", 9))
        self.show_header(parts)
        if self.pane is not None:
            self.pane.show(status)

    def set_filter(self, text: str) -> None:
        if self.pane is not None:
            self.pane.set_filter(text)
            self.show_now()

    def show_all(self) -> bool:
        if self.pane is None or not self.pane.filter:
            return False
        self.set_filter("")
        return True

    def action_filter(self) -> None:
        if self.pane is not None and self.pane.can_filter:
            self.ask("/", self.pane.filter)

    # The model under the cursor

    def _model(self) -> str | None:
        pane = self.pane
        if isinstance(pane, ModelsPane) and pane.model is not None:
            return pane.model
        self.say("put the cursor on a model first: 1 shows them")
        return None

    def action_request(self) -> None:
        model = self._model()
        if model is not None:
            self.post_message(OpenModel(self.service_id, model, "request"))

    def action_load(self) -> None:
        self._change("load")

    def action_unload(self) -> None:
        self._change("unload")

    def _change(self, what: str) -> None:
        from tritonctl.server import control

        model, status = self._model(), self.status
        if model is not None and status is not None:
            plan = control.plan_load if what == "load" else control.plan_unload
            self.post_message(Propose(f"{what} {model}", lambda: plan(status, model)))


def header_parts(status: ServiceStatus, now: float) -> list[Part]:
    """A service in one line: which, how, in which mode, since when."""
    state = STATES[status.level]
    parts = [
        Part(status.id, "title", 9),
        Part(server_word(status), state, 8),
        Part(f"{status.replicas_ready}/{len(status.replicas)} replicas", "", 4) if len(status.replicas) > 1 else None,
        Part(str(status.control_mode or "mode ?"), "", 5),
        Part(f"Triton {status.version}", "muted", 3) if status.version else None,
    ]
    if status.stale and status.seen_at is not None:
        parts.insert(2, Part(f"last seen {age(now - status.seen_at)} ago", "warn", 8))
    return [part for part in parts if part is not None]
