"""What a service's place can do has keys and commands on every screen about it; what it cannot do says why."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.fakes import FakeBackend, FakeModel, FakeTriton, service
from tests.tui.pilot import dashboard
from tritonctl.backend import Capability, Intent
from tritonctl.plan import Plan, Step

CAN = frozenset({Capability.START, Capability.STOP, Capability.RESTART, Capability.SCALE, Capability.TRAFFIC})


class Able(FakeBackend):
    """Plans what it is asked; its title tells the whole intent."""

    capabilities = FakeBackend.capabilities | CAN | {Capability.DELETE, Capability.MODE}

    async def plan(self, intent: Intent) -> Plan:
        async def done() -> str:
            return "done"

        words = " ".join(filter(None, [str(intent.action), intent.value, *intent.options]))
        return Plan(str(intent.action), intent.service.id, f"Asked: {words}.", (Step("do it", done),))


@pytest.mark.parametrize("on_its_page", [False, True])
async def test_each_has_a_key(tmp_path: Path, on_its_page: bool) -> None:
    async with FakeTriton([FakeModel("a")]) as server:
        place = Able(*(replace(service(f"ep/{name}", server), part_of="fake/ep") for name in ("blue", "green")))
        async with dashboard(place, work=tmp_path, size=(200, 50)) as shown:
            await shown.sees("ready")
            if on_its_page:
                await shown.press("enter")
                await shown.sees("[1 Models]")
            for key, asked in (("S", "start"), ("X", "stop"), ("r", "restart"), ("ctrl+d", "delete")):
                await shown.press(key)
                await shown.sees(f"Asked: {asked}.")
                await shown.press("escape")
                await shown.loses("Asked:")
            await shown.press("s")
            await shown.until(lambda: ":scale 1" in shown.notice)
            await shown.press("backspace", "3", "enter")
            await shown.sees("Asked: scale 3.")
            await shown.press("escape", "T")
            await shown.until(lambda: ":traffic" in shown.notice)
            await shown.press("b", "tab")
            await shown.type("30 ")
            await shown.press("g", "tab")
            await shown.type("70")
            await shown.press("enter")
            await shown.sees("Asked: traffic blue=30 green=70.")


async def test_the_commands_want_what_they_need(tmp_path: Path) -> None:
    async with FakeTriton([FakeModel("a")]) as server, dashboard(Able(service("s", server)), work=tmp_path) as shown:
        await shown.sees("ready")
        for typed, said in (
            ("scale", ":scale [NAME] N"),
            ("scale many", "how many replicas"),
            ("traffic", "NAME=PERCENT"),
            ("traffic blue=lots", "from 0 to 100"),
            ("mode", "none|poll|explicit"),
            ("stop s more", "it takes no more: more"),
            ("restart s two more", "it takes no more: two more"),
            ("scale s 2 more", "it takes no more: more  → :scale [NAME] N"),
            ("mode s poll more", "it takes no more: more"),
        ):
            await shown.command(typed)
            await shown.until(lambda said=said: said in shown.notice)  # type: ignore[misc]
            assert "Asked" not in shown.text
        for typed in ("start", "stop", "scale 0", "mode poll", "delete this that"):
            await shown.command(typed)
            await shown.sees(f"Asked: {typed}.")
            await shown.press("escape")
            await shown.loses("Asked:")


async def test_what_the_user_may_not_do_is_greyed_and_says_which_right_lacks(tmp_path: Path) -> None:
    async with FakeTriton([FakeModel("a")]) as server:
        denied = ((str(Capability.STOP), "no right to patch deployments/scale"),)
        place = Able(replace(service("s", server), denied=denied))
        async with dashboard(place, work=tmp_path, size=(200, 50)) as shown:
            await shown.sees("ready")
            assert "X stop" in shown.hints
            styles = {
                word: segment.style
                for segment in shown.app.screen._compositor.render_strips()[-1]
                for word in segment.text.split()
            }
            assert styles["X"] != styles["S"]
            assert styles["X"] == styles["stop"]
            await shown.press("X")
            await shown.until(lambda: "patch deployments/scale" in shown.notice)
            await shown.press("question_mark")
            await shown.sees("stop it, after showing the plan · not here: no right to patch deployments/scale")


async def test_what_the_place_cannot_do_is_no_hint_and_says_why(tmp_path: Path) -> None:
    async with (
        FakeTriton([FakeModel("a")]) as server,
        dashboard(FakeBackend(service("s", server)), work=tmp_path, size=(200, 50)) as shown,
    ):
        await shown.sees("ready")
        assert "stop" not in shown.hints
        for key, what in (("S", "start"), ("X", "stop"), ("s", "scale"), ("T", "traffic"), ("ctrl+d", "delete")):
            await shown.press(key)
            await shown.until(lambda what=what: f"a backend of kind fake has no {what}" in shown.notice)  # type: ignore[misc]


async def test_read_only_binds_none_of_them(tmp_path: Path) -> None:
    async with (
        FakeTriton([FakeModel("a")]) as server,
        dashboard(Able(service("s", server)), work=tmp_path, size=(200, 50), read_only=True) as shown,
    ):
        await shown.sees("ready")
        for key in ("S", "X", "s", "T", "r", "m", "ctrl+d"):
            await shown.press(key)
            assert "Asked" not in shown.text
            assert ":" not in shown.notice
        assert "stop" not in shown.hints
