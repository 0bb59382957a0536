"""The test request of a model's page."""

from tui.panes.request.pane import RequestPane

__all__ = ["RequestPane"]
