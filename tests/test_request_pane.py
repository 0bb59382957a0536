"""The test request on a model's page, on a real server: the form, what is wrong with it, and what is sent."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from textual.pilot import Pilot

from backends.urls import UrlsBackend
from tests.inference_models import write_repository
from tests.servers import Factory, Running
from tritonctl.fleet import Fleet
from tritonctl.plan import AuditLog
from tritonctl.settings_servers import ServerSettings
from tui.app import TritonctlApp
from tui.messages import OpenModel
from tui.panes.request import RequestPane
from tui.panes.request.load_line import LoadLine, parse_load
from tui.panes.request.paths import complete_path
from tui.screens.model import ModelScreen

DEADLINE_S = 15.0


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("TEXTUAL_ANIMATIONS", "none")
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def triton(triton_factory: Factory, tmp_path_factory: pytest.TempPathFactory) -> Running:
    work = tmp_path_factory.mktemp("triton")
    write_repository(work / "repository")
    return triton_factory(work / "repository", control_mode="none")


class Page:
    """A model's page in a terminal of 110 × 36."""

    def __init__(self, app: TritonctlApp, pilot: Pilot[int]) -> None:
        self.app = app
        self.pilot = pilot

    def text(self) -> str:
        return "\n".join(strip.text.rstrip() for strip in self.app.screen._compositor.render_strips())

    async def until(self, there: Callable[[str], bool] | str) -> str:
        """The screen once it shows that."""
        end = time.monotonic() + DEADLINE_S
        while time.monotonic() < end:
            await self.pilot.pause()
            text = self.text()
            if (there in text) if isinstance(there, str) else there(text):
                return text
            await asyncio.sleep(0.03)
        raise AssertionError(f"not shown: {there}\n{self.text()}")

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)

    async def type(self, text: str) -> None:
        """Into the open prompt, in place of what is there."""
        await self.pilot.press("ctrl+e", "ctrl+u")
        for character in text:
            await self.pilot.press("space" if character == " " else character)
        await self.pilot.press("enter")

    async def field(self, name: str, text: str) -> None:
        """Put the cursor on a field and fill it in."""
        pane = self.app.screen.query_one(RequestPane)
        pane.query_one("#fields").move_to(name)  # type: ignore[attr-defined]
        await self.press("enter")
        await self.type(text)


@asynccontextmanager
async def page(running: Running, model: str) -> AsyncIterator[Page]:
    backend = UrlsBackend("u", [ServerSettings("t", "here", running.address)])
    async with Fleet([backend], probing=False) as fleet:
        app = TritonctlApp(fleet, AuditLog(Path("audit")), theme="textual-dark")
        async with app.run_test(size=(110, 36)) as pilot:
            one = Page(app, pilot)
            await one.until("ready")
            app.post_message(OpenModel("u/t", model, "request"))
            await one.until("[ Send ]")
            yield one


async def test_enter_sends_at_once_what_is_made_up(triton: Running) -> None:
    async with page(triton, "sum") as one:
        text = await one.until("random, seed 0")
        assert "A" in text
        assert "FP32 [-1, 4]" in text
        await one.press("enter")
        text = await one.until("answered by")
        assert "version 1 over grpc" in text
        assert "queue" in text
        assert "top 4" in text
        await one.press("z", "s")
        await one.until("0 ant 0")
        await one.press("z", "s")
        await one.until("0 ant 2")


async def test_what_is_wrong_stands_beside_its_field_and_nothing_is_sent(triton: Running) -> None:
    async with page(triton, "sum") as one:
        await one.field("input A", "[1,2,3]")
        await one.until("✖ expected the shape [-1,4]")
        await one.press("s")
        await one.until("nothing was sent")
        await one.field("input A", "[1,2,3,4]")
        await one.until(lambda text: "✖" not in text.split("answer")[0])
        await one.field("input B", "[1,1,1,1]")
        await one.press("s")
        await one.until("3 dog 5")


async def test_a_batch_that_is_too_large_stands_beside_its_field_and_nothing_is_sent(triton: Running) -> None:
    async with page(triton, "sum") as one:
        await one.field("batch", "17")
        text = await one.until("✖ a batch of 17, and the model takes at most 4")
        assert text.count("✖") == 1, text  # beside the batch, not beside each input
        await one.press("s")
        await one.until("nothing was sent")
        await one.field("batch", "2")
        await one.until(lambda text: "✖" not in text.split("answer")[0])
        await one.press("s")
        await one.until("answered by")


