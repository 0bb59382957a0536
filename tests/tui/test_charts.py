"""The charts of a service: as many as fit whole, none cut, GPUs where there are any, words where nothing is known."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes import FakeBackend, FakeGpu, FakeModel, FakeTriton, service
from tests.tui.pilot import dashboard
from tui.panes.metrics import arrange

TITLES = ("throughput", "latency", "in the queue", "compute infer", "compute input", "compute output")
GPU_TITLES = ("GPU", "GPU memory", "GPU power")


@pytest.mark.parametrize("width", [20, 80, 120, 200, 400])
@pytest.mark.parametrize("height", [1, 5, 20, 30, 46])
@pytest.mark.parametrize("count", [1, 11, 15])
def test_charts_fit_the_screen(count: int, width: int, height: int) -> None:
    columns, lines, fit = arrange(count, width, height)
    assert 1 <= fit <= count
    assert lines >= 3
    if height >= 3:
        assert -(-fit // columns) * lines <= height


@pytest.mark.parametrize("size", [(80, 24), (120, 34), (200, 50)])
async def test_every_chart_is_whole(tmp_path: Path, size: tuple[int, int]) -> None:
    server = FakeTriton([FakeModel("m", successes_per_scrape=3)], gpus=[FakeGpu("GPU-1", 0.87), FakeGpu("GPU-2", 0.1)])
    async with server, dashboard(FakeBackend(service("s", server)), work=tmp_path, size=size) as shown:
        await shown.sees("4 ms")
        await shown.press("enter", "3")
        for title in (*TITLES, *GPU_TITLES, "host CPU"):
            await shown.sees(f"{title}  ")
        await shown.sees("GPU  87 %", "GPU memory  16 GiB", "GPU power  600 W", "host CPU  25 %")
        assert "more charts" not in shown.text
        charts = [chart for chart in shown.app.screen.query("Trend") if chart.display]
        bottom = size[1] - 2
        assert all(chart.region.bottom <= bottom and chart.region.height >= 3 for chart in charts)
        assert max(chart.region.bottom for chart in charts) > bottom - 6, "room is left unused"


async def test_no_gpu_chart_without_a_gpu(tmp_path: Path) -> None:
    server = FakeTriton([FakeModel("m", successes_per_scrape=3)])
    async with server, dashboard(FakeBackend(service("s", server)), work=tmp_path) as shown:
        await shown.sees("4 ms")
        await shown.press("enter", "3")
        await shown.sees("host CPU  25 %")
        assert "GPU" not in shown.text


async def test_what_does_not_fit_is_said(tmp_path: Path) -> None:
    server = FakeTriton([FakeModel("m", successes_per_scrape=3)])
    async with server, dashboard(FakeBackend(service("s", server)), work=tmp_path, size=(80, 12)) as shown:
        await shown.sees("4 ms")
        await shown.press("enter", "3")
        await shown.sees("throughput  ", "more charts need more lines")
        await shown.pilot.resize_terminal(80, 24)
        await shown.sees("host CPU  ")
        await shown.loses("more charts need more lines")


async def test_a_closed_metrics_port_says_why(tmp_path: Path) -> None:
    server = FakeTriton([FakeModel("m")], metrics=False)
    async with server, dashboard(FakeBackend(service("s", server)), work=tmp_path) as shown:
        await shown.sees("ready")
        await shown.press("enter", "3")
        await shown.sees(
            "throughput  – req/s  no metrics", "▲ no metrics address is known: set metrics = … for this server"
        )
