"""The way through the screens by keys alone: services, filter, sort, commands, help, rebinding, read-only."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from textual import events

from tests.fakes import RUNNING, FakeBackend, FakeModel, FakeTriton, service
from tests.tui.pilot import Dashboard, dashboard
from tritonctl.inventory import Level, Platform
from tritonctl.server.address import ServerAddress
from tui import keys
from tui.widgets.sheet import Sheet

NOBODY = ServerAddress("http://127.0.0.1:9")
BROKEN = "Internal: ModuleNotFoundError: No module named 'shapely'\n\nAt:\n  model.py(5): <module>"


@asynccontextmanager
async def fleet_of_four(
    work: Path, *, read_only: bool = False, keymap: dict[str, str] | None = None, size: tuple[int, int] = (120, 34)
) -> AsyncIterator[Dashboard]:
    """fine (ready), half (one model failed), gone (exited), parked (stopped on purpose)."""
    async with (
        FakeTriton([FakeModel("m", successes_per_scrape=1)]) as fine,
        FakeTriton([FakeModel("ok"), FakeModel("layout", "1", "UNAVAILABLE", BROKEN)]) as half,
    ):
        backend = FakeBackend(
            service("fine", fine),
            service("half", half),
            service("gone", platform=Platform("exited 1", Level.FAILED, "out of memory")),
            service("parked", platform=Platform("stopped", Level.OFF)),
        )
        async with dashboard(backend, work=work, read_only=read_only, keymap=keymap, size=size) as shown:
            await shown.until(lambda: "ready ≠" in shown.line("fake/half") and "ready" in shown.line("fake/fine"))
            yield shown


def order(shown: Dashboard) -> list[str]:
    return [word.removeprefix("fake/") for line in shown.lines for word in line.split() if word.startswith("fake/")]


async def test_the_worst_is_on_top_and_tells_why(tmp_path: Path) -> None:
    async with fleet_of_four(tmp_path) as shown:
        assert order(shown)[:4] == ["gone", "half", "fine", "parked"]
        assert [shown.line(f"fake/{name}")[1] for name in ("gone", "half", "fine", "parked")] == ["✖", "▲", "●", "○"]
        assert "out of memory" in shown.cursor
        assert "out of memory" in shown.notice
        assert "1 failed" in shown.lines[0]
        assert "1 degraded" in shown.lines[0]
        await shown.press("down")
        assert "No module named 'shapely'" in shown.notice


async def test_from_the_row_to_the_reason_and_back(tmp_path: Path) -> None:
    async with fleet_of_four(tmp_path) as shown:
        await shown.press("down", "enter")
        await shown.sees("[1 Models]", "layout")
        assert "layout" in shown.cursor
        assert "No module named 'shapely'" in shown.notice
        await shown.press("enter")
        await shown.sees("it failed to load; the server says:", "At:", "model.py(5)")
        await shown.press("escape")
        await shown.sees("[1 Models]")
        assert "layout" in shown.cursor
        await shown.press("down", "escape")
        await shown.sees("SERVICE")
        assert "fake/half" in shown.cursor
        await shown.press("escape", "escape")
        await shown.sees("SERVICE")
        await shown.press("up")
        assert "fake/gone" in shown.cursor, "the table has lost the focus"


async def test_tabs_by_number_and_by_tab(tmp_path: Path) -> None:
    async with fleet_of_four(tmp_path) as shown:
        await shown.press("down", "enter")
        for key, tab in (("2", "[2 Replicas]"), ("3", "[3 Metrics]"), ("4", "[4 Logs]"), ("tab", "[5 Events]")):
            await shown.press(key)
            await shown.sees(tab)
        await shown.sees("half started")
        await shown.press("tab")
        await shown.sees("[6 Triage]")
        await shown.press("tab")
        await shown.sees("[7 Describe]", "fake place")
        await shown.press("tab")
        await shown.sees("[1 Models]", "layout")
        await shown.press("shift+tab", "l")
        await shown.sees("[4 Logs]", "the log's first line")


async def test_a_request_to_a_service_of_several_models_says_to_choose_one(tmp_path: Path) -> None:
    async with (
        FakeTriton([FakeModel("a"), FakeModel("b")]) as server,
        dashboard(FakeBackend(service("two", server)), work=tmp_path) as shown,
    ):
        await shown.sees("2/2")
        await shown.press("i")
        await shown.sees("[1 Models]", "choose a model, then i")
        await shown.press("i")
        await shown.sees("[5 Test request]")


async def test_a_replica_shows_its_own_three_layers(tmp_path: Path) -> None:
    async with fleet_of_four(tmp_path) as shown:
        await shown.press("down", "enter", "2")
        await shown.sees("▲ r1", "ready ≠", "1/2", "layout: ModuleNotFound")
        assert "No module named 'shapely'" in shown.notice


async def test_a_models_note_stands_whole_below_a_narrow_table(tmp_path: Path) -> None:
    """Which replicas lack a model is no reason of its server's, and NOTE is cut or gone at 80 columns."""
    async with (
        FakeTriton([FakeModel("summarize")]) as one,
        FakeTriton([FakeModel("other")]) as two,
    ):
        backend = FakeBackend(service("pair", one, two))
        async with dashboard(backend, work=tmp_path, size=(80, 24)) as shown:
            await shown.until(lambda: "ready" in shown.line("fake/pair"))
            await shown.press("enter", "/", *"summarize", "enter")
            await shown.until(lambda: "summarize   r1 serves it, the others not" in shown.notice)