async def test_what_is_compared_with_and_is_not_there_stands_beside_its_field(triton: Running) -> None:
    async with page(triton, "sum") as one:
        await one.field("against", "u/nobody")
        await one.until(lambda text: any("compare with" in line and "✖" in line for line in text.splitlines()))
        await one.field("against", "")
        await one.until(lambda text: "✖" not in text)


async def test_an_error_without_room_beside_its_field_is_told_in_full_below(triton: Running) -> None:
    async with pair(triton, triton, "sum", size=(80, 24)) as one:
        await one.field("input A", "[1,2,3,4,5,6,7,8,9]")
        text = await one.until("expected the shape [-1,4], got [9]")
        assert any(line.startswith("▌A") and line.rstrip().endswith("…") for line in text.splitlines()), text


async def test_an_image_is_read_and_a_mask_is_drawn(triton: Running) -> None:
    Image.fromarray(np.full((40, 40), 200, np.uint8)).save("gray.png")
    async with page(triton, "echo") as one:
        await one.field("input IN_UINT8", "@gray.png")
        await one.press("s")
        await one.until("OUT_UINT8")
        await one.until("▀▀▀▀▀▀▀▀")


async def test_a_stream_comes_as_it_comes_and_escape_stops_the_servers_work(triton: Running) -> None:
    async with page(triton, "tokens") as one:
        await one.field("input N", "600")
        await one.press("s")
        await one.until("token 3")
        await one.press("escape")
        text = await one.until("stopped")
        assert isinstance(one.app.screen, ModelScreen)
        assert "first after" in text
        await one.field("input N", "1")
        began = time.monotonic()
        await one.press("s")
        await one.until("total")
        assert time.monotonic() - began < 15  # the one instance is free again: 600 tokens take thirty seconds
        await one.press("escape")
        await one.until("SERVICE")


async def test_a_load_shows_its_curve_and_escape_ends_it(triton: Running) -> None:
    async with page(triton, "sum") as one:
        await one.field("load", "concurrency=2 duration=60")
        await one.press("s")
        await one.until("running; esc stops it")
        text = await one.until("latency p99")
        assert "requests/s" in text
        await one.press("escape")
        await one.until(lambda text: "running" not in text and "answered" in text)
        await one.field("load", "rate=x")
        await one.until("is not understood")


async def test_a_load_on_a_model_with_others_traffic_asks_first(triton_factory: Factory) -> None:
    running = triton_factory.demo(traffic=True)
    async with page(running, "digits") as one:
        await one.field("load", "concurrency=2 duration=2")
        for _ in range(5):  # the traffic is uneven: a second without a request may come
            await one.press("s")
            text = await one.until(lambda text: "answering others" in text or "running; esc" in text)
            if "answering others" in text:
                break
            await one.until(lambda text: "answered" in text and "running" not in text)
        assert "send it all the same?" in text
        await one.type("no")
        await one.until(lambda text: "send it all the same?" not in text)
        assert "nothing was sent" in one.text()
        await one.press("s")
        await one.until(lambda text: "send it all the same?" in text or "running" in text)
        if "running" not in one.text():
            await one.type("yes")
        await one.until(lambda text: "answered" in text and "running" not in text)


async def test_what_was_sent_comes_back(triton: Running) -> None:
    async with page(triton, "sum") as one:
        await one.field("input A", "[1,1,1,1]")
        await one.field("parameters", "priority=1")
        await one.press("s")
        await one.until("answered by")
    async with page(triton, "sum") as one:
        await one.press("left_square_bracket")
        text = await one.until("[1,1,1,1]")
        assert "priority=1" in text


async def test_answers_and_cases_are_kept(triton: Running, tmp_path: Path) -> None:
    async with page(triton, "sum") as one:
        await one.press("s")
        await one.until("answered by")
        await one.press("ctrl+s")
        await one.type("answer.json")
        await one.until("saved")
        assert json.loads((tmp_path / "answer.json").read_text())["model"] == "sum"
        await one.press("w")
        await one.type("kept")
        await one.until("saved in kept")
        await one.press("o")
        await one.type("kept")
        await one.until("the answer is alike")
        await one.press("c")
        await one.until("copied")
        document = json.loads((tmp_path / "kept" / "case.json").read_text())
        np.save(tmp_path / "kept" / document["answers"][0][0]["file"], np.zeros((1, 4), np.float32))
        await one.press("o")
        await one.type("kept")
        await one.until("4 of 4 differ")


