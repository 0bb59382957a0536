"""One service: its models, replicas, metrics, log, events and description as tabs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.binding import BindingType

from tritonctl.inventory import ServiceStatus, Snapshot
from tritonctl.server.address import Speaks
from tritonctl.status import server_word
from tui.figures import age
from tui.keys import LOGS, SERVICE, TRIAGE, Action
from tui.messages import OpenModel
from tui.panes.base import Pane
from tui.panes.models import ModelsPane
from tui.rows import STATES
from tui.screens.requesting import open_request, speaks
from tui.screens.tabbed import TabbedScreen, Tabs, number_keys
from tui.widgets.bar import Part


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


def _triage() -> Pane:
    from tui.panes.triage import TriagePane

    return TriagePane()


def _describe() -> Pane:
    from tui.panes.describe import DescribePane

    return DescribePane()


TABS: Tabs = {
    "models": ("Models", ModelsPane),
    "replicas": ("Replicas", _replicas),
    "metrics": ("Metrics", _metrics),
    "logs": ("Logs", _logs),
    "events": ("Events", _events),
    "triage": ("Triage", _triage),
    "describe": ("Describe", _describe),
}


class ServiceScreen(TabbedScreen):
    NAME = "a service"
    TABS = TABS
    BINDINGS: ClassVar[list[BindingType]] = [
        *(action.binding() for action in SERVICE if action.id != "table.open"),
        *number_keys(TABS, "service"),
    ]

    def __init__(self, service_id: str, tab: str = "models") -> None:
        super().__init__(service_id, tab)

    async def action_logs(self) -> None:
        await self.action_tab("logs")

    async def action_triage(self) -> None:
        await self.action_tab("triage")

    async def action_describe(self) -> None:
        await self.action_tab("describe")

    def actions_here(self) -> Sequence[Action]:
        if self.tab == "models":
            return [action for action in SERVICE if action.id not in ("service.logs", "service.describe")]
        if self.tab == "logs":
            return [*LOGS, *(action for action in SERVICE if action.id in ("service.filter", "service.next_tab"))]
        if self.tab == "triage":
            return [*TRIAGE, *(action for action in SERVICE if action.id == "service.next_tab")]
        return [action for action in SERVICE if action.id == "service.next_tab"]

    def show(self, snapshot: Snapshot) -> None:
        status = snapshot.by_id.get(self.service_id)
        if status is None:
            self.show_header([Part(self.service_id, "title", 9), Part("it is gone", "failed", 9)])
            self.note("this service no longer exists; esc goes back", "failed")
            return
        parts = header_parts(status, snapshot.at)
        if self.pane is not None and self.pane.part:
            parts.append(Part(self.pane.part, "accent", 8))
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
        if self.status is not None and speaks(self.status) is not Speaks.TRITON:
            open_request(self, self.status)
            return
        model = self._model()
        if model is not None:
            self.post_message(OpenModel(self.service_id, model, "request"))

    def action_load(self) -> None:
        if model := self._model():
            self.propose("load", model)

    def action_unload(self) -> None:
        if model := self._model():
            self.propose("unload", model)


def header_parts(status: ServiceStatus, now: float) -> list[Part]:
    """A service in one line: which, how, in which mode, since when."""
    state, word = STATES[status.level], server_word(status)
    if word == "–":  # no server runs: its place says why
        word = status.service.platform.state
    parts = [
        Part(status.id, "title", 9),
        Part(word, state, 8),
        Part(f"{status.replicas_ready}/{status.replicas_total} replicas", "", 4) if status.replicas_total > 1 else None,
        Part(status.mode_words or "mode ?", "", 5) if speaks(status) is Speaks.TRITON else None,
        Part(f"Triton {status.version}", "muted", 3) if status.version else None,
    ]
    if status.stale and status.seen_at is not None:
        parts.insert(2, Part(f"last seen {age(now - status.seen_at)} ago", "warn", 8))
    return [part for part in parts if part is not None]