async def test_filter(tmp_path: Path) -> None:
    async with fleet_of_four(tmp_path) as shown:
        for typed, left in (
            ("half|fine", ["half", "fine"]),
            ("!half", ["gone", "fine", "parked"]),
            ("stopped", ["parked"]),
            ("(", []),
        ):
            await shown.filter(typed)
            await shown.until(lambda left=left: order(shown)[: len(left)] == left)  # type: ignore[misc]
            assert f"/{typed}: {len(left)} of 4 shown" in shown.lines[0]
            await shown.press("escape")
            await shown.until(lambda: len(order(shown)) >= 4)
        await shown.press("slash")
        await shown.type("park")
        await shown.sees("1 of 4 shown")  # as it is typed
        await shown.press("escape")
        await shown.loses("of 4 shown")
        await shown.filter("nothing like it")
        await shown.sees("no service matches nothing like it", "esc takes the filter away")
        await shown.press("escape")
        await shown.sees("fake/gone")


async def test_filter_of_models_is_shown_and_taken_away_before_going_back(tmp_path: Path) -> None:
    async with fleet_of_four(tmp_path) as shown:
        await shown.press("down", "enter")
        await shown.sees("layout")
        await shown.filter("lay")
        await shown.loses("ok ")
        assert "/lay" in shown.lines[0]
        await shown.press("escape")
        await shown.sees("[1 Models]", "ok ")
        assert "/lay" not in shown.lines[0]
        await shown.press("escape")
        await shown.sees("SERVICE")


async def test_faults_only(tmp_path: Path) -> None:
    async with fleet_of_four(tmp_path) as shown:
        await shown.press("ctrl+z")
        await shown.sees("faults: 2 of 4 shown")
        assert order(shown)[:2] == ["gone", "half"]
        assert "fake/fine" not in shown.text
        await shown.press("ctrl+z")
        await shown.sees("fake/fine")


async def test_sort(tmp_path: Path) -> None:
    async with fleet_of_four(tmp_path) as shown:
        await shown.press("greater_than_sign")
        await shown.sees("SERVICE↑")
        assert order(shown)[:4] == ["fine", "gone", "half", "parked"]
        await shown.press("I")
        await shown.sees("SERVICE↓")
        assert order(shown)[:4] == ["parked", "half", "gone", "fine"]
        await shown.press(*["greater_than_sign"] * 4, "I")
        await shown.until(lambda: order(shown)[0] == "fine", "the only one with a rate on top")


