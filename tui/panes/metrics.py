"""Live charts of a service: throughput, latency by stage, queue, batch, failures, cache, GPU and CPU."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from textual import work
from textual.app import ComposeResult
from textual.containers import Grid

from tritonctl.backend import Figure as PlacesFigure
from tritonctl.backend import Measured
from tritonctl.errors import TritonctlError
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
_MEASURED_MOST = 9  # of a place's own
_MEASURED_AGAIN_S = 30.0
_MEASURED_DEADLINE_S = 15.0


def arrange(count: int, width: int, height: int) -> tuple[int, int, int]:
    """Columns, lines of a chart, and how many of `count` charts fit whole."""
    columns = max(1, min(count, max(min(3, width // _CHART_WIDTH), width // _WIDE)))
    rows = -(-count // columns)
    lines = max(_LEAST_HEIGHT, min(_MOST_HEIGHT, height // max(1, rows)))
    return columns, lines, min(count, columns * max(1, height // lines))


class _Drawn(NamedTuple):
    id: str
    title: str
    unit: str
    values: Sequence[float | None]
    top: float | None


class MetricsPane(Pane):
    """As many charts as fit the screen, in the order of what to read first; a chart without figures says why.

    Where the place measures too, as Azure Monitor does, its figures follow, and those that only the server's own page
    could fill are left out.
    """

    def __init__(self) -> None:
        super().__init__()
        self._arranged = (0, 0)
        self._measured: Measured | None = None
        self._measured_error = ""
        self._measure_after = 0.0

    def compose(self) -> ComposeResult:
        with Grid(id="charts"):
            for name, *_ in _CHARTS:
                yield Trend(id=f"chart-{name}")
            for place in range(_MEASURED_MOST):
                yield Trend(id=f"chart-measured-{place}")

    def show(self, status: ServiceStatus) -> None:
        screen = self._screen
        if time.monotonic() >= self._measure_after:
            self._measure_after = float("inf")
            self._measure(status)
        points = screen.triton.fleet.history(status.id)
        error = next((each.metrics_error for each in status.replicas if each.metrics_error), None)
        drawn = [
            _Drawn(f"chart-{name}", title, unit, [figure(point) for point in points], top)
            for name, title, unit, figure, top in _CHARTS
        ]
        told = self._measured is not None or bool(self._measured_error)
        drawn = [
            each
            for each in drawn
            if not (told or each.id.removeprefix("chart-") in _WHERE_THERE_IS)
            or any(v is not None for v in each.values)
        ]
        drawn += [_of_place(place, each) for place, each in enumerate(self._figures)]
        note = "" if told else error or ""
        columns, lines, fit = arrange(max(1, len(drawn)), self.size.width, self.size.height)
        grid = self.query_one("#charts", Grid)
        if self._arranged != (columns, lines):  # setting a style lays the screen out again
            self._arranged = (columns, lines)
            grid.styles.grid_size_columns = columns
            grid.styles.grid_rows = str(lines)
        shown = {each.id for each in drawn[:fit]}
        for chart in self.query(Trend):
            chart.display = chart.id in shown
        for each in drawn[:fit]:
            self.query_one(f"#{each.id}", Trend).show(each.title, each.values, unit=each.unit, top=each.top, note=note)
        left = len(drawn) - fit
        words = self._words() or error or (f"{left} more charts need more lines" if left > 0 else "")
        screen.note(words, "warn" if error or self._measured_error else "")

    @property
    def _figures(self) -> Sequence[PlacesFigure]:
        return self._measured.figures[:_MEASURED_MOST] if self._measured is not None else ()

    def _words(self) -> str:
        """Who measured what of which time, and what nobody can tell."""
        if self._measured_error:
            return self._measured_error
        told = self._measured
        if told is None:
            return ""
        if not told.by:
            return told.unknown
        if told.until is None:
            return f"{told.by} has no figures yet · unknown: {told.unknown}"
        newest = time.strftime("%H:%M", time.localtime(told.until))
        ago = max(0, round((time.time() - told.until) / 60))
        age = f"until {newest}, {ago} min ago" if ago else f"until {newest}"
        return f"{told.by}, {told.step} {age} · unknown: {told.unknown}"

    @work(group="measured", exclusive=True, exit_on_error=False)
    async def _measure(self, status: ServiceStatus) -> None:
        """What the place itself measured, asked beside the screen; of most places nothing, once and for all."""
        backend = self._screen.triton.fleet.backend_of(status.service)
        again_s = _MEASURED_AGAIN_S
        try:
            async with asyncio.timeout(_MEASURED_DEADLINE_S):
                self._measured = await backend.measured(status.service)
            self._measured_error = ""
            if self._measured is None:
                again_s = float("inf")
        except TimeoutError:
            self._measured_error = f"{backend.name} told no figures within {_MEASURED_DEADLINE_S:g} s"
        except TritonctlError as error:
            self._measured_error = f"figures of {backend.name}: {error.headline}"
        finally:
            self._measure_after = time.monotonic() + again_s
        self._screen.show_now()

    @property
    def _screen(self) -> LiveScreen:
        screen = self.screen
        assert isinstance(screen, LiveScreen)
        return screen

    def on_resize(self) -> None:
        self._screen.show_now()

    def take_focus(self) -> None:
        self.screen.set_focus(None)


def _of_place(place: int, figure: PlacesFigure) -> _Drawn:
    return _Drawn(f"chart-measured-{place}", figure.title, figure.unit, figure.values, figure.top)
