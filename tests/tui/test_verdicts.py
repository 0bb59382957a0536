"""The table's notes: triage's headline where it is sure of one, found beside the screen, for what is not well alone."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from tests.diagnosis import patient
from tests.fakes import RUNNING, FakeBackend, FakeModel, FakeTriton, service
from tests.places import reaches
from tests.servers import write_model
from tests.tui.pilot import dashboard
from tests.tui.test_triage import _Borrowed
from tests.waiting import until
from tritonctl.fleet import Fleet
from tritonctl.inventory import Level, Platform
from tui import verdicts
from tui.verdicts import Verdicts

REASON = "Internal: ModuleNotFoundError: No module named 'shapely'"


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_SETTLED_S", "_PAUSE_S"):
        monkeypatch.setattr(verdicts, name, 0.05)


async def test_the_headline_stands_in_the_row_and_beside_the_servers_words_below(tmp_path: Path, at_once: None) -> None:
    repository = tmp_path / "r"
    write_model(repository, "same")
    for name in ("bad", "worse"):
        write_model(repository, name, "import shapely_is_not_here\n")
    flags = ("--exit-on-error=false",)
    async with patient(repository, *flags, mode="explicit", load=("same", "bad", "worse")) as one:
        backend = next(iter(one.fleet.backends.values()))
        async with dashboard(_Borrowed(backend), work=tmp_path, size=(200, 34)) as shown:
            await shown.sees("needs the Python module 'shapely_is_not_here'")
            assert "needs the Python module" in shown.line("embedded/demo")
            assert "needs the Python module" in shown.notice
            assert "No module named" in shown.notice


async def test_only_what_is_not_well_is_asked_about_and_once(monkeypatch: pytest.MonkeyPatch, at_once: None) -> None:
    asked: list[str] = []
    real = verdicts.Verdicts._ask

    async def ask(self: Verdicts, status: object) -> None:
        asked.append(status.id)  # type: ignore[attr-defined]
        await real(self, status)  # type: ignore[arg-type]

    monkeypatch.setattr(verdicts.Verdicts, "_ask", ask)
    async with FakeTriton([FakeModel("m")]) as fine, FakeTriton([FakeModel("m", "1", "UNAVAILABLE", REASON)]) as ill:
        backend = FakeBackend(
            service("fine", fine), service("ill", ill), service("off", platform=Platform("stopped", Level.OFF)),
            service("other", platform=Platform("exited 1", Level.FAILED, "no such image")),
        )  # fmt: skip
        told: list[float] = []
        async with Fleet([backend], interval_s=0.2) as fleet:
            await reaches(fleet, lambda each: len(each.services) == 4 and each.by_id["fake/ill"].counts.failed)
            found = Verdicts(fleet, lambda: told.append(time.monotonic()))
            work = asyncio.create_task(found.find())
            try:
                await until(lambda: len(set(asked)) == 2 and bool(told))
                note = found.note(fleet.resolve("fake/ill"))
                assert note == "m needs the Python module 'shapely', which its environment does not have"
                other = fleet.resolve("fake/other")
                assert found.note(other) == other.note  # triage knows no better
                await asyncio.sleep(1)
                assert sorted(asked) == ["fake/ill", "fake/other"]
                ill.models[0] = FakeModel("m")
                await reaches(fleet, lambda each: not each.by_id["fake/ill"].counts.failed)
                assert found.note(fleet.resolve("fake/ill")) == ""
                backend.drop("fake/ill")
                await until(lambda: "fake/ill" not in found._known)
            finally:
                work.cancel()
                await asyncio.gather(work, return_exceptions=True)


async def test_a_place_that_hangs_holds_no_note_up(tmp_path: Path, at_once: None) -> None:
    class Hangs(FakeBackend):
        async def events(self, _service: object) -> tuple[()]:  # type: ignore[override]
            await asyncio.sleep(60)
            return ()

    ill = Platform("exited 1", Level.FAILED, "out of memory")
    async with dashboard(Hangs(service("a", platform=ill), service("b", platform=RUNNING)), work=tmp_path) as shown:
        await shown.sees("fake/a", "out of memory")
        began = time.monotonic()
        await shown.press("down", "up", "down")
        assert time.monotonic() - began < 5
