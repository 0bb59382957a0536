"""A service's models with state, reason and figures, and three lines of trends under them."""

from __future__ import annotations

from textual import on
from textual.app import ComposeResult

from tritonctl.inventory import Level, ServiceStatus
from tritonctl.server.address import Speaks
from tritonctl.status import short_reason
from tui.figures import duration_us
from tui.messages import OpenModel
from tui.panes.base import Pane
from tui.rows import MODEL_COLUMNS, STATES, matcher, model_key, model_note, model_row, sort_by
from tui.screens.base import LiveScreen
from tui.widgets.table import Row, Table
from tui.widgets.trend import TrendLine

_WORDS = {Speaks.SCORE: "no Triton, but takes what is posted to it,", Speaks.TENSORFLOW: "TensorFlow Serving's gRPC"}


class ModelsPane(Pane):
    """The worst model on top; the reason of the one under the cursor stands in the reserved line."""

    can_filter = True

    def __init__(self) -> None:
        super().__init__()
        self._sort: tuple[str, bool] | None = None
        self._status: ServiceStatus | None = None
        self._names: dict[str, str] = {}

    def compose(self) -> ComposeResult:
        yield Table(id="models")
        yield TrendLine(id="rate", classes="trend")
        yield TrendLine(id="latency", classes="trend")

    @property
    def model(self) -> str | None:
        """The name under the cursor."""
        return self._names.get(self.query_one(Table).cursor_key or "")

    def show(self, status: ServiceStatus) -> None:
        self._status = status
        self._names |= {model_key(each): each.name for each in status.models}
        joined = sorted(status.models, key=lambda each: (each.level, each.name))
        rows = [model_row(status, each) for each in joined]
        if self.filter:
            rows = list(filter(matcher(self.filter), rows))
        if self._sort is not None:
            rows = sort_by(rows, [column.key for column in MODEL_COLUMNS].index(self._sort[0]), self._sort[1])
        self._show_rows(rows, self._empty(status))
        self._show_trends(status)
        self._show_note()

    def _show_rows(self, rows: list[Row], empty: list[str]) -> None:
        """The cursor stays on its model when a load or an unload makes the version known or forgotten."""
        table, model = self.query_one(Table), self.model
        table.show(MODEL_COLUMNS, rows, empty=empty)
        if model is not None and self.model != model:
            same = next((row.key for row in rows if self._names[row.key] == model), None)
            if same is not None:
                table.move_to_key(same)

    def _empty(self, status: ServiceStatus) -> list[str]:
        if status.models:
            return [f"no model matches {self.filter}", "esc takes the filter away"]
        if status.error is not None:
            advice = next((each.advice for each in status.replicas if each.advice), "")
            reason = status.service.platform.reason
            lines = [status.error, *([reason] if reason and reason not in status.error else [])]
            return [*lines, *([f"→ {advice}"] if advice else [])]
        if not any(each.looked for each in status.replicas):
            return ["asking the server …"]
        address = status.address_for("")
        if address is not None and address.protocol is not Speaks.TRITON:
            return [f"it speaks {_WORDS[address.protocol]} and tells no models", "i sends it a test request"]
        if not any(each.models_known for each in status.replicas):
            return ["the server does not tell its models: the repository index is restricted or not supported"]
        return ["the model repository is empty"]

    def _show_trends(self, status: ServiceStatus) -> None:
        screen = self.screen
        assert isinstance(screen, LiveScreen)
        points = screen.triton.fleet.history(status.id)
        total = status.rates.total if status.rates is not None else None
        error = next((each.metrics_error for each in status.replicas if each.metrics_error), "")
        self.query_one("#rate", TrendLine).show(
            "throughput", [each.requests_per_s for each in points], unit="req/s", note=error or ""
        )
        split = ""
        if total is not None and total.avg_request_us is not None:
            split = (
                f"queue {duration_us(total.avg_queue_us)} · in {duration_us(total.avg_compute_input_us)} · "
                f"infer {duration_us(total.avg_compute_infer_us)} · out {duration_us(total.avg_compute_output_us)}"
            )
        latency = [each.avg_request_us / 1000 if each.avg_request_us is not None else None for each in points]
        self.query_one("#latency", TrendLine).show("latency", latency, unit="ms", note=split)

    def _show_note(self) -> None:
        screen, key = self.screen, self.query_one(Table).cursor_key
        assert isinstance(screen, LiveScreen)
        found = next((each for each in self._status.models if model_key(each) == key), None) if self._status else None
        if found is None:
            return
        reason = found.worst.reason if found.worst.reason != "unloaded" else ""
        words = model_note(found) or (short_reason(reason) if reason else "")
        bad = found.level in (Level.FAILED, Level.DEGRADED)
        screen.note(f"{found.name}   {words}" if words else "", STATES[found.level] if bad else "")

    @on(Table.RowHighlighted)
    def _moved(self, event: Table.RowHighlighted) -> None:
        event.stop()
        self._show_note()

    @on(Table.SortRequested)
    def _sorted(self, event: Table.SortRequested) -> None:
        event.stop()
        self._sort = (event.key, self._sort is not None and self._sort[0] == event.key and not self._sort[1])
        event.table.set_sort(*self._sort)
        if self._status is not None:
            self.show(self._status)

    @on(Table.RowSelected)
    def _opened(self, event: Table.RowSelected) -> None:
        event.stop()
        if self._status is not None:
            self.post_message(OpenModel(self._status.id, self._names[event.key]))