async def test_commands(tmp_path: Path) -> None:
    async with fleet_of_four(tmp_path) as shown:
        await shown.command("fake/half")
        await shown.sees("[1 Models]", "layout")
        await shown.command("logs parked")
        await shown.sees("fake/parked", "[4 Logs]")
        await shown.command("services")
        await shown.sees("SERVICE")
        for typed, words in (
            ("nonsense", "there is no command or service 'nonsense'"),
            ("service nobody", "there is no such service"),
            ("theme ugly", "no theme 'ugly'"),
            ("load", "it needs more"),
            ("load nobody layout", "there is no such service"),
            ("restart nobody", "there is no such service"),
            ("load half layout more", "it takes no more: more  → :load [NAME] MODEL"),
            ("model half layout more", "it takes no more: more"),
            ("logs half more", "it takes no more: more"),
            ("half more", "it takes no more: more"),
            ("services more", "it takes no more: more"),
            ("load '", "No closing quotation"),
        ):
            await shown.command(typed.replace("'", "\x27")) if "'" not in typed else await quoted(shown, typed)
            await shown.until(lambda words=words: words in shown.notice, words)  # type: ignore[misc]
        await shown.command("q")
        assert shown.app.return_value == 0


async def test_the_service_of_a_command_may_be_named(tmp_path: Path) -> None:
    """Also where the cursor is on another row."""
    async with fleet_of_four(tmp_path) as shown:
        await shown.press("end")
        await shown.command("load half layout")
        await shown.sees("Load layout on fake/half")
        await shown.press("escape")
        await shown.command("model fake/half layout")
        await shown.sees("fake/half", "[1 Schema]")


@pytest.mark.parametrize("typed", ["logs", "events", "start", "stop", "restart", "scale", "delete", "mode", "load"])
async def test_a_commands_service_is_completed(tmp_path: Path, typed: str) -> None:
    async with fleet_of_four(tmp_path) as shown:
        complete = shown.app._complete
        assert complete(f"{typed} fake/h") == [f"{typed} fake/half"]
        if typed == "mode":
            assert complete("mode fake/half p") == ["mode fake/half poll"]
        elif typed == "load":
            await shown.until(lambda: complete("load fake/half lay") == ["load fake/half layout"])
            assert complete("load fake/fine lay") == []
        else:
            assert complete(f"{typed} fake/half fake") == [], "it takes one"


async def quoted(shown: Dashboard, text: str) -> None:
    await shown.press("colon")
    await shown.type(text.rstrip("'"))
    await shown.press("apostrophe", "enter")


async def test_what_is_typed_in_one_burst_with_the_colon_is_the_commands(tmp_path: Path) -> None:
    async with fleet_of_four(tmp_path) as shown:
        for key, character in (("colon", ":"), *((letter, letter) for letter in "all")):
            shown.app.post_message(events.Key(key, character))
        await shown.until(lambda: ":all" in shown.notice)
        assert "fake/fine" in shown.text  # `l` has not opened a log
        for key in ("escape", "slash", "f", "i", "n", "enter"):
            shown.app.post_message(events.Key(key, {"slash": "/", "escape": None, "enter": "\r"}.get(key, key)))
        await shown.loses("fake/half")
        await shown.sees("fake/fine")
        letters = "0123456789abcdefghijklmnopqrstuvwxyz" * 3
        for key in ("escape", "slash", *letters):
            shown.app.post_message(events.Key(key, {"slash": "/", "escape": None}.get(key, key)))
            await asyncio.sleep(0)  # so that some have left for the table when the prompt opens, and some have not
        await shown.until(lambda: len(shown.notice.strip()) > len(letters))
        assert letters in shown.notice  # in the order in which they came


