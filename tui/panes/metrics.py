"""Live charts of a service: throughput, latency by stage, queue, batch, failures, cache, GPU and CPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from textual.app import ComposeResult
from textual.containers import Grid

from tritonctl.inventory import Point, ServiceStatus
from tui.panes.base import Pane
from tui.screens.base import LiveScreen
from tui.widgets.trend import Trend

Figure = Callable[[Point], float | None]


def _scaled(read: Figure, factor: float) -> Figure:
    def scaled(point: Point) -> float | None:
        value = read(point)
        return None if value is None else value * factor

    return scaled


# id, title, unit, figure, top of the axis (None: it follows the values)
_CHARTS: Sequence[tuple[str, str, str, Figure, float | None]] = (
    ("rate", "throughput", "req/s", lambda point: point.requests_per_s, None),
    ("request", "latency", "ms", _scaled(lambda point: point.avg_request_us, 1e-3), None),
    ("queue", "in the queue", "ms", _scaled(lambda point: point.avg_queue_us, 1e-3), None),
    ("infer", "compute infer", "ms", _scaled(lambda point: point.avg_compute_infer_us, 1e-3), None),
    ("input", "compute input", "ms", _scaled(lambda point: point.avg_compute_input_us, 1e-3), None),
    ("output", "compute output", "ms", _scaled(lambda point: point.avg_compute_output_us, 1e-3), None),
    ("pending", "pending", "", lambda point: point.pending, None),
    ("share", "queue share", "%", _scaled(lambda point: point.queue_share, 100.0), 100.0),
    ("batch", "batch", "", lambda point: point.avg_batch, None),
    ("failures", "failures", "/s", lambda point: point.failures_per_s, None),
    ("cache", "cache hits", "%", _scaled(lambda point: point.cache_hit_rate, 100.0), 100.0),
    ("gpu", "GPU", "%", _scaled(lambda point: point.gpu_utilization, 100.0), 100.0),
    ("gpu_memory", "GPU memory", "GiB", _scaled(lambda point: point.gpu_memory_used_bytes, 2.0**-30), None),
    ("gpu_power", "GPU power", "W", lambda point: point.gpu_power_watts, None),
    ("cpu", "host CPU", "%", _scaled(lambda point: point.cpu_utilization, 100.0), 100.0),
)
# Charts that are left out where there is nothing to draw: no cache, no GPU.
_WHERE_THERE_IS = frozenset({"cache", "gpu", "gpu_memory", "gpu_power"})
_CHART_WIDTH = 25  # the least that keeps title and value whole
_WIDE = 60  # wider, and another column says more than a longer past
_LEAST_HEIGHT, _MOST_HEIGHT = 3, 12


def arrange(count: int, width: int, height: int) -> tuple[int, int, int]:
    """Columns, lines of a chart, and how many of `count` charts fit whole."""
    columns = max(1, min(count, max(min(3, width // _CHART_WIDTH), width // _WIDE)))
    rows = -(-count // columns)
    lines = max(_LEAST_HEIGHT, min(_MOST_HEIGHT, height // max(1, rows)))
    return columns, lines, min(count, columns * max(1, height // lines))


class MetricsPane(Pane):
    """As many charts as fit the screen, in the order of what to read first; a chart without figures says why."""

    def __init__(self) -> None:
        super().__init__()
        self._arranged = (0, 0)

    def compose(self) -> ComposeResult:
        with Grid(id="charts"):
            for name, _, _, _, _ in _CHARTS:
                yield Trend(id=f"chart-{name}")

    def show(self, status: ServiceStatus) -> None:
        screen = self.screen
        assert isinstance(screen, LiveScreen)
        points = screen.triton.fleet.history(status.id)
        error = next((each.metrics_error for each in status.replicas if each.metrics_error), None)
        drawn = [(chart, [chart[3](point) for point in points]) for chart in _CHARTS]
        drawn = [
            (chart, values)
            for chart, values in drawn
            if chart[0] not in _WHERE_THERE_IS or any(value is not None for value in values)
        ]
        columns, lines, fit = arrange(len(drawn), self.size.width, self.size.height)
        grid = self.query_one("#charts", Grid)
        if self._arranged != (columns, lines):  # setting a style lays the screen out again
            self._arranged = (columns, lines)
            grid.styles.grid_size_columns = columns
            grid.styles.grid_rows = str(lines)
        shown = {chart[0] for chart, _ in drawn[:fit]}
        for name, *_ in _CHARTS:
            self.query_one(f"#chart-{name}", Trend).display = name in shown
        for (name, title, unit, _, top), values in drawn[:fit]:
            self.query_one(f"#chart-{name}", Trend).show(title, values, unit=unit, top=top, note=error or "")
        left = len(drawn) - fit
        screen.note(error or (f"{left} more charts need more lines" if left else ""), "warn" if error else "")

    def on_resize(self) -> None:
        screen = self.screen
        assert isinstance(screen, LiveScreen)
        screen.show_now()

    def take_focus(self) -> None:
        self.screen.set_focus(None)