async def test_the_servers_words_are_shown(triton: Running) -> None:
    async with page(triton, "sum") as one:
        await one.field("input A", "[-1,0,0,0]")
        await one.press("s")
        await one.until("boom in execute")


def test_a_load_as_it_is_typed() -> None:
    assert parse_load("") == LoadLine()
    assert parse_load("10") == LoadLine(10)
    line = parse_load("concurrency=4 rate=12.5 duration=3 limit=20")
    assert line == LoadLine(1, 4, 12.5, 3.0, 20.0)
    assert parse_load(str(line)) == line
    assert LoadLine(100).modest
    assert not line.modest
    assert line.plan().duration_s == 3.0


def test_paths_are_completed(tmp_path: Path) -> None:
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside.npy").write_text("")
    assert complete_path("@ins") == ["@inside/", "@inside.npy"]
    assert complete_path(f"{tmp_path}/inside.") == [f"{tmp_path}/inside.npy"]
    assert complete_path("[1,2]") == ()


# Two sides, menus, generated text


@pytest.fixture(scope="module")
def demo(triton_factory: Factory) -> Running:
    return triton_factory.demo()


@asynccontextmanager
async def pair(left: Running, right: Running, model: str, size: tuple[int, int] = (120, 40)) -> AsyncIterator[Page]:
    """The model's page on u/t, with the other server as u/other."""
    settings = [ServerSettings("t", "here", left.address), ServerSettings("other", "here", right.address)]
    async with Fleet([UrlsBackend("u", settings)], probing=False) as fleet:
        app = TritonctlApp(fleet, AuditLog(Path("audit")), theme="textual-dark")
        async with app.run_test(size=size) as pilot:
            one = Page(app, pilot)
            await one.until(lambda text: text.count("ready") >= 2)
            app.post_message(OpenModel("u/t", model, "request"))
            await one.until("[ Send ]")
            yield one


async def test_two_versions_side_by_side(demo: Running) -> None:
    async with page(demo, "digits") as one:
        await one.press("equals_sign")
        await one.press("tab")
        await one.until("compare with = version")
        await one.type("version 1")
        await one.press("s")
        text = await one.until("│")
        assert "u/t the server's choice  |  version 1" in text
        assert "version 2 in" in text
        assert "version 1 in" in text
        assert "of 10 differ" in text
        await one.field("against", "version 2")
        await one.press("s")
        await one.until("alike")
        await one.field("against", "a b c")
        await one.until("is not understood")
        await one.field("against", "")
        await one.until("compare with")


async def test_two_services_one_under_the_other_where_it_is_narrow(demo: Running, triton: Running) -> None:
    async with pair(triton, triton, "sum", size=(80, 40)) as one:
        await one.field("against", "u/other")
        await one.press("s")
        text = await one.until("alike")
        assert "│" not in text
        assert text.count("FP32 [1,4]") == 2
    async with pair(triton, demo, "sum") as one:
        await one.field("against", "u/other")
        await one.press("s")
        text = await one.until("not both have answered")
        assert "unknown model: 'sum'" in text


async def test_a_whole_request_or_a_case_fills_the_form(triton: Running, tmp_path: Path) -> None:
    data = {"A": [[1, 2, 3, 4]], "B": [[10, 10, 10, 10]]}
    (tmp_path / "request.json").write_text(json.dumps({"data": data}))
    async with page(triton, "sum") as one:
        await one.press("f")
        await one.type("request.json")
        assert (await one.until("out of request.json")).count("out of request.json") == 2
        await one.press("s")
        await one.until("3 dog 14")
        await one.press("w")
        await one.type("kept")
        await one.until("saved in kept")
        await one.field("input A", "[0,0,0,0]")
        await one.press("s")
        await one.until("3 dog 10")
        await one.press("f")
        await one.type("absent.json")
        await one.until("cannot be read")
    async with page(triton, "sum") as one:
        await one.press("f")
        await one.type("kept")
        await one.until("out of kept")
        await one.press("s")
        await one.until("3 dog 14")


