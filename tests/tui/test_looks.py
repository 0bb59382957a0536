"""Small, narrow, colourless: what is dropped, what stays, and that no state is told by colour alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes import FakeBackend, FakeGpu, FakeModel, FakeTriton, service
from tests.tui.pilot import dashboard
from tritonctl.inventory import HostGpu, Level, Platform
from tui.widgets.plaintext import width_of

TITLES = ("SERVICE", "PLATFORM", "SERVER", "MODELS", "REQ/S", "LATENCY", "QUEUE", "FAIL/S", "AGE", "GPU", "MEM", "NOTE")


async def test_columns_go_in_their_order(tmp_path: Path) -> None:
    server = FakeTriton([FakeModel("m", successes_per_scrape=2)], gpus=[FakeGpu("GPU-1", 0.87)])
    backend = FakeBackend(service("s", server, created_at=1.0))
    async with server:
        backend = FakeBackend(service("s", server, created_at=1.0))
        async with dashboard(backend, work=tmp_path, size=(160, 24)) as shown:
            await shown.sees("87 %", "8G/80G", "4 ms")
            gone: list[str] = []
            for width in range(160, 79, -4):
                await shown.pilot.resize_terminal(width, 24)
                await shown.until(lambda width=width: width_of(shown.lines[0]) <= width)  # type: ignore[misc]
                here = shown.lines[1].split()
                gone += [title for title in TITLES if title not in here and title not in gone]
            assert gone[:3] == ["MEM", "GPU", "AGE"]
            assert set(gone) <= {"MEM", "GPU", "AGE", "QUEUE", "FAIL/S", "NOTE"}


async def test_the_note_moves_to_the_reserved_line(tmp_path: Path) -> None:
    broken = service("broken", platform=Platform("exited 1", Level.FAILED, "out of memory: it needs 96 GB and has 80"))
    async with dashboard(FakeBackend(broken), work=tmp_path, size=(80, 24)) as shown:
        await shown.sees("fake/broken")
        assert "NOTE" not in shown.lines[1]
        assert "out of memory: it needs 96 GB and has 80" in shown.notice
        assert shown.hints.endswith("? keys")


@pytest.mark.parametrize("page", ["services", "models", "model", "metrics", "logs", "panel", "prompt", "help"])
async def test_resize_to_nothing_and_back(tmp_path: Path, page: str) -> None:
    keys = {"services": [], "models": ["enter"], "model": ["enter", "enter"], "metrics": ["enter", "3"]}
    keys |= {"logs": ["enter", "4"], "panel": ["enter", "L"], "prompt": ["enter", "colon"], "help": ["question_mark"]}
    server = FakeTriton([FakeModel("m", successes_per_scrape=2)])
    async with server, dashboard(FakeBackend(service("s", server)), work=tmp_path, size=(100, 30)) as shown:
        await shown.sees("4 ms")
        for key in keys[page]:
            await shown.press(key)
        if page == "panel":
            await shown.sees("[ Cancel ]")
        before = shown.lines[1]
        for size in ((20, 5), (3, 2), (20, 5), (1, 1), (200, 60), (100, 30)):
            await shown.pilot.resize_terminal(*size)
            await shown.pilot.pause()
            assert len(shown.lines) <= size[1]
            assert all(width_of(line) <= size[0] for line in shown.lines)
        await shown.until(lambda: shown.lines[1] == before)
        if page == "panel":
            assert "[ Cancel ]" in shown.text


async def test_tab_bar_at_80_keeps_every_tab(tmp_path: Path) -> None:
    server = FakeTriton([FakeModel("m")])
    async with server, dashboard(FakeBackend(service("s", server)), work=tmp_path, size=(80, 24)) as shown:
        await shown.sees("ready")
        await shown.press("enter")
        await shown.sees("[1 Models] 2 Replicas  3 Metrics  4 Logs  5 Events  6 Triage  7 Describe")
        await shown.press("enter")
        await shown.sees("[1 Schema] 2 Config  3 Versions  4 Statistics  5 Test request")


@pytest.mark.parametrize("theme", ["textual-dark", "ansi-dark", "ansi-light"])
async def test_states_differ_without_colour(tmp_path: Path, theme: str) -> None:
    levels = (Level.FAILED, Level.DEGRADED, Level.CHANGING, Level.OFF)
    services = [service(f"s{level}", platform=Platform("same word", level)) for level in levels]
    async with dashboard(FakeBackend(*services), work=tmp_path, theme=theme) as shown:
        await shown.sees("fake/s0")
        signs = [shown.line(f"fake/s{level.value}")[1] for level in levels]
        assert len(set(signs)) == len(levels), signs
        assert shown.cursor.startswith("▌")


async def test_ascii(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITONCTL_ASCII", "1")
    server = FakeTriton([FakeModel("m", successes_per_scrape=2)])
    async with server, dashboard(FakeBackend(service("s", server)), work=tmp_path) as shown:
        await shown.until(lambda: "4 ms" in shown.text)
        for keys in ("", "enter", "3", "2", "4", "1 L", "escape enter", "5", "question_mark"):
            await shown.press(*keys.split())
            odd = {letter for letter in shown.text if not letter.isascii()}
            assert not odd, (keys, odd)


async def test_this_hosts_gpus_stand_in_the_header(tmp_path: Path) -> None:
    gpu = HostGpu(0, "H200", "GPU-1", 0.42, 8 * 2**30, 140 * 2**30, 300.0, 50.0)
    async with dashboard(FakeBackend(), work=tmp_path, host_gpus=[gpu]) as shown:
        await shown.until(lambda: "GPU0 42 % 8G/140G" in shown.lines[0])
