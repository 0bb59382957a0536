"""A service that is posted to, which has no models: its test request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.binding import BindingType

from tritonctl.inventory import Snapshot
from tritonctl.status import server_word
from tui.keys import POST, Action
from tui.panes.request.posting import PostPane
from tui.rows import STATES
from tui.screens.tabbed import TabbedScreen, Tabs
from tui.widgets.bar import Part

TABS: Tabs = {"request": ("Test request", PostPane)}


class EndpointScreen(TabbedScreen):
    NAME = "a scoring service"
    TABS = TABS
    BINDINGS: ClassVar[list[BindingType]] = []

    def __init__(self, service_id: str) -> None:
        super().__init__(service_id, "request")

    def actions_here(self) -> Sequence[Action]:
        return POST

    def show(self, snapshot: Snapshot) -> None:
        status = snapshot.by_id.get(self.service_id)
        parts = [Part(self.service_id, "title", 9)]
        if status is None:
            self.show_header([*parts, Part("it is gone", "failed", 8)])
            return
        self.show_header([*parts, Part(server_word(status), STATES[status.level], 8)])
        if isinstance(self.pane, PostPane):
            self.pane.show_endpoint(self, status)
