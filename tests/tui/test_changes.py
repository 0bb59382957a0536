"""A change by keys alone: the plan is shown, Cancel has the focus, the end is told, and nothing happens by mistake."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.fakes import FakeBackend, FakeModel, FakeTriton, service
from tests.tui.pilot import Dashboard, dashboard
from tritonctl.backend import Capability, Intent
from tritonctl.plan import Plan, Step


@asynccontextmanager
async def one_service(work: Path, *models: FakeModel) -> AsyncIterator[tuple[Dashboard, FakeTriton]]:
    """The page of a service that has these models."""
    async with (
        FakeTriton(list(models)) as server,
        dashboard(FakeBackend(service("s", server)), work=work) as shown,
    ):
        await shown.sees("ready")
        await shown.press("enter")
        await shown.sees("[1 Models]", models[0].name)
        yield shown, server


async def test_load_by_keys(tmp_path: Path) -> None:
    async with one_service(tmp_path, FakeModel("echo", None, "")) as (shown, server):
        await shown.press("L")
        await shown.sees(
            "Load echo on fake/s",
            f"curl -X POST http://127.0.0.1:{server.port}/v2/repository/models/echo/load",
            "the whole server may report not ready",
            "undo  curl -X POST",
            "▌[ Cancel ]",
        )
        assert not server.changes()
        await shown.press("tab")
        await shown.sees("▌[ Do it ]")
        await shown.press("enter")
        await shown.sees("loaded", "[ Close ]", "done in")
        assert server.changes() == ["POST /v2/repository/models/echo/load"]
        await shown.press("escape")
        await shown.loses("[ Close ]")
        await shown.until(lambda: "ready" in shown.line("echo"))
    record = json.loads((tmp_path / "audit.jsonl").read_text())
    assert (record["action"], record["result"], record["service"]) == ("load", "done", "fake/s")


async def test_enter_on_cancel_and_escape_do_nothing(tmp_path: Path) -> None:
    async with one_service(tmp_path, FakeModel("echo", None, "")) as (shown, server):
        for key in ("enter", "escape"):
            await shown.press("L")
            await shown.sees("▌[ Cancel ]")
            await shown.press(key)
            await shown.loses("[ Cancel ]")
            assert shown.app.focused is shown.app.screen.query_one("Table#models")
        await asyncio.sleep(0.1)
        assert not server.changes()


async def test_no_letter_does_anything_while_a_plan_is_asked_about(tmp_path: Path) -> None:
    async with one_service(tmp_path, FakeModel("echo", None, "")) as (shown, server):
        await shown.press("L")
        await shown.sees("▌[ Cancel ]")
        for key in ("d", "i", "l", "L", "U", "y", "2", "slash", "colon", "question_mark", "space"):
            await shown.press(key)
            assert "[1 Models]" in shown.text, key
            assert "▌[ Cancel ]" in shown.text, key
        assert not server.changes()


async def test_the_next_plan_is_shown_and_not_the_one_before(tmp_path: Path) -> None:
    async with one_service(tmp_path, FakeModel("first", None, ""), FakeModel("second", None, "")) as (shown, _):
        for model in ("first", "second", "first"):
            await shown.press("home" if model == "first" else "end", "L")
            await shown.sees(f"Load {model} on fake/s", f"models/{model}/load")
            assert shown.text.count("curl") == 2
            await shown.press("escape")
            await shown.loses("curl")


async def test_the_cursor_stays_on_a_model_whose_version_becomes_known(tmp_path: Path) -> None:
    """Else the next key would change another model than the one just loaded."""
    models = (FakeModel("echo", None, ""), FakeModel("pitch", None, ""))
    async with one_service(tmp_path, *models) as (shown, server):
        assert "echo" in shown.cursor
        await shown.press("L")
        await shown.sees("[ Cancel ]")
        await shown.press("tab", "enter")
        await shown.sees("[ Close ]")
        await shown.press("escape")
        await shown.until(lambda: "ready" in shown.line("echo"))
        assert "echo" in shown.cursor
        server.models[0].state, server.models[0].version = "", None
        await shown.until(lambda: "not loaded" in shown.line("echo"))
        assert "echo" in shown.cursor


async def test_a_load_that_fails_shows_the_servers_own_reason(tmp_path: Path) -> None:
    model = FakeModel("layout", None, "", load="Internal: ModuleNotFoundError: No module named 'shapely'")
    async with one_service(tmp_path, model) as (shown, _):
        await shown.press("L")
        await shown.sees("[ Cancel ]")
        await shown.press("tab", "enter")
        await shown.sees(
            "✖", "UNAVAILABLE state: Internal: ModuleNotFoundError", "'shapely'", "failed after", "[ Close ]"
        )
        await shown.press("escape")
        await shown.until(lambda: "✖" in shown.line("layout"))
        assert "No module named 'shapely'" in shown.notice


async def test_a_slow_load_can_be_left_and_its_end_is_told(tmp_path: Path) -> None:
    async with one_service(tmp_path, FakeModel("pitch", None, "", load_s=6)) as (shown, _):
        await shown.press("L")
        await shown.sees("[ Cancel ]")
        await shown.press("tab", "enter")
        await shown.sees("◐", "[ Leave it running ]")
        await shown.press("escape")
        await shown.loses("[ Leave it running ]")
        assert "Load pitch on fake/s" in shown.lines[0]
        await shown.press("U")
        await shown.sees("a change is at work already")
        await shown.until(lambda: re.search(r"done in (6|7|8|9|1\d)", shown.notice))
        assert "Load pitch" not in shown.lines[0]
        await asyncio.sleep(1.0)
        assert "done in " in shown.notice, "the word goes before anybody has read it"


async def test_the_end_is_told_on_another_screen(tmp_path: Path) -> None:
    async with one_service(tmp_path, FakeModel("pitch", None, "", load="no such weights", load_s=4)) as (shown, _):
        await shown.press("L")
        await shown.sees("[ Cancel ]")
        await shown.press("tab", "enter")
        await shown.sees("[ Leave it running ]")
        await shown.press("escape", "escape")
        await shown.sees("SERVICE")
        await shown.until(lambda: "✖" in shown.notice and "Load pitch" in shown.notice)
        assert "no such weights" in shown.notice


async def test_quit_asks_once_while_a_change_runs(tmp_path: Path) -> None:
    for way in ("q", "ctrl+c", ":q"):
        async with one_service(tmp_path, FakeModel("pitch", None, "", load_s=30)) as (shown, _):
            await shown.press("L")
            await shown.sees("[ Cancel ]")
            await shown.press("tab", "enter")
            await shown.sees("[ Leave it running ]")
            await shown.press("escape")
            for _ in range(2):
                assert shown.app.return_value is None
                if way == ":q":
                    await shown.command("q")
                else:
                    await shown.press(way)
                if shown.app.return_value is None:
                    await shown.sees("leaves it to the server")
            assert shown.app.return_value == 0


async def test_who_goes_on_after_the_warning_is_warned_again(tmp_path: Path) -> None:
    async with one_service(tmp_path, FakeModel("pitch", None, "", load_s=30)) as (shown, _):
        await shown.press("L")
        await shown.sees("[ Cancel ]")
        await shown.press("tab", "enter")
        await shown.sees("[ Leave it running ]")
        await shown.press("escape")
        await shown.press("q")
        await shown.sees("leaves it to the server")
        await shown.press("escape")
        await shown.press("q")
        await shown.sees("leaves it to the server")
        assert shown.app.return_value is None
        shown.app._warned_at -= 60  # a minute later it is no longer the same thought
        await shown.press("q")
        await shown.sees("leaves it to the server")
        assert shown.app.return_value is None
        await shown.press("q")
        assert shown.app.return_value == 0


class SwitchingForEver(FakeBackend):
    """Its restart hangs at the second step."""

    capabilities = FakeBackend.capabilities | {Capability.RESTART}

    async def plan(self, intent: Intent) -> Plan:
        async def done() -> str:
            return ""

        async def hangs() -> str:
            await asyncio.Event().wait()
            return ""

        steps = (Step("make new", done, undo_call="remove new"), Step("stop old", hangs, undo_call="start old"))
        return Plan("restart", intent.service.id, "Restart s", steps)


async def test_quit_says_that_a_change_of_several_steps_would_be_left_half_done(tmp_path: Path) -> None:
    async with FakeTriton([FakeModel("a")]) as server:
        place = SwitchingForEver(service("s", server))
        async with dashboard(place, work=tmp_path, size=(100, 24)) as shown:
            await shown.sees("ready")
            await shown.command("restart")
            await shown.sees("[ Cancel ]")
            await shown.press("tab", "enter")
            await shown.sees("[ Leave it running ]")
            await shown.press("escape", "q")
            await shown.sees("a change is at work and would be left half done; q again leaves it so")
            await shown.press("q")
            assert shown.app.return_value == 0
            lines = await shown.app.end_changes()
            assert lines[0] == "interrupted at step 2 of 2: stop old"
            assert lines[-2:] == ("  start old", "  remove new")


async def test_what_carries_traffic_under_an_ensemble_is_typed_by_name(tmp_path: Path) -> None:
    models = (
        FakeModel("digits", successes_per_scrape=5),
        FakeModel("digits_report", successes_per_scrape=2, steps=("digits",)),
    )
    async with one_service(tmp_path, *models) as (shown, server):
        await shown.until(lambda: "4 ms" in shown.line("digits"))
        assert "digits " in shown.cursor
        await shown.press("U")
        await shown.sees("digits_report (ensemble) needs it", "type digits to confirm")
        await shown.press("tab", "enter")
        await shown.sees("not the name")
        await shown.type("digit")
        await shown.press("enter")
        assert not server.changes()
        await shown.sees("not the name")
        await shown.type("s")
        await shown.press("enter")
        await shown.sees("unloaded", "[ Close ]")
        assert server.changes() == ["POST /v2/repository/models/digits/unload"]


async def test_a_plan_is_not_shown_where_nobody_asked_for_it(tmp_path: Path) -> None:
    """Making it takes the server's answers; the person may be elsewhere by then."""
    async with one_service(tmp_path, FakeModel("a"), FakeModel("b")) as (shown, server):
        server.hangs = True
        await shown.press("U")
        await shown.sees("making the plan")
        await shown.press("escape")
        await shown.sees("SERVICE")
        server.hangs = False
        await asyncio.sleep(0.5)
        assert "[ Cancel ]" not in shown.text


async def test_a_mode_that_refuses_says_so_and_opens_nothing(tmp_path: Path) -> None:
    async with (
        FakeTriton([FakeModel("a")], explicit=False) as server,
        dashboard(FakeBackend(service("s", server)), work=tmp_path) as shown,
    ):
        await shown.sees("ready")
        await shown.press("enter")
        await shown.sees("none or poll")
        await shown.press("L")
        await shown.until(lambda: "control mode none or poll" in shown.notice)
        assert "[ Cancel ]" not in shown.text
        assert not server.changes()
