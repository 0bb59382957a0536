"""What goes over the wire: nothing while nothing changes, little while something does, and no stray escape."""

from __future__ import annotations

import asyncio
import re
import time
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.fakes import FakeModel, FakeTriton
from tests.tui.process import Running, running


async def least_rate(shown: Running, seconds: float, bar: float) -> float:
    """Bytes a second over so long a time: the first of three times that is under the bar, or the least."""
    rates = []
    for _ in range(3):
        before, began = len(shown.raw), time.monotonic()
        await asyncio.sleep(seconds)
        rates.append((len(shown.raw) - before) / (time.monotonic() - began))
        if rates[-1] < bar:
            break
    return min(rates)


def settings(folder: Path, *servers: FakeTriton) -> str:
    """A settings file that names these servers, metrics and all."""
    tables = [
        f'{{ name = "edge-{number}", http = "{server.address.http}", metrics = "{server.address.http}/metrics" }}'
        for number, server in enumerate(servers)
    ]
    path = folder / "config.toml"
    path.write_text(f'[backends.edge]\nkind = "urls"\nservers = [{", ".join(tables)}]\n')
    return str(path)


async def test_an_idle_screen_writes_its_clock_alone(tmp_path: Path) -> None:
    server = FakeTriton([FakeModel("m")], metrics=False)
    async with server, running("--config", settings(tmp_path, server), home=tmp_path) as shown:
        await shown.sees("1/1")
        await asyncio.sleep(2.5)
        for _ in range(3):  # a machine that stood still may draw late what belongs to the start
            before, began = len(shown.raw), time.monotonic()
            await asyncio.sleep(5)
            new = shown.raw[before:]
            rows = set(re.findall(rb"\x1b\[(\d+);1H", new))
            most = 260 * (1 + round((time.monotonic() - began) / 2))  # the header's line, every two seconds
            if len(new) <= most and rows <= {b"1"}:
                break
        assert len(new) <= most, new
        assert rows <= {b"1"}, new


async def test_five_services_with_light_traffic(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        servers = [FakeTriton([FakeModel("m", successes_per_scrape=3 + number)]) for number in range(5)]
        for server in servers:
            await stack.enter_async_context(server)
        async with running("--config", settings(tmp_path, *servers), home=tmp_path) as shown:
            await shown.sees("4 ms")
            await asyncio.sleep(3)
            assert await least_rate(shown, 6, 2 * 2000) < 2 * 2000


async def test_charts(tmp_path: Path) -> None:
    server = FakeTriton([FakeModel("m", successes_per_scrape=7)])
    async with server, running("--config", settings(tmp_path, server), home=tmp_path, size=(120, 40)) as shown:
        await shown.sees("4 ms")
        shown.type("\r")
        await shown.sees("[1 Models]")
        shown.type("3")
        await shown.sees("host CPU")
        await asyncio.sleep(2)
        assert await least_rate(shown, 6, 2 * 8000) < 2 * 8000


@pytest.mark.parametrize("environ", [{}, {"NO_COLOR": "1"}, {"COLORTERM": ""}, {"COLORTERM": "", "TERM": "screen"}])
async def test_hostile_names_through_a_terminal(tmp_path: Path, environ: dict[str, str]) -> None:
    evil = "\x1b[2J\x1b]0;owned\x07\x1b[31m\u202e[red]evil\x9b5m\r\n"
    models = [FakeModel("fine"), FakeModel(evil, "1", "UNAVAILABLE", evil * 20), FakeModel("y" * 300)]
    async with FakeTriton(models) as server:
        url = f"http://127.0.0.1:{server.port}"
        async with running("--url", url, home=tmp_path, size=(80, 24), **environ) as shown:
            await shown.sees("2/3")
            assert "[red]evil" in shown.lines[-2]
            shown.type("\r")
            await shown.sees("[1 Models]", "fine")
            await shown.until(lambda: "[red]evil" in shown.lines[3])
            assert shown.lines[0].lstrip().startswith("url")
            shown.type("\r")
            await shown.sees("it failed to load")
            shown.type("\x1b")
            await shown.sees("[1 Models]")
            for stray in (b"owned", b"\xe2\x80\xae", b"\xc2\x9b", b"\x1b[5m"):
                assert stray not in shown.raw
            assert shown.screen.title != "owned"
            if environ.get("NO_COLOR") or environ.get("COLORTERM") == "":
                assert b"38;2;" not in shown.raw


async def test_ascii_goes_to_the_terminal_alone(tmp_path: Path) -> None:
    server = FakeTriton([FakeModel("m", successes_per_scrape=2)])
    async with server:
        url = f"http://127.0.0.1:{server.port}"
        async with running("--url", url, home=tmp_path, TRITONCTL_ASCII="1", TERM="screen", COLORTERM="") as shown:
            await shown.sees("1/1")
            shown.type("\r")
            await shown.sees("[1 Models]")
            shown.type("3")
            await shown.sees("host CPU")
            assert shown.raw.isascii()
