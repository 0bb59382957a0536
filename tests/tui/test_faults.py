"""What breaks while it is looked at: dimmed with its age, named in words, and back when it comes back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from tests.fakes import RUNNING, FakeBackend, FakeModel, FakeTriton, service
from tests.tui.pilot import Dashboard, dashboard
from tritonctl.backend import Capability, Event, Intent, LogLine, Section
from tritonctl.errors import Unreachable
from tritonctl.fleet import Fleet
from tritonctl.inventory import Service
from tritonctl.plan import AuditLog, Plan
from tui.app import TritonctlApp
from tui.widgets.table import Table


def rows_dimmed(shown: Dashboard) -> bool:
    table = shown.app.screen.query_one(Table)
    return bool(table._rows) and all(table._rows[number].dim for number in range(table.count))


async def test_a_server_that_dies_and_comes_back(tmp_path: Path) -> None:
    server = FakeTriton([FakeModel("m", successes_per_scrape=2)])
    async with server, dashboard(FakeBackend(service("s", server)), work=tmp_path) as shown:
        await shown.sees("4 ms")
        await shown.press("enter")
        await shown.sees("[1 Models]")
        await server.stop()
        await shown.sees("unreachable")
        assert rows_dimmed(shown)
        assert "m " in shown.cursor, "what was known is kept"
        await shown.until(lambda: "last seen 1s ago" in shown.lines[0])
        await shown.press("2")
        await shown.sees("nothing listens")
        await shown.press("3")
        await shown.sees("throughput  – req/s")
        await shown.press("escape")
        await shown.sees("s ago")
        assert "nothing listens on 127.0.0.1" in shown.notice
        await server.start()
        await shown.until(lambda: "ready" in shown.line("fake/s") and "s ago" not in shown.text)


async def test_a_key_typed_before_the_first_frame_stops_nothing(tmp_path: Path) -> None:
    server = FakeTriton([FakeModel("m", successes_per_scrape=2)])
    async with server, Fleet([FakeBackend(service("s", server))], probing=False) as fleet:
        app = TritonctlApp(fleet, AuditLog(tmp_path / "audit.jsonl"))
        app.call_after_refresh = lambda *_, **__: True  # type: ignore[method-assign]  # the screen is covered at once
        async with app.run_test(size=(120, 34)) as pilot:
            shown = Dashboard(app, pilot)
            await shown.command("metrics fake/s")
            await shown.until(lambda: "throughput" in shown.text and "– req/s" not in shown.line("throughput"))


class _Faulty(FakeBackend):
    """Has a fault of its own, that is no error in words."""

    capabilities = FakeBackend.capabilities | {Capability.RESTART}

    async def logs(self, service: Service, **_: object) -> AsyncIterator[Sequence[LogLine]]:
        yield [LogLine("r1", "one line")]
        raise KeyError("hush")

    async def plan(self, intent: Intent) -> Plan:
        raise KeyError("hush")


async def test_a_fault_of_its_own_is_told_where_somebody_waits_for_an_answer(tmp_path: Path) -> None:
    async with (
        FakeTriton([FakeModel("m")]) as server,
        dashboard(_Faulty(service("s", server)), work=tmp_path) as shown,
    ):
        await shown.sees("ready")
        await shown.command("restart")
        await shown.until(lambda: "restart: KeyError in " in shown.notice)
        await shown.command("logs s")
        await shown.sees("one line", "read the log of fake/s: KeyError in ")
        assert "hush" not in shown.text


class _Breaks(FakeBackend):
    """Its log breaks off, is not to be had for a while, and is there again."""

    asked = 0

    async def logs(self, service: Service, **_: object) -> AsyncIterator[Sequence[LogLine]]:
        self.asked += 1
        if self.asked == 1:
            yield [LogLine("r1", "before the blip")]
        if self.asked <= 3:
            raise Unreachable("read the log", f"the engine is away ({self.asked})", kind="lost")
        yield [LogLine("r1", "before the blip"), LogLine("r1", "after the blip")]
        await asyncio.Event().wait()


async def test_a_log_that_broke_off_is_read_again_while_it_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tui.panes.logs._AGAIN_S", (1.0, 0.1, 2.0))
    async with FakeTriton([FakeModel("m")]) as server:
        backend = _Breaks(service("s", server))
        async with dashboard(backend, work=tmp_path) as shown:
            await shown.sees("ready")
            await shown.command("logs s")
            await shown.sees("before the blip", "the engine is away (1)", "it is read again in 1 s")
            await shown.until(lambda: backend.asked == 3)
            assert "before the blip" in shown.text, "what was read is kept"
            assert "away (2)" not in shown.text, "told once"
            await shown.sees("after the blip")
            assert shown.text.count("before the blip") == 1
            assert "away" not in shown.text


class _Ends(FakeBackend):
    """Its log ends once, as it does where the engine goes, and the server lives on."""

    asked = 0

    async def logs(self, service: Service, **_: object) -> AsyncIterator[Sequence[LogLine]]:
        self.asked += 1
        yield [LogLine("r1", f"reading {self.asked}")]
        if self.asked > 1:
            await asyncio.Event().wait()


@pytest.mark.parametrize("lasted", [True, False])
async def test_a_log_that_was_followed_and_ended_is_read_again_where_its_server_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lasted: bool
) -> None:
    monkeypatch.setattr("tui.panes.logs._AGAIN_S", (1.0,))
    monkeypatch.setattr("tui.panes.logs._LASTED_S", 0.0 if lasted else 60.0)
    async with FakeTriton([FakeModel("m")]) as server:
        backend = _Ends(service("s", server))
        async with dashboard(backend, work=tmp_path) as shown:
            await shown.sees("ready")
            await shown.command("logs s")
            await shown.sees("reading 1", "the log ends here")
            if lasted:
                await shown.sees("reading 2")
                assert "the log ends here" not in shown.text
            else:
                await asyncio.sleep(2.0)
                assert backend.asked == 1


async def test_a_service_that_goes_while_its_page_is_open(tmp_path: Path) -> None:
    async with FakeTriton([FakeModel("m")]) as server:
        for keys in (["enter"], ["enter", "enter"], ["enter", "3"], ["enter", "4"], ["enter", "enter", "5"]):
            backend = FakeBackend(service("s", server))
            async with dashboard(backend, work=tmp_path) as shown:
                await shown.sees("1/1")
                for key in keys:
                    await shown.press(key)
                    await asyncio.sleep(0.1)
                backend.drop("fake/s")
                await shown.sees("it is gone")
                await shown.press("L", "U", "i", "l", "d", "1", "2", "enter", "tab")
                await shown.press("escape", "escape", "escape")
                await shown.sees("No Triton service found.")


class Moody(FakeBackend):
    """Its events and description fail at first, and change."""

    asked = 0

    async def events(self, service: Service) -> tuple[Event, ...]:
        self.asked += 1
        if self.asked in (1, 3):
            raise Unreachable("events", f"the place is away ({self.asked})")
        return (Event(0.0, "start", f"event {self.asked}"),)

    async def describe(self, service: Service) -> tuple[Section, ...]:
        self.asked += 1
        if self.asked == 1:
            await asyncio.sleep(60)
        return (Section("fake place", (("asked", f"time {self.asked}"),)),)


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_AGAIN_S", "_AFTER_FAULT_S", "_DEADLINE_S"):
        monkeypatch.setattr(f"tui.panes.describe.{name}", 0.3)


async def test_events_are_read_anew_also_after_a_fault_that_is_told(tmp_path: Path, soon: None) -> None:
    backend = Moody(service("s", platform=RUNNING))
    async with dashboard(backend, work=tmp_path) as shown:
        await shown.sees("fake/s")
        await shown.press("enter", "5")
        await shown.sees("the place is away (1)", "event 2", "the place is away (3)")
        assert "event 2" in shown.text, "what was told is kept"
        await shown.sees("event 4")
        await shown.loses("away")


async def test_a_description_that_does_not_come_is_asked_for_again(tmp_path: Path, soon: None) -> None:
    backend = Moody(service("s", platform=RUNNING))
    async with dashboard(backend, work=tmp_path) as shown:
        await shown.sees("fake/s")
        await shown.press("d")
        await shown.sees("no answer within 0.3 s", "time 2", "time 3")


async def test_a_service_that_goes_while_its_plan_is_open(tmp_path: Path) -> None:
    async with FakeTriton([FakeModel("m")]) as server:
        backend = FakeBackend(service("s", server))
        async with dashboard(backend, work=tmp_path) as shown:
            await shown.sees("1/1")
            await shown.press("enter")
            await shown.sees("[1 Models]", "m ")
            await shown.press("U")
            await shown.sees("[ Cancel ]")
            backend.drop("fake/s")
            await shown.sees("it is gone")
            await server.stop()
            await shown.press("tab", "enter")
            await shown.sees("✖", "[ Close ]")
            await shown.press("escape")
            await shown.loses("[ Close ]")


async def test_a_lost_backend_is_named_and_its_services_stay(tmp_path: Path) -> None:
    async with FakeTriton([FakeModel("m")]) as server:
        backend = FakeBackend(service("s", server))
        async with dashboard(backend, work=tmp_path) as shown:
            await shown.sees("1/1")
            backend.lose(Unreachable("watch", "the token has run out", "az login"))
            await shown.until(lambda: "fake: the token has run out" in shown.lines[0])
            assert "fake/s" in shown.text
            await shown.until(lambda: "token" not in shown.lines[0])


async def test_hanging_servers_delay_no_key(tmp_path: Path) -> None:
    """60 ms from key to repaint, while five servers accept and never answer."""
    hanging = [FakeTriton(hangs=True) for _ in range(5)]
    for server in hanging:
        await server.start()
    try:
        services = [service(f"s{number}", server) for number, server in enumerate(hanging)]
        async with dashboard(FakeBackend(*services), work=tmp_path, deadline_s=0.5) as shown:
            await shown.sees("fake/s4")
            rounds = []
            for _ in range(4):  # the best of several, and by the wall a multiple: others use this machine too
                took, used = [], []
                for key in ("down", "up") * 15:
                    before = shown.cursor
                    began, computed = time.perf_counter(), time.thread_time()
                    shown.app.simulate_key(key)
                    while shown.cursor == before:
                        await asyncio.sleep(0)
                        assert time.perf_counter() - began < 10
                    took.append(time.perf_counter() - began)
                    used.append(time.thread_time() - computed)
                    await asyncio.sleep(0.03)
                rounds.append((sorted(took)[27], sorted(used)[27]))
                if rounds[-1][0] < 0.06:
                    break
            assert min(wall for wall, _ in rounds) < 0.25, rounds
            assert min(own for _, own in rounds) < 0.06, rounds
            await shown.sees("unreachable")
    finally:
        for server in hanging:
            server.hangs = False
            await server.stop()


async def test_a_page_that_is_no_triton(tmp_path: Path) -> None:
    server = FakeTriton()
    server._answer = answer_html  # type: ignore[method-assign,assignment]
    async with server, dashboard(FakeBackend(service("s", server)), work=tmp_path) as shown:
        await shown.sees("a web page came back, not Triton")
        await shown.press("enter")
        await shown.sees("a web page came back, not Triton")


async def answer_html(_path: str) -> tuple[int, object]:
    return 200, "<html>hello</html>"
