"""What goes along with a change is chosen in its plan, with space; the place makes the plan anew each time."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.fakes import FakeBackend, FakeModel, FakeTriton, service
from tests.tui.pilot import dashboard
from tritonctl.backend import Capability, Intent
from tritonctl.errors import OperationFailed
from tritonctl.plan import Choice, Plan, Step, choose

OFFERED = (
    Choice("volume:data", "volume data", why="2 GB, api uses it too"),
    Choice("service", "service text", chosen=True),
)


class Deleting(FakeBackend):
    """Deletes on request; `slow_s` is how long a plan takes, `refuses` makes none with the volume."""

    capabilities = FakeBackend.capabilities | {Capability.DELETE}
    slow_s = 0.0
    refuses = False

    def __init__(self, *servers: FakeTriton) -> None:
        super().__init__(service("text", *servers))
        self.deleted: list[str] = []

    async def plan(self, intent: Intent) -> Plan:
        choices = choose(OFFERED, intent.options)
        if self.refuses and choices[0].chosen:
            raise OperationFailed("delete volume data", "it is in use", "stop api first")
        await asyncio.sleep(self.slow_s if intent.options else 0)
        names = ["text", *(each.label for each in choices if each.chosen)]

        async def done(name: str) -> str:
            self.deleted.append(name)
            return "gone"

        steps = tuple(Step(f"remove {name}", lambda name=name: done(name)) for name in names)  # type: ignore[misc]
        return Plan("delete", intent.service.id, "Delete text", steps, typed="text", choices=choices)


async def test_cancel_under_a_name_that_stands_whole_is_said(tmp_path: Path) -> None:
    async with FakeTriton([FakeModel("a")]) as server:
        place = Deleting(server)
        async with dashboard(place, work=tmp_path, size=(80, 24)) as shown:
            await shown.sees("ready")
            await shown.press("ctrl+d")
            await shown.sees("type text to confirm")
            await shown.type("text")
            await shown.press("enter")
            await shown.sees("cancelled, nothing was done")
            assert place.deleted == []


async def test_a_choice_changes_the_steps_that_are_carried_out(tmp_path: Path) -> None:
    async with FakeTriton([FakeModel("a")]) as server:
        place = Deleting(server)
        async with dashboard(place, work=tmp_path, size=(80, 24)) as shown:
            await shown.sees("ready")
            await shown.press("ctrl+d")
            await shown.sees("[ ]   volume data · 2 GB, api uses it too", "[x]   service text", "remove service text")
            assert "remove volume data" not in shown.text
            await shown.press("up", "up", "space")
            await shown.sees("[x]   volume data", "remove volume data")
            await shown.press("down", "space")
            await shown.sees("[ ]   service text")
            await shown.loses("remove service text")
            await shown.type("text")
            await shown.press("down", "tab", "enter")
            await shown.sees("[ Close ]", "done in")
            assert place.deleted == ["text", "volume data"]


async def test_to_leave_everything_is_not_to_ask_for_the_default(tmp_path: Path) -> None:
    async with FakeTriton([FakeModel("a")]) as server, dashboard(Deleting(server), work=tmp_path) as shown:
        await shown.sees("ready")
        await shown.command("delete")
        await shown.sees("[x]   service text")
        await shown.press("up", "space")
        await shown.sees("[ ]   service text")
        await shown.loses("remove service text")


async def test_the_command_chooses_by_id(tmp_path: Path) -> None:
    async with FakeTriton([FakeModel("a")]) as server, dashboard(Deleting(server), work=tmp_path) as shown:
        await shown.sees("ready")
        await shown.command("delete volume:data")
        await shown.sees("[x]   volume data", "[ ]   service text", "remove volume data")
        await shown.press("escape")
        await shown.command("delete nothing")
        await shown.until(lambda: "named nothing" in shown.notice and "volume:data, service" in shown.notice)


async def test_a_choice_that_the_place_refuses_leaves_the_plan_as_it_was(tmp_path: Path) -> None:
    async with FakeTriton([FakeModel("a")]) as server:
        place = Deleting(server)
        place.refuses = True
        async with dashboard(place, work=tmp_path) as shown:
            await shown.sees("ready")
            await shown.press("ctrl+d")
            await shown.sees("[ ]   volume data")
            await shown.press("up", "up", "space")
            await shown.sees("✖     it is in use", "stop api first")
            await shown.sees("▌[ ]   volume data")
            await shown.type("text")
            await shown.press("tab", "tab", "tab", "enter")
            await shown.sees("[ Close ]")
            assert place.deleted == ["text", "service text"]


async def test_a_plan_that_comes_after_it_was_left_is_not_shown(tmp_path: Path) -> None:
    async with FakeTriton([FakeModel("a")]) as server:
        place = Deleting(server)
        place.slow_s = 0.3
        async with dashboard(place, work=tmp_path) as shown:
            await shown.sees("ready")
            await shown.press("ctrl+d")
            await shown.sees("[ ]   volume data")
            await shown.press("up", "up", "space", "escape")
            await shown.loses("[ Cancel ]")
            await asyncio.sleep(0.5)
            assert "[ Cancel ]" not in shown.text
            assert not place.deleted
