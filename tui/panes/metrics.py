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
    ("request", "latency, whole request", "ms", _scaled(lambda point: point.avg_request_us, 1e-3), None),
    ("queue", "latency: queue", "ms", _scaled(lambda point: point.avg_queue_us, 1e-3), None),
    ("infer", "latency: compute infer", "ms", _scaled(lambda point: point.avg_compute_infer_us, 1e-3), None),
    ("input", "latency: compute input", "ms", _scaled(lambda point: point.avg_compute_input_us, 1e-3), None),
    ("output", "latency: compute output", "ms", _scaled(lambda point: point.avg_compute_output_us, 1e-3), None),
    ("pending", "pending requests", "", lambda point: point.pending, None),
    ("share", "queue share", "%", _scaled(lambda point: point.queue_share, 100.0), 100.0),
    ("batch", "average batch", "", lambda point: point.avg_batch, None),
    ("failures", "failures", "/s", lambda point: point.failures_per_s, None),
    ("cache", "cache hits", "%", _scaled(lambda point: point.cache_hit_rate, 100.0), 100.0),
    ("gpu", "GPU utilisation", "%", _scaled(lambda point: point.gpu_utilization, 100.0), 100.0),
    ("gpu_memory", "GPU memory", "GiB", _scaled(lambda point: point.gpu_memory_used_bytes, 2.0**-30), None),
    ("gpu_power", "GPU power", "W", lambda point: point.gpu_power_watts, None),
    ("cpu", "CPU of the host", "%", _scaled(lambda point: point.cpu_utilization, 100.0), 100.0),
)
# Charts that are left out where there is nothing to draw: no cache, no GPU.
_WHERE_THERE_IS = frozenset({"cache", "gpu", "gpu_memory", "gpu_power"})


class MetricsPane(Pane):
    """As many charts as fit the screen, in the order of what to read first; a chart without figures says why."""

    def compose(self) -> ComposeResult:
        with Grid(id="charts"):
            for name, _, _, _, _ in _CHARTS:
                yield Trend(id=f"chart-{name}")

    def show(self, status: ServiceStatus) -> None:
        screen = self.screen
        assert isinstance(screen, LiveScreen)
        points = screen.triton.fleet.history(status.id)
        error = next((each.metrics_error for each in status.replicas if each.metrics_error), None)
        for name, title, unit, figure, top in _CHARTS:
            chart = self.query_one(f"#chart-{name}", Trend)
            values = [figure(point) for point in points]
            chart.display = name not in _WHERE_THERE_IS or any(value is not None for value in values)
            if chart.display:
                chart.show(title, values, unit=unit, top=top, note=error or "")

    def take_focus(self) -> None:
        self.screen.set_focus(None)