async def test_completion_and_history(tmp_path: Path) -> None:
    async with fleet_of_four(tmp_path) as shown:
        await shown.press("down", "enter")
        await shown.sees("layout")
        await shown.press("colon")
        await shown.type("desc")
        await shown.press("tab")
        assert shown.notice.strip() == ":describe"
        await shown.press("ctrl+u")
        await shown.type("model la")
        await shown.press("tab")
        assert shown.notice.strip() == ":model layout"
        await shown.press("enter")
        await shown.sees("[1 Schema]")
        await shown.press("escape", "colon")
        await shown.press("up")
        assert shown.notice.strip() == ":model layout"
        await shown.press("ctrl+c")
        assert ":model" not in shown.notice
        assert shown.app.return_value is None


@pytest.mark.parametrize("key", ["q", "ctrl+c", "ctrl+q"])
async def test_keys_that_leave(tmp_path: Path, key: str) -> None:
    async with fleet_of_four(tmp_path) as shown:
        await shown.press(key)
        assert shown.app.return_value == 0 or key == "ctrl+q"
        assert shown.app._exit


async def test_help_shows_every_key_of_the_screen_it_was_asked_on(tmp_path: Path) -> None:
    async with fleet_of_four(tmp_path, size=(120, 60)) as shown:
        for group in ("services", "a service"):
            await shown.press("question_mark")
            await shown.sees("tritonctl   keys")
            assert shown.lines[1].strip() == group
            below = shown.lines[2:-2]
            for action in keys.GROUPS[group]:
                for key in action.keys.split(","):
                    line = next((line for line in below if action.help in line), "")
                    assert keys.shown(key) in line, action
            await shown.press("escape")
            await shown.loses("tritonctl   keys")
            await shown.command("service half")
            await shown.sees("[1 Models]")


@pytest.mark.parametrize("tab", ["models", "logs", "request"])
async def test_every_hint_is_a_key_that_is_bound(tmp_path: Path, tab: str) -> None:
    async with fleet_of_four(tmp_path, size=(220, 40)) as shown:
        await shown.command("service half" if tab == "models" else "logs half")
        await shown.sees("[1 Models]" if tab == "models" else "[4 Logs]")
        if tab == "request":
            await shown.press("1", "end", "i")
            await shown.sees("[5 Test request]")
        bound = {keys.shown(key) for key in shown.app.screen.active_bindings}
        hinted = [hint.split()[0] for hint in shown.hints.split("   ") if hint.strip()]
        assert hinted[-1] == "?"
        assert len(hinted) > 5
        assert set(hinted) <= bound


async def test_a_key_of_the_settings_works_and_is_shown(tmp_path: Path) -> None:
    keymap = keys.keymap("k9s", {"services.filter": "f", "service.load": "ctrl+l", "move.down": "n"})
    async with fleet_of_four(tmp_path, keymap=keymap) as shown:
        assert "f filter" in shown.hints
        await shown.press("slash")
        assert shown.notice.strip() != "/"
        await shown.press("n")
        assert "fake/half" in shown.cursor
        await shown.press("f")
        await shown.type("fine")
        await shown.press("enter")
        await shown.sees("1 of 4 shown")
        await shown.press("enter")
        await shown.sees("[1 Models]")
        assert "ctrl-l load" in shown.hints
        await shown.press("L")
        assert "[ Cancel ]" not in shown.text
        await shown.press("ctrl+l")
        await shown.sees("[ Cancel ]")


async def test_vim_preset(tmp_path: Path) -> None:
    async with fleet_of_four(tmp_path, keymap=keys.keymap("vim", {})) as shown:
        await shown.press("j", "l")
        await shown.sees("[1 Models]", "layout")
        await shown.press("h")
        await shown.sees("SERVICE")
        await shown.press("o")
        await shown.sees("[4 Logs]")


