"""The curves of a load: requests a second, latencies as they were met here, and the server's own queue and compute."""

from __future__ import annotations

from collections.abc import Callable

from textual.app import ComposeResult
from textual.containers import Vertical

from tritonctl.workbench.beside import Watching
from tritonctl.workbench.load import Found, LoadResult, Send, run_load, search
from tui.panes.request.load_line import LoadLine
from tui.widgets.trend import TrendLine

SEARCH_STEP_S = 3.0
_SERVER_FROM = 40
"""Lines of the screen from which the server's curves have room below ours."""


class Curve(Vertical):
    """Hidden until a load shows something."""

    DEFAULT_CSS = """
    Curve { height: 4; display: none; }
    Curve.shown { display: block; }
    Curve.tall { height: 6; }
    Curve .server { display: none; }
    Curve.tall .server { display: block; }
    """

    def __init__(self) -> None:
        super().__init__(id="curve")
        self._server: list[tuple[float | None, float | None]] = []

    def compose(self) -> ComposeResult:
        for name in ("rate", "p50", "p90", "p99"):
            yield TrendLine(id=name)
        for name in ("queue", "compute"):
            yield TrendLine(id=name, classes="server")

    def hide(self) -> None:
        self._server.clear()
        self.set_class(False, "shown")

    def show(self, result: LoadResult, watching: Watching) -> None:
        points, now = list(result.points), watching.newest
        while len(self._server) < len(points):
            self._server.append((now.queue_us, now.compute_us) if now is not None else (None, None))
        self.set_class(len(points) > 1, "shown")  # one point is no curve
        self.set_class(self.app.size.height >= _SERVER_FROM and any(a or b for a, b in self._server), "tall")
        self._line("rate", "requests/s", [each.requests_per_s for each in points], unit="")
        for name, values in (
            ("p50", [each.p50_us for each in points]),
            ("p90", [each.p90_us for each in points]),
            ("p99", [each.p99_us for each in points]),
        ):
            self._line(name, f"latency {name}", _ms(values))
        self._line("queue", "server's queue", _ms([queue for queue, _ in self._server]))
        self._line("compute", "server's compute", _ms([compute for _, compute in self._server]))

    def _line(self, name: str, title: str, values: list[float | None] | list[float], unit: str = "ms") -> None:
        self.query_one(f"#{name}", TrendLine).show(title, values, unit=unit)


def _ms(values: list[float | None]) -> list[float | None]:
    return [value / 1000 if value is not None else None for value in values]


async def carry_out(load: LoadLine, send: Send, told: Callable[[LoadResult], None]) -> LoadResult | Found:
    """The load, or the search for the highest one under a limit."""
    if load.limit_ms:
        return await search(send, load.limit_ms * 1000, step_s=load.duration_s or SEARCH_STEP_S, told=told)
    return await run_load(load.plan(), send, told)
