"""One log of several is chosen from a list, kept over what happens, and left again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tests.fakes import FakeBackend, FakeTriton, service
from tests.tui.pilot import dashboard
from tritonctl.backend import LogLine


async def test_one_of_several_logs_is_chosen_and_all_again(tmp_path: Path) -> None:
    async with FakeTriton() as first, FakeTriton() as second:
        pair = service("pair", first, second)
        place = FakeBackend(pair)
        place.log = [LogLine("r1", "of the first"), LogLine("r2", "of the second")]
        async with dashboard(place, work=tmp_path) as shown:
            await shown.command("logs pair")
            await shown.sees("r1  of the first", "r2  of the second")
            await shown.press("c")
            await shown.sees("LOG OF", "all", "running")
            await shown.press("escape")
            await shown.loses("LOG OF")
            assert "fake/pair" in shown.lines[0], "escape closed the list and left the page too"
            await shown.press("c", "end", "enter")
            await shown.loses("of the first")
            await shown.sees("of the second")
            assert "r2" in shown.lines[0]
            assert "r2  of" not in shown.text  # one log needs no name before each line

            # Its replica goes: what it wrote stays, and that it is gone is said, once.
            place.put(replace(pair, replicas=pair.replicas[:1]))
            await shown.sees("of the second", "r2 is gone; choose another one (c)")
            await shown.press("c")
            await shown.sees("LOG OF")
            assert "r2" not in "".join(shown.lines[2:])
            await shown.press("home", "enter")
            await shown.sees("of the first")
            assert "r2" not in shown.lines[0]