async def test_history_is_a_menu(triton: Running) -> None:
    async with page(triton, "sum") as one:
        await one.press("H")
        await one.until("nothing was sent to this model")
        for value in ("[1,1,1,1]", "[2,2,2,2]"):
            await one.field("input A", value)
            await one.press("s")
            await one.until("answered by")
        await one.field("input A", "[3,3,3,3]")
        await one.press("H")
        text = await one.until("enter takes it into the form")
        assert text.index("A=[2,2,2,2]") < text.index("A=[1,1,1,1]")
        await one.press("escape")
        assert "A=[1,1,1,1]" not in await one.until("[3,3,3,3]")
        await one.press("H", "down", "enter")
        await one.until(lambda text: "[1,1,1,1]" in text and "[3,3,3,3]" not in text)


async def test_cases_are_a_menu_sent_one_or_all_to_one_or_two_sides(triton: Running, tmp_path: Path) -> None:
    async with pair(triton, triton, "sum") as one:
        for name in ("one", "two"):
            await one.press("w")
            await one.type(f"cases/{name}")
            await one.until(f"saved in cases/{name}")
        await one.press("o")
        text = await one.until("enter sends it again")
        assert "all 2" in text
        await one.press("enter")
        await one.until("case one")
        document = json.loads((tmp_path / "cases" / "one" / "case.json").read_text())
        np.save(tmp_path / "cases" / "one" / document["answers"][0][0]["file"], np.zeros((1, 4), np.float32))
        await one.press("o")
        await one.until("all 2")
        await one.press("down", "down", "enter")
        text = await one.until("1 of 2 cases alike")
        assert "4 of 4 differ" in text
        await one.field("against", "u/other")
        await one.press("o")
        await one.until("all 2")
        await one.press("down", "down", "enter")
        await one.until("2 of 2 cases alike, compared with u/other")


async def test_text_is_generated_as_it_comes_and_escape_stops_the_servers_work(demo: Running, tmp_path: Path) -> None:
    async with page(demo, "tokens") as one:
        await one.field("input text_input", "one two three")
        pane = one.app.screen.query_one(RequestPane)
        pane.fields.move_to("way")
        await one.press("enter")
        await one.until("generate_stream: the text as it comes")
        await one.press("s")
        text = await one.until("total")
        assert "3, first after" in text
        assert "one two three" in text.split("pieces")[-1]
        (tmp_path / "long.txt").write_text("word " * 600)  # typing so much takes the pilot minutes on a busy machine
        await one.field("input text_input", "@long.txt")
        await one.press("s")
        await one.until("text as it comes; esc stops it")
        await one.press("escape")
        await one.until("stopped")
        await one.field("input text_input", "next")
        began = time.monotonic()
        await one.press("s")
        await one.until(lambda text: "total" in text and "1, first after" in text)
        assert time.monotonic() - began < 8  # the one instance is free again: 600 words take twelve seconds
        pane.fields.move_to("way")
        await one.press("enter", "s")
        await one.until(lambda text: "POST …/generate" in text and "generate_stream" not in text)


async def test_a_load_shows_the_servers_own_lines_and_its_end(triton: Running) -> None:
    async with pair(triton, triton, "sum", size=(120, 50)) as one:
        await one.field("load", "concurrency=4 duration=4")
        await one.press("s")
        text = await one.until("server's compute")
        assert "latency p90" in text
        text = await one.until(lambda text: "answered" in text and "running" not in text)
        assert "batch" in text
        assert "queue" in text
        await one.field("load", "limit=1000 duration=0.2")
        await one.press("s")
        await one.until("highest load with p99 under 1000 ms")
        await one.field("load", "rate=50 duration=1")
        await one.press("s")
        await one.until(lambda text: "answered" in text and "running" not in text)


async def test_a_load_stops_by_itself(own_triton: Factory, tmp_path: Path) -> None:
    write_repository(tmp_path / "repository")
    running = own_triton(tmp_path / "repository", control_mode="none")
    async with page(running, "sum") as one:
        await one.field("load", "concurrency=2 duration=60")
        await one.field("input A", "[-1,0,0,0]")
        await one.press("s")
        await one.until("boom in execute")
        await one.field("input A", "[1,0,0,0]")
        await one.press("s")
        await one.until("running; esc stops it")
        running.kill()
        text = await one.until("the server is lost")
        assert "answered" in text