async def test_read_only_binds_no_change_and_shows_none(tmp_path: Path) -> None:
    writes = {action.action for group in keys.GROUPS.values() for action in group if action.writes}
    async with fleet_of_four(tmp_path, read_only=True, size=(160, 60)) as shown:
        for step in ((), ("down", "enter"), ("enter",)):
            await shown.press(*step)
            bound = {each.binding.action for each in shown.app.screen.active_bindings.values()}
            assert not bound & writes
            assert "read-only" in shown.lines[0]
            assert not [word for word in ("L load", "U unload", "m mode", "restart", "delete") if word in shown.hints]
            await shown.press("L", "U")
            assert "[ Cancel ]" not in shown.text
        await shown.press("question_mark")
        await shown.sees("tritonctl   keys")
        assert "unload" not in shown.text.partition("signs")[0]
        await shown.press("escape")
        await shown.command("load layout")
        await shown.until(lambda: "read-only" in shown.notice)
        assert "[ Cancel ]" not in shown.text


async def test_a_read_only_backend_changes_nothing_beside_one_that_may(tmp_path: Path) -> None:
    async with FakeTriton([FakeModel("m")]) as server:
        fixed = FakeBackend(service("s", server, backend="fixed"), name="fixed", read_only=True)
        free = FakeBackend(service("s", server, backend="free"), name="free")
        async with dashboard(fixed, free, work=tmp_path) as shown:
            await shown.until(lambda: "1/1" in shown.line("fixed/s") and "1/1" in shown.line("free/s"))
            await shown.command("fixed/s")
            await shown.sees("[1 Models]", "read-only")
            await shown.press("L")
            await shown.command("load m")
            await shown.until(lambda: "read-only" in shown.notice)
            await shown.command("free/s")
            await shown.sees("L load")
            await shown.press("L")
            await shown.sees("[ Cancel ]")
            assert not server.changes()


async def test_nothing_found_says_where_it_was_looked_for(tmp_path: Path) -> None:
    async with dashboard(FakeBackend(name="here"), work=tmp_path) as shown:
        await shown.sees("No Triton service found.", "here  nothing there", "tritonctl demo")


async def test_a_server_without_an_address_says_why(tmp_path: Path) -> None:
    lonely = service("lonely", no_address="no port is published: run with -p 8000:8000", platform=RUNNING)
    async with dashboard(FakeBackend(lonely), work=tmp_path) as shown:
        await shown.sees("no port is published")
        await shown.press("enter")
        await shown.sees("no port is published", "[1 Models]")
        await shown.press("i")
        await shown.until(lambda: "put the cursor on a model" in shown.notice)


async def test_pages_do_not_pile_up(tmp_path: Path) -> None:
    async with fleet_of_four(tmp_path) as shown:
        for _ in range(3):
            await shown.command("logs fake/half")
            await shown.sees("the log's first line")
            await shown.command("model layout")
            await shown.sees("[1 Schema]")
            await shown.command("infer ok")
            await shown.until(lambda: "ok" in shown.lines[0] and "layout" not in shown.lines[0])
            assert len(shown.app.screen_stack) == 3
            await shown.command("events")  # of the service whose model is shown: its page is there already
            await shown.sees("half started")
            await shown.command("describe fake/fine")
            await shown.sees("server of r1")
            assert len(shown.app.screen_stack) == 2
        await shown.command("help")
        await shown.command("metrics fake/fine")
        await shown.sees("[3 Metrics]")
        assert len(shown.app.screen_stack) == 2
        await shown.press("escape")
        await shown.sees("fake/parked")
        assert len(shown.app.screen_stack) == 1


async def test_a_word_is_found_in_a_description(tmp_path: Path) -> None:
    async with fleet_of_four(tmp_path, size=(80, 14)) as shown:
        await shown.press("end", "d")
        await shown.sees("[7 Describe]", "fake place")
        sheet = shown.app.screen.query_one("#describe-sheet", Sheet)
        await shown.filter("FAKE PLACE")
        await shown.until(lambda: "/FAKE PLACE" in shown.lines[0])
        assert any(style == "match" for line in sheet.frame(80, sheet.size.height) for _, style in line)
        await shown.press("escape")
        await shown.until(lambda: "/FAKE PLACE" not in shown.lines[0])
        assert not any(style == "match" for line in sheet.frame(80, sheet.size.height) for _, style in line)
