"""What every tab has: it is handed its service's newest status while it is in view."""

from __future__ import annotations

from textual.containers import Vertical
from textual.widget import Widget

from tritonctl.inventory import ServiceStatus


class Pane(Vertical):
    """A tab of a service's screen."""

    can_filter = False
    part = ""
    """Which part of it is shown, where it is not all; the header says it."""

    def __init__(self) -> None:
        super().__init__()
        self.filter = ""

    def show(self, status: ServiceStatus) -> None:
        """Show this status."""
        raise NotImplementedError

    def set_filter(self, text: str) -> None:
        """Show only what matches."""
        self.filter = text

    def take_focus(self) -> None:
        """Give the keys to the widget that reads them."""
        for widget in self.query("*").results(Widget):
            if widget.can_focus:
                widget.focus()
                return
